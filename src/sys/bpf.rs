//! The few operations of `bpf(2)` that a devices filter needs.

use super::clone::result;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination and source register.
    pub regs: u8,
    /// Offset of a jump or of memory.
    pub off: i16,
    /// Operand.
    pub imm: i32,
}
const _: () = assert!(size_of::<Insn>() == 8);

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// Loads a program that decides about the use of devices.
pub fn load_device_program(program: &[Insn]) -> rustix::io::Result<OwnedFd> {
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        version: u32,
        flags: u32,
    }
    const _: () = assert!(size_of::<Load>() == 48);
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        insns: program.as_ptr() as usize as u64,
        license: c"Apache-2.0".as_ptr() as usize as u64,
        ..Load::default()
    };
    // SAFETY: the kernel reads the structure, the instructions and the C string that it points to, all of which outlive the call.
    #[allow(unsafe_code)]
    let r = result(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(r as i32) })
}

/// Attaches it to a control group of version 2; it stays until the group is removed.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> rustix::io::Result<()> {
    #[repr(C, align(8))]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    const _: () = assert!(size_of::<Attach>() == 16);
    let attach =
        Attach { target: group.as_raw_fd() as u32, program: program.as_raw_fd() as u32, kind: CGROUP_DEVICE, flags: ALLOW_MULTI };
    // SAFETY: the kernel reads the structure.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    result(r).map(drop)
}

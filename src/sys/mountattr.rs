//! `mount_setattr`, which no crate wraps yet.

use super::clone::result;
use std::os::fd::{AsRawFd, BorrowedFd};

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}
const _: () = assert!(size_of::<MountAttr>() == 32); // MOUNT_ATTR_SIZE_VER0

/// Sets and clears attributes (`MOUNT_ATTR_…`) and the propagation (`MS_PRIVATE` …, 0 to keep it) of the mount that `mount` is,
/// and with `recursive` of all below it. Kernel 5.12.
pub fn set(mount: BorrowedFd<'_>, set: u64, clear: u64, propagation: u64, recursive: bool) -> rustix::io::Result<()> {
    let attr = MountAttr { set, clear, propagation, userns: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads a structure of the given size and a C string.
    #[allow(unsafe_code)]
    let r = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags as libc::c_uint,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    result(r).map(drop)
}

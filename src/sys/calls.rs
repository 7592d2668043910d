//! Does the kernel have a system call? Asked with arguments that are wrong in any case.

use super::clone::result;
use rustix::io::Errno;

/// Calls newer than Linux 4.14 that the engine uses where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Linux 5.3.
    Clone3,
    /// Linux 5.3.
    PidfdOpen,
    /// Linux 5.6.
    Openat2,
    /// Linux 5.9.
    CloseRange,
    /// Linux 5.2.
    Fsopen,
    /// Linux 5.2.
    Fsconfig,
    /// Linux 5.2.
    Fsmount,
    /// Linux 5.2.
    OpenTree,
    /// Linux 5.2.
    MoveMount,
    /// Linux 5.12.
    MountSetattr,
}

/// The new mount API, as Linux 5.2 has it.
pub const MOUNT_API: [Call; 5] = [Call::Fsopen, Call::Fsconfig, Call::Fsmount, Call::OpenTree, Call::MoveMount];

/// Asks the kernel.
pub fn is_there(call: Call) -> bool {
    let number = match call {
        Call::Clone3 => libc::SYS_clone3,
        Call::PidfdOpen => libc::SYS_pidfd_open,
        Call::Openat2 => libc::SYS_openat2,
        Call::CloseRange => libc::SYS_close_range,
        Call::Fsopen => libc::SYS_fsopen,
        Call::Fsconfig => libc::SYS_fsconfig,
        Call::Fsmount => libc::SYS_fsmount,
        Call::OpenTree => libc::SYS_open_tree,
        Call::MoveMount => libc::SYS_move_mount,
        Call::MountSetattr => libc::SYS_mount_setattr,
    };
    // SAFETY: a first argument of -1 and lengths of 0: each of these calls refuses that before it reads memory or does anything.
    #[allow(unsafe_code)]
    let r = unsafe {
        libc::syscall(number, -1 as libc::c_long, 0 as libc::c_long, 0 as libc::c_long, 0 as libc::c_long, 0 as libc::c_long)
    };
    result(r) != Err(Errno::NOSYS)
}

//! Making a process in new namespaces, and joining existing ones.

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A child made by [`clone`], as its parent sees it.
pub struct Child {
    /// Its process id, in the parent's PID namespace.
    pub pid: i32,
    /// A descriptor of the process, if the kernel has them (5.2).
    pub pidfd: Option<OwnedFd>,
}

/// Which side of a [`clone`] this is.
pub enum Forked {
    /// The new process; `in_cgroup` tells whether it was born in the group that was asked for.
    Child {
        /// See above.
        in_cgroup: bool,
    },
    /// The parent.
    Parent(Child),
}

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
const _: () = assert!(size_of::<CloneArgs>() == 88); // CLONE_ARGS_SIZE_VER2

/// `CLONE_NEWTIME` shares its bit with the exit signal of the old call; only clone3 and unshare take it.
pub const NEWTIME: u64 = 0x80;
const INTO_CGROUP: u64 = 0x2_0000_0000;
const PIDFD: u64 = 0x1000;

/// Forks with the namespace flags `flags` (`CLONE_NEW…`); the child has a copy of all memory, as after
/// `fork`. With `cgroup`, the child is born in that v2 group where the kernel can do it (5.7).
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> rustix::io::Result<Forked> {
    let mut fd: libc::c_int = -1;
    if let Some(group) = cgroup {
        match clone3(flags | PIDFD | INTO_CGROUP, group.as_raw_fd() as u64, &mut fd) {
            Ok(pid) => return Ok(child(pid, fd, true)),
            Err(Errno::NOSYS | Errno::INVAL | Errno::TOOBIG | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    match clone3(flags | PIDFD, 0, &mut fd) {
        Ok(pid) => return Ok(child(pid, fd, false)),
        // EPERM: older container runtimes' filters give it for every call that they do not know
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    if flags & NEWTIME != 0 {
        return Err(Errno::INVAL);
    }
    let pid = match clone2(flags | PIDFD, &mut fd) {
        Err(Errno::INVAL) => clone2(flags, &mut fd)?,
        other => other?,
    };
    Ok(child(pid, fd, false))
}

/// Forks with `flags` a process whose parent is not this one but this one's parent.
pub fn clone_for_parent(flags: u64) -> rustix::io::Result<Forked> {
    let mut fd = -1;
    let pid = clone2(flags | libc::CLONE_PARENT as u64, &mut fd)?;
    Ok(child(pid, -1, false))
}

fn child(pid: libc::c_long, fd: libc::c_int, in_cgroup: bool) -> Forked {
    if pid == 0 {
        return Forked::Child { in_cgroup };
    }
    let pidfd = if fd >= 0 {
        // SAFETY: the kernel has just made this descriptor for us and nothing else knows its number.
        #[allow(unsafe_code)]
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    } else {
        None
    };
    Forked::Parent(Child { pid: pid as i32, pidfd })
}

fn clone3(flags: u64, cgroup: u64, fd: &mut libc::c_int) -> rustix::io::Result<libc::c_long> {
    *fd = -1;
    let args = CloneArgs {
        flags,
        pidfd: std::ptr::from_mut(fd) as usize as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup,
        ..CloneArgs::default()
    };
    // SAFETY: no CLONE_VM, so the child goes on with a copy of our memory and stack; we are single-threaded, so the copy is
    // consistent. The kernel reads `args` and writes one integer to `fd`.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    result(r)
}

fn clone2(flags: u64, fd: &mut libc::c_int) -> rustix::io::Result<libc::c_long> {
    *fd = -1;
    // The order of the last two arguments differs between machines (x86-64 against arm, aarch64 and riscv64); both are zero here.
    // SAFETY: as for clone3: without CLONE_VM and with a null stack it is fork; the kernel writes one integer to `fd`.
    #[allow(unsafe_code)]
    let r = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags as libc::c_ulong | libc::SIGCHLD as libc::c_ulong,
            0usize,
            std::ptr::from_mut(fd),
            0usize,
            0usize,
        )
    };
    result(r)
}

/// Joins the namespaces of `flags` that `fd` names: a namespace's file, or (kernel 5.8) a process descriptor with several flags.
pub fn setns(fd: BorrowedFd<'_>, flags: i32) -> rustix::io::Result<()> {
    // SAFETY: takes two integers.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), flags) };
    result(r).map(drop)
}

/// Leaves the namespaces of `flags` for new ones. Only flags that do not change what memory or descriptors mean.
pub fn unshare(flags: i32) -> rustix::io::Result<()> {
    if flags & (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD) != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: takes an integer; the flags that could surprise other code are refused above.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_unshare, flags) };
    result(r).map(drop)
}

/// Ends the process at once: no exit handlers, which belong to the parent of a forked child.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(status)
    }
}

pub(super) fn result(r: libc::c_long) -> rustix::io::Result<libc::c_long> {
    if r < 0 { Err(Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))) } else { Ok(r) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_child_is_made_and_its_status_comes_back() {
        match super::clone(0, None).unwrap() {
            super::Forked::Child { .. } => super::exit_now(7),
            super::Forked::Parent(child) => {
                let pid = rustix::process::Pid::from_raw(child.pid).unwrap();
                let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
                assert_eq!(status.exit_status(), Some(7));
            }
        }
    }
}

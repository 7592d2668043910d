//! Calls that a process makes of itself before it becomes another program.

use super::clone::result;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Becomes the program at `path`; returns only on failure.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> rustix::io::Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and outlive the call.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    result(r).err().unwrap_or(rustix::io::Errno::IO)
}

/// Becomes the program that `fd` is; returns only on failure.
pub fn fexecve(fd: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> rustix::io::Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and outlive the call, and the path is a C string.
    #[allow(unsafe_code)]
    let r = unsafe {
        libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), args.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH)
    };
    result(r).err().unwrap_or(rustix::io::Errno::IO)
}

/// The process's environment, as it was handed over.
pub fn environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    std::env::vars_os()
        .filter_map(|(key, value)| {
            let mut entry = key.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            CString::new(entry).ok()
        })
        .collect()
}

/// Marks every descriptor from `first` on as close-on-exec (kernel 5.11), else does so one by one.
pub fn close_on_exec_from(first: u32) -> rustix::io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: takes three integers.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if result(r).is_ok() {
        return Ok(());
    }
    let mark = |fd: libc::c_int| {
        // SAFETY: takes three integers; a number that is no descriptor gives EBADF.
        #[allow(unsafe_code)]
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    };
    let first = first as libc::c_int;
    match listed() {
        Some(open) => open.into_iter().filter(|fd| *fd >= first).for_each(mark),
        None => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(1 << 20).min(1 << 20);
            (first..limit as libc::c_int).for_each(mark);
        }
    }
    Ok(())
}

/// The open descriptors, if a real /proc is there to tell.
fn listed() -> Option<Vec<i32>> {
    const FOLDER: &str = "/proc/self/fd";
    #[allow(clippy::unnecessary_cast)] // it has other types on other machines
    let kind = rustix::fs::statfs(FOLDER).ok()?.f_type as u64;
    let real = kind == libc::PROC_SUPER_MAGIC as u64;
    let entries = std::fs::read_dir(FOLDER).ok().filter(|_| real)?;
    Some(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
}

/// Closes every descriptor from `first` on but those in `keep`. Only for a forked child that goes on to exec or `exit_now` without
/// dropping what its parent had open.
pub fn close_others(first: i32, keep: &mut [i32]) {
    keep.sort_unstable();
    let mut from = first;
    for k in keep.iter().copied().filter(|k| *k >= first).chain(std::iter::once(i32::MAX)) {
        if k > from && !close_between(from, k - 1) {
            return close_listed(first, keep);
        }
        from = k.saturating_add(1).max(from);
    }
}

fn close_between(from: i32, to: i32) -> bool {
    // SAFETY: takes three integers; that nothing uses these descriptors any more is what the caller promises.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_close_range, from as libc::c_uint, to as libc::c_uint, 0 as libc::c_uint) };
    result(r).is_ok()
}

/// The same before Linux 5.9.
fn close_listed(first: i32, keep: &[i32]) {
    for fd in listed().into_iter().flatten().filter(|fd| *fd >= first && !keep.contains(fd)) {
        // SAFETY: as above; the descriptor of the list itself is closed already and gives EBADF.
        #[allow(unsafe_code)]
        unsafe {
            libc::close(fd);
        }
    }
}

/// Makes `from` the descriptor number `to`, without close-on-exec.
pub fn dup_to(from: BorrowedFd<'_>, to: i32) -> rustix::io::Result<()> {
    if from.as_raw_fd() == to {
        // SAFETY: takes integers and clears close-on-exec of a descriptor that we were lent.
        #[allow(unsafe_code)]
        let r = unsafe { libc::fcntl(to, libc::F_SETFD, 0) };
        return result(r.into()).map(drop);
    }
    // SAFETY: takes integers; the caller only names descriptors of the standard streams, which no Rust object owns.
    #[allow(unsafe_code)]
    let r = unsafe { libc::dup2(from.as_raw_fd(), to) };
    result(r.into()).map(drop)
}

/// Sets the execution domain.
pub fn personality(domain: u64) -> rustix::io::Result<()> {
    // SAFETY: takes an integer.
    #[allow(unsafe_code)]
    let r = unsafe { libc::personality(domain as libc::c_ulong) };
    result(r.into()).map(drop)
}

/// Unblocks all signals, and SIGPIPE is not ignored: a program must not inherit our choices.
pub fn reset_signals() {
    // SAFETY: the set is a plain value that sigemptyset fills in.
    #[allow(unsafe_code)]
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// One instruction of classic BPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}
const _: () = assert!(size_of::<Insn>() == size_of::<libc::sock_filter>());

/// Loads a filter of system calls for this process and all that it will make.
pub fn seccomp(program: &[Insn], flags: u32) -> rustix::io::Result<()> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const Insn,
    }
    const _: () = assert!(size_of::<Program>() == size_of::<libc::sock_fprog>());
    let len = u16::try_from(program.len()).map_err(|_| rustix::io::Errno::INVAL)?;
    let program = Program { len, filter: program.as_ptr() };
    const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
    // SAFETY: the kernel reads `len` instructions from `filter`, which live until the call returns.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags as libc::c_ulong, &raw const program) };
    result(r).map(drop)
}

/// Sends a signal by its number; real-time ones have no name.
pub fn kill(pid: i32, signal: i32) -> rustix::io::Result<()> {
    // SAFETY: takes two integers.
    #[allow(unsafe_code)]
    let r = unsafe { libc::kill(pid, signal) };
    result(r.into()).map(drop)
}

/// Starts a new session keyring: kernel keys of the caller's session are none of a container's business.
pub fn new_keyring(name: &CStr) -> rustix::io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    // SAFETY: the kernel reads a C string.
    #[allow(unsafe_code)]
    let r = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    result(r).map(drop)
}

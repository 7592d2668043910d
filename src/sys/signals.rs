//! Signals as descriptors.

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

fn descriptor(signals: &[NixSignal]) -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for s in signals {
        set.add(*s);
    }
    let failed = |e: nix::errno::Errno| Errno::from_raw_os_error(e as i32);
    set.thread_block().map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)
}

/// Blocks SIGCHLD and returns a descriptor that is readable when a child has ended.
pub fn child_ended() -> Result<OwnedFd, Errno> {
    descriptor(&[NixSignal::SIGCHLD]).map(|fd| fd.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE))?
}

/// The signals that the daemon is told of: child ended, terminate, interrupt, reload.
pub fn daemon() -> Result<SignalFd, Errno> {
    descriptor(&[NixSignal::SIGCHLD, NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP])
}

/// The command starts with no signal blocked, whatever this process blocks: one that never gets SIGTERM cannot be stopped.
pub fn unblock_in(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only one system call is made, with memory of the stack.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?));
    }
}

/// All signals but those that are faults of the program itself; blocks them.
pub fn all() -> Result<SignalFd, Errno> {
    let mut set = SigSet::all();
    for fault in
        [NixSignal::SIGSEGV, NixSignal::SIGBUS, NixSignal::SIGFPE, NixSignal::SIGILL, NixSignal::SIGABRT, NixSignal::SIGTRAP]
    {
        set.remove(fault);
    }
    let failed = |e: nix::errno::Errno| Errno::from_raw_os_error(e as i32);
    set.thread_block().map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failed)
}

/// Waits for the next signal.
pub fn next(signals: &SignalFd) -> Option<i32> {
    signals.read_signal().ok().flatten().map(|info| info.ssi_signo as i32)
}

/// Throws away what is readable.
pub fn drain(fd: BorrowedFd<'_>) {
    let mut buffer = [0u8; 512];
    while matches!(rustix::io::read(fd, &mut buffer), Ok(n) if n > 0) {}
}

/// Gives every signal its default action. What is ignored stays so in all processes that come of this one: after `nohup prtiql daemon`
/// no container could be told by SIGHUP.
pub fn defaults() {
    for signal in NixSignal::iterator() {
        // SAFETY: SIG_DFL is no handler that could run.
        #[allow(unsafe_code)]
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    }
}

/// Writes to a closed pipe or socket become errors instead of killing the process.
pub fn ignore_pipe() {
    // SAFETY: SIG_IGN is no handler that could run.
    #[allow(unsafe_code)]
    let _ = unsafe { nix::sys::signal::signal(NixSignal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) };
}

/// A signal by its number, real-time ones included.
pub fn from_number(number: i32) -> Option<Signal> {
    if !(1..=64).contains(&number) {
        return None;
    }
    // SAFETY: 1 to 64 are the kernel's signals; the C library's own (32, 33) are only ever sent to other programs here.
    #[allow(unsafe_code)]
    Signal::from_named_raw(number).or_else(|| Some(unsafe { Signal::from_raw_unchecked(number) }))
}

//! Signals: their names, and passing them on to a container while waiting for its end.

use crate::base::{Context, Error, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, WaitOptions, WaitStatus};

/// A signal's number from `TERM`, `SIGTERM` or `15`.
pub fn number(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal {text:?}"));
    if let Ok(n) = text.parse::<i32>() {
        return if (1..=64).contains(&n) { Ok(n) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Some(rest) = full.strip_prefix("SIGRTMIN") {
        let plus: i32 = rest.strip_prefix('+').map_or(Ok(0), str::parse).map_err(|_| unknown())?;
        return if (0..=30).contains(&plus) { Ok(34 + plus) } else { Err(unknown()) };
    }
    full.parse::<Signal>().map(|s| s as i32).map_err(|_| unknown())
}

/// Sends a signal by number to a process; a process that is gone is an error.
pub fn send(pid: i32, signal: i32) -> rustix::io::Result<()> {
    let raw = nix::unistd::Pid::from_raw(pid);
    // real-time signals have no name in either crate's enumeration: by number
    crate::sys::exec::kill(raw.as_raw(), signal)
}

/// Blocks the signals that are to be passed on, and gives the descriptor that they arrive at.
pub fn block() -> Result<SignalFd> {
    let what = || "block signals";
    let mut set = SigSet::empty();
    for signal in Signal::iterator() {
        let own = matches!(
            signal,
            Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE | Signal::SIGKILL | Signal::SIGSTOP
        );
        if !own && !matches!(signal, Signal::SIGABRT | Signal::SIGTRAP | Signal::SIGURG) {
            set.add(signal);
        }
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(errno).context(what)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(errno).context(what)
}

fn errno(e: nix::errno::Errno) -> rustix::io::Errno {
    rustix::io::Errno::from_raw_os_error(e as i32)
}

/// Reads one signal; passes it on to `pid`. The exit status if that has ended.
pub fn one(fd: &SignalFd, pid: i32) -> Result<Option<i32>> {
    match fd.read_signal() {
        Ok(Some(info)) if info.ssi_signo == libc::SIGCHLD as u32 => ended(pid),
        Ok(Some(info)) => {
            // it may just have ended; the next SIGCHLD tells
            let _ = send(pid, info.ssi_signo as i32);
            Ok(None)
        }
        Ok(None) | Err(nix::errno::Errno::EINTR) => Ok(None),
        Err(e) => Err(errno(e)).context(|| "wait for signals"),
    }
}

/// The exit status of a child if it has ended: as a shell gives it.
fn ended(pid: i32) -> Result<Option<i32>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Ok(Some(code(status))),
        Ok(None) => Ok(None),
        Err(e) => Err(e).context(|| "wait for the container"),
    }
}

fn code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}

/// Waits for the end of a child, passing signals on to it.
pub fn wait(fd: &SignalFd, pid: i32) -> Result<i32> {
    loop {
        if let Some(status) = one(fd, pid)? {
            return Ok(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_signals() {
        assert_eq!(
            (number("TERM").unwrap(), number("sigkill").unwrap(), number("10").unwrap(), number("RTMIN+3").unwrap()),
            (15, 9, 10, 37)
        );
        assert!(number("NOSUCH").is_err() && number("65").is_err() && number("0").is_err());
    }
}

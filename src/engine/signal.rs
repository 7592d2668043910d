//! Signals by name, and what a wait status means.

use crate::base::{Error, Result};

/// A signal by number or name, with or without SIG.
pub fn signal_number(text: &str) -> Result<u32> {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ILL", libc::SIGILL),
        ("TRAP", libc::SIGTRAP),
        ("ABRT", libc::SIGABRT),
        ("BUS", libc::SIGBUS),
        ("FPE", libc::SIGFPE),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("SEGV", libc::SIGSEGV),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CHLD", libc::SIGCHLD),
        ("CONT", libc::SIGCONT),
        ("STOP", libc::SIGSTOP),
        ("TSTP", libc::SIGTSTP),
        ("TTIN", libc::SIGTTIN),
        ("TTOU", libc::SIGTTOU),
        ("URG", libc::SIGURG),
        ("XCPU", libc::SIGXCPU),
        ("XFSZ", libc::SIGXFSZ),
        ("VTALRM", libc::SIGVTALRM),
        ("PROF", libc::SIGPROF),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
        ("PWR", libc::SIGPWR),
        ("SYS", libc::SIGSYS),
    ];
    let bad = || Error::invalid(format!("Invalid signal: {text}"));
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse::<u32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Ok(*number as u32);
    }
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest.strip_prefix('+').unwrap_or(rest)).map(|n| 34 + n),
        (_, Some(rest)) => offset(rest).map(|n| 64 + n),
        _ => None,
    };
    real_time.filter(|n| (34..=64).contains(n)).map(|n| n as u32).ok_or_else(bad)
}

/// What `$?` is: the code, or 128 and the signal.
pub fn exit_code(status: i32) -> i32 {
    if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_in_all_spellings() {
        for (text, want) in
            [("KILL", 9), ("SIGTERM", 15), ("sighup", 1), ("9", 9), ("RTMIN+1", 35), ("SIGRTMAX-1", 63), ("64", 64)]
        {
            assert_eq!(signal_number(text).unwrap(), want, "{text}");
        }
        for bad in ["", "0", "65", "NOSUCH", "RTMIN+40", "-1"] {
            assert!(signal_number(bad).is_err(), "{bad}");
        }
        assert_eq!((exit_code(7 << 8), exit_code(9), exit_code(0x80 | 11)), (7, 137, 139));
    }
}

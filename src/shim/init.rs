//! `docker-init`: PID 1 of a container that was started with `--init`. Runs the command, passes signals on, reaps. No heap.

use rustix::process::{Pid, Signal, WaitOptions};
use std::os::unix::process::CommandExt;

/// `docker-init -- COMMAND [ARG…]`; returns the command's exit status.
pub fn main(args: &[String]) -> i32 {
    let words = match args.get(1).map(String::as_str) {
        Some("--") => &args[2..],
        _ => args.get(1..).unwrap_or_default(),
    };
    let Some((program, rest)) = words.split_first() else {
        eprintln!("docker-init: no command");
        return 126;
    };
    // First of all: what comes before is lost, for PID 1 ignores what it does not handle.
    let signals = match crate::sys::signals::all() {
        Ok(fd) => fd,
        Err(e) => {
            eprintln!("docker-init: {e}");
            return 126;
        }
    };
    let mut command = std::process::Command::new(program);
    command.args(rest).process_group(0);
    crate::sys::signals::unblock_in(&mut command);
    let child = command.spawn();
    let pid = match child {
        Ok(child) => child.id(),
        Err(e) => {
            eprintln!("exec: \"{program}\": {}", crate::base::Error::from(e));
            return 127;
        }
    };
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return 126 };
    foreground(pid);
    if let Some(code) = reap(pid) {
        return code; // it was quicker than we
    }
    loop {
        let signal = crate::sys::signals::next(&signals);
        match signal {
            Some(libc::SIGCHLD) => {
                if let Some(code) = reap(pid) {
                    return code;
                }
            }
            Some(number) => {
                if let Some(signal) = crate::sys::signals::from_number(number) {
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
            None => {}
        }
    }
}

/// The command owns the terminal, if there is one.
fn foreground(pid: Pid) {
    let terminal = crate::sys::inherit::borrow(0);
    let _ = rustix::termios::tcsetpgrp(terminal, pid);
}

fn reap(command: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == command {
            code = Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => 128 + Signal::KILL.as_raw(),
            });
        }
    }
    code
}

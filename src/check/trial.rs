//! Trying something out in a child, which takes all traces of it along when it ends.

use crate::base::{Error, Result};
use crate::sys::clone::{self, Forked};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use std::io::Read;

/// Why a trial failed.
pub struct Failed {
    /// The call's error, if it was a call.
    pub errno: Option<Errno>,
    /// In words.
    pub text: String,
}

impl Failed {
    /// Not allowed, which says nothing about whether it could be done.
    pub fn is_refusal(&self) -> bool {
        matches!(self.errno, Some(Errno::PERM | Errno::ACCESS))
    }
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(e: E) -> Failed {
        let e: Error = e.into();
        Failed { errno: e.errno(), text: e.to_string() }
    }
}

/// Runs `what` in a child of its own.
pub fn in_child(what: impl FnOnce() -> Result<()>) -> std::result::Result<(), Failed> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match clone::clone(0, None)? {
        Forked::Child { .. } => {
            if let Err(e) = what() {
                let number = e.errno().map_or(0, Errno::raw_os_error);
                // The parent reads until the end; a text this short goes in one piece.
                let _ = rustix::io::write(&write, format!("{number} {e}").as_bytes());
            }
            clone::exit_now(0)
        }
        Forked::Parent(child) => {
            drop(write);
            let mut text = String::new();
            let _ = std::fs::File::from(read).read_to_string(&mut text);
            if let Some(pid) = Pid::from_raw(child.pid) {
                let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
            }
            let Some((number, why)) = text.split_once(' ') else { return Ok(()) };
            let errno = number.parse().ok().filter(|n| *n != 0).map(Errno::from_raw_os_error);
            Err(Failed { errno, text: why.into() })
        }
    }
}

/// Is this root, as far as its capabilities go?
pub fn may_do_all() -> bool {
    rustix::process::geteuid().is_root()
}

/// What is said where root would be needed to try.
pub const NEEDS_ROOT: &str = "not tried: needs root";

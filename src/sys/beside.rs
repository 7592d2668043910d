//! A second process that does part of a computation on another processor.

use crate::sys::clone::{Child, Forked, clone, exit_now};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::fs::File;
use std::io::{Read, Write};

/// The other process.
pub struct Beside {
    child: Child,
    pipe: File,
}

impl Beside {
    /// Lets a copy of this process do `work`, whose bytes [`Beside::result`] gives; `None` where none can be made. Not for a process
    /// with threads: what they have locked is locked in the copy for ever.
    pub fn start(work: impl FnOnce() -> Vec<u8>) -> Option<Beside> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        match clone(0, None).ok()? {
            Forked::Child { .. } => {
                drop(ours);
                let sent = File::from(theirs).write_all(&work());
                exit_now(sent.is_err().into())
            }
            Forked::Parent(child) => Some(Beside { child, pipe: ours.into() }),
        }
    }

    /// Waits for what comes of it: too few bytes if it was killed.
    pub fn result(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.pipe.read_to_end(&mut bytes).is_err() {
            bytes.clear();
        }
        drop(self.pipe);
        if let Some(pid) = Pid::from_raw(self.child.pid) {
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        }
        bytes
    }
}

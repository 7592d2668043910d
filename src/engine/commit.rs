//! The daemon's side of the committer: changes are collected for one turn of the loop and sent as one batch.

use crate::base::Result;
use crate::engine::{kind, token};
use crate::reactor::{Interest, Reactor};
use crate::sys::{channel, spawn};
use crate::wire::commit::{Ack, Batch, Change};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Batches on their way to the disk.
pub struct Committer {
    socket: Option<OwnedFd>,
    queued: Vec<Change>,
    /// Sent or to be sent, and not acked: sent again to a new committer.
    unacked: VecDeque<Batch>,
    /// How many of `unacked` the socket has taken.
    sent: usize,
    last: u64,
    /// The last batch that is done.
    pub acked: u64,
    /// Bytes and batches that were written since this was last looked at, and what the child had written then.
    pub wrote: (u64, u64),
    child_wrote: u64,
}

impl Committer {
    /// Starts the child.
    pub fn start(root: &Path, reactor: &Reactor) -> Result<Committer> {
        let mut committer = Committer {
            socket: None,
            queued: Vec::new(),
            unacked: VecDeque::new(),
            sent: 0,
            last: 0,
            acked: 0,
            wrote: (0, 0),
            child_wrote: 0,
        };
        committer.restart(root, reactor)?;
        Ok(committer)
    }

    /// Starts another child and gives it what is not acked.
    pub fn restart(&mut self, root: &Path, reactor: &Reactor) -> Result<()> {
        let (ours, theirs) = channel::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        spawn::child("prtiql-committer", &[&root.to_string_lossy()], theirs)?;
        reactor.add(&ours, token(kind::COMMITTER, 0), Interest::Read)?;
        self.socket = Some(ours);
        self.sent = 0;
        self.child_wrote = 0;
        self.send_queued(reactor);
        Ok(())
    }

    /// Adds a change to this turn's batch.
    pub fn change(&mut self, change: Change) {
        self.queued.push(change);
    }

    /// Adds a file's new content to this turn's batch.
    pub fn write(&mut self, path: impl Into<String>, data: impl Into<String>) {
        self.change(Change::Write { path: path.into(), data: data.into() });
    }

    /// The number of the batch that holds all changes so far.
    pub fn barrier(&self) -> u64 {
        if self.queued.is_empty() { self.last } else { self.last + 1 }
    }

    /// Sends this turn's changes.
    pub fn flush(&mut self, reactor: &Reactor) {
        if self.queued.is_empty() {
            return;
        }
        self.last += 1;
        self.unacked.push_back(Batch { number: self.last, changes: std::mem::take(&mut self.queued) });
        self.send_queued(reactor);
    }

    /// Sends what the socket takes.
    pub fn send_queued(&mut self, reactor: &Reactor) {
        let Some(socket) = &self.socket else { return };
        let mut interest = Interest::Read;
        while let Some(batch) = self.unacked.get(self.sent) {
            let Ok(body) = serde_json::to_vec(batch) else { break };
            match channel::send(socket.as_fd(), &body, &[]) {
                Ok(()) => self.sent += 1,
                Err(rustix::io::Errno::AGAIN) => {
                    interest = Interest::Both;
                    break;
                }
                Err(_) => break, // the child is gone: noticed by the reading side
            }
        }
        let _ = reactor.modify(socket, token(kind::COMMITTER, 0), interest);
    }

    /// Takes acks in; returns the batches that failed, with the reason.
    pub fn receive(&mut self) -> Vec<(u64, String)> {
        let mut failures = Vec::new();
        let mut body = Vec::new();
        while let Some(socket) = &self.socket {
            match channel::receive(socket.as_fd(), &mut body, &mut Vec::new()) {
                Ok(true) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Ok(false) | Err(_) => {
                    self.socket = None;
                    break;
                }
            }
            let Ok(ack) = serde_json::from_slice::<Ack>(&body) else { continue };
            while self.unacked.front().is_some_and(|b| b.number <= ack.number) {
                self.unacked.pop_front();
                self.sent = self.sent.saturating_sub(1);
            }
            self.acked = self.acked.max(ack.number);
            self.wrote = (self.wrote.0 + ack.written.saturating_sub(self.child_wrote), self.wrote.1 + 1);
            self.child_wrote = ack.written;
            if !ack.error.is_empty() {
                failures.push((ack.number, ack.error));
            }
        }
        failures
    }

    /// The child has died.
    pub fn is_gone(&self) -> bool {
        self.socket.is_none()
    }

    /// Nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.unacked.is_empty()
    }
}

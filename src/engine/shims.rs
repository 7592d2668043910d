//! Sockets of starters and shims: starting them, telling them, hearing from them.

use crate::base::time::Time;
use crate::base::{Error, Kind, Result, id};
use crate::engine::container::PendingAttach;
use crate::engine::{Engine, kind, token};
use crate::reactor::Interest;
use crate::sys::{channel, spawn};
use crate::wire::shim::{self, Record, Start, Started};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Whose starter or shim it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A container, by ID.
    Container(String),
    /// An exec, by ID.
    Exec(String),
}

/// A socket to a starter or shim.
pub struct Link {
    socket: OwnedFd,
    owner: Owner,
}

impl Engine {
    /// Starts a starter and gives it its task, and the connections of clients that are to see it from the first byte: they lie in
    /// the socket before the child is there, since a short life can be over before its parent goes on.
    pub fn spawn_starter(&mut self, owner: Owner, start: &Start, clients: Vec<PendingAttach>) -> Result<u32> {
        let (ours, theirs) = channel::pair()?;
        channel::send_json(ours.as_fd(), start, &[])?;
        let link = self.link(owner, ours)?;
        for client in clients {
            self.send_attach(link, client);
        }
        if let Err(e) = spawn::child("prtiql-start", &[], theirs) {
            self.unlink(link);
            return Err(e);
        }
        Ok(link)
    }

    /// Watches a socket to a starter or shim.
    pub fn link(&mut self, owner: Owner, socket: OwnedFd) -> Result<u32> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let number = self.number();
        self.reactor.add(&socket, token(kind::SHIM, number), Interest::Read)?;
        self.shims.insert(number, Link { socket, owner });
        Ok(number)
    }

    /// Sends a record; a shim that is gone is noticed when its socket is read.
    pub fn send_record(&mut self, link: u32, record: &Record, payload: &[u8], fd: Option<BorrowedFd<'_>>) {
        let Some(link) = self.shims.get(&link) else { return };
        let mut body = record.encode().to_vec();
        body.extend_from_slice(payload);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if let Err(e) = channel::send(link.socket.as_fd(), &body, &fds) {
            log::warn!("message to the shim of {:?}: {e}", link.owner);
        }
    }

    /// Hands a client's connection over.
    pub fn send_attach(&mut self, link: u32, attach: PendingAttach) {
        let record = Record { kind: shim::ATTACH, flags: attach.flags, ..Record::default() };
        self.send_record(link, &record, &attach.prefix, Some(attach.socket.as_fd()));
    }

    /// A starter or shim has said something, or is gone.
    pub fn shim_ready(&mut self, number: u32) {
        let mut body = Vec::new();
        loop {
            let Some(link) = self.shims.get(&number) else { return };
            match channel::receive(link.socket.as_fd(), &mut body, &mut Vec::new()) {
                Ok(true) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(false) | Err(_) => return self.shim_gone(number),
            }
            let owner = link.owner.clone();
            if let Some((record, _)) = Record::decode(&body) {
                self.shim_record(number, &owner, record);
            } else {
                match serde_json::from_slice::<Started>(&body) {
                    Ok(started) => self.starter_says(number, &owner, started),
                    Err(e) => log::error!("starter of {owner:?}: {e}"),
                }
            }
        }
    }

    fn starter_says(&mut self, number: u32, owner: &Owner, started: Started) {
        match started {
            Started::Running { pid, warnings } => {
                for warning in warnings {
                    log::warn!("{owner:?}: {warning}");
                }
                match owner {
                    Owner::Container(id) => self.started(id, pid, Time::now()),
                    Owner::Exec(id) => self.exec_started(id, pid),
                }
            }
            Started::Failed { kind, message, code } => {
                self.unlink(number);
                match owner {
                    Owner::Container(id) => self.start_failed(id, Vec::new(), kind, &message, i32::from(code)),
                    Owner::Exec(id) => self.exec_failed(id, kind, &message, i32::from(code)),
                }
            }
        }
    }

    fn shim_record(&mut self, number: u32, owner: &Owner, record: Record) {
        match (record.kind, owner) {
            (shim::EXITED, owner) => {
                self.unlink(number);
                let oom = record.flags & shim::OOM != 0;
                if let (true, Owner::Container(id)) = (record.flags & shim::CGROUP_LEFT != 0, owner) {
                    self.kill_leftovers(id);
                }
                match owner {
                    Owner::Container(id) => self.ended(id, record.a as i32, oom, Time(record.time)),
                    Owner::Exec(id) => self.exec_ended(id, record.a as i32),
                }
            }
            (shim::RUNNING, Owner::Container(id)) => self.found_running(id, record.a, Time(record.time)),
            (other, _) => log::warn!("a record of kind {other} from the shim of {owner:?} is not understood"),
        }
    }

    fn unlink(&mut self, number: u32) {
        if let Some(link) = self.shims.remove(&number) {
            self.reactor.remove(&link.socket);
        }
    }

    /// The other side is gone without a word: killed, or it ended while no daemon was there.
    fn shim_gone(&mut self, number: u32) {
        let Some(owner) = self.shims.get(&number).map(|l| l.owner.clone()) else { return };
        self.unlink(number);
        match owner {
            Owner::Exec(id) => self.exec_ended(&id, libc::SIGKILL),
            Owner::Container(id) => {
                if let Some(exit) = self.read_exit(&id) {
                    return self.ended(&id, exit.0, exit.2, exit.1);
                }
                log::error!("the shim of container {} has been killed; what it ran is killed too", id::short(&id));
                self.kill_leftovers(&id);
                let never_ran = self.containers.get(&id).is_some_and(|c| c.state.pid == 0);
                match never_ran {
                    true => self.start_failed(
                        &id,
                        Vec::new(),
                        Kind::Internal,
                        "the process that starts the container was killed",
                        128,
                    ),
                    false => self.ended(&id, libc::SIGKILL, false, Time::now()),
                }
            }
        }
    }

    /// Kills everything in a container's cgroup, and removes it as far as the kernel lets go at once.
    pub fn kill_leftovers(&mut self, id: &str) {
        let Some(c) = self.containers.get(id).filter(|c| !c.cgroup.is_empty()) else { return };
        if let Err(e) = c.control_group().and_then(|g| g.signal_all(rustix::process::Signal::KILL)) {
            log::warn!("cgroup {}: {e}", c.cgroup);
        }
        let task = crate::wire::worker::Job::RemoveCgroup { path: c.cgroup.clone(), id: c.id.clone() };
        self.spawn_quietly(task);
    }

    /// Removes a cgroup that should be gone but is not: the process that should have done it was killed.
    pub fn sweep_cgroup(&mut self, path: &str, id: &str) {
        let left = |path: &str| {
            crate::runtime::Cgroup::locate(path, id).is_ok_and(|g| g.dirs().iter().any(|d| std::path::Path::new(d).exists()))
        };
        if !path.is_empty() && left(path) {
            self.spawn_quietly(crate::wire::worker::Job::RemoveCgroup { path: path.to_string(), id: id.to_string() });
        }
    }

    /// At start: cgroups of containers that do not run (or are no more).
    pub fn sweep_cgroups(&mut self) {
        let parent = self.settings.cgroup_parent.trim_end_matches('/').to_string();
        let Ok(group) = crate::runtime::Cgroup::locate(&parent, "") else { return };
        let mut found: Vec<String> = Vec::new();
        for dir in group.dirs() {
            let names = std::fs::read_dir(dir).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok());
            found.extend(names.filter(|n| n.len() == 64 && n.bytes().all(|b| b.is_ascii_hexdigit())));
        }
        found.sort();
        found.dedup();
        for id in found {
            // Other daemons may share the parent: only what is ours, or what nothing lives in.
            let path = format!("{parent}/{id}");
            let ours = self.containers.get(&id).is_some_and(|c| c.link.is_none() && !c.is_running());
            let empty = crate::runtime::Cgroup::locate(&path, &id).and_then(|g| g.pids()).is_ok_and(|p| p.is_empty());
            if ours || (empty && self.containers.get(&id).is_none()) {
                self.sweep_cgroup(&path, &id);
            }
        }
    }

    /// `exit` in the run directory: status, time, whether memory was the reason.
    pub fn read_exit(&self, id: &str) -> Option<(i32, Time, bool)> {
        let text = std::fs::read_to_string(format!("{}/exit", self.run_dir(id))).ok()?;
        let mut words = text.split_whitespace();
        Some((words.next()?.parse().ok()?, Time(words.next()?.parse().ok()?), words.next()? == "1"))
    }

    /// New terminal size.
    pub fn resize(&mut self, link: Option<u32>, rows: u32, columns: u32) -> Result<()> {
        let link = link.ok_or_else(|| Error::conflict("cannot resize: the process is not running"))?;
        self.send_record(link, &Record { kind: shim::RESIZE, a: rows, b: columns, ..Record::default() }, &[], None);
        Ok(())
    }
}

//! The namespaces that a container's first process is born in or joins.

use super::cgroup::Cgroup;
use super::process;
use super::spec::Spec;
use crate::base::{Context, Error, Result};
use crate::sys::clone::{self, Child, Forked, setns};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions};
use std::os::fd::{AsFd, OwnedFd};

/// Kinds that a process can be born in.
const BORN: [(&str, i32); 6] = [
    ("user", libc::CLONE_NEWUSER),
    ("mount", libc::CLONE_NEWNS),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("network", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
];
/// Names in /proc/self/ns of those that kernels may lack, and their options.
const OPTIONS: [(&str, i32, &str); 5] = [
    ("user", libc::CLONE_NEWUSER, "CONFIG_USER_NS"),
    ("ipc", libc::CLONE_NEWIPC, "CONFIG_IPC_NS"),
    ("uts", libc::CLONE_NEWUTS, "CONFIG_UTS_NS"),
    ("net", libc::CLONE_NEWNET, "CONFIG_NET_NS"),
    ("pid", libc::CLONE_NEWPID, "CONFIG_PID_NS"),
];
/// Kinds that init makes itself: it must be in its group before it makes a control group namespace, and a time namespace only
/// holds for what is executed later.
const LATER: [(&str, i32); 2] = [("cgroup", libc::CLONE_NEWCGROUP), ("time", clone::NEWTIME as i32)];

/// The specification knows this kind.
pub fn is_kind(kind: &str) -> bool {
    BORN.iter().chain(&LATER).any(|(known, _)| *known == kind)
}

/// Namespaces, opened.
pub struct Namespaces {
    /// Flags of those to be born in.
    flags: u64,
    /// To be joined by init, with their flags.
    pub join: Vec<(OwnedFd, i32)>,
    /// A PID namespace to be born in: a process cannot change its own.
    pid: Option<OwnedFd>,
    /// A user namespace to join before all others, so that the new ones belong to it.
    pub user: Option<OwnedFd>,
    score: Option<i32>,
}

impl Namespaces {
    /// Opens those that are to be joined.
    pub fn open(spec: &Spec) -> Result<Namespaces> {
        let mut all = Namespaces { flags: 0, join: Vec::new(), pid: None, user: None, score: spec.process.oom_score_adj };
        for (kind, flag) in BORN.iter().chain(&LATER) {
            let Some(n) = spec.namespace(kind) else { continue };
            if n.path.is_empty() {
                if BORN.iter().any(|(born, _)| born == kind) {
                    all.flags |= *flag as u64;
                }
                continue;
            }
            let fd = rustix::fs::open(n.path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("open {kind} namespace {}", n.path))?;
            match *kind {
                "pid" => all.pid = Some(fd),
                "user" => all.user = Some(fd),
                _ => all.join.push((fd, *flag)),
            }
        }
        Ok(all)
    }

    /// Makes the process, if the kernel can do it in the group.
    pub fn fork(&self, group: &Cgroup) -> Result<Forked> {
        let folder = group.folder()?;
        let make = || clone::clone(self.flags, folder.as_ref().map(AsFd::as_fd));
        let what = || "make the container's first process";
        match (&self.user, &self.pid) {
            (Some(user), _) => self.fork_in(user, group).context(what),
            (None, Some(pid)) => super::in_pid_namespace(pid, make).context(what),
            (None, None) => make().map_err(|e| self.explain(e)).context(what),
        }
    }

    /// A kernel without a kind of namespace only says that something is invalid.
    fn explain(&self, e: Errno) -> Error {
        let lacks = |(file, flag, _): &&(&str, i32, &str)| {
            self.flags & *flag as u64 != 0 && !std::path::Path::new("/proc/self/ns").join(file).exists()
        };
        match OPTIONS.iter().find(lacks) {
            Some((_, _, option)) if e == Errno::INVAL => {
                Error::unsupported(format!("the kernel has no such namespaces ({option})"))
            }
            _ if e == Errno::NOSPC => Error::unsupported("/proc/sys/user/ allows no more namespaces"),
            _ => e.into(),
        }
    }

    /// Makes the process in an existing user namespace. One cannot leave such a namespace again, so a helper goes there, makes
    /// the process as its sibling (which is our child, then), tells its id, and ends.
    fn fork_in(&self, user: &OwnedFd, group: &Cgroup) -> Result<Forked> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let helper = match clone::clone(0, None)? {
            Forked::Parent(helper) => helper,
            Forked::Child { .. } => {
                let made = self.enter(user, group).and_then(|()| Ok(clone::clone_for_parent(self.flags)?));
                match made {
                    Ok(Forked::Child { .. }) => return Ok(Forked::Child { in_cgroup: true }),
                    Ok(Forked::Parent(child)) => {
                        // a short write to an empty pipe cannot be partial; if the reader is gone, so is the container
                        let _ = rustix::io::write(&write, &child.pid.to_ne_bytes());
                    }
                    Err(e) => {
                        let _ = rustix::io::write(&write, e.to_string().as_bytes());
                    }
                }
                clone::exit_now(0)
            }
        };
        drop(write);
        let mut buffer = [0u8; 512];
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut buffer))?;
        if let Some(pid) = Pid::from_raw(helper.pid) {
            rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
        }
        let Ok(id) = <[u8; 4]>::try_from(&buffer[..n]) else {
            return Err(Error::internal(String::from_utf8_lossy(&buffer[..n])));
        };
        let pid = i32::from_ne_bytes(id);
        let pidfd = Pid::from_raw(pid).and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Forked::Parent(Child { pid, pidfd }))
    }

    /// What the helper does; what needs the host's privileges comes first.
    fn enter(&self, user: &OwnedFd, group: &Cgroup) -> Result<()> {
        group.enter()?;
        if let Some(score) = self.score {
            process::oom_score(score)?;
        }
        setns(user.as_fd(), libc::CLONE_NEWUSER).context(|| "join the user namespace")?;
        let what = || "become root of the user namespace";
        let (g, u) = (rustix::thread::Gid::ROOT, rustix::thread::Uid::ROOT);
        rustix::thread::set_thread_res_gid(g, g, g).context(what)?;
        rustix::thread::set_thread_res_uid(u, u, u).context(what)?;
        if let Some(pid) = &self.pid {
            setns(pid.as_fd(), libc::CLONE_NEWPID).context(|| "join the PID namespace")?;
        }
        Ok(())
    }
}

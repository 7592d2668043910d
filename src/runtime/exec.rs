//! Running a further process in a container.

use super::cgroup::Cgroup;
use super::console;
use super::create::Stdio;
use super::link::{self, Tag};
use super::process::{self, Who};
use super::seccomp::{self, Filter};
use super::spec::{Process, Seccomp};
use crate::base::{Context, Error, Result};
use crate::sys::{self, clone::Forked};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, WaitOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A process to run in a container.
pub struct Exec<'a> {
    /// The container's first process.
    pub pid: i32,
    /// The container's group.
    pub cgroup: &'a Cgroup,
    /// What to run; its inheritable capabilities should be empty.
    pub process: &'a Process,
    /// As [`super::spec::Ext::user_name`]: replaces the process's user.
    pub user_name: Option<&'a str>,
    /// As [`super::spec::Ext::group_add`].
    pub group_add: &'a [String],
    /// As [`super::spec::Ext::default_seccomp`].
    pub default_seccomp: bool,
    /// The container's filter.
    pub seccomp: Option<&'a Seccomp>,
    /// Standard streams.
    pub stdio: Stdio,
    /// So many descriptors after the standard streams are passed on.
    pub preserve_fds: u32,
}

/// A process that runs in a container.
pub struct Executed {
    /// Its id, in the caller's PID namespace; the caller is its parent.
    pub pid: i32,
    /// Its descriptor, if the kernel has them.
    pub pidfd: Option<OwnedFd>,
    /// The terminal's master.
    pub console: Option<OwnedFd>,
}

/// The namespaces of a process, to be joined.
struct Target {
    pid: i32,
    /// The process, where the kernel has descriptors of processes.
    process: Option<OwnedFd>,
    /// It has a user namespace of its own: one can join only another one.
    user: bool,
}

const KINDS: [(&str, i32); 6] = [
    ("user", libc::CLONE_NEWUSER),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("mnt", libc::CLONE_NEWNS),
];

impl Target {
    fn open(pid: i32) -> Result<Target> {
        let gone = || format!("process {pid} of the container");
        let identity = |path: &str| rustix::fs::stat(path).map(|s| (s.st_dev, s.st_ino)).context(gone);
        // a user namespace can be joined only if it is another one
        let user = identity(&format!("/proc/{pid}/ns/user"))? != identity("/proc/self/ns/user")?;
        let raw = Pid::from_raw(pid).ok_or_else(|| Error::invalid(gone()))?;
        Ok(Target { pid, process: rustix::process::pidfd_open(raw, PidfdFlags::empty()).ok(), user })
    }

    fn join(&self) -> Result<()> {
        let what = || "join the container's namespaces";
        let wanted = KINDS.iter().filter(|(kind, _)| self.user || *kind != "user");
        if let Some(process) = &self.process {
            let flags = wanted.clone().fold(0, |all, (_, flag)| all | flag);
            match sys::clone::setns(process.as_fd(), flags) {
                Err(Errno::INVAL) => {} // before Linux 5.8
                other => return other.context(what),
            }
        }
        // all are opened first: once the first is joined, /proc may be another
        let mut single: Vec<(OwnedFd, i32)> = Vec::new();
        for (kind, flag) in wanted {
            let path = format!("/proc/{}/ns/{kind}", self.pid);
            match rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                Err(Errno::NOENT) => {} // the kernel was built without this kind
                other => single.push((other.context(|| format!("open {path}"))?, *flag)),
            }
        }
        single.iter().try_for_each(|(fd, flag)| sys::clone::setns(fd.as_fd(), *flag)).context(what)
    }
}

/// Runs a process in a container; returns when it has become its program. An error says why it could not, in runc's words.
pub fn exec(mut exec: Exec<'_>) -> Result<Executed> {
    exec.stdio = exec.stdio.above_standard()?;
    let target = Target::open(exec.pid)?;
    let pid_path = format!("/proc/{}/ns/pid", exec.pid);
    let pid_namespace = std::fs::File::open(&pid_path).context(|| format!("open {pid_path}"))?;
    let filter = match exec.seccomp {
        Some(profile) => Some(seccomp::compile(profile)?),
        None if exec.default_seccomp => Some(seccomp::docker_default(exec.process)?),
        None => None,
    };
    let (ours, theirs) = sys::channel::pair()?;
    // the container's processes will see the new one: it must not let them look into it while it is still ours
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "become undumpable")?;
    let group = exec.cgroup.of_process(exec.pid);
    let folder = group.folder()?;
    let forked =
        super::in_pid_namespace(&OwnedFd::from(pid_namespace), || sys::clone::clone(0, folder.as_ref().map(AsFd::as_fd)))
            .context(|| "make a process in the container")?;
    let child = match forked {
        Forked::Child { in_cgroup } => {
            drop(ours);
            let e = run(&exec, &target, &group, in_cgroup, &theirs, filter);
            link::fail(theirs.as_fd(), &e);
            sys::clone::exit_now(1)
        }
        Forked::Parent(child) => child,
    };
    drop(theirs);
    let mut made = Executed { pid: child.pid, pidfd: child.pidfd, console: None };
    let mut ready = false;
    loop {
        match link::receive(ours.as_fd()) {
            Ok((Tag::Ready, console)) => (ready, made.console) = (true, console),
            Ok((Tag::End, _)) if ready => return Ok(made),
            other => {
                reap(made.pid);
                return Err(other.err().unwrap_or_else(|| Error::internal("the process died while it was set up")));
            }
        }
    }
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // it has reported its failure and ends by itself; if it is gone already there is nothing to do
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
    }
}

fn run(exec: &Exec<'_>, target: &Target, group: &Cgroup, in_group: bool, control: &OwnedFd, filter: Option<Filter>) -> Error {
    match prepare(exec, target, group, in_group, control, filter) {
        Ok(ready) => ready.launch(),
        Err(e) => e,
    }
}

fn prepare(
    exec: &Exec<'_>,
    target: &Target,
    group: &Cgroup,
    in_group: bool,
    control: &OwnedFd,
    filter: Option<Filter>,
) -> Result<process::Ready> {
    rustix::process::setsid().context(|| "start a session")?;
    if !in_group {
        group.enter()?;
    }
    if let Some(score) = exec.process.oom_score_adj {
        process::oom_score(score)?;
    }
    // what else the caller has open is the host's: not even a container that may trace its processes gets to see it
    let mut keep = vec![control.as_raw_fd()];
    keep.extend(target.process.as_ref().map(AsRawFd::as_raw_fd));
    if let Stdio::Fds(fds) = &exec.stdio {
        keep.extend(fds.iter().map(AsRawFd::as_raw_fd));
    }
    sys::exec::close_others(3 + exec.preserve_fds as i32, &mut keep);
    target.join()?;
    if target.user {
        let (g, u) = (rustix::thread::Gid::ROOT, rustix::thread::Uid::ROOT);
        rustix::thread::set_thread_res_gid(g, g, g).context(|| "become root of the user namespace")?;
        rustix::thread::set_thread_res_uid(u, u, u).context(|| "become root of the user namespace")?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "become undumpable")?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open the container's root")?;
    let mut master = None;
    match &exec.stdio {
        Stdio::Inherit => {}
        Stdio::Fds(fds) => process::streams([fds[0].as_fd(), fds[1].as_fd(), fds[2].as_fd()])?,
        Stdio::Terminal => {
            let terminal = console::open(root.as_fd(), exec.process.console_size)?;
            process::terminal(&terminal.slave)?;
            master = Some(terminal.master);
        }
    }
    sys::exec::close_on_exec_from(3 + exec.preserve_fds).context(|| "close what the program must not inherit")?;
    let who = Who { name: exec.user_name, groups: exec.group_add };
    let ready = process::prepare(root.as_fd(), exec.process, who, filter, false)?;
    for note in super::note::take() {
        let tag = if note.minor { Tag::Info } else { Tag::Warning };
        link::send(control.as_fd(), tag, &note.text, None).context(|| "talk to the runtime")?;
    }
    link::send(control.as_fd(), Tag::Ready, "", master.as_ref().map(AsFd::as_fd)).context(|| "tell that the process is ready")?;
    Ok(ready)
}

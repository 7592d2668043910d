//! Making a container: the side of the parent.

use super::cgroup::Cgroup;
use super::link::{self, Tag};
use super::namespaces::{self, Namespaces};
use super::spec::{IdMapping, Resources, Spec};
use super::{hooks, init, rootfs};
use crate::base::{Context, Error, Kind, Result};
use crate::sys::{self, clone::Forked};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The standard streams of a process.
pub enum Stdio {
    /// Those of the caller.
    Inherit,
    /// Standard input, output and error.
    Fds([OwnedFd; 3]),
    /// A terminal of the container's own, in the size that the process asks for; its master comes back.
    Terminal,
}

impl Stdio {
    /// Moves descriptors out of the way of the standard streams, so that one cannot overwrite another.
    pub(super) fn above_standard(self) -> Result<Stdio> {
        let Stdio::Fds(fds) = self else { return Ok(self) };
        let [a, b, c] = fds;
        let up = |fd: OwnedFd| -> Result<OwnedFd> {
            if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?) }
        };
        Ok(Stdio::Fds([up(a)?, up(b)?, up(c)?]))
    }
}

/// A container to make.
pub struct Request<'a> {
    /// Its name.
    pub id: &'a str,
    /// What it is.
    pub spec: &'a Spec,
    /// Directory that relative paths of the specification start from.
    pub bundle: &'a str,
    /// Standard streams.
    pub stdio: Stdio,
    /// A listening `SOCK_SEQPACKET` socket: the start signal comes by a connection to it, from another process, instead of by
    /// [`Created::start`]. See [`start_by`].
    pub listener: Option<OwnedFd>,
    /// Do not use pivot_root.
    pub no_pivot: bool,
    /// So many descriptors after the standard streams are passed on.
    pub preserve_fds: u32,
}

/// A container whose init is set up and waits.
pub struct Created {
    /// Init, in the caller's PID namespace; the caller is its parent.
    pub pid: i32,
    /// Descriptor of init, if the kernel has them.
    pub pidfd: Option<OwnedFd>,
    /// The terminal's master.
    pub console: Option<OwnedFd>,
    /// The container's control group.
    pub cgroup: Cgroup,
    control: OwnedFd,
}

fn check(spec: &Spec) -> Result<()> {
    for (i, n) in spec.linux.namespaces.iter().enumerate() {
        if !namespaces::is_kind(&n.kind) {
            return Err(Error::invalid(format!("namespace {:?} is not known", n.kind)));
        }
        if spec.linux.namespaces[..i].iter().any(|other| other.kind == n.kind) {
            return Err(Error::invalid(format!("namespace {:?} is there twice", n.kind)));
        }
    }
    if !spec.makes("mount") {
        return Err(Error::invalid("a container needs a mount namespace of its own"));
    }
    if spec.makes("user") && (spec.linux.uid_mappings.is_empty() || spec.linux.gid_mappings.is_empty()) {
        return Err(Error::invalid("a user namespace needs uidMappings and gidMappings"));
    }
    if !spec.linux.uid_mappings.is_empty() && spec.namespace("user").is_none() {
        return Err(Error::invalid("uidMappings need a user namespace"));
    }
    for (what, label) in [
        ("apparmorProfile", &spec.process.apparmor_profile),
        ("selinuxLabel", &spec.process.selinux_label),
        ("mountLabel", &spec.linux.mount_label),
    ] {
        if !label.is_empty() && label != "unconfined" {
            crate::runtime::note::add(format!("{what} {label:?} is not applied"));
        }
    }
    Ok(())
}

/// Makes a container up to the point where only the exec of its program is missing. On failure nothing is left of it, and
/// the error says what it was.
pub fn create(mut request: Request<'_>) -> Result<Created> {
    let spec = request.spec;
    check(spec)?;
    request.stdio = request.stdio.above_standard()?;
    let group = Cgroup::locate(&spec.linux.cgroups_path, request.id)?;
    let made = group.make().and_then(|()| born(&request, &group));
    super::note::take().iter().for_each(super::note::Note::log);
    if made.is_err()
        && let Err(e) = group.delete()
    {
        log::warn!("{e}");
    }
    made
}

/// Limits that init must find when it enters the group: they add hierarchies to it.
fn early(resources: Option<&Resources>) -> bool {
    resources.is_some_and(|r| {
        !r.hugepage_limits.is_empty() || r.cpu.as_ref().is_some_and(|c| !c.cpus.is_empty() || !c.mems.is_empty())
    })
}

fn born(request: &Request<'_>, group: &Cgroup) -> Result<Created> {
    let spec = request.spec;
    let resources = spec.linux.resources.as_ref();
    if early(resources) {
        group.restrict(resources)?;
    }
    let prepared = rootfs::prepare(spec, request.bundle)?;
    let namespaces = Namespaces::open(spec)?;
    let (ours, theirs) = sys::channel::pair()?;
    // no process of a container that init may share a PID namespace with shall look into it or its descriptors
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "become undumpable")?;
    let child = match namespaces.fork(group)? {
        Forked::Child { in_cgroup } => {
            drop(ours);
            let (join, privileged) = (namespaces.join, namespaces.user.is_none());
            init::main(
                request,
                init::Setup { control: theirs, join, group: group.clone(), in_group: in_cgroup, privileged, prepared },
            )
        }
        Forked::Parent(child) => child,
    };
    drop(theirs);
    // while init builds its root on another processor; before it can run anything of the container's
    let restricted = if early(resources) { Ok(()) } else { group.restrict(resources) };
    let mut created = Created { pid: child.pid, pidfd: child.pidfd, console: None, cgroup: group.clone(), control: ours };
    match restricted.and_then(|()| settle(request, &mut created)) {
        Ok(()) => Ok(created),
        Err(e) => {
            created.kill_and_wait();
            Err(e)
        }
    }
}

fn settle(request: &Request<'_>, created: &mut Created) -> Result<()> {
    let spec = request.spec;
    if spec.makes("user") {
        map("uid_map", created.pid, &spec.linux.uid_mappings)?;
        map("gid_map", created.pid, &spec.linux.gid_mappings)?;
        link::send(created.control.as_fd(), Tag::Go, "", None).context(|| "talk to the container's init")?;
    }
    loop {
        match link::receive(created.control.as_fd())? {
            (Tag::Hooks, _) => {
                if let Some(all) = &spec.hooks {
                    let state = hooks::state(spec, request.id, "creating", created.pid, request.bundle);
                    hooks::run("prestart", &all.prestart, &state)?;
                    hooks::run("createRuntime", &all.create_runtime, &state)?;
                }
                link::send(created.control.as_fd(), Tag::Go, "", None).context(|| "talk to the container's init")?;
            }
            (Tag::Ready, console) => {
                created.console = console;
                return Ok(());
            }
            _ => return Err(died(created)),
        }
    }
}

/// Init is gone without a word: says how, as far as can be known.
fn died(created: &Created) -> Error {
    match created.cgroup.oom_kills() {
        Ok(n) if n > 0 => Error::internal("container init was OOM-killed (memory limit too low?)"),
        _ => Error::internal("the container's init died while it was set up"),
    }
}

fn map(file: &str, pid: i32, mappings: &[IdMapping]) -> Result<()> {
    let text: String = mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect();
    std::fs::write(format!("/proc/{pid}/{file}"), text).context(|| format!("write the {file} of the user namespace"))
}

impl Created {
    /// Lets init become the user's program. An error says why it could not, in runc's words: `exec: "x": permission denied`.
    /// The process is then gone, but not waited for.
    pub fn start(&mut self) -> Result<()> {
        start_on(&self.control)
    }

    /// Kills init, waits for it, and removes the control group: undoes [`create`].
    pub fn destroy(self) -> Result<()> {
        self.kill_and_wait();
        self.cgroup.delete()
    }

    fn kill_and_wait(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // it may have ended by itself; either way it is waited for
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        }
    }
}

fn start_on(control: &OwnedFd) -> Result<()> {
    match link::send(control.as_fd(), Tag::Go, "", None) {
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {
            return Err(Error::internal("the container's init is gone"));
        }
        other => other.context(|| "start the container")?,
    }
    // the socket closes at the exec: silence is success
    match link::receive(control.as_fd())? {
        (Tag::End, _) => Ok(()),
        _ => Err(Error::internal("the container's init said something that is not understood")),
    }
}

/// Starts a container that was created with a [`Request::listener`], by its socket's path.
pub fn start_by(path: &str) -> Result<()> {
    let socket = sys::seqpacket::connect(path).map_err(|e| match e {
        rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED => {
            Error::new(Kind::Conflict, "cannot start a container that is not created")
        }
        e => e.into(),
    })?;
    start_on(&socket)
}

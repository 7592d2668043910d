//! The container's first process, from its birth in new namespaces to the exec of the user's program.

use super::create::Request;
use super::link::{self, Tag};
use super::process::{self, Who};
use super::{cgroup, console, hooks, rootfs, seccomp, sysctl};
use super::{create::Stdio, spec::Spec};
use crate::base::{Context, Error, Result};
use crate::sys;
use rustix::fs::Mode;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What init gets from its parent beside the request.
pub struct Setup {
    /// Socket to the parent.
    pub control: OwnedFd,
    /// Namespaces to join, in this order.
    pub join: Vec<(OwnedFd, i32)>,
    /// The group to enter, unless init was born in it.
    pub group: cgroup::Cgroup,
    /// See `group`.
    pub in_group: bool,
    /// Still has the host's privileges: has not joined a user namespace.
    pub privileged: bool,
    /// Mounts that only the parent could open.
    pub prepared: rootfs::Prepared,
}

/// Runs in the new process; ends it.
pub fn main(request: &Request<'_>, mut setup: Setup) -> ! {
    super::note::take(); // those are the parent's to tell
    let e = match run(request, &mut setup) {
        // the start signal may come by another connection, which then wants to hear of a failure
        Ok(ready) => match wait(request, &mut setup.control).and_then(|()| start_hooks(request)) {
            Ok(()) => ready.launch(),
            Err(e) => e,
        },
        Err(e) => e,
    };
    link::fail(setup.control.as_fd(), &e);
    sys::clone::exit_now(1)
}

fn run(request: &Request<'_>, setup: &mut Setup) -> Result<process::Ready> {
    let spec = request.spec;
    rustix::process::setsid().context(|| "start a session")?;
    if !spec.ext.keep_keyring {
        keyring(request.id)?;
    }
    if !setup.in_group {
        setup.group.enter()?;
    }
    if let Some(score) = spec.process.oom_score_adj.filter(|_| setup.privileged) {
        process::oom_score(score)?;
    }
    if spec.namespace("pid").is_some_and(|n| !n.path.is_empty()) {
        close_the_host_s(request, setup);
    }
    for (fd, flag) in setup.join.drain(..) {
        sys::clone::setns(fd.as_fd(), flag).context(|| "join a namespace")?;
    }
    if spec.makes("user") {
        map_ids(&setup.control)?;
    }
    // only now, since the group that the process is in becomes the namespace's root
    if spec.makes("cgroup") {
        sys::clone::unshare(libc::CLONE_NEWCGROUP).context(|| "make a cgroup namespace (CONFIG_CGROUPS)")?;
    }
    if spec.makes("time") {
        time_offsets(spec)?;
    }
    if spec.makes("network") {
        sys::netif::up("lo").context(|| "bring the loopback interface up")?;
    }
    names(spec)?;
    sysctl::apply(spec)?;
    rustix::process::umask(Mode::empty());
    let root = rootfs::build(spec, request.bundle, std::mem::take(&mut setup.prepared), &setup.group)?;
    let control = setup.control.as_fd();
    let master = if let Stdio::Terminal = request.stdio {
        let terminal = console::open(root.as_fd(), spec.process.console_size)?;
        if rootfs::needs_dev(spec) {
            console::bind(root.as_fd(), &terminal)?;
        }
        process::terminal(&terminal.slave)?;
        Some(terminal.master)
    } else {
        None
    };
    rootfs::protect(root.as_fd(), spec)?;
    if let Some(all) = &spec.hooks {
        if !all.prestart.is_empty() || !all.create_runtime.is_empty() {
            link::send(control, Tag::Hooks, "", None).context(|| "ask for the hooks")?;
            expect_go(control)?;
        }
        let state = hooks::state(spec, request.id, "creating", rustix::process::getpid().as_raw_nonzero().get(), request.bundle);
        hooks::run("createContainer", &all.create_container, &state)?;
    }
    rootfs::enter(root.as_fd(), spec, request.no_pivot)?;
    if let Stdio::Fds(fds) = &request.stdio {
        process::streams([fds[0].as_fd(), fds[1].as_fd(), fds[2].as_fd()])?;
    }
    domain(spec)?;
    // before anything of the container's can run: what is open now is closed by the exec
    sys::exec::close_on_exec_from(3 + request.preserve_fds).context(|| "close what the program must not inherit")?;
    let who = Who { name: spec.ext.user_name.as_deref(), groups: &spec.ext.group_add };
    let filter = seccomp::for_process(spec)?;
    let ready = process::prepare(root.as_fd(), &spec.process, who, filter, spec.ext.make_cwd)?;
    for note in super::note::take() {
        let tag = if note.minor { Tag::Info } else { Tag::Warning };
        link::send(control, tag, &note.text, None).context(|| "talk to the runtime")?;
    }
    link::send(control, Tag::Ready, "", master.as_ref().map(AsFd::as_fd)).context(|| "tell that the container is ready")?;
    Ok(ready)
}

/// Closes what the parent has open beside what init needs: where other processes of a container can see init from its birth, not
/// even one that may trace it shall get at the host's descriptors.
fn close_the_host_s(request: &Request<'_>, setup: &Setup) {
    let mut keep = vec![setup.control.as_raw_fd()];
    keep.extend(setup.join.iter().map(|(fd, _)| fd.as_raw_fd()));
    keep.extend(setup.prepared.root.iter().chain(setup.prepared.sources.iter().map(|(_, fd)| fd)).map(AsRawFd::as_raw_fd));
    keep.extend(request.listener.as_ref().map(AsRawFd::as_raw_fd));
    if let Stdio::Fds(fds) = &request.stdio {
        keep.extend(fds.iter().map(AsRawFd::as_raw_fd));
    }
    sys::exec::close_others(3 + request.preserve_fds as i32, &mut keep);
}

/// A session keyring of the container's own. Kernels without keys (CONFIG_KEYS) have nothing to hide.
fn keyring(id: &str) -> Result<()> {
    let name = std::ffi::CString::new(format!("_ses.{id}")).map_err(|_| Error::invalid("the id holds a zero byte"))?;
    match sys::exec::new_keyring(&name) {
        Ok(()) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM | rustix::io::Errno::DQUOT) => Ok(()),
        Err(e) => Err(e).context(|| "make a session keyring"),
    }
}

fn expect_go(control: BorrowedFd<'_>) -> Result<()> {
    match link::receive(control)?.0 {
        Tag::Go => Ok(()),
        _ => Err(Error::internal("the runtime gave up on the container")),
    }
}

/// Waits for the start signal. Nobody will give it any more if the other side is closed: then init ends.
fn wait(request: &Request<'_>, control: &mut OwnedFd) -> Result<()> {
    if let Some(listener) = &request.listener {
        *control = rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC).context(|| "wait for the start")?;
    }
    match link::receive(control.as_fd())?.0 {
        Tag::Go => Ok(()),
        _ => sys::clone::exit_now(0),
    }
}

fn start_hooks(request: &Request<'_>) -> Result<()> {
    let Some(all) = &request.spec.hooks else { return Ok(()) };
    let state =
        hooks::state(request.spec, request.id, "created", rustix::process::getpid().as_raw_nonzero().get(), request.bundle);
    hooks::run("startContainer", &all.start_container, &state)
}

/// Waits until the parent has written the maps, then becomes root of the user namespace.
fn map_ids(control: &OwnedFd) -> Result<()> {
    expect_go(control.as_fd())?;
    let what = || "become root of the user namespace";
    let (g, u) = (rustix::thread::Gid::ROOT, rustix::thread::Uid::ROOT);
    rustix::thread::set_thread_res_gid(g, g, g).context(what)?;
    rustix::thread::set_thread_res_uid(u, u, u).context(what)?;
    // becoming another user makes a process undumpable for good reason, which also takes its own /proc/self from it
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).context(what)
}

fn names(spec: &Spec) -> Result<()> {
    if !spec.hostname.is_empty() {
        if spec.namespace("uts").is_none() {
            return Err(Error::invalid("a hostname needs a UTS namespace of the container's own"));
        }
        rustix::system::sethostname(spec.hostname.as_bytes()).context(|| format!("set the hostname {:?}", spec.hostname))?;
    }
    if !spec.domainname.is_empty() {
        if spec.namespace("uts").is_none() {
            return Err(Error::invalid("a domainname needs a UTS namespace of the container's own"));
        }
        rustix::system::setdomainname(spec.domainname.as_bytes())
            .context(|| format!("set the domainname {:?}", spec.domainname))?;
    }
    Ok(())
}

fn domain(spec: &Spec) -> Result<()> {
    let Some(personality) = &spec.linux.personality else { return Ok(()) };
    let domain = match personality.domain.as_str() {
        "LINUX" => 0,
        "LINUX32" => 8,
        other => return Err(Error::invalid(format!("personality {other:?} is not known"))),
    };
    sys::exec::personality(domain).context(|| "set the personality")
}

fn time_offsets(spec: &Spec) -> Result<()> {
    sys::clone::unshare(sys::clone::NEWTIME as i32).context(|| "make a time namespace (CONFIG_TIME_NS)")?;
    let mut text = String::new();
    for (clock, offset) in &spec.linux.time_offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(format!("time offset of clock {clock:?} is not known")));
        }
        text.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    if text.is_empty() { Ok(()) } else { std::fs::write("/proc/self/timens_offsets", text).context(|| "set time offsets") }
}

//! The life of a container: create, start, run, kill, delete, pause.

use super::options::Options;
use super::state::{self, State};
use super::{Global, signals, terminal};
use crate::base::{Context, Error, Kind, Result};
use crate::runtime::{self, Cgroup, Request, Spec, Stdio, hooks};
use crate::sys;
use std::time::{Duration, Instant};

struct Loaded {
    bundle: String,
    text: Vec<u8>,
    spec: Spec,
}

fn load(o: &Options) -> Result<Loaded> {
    let given = o.get("--bundle").unwrap_or(".");
    let bundle = std::fs::canonicalize(given).context(|| format!("bundle {given}"))?.to_string_lossy().into_owned();
    let path = format!("{bundle}/config.json");
    let text = std::fs::read(&path).context(|| path.clone())?;
    let mut spec: Spec = serde_json::from_slice(&text).map_err(|e| Error::from(e).context(path))?;
    spec.ext.make_cwd = true; // as runc does
    spec.ext.keep_keyring = o.is("--no-new-keyring");
    if !spec.oci_version.starts_with("1.") {
        return Err(Error::invalid(format!("ociVersion {:?} is not supported", spec.oci_version)));
    }
    Ok(Loaded { bundle, text, spec })
}

/// Writes what the other commands need, and `--pid-file`.
fn record(dir: &str, l: &Loaded, id: &str, pid: i32, cgroup: &Cgroup, o: &Options) -> Result<()> {
    let started = state::process(pid).map(|(t, _)| t).unwrap_or_default();
    let rootfs =
        if l.spec.root.path.starts_with('/') { l.spec.root.path.clone() } else { format!("{}/{}", l.bundle, l.spec.root.path) };
    let s =
        State { id: id.into(), pid, started, bundle: l.bundle.clone(), rootfs, created: state::now(), cgroup: cgroup.clone() };
    s.write(dir)?;
    pid_file(o.get("--pid-file"), pid)
}

/// Writes a pid file so that a reader sees all of it or nothing.
pub fn pid_file(path: Option<&str>, pid: i32) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let new = format!("{path}.{}", std::process::id());
    std::fs::write(&new, pid.to_string()).and_then(|()| std::fs::rename(&new, path)).context(|| format!("write {path}"))
}

fn stdio(spec: &Spec, o: &Options, detached: bool) -> Result<Stdio> {
    match (spec.process.terminal, o.get("--console-socket"), detached) {
        (true, None, true) => Err(Error::invalid("cannot allocate tty if runc will detach without setting console socket")),
        (false, Some(_), _) => Err(Error::invalid("cannot use console socket if runc will not detach or allocate tty")),
        (true, ..) => Ok(Stdio::Terminal),
        (false, ..) => Ok(Stdio::Inherit),
    }
}

fn preserved(o: &Options) -> Result<u32> {
    let listen: u32 = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(o.number::<u32>("--preserve-fds")?.unwrap_or(0) + listen)
}

/// `create`.
pub fn create(global: &Global, o: &Options) -> Result<i32> {
    make(global, o, load(o)?, true, true).map(|_| 0)
}

/// Makes a container; if `later`, another command starts it.
fn make(global: &Global, o: &Options, l: Loaded, detached: bool, later: bool) -> Result<(runtime::Created, String, Loaded)> {
    let id = o.id()?;
    let stdio = stdio(&l.spec, o, detached)?;
    let dir = state::reserve(global, id)?;
    let made = (|| {
        // first of all: should this command be killed, it tells which control group there is to remove
        std::fs::write(format!("{dir}/config.json"), &l.text).context(|| format!("write {dir}/config.json"))?;
        let listener = if later {
            Some(sys::seqpacket::listen(&format!("{dir}/start.sock")).context(|| "make the socket for the start")?)
        } else {
            None
        };
        let request = Request {
            id,
            spec: &l.spec,
            bundle: &l.bundle,
            stdio,
            listener,
            no_pivot: o.is("--no-pivot"),
            preserve_fds: preserved(o)?,
        };
        let created = runtime::create(request)?;
        let told = record(&dir, &l, id, created.pid, &created.cgroup, o).and_then(|()| {
            match (o.get("--console-socket"), &created.console) {
                (Some(socket), Some(master)) => terminal::give(socket, master),
                _ => Ok(()),
            }
        });
        match told {
            Ok(()) => Ok(created),
            Err(e) => {
                created.destroy()?;
                Err(e)
            }
        }
    })();
    match made {
        Ok(created) => Ok((created, dir, l)),
        Err(e) => {
            state::remove(&dir)?;
            Err(e)
        }
    }
}

/// `start`.
pub fn start(global: &Global, o: &Options) -> Result<i32> {
    let s = State::read(global, o.id()?)?;
    match s.status(global)? {
        "created" => {}
        "running" => return Err(Error::conflict("cannot start an already running container")),
        other => return Err(Error::conflict(format!("cannot start a container that is {other}"))),
    }
    let socket = format!("{}/start.sock", state::folder(global, &s.id)?);
    let started = runtime::start_by(&socket);
    // the socket's presence is what tells created from running
    std::fs::remove_file(&socket).context(|| format!("remove {socket}"))?;
    started?;
    poststart(&s.spec(global)?, &s)?;
    Ok(0)
}

fn poststart(spec: &Spec, s: &State) -> Result<()> {
    match &spec.hooks {
        Some(all) => hooks::run("poststart", &all.poststart, &hooks::state(spec, &s.id, "running", s.pid, &s.bundle)),
        None => Ok(()),
    }
}

/// `run`.
pub fn run(global: &Global, o: &Options) -> Result<i32> {
    let detached = o.is("--detach");
    let l = load(o)?;
    let signals = if detached { None } else { Some(signals::block()?) };
    let (mut created, dir, l) = make(global, o, l, detached, false)?;
    let started = created.start().and_then(|()| {
        let s = State { id: o.id()?.to_owned(), pid: created.pid, bundle: l.bundle.clone(), ..State::default() };
        poststart(&l.spec, &s)
    });
    if let Err(e) = started {
        created.destroy()?;
        state::remove(&dir)?;
        return Err(e);
    }
    let Some(signals) = signals else { return Ok(0) };
    let status = match created.console.take() {
        Some(master) => terminal::join(&master, &signals, created.pid),
        None => signals::wait(&signals, created.pid),
    };
    if !o.is("--keep") {
        clean(&l.spec, &created.cgroup, o.id()?, &l.bundle, &dir)?;
    }
    status
}

/// Removes what is left of a container that has ended.
fn clean(spec: &Spec, cgroup: &Cgroup, id: &str, bundle: &str, dir: &str) -> Result<()> {
    cgroup.delete()?;
    state::remove(dir)?;
    if let Some(all) = &spec.hooks {
        for hook in &all.poststop {
            // the container is gone already: a hook that fails is only worth a warning
            if let Err(e) = hooks::run("poststop", std::slice::from_ref(hook), &hooks::state(spec, id, "stopped", 0, bundle)) {
                log::warn!("{e}");
            }
        }
    }
    Ok(())
}

/// `kill`.
pub fn kill(global: &Global, o: &Options) -> Result<i32> {
    let (id, signal) = match o.args.as_slice() {
        [id] => (id, libc::SIGTERM),
        [id, signal] => (id, signals::number(signal)?),
        _ => return Err(Error::invalid("kill: a container id and perhaps a signal are needed")),
    };
    let s = State::read(global, id)?;
    if o.is("--all") {
        for pid in s.cgroup.pids()? {
            let _ = signals::send(pid, signal); // one that has ended meanwhile needs no signal
        }
        return Ok(0);
    }
    if !s.alive() {
        return Err(Error::conflict("container not running"));
    }
    signals::send(s.pid, signal).context(|| format!("signal container {id}"))?;
    if signal == libc::SIGKILL && s.cgroup.is_frozen() {
        s.cgroup.thaw()?; // else it would die only when somebody resumes it
    }
    Ok(0)
}

/// `delete`.
pub fn delete(global: &Global, o: &Options) -> Result<i32> {
    if o.args.is_empty() {
        return Err(Error::invalid("delete: a container id is needed"));
    }
    o.args.iter().try_for_each(|id| delete_one(global, id, o.is("--force")))?;
    Ok(0)
}

fn delete_one(global: &Global, id: &str, force: bool) -> Result<()> {
    let s = match State::read(global, id) {
        Err(e) if force && e.kind() == Kind::NotFound => {
            return delete_remains(global, id);
        }
        other => other?,
    };
    let status = s.status(global)?;
    if !matches!(status, "stopped" | "created") && !force {
        return Err(Error::conflict(format!("cannot delete container {id} that is not stopped: {status}")));
    }
    if status != "stopped" {
        let _ = signals::send(s.pid, libc::SIGKILL); // it may end by itself meanwhile
        if status == "paused" {
            s.cgroup.thaw()?;
        }
        let end = Instant::now() + Duration::from_secs(10);
        while s.alive() {
            if Instant::now() > end {
                return Err(Error::internal(format!("container {id} is still running")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let spec = s.spec(global).unwrap_or_default(); // without it only the hooks are missed
    clean(&spec, &s.cgroup, id, &s.bundle, &state::folder(global, id)?)
}

/// Removes what a creation that was cut off has left.
fn delete_remains(global: &Global, id: &str) -> Result<()> {
    let dir = state::folder(global, id)?;
    let text = std::fs::read(format!("{dir}/config.json")).unwrap_or_default();
    if let Ok(spec) = serde_json::from_slice::<Spec>(&text) {
        Cgroup::locate(&spec.linux.cgroups_path, id)?.delete()?;
    }
    state::remove(&dir)
}

/// `pause` and `resume`.
pub fn pause(global: &Global, o: &Options, freeze: bool) -> Result<i32> {
    let s = State::read(global, o.id()?)?;
    match (s.status(global)?, freeze) {
        ("running" | "created", true) => s.cgroup.freeze()?,
        ("paused", false) => s.cgroup.thaw()?,
        (_, true) => return Err(Error::conflict("container not running")),
        (_, false) => return Err(Error::conflict("container not paused")),
    }
    Ok(0)
}

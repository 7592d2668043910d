//! What the runtime remembers of a container between two commands: `<root>/<id>/state.json`, a copy of `config.json`, and the
//! socket by which its program is started.

use super::Global;
use crate::base::{Context, Error, Kind, Result, id, time::Time};
use crate::runtime::{Cgroup, Spec};
use serde::{Deserialize, Serialize};

/// `state.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Name.
    pub id: String,
    /// Init's pid.
    pub pid: i32,
    /// When it started, in the kernel's ticks: tells it from another process that got its pid later.
    pub started: u64,
    /// Directory of `config.json`.
    pub bundle: String,
    /// The root's path.
    pub rootfs: String,
    /// When it was made.
    pub created: String,
    /// Its control group.
    pub cgroup: Cgroup,
}

/// A container's folder.
pub fn folder(global: &Global, name: &str) -> Result<String> {
    if !id::is_name(name) {
        return Err(Error::invalid(format!("invalid container id {name:?}")));
    }
    Ok(format!("{}/{name}", global.root))
}

/// Makes the folder for a new container.
pub fn reserve(global: &Global, name: &str) -> Result<String> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = folder(global, name)?;
    let make = || std::fs::DirBuilder::new().mode(0o711).create(&dir);
    let made = make().or_else(|e| {
        if e.kind() != std::io::ErrorKind::NotFound {
            return Err(e);
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&global.root)?;
        make()
    });
    match made {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::conflict(format!("container with id {name} exists already")))
        }
        other => other.context(|| format!("make {dir}")).map(|()| dir),
    }
}

/// Removes it.
pub fn remove(dir: &str) -> Result<()> {
    for file in ["state.json", "config.json"] {
        match std::fs::remove_file(format!("{dir}/{file}")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context(|| format!("remove {dir}/{file}")),
            _ => {}
        }
    }
    let removed = match std::fs::remove_dir(dir) {
        // the socket of one that was never started, or what a killed command has left
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => std::fs::remove_dir_all(dir),
        other => other,
    };
    match removed {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove {dir}")),
    }
}

/// The start time of a process in the kernel's ticks, and its state letter; `None` if there is no such process.
pub fn process(pid: i32) -> Option<(u64, char)> {
    let mut buffer = [0u8; 1024];
    let fd = rustix::fs::open(
        format!("/proc/{pid}/stat"),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()?;
    let n = rustix::io::read(&fd, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..n]);
    // the name, in parentheses, may hold anything
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let letter = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, letter))
}

impl State {
    /// Writes it; a reader sees the old or the new one.
    pub fn write(&self, dir: &str) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        let (new, path) = (format!("{dir}/state.new"), format!("{dir}/state.json"));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).context(|| format!("write {path}"))
    }

    /// Reads that of a container.
    pub fn read(global: &Global, name: &str) -> Result<State> {
        let dir = folder(global, name)?;
        let text = match std::fs::read(format!("{dir}/state.json")) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::not_found(format!("container {name} does not exist")));
            }
            other => other.context(|| format!("read {dir}/state.json"))?,
        };
        serde_json::from_slice(&text).map_err(|e| Error::new(Kind::Internal, format!("{dir}/state.json is damaged: {e}")))
    }

    /// The specification that the container was made from.
    pub fn spec(&self, global: &Global) -> Result<Spec> {
        let path = format!("{}/config.json", folder(global, &self.id)?);
        let text = std::fs::read(&path).context(|| format!("read {path}"))?;
        serde_json::from_slice(&text).map_err(|e| Error::from(e).context(format!("read {path}")))
    }

    /// Init is alive.
    pub fn alive(&self) -> bool {
        self.pid > 0 && process(self.pid).is_some_and(|(started, letter)| started == self.started && !matches!(letter, 'Z' | 'X'))
    }

    /// `created`, `running`, `paused` or `stopped`.
    pub fn status(&self, global: &Global) -> Result<&'static str> {
        if !self.alive() {
            return Ok("stopped");
        }
        if self.cgroup.is_frozen() {
            return Ok("paused");
        }
        let waiting = std::fs::exists(format!("{}/start.sock", folder(global, &self.id)?)).unwrap_or(false);
        Ok(if waiting { "created" } else { "running" })
    }
}

/// Now, for `created`.
pub fn now() -> String {
    Time::now().rfc3339()
}

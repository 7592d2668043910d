//! A container: what it is (durable), how it is (partly), and who waits for it (not at all).

use crate::base::time::Time;
use crate::base::{Error, Result};
use crate::engine::ConnId;
use crate::image::Digest;
use crate::wire::container::{Config, Endpoint, HostConfig, MountPoint};
use crate::wire::shim::VolumeMount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// Docker's words for what a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Status {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl Status {
    /// As the API spells it.
    pub fn text(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Removing => "removing",
            Status::Exited => "exited",
            Status::Dead => "dead",
        }
    }
}

/// `config.json` of a container: fixed at create but for name, resources and restart policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// Format of this file.
    pub version: u32,
    /// 64 hex digits.
    pub id: String,
    /// Without the slash.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: Time,
    /// `sha256:…` of the image's config.
    pub image: String,
    /// Diff IDs, bottom first: known even if the image's record is gone.
    pub layers: Vec<String>,
    /// Merged with the image's.
    pub config: Config,
    /// What the host gives.
    pub host: HostConfig,
    /// Resolved mounts.
    pub mounts: Vec<MountPoint>,
    /// Destinations of volumes that take what the image has there.
    pub copy_up: Vec<String>,
    /// Bind sources that are made if missing.
    pub make_sources: Vec<String>,
    /// Volumes that are file systems.
    pub volume_mounts: Vec<VolumeMount>,
    /// Names of volumes that were made for this container alone.
    pub anonymous: Vec<String>,
    /// Networks as asked for.
    pub networks: BTreeMap<String, Endpoint>,
}

/// `state.json`: how it ended last, and whether it should run after a reboot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What it does.
    pub status: Status,
    /// In the host's pid namespace; 0 if it does not run.
    pub pid: u32,
    /// Of the last run.
    pub exit_code: i32,
    /// Why it could not be started.
    pub error: String,
    /// The kernel killed it for its memory.
    pub oom_killed: bool,
    /// When it was started.
    pub started: Time,
    /// When it ended.
    pub finished: Time,
    /// A person stopped it: `unless-stopped` does not start it at boot.
    pub manually_stopped: bool,
    /// Restarts by policy.
    pub restarts: u32,
}

/// `state.json` in the exec root.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    /// How it is.
    pub state: State,
    /// Its networks.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Its cgroup.
    pub cgroup: String,
}

/// What ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// A client that wants to see the streams before there is a shim.
pub struct PendingAttach {
    /// The connection's socket.
    pub socket: OwnedFd,
    /// As in `wire::shim`.
    pub flags: u16,
    /// What it has sent already.
    pub prefix: Vec<u8>,
}

/// What follows when a stop is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// 204.
    Answer,
    /// Start again, then 204.
    Restart,
    /// Remove (and its anonymous volumes), then 204.
    Remove {
        /// Anonymous volumes too.
        volumes: bool,
    },
}

/// A container.
pub struct Container {
    /// Fixed.
    pub def: Definition,
    /// `def.id`.
    pub id: String,
    /// The image.
    pub image: Digest,
    /// How it is.
    pub state: State,
    /// A number for tokens.
    pub number: u32,
    /// The socket of its starter or shim.
    pub link: Option<u32>,
    /// A start is under way; who waits for it.
    pub starting: Option<Vec<ConnId>>,
    /// Attached before the start.
    pub pending: Vec<PendingAttach>,
    /// Clients that wait for an end.
    pub waiters: Vec<(ConnId, Condition)>,
    /// A stop is under way; who waits, and what follows.
    pub stops: Vec<(ConnId, After)>,
    /// The network as it was set up.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Pause of the restart policy, in milliseconds; 0 is the first.
    pub backoff: u64,
    /// A stop or kill was asked for: the next end is not followed by a restart.
    pub exit_on_next: bool,
    /// The cgroup of this run.
    pub cgroup: String,
}

impl Container {
    /// One that has not run.
    pub fn new(def: Definition, image: Digest, number: u32) -> Container {
        Container {
            id: def.id.clone(),
            def,
            image,
            state: State::default(),
            number,
            link: None,
            starting: None,
            pending: Vec::new(),
            waiters: Vec::new(),
            stops: Vec::new(),
            endpoints: BTreeMap::new(),
            backoff: 0,
            exit_on_next: false,
            cgroup: String::new(),
        }
    }

    /// Running, paused too.
    pub fn is_running(&self) -> bool {
        matches!(self.state.status, Status::Running | Status::Paused)
    }

    /// Its control group, while it runs.
    pub fn control_group(&self) -> Result<crate::runtime::Cgroup> {
        crate::runtime::Cgroup::locate(&self.cgroup, &self.id)
    }

    /// Lives in the exec root only: it goes when it ends, so it need not outlive a power cut.
    pub fn is_volatile(&self) -> bool {
        self.def.host.auto_remove
    }
}

/// All containers.
#[derive(Default)]
pub struct Containers {
    by_id: BTreeMap<String, Container>,
    names: BTreeMap<String, String>,
}

impl Containers {
    /// Adds one.
    pub fn insert(&mut self, container: Container) {
        self.names.insert(container.def.name.clone(), container.id.clone());
        self.by_id.insert(container.id.clone(), container);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &str) -> Option<Container> {
        let container = self.by_id.remove(id)?;
        self.names.retain(|_, to| to != id);
        Some(container)
    }

    /// All, by ID.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        self.by_id.values()
    }

    /// IDs.
    pub fn ids(&self) -> Vec<String> {
        self.by_id.keys().cloned().collect()
    }

    /// By ID.
    pub fn get(&self, id: &str) -> Option<&Container> {
        self.by_id.get(id)
    }

    /// By ID.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Container> {
        self.by_id.get_mut(id)
    }

    /// The ID that has a name.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.names.get(name).map(String::as_str)
    }

    /// Gives a container another name.
    pub fn rename(&mut self, id: &str, name: &str) {
        self.names.retain(|_, to| to != id);
        self.names.insert(name.to_string(), id.to_string());
        if let Some(c) = self.by_id.get_mut(id) {
            c.def.name = name.to_string();
        }
    }

    /// The ID by ID, name, or unique beginning of an ID.
    pub fn find(&self, name: &str) -> Result<String> {
        if self.by_id.contains_key(name) {
            return Ok(name.to_string());
        }
        if let Some(id) = self.names.get(name.strip_prefix('/').unwrap_or(name)) {
            return Ok(id.clone());
        }
        if name.is_empty() {
            return Err(Error::invalid("invalid empty container name or ID"));
        }
        let mut found = self.by_id.range(name.to_string()..).take_while(|(id, _)| id.starts_with(name));
        match (found.next(), found.next()) {
            (Some((id, _)), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!("multiple IDs found with provided prefix: {name}"))),
            _ => Err(Error::not_found(format!("No such container: {name}"))),
        }
    }

    /// The container by anything that names it.
    pub fn lookup(&self, name: &str) -> Result<&Container> {
        let id = self.find(name)?;
        self.get(&id).ok_or_else(|| Error::not_found(format!("No such container: {name}")))
    }

    /// The container with that number.
    pub fn numbered(&self, number: u32) -> Option<&Container> {
        self.by_id.values().find(|c| c.number == number)
    }

    /// A connection is gone.
    pub fn forget(&mut self, conn: ConnId) {
        for c in self.by_id.values_mut() {
            c.waiters.retain(|(w, _)| *w != conn);
            // A stop or start goes on; only nobody is told.
            for (w, _) in &mut c.stops {
                if *w == conn {
                    *w = 0;
                }
            }
            if let Some(waiting) = &mut c.starting {
                waiting.retain(|w| *w != conn);
            }
        }
    }
}

//! Control groups of both versions: where a container's group is, its limits, who is in it.
//!
//! With version 1 a container has one directory in each hierarchy that serves a purpose; a hierarchy that only limits (cpuset,
//! hugetlb, …) is used if there is a limit to set. With version 2 it has one directory.

mod bpf;
mod devices;
mod files;
mod view;
mod v1;
mod v2;

pub use view::mount;

use super::spec::Resources;
use crate::base::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Where control groups are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The control group of a container. It need not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Only version 2 is mounted.
    pub v2: bool,
    /// Its path from the root of each hierarchy, absolute.
    pub path: String,
    /// The version 1 hierarchies it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hierarchies: Vec<Hierarchy>,
}

/// One hierarchy of version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// `cpu,cpuacct`; for one without controllers `name=systemd`.
    pub controllers: String,
    /// Its directory below [`ROOT`].
    pub dir: String,
}

/// The hierarchies of version 1 that are mounted at [`ROOT`].
pub fn mounted() -> Vec<Hierarchy> {
    v1::known().unwrap_or_default().into_iter().filter(v1::is_mounted).collect()
}

impl Cgroup {
    /// The group at `path` (the specification's `cgroupsPath`; `/prtiql/<id>` if it is empty).
    pub fn locate(path: &str, id: &str) -> Result<Cgroup> {
        let path = if path.is_empty() { format!("/prtiql/{id}") } else { format!("/{}", path.trim_matches('/')) };
        if path.len() < 2 || path.split('/').any(|part| part == "..") {
            return Err(Error::invalid(format!("cgroupsPath {path:?} is not usable")));
        }
        let found = rustix::fs::statfs(ROOT).context(|| format!("look at {ROOT}"))?;
        #[allow(clippy::unnecessary_cast)] // it has other types on other machines
        let v2 = found.f_type as i64 == CGROUP2_MAGIC;
        let hierarchies = if v2 { Vec::new() } else { v1::hierarchies()? };
        if !v2 && !hierarchies.iter().any(v1::is_mounted) {
            return Err(Error::unsupported(format!(
                "no control groups are mounted at {ROOT} (CONFIG_CGROUPS; mount -t cgroup2 cgroup2 {ROOT})"
            )));
        }
        Ok(Cgroup { v2, path, hierarchies })
    }

    /// Makes the group, without limits.
    pub fn make(&self) -> Result<()> {
        if self.v2 { v2::make(self) } else { v1::make(self) }
    }

    /// Sets the limits of a new group, those of devices included.
    pub fn restrict(&self, resources: Option<&Resources>) -> Result<()> {
        let rules = resources.map(|r| r.devices.as_slice()).unwrap_or_default();
        if self.v2 {
            v2::devices(self, rules)?
        } else {
            v1::devices(self, rules)?
        }
        resources.map_or(Ok(()), |resources| self.update(resources))
    }

    /// Changes limits; what is unset stays as it is.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        if self.v2 { v2::set(self, resources) } else { v1::set(self, resources) }
    }

    /// Puts this process into the group.
    pub fn enter(&self) -> Result<()> {
        if self.v2 { v2::enter(self) } else { v1::enter(self) }
    }

    /// The directory that a process can be born in; only version 2.
    pub fn folder(&self) -> Result<Option<OwnedFd>> {
        if !self.v2 {
            return Ok(None);
        }
        let dir = self.v2_dir();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Some(rustix::fs::open(dir.as_str(), flags, Mode::empty()).context(|| format!("open control group {dir}"))?))
    }

    fn v2_dir(&self) -> String {
        format!("{ROOT}{}", self.path)
    }

    /// The directories of the group, one for version 2.
    pub fn dirs(&self) -> Vec<String> {
        if self.v2 {
            vec![self.v2_dir()]
        } else {
            self.hierarchies.iter().map(|h| format!("{ROOT}/{}{}", h.dir, self.path)).collect()
        }
    }

    /// The directory in the hierarchy of a controller.
    pub fn dir_of(&self, controller: &str) -> Option<String> {
        if self.v2 {
            return Some(self.v2_dir());
        }
        let h = self.hierarchies.iter().find(|h| h.controllers.split(',').any(|c| c == controller))?;
        Some(format!("{ROOT}/{}{}", h.dir, self.path))
    }

    /// The group that a process of the container is in: the container may have made groups of its own below (version 2), in
    /// which case its own directory takes no processes any more.
    pub fn of_process(&self, pid: i32) -> Cgroup {
        let mut group = self.clone();
        if self.v2 {
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let path = text.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or_default();
            if path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                group.path = path.to_owned();
            }
        }
        group
    }

    /// Processes of the group and of all groups below it.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let dir = ["devices", "pids", "memory", "freezer"].iter().find_map(|c| self.dir_of(c));
        match dir.or_else(|| self.dirs().into_iter().next()) {
            Some(dir) => files::pids(&dir),
            None => Ok(Vec::new()),
        }
    }

    /// Tells the kernel to stop all processes, or to let them go on, and does not wait: for callers that may not block. Processes
    /// that are in a system call stop a little later.
    pub fn freeze_soon(&self, freeze: bool) -> Result<()> {
        if self.v2 { v2::freeze_soon(self, freeze) } else { v1::freeze_soon(self, freeze) }
    }

    /// Stops all processes and waits until they have stopped.
    pub fn freeze(&self) -> Result<()> {
        if self.v2 { v2::freeze(self, true) } else { v1::freeze(self, true) }
    }

    /// Lets all processes go on.
    pub fn thaw(&self) -> Result<()> {
        if self.v2 { v2::freeze(self, false) } else { v1::freeze(self, false) }
    }

    /// The group is frozen.
    pub fn is_frozen(&self) -> bool {
        if self.v2 { v2::is_frozen(self) } else { v1::is_frozen(self) }
    }

    /// How often the kernel killed a process of the group because memory ran out.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(dir) = self.dir_of("memory") else { return Ok(0) };
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        files::counter(&format!("{dir}/{file}"), "oom_kill")
    }

    /// Sends a signal to every process.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        for pid in self.pids()? {
            if let Some(pid) = Pid::from_raw(pid) {
                match rustix::process::kill_process(pid, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(e) => return Err(e).context(|| format!("signal process {pid:?}")),
                }
            }
        }
        Ok(())
    }

    /// Kills every process; new ones that are made meanwhile, too.
    pub fn kill_all(&self) -> Result<()> {
        if self.v2 && files::write(&format!("{}/cgroup.kill", self.v2_dir()), "1").is_ok() {
            return Ok(()); // Linux 5.14
        }
        for _ in 0..100 {
            if self.pids()?.is_empty() {
                return Ok(());
            }
            self.signal_all(Signal::KILL)?;
            if self.is_frozen() {
                self.thaw()?; // a frozen process of version 1 dies only when it thaws
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Kills what is left in the group and removes it. A group that is not there is no error.
    pub fn delete(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(3);
        let mut killed = false;
        let more = if self.v2 { Vec::new() } else { v1::limited(self) };
        for dir in self.dirs().into_iter().chain(more) {
            loop {
                match files::remove(&dir) {
                    Ok(()) => break,
                    Err(Errno::BUSY) if Instant::now() < end => {
                        if !killed {
                            self.kill_all()?;
                            killed = true;
                        } else {
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                    Err(e) => return Err(e).context(|| format!("remove control group {dir}")),
                }
            }
        }
        Ok(())
    }
}

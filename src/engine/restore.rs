//! At start: what is on disk, what still runs, and what should run again.

use crate::base::time::Time;
use crate::base::{Context, Result, id};
use crate::engine::Engine;
use crate::engine::container::{Container, Definition, RunState, State, Status};
use crate::engine::images::Image;
use crate::engine::lifecycle::Cause;
use crate::engine::shims::Owner;
use crate::engine::volumes::Volume;
use crate::image::Digest;
use crate::image::config::ImageConfig;
use crate::store;
use crate::wire::commit::Change;
use crate::wire::shim::{self, Record};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A container whose daemon did not see its end: Docker's code for it.
const LOST: i32 = 255 << 8;

impl Engine {
    /// Reads the tables; finds running containers by their shims.
    pub fn restore(&mut self) -> Result<()> {
        let (images, mut aside) = store::images(&self.root)?;
        for stored in images {
            let (pulled, in_store) = (stored.info.pulled, stored.in_store);
            match Image::new(stored.id, stored.config, stored.layers, stored.info.sizes) {
                Ok(mut image) => {
                    (image.pulled, image.in_store) = (pulled, in_store);
                    self.images.by_id.insert(image.id, image);
                }
                Err(e) => log::error!("image {} is set aside: {e}", stored.id),
            }
        }
        let (tags, more) = store::tags(&self.root)?;
        aside.extend(more);
        let named: BTreeSet<Digest> = tags.iter().map(|tag| tag.image).collect();
        for tag in tags {
            match self.images.by_id.contains_key(&tag.image) {
                true if tag.in_store => self.images.add_store_tag(tag.reference, tag.image),
                true => {
                    self.images.tags.insert(tag.reference, tag.image);
                }
                false => log::error!("tag {} is set aside: its image {} is not there", tag.reference, tag.image),
            }
        }
        if let Err(e) = self.root.check_writable() {
            log::warn!("{e}");
        }
        self.restore_volumes();
        self.restore_containers();
        for aside in aside {
            match self.never_told(&aside.path).filter(|id| !named.contains(id)) {
                Some(id) => self.committer.change(Change::Discard { path: format!("images/sha256/{}", id.hex()) }),
                None => log::error!("{} is set aside: {}", aside.path.display(), aside.reason),
            }
        }
        self.empty_trash_soon();
        self.look_daily();
        Ok(())
    }

    /// The ID, if that is an image with a whole config that lacks a layer, and no container has it: its worker was killed before it
    /// could tell of it, and a removal that knew nothing of it took the layer.
    fn never_told(&self, path: &Path) -> Option<Digest> {
        let id = Digest::from_hex(path.strip_prefix(self.root.path().join("images/sha256")).ok()?.to_str()?).ok()?;
        let config = std::fs::read(path.join("config.json")).ok()?;
        let lacks = Digest::of(&config) == id
            && ImageConfig::parse(&config).ok()?.rootfs.diff_ids.iter().any(|layer| !self.root.has_layer(layer));
        (lacks && self.root.check_writable().is_ok() && !self.containers.all().any(|c| c.image == id)).then_some(id)
    }

    fn restore_volumes(&mut self) {
        for path in entries(&self.root.path().join("volumes")) {
            // A volume that was being made when the power went: nobody has put anything into it.
            let empty = std::fs::read_dir(path.join("_data"))
                .map_or_else(|e| e.kind() == std::io::ErrorKind::NotFound, |mut all| all.next().is_none());
            if !path.join("volume.json").exists() && empty {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.committer.change(Change::Discard { path: format!("volumes/{name}") });
                continue;
            }
            match read::<Volume>(&path.join("volume.json")) {
                Ok(volume) => {
                    self.volumes.by_name.insert(volume.name.clone(), volume);
                }
                Err(e) => log::error!("volume {} is set aside: {e}", path.display()),
            }
        }
    }

    fn restore_containers(&mut self) {
        let mut found: Vec<String> = Vec::new();
        for root in [self.root.path().join("containers"), PathBuf::from(format!("{}/containers", self.settings.exec_root))] {
            for path in entries(&root) {
                if !path.join("config.json").exists() {
                    continue; // never became real, or only its run directory
                }
                match read::<Definition>(&path.join("config.json")).and_then(|def| self.restore_container(def, &path)) {
                    Ok(id) => found.push(id),
                    Err(e) => log::error!("container {} is set aside: {e}", path.display()),
                }
            }
        }
        for path in entries(&self.root.path().join("containers")) {
            // A folder without a definition is of a container that went with its end, or was never acknowledged.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !path.join("config.json").exists() && !found.contains(&name) {
                self.committer.change(Change::Discard { path: format!("containers/{name}") });
            }
        }
        for id in &found {
            self.find_shim(id);
        }
        self.sweep_cgroups();
        for id in found {
            self.start_at_boot(&id);
        }
    }

    fn restore_container(&mut self, def: Definition, path: &Path) -> Result<String> {
        let id = def.id.clone();
        let image = Digest::parse(&def.image)?;
        let mut state: State = read(&path.join("state.json")).unwrap_or_default();
        let run: RunState = read(Path::new(&format!("{}/state.json", self.run_dir(&id)))).unwrap_or_default();
        if run.state.status != Status::Created {
            state = run.state;
        }
        let number = self.number();
        for endpoint in run.endpoints.values() {
            if let Ok(address) = endpoint.ip_address.parse() {
                let _ = self.networks.take(Some(address));
            }
        }
        let mut container = Container::new(def, image, number);
        (container.state, container.endpoints, container.cgroup) = (state, run.endpoints, run.cgroup);
        self.containers.insert(container);
        Ok(id)
    }

    /// Connects to the container's shim, or finds out how it ended without a daemon.
    fn find_shim(&mut self, id: &str) {
        let socket = format!("{}/shim.sock", self.run_dir(id));
        let connect = || -> Result<std::os::fd::OwnedFd> {
            let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            rustix::net::connect(&fd, &SocketAddrUnix::new(&*socket)?)?;
            Ok(fd)
        };
        if let Ok(fd) = connect()
            && let Ok(link) = self.link(Owner::Container(id.to_string()), fd)
        {
            self.send_record(link, &Record { kind: shim::HELLO, ..Record::default() }, &[], None);
            if let Some(c) = self.containers.get_mut(id) {
                c.link = Some(link);
                if !c.is_running() {
                    c.starting = Some(Vec::new()); // its starter outlived the daemon; it will say when it runs
                }
            }
            return;
        }
        let Some(c) = self.containers.get(id) else { return };
        if !c.is_running() && c.state.status != Status::Restarting {
            return;
        }
        let (status, time, oom) = match self.read_exit(id) {
            Some(exit) => exit,
            None => {
                self.kill_leftovers(id);
                (LOST, Time::now(), false)
            }
        };
        // Whether it is started again is decided below, by the rules of a boot.
        if let Some(c) = self.containers.get_mut(id) {
            c.exit_on_next = true;
        }
        self.ended(id, status, oom, time);
    }

    /// A shim that was found has answered.
    pub fn found_running(&mut self, id: &str, pid: u32, started: Time) {
        let Some(c) = self.containers.get_mut(id) else { return };
        log::info!("container {} runs on", id::short(id));
        let was_starting = c.starting.is_some();
        if c.state.status != Status::Paused {
            c.state.status = Status::Running;
        }
        c.state.pid = pid;
        c.state.started = started;
        if was_starting {
            self.started(id, pid, started);
        } else {
            self.save_run_state(id);
        }
    }

    fn start_at_boot(&mut self, id: &str) {
        let Some(c) = self.containers.get_mut(id) else { return };
        if c.link.is_some() || c.is_running() {
            return;
        }
        let lost = c.state.exit_code == 255 || c.state.status == Status::Restarting;
        let start = match c.def.host.restart_policy.name.as_str() {
            "always" => c.state.status != Status::Created,
            "unless-stopped" => c.state.status != Status::Created && !c.state.manually_stopped,
            "on-failure" => lost || (c.state.exit_code != 0 && !c.state.manually_stopped),
            _ => false,
        };
        if start && let Err(e) = self.start(id, Cause::Policy) {
            log::error!("container {}: {e}", id::short(id));
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(all) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = all.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_dir()).collect();
    paths.sort();
    paths
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).context(|| format!("{} is damaged", path.display()))
}

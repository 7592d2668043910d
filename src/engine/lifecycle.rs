//! Start, stop, kill, restart, pause, wait; what follows a container's end; restart policies.

use crate::base::time::Time;
use crate::base::{Error, Kind, Result, id};
use crate::engine::container::{After, Condition, State, Status};
use crate::engine::signal::{exit_code, signal_number};
use crate::engine::{ConnId, Engine, Reply, kind, token};
use crate::image::Digest;
use crate::reactor::now_ms;
use crate::wire::shim::{self, Log, Network, Record, Start};
use serde_json::json;

/// Why a start happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A client asked.
    Client(ConnId),
    /// The restart policy, or the boot.
    Policy,
}

const FIRST_PAUSE_MS: u64 = 100;
const LONGEST_PAUSE_MS: u64 = 60_000;
/// A run of that length makes the next pause short again.
const GOOD_RUN_NS: i64 = 10_000_000_000;
const DEFAULT_GRACE_S: i64 = 10;

impl Engine {
    /// Starts a container; a client is answered when it runs or has failed to.
    pub fn start(&mut self, id: &str, cause: Cause) -> Result<()> {
        let c = self.containers.get_mut(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        match c.state.status {
            Status::Running if c.starting.is_none() => return Err(Error::new(Kind::NotModified, "container already started")),
            Status::Paused => return Err(Error::conflict("cannot start a paused container, try unpause instead")),
            Status::Removing | Status::Dead => {
                return Err(Error::conflict("container is marked for removal and cannot be started"));
            }
            _ => {}
        }
        if let Some(waiting) = &mut c.starting {
            if let Cause::Client(conn) = cause {
                waiting.push(conn);
            }
            return Ok(());
        }
        let number = c.number;
        self.reactor.cancel_timer(token(kind::RESTART, number));
        if matches!(cause, Cause::Client(_))
            && let Some(c) = self.containers.get_mut(id)
        {
            c.state.restarts = 0;
            c.backoff = 0;
            c.state.manually_stopped = false;
        }
        let result = self.prepare(id).and_then(|start| {
            let clients = self.containers.get_mut(id).map(|c| std::mem::take(&mut c.pending)).unwrap_or_default();
            let link = self.spawn_starter(crate::engine::shims::Owner::Container(id.to_string()), &start, clients)?;
            Ok((link, start.cgroup))
        });
        let waiting: Vec<ConnId> = match cause {
            Cause::Client(conn) => vec![conn],
            Cause::Policy => Vec::new(),
        };
        match result {
            Ok((link, cgroup)) => {
                if let Some(c) = self.containers.get_mut(id) {
                    c.link = Some(link);
                    c.cgroup = cgroup;
                    c.starting = Some(waiting);
                    c.exit_on_next = false;
                }
                Ok(())
            }
            Err(e) => {
                let (kind, message) = (e.kind(), e.to_string());
                self.start_failed(id, waiting, kind, &message, 128);
                Ok(())
            }
        }
    }

    /// Resolves what the starter needs.
    fn prepare(&mut self, id: &str) -> Result<Start> {
        let c = self.containers.get(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        let def = c.def.clone();
        let mut start = Start {
            id: id.to_string(),
            name: def.name.clone(),
            dir: format!("{}/containers/{id}", self.root.path().display()),
            run_dir: self.run_dir(id),
            debug: self.settings.debug,
            ..Start::default()
        };
        for layer in def.layers.iter().rev() {
            start.lowers.push(self.root.layer_fs(&Digest::parse(layer)?).to_string_lossy().into_owned());
        }
        let running = |what: &str, name: &str| -> Result<u32> {
            let other = self.containers.lookup(name)?;
            match other.is_running() {
                true => Ok(other.state.pid),
                false => Err(Error::conflict(format!("cannot join {what} of a non running container: {}", other.id))),
            }
        };
        if let Some(name) = def.host.pid_mode.strip_prefix("container:") {
            start.pid_of = Some(running("PID", name)?);
        }
        if let Some(name) = def.host.ipc_mode.strip_prefix("container:") {
            let other = self.containers.lookup(name)?;
            if matches!(other.def.host.ipc_mode.as_str(), "private" | "none") {
                return Err(Error::conflict(format!(
                    "cannot join IPC of a container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    other.id
                )));
            }
            start.ipc_of = Some(running("IPC", name)?);
            start.ipc_run_dir = self.run_dir(&other.id);
        }
        let joined = match def.host.network_mode.strip_prefix("container:") {
            Some(name) => {
                Some(Network::Join { pid: running("network", name)?, run_dir: self.run_dir(&self.containers.find(name)?) })
            }
            None => None,
        };
        start.network = match joined {
            Some(join) => join,
            None => self.plug_networks(id)?,
        };
        let parent = if def.host.cgroup_parent.is_empty() { &self.settings.cgroup_parent } else { &def.host.cgroup_parent };
        start.cgroup = format!("{}/{id}", parent.trim_end_matches('/'));
        if def.host.log_config.r#type != "none" {
            let option = |key: &str| def.host.log_config.config.get(key).map(String::as_str);
            let local = def.host.log_config.r#type == "local";
            start.log = Log {
                dir: format!("{}/log", start.dir),
                max_size: option("max-size").map_or(Ok(if local { 20 << 20 } else { 0 }), crate::base::size::parse)?,
                max_files: option("max-file").and_then(|n| n.parse().ok()).unwrap_or(if local { 5 } else { 1 }),
            };
        }
        start.dns = self.dns(&def);
        start.host_gateway = match self.settings.host_gateway_ip.as_str() {
            "" => self.networks.gateway.to_string(),
            ip => ip.to_string(),
        };
        start.default_ulimits = self.settings.default_ulimits.values().cloned().collect();
        start.init = def.host.init.unwrap_or(self.settings.init);
        start.no_new_privileges = self.settings.no_new_privileges;
        start.mounts = def.mounts;
        start.copy_up = def.copy_up;
        start.make_sources = def.make_sources;
        start.volume_mounts = def.volume_mounts;
        start.config = def.config;
        start.host = def.host;
        std::fs::create_dir_all(&start.run_dir)?;
        let _ = std::fs::remove_file(format!("{}/exit", start.run_dir));
        Ok(start)
    }

    fn dns(&self, def: &crate::engine::container::Definition) -> shim::Dns {
        let or = |own: &Option<Vec<String>>, default: &Vec<String>| {
            own.clone().filter(|o| !o.is_empty()).unwrap_or_else(|| default.clone())
        };
        shim::Dns {
            servers: or(&def.host.dns, &self.settings.dns),
            search: or(&def.host.dns_search, &self.settings.dns_search),
            options: or(&def.host.dns_options, &self.settings.dns_opts),
        }
    }

    fn plug_networks(&mut self, id: &str) -> Result<Network> {
        let Some(c) = self.containers.get(id) else { return Ok(Network::None) };
        let (asked, mac) = (c.def.networks.clone(), c.def.config.mac_address.clone());
        if c.def.config.network_disabled == Some(true) {
            return Ok(Network::None);
        }
        let mut network = Network::None;
        let mut endpoints = std::collections::BTreeMap::new();
        for (name, endpoint) in asked {
            let Some(found) = self.networks.find(&name) else {
                return Err(Error::not_found(format!("network {name} not found")));
            };
            let (found, network_id) = (found.name, found.id.clone());
            match found {
                "host" => network = Network::Host,
                "bridge" => {
                    let (endpoint, port) = self.networks.plug(id, &endpoint, mac.as_deref())?;
                    endpoints.insert("bridge".to_string(), endpoint);
                    network = Network::Bridge(port);
                    continue;
                }
                _ => {}
            }
            let endpoint_id = crate::base::id::random();
            endpoints.insert(found.to_string(), crate::wire::container::Endpoint { network_id, endpoint_id, ..endpoint });
        }
        if let Some(c) = self.containers.get_mut(id) {
            c.endpoints = endpoints;
        }
        Ok(network)
    }

    /// The starter says that it runs.
    pub fn started(&mut self, id: &str, pid: u32, time: Time) {
        let Some(c) = self.containers.get_mut(id) else { return };
        let waiting = c.starting.take().unwrap_or_default();
        let again = waiting.is_empty();
        c.state = State {
            status: Status::Running,
            pid,
            started: time,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            ..c.state.clone()
        };
        c.state.finished = if c.state.finished.0 == 0 { Time(0) } else { c.state.finished };
        let stopped_meanwhile = !c.stops.is_empty();
        self.save_run_state(id);
        if !again {
            self.save_state(id);
        }
        for network in self.containers.get(id).map(|c| c.endpoints.clone()).unwrap_or_default() {
            let attributes =
                vec![("container".into(), id.to_string()), ("name".into(), network.0.clone()), ("type".into(), network.0)];
            self.emit("network", "connect", &network.1.network_id, attributes);
        }
        self.emit_container("start", id, &[]);
        for conn in waiting {
            self.answer(conn, Reply::Empty(204));
        }
        if stopped_meanwhile {
            self.signal(id, libc::SIGKILL as u32);
        }
    }

    /// The start has failed; nothing is left of it.
    pub fn start_failed(&mut self, id: &str, waiting: Vec<ConnId>, kind: Kind, message: &str, code: i32) {
        self.unplug(id);
        let Some(c) = self.containers.get_mut(id) else { return };
        let mut waiting = waiting;
        waiting.extend(c.starting.take().into_iter().flatten());
        c.link = None;
        c.pending.clear();
        c.state.error = message.to_string();
        c.state.exit_code = code;
        c.state.pid = 0;
        let restarted = c.state.status == Status::Restarting;
        if restarted || c.state.status == Status::Running {
            c.state.status = Status::Exited;
            c.state.finished = Time::now();
        }
        let (auto_remove, stops) = (c.def.host.auto_remove, std::mem::take(&mut c.stops));
        self.save_state(id);
        self.answer_waiters(id, &[Condition::NextExit, Condition::NotRunning]);
        for conn in waiting {
            self.answer(conn, Reply::Error(Error::new(kind, message)));
        }
        for (conn, after) in stops {
            self.after_stop(id, conn, after);
        }
        if auto_remove {
            self.remove_now(id, true);
        }
    }

    /// Its run has ended.
    pub fn ended(&mut self, id: &str, status: i32, oom: bool, time: Time) {
        self.unplug(id);
        let code = exit_code(status);
        let Some(c) = self.containers.get_mut(id) else { return };
        let number = c.number;
        let waiting = c.starting.take().unwrap_or_default();
        c.link = None;
        let ran = time.0 - c.state.started.0;
        c.state.pid = 0;
        c.state.exit_code = code;
        c.state.finished = time;
        c.state.oom_killed = oom;
        c.pending.clear();
        let restart = !self.stopping && wants_restart(c);
        c.state.status = if restart { Status::Restarting } else { Status::Exited };
        if restart {
            c.backoff = if ran >= GOOD_RUN_NS || c.backoff == 0 { FIRST_PAUSE_MS } else { (c.backoff * 2).min(LONGEST_PAUSE_MS) };
        }
        let (pause, auto_remove) = (c.backoff, c.def.host.auto_remove);
        let stops = std::mem::take(&mut c.stops);
        self.reactor.cancel_timer(token(kind::STOP, number));
        self.save_run_state(id);
        if self.trash_held {
            self.empty_trash_soon();
        }
        if oom {
            self.emit_container("oom", id, &[]);
        }
        let seconds = (ran.max(0) / 1_000_000_000).to_string();
        self.emit_container("die", id, &[("execDuration", seconds), ("exitCode", code.to_string())]);
        for conn in waiting {
            self.answer(conn, Reply::Empty(204)); // it did start; its end is told by wait and inspect
        }
        if restart {
            self.reactor.set_timer(token(kind::RESTART, number), now_ms() + pause);
            self.answer_waiters(id, &[Condition::NextExit]);
        } else {
            if !auto_remove {
                self.save_state(id);
            }
            self.answer_waiters(id, &[Condition::NextExit, Condition::NotRunning]);
        }
        if !stops.is_empty() {
            self.emit_container("stop", id, &[]);
        }
        let removal = stops.iter().any(|(_, after)| matches!(after, After::Remove { .. }));
        let again = stops.iter().any(|(_, after)| *after == After::Restart);
        for (conn, after) in stops {
            self.after_stop(id, conn, after);
        }
        if auto_remove && !removal && !again {
            self.remove_now(id, true);
        }
    }

    fn after_stop(&mut self, id: &str, conn: ConnId, after: After) {
        match after {
            After::Answer => self.answer(conn, Reply::Empty(204)),
            After::Restart => {
                self.emit_container("restart", id, &[]);
                if let Err(e) = self.start(id, Cause::Client(conn)) {
                    self.answer(conn, Reply::Error(e));
                }
            }
            After::Remove { volumes } => {
                self.remove_now(id, volumes);
                self.answer_durably(conn, Reply::Empty(204));
            }
        }
    }

    /// Gives its addresses back.
    fn unplug(&mut self, id: &str) {
        let Some(c) = self.containers.get_mut(id) else { return };
        let endpoints = std::mem::take(&mut c.endpoints);
        for (name, endpoint) in endpoints {
            self.networks.release(&endpoint.ip_address);
            let attributes = vec![("container".into(), id.to_string()), ("name".into(), name.clone()), ("type".into(), name)];
            self.emit("network", "disconnect", &endpoint.network_id, attributes);
        }
    }

    /// The pause of the restart policy is over.
    pub fn restart_due(&mut self, number: u32) {
        let Some(c) = self.containers.numbered(number).filter(|c| c.state.status == Status::Restarting) else { return };
        let id = c.id.clone();
        if let Some(c) = self.containers.get_mut(&id) {
            c.state.restarts += 1;
        }
        if let Err(e) = self.start(&id, Cause::Policy) {
            log::warn!("restart of {}: {e}", id::short(&id));
        }
    }

    /// `stop` and the first half of `restart` and `rm -f`.
    pub fn stop(&mut self, id: &str, conn: ConnId, after: After, signal: Option<u32>, grace: Option<i64>) -> Result<()> {
        let c = self.containers.get_mut(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        let number = c.number;
        if c.state.status == Status::Restarting && c.starting.is_none() {
            c.state.status = Status::Exited;
            c.state.manually_stopped = true;
            self.reactor.cancel_timer(token(kind::RESTART, number));
            self.save_state(id);
            self.answer_waiters(id, &[Condition::NotRunning]);
            self.after_stop(id, conn, after);
            return Ok(());
        }
        if !c.is_running() && c.starting.is_none() {
            return match after {
                After::Answer => Err(Error::new(Kind::NotModified, "container already stopped")),
                after => {
                    self.after_stop(id, conn, after);
                    Ok(())
                }
            };
        }
        let grace = grace.or(c.def.config.stop_timeout).unwrap_or(DEFAULT_GRACE_S);
        let configured = c.def.config.stop_signal.as_deref().filter(|s| !s.is_empty()).and_then(|s| signal_number(s).ok());
        let signal = signal.or(configured).unwrap_or(libc::SIGTERM as u32);
        c.stops.push((conn, after));
        c.exit_on_next = true;
        c.state.manually_stopped |= matches!(after, After::Answer);
        if c.starting.is_some() {
            return Ok(()); // `started` goes on with it
        }
        let paused = c.state.status == Status::Paused;
        if matches!(after, After::Remove { .. }) || grace == 0 {
            self.emit_kill(id, libc::SIGKILL as u32);
            self.signal(id, libc::SIGKILL as u32);
        } else {
            self.emit_kill(id, signal);
            self.signal(id, signal);
            if grace > 0 {
                self.reactor.set_timer(token(kind::STOP, number), now_ms() + grace as u64 * 1000);
            }
        }
        if paused {
            self.thaw(id);
        }
        Ok(())
    }

    /// The grace of a stop is over.
    pub fn stop_deadline(&mut self, number: u32) {
        let Some(id) = self.containers.numbered(number).map(|c| c.id.clone()) else { return };
        self.emit_kill(&id, libc::SIGKILL as u32);
        self.signal(&id, libc::SIGKILL as u32);
    }

    fn emit_kill(&mut self, id: &str, signal: u32) {
        self.emit_container("kill", id, &[("signal", signal.to_string())]);
    }

    /// `kill`.
    pub fn kill(&mut self, id: &str, signal: u32) -> Result<()> {
        let c = self.containers.get_mut(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        if !c.is_running() {
            return Err(Error::conflict(format!("cannot kill container: {id}: container {id} is not running")));
        }
        let own = c.def.config.stop_signal.as_deref().filter(|s| !s.is_empty()).and_then(|s| signal_number(s).ok());
        if own.is_none_or(|own| own == signal) || signal == libc::SIGKILL as u32 {
            c.exit_on_next = true;
        }
        c.state.manually_stopped = true;
        let paused = c.state.status == Status::Paused;
        self.emit_kill(id, signal);
        self.signal(id, signal);
        if paused && signal == libc::SIGKILL as u32 {
            self.thaw(id);
        }
        Ok(())
    }

    fn signal(&mut self, id: &str, signal: u32) {
        if let Some(link) = self.containers.get(id).and_then(|c| c.link) {
            self.send_record(link, &Record { kind: shim::SIGNAL, a: signal, ..Record::default() }, &[], None);
        }
    }

    /// `pause`.
    pub fn pause(&mut self, id: &str) -> Result<()> {
        let c = self.containers.get_mut(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        match c.state.status {
            Status::Running => {}
            Status::Paused => return Err(Error::conflict(format!("Container {id} is already paused"))),
            _ => return Err(Error::conflict(format!("Container {id} is not running"))),
        }
        c.control_group()?.freeze_soon(true)?;
        c.state.status = Status::Paused;
        self.save_run_state(id);
        self.emit_container("pause", id, &[]);
        Ok(())
    }

    /// `unpause`.
    pub fn unpause(&mut self, id: &str) -> Result<()> {
        let c = self.containers.get_mut(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        if c.state.status != Status::Paused {
            return Err(Error::conflict(format!("Container {id} is not paused")));
        }
        self.thaw(id);
        self.emit_container("unpause", id, &[]);
        Ok(())
    }

    fn thaw(&mut self, id: &str) {
        let Some(c) = self.containers.get_mut(id) else { return };
        if let Err(e) = c.control_group().and_then(|g| g.freeze_soon(false)) {
            log::warn!("unpause {}: {e}", id::short(id));
        }
        c.state.status = Status::Running;
        self.save_run_state(id);
    }

    /// `wait`: answers now if the condition holds already. The head of the answer goes out at once either way.
    pub fn wait(&mut self, id: &str, conn: ConnId, condition: Condition) {
        self.answer(conn, Reply::StreamHead);
        let Some(c) = self.containers.get_mut(id) else { return };
        let active = c.is_running() || c.state.status == Status::Restarting || c.starting.is_some();
        if condition == Condition::NotRunning && !active {
            let code = c.state.exit_code;
            self.answer_wait(conn, code);
        } else {
            c.waiters.push((conn, condition));
        }
    }

    /// Answers those whose condition holds now.
    pub fn answer_waiters(&mut self, id: &str, conditions: &[Condition]) {
        let Some(c) = self.containers.get_mut(id) else { return };
        let code = c.state.exit_code;
        let (ready, keep): (Vec<_>, Vec<_>) = c.waiters.drain(..).partition(|(_, condition)| conditions.contains(condition));
        c.waiters = keep;
        for (conn, _) in ready {
            self.answer_wait(conn, code);
        }
    }

    /// The body of `wait`'s answer.
    pub fn answer_wait(&mut self, conn: ConnId, code: i32) {
        let mut text = json!({"StatusCode": code}).to_string().into_bytes();
        text.push(b'\n');
        self.answer(conn, Reply::Chunk(text));
        self.answer(conn, Reply::StreamEnd);
    }

    /// `state.json` in the data root: at the end of a run that is not restarted, and at a start that a person asked for.
    pub fn save_state(&mut self, id: &str) {
        let Some(c) = self.containers.get(id) else { return };
        if !c.is_volatile()
            && let Ok(text) = serde_json::to_string(&c.state)
        {
            self.committer.write(format!("containers/{id}/state.json"), text);
        }
    }

    /// `state.json` in the exec root: what the next daemon must know of a run.
    pub fn save_run_state(&mut self, id: &str) {
        let Some(c) = self.containers.get(id) else { return };
        let saved = crate::engine::container::RunState {
            state: c.state.clone(),
            endpoints: c.endpoints.clone(),
            cgroup: c.cgroup.clone(),
        };
        let dir = self.run_dir(id);
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&dir)?;
            std::fs::write(format!("{dir}/state.new"), serde_json::to_vec(&saved)?)?;
            std::fs::rename(format!("{dir}/state.new"), format!("{dir}/state.json"))
        };
        if let Err(e) = write() {
            log::warn!("state of {}: {e}", id::short(id));
        }
    }
}

fn wants_restart(c: &crate::engine::container::Container) -> bool {
    let policy = &c.def.host.restart_policy;
    let stopped = c.exit_on_next || !c.stops.is_empty();
    !stopped
        && match policy.name.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => {
                c.state.exit_code != 0
                    && (policy.maximum_retry_count == 0 || i64::from(c.state.restarts) < policy.maximum_retry_count)
            }
            _ => false,
        }
}

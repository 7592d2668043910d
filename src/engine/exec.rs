//! Further processes in running containers.

use crate::base::{Error, Kind, Result, id};
use crate::engine::container::{PendingAttach, Status};
use crate::engine::shims::Owner;
use crate::engine::{ConnId, Engine, Reply};
use crate::wire::shim::{self, Start};
use serde::Deserialize;

/// Ended execs that are kept for inspect.
const KEPT: usize = 64;

/// The body of `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Request {
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub detach_keys: String,
    pub tty: bool,
    pub cmd: Option<Vec<String>>,
    pub env: Option<Vec<String>>,
    pub user: String,
    pub working_dir: String,
    pub privileged: bool,
    pub console_size: Option<[u32; 2]>,
}

/// An exec.
#[derive(Debug, Default)]
pub struct Exec {
    /// Its container.
    pub container: String,
    /// As asked for.
    pub request: Request,
    /// Its process, in the host's namespace; 0 before.
    pub pid: u32,
    /// It runs.
    pub running: bool,
    /// It was started.
    pub started: bool,
    /// `None` until it has ended.
    pub exit_code: Option<i32>,
    /// Socket to its shim.
    pub link: Option<u32>,
    /// A client that waits for a detached start.
    waiting: Option<ConnId>,
    order: u32,
}

impl Engine {
    /// Prepares an exec; returns its ID.
    pub fn exec_create(&mut self, container: &str, request: Request) -> Result<String> {
        self.exec_possible(container)?;
        if request.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("no exec command specified"));
        }
        if !request.working_dir.is_empty() && !request.working_dir.starts_with('/') {
            return Err(Error::invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                request.working_dir
            )));
        }
        let exec = id::random();
        let line = request.cmd.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        let order = self.number();
        self.execs.insert(exec.clone(), Exec { container: container.to_string(), request, order, ..Exec::default() });
        let ended: Vec<(u32, String)> =
            self.execs.iter().filter(|(_, e)| e.exit_code.is_some()).map(|(id, e)| (e.order, id.clone())).collect();
        if ended.len() > KEPT
            && let Some((_, oldest)) = ended.into_iter().min()
        {
            self.execs.remove(&oldest);
        }
        self.emit_container(&format!("exec_create: {line}"), container, &[("execID", exec.clone())]);
        Ok(exec)
    }

    fn exec_possible(&self, container: &str) -> Result<()> {
        let c = self.containers.get(container).ok_or_else(|| Error::not_found(format!("No such container: {container}")))?;
        match c.state.status {
            Status::Running => Ok(()),
            Status::Paused => Err(Error::conflict(format!("Container {container} is paused, unpause the container before exec"))),
            Status::Restarting => {
                Err(Error::conflict(format!("Container {container} is restarting, wait until the container is running")))
            }
            _ => Err(Error::conflict(format!("container {container} is not running"))),
        }
    }

    /// Refuses a start that cannot be; asked before the connection is taken from HTTP.
    pub fn exec_check(&self, exec: &str) -> Result<&Exec> {
        let e = self.execs.get(exec).ok_or_else(|| Error::not_found(format!("No such exec instance: {exec}")))?;
        if e.started {
            return Err(Error::conflict(format!("Error: Exec command {exec} has already run")));
        }
        self.exec_possible(&e.container)?;
        Ok(e)
    }

    /// Starts it: with a client's connection, or detached and answered by `conn`.
    pub fn exec_start(
        &mut self,
        exec: &str,
        attach: Option<PendingAttach>,
        conn: Option<ConnId>,
        size: Option<[u32; 2]>,
    ) -> Result<()> {
        let e = self.exec_check(exec)?;
        let (container, request) = (e.container.clone(), e.request.clone());
        let c = self.containers.get(&container).ok_or_else(|| Error::not_found(format!("No such container: {container}")))?;
        let start = Start {
            id: container.clone(),
            name: c.def.name.clone(),
            run_dir: self.run_dir(&container),
            cgroup: c.cgroup.clone(),
            config: c.def.config.clone(),
            host: c.def.host.clone(),
            no_new_privileges: self.settings.no_new_privileges,
            default_ulimits: self.settings.default_ulimits.values().cloned().collect(),
            exec: Some(shim::Exec {
                id: exec.to_string(),
                pid: c.state.pid,
                cmd: request.cmd.clone().unwrap_or_default(),
                env: request.env.clone().unwrap_or_default(),
                user: request.user.clone(),
                cwd: request.working_dir.clone(),
                tty: request.tty,
                stdin: request.attach_stdin && attach.is_some(),
                attached: attach.is_some(),
                privileged: request.privileged,
                size: size.or(request.console_size).unwrap_or_default(),
            }),
            ..Start::default()
        };
        let link = self.spawn_starter(Owner::Exec(exec.to_string()), &start, attach.into_iter().collect())?;
        if let Some(e) = self.execs.get_mut(exec) {
            e.started = true;
            e.running = true;
            e.link = Some(link);
            e.waiting = conn;
        }
        let line = request.cmd.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        self.emit_container(&format!("exec_start: {line}"), &container, &[("execID", exec.to_string())]);
        Ok(())
    }

    /// It runs.
    pub fn exec_started(&mut self, exec: &str, pid: u32) {
        let Some(e) = self.execs.get_mut(exec) else { return };
        e.pid = pid;
        if let Some(conn) = e.waiting.take() {
            self.answer(conn, Reply::Empty(200));
        }
    }

    /// It could not be started. An attached client has been told by the starter, in its stream.
    pub fn exec_failed(&mut self, exec: &str, kind: Kind, message: &str, code: i32) {
        let Some(e) = self.execs.get_mut(exec) else { return };
        (e.running, e.exit_code, e.link) = (false, Some(code), None);
        if let Some(conn) = e.waiting.take() {
            self.answer(conn, Reply::Error(Error::new(kind, message)));
        }
    }

    /// It has ended.
    pub fn exec_ended(&mut self, exec: &str, status: i32) {
        let Some(e) = self.execs.get_mut(exec) else { return };
        let code = super::signal::exit_code(status);
        (e.running, e.exit_code, e.link) = (false, Some(code), None);
        let (container, waiting) = (e.container.clone(), e.waiting.take());
        if let Some(conn) = waiting {
            self.answer(conn, Reply::Empty(200));
        }
        self.emit_container("exec_die", &container, &[("execID", exec.to_string()), ("exitCode", code.to_string())]);
    }
}

//! Processes in running containers.

use crate::api::call::{Call, Context, Handled, ok};
use crate::api::lifecycle::{send_head, size, stream_head};
use crate::base::Error;
use crate::engine::Reply;
use crate::engine::container::PendingAttach;
use crate::engine::exec::Request;
use crate::wire::shim;
use serde::Deserialize;
use serde_json::json;

/// `POST /containers/{id}/exec`.
pub fn create(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    let exec = context.engine.exec_create(&id, call.json::<Request>()?)?;
    Ok(Some(Reply::Json(201, json!({"Id": exec}).to_string().into_bytes())))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: bool,
    tty: bool,
    console_size: Option<[u32; 2]>,
}

/// `POST /exec/{id}/start`.
pub fn start(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    let body: Start = if call.body.is_empty() { Start::default() } else { call.json()? };
    let exec = engine.exec_check(call.name())?;
    let request = &exec.request;
    if body.detach {
        engine.exec_start(call.name(), None, Some(call.conn), body.console_size)?;
        return Ok(None);
    }
    if body.tty != request.tty && !call.body.is_empty() && body.tty {
        return Err(Error::invalid("the exec was not created with a terminal"));
    }
    let tty = request.tty;
    let mut flags = if tty { 0 } else { shim::FRAMED };
    for (wanted, flag) in
        [(request.attach_stdin, shim::STDIN), (request.attach_stdout, shim::STDOUT), (request.attach_stderr, shim::STDERR)]
    {
        if wanted {
            flags |= flag;
        }
    }
    let head = stream_head(&call.request, tty, call.version);
    let (socket, prefix) = context.conns.take(call.conn, &mut engine.reactor)?;
    send_head(&socket, &head)?;
    engine.exec_start(call.name(), Some(PendingAttach { socket, flags, prefix }), None, body.console_size)?;
    Ok(None)
}

/// `POST /exec/{id}/resize`.
pub fn resize(context: &mut Context<'_>, call: Call) -> Handled {
    let (rows, columns) = size(&call)?;
    let not_found = || Error::not_found(format!("No such exec instance: {}", call.name()));
    let link = context.engine.execs.get(call.name()).ok_or_else(not_found)?.link;
    context.engine.resize(link, rows, columns)?;
    Ok(Some(Reply::Empty(200)))
}

/// `GET /exec/{id}/json`.
pub fn inspect(context: &mut Context<'_>, call: Call) -> Handled {
    let not_found = || Error::not_found(format!("No such exec instance: {}", call.name()));
    let e = context.engine.execs.get(call.name()).ok_or_else(not_found)?;
    let r = &e.request;
    let mut words = r.cmd.clone().unwrap_or_default();
    let entrypoint = if words.is_empty() { String::new() } else { words.remove(0) };
    ok(&json!({
        "ID": call.name(), "Running": e.running, "ExitCode": e.exit_code,
        "ProcessConfig": {"tty": r.tty, "entrypoint": entrypoint, "arguments": words, "privileged": r.privileged, "user": r.user},
        "OpenStdin": r.attach_stdin, "OpenStderr": r.attach_stderr, "OpenStdout": r.attach_stdout, "CanRemove": e.exit_code.is_some(),
        "ContainerID": e.container, "DetachKeys": r.detach_keys, "Pid": e.pid,
    }))
}

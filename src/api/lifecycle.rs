//! Start, stop, restart, kill, pause, wait, resize, rename, attach, remove.

use crate::api::call::{Call, Context, Handled};
use crate::base::{Error, Result};
use crate::engine::Reply;
use crate::engine::container::{After, Condition, PendingAttach, Status};
use crate::engine::lifecycle::Cause;
use crate::engine::signal::signal_number;
use crate::wire::http::{Request, common_head};
use crate::wire::shim;
use rustix::net::SendFlags;
use std::os::fd::OwnedFd;

/// `POST /containers/{id}/start`.
pub fn start(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    context.engine.start(&id, Cause::Client(call.conn))?;
    Ok(None)
}

fn grace(call: &Call) -> Result<Option<i64>> {
    call.integer("t")
}

fn signal(call: &Call) -> Result<Option<u32>> {
    call.request.param("signal").filter(|s| !s.is_empty()).map(signal_number).transpose()
}

/// `POST /containers/{id}/stop`.
pub fn stop(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    context.engine.stop(&id, call.conn, After::Answer, signal(&call)?, grace(&call)?)?;
    Ok(None)
}

/// `POST /containers/{id}/restart`.
pub fn restart(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    context.engine.stop(&id, call.conn, After::Restart, signal(&call)?, grace(&call)?)?;
    Ok(None)
}

/// `POST /containers/{id}/kill`.
pub fn kill(context: &mut Context<'_>, call: Call) -> Handled {
    let signal = signal(&call)?.unwrap_or(libc::SIGKILL as u32);
    let id = context.engine.containers.find(call.name())?;
    context.engine.kill(&id, signal)?;
    Ok(Some(Reply::Empty(204)))
}

/// `POST /containers/{id}/pause`.
pub fn pause(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    context.engine.pause(&id)?;
    Ok(Some(Reply::Empty(204)))
}

/// `POST /containers/{id}/unpause`.
pub fn unpause(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    context.engine.unpause(&id)?;
    Ok(Some(Reply::Empty(204)))
}

/// `POST /containers/{id}/wait`.
pub fn wait(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    let condition = match call.request.param("condition").unwrap_or_default() {
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: \"{other}\""))),
    };
    context.engine.wait(&id, call.conn, condition);
    Ok(None)
}

/// Rows and columns of a resize.
pub fn size(call: &Call) -> Result<(u32, u32)> {
    let one = |name: &str| {
        call.integer(name)?.filter(|n| (0..=65535).contains(n)).ok_or_else(|| Error::invalid(format!("invalid {name}")))
    };
    Ok((one("h")? as u32, one("w")? as u32))
}

/// `POST /containers/{id}/resize`.
pub fn resize(context: &mut Context<'_>, call: Call) -> Handled {
    let (rows, columns) = size(&call)?;
    let id = context.engine.containers.find(call.name())?;
    let link = match context.engine.containers.get(&id) {
        Some(c) if c.is_running() || c.starting.is_some() => c.link,
        _ => return Err(Error::conflict(format!("container {id} is not running"))),
    };
    context.engine.resize(link, rows, columns)?;
    Ok(Some(Reply::Empty(200)))
}

/// `POST /containers/{id}/rename`.
pub fn rename(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    context.engine.rename(&id, call.request.param("name").unwrap_or_default())?;
    context.engine.answer_durably(call.conn, Reply::Empty(204));
    Ok(None)
}

/// `DELETE /containers/{id}`.
pub fn remove(context: &mut Context<'_>, call: Call) -> Handled {
    if call.request.flag("link") {
        return Err(Error::unsupported("links are not part of this version of the engine yet"));
    }
    let id = context.engine.containers.find(call.name())?;
    context.engine.remove(&id, call.conn, call.request.flag("force"), call.request.flag("v"))?;
    Ok(None)
}

/// The head that turns a connection into a raw stream.
pub fn stream_head(request: &Request, tty: bool, version: u32) -> String {
    let content_type = match !tty && version >= 42 {
        true => "application/vnd.docker.multiplexed-stream",
        false => "application/vnd.docker.raw-stream",
    };
    match request.upgrade() {
        true => format!("HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
        false => format!("{}Content-Type: {content_type}\r\nConnection: close\r\n\r\n", common_head(200)),
    }
}

/// Sends a head on a connection that was taken from HTTP.
pub fn send_head(socket: &OwnedFd, head: &str) -> Result<()> {
    // A few hundred bytes into an empty socket buffer.
    let sent = rustix::net::send(socket, head.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    if sent == head.len() { Ok(()) } else { Err(Error::internal("the client's socket is full")) }
}

/// `POST /containers/{id}/attach`.
pub fn attach(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    let id = engine.containers.find(call.name())?;
    engine.check_attach(&id)?;
    let Some(c) = engine.containers.get(&id) else { return Err(Error::not_found(format!("No such container: {id}"))) };
    let tty = c.def.config.tty;
    let ended = c.state.status == Status::Exited && !call.request.flag("stream");
    let mut flags = if tty { 0 } else { shim::FRAMED };
    if call.request.flag("stream") {
        for (name, flag) in [("stdin", shim::STDIN), ("stdout", shim::STDOUT), ("stderr", shim::STDERR)] {
            if call.request.flag(name) {
                flags |= flag;
            }
        }
    }
    if flags & shim::STDIN != 0 && !c.def.config.open_stdin {
        flags &= !shim::STDIN;
    }
    let head = stream_head(&call.request, tty, call.version);
    let (socket, prefix) = context.conns.take(call.conn, &mut engine.reactor)?;
    send_head(&socket, &head)?;
    if !ended {
        engine.attach(&id, PendingAttach { socket, flags, prefix });
    }
    Ok(None)
}

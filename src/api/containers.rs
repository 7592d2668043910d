//! Listing, creating, pruning containers; top and logs.

use crate::api::call::{Call, Context, Handled, ok};
use crate::api::filters::{self, Filters};
use crate::api::inspect;
use crate::base::time::{Time, human_duration};
use crate::base::{Error, Result};
use crate::engine::container::{Container, Status};
use crate::engine::jobs::{Purpose, UsageFor};
use crate::engine::{Engine, Reply};
use crate::wire::container::Create;
use crate::wire::worker::{Job as Task, Logs};
use serde_json::{Value, json};
use std::os::fd::AsFd;

/// `Up 3 minutes (Paused)`: the status for people.
pub fn status_text(c: &Container) -> String {
    let ago = |t: Time| human_duration((Time::now().0 - t.0) / 1_000_000_000);
    match c.state.status {
        Status::Created => "Created".into(),
        Status::Running => format!("Up {}", ago(c.state.started)),
        Status::Paused => format!("Up {} (Paused)", ago(c.state.started)),
        Status::Restarting => format!("Restarting ({}) {} ago", c.state.exit_code, ago(c.state.finished)),
        Status::Removing => "Removal In Progress".into(),
        Status::Dead => "Dead".into(),
        Status::Exited => format!("Exited ({}) {} ago", c.state.exit_code, ago(c.state.finished)),
    }
}

/// The name of the image as the list shows it: what was asked for, or the ID once that names another image.
fn image_name(engine: &Engine, c: &Container) -> String {
    match engine.images.find(&c.def.config.image) {
        Ok(image) if image.id == c.image => c.def.config.image.clone(),
        _ => c.def.image.clone(),
    }
}

/// An entry of the list.
pub fn summary(engine: &Engine, c: &Container) -> Value {
    let (path, args) = inspect::command(&c.def.config);
    // Docker quotes arguments with a blank in them, and does not escape.
    let quoted = |word: String| if word.contains(' ') { format!("'{word}'") } else { word };
    let command = std::iter::once(path).chain(args.into_iter().map(quoted)).collect::<Vec<_>>().join(" ");
    json!({
        "Id": c.id, "Names": [format!("/{}", c.def.name)], "Image": image_name(engine, c), "ImageID": c.def.image,
        "Command": command, "Created": c.def.created.seconds(), "Ports": inspect::ports_list(c), "Labels": c.def.config.labels,
        "State": c.state.status.text(), "Status": status_text(c), "HostConfig": {"NetworkMode": c.def.host.network_mode},
        "NetworkSettings": {"Networks": inspect::endpoints(engine, c)}, "Mounts": c.def.mounts,
    })
}

/// `GET /containers/json`.
pub fn list(context: &mut Context<'_>, call: Call) -> Handled {
    const KNOWN: &[&str] = &[
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    ];
    let engine = &mut *context.engine;
    let filters = filters::parse(call.request.param("filters"), KNOWN)?;
    check(engine, &filters)?;
    let limit = call.integer("limit")?.filter(|n| *n > 0);
    let all = call.request.flag("all") || limit.is_some() || ["status", "exited"].iter().any(|f| filters.contains_key(*f));
    let mut found: Vec<&Container> =
        engine.containers.all().filter(|c| all || c.is_running() || c.state.status == Status::Restarting).collect();
    found.sort_by_key(|c| std::cmp::Reverse(c.def.created));
    let wanted: Vec<&Container> =
        found.into_iter().filter(|c| wants(engine, &filters, c)).take(limit.map_or(usize::MAX, |n| n as usize)).collect();
    let answer: Vec<Value> = wanted.iter().map(|c| summary(engine, c)).collect();
    if !call.request.flag("size") {
        return ok(&json!(answer));
    }
    let ids: Vec<String> = wanted.iter().map(|c| c.id.clone()).collect();
    let paths = ids.iter().map(|id| engine.upper_dir(id)).collect();
    let what = UsageFor::Containers { ids, answer: json!(answer) };
    engine.spawn_worker(Purpose::Usage(what), Task::Usage { paths }, &[], vec![call.conn])?;
    Ok(None)
}

fn check(engine: &Engine, filters: &Filters) -> Result<()> {
    for status in filters.get("status").into_iter().flatten() {
        if !["created", "running", "paused", "restarting", "removing", "exited", "dead"].contains(&status.as_str()) {
            return Err(Error::invalid(format!("invalid filter 'status={status}'")));
        }
    }
    for code in filters.get("exited").into_iter().flatten() {
        code.parse::<i32>().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}'")))?;
    }
    for name in filters.get("before").into_iter().chain(filters.get("since")).flatten() {
        engine.containers.find(name)?;
    }
    Ok(())
}

fn wants(engine: &Engine, filters: &Filters, c: &Container) -> bool {
    let any = |name: &str, test: &dyn Fn(&str) -> bool| filters::any(filters, name, test);
    let created = |name: &str| engine.containers.lookup(name).map_or(Time(0), |c| c.def.created);
    any("id", &|v| c.id.starts_with(v))
        && any("name", &|v| filters::name_matches(v, &format!("/{}", c.def.name)) || filters::name_matches(v, &c.def.name))
        && any("status", &|v| c.state.status.text() == v)
        && any("exited", &|v| v.parse() == Ok(c.state.exit_code) && c.state.status == Status::Exited && c.state.started.0 != 0)
        && any("health", &|v| v == "none" || v.is_empty())
        && any("isolation", &|v| v == "default")
        && any("is-task", &|v| matches!(v, "false" | "0"))
        && any("before", &|v| c.def.created < created(v))
        && any("since", &|v| c.def.created > created(v))
        && any("volume", &|v| c.def.mounts.iter().any(|m| m.name == v || m.destination == v || m.source == v))
        && any("network", &|v| {
            let network = engine.networks.find(v).map_or(v, |n| n.name);
            c.def.networks.contains_key(network)
        })
        && any("publish", &|_| false)
        && any("expose", &|v| c.def.config.exposed_ports.iter().flatten().any(|(p, _)| p == v || p.split('/').next() == Some(v)))
        && any("ancestor", &|v| is_ancestor(engine, v, c))
        && filters::labels(filters, &c.def.config.labels)
}

/// The image itself, or one whose layers the container's image builds on.
fn is_ancestor(engine: &Engine, name: &str, c: &Container) -> bool {
    let Ok(ancestor) = engine.images.find(name) else { return false };
    if ancestor.id == c.image {
        return true;
    }
    let own = engine.images.by_id.get(&c.image);
    own.is_some_and(|own| own.layers.len() > ancestor.layers.len() && own.layers.starts_with(&ancestor.layers))
}

/// `POST /containers/create`.
pub fn create(context: &mut Context<'_>, call: Call) -> Handled {
    let name = call.request.param("name").unwrap_or_default().to_string();
    let platform = call.request.param("platform").unwrap_or_default().to_string();
    let created = context.engine.create(
        &name,
        Create::parse(&call.body).map_err(|e| Error::invalid(format!("invalid JSON: {e}")))?,
        &platform,
    )?;
    let body = json!({"Id": created.id, "Warnings": created.warnings}).to_string();
    context.engine.answer_durably(call.conn, Reply::Json(201, body.into_bytes()));
    Ok(None)
}

/// `POST /containers/prune`.
pub fn prune(context: &mut Context<'_>, call: Call) -> Handled {
    let filters = filters::parse(call.request.param("filters"), &["label", "label!", "until"])?;
    let until = prune_until(&filters)?;
    let engine = &mut *context.engine;
    let wanted = |c: &Container| filters::labels(&filters, &c.def.config.labels) && until.is_none_or(|t| c.def.created < t);
    let deleted = engine.prune_containers(&wanted);
    let deleted = if deleted.is_empty() { Value::Null } else { json!(deleted) };
    let body = json!({"ContainersDeleted": deleted, "SpaceReclaimed": 0}).to_string();
    engine.answer_durably(call.conn, Reply::Json(200, body.into_bytes()));
    Ok(None)
}

/// The `until` filter of the prune routes.
pub fn prune_until(filters: &Filters) -> Result<Option<Time>> {
    match filters.get("until").map(Vec::as_slice) {
        None => Ok(None),
        Some([one]) => Time::parse_flexible(one, Time::now()).map(Some),
        Some(_) => Err(Error::invalid("more than one until filter specified")),
    }
}

/// `GET /containers/{id}/top`.
pub fn top(context: &mut Context<'_>, call: Call) -> Handled {
    let id = context.engine.containers.find(call.name())?;
    ok(&context.engine.top(&id, call.request.param("ps_args").unwrap_or_default())?)
}

/// `GET /containers/{id}/logs`: a worker answers.
pub fn logs(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    let id = engine.containers.find(call.name())?;
    let Some(c) = engine.containers.get(&id) else { return Err(Error::not_found(format!("No such container: {id}"))) };
    let (stdout, stderr) = (call.request.flag("stdout"), call.request.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    if c.def.host.log_config.r#type == "none" {
        return Err(Error::unsupported("configured logging driver does not support reading"));
    }
    let time = |name: &str| -> Result<i64> {
        match call.request.param(name).filter(|v| !v.is_empty() && *v != "0") {
            Some(text) => Ok(Time::parse_flexible(text, Time::now())?.0),
            None => Ok(0),
        }
    };
    let tail = match call.request.param("tail") {
        None | Some("" | "all") => None,
        Some(text) => Some(text.parse::<u64>().unwrap_or(u64::MAX)).filter(|n| *n != u64::MAX),
    };
    let task = Logs {
        dir: format!("{}/containers/{id}/log", engine.root.path().display()),
        driver: c.def.host.log_config.r#type.clone(),
        shim: if c.is_running() || c.starting.is_some() { format!("{}/shim.sock", engine.run_dir(&id)) } else { String::new() },
        stdout,
        stderr,
        follow: call.request.flag("follow"),
        timestamps: call.request.flag("timestamps"),
        details: call.request.flag("details"),
        tail,
        since: time("since")?,
        until: time("until")?,
        tty: c.def.config.tty,
        multiplexed: call.version >= 42,
    };
    let (socket, _) = context.conns.take(call.conn, &mut engine.reactor)?;
    engine.spawn_worker(Purpose::Quiet, Task::Logs(task), &[socket.as_fd()], Vec::new())?;
    Ok(None)
}

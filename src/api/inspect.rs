//! `GET /containers/{id}/json`.

use crate::api::call::{Call, Context, Handled, ok};
use crate::engine::Engine;
use crate::engine::container::{Container, Status};
use crate::engine::jobs::{Purpose, UsageFor};
use crate::wire::container::{Config, Endpoint};
use crate::wire::worker::Job as Task;
use serde_json::{Map, Value, json};

/// Docker's `Path` and `Args`.
pub fn command(config: &Config) -> (String, Vec<String>) {
    let mut words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned();
    let path = words.next().unwrap_or_default();
    (path, words.collect())
}

/// `Ports` of the list: exposed ones; published ones come with their issue.
pub fn ports_list(c: &Container) -> Value {
    let port = |name: &str| -> Option<Value> {
        let (number, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
        Some(json!({"PrivatePort": number.parse::<u16>().ok()?, "Type": protocol}))
    };
    let ports: Vec<Value> = if c.is_running() {
        c.def.config.exposed_ports.iter().flatten().filter_map(|(name, _)| port(name)).collect()
    } else {
        Vec::new()
    };
    json!(ports)
}

/// `NetworkSettings.Networks`: what is set up, or what was asked for.
pub fn endpoints(engine: &Engine, c: &Container) -> Value {
    let mut out = Map::new();
    for (name, asked) in &c.def.networks {
        let mut endpoint: Endpoint = c.endpoints.get(name).cloned().unwrap_or_else(|| asked.clone());
        if let Some(network) = engine.networks.find(name).filter(|_| c.state.started.0 != 0) {
            endpoint.network_id = network.id.clone();
        }
        out.insert(name.clone(), json!(endpoint));
    }
    Value::Object(out)
}

fn network_settings(engine: &Engine, c: &Container) -> Value {
    let bridge = c.endpoints.get("bridge").cloned().unwrap_or_default();
    let mut ports = Map::new();
    if c.is_running() {
        for name in c.def.config.exposed_ports.iter().flatten().map(|(name, _)| name) {
            ports.insert(name.clone(), Value::Null);
        }
    }
    let key = if c.is_running() { format!("/proc/{}/ns/net", c.state.pid) } else { String::new() };
    let sandbox = if c.is_running() { c.id.clone() } else { String::new() };
    json!({
        "Bridge": "", "SandboxID": sandbox, "SandboxKey": key, "HairpinMode": false, "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0, "Ports": ports, "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null,
        "EndpointID": bridge.endpoint_id, "Gateway": bridge.gateway, "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "IPAddress": bridge.ip_address, "IPPrefixLen": bridge.ip_prefix_len, "IPv6Gateway": "", "MacAddress": bridge.mac_address,
        "Networks": endpoints(engine, c),
    })
}

/// The whole answer.
pub fn describe(engine: &Engine, c: &Container) -> Value {
    let (path, args) = command(&c.def.config);
    let s = &c.state;
    let active = c.is_running() || s.status == Status::Restarting;
    let run_dir = engine.run_dir(&c.id);
    let dir = format!("{}/containers/{}", engine.root.path().display(), c.id);
    let lower: Vec<String> = c.def.layers.iter().rev().map(|l| layer_dir(engine, l)).collect();
    let log_path =
        if c.def.host.log_config.r#type == "none" { String::new() } else { format!("{dir}/log/{}", crate::logs::CURRENT) };
    let generated = |name: &str| if s.started.0 != 0 { format!("{run_dir}/{name}") } else { String::new() };
    let execs: Vec<&String> = engine.execs.iter().filter(|(_, e)| e.container == c.id && e.running).map(|(id, _)| id).collect();
    json!({
        "Id": c.id, "Created": c.def.created.rfc3339(), "Path": path, "Args": args,
        "State": {
            "Status": s.status.text(), "Running": active, "Paused": s.status == Status::Paused,
            "Restarting": s.status == Status::Restarting, "OOMKilled": s.oom_killed, "Dead": s.status == Status::Dead, "Pid": s.pid,
            "ExitCode": s.exit_code, "Error": s.error, "StartedAt": s.started.rfc3339(), "FinishedAt": s.finished.rfc3339(),
        },
        "Image": c.def.image, "ResolvConfPath": generated("resolv.conf"), "HostnamePath": generated("hostname"),
        "HostsPath": generated("hosts"), "LogPath": log_path, "Name": format!("/{}", c.def.name), "RestartCount": s.restarts,
        "Driver": "overlay2", "Platform": "linux", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "",
        "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) }, "HostConfig": c.def.host,
        "GraphDriver": {"Name": "overlay2", "Data": {
            "LowerDir": lower.join(":"), "UpperDir": format!("{dir}/upper"), "WorkDir": format!("{dir}/work"),
            "MergedDir": if c.is_running() { format!("/proc/{}/root", s.pid) } else { format!("{dir}/merged") },
        }},
        "Mounts": c.def.mounts, "Config": c.def.config, "NetworkSettings": network_settings(engine, c),
    })
}

fn layer_dir(engine: &Engine, layer: &str) -> String {
    crate::image::Digest::parse(layer).map(|d| engine.root.layer_fs(&d).to_string_lossy().into_owned()).unwrap_or_default()
}

/// The handler; with `size=1` a worker adds the sizes.
pub fn container(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    let c = engine.containers.lookup(call.name())?;
    let answer = describe(engine, c);
    if !call.request.flag("size") {
        return ok(&answer);
    }
    let id = c.id.clone();
    let paths = vec![engine.upper_dir(&id)];
    let what = UsageFor::Containers { ids: vec![id], answer };
    engine.spawn_worker(Purpose::Usage(what), Task::Usage { paths }, &[], vec![call.conn])?;
    Ok(None)
}

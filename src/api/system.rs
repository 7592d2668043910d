//! Ping, version, info, events, disk usage, and what is answered for Docker features that do not exist here.

use crate::api::call::{Call, Context, Handled, ok};
use crate::api::filters;
use crate::base::time::Time;
use crate::base::{Error, Result};
use crate::engine::Reply;
use crate::engine::container::Status;
use crate::engine::jobs::{Purpose, UsageFor};
use crate::wire::http::API_VERSION;
use crate::wire::worker::Job as Task;
use serde_json::{Value, json};

/// `GET /_ping`.
pub fn ping(context: &mut Context<'_>, call: Call) -> Handled {
    let headers = [
        ("Builder-Version", "1"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
        ("Swarm", "inactive"),
    ];
    context.conns.whole_with(call.conn, 200, "text/plain; charset=utf-8", &headers, b"OK");
    Ok(None)
}

/// `GET /version`.
pub fn version(context: &mut Context<'_>, _: Call) -> Handled {
    let host = &context.engine.host;
    let version = env!("CARGO_PKG_VERSION");
    let arch = &host.platform.architecture;
    ok(&json!({
        "Platform": {"Name": "PRTIQL Engine"},
        "Components": [{
            "Name": "Engine", "Version": version,
            "Details": {"ApiVersion": API_VERSION, "Arch": arch, "BuildTime": "", "Experimental": "false", "GitCommit": "",
                        "GoVersion": "", "KernelVersion": host.kernel, "MinAPIVersion": "1.24", "Os": "linux"},
        }],
        "Version": version, "ApiVersion": API_VERSION, "MinAPIVersion": "1.24", "GitCommit": "", "GoVersion": "",
        "Os": "linux", "Arch": arch, "KernelVersion": host.kernel, "BuildTime": "", "Engine": "prtiql",
    }))
}

/// `GET /info`.
pub fn info(context: &mut Context<'_>, call: Call) -> Handled {
    let e = &context.engine;
    let count = |status: Status| e.containers.all().filter(|c| c.state.status == status).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let total = e.containers.all().count();
    let v1 = e.host.cgroup == 1;
    let mut security = vec!["name=seccomp,profile=builtin".to_string()];
    if !v1 {
        security.push("name=cgroupns".into());
    }
    let mirrors: Vec<&String> = e.settings.registry_mirrors.iter().filter(|m| m.starts_with("http")).collect();
    let hub = json!({"Name": "docker.io", "Mirrors": mirrors, "Secure": true, "Official": true});
    let mut index = json!({"docker.io": hub});
    for name in e.settings.insecure_registries.iter().filter(|r| !r.contains('/')) {
        index[name] = json!({"Name": name, "Mirrors": [], "Secure": false, "Official": false});
    }
    let cidrs: Vec<&str> =
        e.settings.insecure_registries.iter().filter(|r| r.contains('/')).map(String::as_str).chain(["127.0.0.0/8"]).collect();
    let warnings: Vec<&str> = Vec::new();
    let mut info = json!({
        "ID": e.host.id, "Containers": total, "ContainersRunning": running, "ContainersPaused": paused,
        "ContainersStopped": total - running - paused, "Images": e.images.by_id.len(), "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", e.host.filesystem], ["Supports d_type", "true"], ["Using metacopy", "false"],
                         ["Native Overlay Diff", "true"], ["userxattr", "false"]],
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null, "Log": ["json-file", "local", "none"]},
        "MemoryLimit": true, "SwapLimit": true, "CpuCfsPeriod": true, "CpuCfsQuota": true, "CPUShares": true, "CPUSet": true,
        "PidsLimit": true, "IPv4Forwarding": e.settings.ip_forward, "OomKillDisable": v1, "Debug": e.settings.debug,
        "NFd": 0, "NGoroutines": 1, "NEventsListener": e.events.listeners(), "SystemTime": Time::now().rfc3339(),
        "LoggingDriver": e.settings.log_driver, "CgroupDriver": "cgroupfs", "CgroupVersion": if v1 { "1" } else { "2" },
        "KernelVersion": e.host.kernel, "OperatingSystem": e.host.os, "OSVersion": e.host.os_version, "OSType": "linux",
        "Architecture": e.host.machine, "NCPU": e.host.cpus, "MemTotal": e.host.memory,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {"AllowNondistributableArtifactsCIDRs": [], "AllowNondistributableArtifactsHostnames": [],
                           "InsecureRegistryCIDRs": cidrs, "IndexConfigs": index, "Mirrors": mirrors},
        "GenericResources": null, "DockerRootDir": e.root.path(), "HttpProxy": e.settings.proxies.http_proxy,
        "HttpsProxy": e.settings.proxies.https_proxy, "NoProxy": e.settings.proxies.no_proxy, "Name": e.host.name,
        "Labels": e.settings.labels, "ExperimentalBuild": e.settings.experimental, "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": {"runc": {"path": "prtiql"}}, "DefaultRuntime": "runc",
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "", "RemoteManagers": null},
        "LiveRestoreEnabled": true, "Isolation": "", "InitBinary": "docker-init",
        "ContainerdCommit": {"ID": "", "Expected": ""}, "RuncCommit": {"ID": "", "Expected": ""}, "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": security, "ProductLicense": "Apache-2.0", "DefaultAddressPools": [], "Warnings": warnings, "CDISpecDirs": [],
    });
    if call.version < 44 {
        info["KernelMemory"] = json!(false);
        info["KernelMemoryTCP"] = json!(false);
    }
    ok(&info)
}

/// `GET /events`.
pub fn events(context: &mut Context<'_>, call: Call) -> Handled {
    const KNOWN: &[&str] = &[
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ];
    let filters = filters::parse(call.request.param("filters"), KNOWN)?;
    let time = |name: &str| -> Result<i64> {
        match call.request.param(name).filter(|v| !v.is_empty()) {
            Some(text) => Ok(Time::parse_flexible(text, Time::now())?.0),
            None => Ok(0),
        }
    };
    let (since, until) = (time("since")?, time("until")?);
    let engine = &mut *context.engine;
    engine.answer(call.conn, Reply::StreamHead);
    for event in engine.events.past(since, until, &filters) {
        engine.answer(call.conn, Reply::Chunk(event));
    }
    let left = until - Time::now().0;
    if until != 0 && left <= 0 {
        engine.answer(call.conn, Reply::StreamEnd);
        return Ok(None);
    }
    engine.events.subscribe(call.conn, filters, until);
    if until != 0 {
        engine.end_events_at(call.conn, left as u64 / 1_000_000 + 1);
    }
    Ok(None)
}

/// `GET /system/df`: a worker adds up what folders hold.
pub fn df(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    // What is in read-only stores takes no room of the data root, and none can be had back from it.
    let own = || engine.images.by_id.values().filter(|i| !i.in_store);
    let images: Vec<Value> = own().map(|i| super::images::summary(engine, i, true)).collect();
    let mut layers = std::collections::BTreeMap::new();
    for image in own() {
        let sizes = image.layers.iter().copied().zip(image.sizes.iter().copied());
        layers.extend(sizes.filter(|(layer, _)| engine.root.store_of(layer).is_none()));
    }
    let containers: Vec<String> = engine.containers.ids();
    let list: Vec<Value> =
        containers.iter().filter_map(|id| Some(super::containers::summary(engine, engine.containers.get(id)?))).collect();
    let volumes: Vec<String> = engine.volumes.by_name.keys().cloned().collect();
    let described: Vec<Value> = engine.volumes.by_name.values().map(|v| super::volumes::describe(engine, v)).collect();
    let total: u64 = layers.values().sum();
    let answer = json!({"LayersSize": total, "Images": images, "Containers": list, "Volumes": described, "BuildCache": [], "BuilderSize": 0});
    let mut paths: Vec<String> = containers.iter().map(|id| engine.upper_dir(id)).collect();
    paths.extend(volumes.iter().map(|v| engine.volume_path(v)));
    let what = UsageFor::System { volumes, containers, answer };
    engine.spawn_worker(Purpose::Usage(what), Task::Usage { paths }, &[], vec![call.conn])?;
    Ok(None)
}

/// `POST /auth`: a worker asks the registry.
pub fn auth(_: &mut Context<'_>, _: Call) -> Handled {
    Err(Error::unsupported("checking a login is not part of this version of the engine yet: credentials are checked at the pull"))
}

/// BuildKit's session.
pub fn no_session(_: &mut Context<'_>, _: Call) -> Handled {
    Err(Error::unsupported("BuildKit is not part of this engine: build with DOCKER_BUILDKIT=0"))
}

/// `GET /plugins`: none.
pub fn no_plugins(_: &mut Context<'_>, _: Call) -> Handled {
    ok(&json!([]))
}

/// `POST /build/prune`: there is no build cache.
pub fn build_prune(_: &mut Context<'_>, _: Call) -> Handled {
    ok(&json!({"CachesDeleted": null, "SpaceReclaimed": 0}))
}

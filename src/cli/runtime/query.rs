//! What only tells: state, list, ps, events, spec, features.

use super::Global;
use super::options::Options;
use super::state::State;
use crate::base::{Context, Error, Result};
use crate::runtime::{caps, hooks, seccomp};
use serde_json::{Value, json};

fn describe(global: &Global, s: &State) -> Result<Value> {
    let status = s.status(global)?;
    let annotations = s.spec(global).map(|spec| spec.annotations).unwrap_or_default();
    Ok(json!({
        "ociVersion": hooks::VERSION,
        "id": s.id,
        "pid": if status == "stopped" { 0 } else { s.pid },
        "status": status,
        "bundle": s.bundle,
        "rootfs": s.rootfs,
        "created": s.created,
        "annotations": annotations,
        "owner": "root",
    }))
}

fn print(value: &Value) -> Result<i32> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(0)
}

/// `state`.
pub fn state(global: &Global, o: &Options) -> Result<i32> {
    let s = State::read(global, o.id()?)?;
    print(&describe(global, &s)?)
}

/// `list`.
pub fn list(global: &Global, o: &Options) -> Result<i32> {
    let mut all = Vec::new();
    let entries = match std::fs::read_dir(&global.root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        other => Some(other.context(|| format!("list {}", global.root))?),
    };
    for entry in entries.into_iter().flatten() {
        let name = entry.context(|| format!("list {}", global.root))?.file_name().to_string_lossy().into_owned();
        // one that is being made or removed just now has no state
        if let Ok(s) = State::read(global, &name) {
            all.push(describe(global, &s)?);
        }
    }
    all.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    let text = |v: &Value, key: &str| v[key].as_str().map_or_else(|| v[key].to_string(), str::to_owned);
    if o.is("--quiet") {
        all.iter().for_each(|v| println!("{}", text(v, "id")));
        return Ok(0);
    }
    match o.get("--format").unwrap_or("table") {
        "json" => print(&Value::Array(all)),
        "table" => {
            println!("{:<20} {:<8} {:<10} {:<30} {:<30} OWNER", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
            for v in &all {
                let [id, pid, status, bundle, created] = ["id", "pid", "status", "bundle", "created"].map(|key| text(v, key));
                println!("{id:<20} {pid:<8} {status:<10} {bundle:<30} {created:<30} root");
            }
            Ok(0)
        }
        other => Err(Error::invalid(format!("format {other:?} is not known"))),
    }
}

/// `ps`.
pub fn ps(global: &Global, o: &Options) -> Result<i32> {
    let Some((id, rest)) = o.args.split_first() else { return Err(Error::invalid("ps: a container id is needed")) };
    let s = State::read(global, id)?;
    let pids = s.cgroup.pids()?;
    if o.get("--format") == Some("json") {
        return print(&json!(pids));
    }
    let mut command = std::process::Command::new("ps");
    if rest.is_empty() {
        command.arg("-ef")
    } else {
        command.args(rest)
    };
    let output = command.output().context(|| "run ps")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column =
        head.split_whitespace().position(|word| word == "PID").ok_or_else(|| Error::invalid("ps: there is no column PID"))?;
    println!("{head}");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            println!("{line}");
        }
    }
    Ok(0)
}

/// `events --stats`.
pub fn events(global: &Global, o: &Options) -> Result<i32> {
    let s = State::read(global, o.id()?)?;
    if !o.is("--stats") {
        return Err(Error::unsupported("events: only --stats is supported"));
    }
    let number = |controller: &str, v1: &str, v2: &str| {
        let dir = s.cgroup.dir_of(controller)?;
        let text = std::fs::read_to_string(format!("{dir}/{}", if s.cgroup.v2 { v2 } else { v1 })).ok()?;
        text.split_whitespace().find_map(|word| word.parse::<u64>().ok())
    };
    let cpu = number("cpuacct", "cpuacct.usage", "cpu.stat").map(|n| if s.cgroup.v2 { n * 1000 } else { n });
    print(&json!({"type": "stats", "id": s.id, "data": {
        "cpu": {"usage": {"total": cpu}},
        "memory": {"usage": {
            "usage": number("memory", "memory.usage_in_bytes", "memory.current"),
            "limit": number("memory", "memory.limit_in_bytes", "memory.max"),
        }},
        "pids": {"current": number("pids", "pids.current", "pids.current"), "limit": number("pids", "pids.max", "pids.max")},
    }}))
}

/// `spec`: writes a `config.json` to start from.
pub fn spec(o: &Options) -> Result<i32> {
    let path = format!("{}/config.json", o.get("--bundle").unwrap_or("."));
    let exists = std::fs::exists(&path).context(|| path.clone())?;
    if exists {
        return Err(Error::conflict(format!("file {path} exists, remove it first")));
    }
    let rootless = o.is("--rootless");
    let some = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    namespaces.push(if rootless { "user" } else { "network" });
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": if rootless { json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]) } else { json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]) }}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}),
    ];
    mounts.push(if rootless {
        json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
    } else {
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]})
    });
    if !rootless {
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}));
    }
    let mut spec = json!({
        "ociVersion": hooks::VERSION,
        "process": {
            "terminal": true, "user": {"uid": 0, "gid": 0}, "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"], "cwd": "/",
            "capabilities": {"bounding": some, "effective": some, "permitted": some},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "prtiql",
        "mounts": mounts,
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces.iter().map(|kind| json!({"type": kind})).collect::<Vec<_>>(),
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    });
    if rootless {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    }
    std::fs::write(&path, serde_json::to_string_pretty(&spec)?).context(|| format!("write {path}"))?;
    Ok(0)
}

/// `features`.
pub fn features() -> Result<i32> {
    print(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": hooks::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": crate::runtime::MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": caps::NAMES.as_slice(),
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false},
            "seccomp": {"enabled": true, "actions": seccomp::ACTIONS, "operators": seccomp::OPERATORS, "archs": seccomp::architectures(),
                "knownFlags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]},
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": false}}
        },
        "annotations": {"io.prtiql.version": env!("CARGO_PKG_VERSION")}
    }))
}

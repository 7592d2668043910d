//! From Docker's configuration to an OCI specification.

use super::{devices, files, limits};
use crate::base::{Error, Kind, Result};
use crate::runtime::spec::{Capabilities, ConsoleSize, Linux, Mount, Namespace, Overlay, Process, Root, Seccomp, Spec};
use crate::wire::shim::{Network, Start};

/// What `--init` runs first, in the container.
pub const INIT: &str = "/sbin/docker-init";

/// The security options of a container, taken apart.
#[derive(Debug, Default)]
pub struct Security {
    /// No filter.
    unconfined: bool,
    /// A filter of the user's own.
    profile: Option<Seccomp>,
    /// Set-uid programs give nothing.
    pub no_new_privileges: Option<bool>,
    /// /proc and /sys are neither masked nor read-only.
    system_paths: bool,
}

impl Security {
    /// System calls are filtered.
    pub fn filtered(&self) -> bool {
        !self.unconfined
    }

    /// The user's own filter.
    pub fn profile(&self) -> Option<&Seccomp> {
        self.profile.as_ref()
    }

    /// Parses `HostConfig.SecurityOpt`.
    pub fn parse(options: &[String]) -> Result<Security> {
        let mut security = Security::default();
        for option in options {
            let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
            match key {
                "no-new-privileges" => security.no_new_privileges = Some(!matches!(value, "false" | "0")),
                "seccomp" if value == "unconfined" => security.unconfined = true,
                "seccomp" if matches!(value, "builtin" | "") => {}
                "seccomp" => security.profile = Some(super::profile::read(value)?),
                "systempaths" if value == "unconfined" => security.system_paths = true,
                "apparmor" | "label" | "writable-cgroups" => {} // no such module is used here; Docker accepts them as well
                _ => return Err(Error::invalid(format!("invalid --security-opt 2: \"{option}\""))),
            }
        }
        Ok(security)
    }
}

/// Adds and drops capabilities as Docker does.
pub fn capabilities(add: Option<&Vec<String>>, drop: Option<&Vec<String>>, privileged: bool) -> Vec<String> {
    let full = |name: &String| {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
    };
    let all = || crate::runtime::caps::NAMES.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    if privileged {
        return all();
    }
    let (add, drop): (Vec<String>, Vec<String>) =
        (add.into_iter().flatten().map(full).collect(), drop.into_iter().flatten().map(full).collect());
    let has = |list: &[String], name: &str| list.iter().any(|n| n == name);
    let mut out: Vec<String> = match (has(&add, "ALL"), has(&drop, "ALL")) {
        (true, _) => all(),
        (false, true) => Vec::new(),
        (false, false) => crate::runtime::caps::DEFAULT.iter().map(|n| n.to_string()).collect(),
    };
    out.retain(|n| !has(&drop, n));
    for name in add {
        if name != "ALL" && !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

fn sets(names: Vec<String>) -> Capabilities {
    Capabilities { bounding: names.clone(), effective: names.clone(), permitted: names, ..Capabilities::default() }
}

fn mount(destination: &str, kind: &str, source: &str, options: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.split(',').filter(|o| !o.is_empty()).map(String::from).collect(),
        copy_up: false,
    }
}

/// The whole specification.
pub fn build(start: &Start) -> Result<Spec> {
    let (config, host) = (&start.config, &start.host);
    let security = Security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    let mut spec = Spec { oci_version: "1.2.0".into(), ..Spec::default() };
    let mut args: Vec<String> = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect();
    if start.init {
        args.splice(0..0, [INIT.to_string(), "--".to_string()]);
    }
    spec.process = Process {
        terminal: config.tty,
        console_size: Some(host.console_size)
            .filter(|s| s[0] > 0)
            .map(|s| ConsoleSize { height: s[0] as u16, width: s[1] as u16 }),
        args,
        env: environment(start),
        cwd: if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone() },
        capabilities: Some(sets(capabilities(host.cap_add.as_ref(), host.cap_drop.as_ref(), host.privileged))),
        rlimits: limits::ulimits(host.ulimits.as_deref().unwrap_or_default(), &start.default_ulimits)?,
        no_new_privileges: security.no_new_privileges.unwrap_or(start.no_new_privileges),
        oom_score_adj: Some(host.oom_score_adj as i32),
        ..Process::default()
    };
    spec.root = Root { path: String::new(), readonly: host.readonly_rootfs };
    spec.ext.overlay = Some(Overlay {
        lowers: start.lowers.clone(),
        upper: format!("{}/upper", start.dir),
        work: format!("{}/work", start.dir),
    });
    spec.ext.user_name = Some(config.user.clone());
    spec.ext.group_add = host.group_add.clone().unwrap_or_default();
    spec.ext.make_cwd = true;
    spec.ext.default_seccomp = !security.unconfined && security.profile.is_none() && !host.privileged;
    if host.uts_mode != "host" && !(matches!(start.network, Network::Host) && config.hostname.is_empty()) {
        spec.hostname = config.hostname.clone();
        spec.domainname = config.domainname.clone();
    }
    let (nodes, rules) = devices::gather(host)?;
    spec.linux = Linux {
        namespaces: namespaces(start),
        devices: nodes,
        resources: Some(limits::resources(host, rules)?),
        cgroups_path: start.cgroup.clone(),
        sysctl: host.sysctls.clone().unwrap_or_default(),
        seccomp: security.profile.filter(|_| !host.privileged),
        rootfs_propagation: propagation(start),
        ..Linux::default()
    };
    if !security.system_paths {
        spec.linux.masked_paths = host.masked_paths.clone().unwrap_or_default();
        spec.linux.readonly_paths = host.readonly_paths.clone().unwrap_or_default();
    }
    spec.mounts = mounts(start)?;
    Ok(spec)
}

/// The process of an exec.
pub fn exec_process(start: &Start, exec: &crate::wire::shim::Exec, security: &Security) -> Result<Process> {
    let host = &start.host;
    let mut env = environment(start);
    if exec.tty && !start.config.tty {
        env.push("TERM=xterm".into());
    }
    merge_env(&mut env, exec.env.iter());
    let cwd = [&exec.cwd, &start.config.working_dir].into_iter().find(|c| !c.is_empty()).cloned().unwrap_or_else(|| "/".into());
    Ok(Process {
        terminal: exec.tty,
        console_size: Some(exec.size).filter(|s| s[0] > 0).map(|s| ConsoleSize { height: s[0] as u16, width: s[1] as u16 }),
        args: exec.cmd.clone(),
        env,
        cwd,
        capabilities: Some(sets(capabilities(host.cap_add.as_ref(), host.cap_drop.as_ref(), host.privileged || exec.privileged))),
        rlimits: limits::ulimits(host.ulimits.as_deref().unwrap_or_default(), &start.default_ulimits)?,
        no_new_privileges: security.no_new_privileges.unwrap_or(start.no_new_privileges),
        oom_score_adj: Some(host.oom_score_adj as i32),
        ..Process::default()
    })
}

fn environment(start: &Start) -> Vec<String> {
    let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()];
    if !start.config.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", start.config.hostname));
    }
    if start.config.tty {
        env.push("TERM=xterm".into());
    }
    merge_env(&mut env, start.config.env.iter().flatten());
    env
}

/// Later entries replace earlier ones of the same name.
pub fn merge_env<'a>(env: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for entry in more {
        let key = entry.split('=').next().unwrap_or_default();
        env.retain(|have| have.split('=').next() != Some(key));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
}

fn namespaces(start: &Start) -> Vec<Namespace> {
    let host = &start.host;
    let own = |kind: &str| Namespace { kind: kind.into(), path: String::new() };
    let of = |kind: &str, pid: u32, file: &str| Namespace { kind: kind.into(), path: format!("/proc/{pid}/ns/{file}") };
    let mut all = vec![own("mount")];
    match (host.pid_mode.as_str(), start.pid_of) {
        (_, Some(pid)) => all.push(of("pid", pid, "pid")),
        ("host", _) => {}
        _ => all.push(own("pid")),
    }
    match (host.ipc_mode.as_str(), start.ipc_of) {
        (_, Some(pid)) => all.push(of("ipc", pid, "ipc")),
        ("host", _) => {}
        _ => all.push(own("ipc")),
    }
    match &start.network {
        Network::Host => {}
        Network::Join { pid, .. } => all.push(of("network", *pid, "net")),
        Network::None | Network::Bridge(_) => all.push(own("network")),
    }
    if host.uts_mode != "host" {
        match &start.network {
            // Who shares a container's network shares its name.
            Network::Join { pid, .. } => all.push(of("uts", *pid, "uts")),
            _ => all.push(own("uts")),
        }
    }
    if host.cgroupns_mode == "private" {
        all.push(own("cgroup"));
    }
    all
}

fn propagation(start: &Start) -> String {
    let has = |what: &str| start.mounts.iter().any(|m| m.propagation.contains(what));
    match (has("shared"), has("slave")) {
        (true, _) => "rshared".into(),
        (_, true) => "rslave".into(),
        _ => "rprivate".into(),
    }
}

fn mounts(start: &Start) -> Result<Vec<Mount>> {
    let host = &start.host;
    let read_only = if host.privileged { "" } else { "ro," };
    let mut all = vec![
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/sys", "sysfs", "sysfs", &format!("{read_only}nosuid,noexec,nodev")),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &format!("{read_only}nosuid,noexec,nodev")),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ];
    let taken =
        |path: &str| start.mounts.iter().any(|m| m.destination == path) || host.tmpfs.iter().flatten().any(|(p, _)| p == path);
    if !taken("/dev/shm") {
        all.push(match host.ipc_mode.as_str() {
            "host" => mount("/dev/shm", "bind", "/dev/shm", "rbind,rprivate"),
            "shareable" => mount("/dev/shm", "bind", &format!("{}/shm", start.run_dir), "rbind,rprivate"),
            mode if mode.starts_with("container:") => {
                mount("/dev/shm", "bind", &format!("{}/shm", start.ipc_run_dir), "rbind,rprivate")
            }
            "none" => mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=0"),
            _ => mount("/dev/shm", "tmpfs", "shm", &format!("nosuid,noexec,nodev,mode=1777,size={}", host.shm_size)),
        });
    }
    let files = files::folder(start);
    for name in ["resolv.conf", "hostname", "hosts"] {
        let inside = format!("/etc/{name}");
        if !taken(&inside) {
            all.push(mount(&inside, "bind", &format!("{files}/{name}"), "rbind,rprivate"));
        }
    }
    if start.init {
        let own = std::env::var("PRTIQL_BINARY").or_else(|_| std::env::current_exe().map(|p| p.to_string_lossy().into_owned()));
        let own = own.map_err(|e| Error::internal(format!("--init: the engine's own program file is not known: {e}")))?;
        all.push(mount(INIT, "bind", &own, "bind,ro,rprivate"));
    }
    let mut own = own_mounts(start)?;
    own.sort_by_key(|m| m.destination.split('/').filter(|p| !p.is_empty()).count());
    all.extend(own);
    Ok(all)
}

/// Binds, volumes and tmpfs of the user's.
fn own_mounts(start: &Start) -> Result<Vec<Mount>> {
    let mut own = Vec::new();
    for m in &start.mounts {
        let access = if m.rw { "rw" } else { "ro" };
        if let Some(volume) = start.volume_mounts.iter().find(|v| v.destination == m.destination) {
            let bind = volume.fstype.is_empty()
                || volume.fstype == "none"
                || volume.options.split(',').any(|o| o == "bind" || o == "rbind");
            let options = if bind { format!("rbind,rprivate,{access}") } else { format!("{},{access}", volume.options) };
            own.push(mount(&m.destination, if bind { "bind" } else { &volume.fstype }, &volume.device, &options));
            continue;
        }
        own.push(match m.r#type.as_str() {
            "tmpfs" => mount(
                &m.destination,
                "tmpfs",
                "tmpfs",
                &format!("noexec,nosuid,nodev,{access}{}", tmpfs_options(start, &m.destination)),
            ),
            _ => {
                let asked = start.host.mounts.iter().flatten().find(|o| o.target == m.destination);
                let flat = asked.and_then(|o| o.bind_options.as_ref()).is_some_and(|o| o.non_recursive);
                let propagation = if m.propagation.is_empty() { "rprivate" } else { &m.propagation };
                let kind = if flat { "bind" } else { "rbind" };
                let mut one = mount(&m.destination, "bind", &m.source, &format!("{kind},{propagation},{access}"));
                one.copy_up = start.copy_up.contains(&m.destination);
                one
            }
        });
    }
    for (path, options) in start.host.tmpfs.iter().flatten() {
        if !path.starts_with('/') {
            return Err(Error::new(Kind::Invalid, format!("invalid mount path: '{path}' mount path must be absolute")));
        }
        // What the user says stands behind the defaults, and so wins.
        own.push(mount(path, "tmpfs", "tmpfs", &format!("noexec,nosuid,nodev,{options}")));
    }
    Ok(own)
}

fn tmpfs_options(start: &Start, destination: &str) -> String {
    let asked = start.host.mounts.iter().flatten().find(|m| m.target == destination);
    let Some(options) = asked.and_then(|m| m.tmpfs_options.as_ref()) else { return String::new() };
    let mut text = String::new();
    if options.size_bytes > 0 {
        text.push_str(&format!(",size={}", options.size_bytes));
    }
    if let Some(mode) = options.mode {
        text.push_str(&format!(",mode={mode:o}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does() {
        let list = |text: &str| Some(text.split(' ').map(String::from).collect::<Vec<_>>());
        assert_eq!(capabilities(None, None, false).len(), 14);
        assert_eq!(capabilities(list("chown").as_ref(), list("ALL").as_ref(), false), ["CAP_CHOWN"]);
        let all = capabilities(list("all").as_ref(), list("SYS_ADMIN").as_ref(), false);
        assert!(all.len() > 35 && !all.iter().any(|n| n == "CAP_SYS_ADMIN"));
        assert!(!capabilities(None, list("CAP_KILL").as_ref(), false).iter().any(|n| n == "CAP_KILL"));
    }

    #[test]
    fn later_environment_wins() {
        let mut env = vec!["A=1".to_string(), "B=2".to_string()];
        merge_env(&mut env, ["A=3".to_string(), "B".to_string(), "C=".to_string()].iter());
        assert_eq!(env, ["A=3", "C="]);
    }

    #[test]
    fn security_options() {
        let parse = |text: &str| Security::parse(&[text.to_string()]);
        assert_eq!(parse("no-new-privileges").unwrap().no_new_privileges, Some(true));
        assert_eq!(parse("no-new-privileges:false").unwrap().no_new_privileges, Some(false));
        assert!(parse("seccomp=unconfined").unwrap().unconfined && parse("bogus=1").is_err());
    }
}

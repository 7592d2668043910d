//! From the flags of `run` and `create` to the body of `POST /containers/create`.

mod flags;
mod mounts;
mod network;
pub mod pairs;
mod ports;

pub use flags::Flags;

use crate::base::{Context, Error, Result, size, time};
use crate::cli::terminal;
use crate::wire::container::{
    Config, Create, Empty, Health, HostConfig, Labels, LogConfig, NetworkingConfig, RestartPolicy, Set, ThrottleDevice, Ulimit,
    WeightDevice,
};

/// What of the streams the client attaches to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Which streams `run` attaches.
pub fn attach(flags: &Flags) -> Result<Attach> {
    let mut attach = Attach::default();
    for stream in &flags.attach {
        match stream.to_ascii_lowercase().as_str() {
            "stdin" => attach.stdin = true,
            "stdout" => attach.stdout = true,
            "stderr" => attach.stderr = true,
            _ => return Err(Error::invalid("valid streams are STDIN, STDOUT and STDERR")),
        }
    }
    if flags.detach && !flags.attach.is_empty() {
        return Err(Error::invalid("Conflicting options: -a and -d"));
    }
    if flags.attach.is_empty() && !flags.detach {
        attach = Attach { stdin: flags.interactive, stdout: true, stderr: true };
    }
    Ok(attach)
}

/// The body.
pub fn body(flags: &Flags) -> Result<Create> {
    if flags.gpus.is_some() {
        return Err(Error::unsupported("--gpus: GPU devices are not part of this engine; give the device nodes with --device"));
    }
    if flags.rm && !matches!(flags.restart.as_str(), "" | "no") {
        return Err(Error::invalid("conflicting options: cannot specify both --restart and --rm"));
    }
    let attach = attach(flags)?;
    let mut exposed = Set::new();
    let mut bindings = ports::Bindings::new();
    for text in &flags.publish {
        ports::publish(text, &mut exposed, &mut bindings)?;
    }
    for text in &flags.expose {
        ports::expose(text, &mut exposed)?;
    }
    let (mut binds, mut volumes) = (Vec::new(), Set::new());
    for text in &flags.volume {
        match mounts::volume(text)? {
            mounts::Volume::Bind(bind) => binds.push(bind),
            mounts::Volume::Anonymous(path) => _ = volumes.insert(path, Empty {}),
        }
    }
    let (network_mode, endpoints) = network::networks(flags)?;
    let config = Config {
        hostname: flags.hostname.clone(),
        domainname: flags.domainname.clone(),
        user: flags.user.clone(),
        attach_stdin: attach.stdin,
        attach_stdout: attach.stdout,
        attach_stderr: attach.stderr,
        exposed_ports: some(exposed),
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: flags.interactive && attach.stdin,
        env: list(&pairs::environment(&flags.env_file, &flags.env)?),
        cmd: list(&flags.command),
        healthcheck: health(flags)?,
        image: flags.image.clone(),
        volumes: some(volumes),
        working_dir: flags.workdir.clone(),
        entrypoint: flags.entrypoint.clone().map(|e| vec![e]),
        mac_address: Some(flags.mac_address.clone()).filter(|m| !m.is_empty()),
        labels: pairs::labels(&flags.label_file, &flags.label)?,
        stop_signal: flags.stop_signal.clone(),
        stop_timeout: flags.stop_timeout,
        ..Config::default()
    };
    let host_config = HostConfig { binds: list(&binds), port_bindings: bindings, network_mode, ..host_config(flags)? };
    Ok(Create { config, host_config, networking_config: NetworkingConfig { endpoints_config: endpoints } })
}

/// All of it that does not concern ports, volumes and networks.
fn host_config(flags: &Flags) -> Result<HostConfig> {
    let mut host = HostConfig {
        container_id_file: flags.cidfile.clone(),
        log_config: LogConfig { r#type: flags.log_driver.clone(), config: pairs::map(&flags.log_opt) },
        restart_policy: restart(&flags.restart)?,
        auto_remove: flags.rm,
        volume_driver: flags.volume_driver.clone(),
        volumes_from: list(&flags.volumes_from),
        annotations: some(pairs::map(&flags.annotation)),
        cap_add: list(&flags.cap_add),
        cap_drop: list(&flags.cap_drop),
        cgroupns_mode: flags.cgroupns.clone(),
        dns: Some(flags.dns.clone()),
        dns_options: Some([flags.dns_option.as_slice(), flags.dns_opt.as_slice()].concat()),
        dns_search: Some(flags.dns_search.clone()),
        extra_hosts: list(&flags.add_host.iter().map(|h| extra_host(h)).collect::<Result<Vec<_>>>()?),
        group_add: list(&flags.group_add),
        ipc_mode: flags.ipc.clone(),
        links: list(&flags.link),
        oom_score_adj: flags.oom_score_adj,
        pid_mode: flags.pid.clone(),
        privileged: flags.privileged,
        publish_all_ports: flags.publish_all,
        readonly_rootfs: flags.read_only,
        storage_opt: some(pairs::map(&flags.storage_opt)),
        tmpfs: some(
            flags.tmpfs.iter().map(|t| t.split_once(':').unwrap_or((t, ""))).map(|(k, v)| (k.into(), v.into())).collect(),
        ),
        uts_mode: flags.uts.clone(),
        userns_mode: flags.userns.clone(),
        shm_size: bytes(&flags.shm_size)?,
        sysctls: some(pairs::map(&flags.sysctl)),
        runtime: flags.runtime.clone(),
        isolation: flags.isolation.clone(),
        cpu_shares: flags.cpu_shares,
        memory: bytes(&flags.memory)?,
        nano_cpus: nano_cpus(&flags.cpus)?,
        cgroup_parent: flags.cgroup_parent.clone(),
        blkio_weight: flags.blkio_weight,
        blkio_device_read_bps: Some(throttle(&flags.device_read_bps, true)?),
        blkio_device_write_bps: Some(throttle(&flags.device_write_bps, true)?),
        blkio_device_read_iops: Some(throttle(&flags.device_read_iops, false)?),
        blkio_device_write_iops: Some(throttle(&flags.device_write_iops, false)?),
        cpu_period: flags.cpu_period,
        cpu_quota: flags.cpu_quota,
        cpu_realtime_period: flags.cpu_rt_period,
        cpu_realtime_runtime: flags.cpu_rt_runtime,
        cpuset_cpus: flags.cpuset_cpus.clone(),
        cpuset_mems: flags.cpuset_mems.clone(),
        devices: Some(flags.device.iter().map(|d| mounts::device(d)).collect::<Result<_>>()?),
        device_cgroup_rules: list(&flags.device_cgroup_rule),
        memory_reservation: bytes(&flags.memory_reservation)?,
        memory_swap: if flags.memory_swap == "-1" { -1 } else { bytes(&flags.memory_swap)? },
        memory_swappiness: flags.memory_swappiness,
        oom_kill_disable: flags.oom_kill_disable,
        pids_limit: flags.pids_limit,
        ulimits: some(flags.ulimit.iter().map(|u| ulimit(u)).collect::<Result<_>>()?),
        mounts: some(flags.mount.iter().map(|m| mounts::mount(m)).collect::<Result<_>>()?),
        init: flags.init,
        ..HostConfig::default()
    };
    for text in &flags.blkio_weight_device {
        let bad = || Error::invalid(format!("bad format: {text}"));
        let (path, weight) = text.split_once(':').ok_or_else(bad)?;
        host.blkio_weight_device
            .get_or_insert_default()
            .push(WeightDevice { path: path.into(), weight: weight.parse().map_err(|_| bad())? });
    }
    if flags.tty
        && let Some((rows, columns)) = terminal::size()
    {
        host.console_size = [rows.into(), columns.into()];
    }
    security(flags, &mut host)?;
    Ok(host)
}

/// Security options: seccomp profiles are files of the client, `systempaths` is a setting of the paths.
fn security(flags: &Flags, host: &mut HostConfig) -> Result<()> {
    let mut options = Vec::new();
    for option in &flags.security_opt {
        if option == "systempaths=unconfined" {
            host.masked_paths = Some(Vec::new());
            host.readonly_paths = Some(Vec::new());
            continue;
        }
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", _) => options.push(option.clone()),
            (_, "") => return Err(Error::invalid(format!("invalid --security-opt: {option:?}"))),
            ("seccomp", "unconfined" | "builtin") => options.push(option.clone()),
            ("seccomp", file) => {
                let text = std::fs::read_to_string(file).context(|| format!("opening seccomp profile ({file}) failed"))?;
                let compact: serde_json::Value =
                    serde_json::from_str(&text).context(|| format!("compacting json for seccomp profile ({file}) failed"))?;
                options.push(format!("seccomp={compact}"));
            }
            _ => options.push(option.clone()),
        }
    }
    host.security_opt = list(&options);
    Ok(())
}

fn health(flags: &Flags) -> Result<Option<Health>> {
    let duration = |text: &str| if text.is_empty() { Ok(0) } else { time::parse_duration(text) };
    let health = Health {
        test: flags.health_cmd.clone().map(|c| if c.is_empty() { Vec::new() } else { vec!["CMD-SHELL".into(), c] }),
        interval: duration(&flags.health_interval)?,
        timeout: duration(&flags.health_timeout)?,
        start_period: duration(&flags.health_start_period)?,
        start_interval: duration(&flags.health_start_interval)?,
        retries: flags.health_retries,
    };
    if flags.no_healthcheck {
        if health != Health::default() {
            return Err(Error::invalid("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(Health { test: Some(vec!["NONE".into()]), ..Health::default() }));
    }
    Ok(some_of(health))
}

/// `on-failure:3`
pub fn restart(text: &str) -> Result<RestartPolicy> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    let bad = |why: &str| Error::invalid(format!("invalid restart policy format: {why}"));
    if name.is_empty() && text.contains(':') {
        return Err(bad("no policy provided before colon"));
    }
    let count = if count.is_empty() { 0 } else { count.parse().map_err(|_| bad("maximum retry count must be an integer"))? };
    Ok(RestartPolicy { name: name.into(), maximum_retry_count: count })
}

/// `host:ip`, `host=ip`, `host:[::1]` as `host:ip`.
fn extra_host(text: &str) -> Result<String> {
    let bad = || Error::invalid(format!("bad format for add-host: {text:?}"));
    let (host, ip) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(bad());
    }
    if ip != "host-gateway" && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(Error::invalid(format!("invalid IP address in add-host: {ip:?}")));
    }
    Ok(format!("{host}:{ip}"))
}

/// `name=soft[:hard]`
fn ulimit(text: &str) -> Result<Ulimit> {
    let bad = || Error::invalid(format!("invalid ulimit argument: {text}"));
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard): (i64, i64) = (soft.parse().map_err(|_| bad())?, hard.parse().map_err(|_| bad())?);
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(Error::invalid(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")));
    }
    Ok(Ulimit { name: name.into(), soft, hard })
}

fn throttle(texts: &[String], is_size: bool) -> Result<Vec<ThrottleDevice>> {
    let one = |text: &String| {
        let bad = || Error::invalid(format!("bad format: {text}"));
        let (path, rate) = text.split_once(':').ok_or_else(bad)?;
        let rate = if is_size { size::parse(rate) } else { rate.parse().map_err(|_| bad()) };
        Ok(ThrottleDevice { path: path.into(), rate: rate.map_err(|_| bad())? })
    };
    texts.iter().map(one).collect()
}

/// A size in bytes; empty is 0.
pub fn bytes(text: &str) -> Result<i64> {
    if text.is_empty() { Ok(0) } else { Ok(i64::try_from(size::parse(text)?).unwrap_or(i64::MAX)) }
}

/// `0.5` as billionths.
pub fn nano_cpus(text: &str) -> Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    let bad = || Error::invalid(format!("failed to parse {text} as a rational number"));
    let cpus: f64 = text.parse().map_err(|_| bad())?;
    if (0.0..1e6).contains(&cpus) { Ok((cpus * 1e9).round() as i64) } else { Err(bad()) }
}

fn list(items: &[String]) -> Option<Vec<String>> {
    if items.is_empty() { None } else { Some(items.to_vec()) }
}

/// Nothing instead of an empty collection.
fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    some_of(value)
}

fn some_of<T: Default + PartialEq>(value: T) -> Option<T> {
    if value == T::default() { None } else { Some(value) }
}

/// Labels given as flags, for other verbs.
pub fn labels(flags: &[String]) -> Labels {
    pairs::map(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values() {
        assert_eq!(restart("on-failure:3").unwrap(), RestartPolicy { name: "on-failure".into(), maximum_retry_count: 3 });
        assert!(restart("x:y").is_err() && restart(":1").is_err());
        assert_eq!(extra_host("a=[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("gw:host-gateway").unwrap(), "gw:host-gateway");
        assert!(extra_host("a").is_err() && extra_host("a:b").is_err());
        assert_eq!(ulimit("nofile=1:2").unwrap(), Ulimit { name: "nofile".into(), soft: 1, hard: 2 });
        assert!(ulimit("nofile=3:2").is_err() && ulimit("x").is_err());
        assert_eq!(nano_cpus("0.5").unwrap(), 500_000_000);
        assert!(nano_cpus("-1").is_err() && bytes("x").is_err());
    }

    #[test]
    fn a_plain_run_asks_for_little() {
        let flags = Flags { image: "busybox".into(), command: vec!["true".into()], interactive: true, ..Flags::default() };
        let body = body(&flags).unwrap();
        assert!(body.config.attach_stdin && body.config.open_stdin && body.config.stdin_once && body.config.attach_stdout);
        assert_eq!(body.host_config.network_mode, "default");
        assert!(super::body(&Flags { gpus: Some("all".into()), ..Flags::default() }).is_err());
    }
}

//! Checks a container's resources and settings as Docker does, and fills in Docker's defaults.

use crate::base::{Error, Result, size};
use crate::config::Settings;
use crate::engine::host::Host;
use crate::wire::container::{Config, HostConfig};

const LEAST_MEMORY: i64 = 6 << 20;

/// Paths in /proc and /sys that a container does not see (Docker's defaults).
pub const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths in /proc that a container cannot write.
pub const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Fills in what create leaves open.
pub fn defaults(host: &mut HostConfig, settings: &Settings, machine: &Host) -> Result<()> {
    let empty = |text: &mut String, value: &str| {
        if text.is_empty() {
            *text = value.to_string();
        }
    };
    empty(&mut host.network_mode, "default");
    empty(&mut host.ipc_mode, "private");
    empty(&mut host.runtime, "runc");
    empty(&mut host.restart_policy.name, "no");
    if host.cgroupns_mode.is_empty() {
        let v2 = machine.cgroup == 2 && !host.privileged;
        host.cgroupns_mode = match settings.default_cgroupns_mode.as_str() {
            "" => if v2 { "private" } else { "host" }.into(),
            mode => mode.to_string(),
        };
    }
    if host.log_config.r#type.is_empty() {
        host.log_config.r#type = settings.log_driver.clone();
        for (k, v) in &settings.log_opts {
            host.log_config.config.entry(k.clone()).or_insert_with(|| v.clone());
        }
    }
    if host.shm_size == 0 {
        host.shm_size = size::parse(&settings.default_shm_size)? as i64;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.privileged {
        (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
    }
    let list = |paths: &[&str]| Some(paths.iter().map(|p| p.to_string()).collect());
    if host.masked_paths.is_none() {
        host.masked_paths = list(MASKED);
    }
    if host.readonly_paths.is_none() {
        host.readonly_paths = list(READ_ONLY);
    }
    if host.pids_limit == Some(0) {
        host.pids_limit = None;
    }
    if host.oom_kill_disable.is_none() && machine.cgroup == 1 {
        host.oom_kill_disable = Some(false);
    }
    Ok(())
}

/// Refuses what cannot be.
pub fn check(config: &Config, host: &HostConfig, machine: &Host) -> Result<()> {
    let bad = |message: String| Err(Error::invalid(message));
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return bad(format!("the working directory '{}' is invalid, it needs to be an absolute path", config.working_dir));
    }
    check_memory(host)?;
    if host.nano_cpus != 0 {
        if host.cpu_period > 0 || host.cpu_quota > 0 {
            return bad("Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set".into());
        }
        if host.nano_cpus < 0 || host.nano_cpus > i64::from(machine.cpus) * 1_000_000_000 {
            return bad(format!(
                "range of CPUs is from 0.01 to {}.00, as there are only {} CPUs available",
                machine.cpus, machine.cpus
            ));
        }
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into());
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
    }
    if host.cpu_shares < 0 {
        return bad(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return bad("range of blkio weight is from 10 to 1000".into());
    }
    if host.shm_size < 0 {
        return bad("SHM size can not be less than 0".into());
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return bad(format!("invalid value {}, range for oom score adj is [-1000, 1000]", host.oom_score_adj));
    }
    check_policy(host)?;
    for ulimit in host.ulimits.iter().flatten() {
        if ulimit.hard != -1 && (ulimit.soft > ulimit.hard || ulimit.soft == -1) {
            return bad(format!("ulimit soft limit must be less than or equal to hard limit: {} > {}", ulimit.soft, ulimit.hard));
        }
    }
    check_log(&host.log_config)?;
    if let Some(signal) = config.stop_signal.as_deref().filter(|s| !s.is_empty()) {
        crate::engine::signal::signal_number(signal)?;
    }
    for name in host.cap_add.iter().flatten().chain(host.cap_drop.iter().flatten()) {
        let upper = name.to_ascii_uppercase();
        let full = if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full != "ALL" && crate::runtime::caps::bit(&full).is_none() {
            return bad(format!("invalid capability: unknown capability: \"{full}\""));
        }
    }
    if !matches!(host.runtime.as_str(), "" | "runc" | "prtiql" | "bare") {
        return bad(format!("unknown or invalid runtime name: {}", host.runtime));
    }
    if !host.userns_mode.is_empty() && host.userns_mode != "host" {
        return bad("invalid user namespace mode: user namespaces per container are not part of this version".into());
    }
    if host.port_bindings.values().flatten().any(|b| !b.is_empty()) || host.publish_all_ports {
        return Err(Error::unsupported(
            "published ports are not part of this version of the engine yet: use --network host, or reach the container by its address",
        ));
    }
    if host.links.as_ref().is_some_and(|l| !l.is_empty()) {
        return Err(Error::unsupported("links are not part of this version of the engine yet"));
    }
    Ok(())
}

/// Memory limits: at create and at update.
pub fn check_memory(host: &HostConfig) -> Result<()> {
    let bad = |message: &str| Err(Error::invalid(message));
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return bad("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return bad("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return bad("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if host.memory_swappiness.is_some_and(|s| !(-1..=100).contains(&s)) {
        return bad("Invalid value for memory swappiness, range is [0, 100]");
    }
    if host.memory_reservation > 0 && host.memory_reservation < LEAST_MEMORY {
        return bad("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > 0 && host.memory < host.memory_reservation {
        return bad("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn check_policy(host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count != 0 => {
            return Err(Error::invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'"));
        }
        "" | "no" | "always" | "unless-stopped" => {}
        "on-failure" if policy.maximum_retry_count < 0 => {
            return Err(Error::invalid("invalid restart policy: maximum retry count cannot be negative"));
        }
        "on-failure" => {}
        other => {
            return Err(Error::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(())
}

fn check_log(log: &crate::wire::container::LogConfig) -> Result<()> {
    match log.r#type.as_str() {
        "json-file" | "local" | "none" => {}
        other => return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered"))),
    }
    for (key, value) in &log.config {
        match key.as_str() {
            "max-size" => {
                size::parse(value).map_err(|e| e.context(format!("invalid value for max-size: {value}")))?;
            }
            "max-file" => {
                let files = value.parse::<u32>().ok().filter(|n| *n > 0);
                files.ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?;
            }
            "compress" | "mode" | "max-buffer-size" | "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {}
            other => return Err(Error::invalid(format!("unknown log opt '{other}' for {} log driver", log.r#type))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_rules_are_dockers() {
        let host = |memory, memory_swap| HostConfig { memory, memory_swap, ..HostConfig::default() };
        assert!(check_memory(&host(1024, 0)).unwrap_err().to_string().contains("Minimum memory limit allowed is 6MB"));
        assert!(check_memory(&host(64 << 20, 32 << 20)).is_err() && check_memory(&host(0, 5)).is_err());
        assert!(check_memory(&host(64 << 20, -1)).is_ok());
    }

    #[test]
    fn auto_remove_and_restart_exclude_each_other() {
        let mut host = HostConfig { auto_remove: true, ..HostConfig::default() };
        host.restart_policy.name = "always".into();
        assert!(check_policy(&host).unwrap_err().to_string().contains("AutoRemove"));
    }
}

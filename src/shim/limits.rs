//! From Docker's resource settings to those of the OCI specification.

use crate::base::{Context, Error, Result};
use crate::runtime::spec::{BlockIo, Cpu, DeviceRule, Memory, Pids, Resources, Rlimit, ThrottleDevice, WeightDevice};
use crate::wire::container::{HostConfig, Ulimit};

/// A processor's quota is in so many microseconds, as Docker has it.
const PERIOD: u64 = 100_000;

/// cgroup limits.
pub fn resources(host: &HostConfig, devices: Vec<DeviceRule>) -> Result<Resources> {
    let some = |n: i64| if n != 0 { Some(n) } else { None };
    let memory = Memory {
        limit: some(host.memory),
        reservation: some(host.memory_reservation),
        swap: some(host.memory_swap),
        swappiness: host.memory_swappiness.and_then(|s| u64::try_from(s).ok()),
        disable_oom_killer: host.oom_kill_disable.filter(|d| *d),
    };
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let (quota, period) = match host.nano_cpus {
        0 => (some(host.cpu_quota), positive(host.cpu_period)),
        nano => (Some(nano * PERIOD as i64 / 1_000_000_000), Some(PERIOD)),
    };
    let cpu = Cpu {
        shares: positive(host.cpu_shares),
        quota,
        period,
        realtime_runtime: some(host.cpu_realtime_runtime),
        realtime_period: positive(host.cpu_realtime_period),
        cpus: host.cpuset_cpus.clone(),
        mems: host.cpuset_mems.clone(),
        ..Cpu::default()
    };
    let throttle = |list: &Option<Vec<crate::wire::container::ThrottleDevice>>| -> Result<Vec<ThrottleDevice>> {
        list.iter()
            .flatten()
            .map(|d| numbers(&d.path).map(|(major, minor)| ThrottleDevice { major, minor, rate: d.rate }))
            .collect()
    };
    let block = BlockIo {
        weight: Some(host.blkio_weight).filter(|w| *w > 0),
        weight_device: host
            .blkio_weight_device
            .iter()
            .flatten()
            .map(|d| numbers(&d.path).map(|(major, minor)| WeightDevice { major, minor, weight: Some(d.weight) }))
            .collect::<Result<_>>()?,
        throttle_read_bps_device: throttle(&host.blkio_device_read_bps)?,
        throttle_write_bps_device: throttle(&host.blkio_device_write_bps)?,
        throttle_read_iops_device: throttle(&host.blkio_device_read_iops)?,
        throttle_write_iops_device: throttle(&host.blkio_device_write_iops)?,
    };
    Ok(Resources {
        devices,
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: host.pids_limit.map(|limit| Pids { limit }),
        block_io: (block != BlockIo::default()).then_some(block),
        ..Resources::default()
    })
}

fn numbers(path: &str) -> Result<(i64, i64)> {
    let stat = rustix::fs::stat(path).context(|| format!("block device {path}"))?;
    Ok((i64::from(rustix::fs::major(stat.st_rdev)), i64::from(rustix::fs::minor(stat.st_rdev))))
}

/// Resource limits: the container's, and the daemon's where it sets none.
pub fn ulimits(own: &[Ulimit], default: &[Ulimit]) -> Result<Vec<Rlimit>> {
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let inherited = default.iter().filter(|d| !own.iter().any(|o| o.name == d.name));
    own.iter()
        .chain(inherited)
        .map(|u| match NAMES.contains(&u.name.as_str()) {
            true => {
                Ok(Rlimit { kind: format!("RLIMIT_{}", u.name.to_ascii_uppercase()), hard: u.hard as u64, soft: u.soft as u64 })
            }
            false => Err(Error::invalid(format!("invalid ulimit type: {}", u.name))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_quota_and_period() {
        let host = HostConfig { nano_cpus: 500_000_000, memory: 64 << 20, memory_swap: 128 << 20, ..HostConfig::default() };
        let r = resources(&host, Vec::new()).unwrap();
        let cpu = r.cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period, r.memory.unwrap().swap), (Some(50_000), Some(100_000), Some(128 << 20)));
        assert!(resources(&HostConfig::default(), Vec::new()).unwrap().memory.is_none());
    }

    #[test]
    fn the_containers_ulimits_win() {
        let u = |name: &str, n: i64| Ulimit { name: name.into(), soft: n, hard: n };
        let all = ulimits(&[u("nofile", 5)], &[u("nofile", 9), u("core", 0)]).unwrap();
        assert_eq!(all.iter().map(|r| (r.kind.as_str(), r.soft)).collect::<Vec<_>>(), [("RLIMIT_NOFILE", 5), ("RLIMIT_CORE", 0)]);
        assert!(ulimits(&[u("bogus", 1)], &[]).is_err());
    }
}

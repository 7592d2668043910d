//! Version 2: one hierarchy; a group's controllers are those that its parent hands down.

use super::{Cgroup, ROOT, bpf, devices, files};
use crate::base::{Context, Error, Result};
use crate::runtime::spec::{BlockIo, DeviceRule, Resources};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// Makes the group.
pub fn make(group: &Cgroup) -> Result<()> {
    let dir = group.v2_dir();
    let mut made = Vec::new();
    files::make(&dir, &mut |d| made.push(d.to_owned())).context(|| format!("make control group {dir}"))?;
    // a parent that is new hands nothing down yet
    if made.len() > 1 { hand_down(&dir) } else { Ok(()) }
}

/// Restricts the use of devices.
pub fn devices(group: &Cgroup, rules: &[DeviceRule]) -> Result<()> {
    bpf::attach(&group.v2_dir(), &devices::rules(rules))
}

/// Makes every group above `dir` hand its controllers down.
fn hand_down(dir: &str) -> Result<()> {
    let mut above = ROOT.to_owned();
    for name in dir[ROOT.len()..].split('/').filter(|n| !n.is_empty()) {
        let have = files::read(&format!("{above}/cgroup.controllers"))?;
        let all: Vec<String> = have.split_whitespace().map(|c| format!("+{c}")).collect();
        let file = format!("{above}/cgroup.subtree_control");
        if !all.is_empty() && files::write(&file, &all.join(" ")).is_err() {
            // one may be refused (cpu, while real-time processes run): the others are wanted none the less
            for one in &all {
                if let Err(e) = files::write(&file, one) {
                    log::debug!("{file}: {one}: {e}");
                }
            }
        }
        above = format!("{above}/{name}");
    }
    Ok(())
}

fn missing(file: &str) -> Error {
    let controller = file.split('.').next().unwrap_or_default();
    Error::unsupported(format!(
        "the control group has no {file}: the kernel has no {controller} controller, or it is bound to version 1"
    ))
}

/// Writes a limit, handing controllers down first if that is what is missing.
fn limit(group: &Cgroup, file: &str, text: &str) -> Result<()> {
    let dir = group.v2_dir();
    match files::write(&format!("{dir}/{file}"), text) {
        Err(Errno::NOENT) => {
            hand_down(&dir)?;
            match files::write(&format!("{dir}/{file}"), text) {
                Err(Errno::NOENT) => Err(missing(file)),
                other => other.context(|| format!("set {file} to {text:?}")),
            }
        }
        other => other.context(|| format!("set {file} to {text:?}")),
    }
}

fn max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// The weight of version 2 (1-10000) for shares of version 1 (2-262144).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// The limit of swap alone for a limit of memory and swap together.
fn swap_only(swap: i64, memory: Option<i64>) -> Result<Option<i64>> {
    match (swap, memory.filter(|m| *m != 0)) {
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (_, None | Some(-1)) => Err(Error::invalid("a limit of memory and swap needs a limit of memory")),
        (swap, Some(memory)) if swap < memory => Err(Error::invalid("the limit of memory and swap is below that of memory")),
        (swap, Some(memory)) => Ok(Some(swap - memory)),
    }
}

/// Sets what is set in `r`.
pub fn set(group: &Cgroup, r: &Resources) -> Result<()> {
    if let Some(m) = &r.memory {
        if let Some(value) = swap_only(m.swap.unwrap_or(0), m.limit)? {
            match limit(group, "memory.swap.max", &max(value)) {
                // without swap in the kernel there is none to limit
                Err(e) if e.kind() == crate::base::Kind::Unsupported => {
                    crate::runtime::note::add("the kernel does not account swap (CONFIG_SWAP): swap is not limited".to_string())
                }
                other => other?,
            }
        }
        if let Some(value) = m.limit.filter(|l| *l != 0) {
            limit(group, "memory.max", &max(value))?;
        }
        if let Some(value) = m.reservation.filter(|l| *l != 0) {
            limit(group, "memory.low", &max(value))?;
        }
        if m.disable_oom_killer == Some(true) {
            crate::runtime::note::add("control groups of version 2 cannot disable the OOM killer".to_string());
        }
    }
    if let Some(c) = &r.cpu {
        if let Some(shares) = c.shares.filter(|s| *s != 0) {
            limit(group, "cpu.weight", &weight(shares).to_string())?;
        }
        if let Some(idle) = c.idle {
            limit(group, "cpu.idle", &idle.to_string())?;
        }
        if let Some(burst) = c.burst {
            limit(group, "cpu.max.burst", &burst.to_string())?;
        }
        let (quota, period) = (c.quota.filter(|q| *q != 0), c.period.filter(|p| *p != 0));
        if quota.is_some() || period.is_some() {
            let quota = quota.map_or("max".to_owned(), max);
            limit(group, "cpu.max", &period.map_or(quota.clone(), |p| format!("{quota} {p}")))?;
        }
        if !c.cpus.is_empty() {
            limit(group, "cpuset.cpus", &c.cpus)?;
        }
        if !c.mems.is_empty() {
            limit(group, "cpuset.mems", &c.mems)?;
        }
    }
    if let Some(p) = &r.pids {
        if p.limit > 0 {
            limit(group, "pids.max", &p.limit.to_string())?;
        } else {
            // without the controller there is nothing to lift
            let _ = files::write(&format!("{}/pids.max", group.v2_dir()), "max");
        }
    }
    if let Some(b) = &r.block_io {
        block_io(group, b)?;
    }
    for huge in &r.hugepage_limits {
        limit(group, &format!("hugetlb.{}.max", huge.page_size), &huge.limit.to_string())?;
    }
    for (file, value) in &r.unified {
        if file.contains('/') || !file.contains('.') {
            return Err(Error::invalid(format!("unified resource {file:?} is not the name of a file")));
        }
        limit(group, file, value)?;
    }
    Ok(())
}

fn block_io(group: &Cgroup, b: &BlockIo) -> Result<()> {
    if let Some(w) = b.weight.filter(|w| *w != 0) {
        let w = u64::from(w);
        if files::write(&format!("{}/io.bfq.weight", group.v2_dir()), &w.to_string()).is_err() {
            // 10-1000 there, 1-10000 here
            limit(group, "io.weight", &(1 + (w.clamp(10, 1000) - 10) * 9999 / 990).to_string())?;
        }
    }
    for d in &b.weight_device {
        if let Some(w) = d.weight {
            limit(group, "io.bfq.weight", &format!("{}:{} {w}", d.major, d.minor))?;
        }
    }
    for (key, list) in [
        ("rbps", &b.throttle_read_bps_device),
        ("wbps", &b.throttle_write_bps_device),
        ("riops", &b.throttle_read_iops_device),
        ("wiops", &b.throttle_write_iops_device),
    ] {
        for d in list {
            limit(
                group,
                "io.max",
                &format!("{}:{} {key}={}", d.major, d.minor, if d.rate == 0 { "max".to_owned() } else { d.rate.to_string() }),
            )?;
        }
    }
    Ok(())
}

/// Puts this process into the group.
pub fn enter(group: &Cgroup) -> Result<()> {
    files::set(&group.v2_dir(), "cgroup.procs", "0")
}

/// Freezes or thaws, and does not wait.
pub fn freeze_soon(group: &Cgroup, freeze: bool) -> Result<()> {
    files::write(&format!("{}/cgroup.freeze", group.v2_dir()), if freeze { "1" } else { "0" }).map_err(|e| match e {
        Errno::NOENT => Error::unsupported("pausing needs Linux 5.2 with control groups of version 2"),
        e => Error::from(e).context("freeze the control group"),
    })
}

/// Freezes or thaws, and waits until it is done.
pub fn freeze(group: &Cgroup, freeze: bool) -> Result<()> {
    let dir = group.v2_dir();
    let wanted = u64::from(freeze);
    freeze_soon(group, freeze)?;
    let end = Instant::now() + Duration::from_secs(5);
    while files::counter(&format!("{dir}/cgroup.events"), "frozen")? != wanted {
        if Instant::now() > end {
            let _ = files::write(&format!("{dir}/cgroup.freeze"), "0"); // as far as it goes: the error below is what counts
            return Err(Error::internal("unable to freeze: the processes did not stop within 5 seconds"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The group is frozen.
pub fn is_frozen(group: &Cgroup) -> bool {
    files::read(&format!("{}/cgroup.freeze", group.v2_dir())).is_ok_and(|s| s == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_version_1_become_those_of_version_2() {
        assert_eq!((weight(2), weight(1024), weight(262_144), weight(0)), (1, 39, 10_000, 1));
        assert_eq!(swap_only(-1, None).unwrap(), Some(-1));
        assert_eq!(swap_only(30, Some(10)).unwrap(), Some(20));
        assert_eq!(swap_only(0, Some(10)).unwrap(), None);
        assert!(swap_only(5, Some(10)).is_err() && swap_only(5, None).is_err());
        assert_eq!((max(-1), max(7)), ("max".to_owned(), "7".to_owned()));
    }
}

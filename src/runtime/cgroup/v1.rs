//! Version 1: a hierarchy for each controller or pair of them.

use super::{Cgroup, Hierarchy, ROOT, devices, files};
use crate::base::{Context, Error, Result};
use crate::runtime::spec::{BlockIo, Cpu, DeviceRule, Memory, Resources};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// Hierarchies that a container is in only if it has a limit there: being in them costs time and gains nothing else.
const ONLY_FOR_LIMITS: [&str; 7] = ["cpuset", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc"];

/// All hierarchies, by what the kernel says of this process.
pub fn known() -> Result<Vec<Hierarchy>> {
    let text = std::fs::read_to_string("/proc/self/cgroup").context(|| "read /proc/self/cgroup (CONFIG_CGROUPS)")?;
    Ok(parse(&text))
}

/// Those that a container is in.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    Ok(known()?.into_iter().filter(|h| !h.controllers.split(',').all(|c| ONLY_FOR_LIMITS.contains(&c))).collect())
}

/// It is mounted where it should be.
pub fn is_mounted(one: &Hierarchy) -> bool {
    rustix::fs::access(format!("{ROOT}/{}/cgroup.procs", one.dir), rustix::fs::Access::EXISTS).is_ok()
}

fn parse(text: &str) -> Vec<Hierarchy> {
    text.lines()
        .filter_map(|line| {
            let controllers = line.split(':').nth(1).filter(|c| !c.is_empty())?;
            let dir = controllers.strip_prefix("name=").unwrap_or(controllers);
            Some(Hierarchy { controllers: controllers.to_owned(), dir: dir.to_owned() })
        })
        .collect()
}

fn has(group: &Cgroup, controller: &str) -> bool {
    group.dir_of(controller).is_some_and(|dir| rustix::fs::access(dir.as_str(), rustix::fs::Access::EXISTS).is_ok())
}

/// Makes the group in every hierarchy.
pub fn make(group: &Cgroup) -> Result<()> {
    for dir in group.dirs() {
        match files::make(&dir, &mut |_| {}) {
            Ok(()) => {}
            // a hierarchy that exists but is not mounted where it usually is: done without
            Err(Errno::NOENT) => log::debug!("control group {dir} cannot be made: its hierarchy is not mounted"),
            Err(e) => return Err(e).context(|| format!("make control group {dir}")),
        }
    }
    Ok(())
}

/// Restricts the use of devices.
pub fn devices(group: &Cgroup, rules: &[DeviceRule]) -> Result<()> {
    let Some(dir) = group.dir_of("devices").filter(|_| has(group, "devices")) else {
        crate::runtime::note::add(
            "the kernel has no devices controller (CONFIG_CGROUP_DEVICE): devices are not restricted".into(),
        );
        return Ok(());
    };
    for line in devices::lines(rules) {
        let file = if line.allow { "devices.allow" } else { "devices.deny" };
        files::set(&dir, file, &line.text)?;
    }
    Ok(())
}

/// Puts this process into the group. The file is `tasks` and the process names itself: for that the kernel need not stop
/// every thread of the machine from forking, as it must for `cgroup.procs`; a single-threaded process is one task.
pub fn enter(group: &Cgroup) -> Result<()> {
    for dir in group.dirs().into_iter().chain(limited(group)) {
        match files::write(&format!("{dir}/tasks"), "0") {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e).context(|| format!("enter control group {dir}")),
        }
    }
    Ok(())
}

/// The group's directories in the hierarchies that are used only for limits; most do not exist.
pub fn limited(group: &Cgroup) -> Vec<String> {
    ["cpuset", "hugetlb"].iter().map(|c| format!("{ROOT}/{c}{}", group.path)).collect()
}

fn missing(what: &str, option: &str) -> Error {
    Error::unsupported(format!("{what}: the kernel has no such controller or it is not mounted ({option})"))
}

/// Sets what is set in `r`.
pub fn set(group: &Cgroup, r: &Resources) -> Result<()> {
    if let Some(m) = &r.memory {
        memory(group, m)?;
    }
    if let Some(c) = &r.cpu {
        cpu(group, c)?;
    }
    if let Some(p) = &r.pids {
        let text = if p.limit > 0 { p.limit.to_string() } else { "max".to_owned() };
        match group.dir_of("pids") {
            Some(dir) => files::set(&dir, "pids.max", &text)?,
            None if p.limit > 0 => return Err(missing("a limit of processes", "CONFIG_CGROUP_PIDS")),
            None => {}
        }
    }
    if let Some(b) = &r.block_io {
        block_io(group, b)?;
    }
    for huge in &r.hugepage_limits {
        let dir = extra(group, "hugetlb")?;
        files::set(&dir, &format!("hugetlb.{}.limit_in_bytes", huge.page_size), &huge.limit.to_string())?;
    }
    if !r.unified.is_empty() {
        return Err(Error::unsupported("unified resources need control groups of version 2"));
    }
    Ok(())
}

/// The group in a hierarchy that is only used for limits; the running processes are moved there.
fn extra(group: &Cgroup, controller: &str) -> Result<String> {
    let root = format!("{ROOT}/{controller}");
    if rustix::fs::access(root.as_str(), rustix::fs::Access::EXISTS).is_err() {
        return Err(missing(controller, "CONFIG_CPUSETS, CONFIG_CGROUP_HUGETLB"));
    }
    let dir = format!("{root}{}", group.path);
    if rustix::fs::access(dir.as_str(), rustix::fs::Access::EXISTS).is_ok() {
        return Ok(dir);
    }
    let mut made = Vec::new();
    files::make(&dir, &mut |d| made.push(d.to_owned())).context(|| format!("make control group {dir}"))?;
    if controller == "cpuset" {
        // a new cpuset is empty, and an empty one takes no process
        for d in &made {
            let above = d.rsplit_once('/').map_or("", |(above, _)| above);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let inherited = files::read(&format!("{above}/{file}"))?;
                files::set(d, file, &inherited)?;
            }
        }
    }
    Ok(dir)
}

fn memory(group: &Cgroup, m: &Memory) -> Result<()> {
    let wanted = m.limit.is_some_and(|l| l > 0);
    let Some(dir) = group.dir_of("memory").filter(|_| has(group, "memory")) else {
        return if wanted { Err(missing("a memory limit", "CONFIG_MEMCG, cgroup_enable=memory")) } else { Ok(()) };
    };
    let with_swap = |value: i64| match files::write(&format!("{dir}/memory.memsw.limit_in_bytes"), &value.to_string()) {
        Err(Errno::NOENT) => {
            crate::runtime::note::add(
                "the kernel does not account swap (CONFIG_MEMCG_SWAP, swapaccount=1): swap is not limited".to_string(),
            );
            Ok(())
        }
        other => other.context(|| format!("set memory.memsw.limit_in_bytes to {value}")),
    };
    let mut swap_done = false;
    if let Some(limit) = m.limit.filter(|l| *l != 0) {
        match files::write(&format!("{dir}/memory.limit_in_bytes"), &limit.to_string()) {
            // the limit may not be above that of memory and swap together: that one goes first when both are raised
            Err(Errno::INVAL) if m.swap.is_some_and(|s| s != 0) => {
                with_swap(m.swap.unwrap_or_default())?;
                swap_done = true;
                files::set(&dir, "memory.limit_in_bytes", &limit.to_string())?;
            }
            Err(Errno::BUSY) => {
                let used = files::read(&format!("{dir}/memory.usage_in_bytes")).unwrap_or_default();
                return Err(Error::invalid(format!("unable to set memory limit to {limit} (current usage: {used})")));
            }
            other => other.context(|| format!("set memory.limit_in_bytes to {limit}"))?,
        }
    }
    if let (Some(swap), false) = (m.swap.filter(|s| *s != 0), swap_done) {
        with_swap(swap)?;
    }
    if let Some(soft) = m.reservation.filter(|s| *s != 0) {
        files::set(&dir, "memory.soft_limit_in_bytes", &soft.to_string())?;
    }
    if let Some(swappiness) = m.swappiness {
        files::set(&dir, "memory.swappiness", &swappiness.to_string())?;
    }
    if m.disable_oom_killer == Some(true) {
        files::set(&dir, "memory.oom_control", "1")?;
    }
    Ok(())
}

fn cpu(group: &Cgroup, c: &Cpu) -> Result<()> {
    let asks = c.shares.is_some_and(|s| s != 0) || c.quota.is_some_and(|q| q != 0) || c.period.is_some_and(|p| p != 0);
    match group.dir_of("cpu") {
        Some(dir) => {
            if let Some(shares) = c.shares.filter(|s| *s != 0) {
                files::set(&dir, "cpu.shares", &shares.to_string())?;
            }
            let period = c.period.filter(|p| *p != 0);
            if let Some(period) = period {
                // the old quota may not fit the new period: then the quota goes first
                if files::set(&dir, "cpu.cfs_period_us", &period.to_string()).is_err() {
                    if let Some(quota) = c.quota {
                        files::set(&dir, "cpu.cfs_quota_us", &quota.to_string())?;
                    }
                    files::set(&dir, "cpu.cfs_period_us", &period.to_string())?;
                }
            }
            if let Some(quota) = c.quota.filter(|q| *q != 0) {
                files::set(&dir, "cpu.cfs_quota_us", &quota.to_string())?;
            }
            if let Some(burst) = c.burst {
                files::set(&dir, "cpu.cfs_burst_us", &burst.to_string())?;
            }
            if let Some(period) = c.realtime_period.filter(|p| *p != 0) {
                files::set(&dir, "cpu.rt_period_us", &period.to_string())?;
            }
            if let Some(runtime) = c.realtime_runtime.filter(|r| *r != 0) {
                files::set(&dir, "cpu.rt_runtime_us", &runtime.to_string())?;
            }
            if let Some(idle) = c.idle {
                files::set(&dir, "cpu.idle", &idle.to_string())?;
            }
        }
        None if asks => return Err(missing("a limit of processor time", "CONFIG_FAIR_GROUP_SCHED, CONFIG_CFS_BANDWIDTH")),
        None => {}
    }
    if c.cpus.is_empty() && c.mems.is_empty() {
        return Ok(());
    }
    let dir = extra(group, "cpuset")?;
    for (file, value) in [("cpuset.cpus", &c.cpus), ("cpuset.mems", &c.mems)] {
        if !value.is_empty() {
            files::set(&dir, file, value)?;
        }
    }
    for pid in group.pids()? {
        // those that run already come along; one that has just ended need not
        let _ = files::write(&format!("{dir}/cgroup.procs"), &pid.to_string());
    }
    Ok(())
}

fn block_io(group: &Cgroup, b: &BlockIo) -> Result<()> {
    let Some(dir) = group.dir_of("blkio") else { return Err(missing("a limit of block I/O", "CONFIG_BLK_CGROUP")) };
    if let Some(weight) = b.weight.filter(|w| *w != 0) {
        // the file's name depends on the scheduler that the kernel has
        match files::write(&format!("{dir}/blkio.bfq.weight"), &weight.to_string()) {
            Err(Errno::NOENT) => match files::write(&format!("{dir}/blkio.weight"), &weight.to_string()) {
                Err(Errno::NOENT) => crate::runtime::note::add(
                    "the kernel has no weights of block I/O (CONFIG_BFQ_GROUP_IOSCHED): blkio weight is not applied".to_string(),
                ),
                other => other.context(|| format!("set blkio.weight to {weight}"))?,
            },
            other => other.context(|| format!("set blkio.bfq.weight to {weight}"))?,
        }
    }
    for d in &b.weight_device {
        if let Some(weight) = d.weight {
            files::set(&dir, "blkio.weight_device", &format!("{}:{} {weight}", d.major, d.minor))?;
        }
    }
    for (file, list) in [
        ("blkio.throttle.read_bps_device", &b.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &b.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &b.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &b.throttle_write_iops_device),
    ] {
        for d in list {
            files::set(&dir, file, &format!("{}:{} {}", d.major, d.minor, d.rate))?;
        }
    }
    Ok(())
}

fn freezer(group: &Cgroup) -> Result<String> {
    group.dir_of("freezer").ok_or_else(|| missing("pausing", "CONFIG_CGROUP_FREEZER"))
}

/// Freezes or thaws, and does not wait.
pub fn freeze_soon(group: &Cgroup, freeze: bool) -> Result<()> {
    files::set(&freezer(group)?, "freezer.state", if freeze { "FROZEN" } else { "THAWED" })
}

/// Freezes or thaws, and waits until it is done.
pub fn freeze(group: &Cgroup, freeze: bool) -> Result<()> {
    let dir = freezer(group)?;
    let wanted = if freeze { "FROZEN" } else { "THAWED" };
    let end = Instant::now() + Duration::from_secs(5);
    let mut turn = 0u32;
    loop {
        files::set(&dir, "freezer.state", wanted)?;
        if files::read(&format!("{dir}/freezer.state"))? == wanted {
            return Ok(());
        }
        if Instant::now() > end {
            files::set(&dir, "freezer.state", "THAWED")?;
            return Err(Error::internal("unable to freeze: the processes did not stop within 5 seconds"));
        }
        turn += 1;
        if freeze && turn.is_multiple_of(50) {
            // a process that was just being made can keep a group in FREEZING: letting it go once helps
            files::set(&dir, "freezer.state", "THAWED")?;
        }
        std::thread::sleep(Duration::from_millis(if turn < 20 { 1 } else { 10 }));
    }
}

/// The group is frozen.
pub fn is_frozen(group: &Cgroup) -> bool {
    group.dir_of("freezer").is_some_and(|dir| files::read(&format!("{dir}/freezer.state")).is_ok_and(|s| s != "THAWED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_list_of_hierarchies() {
        let list = parse("4:cpu,cpuacct:/x\n1:name=systemd:/\n0::/user\n");
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].dir.as_str(), list[1].dir.as_str()), ("cpu,cpuacct", "systemd"));
    }
}

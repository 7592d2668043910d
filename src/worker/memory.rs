//! The memory control group of a job that brings things from outside: its page cache is reclaimed before anybody else's, and if
//! it grows for whatever reason it is killed, not the daemon or an application.

use crate::base::{Result, need};
use crate::runtime::Cgroup;
use crate::runtime::spec::{Memory, Resources};
use crate::wire::worker::Place;

/// What all of them are below.
const PARENT: &str = "/prtiql-jobs";

/// The job's group, in what limits memory and nowhere else.
fn group(job: &str) -> Result<Cgroup> {
    let mut group = Cgroup::locate(&format!("{PARENT}/{job}"), job)?;
    group.hierarchies.retain(|h| h.controllers.split(',').any(|c| c == "memory"));
    Ok(group)
}

/// Puts this process, and those that it starts, into the job's group. A machine without such groups does without.
pub fn enter(place: &Place) {
    if place.memory == 0 {
        return;
    }
    let entered = || -> Result<()> {
        let group = group(&place.job)?;
        if !group.v2 && group.hierarchies.is_empty() {
            return Ok(());
        }
        group.make()?;
        limit(&group, place.memory)?;
        group.enter()
    };
    match entered() {
        Ok(()) => share(place),
        Err(e) => log::debug!("job without a limit of memory: {e}"),
    }
}

/// This process is in the job's group. What it must have at once, such as a decoder's window, the group gets in addition, if its limit
/// is not the user's.
pub fn share(place: &Place) {
    if place.memory == 0 || place.fixed {
        return;
    }
    let place = place.clone();
    need::on_announced(move |bytes| {
        let raised = place.memory.saturating_add(bytes.saturating_mul(u64::from(place.processes)));
        // Another process of the job may need more than this one.
        let raise = |group: Cgroup| if current(&group) < raised { limit(&group, raised) } else { Ok(()) };
        if let Err(e) = group(&place.job).and_then(raise) {
            log::debug!("the job's limit of memory stays: {e}");
        }
    });
}

/// The group's limit; what cannot be read is none.
fn current(group: &Cgroup) -> u64 {
    let read = |dir: &String| {
        let text =
            ["memory.max", "memory.limit_in_bytes"].iter().find_map(|name| std::fs::read_to_string(format!("{dir}/{name}")).ok());
        text.and_then(|text| text.trim().parse().ok())
    };
    group.dirs().iter().find_map(read).unwrap_or(u64::MAX)
}

fn limit(group: &Cgroup, bytes: u64) -> Result<()> {
    let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
    let memory = Memory { limit: Some(limit), ..Memory::default() };
    group.update(&Resources { memory: Some(memory), ..Resources::default() })
}

/// The kernel killed a process of the job because its group had no memory left.
pub fn ran_out(job: &str) -> bool {
    group(job).and_then(|group| group.oom_kills()).is_ok_and(|kills| kills > 0)
}

/// Removes the group of a job that has ended; false while processes of it are still ending. Does not wait.
pub fn leave(job: &str) -> bool {
    let dirs = group(job).map(|group| group.dirs()).unwrap_or_default();
    dirs.iter().all(|dir| rustix::fs::rmdir(dir.as_str()) != Err(rustix::io::Errno::BUSY))
}

/// Removes the groups of jobs that an earlier daemon has left.
pub fn clear() {
    for dir in group("").map(|group| group.dirs()).unwrap_or_default() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path()); // one that is in use stays
        }
    }
}

/// What to say of a process that was killed before it was done.
pub fn why_killed(job: &str) -> &'static str {
    match ran_out(job) {
        true => {
            "the worker ran out of memory and was killed by the kernel (worker-memory in daemon.json limits it); \
             what has come is kept: try again"
        }
        false => "the worker was killed before it was done; what has come is kept: try again",
    }
}

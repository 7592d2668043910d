//! Control groups and their controllers, of both versions.

use super::trial::{NEEDS_ROOT, may_do_all};
use super::{Feature, Found};
use crate::runtime::cgroup::{self, ROOT};
use crate::sys::bpf;
use rustix::io::Errno;
use std::path::Path;

pub const FEATURES: &[Feature] = &[
    Feature {
        name: "control groups",
        required: true,
        options: "CONFIG_CGROUPS",
        without: "no container runs",
        probe: |_| groups(),
    },
    Feature {
        name: "memory controller",
        required: false,
        options: "CONFIG_MEMCG",
        without: "limits of memory are refused, and neither containers nor pulls are kept from taking all of it",
        probe: |_| controller("memory", "memory"),
    },
    Feature {
        name: "processor controller",
        required: false,
        options: "CONFIG_CGROUP_SCHED CONFIG_FAIR_GROUP_SCHED CONFIG_CFS_BANDWIDTH",
        without: "limits and shares of processor time are refused",
        probe: |_| controller("cpu", "cpu"),
    },
    Feature {
        name: "process number controller",
        required: false,
        options: "CONFIG_CGROUP_PIDS",
        without: "limits of the number of processes are refused: a fork bomb in a container is one on the host",
        probe: |_| controller("pids", "pids"),
    },
    Feature {
        name: "cpuset controller",
        required: false,
        options: "CONFIG_CPUSETS",
        without: "--cpuset-cpus and --cpuset-mems are refused",
        probe: |_| controller("cpuset", "cpuset"),
    },
    Feature {
        name: "block I/O controller",
        required: false,
        options: "CONFIG_BLK_CGROUP CONFIG_BLK_DEV_THROTTLING",
        without: "limits and weights of block I/O are refused",
        probe: |_| controller("io", "blkio"),
    },
    Feature {
        name: "freezing of control groups",
        required: false,
        options: "CONFIG_CGROUP_FREEZER",
        without: "pause and unpause are refused",
        probe: |_| freezer(),
    },
    Feature {
        name: "restriction of devices",
        required: true,
        options: "CONFIG_CGROUP_DEVICE CONFIG_CGROUP_BPF CONFIG_BPF_SYSCALL",
        without: "with control groups of version 2 no container runs but with --privileged; with version 1, all may use any device",
        probe: |_| devices(),
    },
];

/// What is mounted at [`ROOT`].
#[derive(PartialEq, Eq)]
enum Version {
    One,
    Two,
    None,
}

fn version() -> Version {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return Version::Two;
    }
    if cgroup::mounted().is_empty() { Version::None } else { Version::One }
}

fn groups() -> Found {
    let mount = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";
    match version() {
        Version::Two => Found::Yes("version 2".into()),
        Version::One if Path::new(ROOT).join("unified/cgroup.controllers").exists() => Found::Yes("version 1, hybrid".into()),
        Version::One => Found::Yes("version 1".into()),
        Version::None if Path::new("/proc/self/cgroup").exists() => Found::No(format!("they are not mounted: {mount}")),
        Version::None => Found::no(),
    }
}

/// A controller by its names in versions 2 and 1.
fn controller(two: &str, one: &str) -> Found {
    let there = match version() {
        Version::Two => std::fs::read_to_string(Path::new(ROOT).join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|c| c == two)),
        Version::One => cgroup::mounted().iter().any(|h| h.controllers.split(',').any(|c| c == one)),
        Version::None => return Found::Unknown("there are no control groups".into()),
    };
    // name, hierarchy, number of groups, enabled
    let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let known = table.lines().map(|l| l.split('\t').collect::<Vec<_>>()).find(|l| l.first() == Some(&one));
    match known.as_deref() {
        _ if there => Found::yes(),
        Some([.., "0"]) => Found::No(format!(
            "it is switched off on the kernel's command line: cgroup_enable={one}, and no cgroup_disable={one}"
        )),
        Some(_) => Found::No(format!("the kernel has it, but it is not mounted below {ROOT}")),
        None => Found::no(),
    }
}

fn freezer() -> Found {
    if version() != Version::Two {
        return controller("freezer", "freezer");
    }
    // only groups below the root one have the file
    let trial = Path::new(ROOT).join(format!("prtiql-check-{}", std::process::id()));
    match rustix::fs::mkdir(&trial, rustix::fs::Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let (freeze, kill) = (trial.join("cgroup.freeze").exists(), trial.join("cgroup.kill").exists());
            let _ = rustix::fs::rmdir(&trial);
            match (freeze, kill) {
                (true, true) => Found::yes(),
                (true, false) => Found::Yes("no cgroup.kill (Linux 5.14): processes are killed one by one".into()),
                (false, _) => Found::No("version 2 has it from Linux 5.2 on".into()),
            }
        }
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if !may_do_all() => Found::Unknown(NEEDS_ROOT.into()),
        Err(e) => Found::Unknown(format!("no group can be made: {}", crate::base::error::errno_text(e))),
    }
}

fn devices() -> Found {
    // return 1: what it would be attached to may use everything
    const PROGRAM: [bpf::Insn; 2] =
        [bpf::Insn { code: 0xb7, regs: 0, off: 0, imm: 1 }, bpf::Insn { code: 0x95, regs: 0, off: 0, imm: 0 }];
    match version() {
        Version::None => Found::Unknown("there are no control groups".into()),
        // without it containers run all the same
        Version::One => match controller("devices", "devices") {
            Found::No(text) => Found::Partly(text),
            other => other,
        },
        Version::Two => match bpf::load_device_program(&PROGRAM) {
            Ok(_) => Found::yes(),
            Err(Errno::PERM) => Found::Unknown(NEEDS_ROOT.into()),
            Err(e) => Found::No(crate::base::error::errno_text(e)),
        },
    }
}

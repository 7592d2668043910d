//! Namespaces, file systems, filters, and calls newer than the oldest kernel that the engine runs on.

use super::trial::{NEEDS_ROOT, in_child};
use super::{Feature, Found};
use crate::base::{Context, Result};
use crate::sys::calls::{Call, MOUNT_API, is_there};
use crate::sys::{clone, exec};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags, MountPropagationFlags};

pub const FEATURES: &[Feature] = &[
    Feature {
        name: "mount namespaces",
        required: true,
        options: "CONFIG_NAMESPACES",
        without: "no container runs",
        probe: |_| namespace("mnt", libc::CLONE_NEWNS),
    },
    Feature {
        name: "PID namespaces",
        required: true,
        options: "CONFIG_PID_NS",
        without: "no container runs",
        probe: |_| namespace("pid", libc::CLONE_NEWPID),
    },
    Feature {
        name: "UTS namespaces",
        required: true,
        options: "CONFIG_UTS_NS",
        without: "no container runs, since each has a host name of its own",
        probe: |_| namespace("uts", libc::CLONE_NEWUTS),
    },
    Feature {
        name: "IPC namespaces",
        required: true,
        options: "CONFIG_IPC_NS",
        without: "no container runs but with --ipc host",
        probe: |_| namespace("ipc", libc::CLONE_NEWIPC),
    },
    Feature {
        name: "network namespaces",
        required: true,
        options: "CONFIG_NET_NS",
        without: "no container runs but with --network host",
        probe: |_| namespace("net", libc::CLONE_NEWNET),
    },
    Feature {
        name: "cgroup namespaces",
        required: false,
        options: "CONFIG_CGROUPS",
        without: "containers need --cgroupns host",
        probe: |_| namespace("cgroup", libc::CLONE_NEWCGROUP),
    },
    Feature {
        name: "user namespaces",
        required: false,
        options: "CONFIG_USER_NS",
        without: "the OCI runtime makes no containers with uidMappings",
        probe: |_| namespace("user", libc::CLONE_NEWUSER),
    },
    Feature {
        name: "overlay file system",
        required: true,
        options: "CONFIG_OVERLAY_FS",
        without: "no container runs: each is an overlay of its image's layers",
        probe: |_| overlay(),
    },
    Feature {
        name: "proc file system",
        required: true,
        options: "CONFIG_PROC_FS",
        without: "no container runs",
        probe: |_| file_system("proc"),
    },
    Feature {
        name: "sysfs file system",
        required: true,
        options: "CONFIG_SYSFS",
        without: "no container runs",
        probe: |_| file_system("sysfs"),
    },
    Feature {
        name: "tmpfs file system",
        required: true,
        options: "CONFIG_TMPFS CONFIG_SHMEM",
        without: "no container runs: /dev and /dev/shm are such",
        probe: |_| file_system("tmpfs"),
    },
    Feature {
        name: "devpts file system",
        required: true,
        options: "CONFIG_UNIX98_PTYS",
        without: "no container runs: each has a /dev/pts of its own",
        probe: |_| file_system("devpts"),
    },
    Feature {
        name: "mqueue file system",
        required: false,
        options: "CONFIG_POSIX_MQUEUE",
        without: "containers have no /dev/mqueue",
        probe: |_| file_system("mqueue"),
    },
    Feature {
        name: "filters of system calls",
        required: true,
        options: "CONFIG_SECCOMP CONFIG_SECCOMP_FILTER",
        without: "no container runs but with --security-opt seccomp=unconfined",
        probe: |_| seccomp(),
    },
    Feature {
        name: "events as descriptors",
        required: true,
        options: "CONFIG_EPOLL CONFIG_SIGNALFD CONFIG_UNIX",
        without: "the engine does not start",
        probe: |_| events(),
    },
    Feature {
        name: "session keyrings",
        required: false,
        options: "CONFIG_KEYS",
        without: "nothing: there are no keys to keep from each other",
        probe: |_| keys(),
    },
];

pub const CALLS: &[Feature] = &[
    Feature {
        name: "clone3 and birth in a control group",
        required: false,
        options: "",
        without: "Linux 5.7 has it; before, a container's process enters its group itself",
        probe: |_| call(Call::Clone3),
    },
    Feature {
        name: "pidfd_open",
        required: false,
        options: "",
        without: "Linux 5.3 has it; before, processes are named by their numbers",
        probe: |_| call(Call::PidfdOpen),
    },
    Feature {
        name: "openat2",
        required: false,
        options: "",
        without: "Linux 5.6 has it; before, paths in images are walked name by name, which costs time",
        probe: |_| call(Call::Openat2),
    },
    Feature {
        name: "close_range",
        required: false,
        options: "",
        without: "Linux 5.9 has it; before, descriptors are closed one by one",
        probe: |_| call(Call::CloseRange),
    },
    Feature {
        name: "mount API with mount_setattr",
        required: false,
        options: "",
        without: "Linux 5.12 has it; before, read-only binds are so without what is mounted below them, and the program is kept in \
                  memory as a sealed copy",
        probe: |_| if MOUNT_API.into_iter().chain([Call::MountSetattr]).all(is_there) { Found::yes() } else { Found::no() },
    },
];

fn call(call: Call) -> Found {
    if is_there(call) { Found::yes() } else { Found::no() }
}

/// The kernel knows this kind of namespace.
fn kind(file: &str) -> bool {
    std::path::Path::new("/proc/self/ns").join(file).exists()
}

fn namespace(file: &str, flag: i32) -> Found {
    match in_child(|| Ok(clone::unshare(flag)?)) {
        Ok(()) => Found::yes(),
        Err(e) if e.is_refusal() && kind(file) => Found::Yes(NEEDS_ROOT.into()),
        Err(e) if e.errno == Some(Errno::NOSPC) => Found::No("/proc/sys/user/ allows no more of them".into()),
        Err(e) if kind(file) => Found::No(e.text),
        Err(_) => Found::no(),
    }
}

fn listed(name: &str) -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.lines().any(|l| l.split('\t').nth(1) == Some(name)))
}

/// Mounts one where nobody sees it.
fn file_system(name: &'static str) -> Found {
    let tried = in_child(|| {
        clone::unshare(libc::CLONE_NEWNS)?;
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(rustix::mount::mount(name, "/", name, MountFlags::empty(), None)?)
    });
    match tried {
        Ok(()) => Found::yes(),
        Err(_) if listed(name) => Found::Yes(NEEDS_ROOT.into()),
        Err(e) if e.errno == Some(Errno::NODEV) => Found::no(),
        Err(e) => Found::Unknown(format!("could not be tried: {}", e.text)),
    }
}

/// Asks for an overlay of nothing: the answer tells whether the kernel knows the kind, its module loaded if there is one.
fn overlay() -> Found {
    let asked = match rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS) => rustix::mount::mount("overlay", "/", "overlay", MountFlags::empty(), None),
        other => other.map(drop),
    };
    match asked {
        Err(Errno::NODEV) => Found::no(),
        Err(Errno::PERM) if listed("overlay") => Found::Yes(NEEDS_ROOT.into()),
        Err(Errno::PERM) => Found::Unknown(format!("{NEEDS_ROOT}, and its module is not loaded")),
        _ => Found::yes(),
    }
}

/// Lets everything through.
fn allow_all() -> Result<()> {
    const RETURN: u16 = 6;
    const ALLOW: u32 = 0x7fff_0000;
    rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
    Ok(exec::seccomp(&[exec::Insn { code: RETURN, jt: 0, jf: 0, k: ALLOW }], 0)?)
}

fn seccomp() -> Found {
    match in_child(allow_all) {
        Ok(()) => Found::yes(),
        Err(e) if e.is_refusal() => Found::Unknown(e.text),
        Err(_) => Found::no(),
    }
}

fn events() -> Found {
    let tried = in_child(|| {
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).context(|| "epoll")?;
        crate::sys::signals::child_ended().context(|| "signalfd")?;
        crate::sys::channel::pair().map(drop)
    });
    tried.map_or_else(|e| Found::No(e.text), |()| Found::yes())
}

fn keys() -> Found {
    match in_child(|| Ok(exec::new_keyring(c"prtiql-check")?)) {
        Err(e) if e.errno == Some(Errno::NOSYS) => Found::no(),
        _ => Found::yes(),
    }
}

/// Looked at without a child, when the daemon starts.
pub const QUICK: &[Feature] = &[
    Feature { probe: |_| known("pid"), ..FEATURES[1] },
    Feature { probe: |_| known("uts"), ..FEATURES[2] },
    Feature { probe: |_| known("ipc"), ..FEATURES[3] },
    Feature { probe: |_| known("net"), ..FEATURES[4] },
    FEATURES[7],
];

fn known(file: &str) -> Found {
    if kind(file) { Found::yes() } else { Found::no() }
}

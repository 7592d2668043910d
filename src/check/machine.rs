//! The machine: kernel and processor, data root, clock, random numbers.

use super::trial::may_do_all;
use super::{Feature, Found, Place, nearest};
use crate::base::{error::errno_text, size, time::Time};
use crate::image::Platform;
use crate::store;
use rustix::fs::{Access, StatVfsMountFlags, XattrFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use std::path::Path;

/// The oldest kernel that the engine is made for.
const OLDEST: (u32, u32) = (4, 14);
/// With less no image fits.
const LEAST_ROOM: u64 = 1 << 20;

pub const FEATURES: &[Feature] = &[
    Feature {
        name: "kernel",
        required: true,
        options: "",
        without: "the engine is made for Linux 4.14 and later",
        probe: |_| kernel(),
    },
    Feature { name: "machine", required: false, options: "", without: "", probe: |_| machine() },
    Feature {
        name: "data root",
        required: true,
        options: "",
        without: "nothing can be pulled, loaded or created",
        probe: data_root,
    },
    Feature {
        name: "room in the data root",
        required: true,
        options: "",
        without: "nothing can be pulled, loaded or created",
        probe: room,
    },
    Feature {
        name: "attributes of users (user.*)",
        required: false,
        options: "",
        without: "layers that have such attributes cannot be pulled",
        probe: attributes,
    },
    Feature {
        name: "exec root in memory",
        required: false,
        options: "CONFIG_TMPFS",
        without: "volatile state is written to flash",
        probe: exec_root,
    },
    QUICK[0],
    QUICK[1],
];

/// Looked at when the daemon starts, too.
pub const QUICK: &[Feature] = &[
    Feature {
        name: "clock",
        required: false,
        options: "CONFIG_RTC_CLASS CONFIG_RTC_HCTOSYS",
        without: "registries' certificates are refused until it is set",
        probe: |_| clock(),
    },
    Feature {
        name: "random numbers",
        required: false,
        options: "CONFIG_HW_RANDOM",
        without: "pulls by TLS wait until the kernel has gathered enough, and fail if it does not",
        probe: |_| entropy(),
    },
];

fn kernel() -> Found {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-', '+']).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST { Found::Yes(release) } else { Found::Partly(release) }
}

fn machine() -> Found {
    let uname = rustix::system::uname();
    let info = rustix::system::sysinfo();
    Found::Yes(format!(
        "{} on {}, pages of {} KiB, {} of memory",
        Platform::host(),
        uname.machine().to_string_lossy(),
        rustix::param::page_size() / 1024,
        size::human_binary(info.totalram as u64 * u64::from(info.mem_unit))
    ))
}

/// The data root or what is there of it, if it is on a file system that can be written.
fn writable(place: &Place) -> Result<&Path, Found> {
    let at = nearest(&place.data_root);
    let shown = at.display();
    let stat = rustix::fs::statvfs(at).map_err(|e| Found::Unknown(format!("{shown}: {}", errno_text(e))))?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Found::No(format!("{shown} is on {}, which is mounted read-only", store::file_system(at))));
    }
    match rustix::fs::access(at, Access::WRITE_OK) {
        Err(_) if !may_do_all() => {
            Err(Found::Unknown(format!("{shown} is on {}; not tried: needs root", store::file_system(at))))
        }
        Err(e) => Err(Found::No(format!("{shown}: {}", errno_text(e)))),
        Ok(()) => Ok(at),
    }
}

fn data_root(place: &Place) -> Found {
    let at = match writable(place) {
        Ok(at) => at,
        Err(found) => return found,
    };
    let where_it_is = format!("{} on {}", at.display(), store::file_system(at));
    match store::try_out(at) {
        Ok(lacks) if lacks.is_empty() => Found::Yes(where_it_is),
        Ok(lacks) => Found::No(format!("{where_it_is}: it lacks {}: use ext4, f2fs, btrfs, xfs or tmpfs", lacks.join(", "))),
        Err(e) => Found::No(format!("{where_it_is}: {e}")),
    }
}

fn room(place: &Place) -> Found {
    let at = nearest(&place.data_root);
    let Ok(stat) = rustix::fs::statvfs(at) else { return Found::Unknown(String::new()) };
    let (free, all) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let text = format!("{} of {} free", size::human(free), size::human(all));
    match (free < LEAST_ROOM, stat.f_files > 0 && stat.f_ffree < 16) {
        (true, _) => Found::No(text),
        (_, true) => Found::No(format!("{text}, but no more files can be made")),
        _ => Found::Yes(text),
    }
}

fn attributes(place: &Place) -> Found {
    let Ok(at) = writable(place) else { return Found::Unknown("the data root cannot be written".into()) };
    let file = at.join(format!(".prtiql-check-{}", std::process::id()));
    let tried = std::fs::write(&file, "").map(|()| rustix::fs::setxattr(&file, "user.prtiql", b"y", XattrFlags::empty()));
    let _ = std::fs::remove_file(&file);
    match tried {
        Ok(Ok(())) => Found::yes(),
        Ok(Err(Errno::OPNOTSUPP)) => Found::No(format!("{} has none", store::file_system(at))),
        Ok(Err(e)) => Found::Unknown(errno_text(e)),
        Err(e) => Found::Unknown(e.to_string()),
    }
}

fn exec_root(place: &Place) -> Found {
    let at = nearest(&place.exec_root);
    let (shown, kind) = (at.display(), store::file_system(at));
    match kind.as_str() {
        "tmpfs" | "ramfs" => Found::Yes(format!("{shown} on {kind}")),
        _ => Found::Partly(format!("{shown} is on {kind}, not on tmpfs")),
    }
}

fn clock() -> Found {
    let now = Time::now();
    if now.is_plausible() { Found::yes() } else { Found::No(format!("it says {}: set it, by hand or by NTP", now.rfc3339())) }
}

fn entropy() -> Found {
    match rustix::rand::getrandom(&mut [0u8; 16][..], GetRandomFlags::NONBLOCK) {
        Err(Errno::AGAIN) => Found::No("the kernel has not gathered enough yet".into()),
        Err(e) => Found::No(errno_text(e)),
        Ok(_) => Found::yes(),
    }
}

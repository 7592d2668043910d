//! `/dev`: the nodes and links that every container has, those that were asked for, and the console.

use super::mount;
use super::path::{self, Make};
use super::spec::Device;
use crate::base::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Name, major and minor number of the nodes that every container has.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

fn is_device(stat: &Stat, kind: FileType, major: u32, minor: u32) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == rustix::fs::makedev(major, minor)
}

/// Fills `/dev` of `root`; the file mode mask must be zero.
pub fn fill(root: BorrowedFd<'_>, more: &[Device]) -> Result<()> {
    let dev = path::mountpoint(root, "/dev", Make::Directory)?;
    for (name, major, minor) in NODES {
        node(root, dev.as_fd(), name, &format!("/dev/{name}"), FileType::CharacterDevice, 0o666, major, minor)?;
    }
    for (name, to) in LINKS {
        match rustix::fs::symlinkat(to, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).context(|| format!("make /dev/{name}")),
        }
    }
    // who asks for all of the host's devices also names this one, which is the container's own above
    more.iter().filter(|d| d.path != "/dev/ptmx").try_for_each(|d| extra(root, d))
}

/// Makes one device that was asked for.
fn extra(root: BorrowedFd<'_>, d: &Device) -> Result<()> {
    let what = || format!("make device {}", d.path);
    let kind = match d.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(Error::invalid(format!("device {}: type {other:?} is none of c, b, u, p", d.path))),
    };
    let (above, name) = d.path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", &d.path));
    if name.is_empty() || name == ".." || name == "." {
        return Err(Error::invalid(format!("device {:?}: not a path of a file", d.path)));
    }
    let number = |n: i64| u32::try_from(n).map_err(|_| Error::invalid(format!("device {}: number {n} is out of range", d.path)));
    let dir = path::mountpoint(root, if above.is_empty() { "/" } else { above }, Make::Directory)?;
    let (major, minor) = if kind == FileType::Fifo { (0, 0) } else { (number(d.major)?, number(d.minor)?) };
    let bits = d.file_mode.unwrap_or(0o666) & 0o7777;
    node(root, dir.as_fd(), name, &d.path, kind, bits, major, minor)?;
    let (uid, gid) = (d.uid.unwrap_or(0), d.gid.unwrap_or(0));
    if uid | gid != 0 {
        let owner = (Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)));
        rustix::fs::chownat(&dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).context(what)?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn node(
    root: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &str,
    full: &str,
    kind: FileType,
    bits: u32,
    major: u32,
    minor: u32,
) -> Result<()> {
    let what = || format!("make device {full}");
    let made = rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(bits), rustix::fs::makedev(major, minor));
    match made {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).context(what)?;
            let same = if kind == FileType::Fifo {
                FileType::from_raw_mode(stat.st_mode) == kind
            } else {
                is_device(&stat, kind, major, minor)
            };
            if same { Ok(()) } else { Err(Error::invalid(format!("device {full}: something else is there already"))) }
        }
        // in a user namespace nodes cannot be made: the host's own is bound instead
        Err(Errno::PERM) => {
            let host = rustix::fs::open(full, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).context(what)?;
            if !is_device(&rustix::fs::statat(&host, "", AtFlags::EMPTY_PATH).context(what)?, kind, major, minor) {
                return Err(Error::invalid(format!("device {full}: the host's {full} is another device")));
            }
            let at = path::mountpoint(root, full, Make::File)?;
            mount::bind(root, full, at.as_fd(), host.as_fd(), &mount::Options::default())
        }
        Err(e) => Err(e).context(what),
    }
}

/// The container's `/dev/null`, or the host's; the inode is verified, since masks are made with it.
pub fn null(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    for found in [path::open(root, "/dev/null", flags), rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty())] {
        let Ok(fd) = found else { continue };
        let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH).context(|| "look at /dev/null")?;
        if is_device(&stat, FileType::CharacterDevice, 1, 3) {
            return Ok(fd);
        }
    }
    Err(Error::internal("neither the container's nor the host's /dev/null is the null device"))
}

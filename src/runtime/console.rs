//! A container's terminal: from its own devpts, every part of it verified, since an image or another process of the
//! container may have put something else there.

use super::mount;
use super::path::{self, Make};
use super::spec::ConsoleSize;
use crate::base::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Both ends of a terminal.
pub struct Terminal {
    /// The end that the engine keeps.
    pub master: OwnedFd,
    /// The end that the process gets.
    pub slave: OwnedFd,
}

fn refuse(what: &str) -> Error {
    Error::invalid(format!("/dev/pts of the container: {what}"))
}

/// Opens a new terminal of the container whose root is `root`.
pub fn open(root: BorrowedFd<'_>, size: Option<ConsoleSize>) -> Result<Terminal> {
    let pts = path::open(root, "/dev/pts", OFlags::PATH | OFlags::DIRECTORY).context(|| "open /dev/pts of the container")?;
    if path::kind_of(pts.as_fd()).context(|| "look at /dev/pts of the container")? != DEVPTS_MAGIC {
        return Err(refuse("not a file system of terminals"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = rustix::fs::openat(&pts, "ptmx", flags, Mode::empty()).context(|| "open a new terminal of the container")?;
    let stat = rustix::fs::fstat(&master).context(|| "look at the new terminal")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != rustix::fs::makedev(5, 2) {
        return Err(refuse("ptmx is not the device that makes terminals"));
    }
    rustix::pty::unlockpt(&master).context(|| "unlock the new terminal")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context(|| "open the other end of the new terminal")?;
    if let Some(size) = size {
        let size = rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).context(|| "set the size of the terminal")?;
    }
    Ok(Terminal { master, slave })
}

/// Binds the terminal on the container's `/dev/console`.
pub fn bind(root: BorrowedFd<'_>, terminal: &Terminal) -> Result<()> {
    let what = || "bind /dev/console";
    let name = rustix::pty::ptsname(&terminal.master, Vec::new()).context(what)?.into_string().map_err(|_| refuse("odd name"))?;
    let number = name.rsplit('/').next().unwrap_or_default();
    let inode = path::open(root, &format!("/dev/pts/{number}"), OFlags::PATH | OFlags::NOFOLLOW).context(what)?;
    let (found, ours) =
        (rustix::fs::statat(&inode, "", AtFlags::EMPTY_PATH).context(what)?, rustix::fs::fstat(&terminal.slave).context(what)?);
    if found.st_rdev != ours.st_rdev || found.st_ino != ours.st_ino || found.st_dev != ours.st_dev {
        return Err(refuse("the terminal's node is another file"));
    }
    let at = path::mountpoint(root, "/dev/console", Make::File)?;
    mount::bind(root, "/dev/console", at.as_fd(), inode.as_fd(), &mount::Options::default())
}

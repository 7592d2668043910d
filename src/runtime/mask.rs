//! Masked and read-only paths.

use super::mount::{self, Options, RDONLY};
use super::{dev, path};
use crate::base::{Context, Result};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens a path that may be missing: what is not there needs no mask.
fn there(root: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>> {
    match path::open(root, name, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e).context(|| format!("open {name} in the container")),
    }
}

/// Hides each path: directories beneath an empty read-only tmpfs (one for all), files beneath the null device.
pub fn mask(root: BorrowedFd<'_>, names: &[String]) -> Result<()> {
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<OwnedFd> = None;
    let ro = Options { set: RDONLY, ..Options::default() };
    let tmpfs = Options { set: RDONLY, data: vec!["size=4k".into(), "mode=755".into()], ..Options::default() };
    for name in names {
        let Some(at) = there(root, name)? else { continue };
        let stat = rustix::fs::statat(&at, "", AtFlags::EMPTY_PATH).context(|| format!("look at {name}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let source = match null.take() {
                Some(fd) => fd,
                None => dev::null(root)?,
            };
            mount::bind(root, name, at.as_fd(), source.as_fd(), &Options::default())?;
            null = Some(source);
            continue;
        }
        match &empty {
            Some(first) => mount::bind(root, name, at.as_fd(), first.as_fd(), &ro)?,
            None => empty = Some(mount::file_system(root, name, at.as_fd(), "tmpfs", "tmpfs", &tmpfs)?),
        }
    }
    Ok(())
}

/// Makes each path read-only, with all that is mounted below it.
pub fn readonly(root: BorrowedFd<'_>, names: &[String]) -> Result<()> {
    for name in names {
        let Some(at) = there(root, name)? else { continue };
        let o = if mount::modern() {
            Options { set_all: RDONLY, recursive: true, ..Options::default() }
        } else {
            Options { set: RDONLY, recursive: true, ..Options::default() }
        };
        mount::bind(root, name, at.as_fd(), at.as_fd(), &o)?;
    }
    Ok(())
}

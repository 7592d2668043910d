//! Extended attributes: which of an entry's are kept, and what becomes of those that a file system refuses.

use crate::base::{Context, Error, Result};
use crate::layer::entry::Entry;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// An image may not speak to overlayfs in its private language: redirects and the like would reach other layers.
pub fn kept(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let private = |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    entry.xattrs.iter().filter(move |(name, _)| !private(name)).map(|(name, value)| (&name[..], &value[..]))
}

/// A file system without extended attributes loses them, as with Docker; anything else that fails is an error.
pub fn result(name: &[u8], result: rustix::io::Result<()>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            log::warn!("the data root's file system does not take the attribute {}", String::from_utf8_lossy(name));
            Ok(())
        }
        // user.* is for files and folders only.
        Err(Errno::PERM) if name.starts_with(b"user.") => Ok(()),
        Err(e) => Err(Error::from(e).context(format!("set the attribute {}", String::from_utf8_lossy(name)))),
    }
}

/// Removes all attributes of an open file or folder.
pub fn remove_all(file: BorrowedFd<'_>) -> Result<()> {
    let mut names = vec![0; 64 * 1024]; // the kernel's limit
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(Error::from(e).context("list attributes")),
    };
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        rustix::fs::fremovexattr(file, name).context(|| format!("remove the attribute {}", String::from_utf8_lossy(name)))?;
    }
    Ok(())
}

/// The attributes of an open file are those that are kept of the entry's, and no others.
pub fn are(file: BorrowedFd<'_>, entry: &Entry) -> bool {
    let mut names = [0; 1024];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(_) => return false,
    };
    let count = names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()).count();
    let mut value = [0; 1024];
    let mut has =
        |name: &[u8], wanted: &[u8]| rustix::fs::fgetxattr(file, name, &mut value).is_ok_and(|length| value[..length] == *wanted);
    count == kept(entry).count() && kept(entry).all(|(name, wanted)| has(name, wanted))
}

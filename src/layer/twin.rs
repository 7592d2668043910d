//! Another layer's file with the content of one that is being made: where everything else is equal too, it can be the same file.

use crate::layer::entry::Entry;
use crate::layer::xattr;
use rustix::fs::{FileType, Stat};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Such a file, open.
pub struct Twin {
    /// The file.
    pub file: Rc<OwnedFd>,
    stat: Stat,
}

impl Twin {
    /// If it is a file of so many bytes.
    pub fn of(file: Rc<OwnedFd>, size: u64) -> Option<Twin> {
        let stat = rustix::fs::fstat(&*file).ok()?;
        let is_so = FileType::from_raw_mode(stat.st_mode).is_file() && u64::try_from(stat.st_size) == Ok(size);
        is_so.then_some(Twin { file, stat })
    }

    /// Its mode, owner, time and attributes are the entry's.
    pub fn is_alike(&self, entry: &Entry) -> bool {
        let stat = &self.stat;
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // the fields have other types on other machines
        let same = stat.st_mode & 0o7777 == entry.mode & 0o7777
            && (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid)
            && (i64::from(stat.st_mtime), stat.st_mtime_nsec as u64) == (entry.seconds, u64::from(entry.nanos));
        same && xattr::are(self.file.as_fd(), entry)
    }
}

//! Another layer's file with the content of one that is being made: where everything else is equal too, it can be the same file.

use crate::layer::entry::Entry;
use crate::layer::xattr;
use rustix::fs::FileType;
use std::os::fd::BorrowedFd;

/// It is a file of so many bytes.
pub fn has_size(twin: BorrowedFd<'_>, size: u64) -> bool {
    let is_so =
        |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode).is_file() && u64::try_from(stat.st_size) == Ok(size);
    rustix::fs::fstat(twin).is_ok_and(is_so)
}

/// Its mode, owner, time and attributes are the entry's.
pub fn is_alike(twin: BorrowedFd<'_>, entry: &Entry) -> bool {
    let Ok(stat) = rustix::fs::fstat(twin) else { return false };
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // the fields have other types on other machines
    let same = stat.st_mode & 0o7777 == entry.mode & 0o7777
        && (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid)
        && (i64::from(stat.st_mtime), stat.st_mtime_nsec as u64) == (entry.seconds, u64::from(entry.nanos));
    same && xattr::are(twin, entry)
}

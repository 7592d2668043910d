//! Deleting: a rename into trash/ makes a thing vanish at once; a worker of idle priority frees the space later.

use crate::base::{Context, Result, id};
use crate::store::Root;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Folders nested deeper than this are moved up before they are deleted, so that descriptors stay few.
const DEEPEST: usize = 64;
/// Hard-linked inodes that are told apart when sizes are summed; beyond it a file may count twice.
const MOST_LINKS: usize = 32 * 1024;

/// Moves a file or folder of the data root into trash/.
pub fn discard(root: &Root, path: &Path) -> Result<()> {
    let target = root.trash().join(&id::random()[..16]);
    match std::fs::rename(path, &target) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("move {} to the trash", path.display())),
    }
}

/// Deletes all that is in trash/. `pause` is called between entries and may stop the work by returning false.
pub fn empty_trash(root: &Root, pause: &mut dyn FnMut() -> bool) -> Result<()> {
    let trash = root.trash();
    let what = || format!("empty {}", trash.display());
    let top = open_dir(rustix::fs::CWD, &trash).context(what)?;
    empty_folder(root, top.as_fd(), 0, pause).context(what)?;
    Ok(())
}

fn open_dir(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes the entries of one folder. Returns false when stopped.
fn empty_folder(root: &Root, folder: BorrowedFd<'_>, depth: usize, pause: &mut dyn FnMut() -> bool) -> Result<bool> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if !pause() {
            return Ok(false);
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => continue,
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
        let child = open_dir(folder, name)?;
        if depth >= DEEPEST {
            let up = root.trash().join(&id::random()[..16]);
            rustix::fs::renameat(folder, name, rustix::fs::CWD, &up)?;
            let again = empty_folder(root, child.as_fd(), 1, pause)?;
            rustix::fs::unlinkat(rustix::fs::CWD, &up, AtFlags::REMOVEDIR)?;
            if !again {
                return Ok(false);
            }
            continue;
        }
        if !empty_folder(root, child.as_fd(), depth + 1, pause)? {
            return Ok(false);
        }
        drop(child);
        rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(true)
}

/// Bytes that a folder's regular files and symlinks hold, each inode once; symlinks are not followed.
pub fn tree_size(path: &Path) -> Result<u64> {
    let mut seen = HashSet::new();
    let top = open_dir(rustix::fs::CWD, path).context(|| format!("measure {}", path.display()))?;
    folder_size(top, &mut seen, 0).context(|| format!("measure {}", path.display()))
}

fn folder_size(folder: OwnedFd, seen: &mut HashSet<(u64, u64)>, depth: usize) -> Result<u64> {
    let mut total = 0u64;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Files come and go under a running container: what is gone weighs nothing.
        let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind.is_dir() {
            if depth < 4 * DEEPEST
                && let Ok(child) = open_dir(folder.as_fd(), name)
            {
                total += folder_size(child, seen, depth + 1)?;
            }
            continue;
        }
        let linked = stat.st_nlink > 1;
        #[allow(clippy::useless_conversion)] // the fields' widths differ between architectures
        let key = (u64::from(stat.st_dev), u64::from(stat.st_ino));
        if linked && (seen.contains(&key) || (seen.len() < MOST_LINKS && !seen.insert(key))) {
            continue;
        }
        if kind.is_file() || kind.is_symlink() {
            total += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
    Ok(total)
}

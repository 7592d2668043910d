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
    move_to(path, &root.trash().join(&id::random()[..16]))
}

/// The same for a copy of a layer (hexadecimal diff ID) that containers may run on: it stays until none does.
pub fn discard_copy(root: &Root, path: &Path, layer: &str) -> Result<()> {
    move_to(path, &root.trash().join(format!("held-{layer}-{}", &id::random()[..16])))
}

fn move_to(path: &Path, target: &Path) -> Result<()> {
    match std::fs::rename(path, target) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("move {} to the trash", path.display())),
    }
}

/// The layer (hexadecimal diff ID) that a thing in trash/ was before a repair replaced it: containers may still run on it.
fn replaced_layer(name: &[u8]) -> Option<&str> {
    let (layer, _) = std::str::from_utf8(name).ok()?.strip_prefix("held-")?.split_once('-')?;
    Some(layer)
}

/// Deletes what is in trash/, but for replaced copies of the layers of `hold`; returns how many of those there are. `pause` is
/// called between entries and may stop the work by returning false.
pub fn empty_trash(root: &Root, hold: &[String], pause: &mut dyn FnMut() -> bool) -> Result<u64> {
    let trash = root.trash();
    let what = || format!("empty {}", trash.display());
    let top = open_dir(rustix::fs::CWD, &trash).context(what)?;
    let mut held = 0;
    let mut spare = |name: &[u8]| {
        let spared = replaced_layer(name).is_some_and(|layer| hold.iter().any(|h| h == layer));
        held += u64::from(spared);
        spared
    };
    empty_folder(root, top.as_fd(), 0, &mut spare, pause).context(what)?;
    Ok(held)
}

fn open_dir(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes the entries of one folder. Returns false when stopped.
fn empty_folder(
    root: &Root,
    folder: BorrowedFd<'_>,
    depth: usize,
    spare: &mut dyn FnMut(&[u8]) -> bool,
    pause: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || spare(name.to_bytes()) {
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
        let child = match open_dir(folder, name) {
            Err(rustix::io::Errno::NOENT) => continue, // another worker was faster
            other => other?,
        };
        if depth >= DEEPEST {
            let up = root.trash().join(&id::random()[..16]);
            match rustix::fs::renameat(folder, name, rustix::fs::CWD, &up) {
                Err(rustix::io::Errno::NOENT) => continue,
                other => other?,
            }
            let again = empty_folder(root, child.as_fd(), 1, &mut |_| false, pause)?;
            remove_folder(rustix::fs::CWD, &up)?;
            if !again {
                return Ok(false);
            }
            continue;
        }
        if !empty_folder(root, child.as_fd(), depth + 1, &mut |_| false, pause)? {
            return Ok(false);
        }
        drop(child);
        remove_folder(folder, name)?;
    }
    Ok(true)
}

fn remove_folder(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => other,
    }
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

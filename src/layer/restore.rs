//! After a crash: the work folder of a layer becomes again exactly what its checkpoint knows. Whatever came later (and may have
//! come from a liar, whom only the digest at the end unmasks) leaves no trace. Every step may be done twice.

use crate::base::{Context, Error, Result};
use crate::layer::checkpoint::{Checkpoint, damaged};
use crate::layer::made::Known;
use crate::layer::skeleton::extra_name;
use crate::layer::{path, undo};
use crate::sys::io;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Deeper folders are not gone through: each level holds two descriptors.
const DEEPEST: usize = 200;

/// Restores what is below `work`. Files that are only appended to are cut by those who go on with them.
pub fn restore(work: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let layer = work.join("layer");
    let what = || format!("resume {}", work.display());
    let known = Known::read(&work.join("made"), checkpoint.key, checkpoint.made).context(what)?;
    let fs = open_folder(rustix::fs::CWD, layer.join("fs")).context(what)?;
    let kept = checkpoint.skeleton.replaced();
    let notes = undo::notes(work).context(what)?;
    if let Ok(extra) = open_folder(rustix::fs::CWD, layer.join("extra")) {
        for (sequence, real) in notes.iter().rev().filter(|(sequence, _)| *sequence >= kept) {
            take_back(&fs, &extra, &extra_name(*sequence), real).context(what)?;
        }
        each(extra.as_fd(), &mut |name| {
            let sequence = std::str::from_utf8(name).ok().and_then(|n| n.parse::<u32>().ok());
            if sequence.is_some_and(|n| n < kept) { Ok(()) } else { remove(extra.as_fd(), name, 0) }
        })
        .context(what)?;
    }
    keep_known(fs.as_fd(), &mut Vec::new(), 0, &known).context(what)?;
    if !notes.is_empty() {
        io::sync_file_system(fs.as_fd()).context(what)?;
        undo::clear(work)?;
    }
    Ok(())
}

/// What an entry after the checkpoint has moved to extra/ goes back to its place.
fn take_back(fs: &OwnedFd, extra: &OwnedFd, moved: &str, real: &[u8]) -> Result<()> {
    if rustix::fs::statat(extra, moved, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(()); // it was noted and then not done, or it is taken back already
    }
    let (folder, name) = path::split(real);
    let mut at = open_folder(fs.as_fd(), ".")?;
    for part in folder.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        at = open_folder(at.as_fd(), part)?;
    }
    if name.is_empty() {
        return Err(damaged("a note of undo"));
    }
    remove(at.as_fd(), name, 0)?;
    Ok(rustix::fs::renameat(extra, moved, &at, name)?)
}

/// Removes all names below a folder (whose own is in `real`) that the checkpoint does not know.
fn keep_known(folder: BorrowedFd<'_>, real: &mut Vec<u8>, depth: usize, known: &Known) -> Result<()> {
    let length = real.len();
    each(folder, &mut |name| {
        if length > 0 {
            real.push(b'/');
        }
        real.extend_from_slice(name);
        let done = match known.has(real) {
            false => remove(folder, name, depth),
            true => match open_folder(folder, name) {
                Ok(_) if depth >= DEEPEST => Err(too_deep()),
                Ok(child) => keep_known(child.as_fd(), real, depth + 1, known),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(e) => Err(e.into()),
            },
        };
        real.truncate(length);
        done
    })
}

/// Calls `act` with every name in a folder.
fn each(folder: BorrowedFd<'_>, act: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            act(name)?;
        }
    }
    Ok(())
}

fn too_deep() -> Error {
    Error::unsupported("folders nested too deep to be resumed")
}

/// Removes a name with all that is below it, if there is such a one.
fn remove(folder: BorrowedFd<'_>, name: &[u8], depth: usize) -> Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    if depth >= DEEPEST {
        return Err(too_deep());
    }
    let child = open_folder(folder, name)?;
    each(child.as_fd(), &mut |name| remove(child.as_fd(), name, depth + 1))?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

fn open_folder(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

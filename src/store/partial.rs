//! Layers that have come in part: `staging/layers/<diff id>/`, one work folder a layer, whoever fetches it. A lock on the folder
//! says that somebody does; without it, what is there waits for the next pull that wants the layer.

use crate::base::time::Time;
use crate::base::{Context, Error, Result};
use crate::image::Digest;
use crate::layer::checkpoint;
use crate::store::{Root, trash};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What nobody has gone on with for so long is thrown away.
const OLDEST_SECONDS: i64 = 30 * 24 * 3600;

/// The layer itself in its work folder.
const COPY: &str = "layer";

/// A layer's work folder, held by this process.
pub struct Partial {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Partial {
    /// The layer's work folder, made if it is missing; `None` while another process has it.
    pub fn lock(root: &Root, diff_id: &Digest) -> Result<Option<Partial>> {
        let path = root.partials().join(diff_id.hex());
        let what = || format!("lock {}", path.display());
        std::fs::create_dir_all(root.partials()).context(what)?;
        loop {
            // Not `create_dir_all`: it fails if what it found there has just gone.
            match std::fs::create_dir(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.context(what)?,
            }
            let lock = match open(&path) {
                Err(Errno::NOENT) => continue, // it was completed or thrown away meanwhile
                other => other.context(what)?,
            };
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(Error::from(e).context(what())),
            }
            if is_at(&lock, &path) {
                return Ok(Some(Partial { path, _lock: lock }));
            }
        }
    }

    /// Has some of the layer come already?
    pub fn exists(root: &Root, diff_id: &Digest) -> bool {
        checkpoint::exists(&root.partials().join(diff_id.hex()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Throws away what is there.
    pub fn empty(&self, root: &Root) -> Result<()> {
        let what = || format!("empty {}", self.path.display());
        for entry in std::fs::read_dir(&self.path).context(what)? {
            let path = entry.context(what)?.path();
            match path.ends_with(COPY) {
                true => trash::discard_copy(root, &path, &hex_of(&self.path))?,
                false => trash::discard(root, &path)?,
            }
        }
        Ok(())
    }

    /// Throws it away.
    pub fn discard(self, root: &Root) -> Result<()> {
        throw_away(root, &self.path)
    }
}

/// A folder from which the layer has gone has a few work files at the most, and needs no trash. A repair that was cut short may have left
/// the copy there that it replaced, and containers run on it.
fn throw_away(root: &Root, path: &Path) -> Result<()> {
    if path.join(COPY).exists() {
        return trash::discard_copy(root, path, &hex_of(path));
    }
    let remove = || -> std::io::Result<()> {
        std::fs::read_dir(path)?.try_for_each(|entry| std::fs::remove_file(entry?.path()))?;
        std::fs::remove_dir(path)
    };
    if remove().is_ok() { Ok(()) } else { trash::discard(root, path) }
}

fn hex_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn is_at(folder: &OwnedFd, path: &Path) -> bool {
    match (rustix::fs::fstat(folder), rustix::fs::stat(path)) {
        (Ok(held), Ok(there)) => (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino),
        _ => false,
    }
}

/// At the daemon's start: what cannot be gone on with, or is of no use any more, goes to the trash.
pub(super) fn clear(root: &Root) -> Result<()> {
    let folder = root.partials();
    let what = || format!("list {}", folder.display());
    for entry in std::fs::read_dir(&folder).context(what)? {
        let path = entry.context(what)?.path();
        let complete = path.file_name().and_then(|n| Digest::from_hex(n.to_str()?).ok()).is_none_or(|d| root.has_layer(&d));
        // A clock that has gone back makes nothing old.
        let old = |made: i64| Time::now().seconds() - made > OLDEST_SECONDS;
        if complete || checkpoint::made_at(&path).is_none_or(old) {
            throw_away(root, &path)?;
        }
    }
    Ok(())
}

/// Throws away all partial layers that nobody is working at, but for those of `keep` (diff IDs): what `prune` and a full disk ask
/// for.
pub fn discard_partials(root: &Root, keep: &[String]) -> Result<()> {
    let folder = root.partials();
    let what = || format!("list {}", folder.display());
    for entry in std::fs::read_dir(&folder).context(what)? {
        let path = entry.context(what)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if keep.iter().any(|k| k.strip_prefix("sha256:") == Some(&*name)) {
            continue;
        }
        let free = open(&path).is_ok_and(|f| rustix::fs::flock(&f, FlockOperation::NonBlockingLockExclusive).is_ok());
        if free {
            throw_away(root, &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Temp;

    /// Two processes that fetch the same layer: whoever finds that it cannot go on throws the folder away while the other looks.
    #[test]
    fn a_folder_that_goes_while_it_is_locked_is_made_again() {
        let folder = Temp::new();
        let root = Root::open(&folder.0).unwrap();
        let digest = Digest::of(b"a layer");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(partial) = Partial::lock(&root, &digest).unwrap() {
                            partial.discard(&root).unwrap();
                        }
                    }
                });
            }
        });
    }
}

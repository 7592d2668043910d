//! The committer: makes the daemon's changes of state durable, batch by batch, and acks them.
//!
//! A batch costs one fsync per file written, and one per folder that changed, at its end; of several files one after the other, the first
//! fsync does the work.

use crate::base::{Context, Error, Result};
use crate::store;
use crate::sys::{channel, io};
use crate::wire::commit::{Ack, Batch, Change};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// Files that are written at once.
const MOST_OPEN: usize = 64;

/// Serves the daemon on standard input until it closes; `root` is the data root.
pub fn main(root: &str) -> i32 {
    let root = Path::new(root);
    let socket = crate::sys::inherit::borrow(0);
    loop {
        let mut wait = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        let _ = crate::sys::pages::sleep_lightly(&mut wait, None); // an error shows again below
        let batch: Batch = match channel::receive_json(socket, &mut Vec::new()) {
            Ok(Some(batch)) => batch,
            Ok(None) => return 0,
            Err(e) => {
                eprintln!("prtiql committer: {e}");
                return 1;
            }
        };
        let error = commit(root, &batch.changes).err().map(|e| e.to_string()).unwrap_or_default();
        if channel::send_json(socket, &Ack { number: batch.number, error, written: store::written_by_process() }, &[]).is_err() {
            return 0; // the daemon is gone; what was asked for is done
        }
    }
}

/// Does all changes; the first error is reported, the rest are still tried.
fn commit(root: &Path, changes: &[Change]) -> Result<()> {
    let mut batch = Changes { root, folders: BTreeSet::new(), names: Vec::new(), written: Vec::new() };
    let mut first = Ok(());
    for change in changes {
        let done = batch.apply(change);
        first = first.and(done);
    }
    let named = batch.name();
    first = first.and(named);
    for folder in &batch.folders {
        let synced = sync_folder(folder).context(|| format!("sync {}", folder.display()));
        first = first.and(synced);
    }
    first
}

/// Changes being done.
struct Changes<'a> {
    root: &'a Path,
    /// Folders whose names are to become durable.
    folders: BTreeSet<PathBuf>,
    /// Folders whose names are to become durable before those of the files.
    names: Vec<PathBuf>,
    /// Files that have been written under another name, one after the other.
    written: Vec<Written>,
}

struct Written {
    file: fs::File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Changes<'_> {
    fn apply(&mut self, change: &Change) -> Result<()> {
        // What was written before is in its place before anything else happens there.
        let again = |path: &str| self.written.iter().any(|written| written.path == self.root.join(path));
        let named = match change {
            Change::Write { path, .. } if !again(path) && self.written.len() < MOST_OPEN => Ok(()),
            Change::Names { .. } => Ok(()),
            _ => self.name(),
        };
        named.and(self.apply_one(change))
    }

    fn apply_one(&mut self, change: &Change) -> Result<()> {
        let root = self.root;
        match change {
            Change::Write { path, data } => {
                let path = inside(root, path)?;
                let folder = parent(&path)?;
                make_folders(root, folder, &mut self.folders).context(|| format!("create {}", folder.display()))?;
                self.written.push(write(&path, folder, data.as_bytes()).context(|| format!("write {}", path.display()))?);
                self.folders.insert(folder.to_path_buf());
            }
            Change::Names { path } => self.names.push(inside(root, path)?),
            Change::Folder { path, mode } => {
                let path = inside(root, path)?;
                make_folders(root, &path, &mut self.folders).context(|| format!("create {}", path.display()))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).context(|| format!("chmod {}", path.display()))?;
            }
            Change::Remove { path } => {
                let path = inside(root, path)?;
                missing_is_fine(fs::remove_file(&path)).context(|| format!("remove {}", path.display()))?;
                self.folders.insert(parent(&path)?.to_path_buf());
            }
            Change::Trash { path } => {
                let path = discard(root, path)?;
                self.folders.insert(root.join("trash"));
                self.folders.insert(parent(&path)?.to_path_buf());
            }
            Change::Discard { path } => {
                discard(root, path)?;
            }
        }
        Ok(())
    }

    /// Makes the files that have been written durable, then gives them their names. The content of all is on the device before the first
    /// sync: a file system that commits all that was done with it, as ext4 does, has no second commit to write. btrfs does so only for
    /// folders that others were moved into, so these come first.
    fn name(&mut self) -> Result<()> {
        let (written, names) = (std::mem::take(&mut self.written), std::mem::take(&mut self.names));
        let several = written.len() + names.len() > 1;
        if several {
            written.iter().for_each(|w| _ = io::start_writing(w.file.as_fd(), 0, 0)); // an error shows again below
        }
        let wait = |w: &Written| if several { io::wait_written(w.file.as_fd(), 0, 0) } else { Ok(()) };
        let waited: Vec<_> = written.iter().map(wait).collect();
        for folder in &names {
            sync_folder(folder).context(|| format!("sync {}", folder.display()))?; // a file may speak of what is there
        }
        let sync = |(w, waited): (&Written, rustix::io::Result<()>)| waited.map_err(Into::into).and(w.file.sync_all());
        let synced: Vec<_> = written.iter().zip(waited).map(sync).collect();
        let mut first = Ok(());
        for (w, synced) in written.iter().zip(synced) {
            let named = synced.and_then(|()| fs::rename(&w.temporary, &w.path)).context(|| format!("write {}", w.path.display()));
            first = first.and(named);
        }
        first
    }
}

fn discard(root: &Path, path: &str) -> Result<PathBuf> {
    let path = inside(root, path)?;
    let gone = fs::rename(&path, root.join("trash").join(crate::base::id::random()));
    missing_is_fine(gone).context(|| format!("remove {}", path.display()))?;
    Ok(path)
}

fn missing_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn inside(root: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    match !path.is_empty() && relative.components().all(|c| matches!(c, Component::Normal(_))) {
        true => Ok(root.join(relative)),
        false => Err(Error::internal(format!("'{path}' is no path below the data root"))),
    }
}

fn parent(path: &Path) -> Result<&Path> {
    path.parent().ok_or_else(|| Error::internal(format!("{} has no folder", path.display())))
}

fn make_folders(root: &Path, folder: &Path, changed: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    if folder.is_dir() || folder == root {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(root, above, changed)?;
        changed.insert(above.to_path_buf());
    }
    match fs::create_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn write(path: &Path, folder: &Path, data: &[u8]) -> std::io::Result<Written> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(data)?;
    Ok(Written { file, temporary, path: path.to_path_buf() })
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let fd = match rustix::fs::openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(()), // renamed away later in the same batch
        Err(e) => return Err(e.into()),
    };
    Ok(rustix::fs::fsync(&fd)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_done_in_order_and_twice() {
        let root = std::env::temp_dir().join(format!("prtiql-committer-{}", std::process::id()));
        fs::create_dir_all(root.join("trash")).unwrap();
        let write = |path: &str, data: &str| Change::Write { path: path.into(), data: data.into() };
        let batch = [
            Change::Names { path: "trash".into() },
            write("tags/a", "1"),
            write("containers/x/config.json", "{}"),
            Change::Folder { path: "volumes/v/_data".into(), mode: 0o755 },
            write("tags/a", "2"),
            write("tags/b", "3"),
            write("tags/c", "4"),
            write("tags/c", "5"),
            Change::Remove { path: "tags/b".into() },
            Change::Trash { path: "containers/x".into() },
        ];
        for _ in 0..2 {
            commit(&root, &batch).unwrap();
        }
        assert_eq!(fs::read_to_string(root.join("tags/a")).unwrap(), "2");
        assert_eq!(fs::read_to_string(root.join("tags/c")).unwrap(), "5");
        assert!(root.join("volumes/v/_data").is_dir() && !root.join("tags/b").exists() && !root.join("containers/x").exists());
        assert_eq!(fs::read_dir(root.join("trash")).unwrap().count(), 2);
        assert!(commit(&root, &[write("../x", "")]).is_err() && commit(&root, &[write("/etc/x", "")]).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}

//! The times of folders: making a file in a folder changes them, so they are set when all else is done. What is to be set waits in
//! a work file, so that memory does not grow with the number of folders.

use crate::base::{Context, Result};
use rustix::fs::{Timespec, Timestamps};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;

const BUFFER: usize = 16 * 1024;

/// Folders and their times, in the order in which they came; the last of a folder counts.
pub struct FolderTimes {
    path: PathBuf,
    buffer: Vec<u8>,
    spilled: bool,
}

impl FolderTimes {
    /// `path` is the work file's; it is made if it is needed and is gone after [`FolderTimes::apply`].
    pub fn new(path: PathBuf) -> FolderTimes {
        FolderTimes { path, buffer: Vec::new(), spilled: false }
    }

    /// Notes a folder (its name without symbolic links).
    pub fn add(&mut self, real: &[u8], time: &Timespec) -> Result<()> {
        let length = u16::try_from(real.len()).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&time.tv_sec.to_le_bytes());
        self.buffer.extend_from_slice(&(time.tv_nsec as u32).to_le_bytes());
        self.buffer.extend_from_slice(&real[..usize::from(length)]);
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        let mut file =
            OpenOptions::new().create(true).append(true).open(&self.path).context(|| format!("write {}", self.path.display()))?;
        file.write_all(&self.buffer).context(|| format!("write {}", self.path.display()))?;
        self.buffer.clear();
        self.spilled = true;
        Ok(())
    }

    /// Calls `set` for each.
    pub fn apply(self, mut set: impl FnMut(&[u8], &Timestamps) -> rustix::io::Result<()>) -> Result<()> {
        let what = || "set the times of the layer's folders";
        if self.spilled {
            let mut file = BufReader::with_capacity(BUFFER, File::open(&self.path).context(what)?);
            while each(&mut file, &mut set).context(what)? {}
            std::fs::remove_file(&self.path).context(what)?;
        }
        let mut rest = &self.buffer[..];
        while each(&mut rest, &mut set).context(what)? {}
        Ok(())
    }
}

fn each(from: &mut impl Read, set: &mut impl FnMut(&[u8], &Timestamps) -> rustix::io::Result<()>) -> Result<bool> {
    let mut head = [0u8; 14];
    match from.read_exact(&mut head) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let mut seconds = [0; 8];
    seconds.copy_from_slice(&head[2..10]);
    let nanos = u32::from_le_bytes([head[10], head[11], head[12], head[13]]);
    let mut real = vec![0; usize::from(u16::from_le_bytes([head[0], head[1]]))];
    from.read_exact(&mut real)?;
    let time = Timespec { tv_sec: i64::from_le_bytes(seconds), tv_nsec: nanos as _ };
    set(&real, &Timestamps { last_access: time, last_modification: time })?;
    Ok(true)
}

//! A list that grows with the layer and so waits in a work file, not in memory: written at its end, read once from its start.

use crate::base::{Context, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

const BUFFER: usize = 16 * 1024;

/// The list. What is short stays in memory.
pub struct Spool {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    buffer: Vec<u8>,
}

impl Spool {
    /// Empty; the file is made when it is needed.
    pub fn new(path: PathBuf) -> Spool {
        Spool { path, file: None, written: 0, buffer: Vec::new() }
    }

    /// The first `length` bytes of what an earlier process has spilled; the rest is cut off.
    pub fn resume(path: PathBuf, length: u64) -> Result<Spool> {
        let mut spool = Spool::new(path);
        if length == 0 {
            return match std::fs::remove_file(&spool.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::from(e).context(spool.what())),
                _ => Ok(spool),
            };
        }
        let file = OpenOptions::new().append(true).open(&spool.path).context(|| spool.what())?;
        if file.metadata().context(|| spool.what())?.len() < length {
            return Err(Error::internal("too short").context(spool.what()));
        }
        file.set_len(length).context(|| spool.what())?;
        (spool.file, spool.written) = (Some(file), length);
        Ok(spool)
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.spill() } else { Ok(()) }
    }

    /// Everything is in the file, though not yet on the device.
    pub fn spill(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let what = || format!("write {}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().create_new(true).append(true).open(&self.path).context(what)?),
        };
        file.write_all(&self.buffer).context(what)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// All of it, from the start.
    pub fn read(&self) -> Result<Box<dyn Read + '_>> {
        if self.written == 0 {
            return Ok(Box::new(&self.buffer[..]));
        }
        let file = File::open(&self.path).context(|| self.what())?.take(self.written);
        Ok(Box::new(BufReader::with_capacity(BUFFER, file).chain(&self.buffer[..])))
    }

    fn what(&self) -> String {
        format!("read {}", self.path.display())
    }
}

/// Opens the first `length` bytes of a spool's file.
pub fn reader(path: &Path, length: u64) -> Result<impl Read> {
    let what = || format!("read {}", path.display());
    let file = File::open(path).context(what)?;
    if file.metadata().context(what)?.len() < length {
        return Err(Error::internal("too short").context(what()));
    }
    Ok(BufReader::with_capacity(BUFFER, file.take(length)))
}

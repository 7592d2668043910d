//! Write-behind: what is extracted goes to the device while extraction goes on, in windows, and leaves the page cache once it is
//! there. Neither dirty memory nor the cache grows with the layer, and the sync at the end has little left to do.

use crate::base::Result;
use crate::sys::io;
use rustix::fs::Advice;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of a large file that are started at once.
const WINDOW: u64 = 1 << 20;
/// Started bytes that may be on their way before the oldest are waited for.
const AHEAD: u64 = 3 << 20;
/// A file of so many bytes is started by itself when it is complete: a request of this size is one that any device likes, and no
/// sync, with what it costs the journal, is needed for it.
const LARGE: u64 = 64 << 10;
/// Smaller files are dealt with in batches of so many…
const BATCH_FILES: usize = 2048;
/// …or of so many bytes.
const BATCH_BYTES: u64 = 14 << 20;
/// At this many sixteenths of a batch it is time for a checkpoint, whose sync does the batch's work.
const DUE_SIXTEENTHS: usize = 15;

/// Files on their way to the device.
pub struct Flusher {
    batch: Vec<OwnedFd>,
    most: usize,
    batch_bytes: u64,
    /// Complete large files, the oldest first, with where the bytes begin that have been started, not waited for, and their number.
    leaving: VecDeque<(OwnedFd, u64, u64)>,
    leaving_bytes: u64,
    /// Of the file being written: started up to here,
    started: u64,
    /// and known to be written, and dropped from the cache, up to here.
    written: u64,
}

impl Default for Flusher {
    fn default() -> Flusher {
        // They stay open until they are written: no more than the process may have.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
        let most = BATCH_FILES.min(usize::try_from(limit / 2).unwrap_or(BATCH_FILES)).max(1);
        Flusher {
            batch: Vec::with_capacity(most),
            most,
            batch_bytes: 0,
            leaving: VecDeque::new(),
            leaving_bytes: 0,
            started: 0,
            written: 0,
        }
    }
}

impl Flusher {
    /// The file being written now ends at `end`.
    pub fn wrote(&mut self, file: BorrowedFd<'_>, end: u64) -> Result<()> {
        while end.saturating_sub(self.started) >= WINDOW {
            io::start_writing(file, self.started, WINDOW)?;
            self.started += WINDOW;
            if self.started - self.written >= AHEAD {
                io::wait_written(file, self.written, WINDOW)?;
                forget(file, self.written, WINDOW);
                self.written += WINDOW;
            }
        }
        Ok(())
    }

    /// A file of which `taken` bytes had been written, and made durable, goes on.
    pub fn resume(&mut self, taken: u64) {
        (self.started, self.written) = (taken, taken);
    }

    /// So much waits that the next sync should come soon.
    pub fn is_due(&self) -> bool {
        self.batch.len() >= self.most * DUE_SIXTEENTHS / 16 || self.batch_bytes >= BATCH_BYTES * DUE_SIXTEENTHS as u64 / 16
    }

    /// A file is complete, with `size` bytes.
    pub fn done(&mut self, file: OwnedFd, size: u64) -> Result<()> {
        let (from, rest) = (self.written, size.saturating_sub(self.written));
        let started = std::mem::take(&mut self.started);
        self.written = 0;
        if size >= LARGE {
            io::start_writing(file.as_fd(), started, size.saturating_sub(started))?;
            self.leaving.push_back((file, from, rest));
            self.leaving_bytes += rest;
            return self.wait();
        }
        self.batch_bytes += rest;
        self.batch.push(file);
        if self.batch.len() >= self.most || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Waits for complete large files until no more than [`AHEAD`] of their bytes are on their way.
    fn wait(&mut self) -> Result<()> {
        while self.leaving_bytes > AHEAD
            && let Some((file, from, length)) = self.leaving.pop_front()
        {
            io::wait_written(file.as_fd(), from, length)?;
            forget(file.as_fd(), 0, 0);
            self.leaving_bytes -= length;
        }
        Ok(())
    }

    /// Writes and forgets all complete files. One sync of the file system writes many small files in few requests, where one
    /// call for each would make a request of each.
    fn flush(&mut self) -> Result<()> {
        if let Some(any) = self.batch.first() {
            io::sync_file_system(any.as_fd())?;
        }
        self.synced(None);
        Ok(())
    }

    /// The file system has been synced: all complete files, and what the open one has so far, can leave the cache.
    pub fn synced(&mut self, open: Option<(BorrowedFd<'_>, u64)>) {
        for file in self.batch.drain(..).chain(self.leaving.drain(..).map(|(file, ..)| file)) {
            forget(file.as_fd(), 0, 0);
        }
        (self.batch_bytes, self.leaving_bytes) = (0, 0);
        if let Some((file, taken)) = open.filter(|(_, taken)| *taken > self.written) {
            forget(file, self.written, taken - self.written);
            (self.started, self.written) = (taken, taken);
        }
    }
}

/// Drops a range from the page cache; only ever a hint. No length is all the rest.
pub fn forget(file: BorrowedFd<'_>, offset: u64, length: u64) {
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
}

/// Drops a whole file that was only read from the page cache.
pub fn forget_file(file: BorrowedFd<'_>) {
    forget(file, 0, 0);
}

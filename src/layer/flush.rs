//! Write-behind: what is extracted goes to the device while extraction goes on, in windows, and leaves the page cache once it is
//! there. Neither dirty memory nor the cache grows with the layer, and the sync at the end has little left to do.

use crate::base::Result;
use crate::sys::io;
use rustix::fs::Advice;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of a large file that are started at once.
const WINDOW: u64 = 1 << 20;
/// Started bytes of a large file that may be on their way before the oldest window is waited for.
const AHEAD: u64 = 4 << 20;
/// Small files are dealt with in batches of so many…
const BATCH_FILES: usize = 768;
/// …or of so many bytes.
const BATCH_BYTES: u64 = 16 << 20;

/// Files on their way to the device.
pub struct Flusher {
    batch: Vec<OwnedFd>,
    most: usize,
    batch_bytes: u64,
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
        Flusher { batch: Vec::with_capacity(most), most, batch_bytes: 0, started: 0, written: 0 }
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

    /// A file is complete, with `size` bytes.
    pub fn done(&mut self, file: OwnedFd, size: u64) -> Result<()> {
        self.batch_bytes += size - self.written.min(size);
        (self.started, self.written) = (0, 0);
        self.batch.push(file);
        if self.batch.len() >= self.most || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes and forgets all complete files. One sync of the file system writes many small files in few requests, where one
    /// call for each would make a request of each.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(any) = self.batch.first() {
            rustix::fs::syncfs(any)?;
        }
        for file in &self.batch {
            forget(file.as_fd(), 0, 0);
        }
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }
}

/// Drops a range from the page cache; only ever a hint.
fn forget(file: BorrowedFd<'_>, offset: u64, length: u64) {
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
}

/// Drops a whole file that was only read from the page cache.
pub fn forget_file(file: BorrowedFd<'_>) {
    forget(file, 0, 0);
}

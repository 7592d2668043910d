//! The content of a file as a part of its layer's tar, for those who go to and fro in it.

use crate::base::{Context, Result};
use crate::layer::flush::{forget, forget_file};
use crate::layer::ops::damaged;
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::OnceLock;

/// Bytes of the smallest part: what Linux reads at once on any device.
const PART: u64 = 128 << 10;
/// Files larger than this are left to the kernel's own reading ahead.
const LARGEST_IN_PARTS: u64 = 64 << 20;
/// When so many bytes have been read in order, these leave the page cache: it must not grow with the file.
const LONGEST_RUN: u64 = 8 << 20;

/// A file's content, open for reading.
pub struct FileBody {
    file: Rc<OwnedFd>,
    path: Vec<u8>,
    /// Where in the tar.
    range: Range<u64>,
    /// Where in the file that begins.
    start: u64,
    /// Each bit is a 64th of it: has been read from, and has been brought in as a whole.
    touched: Cell<u64>,
    brought: Cell<u64>,
    /// What has been read in order, up to the last read.
    run: Cell<(u64, u64)>,
}

impl FileBody {
    /// Of what a skeleton says.
    pub(super) fn new(file: OwnedFd, path: &[u8], range: Range<u64>, start: u64) -> FileBody {
        FileBody {
            file: Rc::new(file),
            path: path.to_vec(),
            range,
            start,
            touched: Cell::new(0),
            brought: Cell::new(0),
            run: Cell::new((0, 0)),
        }
    }

    /// Where in the tar it is.
    pub fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The file, if its content begins at that offset of the tar.
    pub fn file_from(&self, offset: u64) -> Option<Rc<OwnedFd>> {
        (self.start == 0 && self.range.start == offset).then(|| self.file.clone())
    }

    /// From now on the device is read and not the page cache; false if the file system cannot.
    pub fn read_directly(&self) -> bool {
        let flags = rustix::fs::fcntl_getfl(&*self.file);
        self.start == 0 && flags.and_then(|flags| rustix::fs::fcntl_setfl(&*self.file, flags | OFlags::DIRECT)).is_ok()
    }

    /// Bytes of it that reading has brought to the page cache, roughly.
    pub fn cached(&self) -> u64 {
        let (from, to) = self.run.get();
        let parts = u64::from(self.touched.get().count_ones()) * self.part();
        parts.max(to - from).min(self.size())
    }

    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Bytes that each bit stands for.
    fn part(&self) -> u64 {
        self.size().div_ceil(64).next_multiple_of(PART)
    }

    /// Reads what is at an offset of the tar, up to the content's end; how many bytes that were.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let n = usize::try_from(self.range.end - offset).unwrap_or(usize::MAX).min(buf.len());
        let from = offset - self.range.start;
        self.bring_part(from, n as u64);
        let mut filled = 0;
        while filled < n {
            let at = self.start + from + filled as u64;
            let name = || format!("file {:?} of the layer", String::from_utf8_lossy(&self.path));
            match rustix::io::retry_on_intr(|| rustix::io::pread(&*self.file, &mut buf[filled..n], at)).context(name)? {
                0 => return Err(damaged("the file is shorter than it was").context(name())),
                got => filled += got,
            }
        }
        self.forget_run(from, from + n as u64);
        Ok(n)
    }

    /// Who comes back to a part will want the rest of it: a few large requests cost a device, and the processor, less than many of a
    /// page each, which is what Linux makes of small reads in no order.
    fn bring_part(&self, from: u64, length: u64) {
        if self.size() > LARGEST_IN_PARTS || length >= self.size() {
            return;
        }
        let part = self.part();
        let bit = 1u64 << (from / part);
        if self.touched.replace(self.touched.get() | bit) & bit == 0 || self.brought.get() & bit != 0 {
            return;
        }
        self.brought.set(self.brought.get() | bit);
        let first = from / part * part;
        self.bring(self.start + first, self.start + (first + part).min(self.size()));
    }

    /// Reads to nowhere. Linux takes it for reading in order: pages come in large pieces, and what is next comes meanwhile. Hints
    /// (posix_fadvise) bring single pages, which take a processor twice as long. What is wrong is said to who reads it.
    fn bring(&self, mut at: u64, end: u64) {
        static NOWHERE: OnceLock<Option<OwnedFd>> = OnceLock::new();
        let nowhere = NOWHERE.get_or_init(|| rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok());
        let Some(nowhere) = nowhere else { return };
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            match rustix::io::retry_on_intr(|| rustix::fs::sendfile(nowhere, &*self.file, Some(&mut at), left)) {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        }
    }

    /// What has been read in order is not read again, mostly.
    fn forget_run(&self, from: u64, to: u64) {
        let begin = if self.run.get().1 == from { self.run.get().0 } else { from };
        self.run.set((begin, to));
        if to - begin >= LONGEST_RUN {
            forget(self.file.as_fd(), self.start + begin, to - begin);
            self.run.set((to, to));
            self.touched.set(0);
            self.brought.set(0);
        }
    }
}

impl Drop for FileBody {
    /// Leaves nothing of it in the page cache.
    fn drop(&mut self) {
        forget_file(self.file.as_fd());
    }
}

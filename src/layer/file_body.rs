//! The content of a file as a part of its layer's tar, for those who go to and fro in it.

use crate::base::{Context, Result};
use crate::layer::flush::{forget, forget_file};
use crate::layer::ops::damaged;
use rustix::fs::{Advice, OFlags};
use std::cell::Cell;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Bytes of one hint that a part will be read: what Linux takes at once on any device.
const HINT: u64 = 128 << 10;
/// Files larger than this are left to the kernel's own reading ahead.
const LARGEST_HINTED: u64 = 64 << 20;
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
    /// Each bit is a 64th of it: has been read from, and has been asked for as a whole.
    touched: Cell<u64>,
    asked: Cell<u64>,
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
            asked: Cell::new(0),
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
        self.size().div_ceil(64).next_multiple_of(HINT)
    }

    /// Reads what is at an offset of the tar, up to the content's end; how many bytes that were.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let n = usize::try_from(self.range.end - offset).unwrap_or(usize::MAX).min(buf.len());
        let from = offset - self.range.start;
        self.hint(from, n as u64);
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

    /// Who comes back to a part will want the rest of it: one large request costs a device, and the processor, less than many of a
    /// page each, which is what Linux makes of small reads in no order.
    fn hint(&self, from: u64, length: u64) {
        if self.size() > LARGEST_HINTED || length >= self.size() {
            return;
        }
        let part = self.part();
        let bit = 1u64 << (from / part);
        if self.touched.replace(self.touched.get() | bit) & bit == 0 || self.asked.get() & bit != 0 {
            return;
        }
        self.asked.set(self.asked.get() | bit);
        let first = from / part * part;
        for at in (first..(first + part).min(self.size())).step_by(HINT as usize) {
            let _ = rustix::fs::fadvise(&*self.file, self.start + at, NonZeroU64::new(HINT), Advice::WillNeed);
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
            self.asked.set(0);
        }
    }
}

impl Drop for FileBody {
    /// Leaves nothing of it in the page cache.
    fn drop(&mut self) {
        forget_file(self.file.as_fd());
    }
}

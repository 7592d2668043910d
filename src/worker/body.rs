//! The body of a request that was handed over: bytes read before, then a descriptor, perhaps with HTTP's chunked coding.

use crate::base::{Error, Result};
use crate::worker::session::{Session, canceled};
use rustix::event::{PollFd, PollFlags};
use std::os::fd::{BorrowedFd, OwnedFd};

/// No byte for so long, in seconds, and the client counts as gone.
const STALL: i64 = 300;

/// A body being read.
pub struct Body {
    fd: OwnedFd,
    watch: BorrowedFd<'static>,
    prefix: Vec<u8>,
    used: usize,
    coding: Coding,
}

enum Coding {
    /// Up to the end of the descriptor.
    ToEnd,
    /// So many bytes are left.
    Length(u64),
    /// So many bytes of a chunk are left, its line end included in no count.
    Chunk(u64),
    /// At a line with a chunk's size.
    ChunkSize,
    Done,
}

impl Body {
    /// From the parts of the job.
    pub fn new(session: &Session, fd: OwnedFd, prefix: Vec<u8>, length: Option<u64>, chunked: bool) -> Body {
        let coding = match (chunked, length) {
            (true, _) => Coding::ChunkSize,
            (false, Some(length)) => Coding::Length(length),
            (false, None) => Coding::ToEnd,
        };
        Body { fd, watch: session.watch(), prefix, used: 0, coding }
    }

    /// The next bytes of the body itself; 0 at its end.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let cut = || Error::invalid("unexpected end of the request's body");
        loop {
            let left = match self.coding {
                Coding::Done | Coding::Length(0) => return Ok(0),
                Coding::ToEnd => u64::MAX,
                Coding::Length(left) | Coding::Chunk(left) => left,
                Coding::ChunkSize => {
                    let size = self.chunk_size()?;
                    self.coding = if size == 0 { Coding::Done } else { Coding::Chunk(size) };
                    continue;
                }
            };
            let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.raw(&mut buf[..most])?;
            self.coding = match self.coding {
                Coding::ToEnd if n == 0 => Coding::Done,
                Coding::ToEnd => Coding::ToEnd,
                _ if n == 0 => return Err(cut()),
                Coding::Length(_) => Coding::Length(left - n as u64),
                _ if left > n as u64 => Coding::Chunk(left - n as u64),
                _ => {
                    self.line()?;
                    Coding::ChunkSize
                }
            };
            return Ok(n);
        }
    }

    fn chunk_size(&mut self) -> Result<u64> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| Error::invalid("malformed chunked encoding"))?;
        // After the last chunk come trailers, up to an empty line.
        while size == 0 && !self.line()?.is_empty() {}
        Ok(size)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            if self.raw(&mut byte)? == 0 || line.len() > 4096 {
                return Err(Error::invalid("malformed chunked encoding"));
            }
            if byte[0] == b'\n' {
                return Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            }
            line.push(byte[0]);
        }
    }

    fn raw(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.used < self.prefix.len() {
            let n = buf.len().min(self.prefix.len() - self.used);
            buf[..n].copy_from_slice(&self.prefix[self.used..self.used + n]);
            self.used += n;
            return Ok(n);
        }
        loop {
            let mut all = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(&self.watch, PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: STALL as _, tv_nsec: 0 };
            if rustix::io::retry_on_intr(|| rustix::event::poll(&mut all, Some(&limit)))? == 0 {
                return Err(Error::invalid("the client sends nothing more"));
            }
            if !all[1].revents().is_empty() {
                return Err(canceled());
            }
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buf)) {
                Err(rustix::io::Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
    }
}

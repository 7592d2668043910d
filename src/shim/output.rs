//! One output stream of a container: read once, logged by lines, sent to every attached client.
//!
//! A chunk is in flight at a time; nothing more is read until each client has taken it, so a slow client slows the
//! container (as a pipe does) instead of growing a buffer.

use super::log::Writer;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Bytes of the stream's buffer: the longest line that is one record, as Docker's.
pub const BUFFER: usize = 16 * 1024;
/// The most that is read at once.
const CHUNK: usize = 4 * 1024;

/// A stream: 1 is stdout, 2 is stderr.
pub struct Output {
    /// 1 or 2: the number in the frames.
    pub number: u8,
    /// The container's end; `None` after its end.
    pub fd: Option<OwnedFd>,
    buffer: &'static mut [u8],
    len: usize,
    logged: usize,
    chunk: (usize, usize),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// A chunk is in flight.
    Chunk,
    /// Nothing there now.
    Empty,
    /// The stream has ended.
    End,
}

impl Output {
    /// A stream over a buffer of [`BUFFER`] bytes.
    pub fn new(number: u8, fd: Option<OwnedFd>, buffer: &'static mut [u8]) -> Output {
        Output { number, fd, buffer, len: 0, logged: 0, chunk: (0, 0) }
    }

    /// The bytes that clients must have before more is read.
    pub fn chunk(&self) -> &[u8] {
        &self.buffer[self.chunk.0..self.chunk.1]
    }

    /// A chunk is in flight.
    pub fn is_busy(&self) -> bool {
        self.chunk.0 < self.chunk.1
    }

    /// The frame's head for the chunk (Docker's stream format: number, three zeros, length big endian).
    pub fn frame(&self) -> [u8; 8] {
        let length = (self.chunk.1 - self.chunk.0) as u32;
        let mut head = [self.number, 0, 0, 0, 0, 0, 0, 0];
        head[4..].copy_from_slice(&length.to_be_bytes());
        head
    }

    /// Reads one chunk and logs the lines that it completes.
    pub fn read(&mut self, log: Option<&mut Writer>, now: i64) -> ReadOutcome {
        let Some(fd) = &self.fd else { return ReadOutcome::End };
        let end = self.buffer.len().min(self.len + CHUNK);
        match rustix::io::read(fd, &mut self.buffer[self.len..end]) {
            Ok(n) if n > 0 => {
                self.chunk = (self.len, self.len + n);
                self.len += n;
                self.log_lines(log, now);
                ReadOutcome::Chunk
            }
            Err(Errno::AGAIN | Errno::INTR) => ReadOutcome::Empty,
            Ok(_) | Err(_) => {
                // A terminal whose other side is closed answers EIO: its end.
                self.fd = None;
                self.finish(log, now);
                ReadOutcome::End
            }
        }
    }

    fn stream(&self) -> &'static str {
        if self.number == 2 { "stderr" } else { "stdout" }
    }

    fn log_lines(&mut self, log: Option<&mut Writer>, now: i64) {
        let Some(log) = log else {
            self.logged = self.len;
            return;
        };
        while let Some(at) = self.buffer[self.logged..self.len].iter().position(|b| *b == b'\n') {
            let end = self.logged + at + 1;
            log.record(&self.buffer[self.logged..end], self.stream(), now);
            self.logged = end;
        }
        if self.logged == 0 && self.len == self.buffer.len() {
            let end = character_boundary(&self.buffer[..self.len]);
            log.record(&self.buffer[..end], self.stream(), now);
            self.logged = end;
        }
        log.flush();
    }

    fn finish(&mut self, log: Option<&mut Writer>, now: i64) {
        if let Some(log) = log
            && self.logged < self.len
        {
            log.record(&self.buffer[self.logged..self.len], self.stream(), now);
            log.flush();
        }
        self.logged = self.len;
    }

    /// Every client has the chunk: its room may be used again.
    pub fn release(&mut self) {
        self.chunk = (0, 0);
        self.buffer.copy_within(self.logged..self.len, 0);
        self.len -= self.logged;
        self.logged = 0;
    }

    /// Ends the stream though somebody still holds the other side: what is there has been read.
    pub fn close(&mut self, log: Option<&mut Writer>, now: i64) {
        self.fd = None;
        self.finish(log, now);
    }
}

/// The length of `bytes` without a UTF-8 sequence that is cut at the end.
fn character_boundary(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let at = bytes.len() - back;
        let needs = match bytes[at] {
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..=0xff => 4,
            0x80..0xc0 => continue,
            _ => return bytes.len(),
        };
        return if needs > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_character_is_left_for_the_next_record() {
        for (bytes, want) in [(&b"abc"[..], 3), (b"ab\xc3", 2), (b"ab\xc3\xa9", 4), (b"\xe2\x82", 0), (b"\x80\x80\x80\x80", 4)] {
            assert_eq!(character_boundary(bytes), want, "{bytes:?}");
        }
    }
}

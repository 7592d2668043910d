//! Part of a file as a reader, which moves no one else's place in the file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Bytes of a file from a place on. A file that ends before them is an error.
pub struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl<'a> Part<'a> {
    /// `length` bytes from `at` on.
    pub fn new(file: &'a File, at: u64, length: u64) -> Part<'a> {
        Part { file, at, left: length }
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..most], self.at)?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.at, self.left) = (self.at + n as u64, self.left - n as u64);
        Ok(n)
    }
}

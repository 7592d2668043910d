//! Writes container output as `json-file` records (Docker's format, one JSON object a line) without a heap, and rotates.
//!
//! The folder holds `json.log` (current) and `json.log.1` (newest old one) upwards.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

pub use crate::logs::CURRENT;

/// A log folder being written.
pub struct Writer {
    dir: OwnedFd,
    file: OwnedFd,
    size: u64,
    max_size: u64,
    max_files: u32,
    out: &'static mut [u8],
    used: usize,
}

impl Writer {
    /// Opens (or makes) the current file. `out` collects records until [`Writer::flush`].
    pub fn open(dir: OwnedFd, max_size: u64, max_files: u32, out: &'static mut [u8]) -> Result<Writer, Errno> {
        let file = open_current(&dir)?;
        let size = rustix::fs::fstat(&file)?.st_size as u64;
        Ok(Writer { dir, file, size, max_size, max_files, out, used: 0 })
    }

    /// Appends one record. `line` holds its newline, if it has one.
    pub fn record(&mut self, line: &[u8], stream: &str, time: i64) {
        self.put(b"{\"log\":\"");
        for chunk in line.utf8_chunks() {
            self.escaped(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.put("\u{fffd}".as_bytes());
            }
        }
        self.put(b"\",\"stream\":\"");
        self.put(stream.as_bytes());
        self.put(b"\",\"time\":\"");
        let text = timestamp(time);
        self.put(&text);
        self.put(b"\"}\n");
        if self.max_size > 0 && self.size + self.used as u64 >= self.max_size {
            self.flush();
            self.rotate();
        }
    }

    fn escaped(&mut self, text: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut plain = 0;
        for (i, b) in text.iter().enumerate() {
            let long;
            let escape: &[u8] = match b {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 => {
                    long = [b'\\', b'u', b'0', b'0', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]];
                    &long
                }
                _ => continue,
            };
            self.put(&text[plain..i]);
            self.put(escape);
            plain = i + 1;
        }
        self.put(&text[plain..]);
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.used == self.out.len() {
                self.flush();
            }
            let n = bytes.len().min(self.out.len() - self.used);
            self.out[self.used..self.used + n].copy_from_slice(&bytes[..n]);
            self.used += n;
            bytes = &bytes[n..];
        }
    }

    /// Writes what has been collected. A full disk loses log lines, never the container.
    pub fn flush(&mut self) {
        let mut at = 0;
        while at < self.used {
            match rustix::io::write(&self.file, &self.out[at..self.used]) {
                Ok(n) => {
                    at += n;
                    self.size += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.used = 0;
    }

    fn rotate(&mut self) {
        if self.max_files < 2 {
            if rustix::fs::ftruncate(&self.file, 0).is_ok() {
                self.size = 0;
            }
            return;
        }
        for n in (1..self.max_files).rev() {
            let newer = if n == 1 { Name::new(0) } else { Name::new(n - 1) };
            let _ = rustix::fs::renameat(&self.dir, newer.as_str(), &self.dir, Name::new(n).as_str());
        }
        if let Ok(file) = open_current(&self.dir) {
            self.file = file;
            self.size = 0;
        }
    }
}

fn open_current(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, CURRENT, flags, Mode::from_raw_mode(0o640))
}

/// `json.log`, `json.log.1`, …
struct Name(heapless::String<24>);

impl Name {
    fn new(n: u32) -> Name {
        let mut text = heapless::String::new();
        let _ = text.push_str(CURRENT);
        if n > 0 {
            let _ = core::fmt::write(&mut text, format_args!(".{n}"));
        }
        Name(text)
    }
    fn as_str(&self) -> &str {
        &self.0
    }
}

/// `2026-11-25T14:17:03.123456789Z`, always 30 bytes.
fn timestamp(nanos: i64) -> [u8; 30] {
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let (y, mo, d, h, mi, s) = crate::base::time::civil(nanos.div_euclid(1_000_000_000));
    let mut put = |at: usize, digits: usize, mut value: i64| {
        for i in (at..at + digits).rev() {
            out[i] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, y);
    put(5, 2, mo);
    put(8, 2, d);
    put(11, 2, h);
    put(14, 2, mi);
    put(17, 2, s);
    put(20, 9, nanos.rem_euclid(1_000_000_000));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path, max_size: u64, max_files: u32) -> Writer {
        let fd = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Writer::open(fd, max_size, max_files, crate::sys::pages::zeroed(64).unwrap()).unwrap()
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("prtiql-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn records_are_json_whatever_the_bytes() {
        let dir = folder("json");
        let mut w = writer(&dir, 0, 1);
        let line = b"a\"b\\c\x01\t\xc3\xa9\xff end\n";
        w.record(line, "stdout", 1_700_000_000_000_000_005);
        w.flush();
        let text = std::fs::read_to_string(dir.join(CURRENT)).unwrap();
        let v: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(v["log"], "a\"b\\c\u{1}\té\u{fffd} end\n");
        assert_eq!((v["stream"].as_str(), v["time"].as_str()), (Some("stdout"), Some("2023-11-14T22:13:20.000000005Z")));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn rotation_keeps_so_many_files_of_about_that_size() {
        let dir = folder("rotate");
        let mut w = writer(&dir, 1000, 3);
        for i in 0..100 {
            w.record(format!("line {i}\n").as_bytes(), "stderr", i);
        }
        w.flush();
        let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["json.log", "json.log.1", "json.log.2"]);
        assert!(names.iter().all(|n| std::fs::metadata(dir.join(n)).unwrap().len() < 1100));
        assert!(std::fs::read_to_string(dir.join("json.log")).unwrap().contains("line 99"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}

//! Moves bytes between our terminal and a container's stream: attach, run, start -a, exec. One loop over poll, so that a full
//! pipe in one direction never holds up the other.

use crate::base::{Context, Error, Result};
use crate::cli::client::Client;
use crate::cli::http::{Query, Response, Stream};
use crate::cli::terminal::{self, Raw, Signals};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read, Write};

/// How a stream is to be treated.
pub struct Session<'a> {
    /// Where resizes and signals go.
    pub client: &'a Client,
    /// `/containers/<id>` or `/exec/<id>`.
    pub path: String,
    /// The stream has a terminal on the other side: raw bytes both ways.
    pub tty: bool,
    /// Our standard input goes there.
    pub stdin: bool,
    /// Signals that we get go to the container.
    pub proxy: bool,
    /// The keys that detach; none if empty.
    pub detach_keys: Vec<u8>,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other side closed.
    Closed,
    /// The user typed the keys to detach.
    Detached,
}

/// The text that Docker prints for it.
pub const DETACHED: &str = "read escape sequence";

/// `ctrl-p,ctrl-q` as bytes.
pub fn parse_keys(text: &str) -> Result<Vec<u8>> {
    let bad = || Error::invalid(format!("invalid detach keys ({text}): unknown character"));
    let mut keys = Vec::new();
    for key in text.split(',').filter(|k| !k.is_empty()) {
        keys.push(match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (Some(c), _) => match c.as_bytes() {
                [c @ b'a'..=b'z'] => c - b'a' + 1,
                b"@" => 0,
                b"[" => 27,
                b"\\" => 28,
                b"]" => 29,
                b"^" => 30,
                b"_" => 31,
                _ => return Err(bad()),
            },
            (None, [c]) => *c,
            _ => return Err(bad()),
        });
    }
    Ok(keys)
}

/// Splits `[1|2, 0,0,0, length]` frames; pieces of any size go in.
#[derive(Default)]
pub struct Demux {
    head: Vec<u8>,
    left: usize,
    which: u8,
}

impl Demux {
    /// Calls `out` with the stream's number and the bytes.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(u8, &[u8]) -> io::Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let n = bytes.len().min(8 - self.head.len());
                self.head.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                if let [which, _, _, _, a, b, c, d] = self.head[..] {
                    if which > 3 {
                        return Err(Error::internal(format!("unrecognized input header: {which}")));
                    }
                    self.which = which;
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.head.clear();
                }
                continue;
            }
            let n = bytes.len().min(self.left);
            out(self.which, &bytes[..n]).context(|| "write the output")?;
            self.left -= n;
            bytes = &bytes[n..];
        }
        Ok(())
    }
}

/// Writes to our standard output or error, at once.
pub fn emit(which: u8, bytes: &[u8]) -> io::Result<()> {
    if which == 2 || which == 3 {
        io::stderr().lock().write_all(bytes)
    } else {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }
}

/// Copies the body of an answer (logs) to our output.
pub fn copy_out(mut body: Response, tty: bool) -> Result<()> {
    let mut demux = Demux::default();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let n = body.read(&mut buffer).context(|| "read the stream")?;
        if n == 0 {
            return Ok(());
        }
        if tty {
            emit(1, &buffer[..n]).context(|| "write the output")?;
        } else {
            demux.feed(&buffer[..n], &mut emit)?;
        }
    }
}

impl Session<'_> {
    /// Tells the other side how large our terminal is.
    pub fn resize(&self) {
        if let (true, Some((rows, columns))) = (self.tty, terminal::size()) {
            let query = Query::new().set("h", &rows.to_string()).set("w", &columns.to_string());
            // it may not run yet, or no longer: a wrong size is no reason to stop
            _ = self.client.post(&format!("{}/resize", self.path), &query, None);
        }
    }

    /// Runs until one side ends it. `signals` were blocked before the container started, so that none is lost.
    pub fn run(&self, connection: Response, signals: &mut Signals, ready: &mut dyn FnMut() -> Result<()>) -> Result<Ended> {
        let (stream, first) = connection.hijack();
        let raw = if self.tty && self.stdin { Raw::enter()? } else { None };
        let result = ready().and_then(|()| {
            self.resize();
            self.pump(stream, &first, signals)
        });
        drop(raw);
        result
    }

    fn pump(&self, mut stream: Stream, first: &[u8], signals: &mut Signals) -> Result<Ended> {
        stream.set_nonblocking()?;
        let mut demux = Demux::default();
        let mut output = |bytes: &[u8]| -> Result<()> {
            if self.tty { emit(1, bytes).context(|| "write the output") } else { demux.feed(bytes, &mut emit) }
        };
        output(first)?;
        let mut keys = Keys { sequence: &self.detach_keys, matched: 0 };
        let mut pending: Vec<u8> = Vec::new();
        let mut sent = 0;
        let mut input_open = self.stdin;
        if !input_open {
            stream.shutdown_write();
        }
        let mut buffer = vec![0; 32 << 10];
        loop {
            let backlog = sent < pending.len();
            let input = io::stdin();
            let (ready_stream, ready_signal, ready_input) = {
                let want = if backlog { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                let mut fds = vec![PollFd::new(&stream, want), PollFd::new(&*signals, PollFlags::IN)];
                if input_open && !backlog {
                    fds.push(PollFd::new(&input, PollFlags::IN));
                }
                match poll(&mut fds, None) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(e) => return Err(e).context(|| "wait for input"),
                }
                (fds[0].revents(), !fds[1].revents().is_empty(), fds.get(2).is_some_and(|f| !f.revents().is_empty()))
            };
            if ready_signal {
                while let Some(signal) = signals.next() {
                    self.signal(signal);
                }
            }
            if ready_stream.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                match stream.read(&mut buffer) {
                    Ok(0) => return Ok(Ended::Closed),
                    Ok(n) => output(&buffer[..n])?,
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(_) => return Ok(Ended::Closed), // reset by a daemon that went away
                }
            }
            if ready_input {
                match rustix::io::read(&input, &mut buffer) {
                    Ok(0) => {
                        input_open = false;
                        stream.shutdown_write();
                    }
                    Ok(n) => {
                        pending.clear();
                        sent = 0;
                        if self.tty && !self.detach_keys.is_empty() {
                            if keys.filter(&buffer[..n], &mut pending) {
                                return Ok(Ended::Detached);
                            }
                        } else {
                            pending.extend_from_slice(&buffer[..n]);
                        }
                    }
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_) => {
                        input_open = false; // the terminal is gone
                        stream.shutdown_write();
                    }
                }
            }
            if sent < pending.len() {
                match stream.write(&pending[sent..]) {
                    Ok(n) => sent += n,
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(_) => {
                        // nobody reads our input any more; the output may still have something
                        input_open = false;
                        sent = pending.len();
                    }
                }
            }
        }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        if signal == nix::sys::signal::Signal::SIGWINCH {
            self.resize();
        } else if self.proxy {
            let name = signal.as_str().trim_start_matches("SIG");
            // a container that has just ended cannot be signalled: its end is seen in the stream
            _ = self.client.post(&format!("{}/kill", self.path), &Query::new().set("signal", name), None);
        }
    }
}

/// Looks for the detach keys in what is typed.
struct Keys<'a> {
    sequence: &'a [u8],
    matched: usize,
}

impl Keys<'_> {
    /// Passes on what is not part of the sequence; true once it is complete.
    fn filter(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return true;
                }
                continue;
            }
            out.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(byte == self.sequence[0]);
            if self.matched == 0 {
                out.push(byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_whatever_the_pieces() {
        let bytes = [&[1, 0, 0, 0, 0, 0, 0, 3][..], b"out", &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 1], b"e"].concat();
        for size in 1..=bytes.len() {
            let (mut demux, mut got) = (Demux::default(), [Vec::new(), Vec::new(), Vec::new()]);
            for piece in bytes.chunks(size) {
                let mut out = |which: u8, b: &[u8]| {
                    got[which as usize].extend_from_slice(b);
                    Ok(())
                };
                demux.feed(piece, &mut out).unwrap();
            }
            assert_eq!((got[1].as_slice(), got[2].as_slice()), (&b"out"[..], &b"e"[..]));
        }
        assert!(Demux::default().feed(b"HTTP/1.1", &mut |_, _| Ok(())).is_err());
    }

    #[test]
    fn detach_keys() {
        let sequence = parse_keys("ctrl-p,ctrl-q").unwrap();
        assert_eq!(sequence, [16, 17]);
        let mut keys = Keys { sequence: &sequence, matched: 0 };
        let mut out = Vec::new();
        assert!(!keys.filter(b"a\x10b\x10", &mut out));
        assert!(keys.filter(b"\x11", &mut out));
        assert_eq!(out, b"a\x10b");
        assert_eq!(parse_keys("a,ctrl-[").unwrap(), [b'a', 27]);
        assert!(parse_keys("ctrl-1").is_err() && parse_keys("ab").is_err());
    }
}

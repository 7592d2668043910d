//! Netlink: building messages with attributes in attributes, and sending them with their answers.

use crate::base::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::os::fd::OwnedFd;

/// The message is a request.
pub const REQUEST: u16 = 1;
/// Acknowledge it.
pub const ACK: u16 = 4;
/// Fail if it is there already.
pub const EXCL: u16 = 0x200;
/// Make it if it is not there.
pub const CREATE: u16 = 0x400;
/// Put it at the end.
pub const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEAD: usize = 16;

/// Messages that are sent together.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the current message starts.
    start: usize,
    /// Where the open nested attributes start.
    open: Vec<usize>,
    /// Number of the last message.
    pub sequence: u32,
}

impl Batch {
    /// Starts a message of type `kind` with the fixed part `body`; returns its number.
    pub fn message(&mut self, kind: u16, flags: u16, body: &[u8]) -> u32 {
        self.finish();
        self.sequence += 1;
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(body);
        self.pad();
        self.sequence
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(&mut self) {
        while !self.open.is_empty() {
            self.end();
        }
        if self.bytes.len() > self.start {
            let len = (self.bytes.len() - self.start) as u32;
            self.bytes[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
        }
    }

    /// An attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Batch {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// A text with its zero byte.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Batch {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// A number in the machine's byte order (rtnetlink).
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Batch {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// A number in the network's byte order (nf_tables).
    pub fn big(&mut self, kind: u16, value: u32) -> &mut Batch {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Opens an attribute that holds attributes, until [`Batch::end`].
    pub fn begin(&mut self, kind: u16) -> &mut Batch {
        self.open.push(self.bytes.len());
        self.attr(kind | NESTED, &[])
    }

    /// Bytes within an open attribute that are no attribute (the fixed part of an inner message).
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Batch {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Closes the innermost open attribute.
    pub fn end(&mut self) -> &mut Batch {
        if let Some(at) = self.open.pop() {
            let len = (self.bytes.len() - at) as u16;
            self.bytes[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        }
        self
    }

    /// The bytes to send.
    pub fn bytes(&mut self) -> &[u8] {
        self.finish();
        &self.bytes
    }
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Number of the message that it answers.
    pub sequence: u32,
    /// An error, or an acknowledgement (`Ok`).
    pub result: Option<std::result::Result<(), Errno>>,
    /// Otherwise: what follows the header.
    pub body: Vec<u8>,
}

/// A netlink socket. It belongs to the network namespace in which it was opened.
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one: `None` is `NETLINK_ROUTE`, whose number is 0.
    pub fn open(protocol: Option<Protocol>) -> rustix::io::Result<Socket> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Socket(fd))
    }

    /// For links, addresses and routes.
    pub fn route() -> Result<Socket> {
        Socket::open(None).context(|| "open a netlink socket")
    }

    /// Sends a batch and collects the answers: the kernel has queued them all when the send returns.
    pub fn send(&self, batch: &mut Batch) -> rustix::io::Result<Vec<Answer>> {
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, batch.bytes(), SendFlags::empty()))?;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; 32 << 10];
        loop {
            match rustix::net::recv(&self.0, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((n, _)) => parse(&buffer[..n.min(buffer.len())], &mut answers),
                Err(Errno::AGAIN) => return Ok(answers),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends a batch; the first error that comes back is returned with the number of its message.
    pub fn apply(&self, batch: &mut Batch) -> std::result::Result<(), (u32, Errno)> {
        let answers = self.send(batch).map_err(|e| (0, e))?;
        for answer in answers {
            if let Some(Err(e)) = answer.result {
                return Err((answer.sequence, e));
            }
        }
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        four.copy_from_slice(found);
    }
    u32::from_ne_bytes(four)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

fn parse(mut bytes: &[u8], answers: &mut Vec<Answer>) {
    while bytes.len() >= HEAD {
        let len = (word(bytes, 0) as usize).clamp(HEAD, bytes.len());
        let (kind, sequence, body) = (half(bytes, 4), word(bytes, 8), &bytes[HEAD..len]);
        match kind {
            NLMSG_ERROR => {
                let code = word(body, 0) as i32;
                let result = if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.wrapping_neg())) };
                answers.push(Answer { sequence, result: Some(result), body: Vec::new() });
            }
            NLMSG_DONE => {}
            _ => answers.push(Answer { sequence, result: None, body: body.to_vec() }),
        }
        bytes = bytes.get((len + 3) & !3..).unwrap_or_default();
    }
}

/// The attributes in `bytes`, by kind.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = half(rest, 0) as usize;
        let value = rest.get(4..len)?;
        let kind = half(rest, 2) & 0x3fff;
        rest = rest.get((len + 3) & !3..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_have_their_lengths() {
        let mut b = Batch::default();
        b.message(16, ACK, &[1, 2, 3, 4]);
        b.text(3, "eth0").begin(18).text(1, "veth").begin(2).number(1, 7).end().end().number(4, 1500);
        let bytes = b.bytes().to_vec();
        assert_eq!(word(&bytes, 0) as usize, bytes.len());
        let outer: Vec<_> = attributes(&bytes[20..]).collect();
        assert_eq!(outer.iter().map(|a| a.0).collect::<Vec<_>>(), [3, 18, 4]);
        assert_eq!(outer[0].1, b"eth0\0");
        let inner: Vec<_> = attributes(outer[1].1).collect();
        assert_eq!((inner[0].1, inner[1].0), (b"veth\0".as_slice(), 2));
        assert_eq!(attributes(inner[1].1).next().unwrap().1, 7u32.to_ne_bytes());
    }

    #[test]
    fn answers_are_parsed_and_rubbish_is_survived() {
        let mut answers = Vec::new();
        let mut ack = [0u8; 36];
        ack[0] = 36;
        ack[4] = 2;
        ack[8] = 9;
        ack[16..20].copy_from_slice(&(-17i32).to_ne_bytes());
        parse(&ack, &mut answers);
        assert_eq!((answers[0].sequence, answers[0].result), (9, Some(Err(Errno::EXIST))));
        for n in 0..40 {
            parse(&vec![0xff; n], &mut answers);
            parse(&vec![0; n], &mut answers);
            assert!(attributes(&vec![0xff; n]).count() < 2 && attributes(&vec![0; n]).count() == 0);
        }
    }
}

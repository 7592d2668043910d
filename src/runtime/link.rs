//! What a container's init and its parent say to each other while it is being made: a byte that tells what it is, then text.

use crate::base::{Error, Kind, Result};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The longest text of a message.
const LONGEST: usize = 4000;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// From init: it failed. A digit for the kind of error, then the text.
    Failed = b'E',
    /// From init: a warning.
    Warning = b'W',
    /// From init: the namespaces are there; hooks may run.
    Hooks = b'H',
    /// From init: all is set up; with the terminal's master if there is one.
    Ready = b'R',
    /// To init: go on.
    Go = b'G',
    /// The other side is gone.
    End = 0,
}

const KINDS: [Kind; 10] = [
    Kind::Internal,
    Kind::Invalid,
    Kind::Unauthorized,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::Conflict,
    Kind::NotModified,
    Kind::TooLarge,
    Kind::Unsupported,
    Kind::Unavailable,
];

/// Sends one message.
pub fn send(socket: BorrowedFd<'_>, tag: Tag, text: &str, fd: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
    let mut cut = text.len().min(LONGEST);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let head = [tag as u8];
    let parts = [IoSlice::new(&head), IoSlice::new(&text.as_bytes()[..cut])];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)).map(drop)
}

/// Tells the parent what went wrong.
pub fn fail(socket: BorrowedFd<'_>, e: &Error) {
    let kind = KINDS.iter().position(|k| *k == e.kind()).unwrap_or(0);
    // the parent may be gone: then nobody is to be told
    let _ = send(socket, Tag::Failed, &format!("{kind}{e}"), None);
}

/// Receives one message; a reported failure comes as an error, warnings go to the log.
pub fn receive(socket: BorrowedFd<'_>) -> Result<(Tag, Option<OwnedFd>)> {
    loop {
        let mut buffer = [0u8; LONGEST + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let n = match got {
            Ok(m) => m.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(e) => return Err(Error::from(e).context("talk to the container's init")),
        };
        let mut fd = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fd = fds.last();
            }
        }
        let Some((tag, text)) = buffer[..n].split_first() else { return Ok((Tag::End, None)) };
        let text = String::from_utf8_lossy(text);
        match tag {
            b'E' => {
                let kind = text.bytes().next().and_then(|b| KINDS.get(usize::from(b.wrapping_sub(b'0'))).copied());
                return Err(Error::new(kind.unwrap_or(Kind::Internal), text.get(1..).unwrap_or_default()));
            }
            b'W' => log::warn!("{text}"),
            b'H' => return Ok((Tag::Hooks, fd)),
            b'R' => return Ok((Tag::Ready, fd)),
            b'G' => return Ok((Tag::Go, fd)),
            _ => return Err(Error::internal("the container's init said something that is not understood")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_and_errors_cross() {
        let (a, b) = crate::sys::channel::pair().unwrap();
        send(a.as_fd(), Tag::Ready, "", Some(a.as_fd())).unwrap();
        let (tag, fd) = receive(b.as_fd()).unwrap();
        assert!(tag == Tag::Ready && fd.is_some());
        drop(fd);
        fail(a.as_fd(), &Error::not_found("ä".repeat(5000)));
        let e = receive(b.as_fd()).unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound);
        drop(a);
        assert_eq!(receive(b.as_fd()).unwrap().0, Tag::End);
    }
}

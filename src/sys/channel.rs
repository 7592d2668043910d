//! Whole messages, with file descriptors, between the daemon and its children: a `SOCK_SEQPACKET` socket pair.
//!
//! A message over [`INLINE`] bytes travels in a memory file whose descriptor is the message's last one, so that no
//! message is too large for the socket's buffer.

use crate::base::{Error, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The largest message that travels in the socket itself, in bytes.
pub const INLINE: usize = 32 * 1024;
/// The largest message at all, in bytes.
pub const LARGEST: u64 = 16 << 20;
/// The most descriptors in one message.
pub const FDS: usize = 8;

const PLAIN: u8 = 0;
const IN_FILE: u8 = 1;

/// A connected pair: keep one, give a child the other as its standard input.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message. Fails with `WOULDBLOCK` on a full non-blocking socket, `PIPE` when the other side is gone.
pub fn send(socket: BorrowedFd<'_>, body: &[u8], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let file;
    let mut all: heapless::Vec<BorrowedFd<'_>, { FDS + 1 }> = heapless::Vec::new();
    let too_many = |_| rustix::io::Errno::INVAL;
    all.extend_from_slice(fds).map_err(too_many)?;
    let (tag, inline): (u8, &[u8]) = if body.len() <= INLINE {
        (PLAIN, body)
    } else {
        let fd = rustix::fs::memfd_create("message", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut memory = std::fs::File::from(fd);
        memory.write_all(body).map_err(|_| rustix::io::Errno::NOMEM)?;
        file = memory;
        all.push(file.as_fd()).map_err(|_| rustix::io::Errno::INVAL)?;
        (IN_FILE, &[])
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS + 1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !all.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&all));
    }
    let head = [tag];
    let parts = [IoSlice::new(&head), IoSlice::new(inline)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one message into `body` (cleared first) and its descriptors into `fds`. `Ok(false)` at the end of the stream.
pub fn receive(socket: BorrowedFd<'_>, body: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> rustix::io::Result<bool> {
    body.clear();
    body.resize(INLINE, 0);
    let mut head = [0u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS + 1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let n = {
        let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(body)];
        let mut receive = || rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        loop {
            match receive() {
                // The other side left with messages unread; what it sent before is still there.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                other => break other?.bytes,
            }
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if n == 0 {
        body.clear();
        return Ok(false);
    }
    body.truncate(n - 1);
    if head[0] == IN_FILE {
        let mut file = std::fs::File::from(fds.pop().ok_or(rustix::io::Errno::BADMSG)?);
        body.clear();
        let read = file.rewind().and_then(|()| file.take(LARGEST).read_to_end(body));
        read.map_err(|_| rustix::io::Errno::IO)?;
    }
    Ok(true)
}

/// Sends a typed message as JSON.
pub fn send_json<T: serde::Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let body = serde_json::to_vec(message)?;
    Ok(send(socket, &body, fds)?)
}

/// Receives a typed message; `None` at the end of the stream.
pub fn receive_json<T: serde::de::DeserializeOwned>(socket: BorrowedFd<'_>, fds: &mut Vec<OwnedFd>) -> Result<Option<T>> {
    let mut body = Vec::new();
    if !receive(socket, &mut body, fds)? {
        return Ok(None);
    }
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|e| Error::internal(format!("a message between processes is not understood: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_messages_arrive_whole_with_their_descriptors() {
        let (a, b) = pair().unwrap();
        let (extra, _other) = pair().unwrap();
        for size in [0, 1, INLINE, INLINE + 1, 1 << 20] {
            let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            send(a.as_fd(), &sent, &[extra.as_fd()]).unwrap();
            let (mut body, mut fds) = (Vec::new(), Vec::new());
            assert!(receive(b.as_fd(), &mut body, &mut fds).unwrap());
            assert_eq!((body, fds.len()), (sent, 1));
        }
        drop(a);
        assert!(!receive(b.as_fd(), &mut Vec::new(), &mut Vec::new()).unwrap());
    }
}

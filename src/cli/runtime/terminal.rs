//! A container's terminal: given away over a socket, or joined to our own while the container runs in the foreground.

use super::signals;
use crate::base::{Context, Result};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::termios::{OptionalActions, Termios};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Sends the terminal's master to whoever listens on a socket (`--console-socket`).
pub fn give(socket: &str, master: &OwnedFd) -> Result<()> {
    let what = || format!("send the terminal to {socket}");
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).context(what)?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(socket).context(what)?).context(what)?;
    let fds = [master.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&fd, &[IoSlice::new(b"/dev/ptmx")], &mut ancillary, SendFlags::NOSIGNAL).context(what).map(drop)
}

/// Our terminal in raw mode, until dropped.
struct Raw(Termios);

impl Raw {
    fn new() -> Option<Raw> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // if our terminal is gone there is nothing to restore
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

fn resize(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let _ = rustix::termios::tcsetwinsize(master, size); // the container may just have ended
    }
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(&to, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Joins the terminal with our standard streams until the process `pid` ends; returns its exit status.
pub fn join(master: &OwnedFd, fd: &SignalFd, pid: i32) -> Result<i32> {
    let _raw = Raw::new();
    resize(master);
    let (mut input, mut output, mut status) = (true, true, None);
    let mut buffer = [0u8; 8192];
    while status.is_none() || output {
        let stdin = rustix::stdio::stdin();
        let off = PollFlags::empty();
        let mut fds = [
            PollFd::new(fd, PollFlags::IN),
            PollFd::new(master, if output { PollFlags::IN } else { off }),
            PollFd::new(&stdin, if input { PollFlags::IN } else { off }),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).context(|| "wait for the terminal"),
        }
        let [signal, out, inp] = [fds[0].revents(), fds[1].revents(), fds[2].revents()];
        if signal.contains(PollFlags::IN) {
            resize(master); // it may have been SIGWINCH, which is not passed on as such but as a new size
            status = signals::one(fd, pid)?.or(status);
        }
        if output && !out.is_empty() {
            match rustix::io::read(master, &mut buffer) {
                Ok(n) if n > 0 => output = write_all(rustix::stdio::stdout(), &buffer[..n]).is_ok(),
                Err(Errno::INTR) => {}
                _ => output = false, // EIO: nobody holds the other end any more
            }
        }
        if input && !inp.is_empty() {
            match rustix::io::read(stdin, &mut buffer) {
                Ok(n) if n > 0 => input = write_all(master, &buffer[..n]).is_ok(),
                Err(Errno::INTR) => {}
                _ => {
                    input = false;
                    let _ = write_all(master, &[4]); // the end of input, as a terminal says it
                }
            }
        }
        if status.is_some() && out.is_empty() {
            break;
        }
    }
    Ok(status.unwrap_or(255))
}

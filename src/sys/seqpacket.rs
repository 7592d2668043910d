//! Named `SOCK_SEQPACKET` sockets, whose paths may be longer than a socket's address can hold.

use rustix::fs::{Mode, OFlags};
use rustix::io::Result;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsRawFd, OwnedFd};

fn socket() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The address, and what must stay open while it is used: a long path is named by its directory's descriptor.
fn address(path: &str) -> Result<(SocketAddrUnix, Option<OwnedFd>)> {
    if path.len() < 100 {
        return Ok((SocketAddrUnix::new(path)?, None));
    }
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd()))?, Some(fd)))
}

/// A listening socket at `path`.
pub fn listen(path: &str) -> Result<OwnedFd> {
    let socket = socket()?;
    let (address, _dir) = address(path)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 4)?;
    Ok(socket)
}

/// A connection to the socket at `path`.
pub fn connect(path: &str) -> Result<OwnedFd> {
    let socket = socket()?;
    let (address, _dir) = address(path)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

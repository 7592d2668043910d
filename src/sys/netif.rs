//! The one thing that is done to a network interface without netlink.

use super::clone::result;
use rustix::io::Errno;
use std::os::fd::AsRawFd;

/// Brings an interface of this process's network namespace up.
pub fn up(name: &str) -> rustix::io::Result<()> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: i16,
        rest: [u8; 22],
    }
    const _: () = assert!(size_of::<Request>() >= size_of::<libc::ifreq>()); // which is shorter on 32-bit machines
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(Errno::INVAL);
    }
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: (libc::IFF_UP | libc::IFF_RUNNING) as i16, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: SIOCSIFFLAGS reads a structure of at most this size.
    #[allow(unsafe_code)]
    let r = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    result(r.into()).map(drop)
}

//! Plugging a container into a bridge.

use super::link::{self, End};
use super::netlink::Socket;
use crate::base::{Context, Error, Result};
use crate::sys::clone::setns;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

/// What a container's interface is to be.
pub struct Attach<'a> {
    /// The bridge, which must be there.
    pub bridge: &'a str,
    /// A process in the container's network namespace.
    pub pid: i32,
    /// Name of the host's end: at most 15 bytes, not in use and not just been.
    pub host_name: &'a str,
    /// Name in the container: `eth0`.
    pub name: &'a str,
    /// Address in the container.
    pub ip: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Default route.
    pub gateway: Option<Ipv4Addr>,
    /// Hardware address in the container; [`mac`] makes one from the address.
    pub mac: [u8; 6],
    /// Largest packet; 0 is the kernel's default.
    pub mtu: u32,
}

/// Docker's hardware address for an address.
pub fn mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x02, 0x42, a, b, c, d]
}

/// Runs `f` in another network namespace. Sockets that it opens stay there.
fn inside<T>(netns: &OwnedFd, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = open("/proc/thread-self/ns/net")?;
    setns(netns.as_fd(), libc::CLONE_NEWNET).context(|| "enter the container's network namespace")?;
    let result = f();
    // to go on in the wrong namespace would be worse than to fail
    setns(own.as_fd(), libc::CLONE_NEWNET).context(|| "return from the container's network namespace")?;
    result
}

fn open(path: &str) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {path}"))
}

/// Makes the pair and configures the container's end. When the container's namespace ends, the kernel removes both. The caller
/// must be single-threaded: it visits the container's network namespace.
pub fn attach(a: &Attach<'_>) -> Result<()> {
    let what = || format!("connect the container to {}", a.bridge);
    link::check_name(a.host_name)?;
    link::check_name(a.name)?;
    let socket = Socket::route()?;
    let bridge =
        link::get(&socket, a.bridge)?.ok_or_else(|| Error::not_found(format!("the bridge {} is not there", a.bridge)))?;
    let netns = open(&format!("/proc/{}/ns/net", a.pid))?;
    let (host, peer) = (End { name: a.host_name, mac: [0; 6] }, End { name: a.name, mac: a.mac });
    match link::make_pair(&socket, &host, bridge.index, &peer, netns.as_fd(), a.mtu) {
        Err(Errno::OPNOTSUPP) => return Err(Error::unsupported("the kernel has no pairs of virtual interfaces (CONFIG_VETH)")),
        other => other.context(what)?,
    }
    let there = inside(&netns, || {
        link::without_ipv6(a.name)?;
        Socket::route()
    })?;
    let end =
        link::get(&there, a.name)?.ok_or_else(|| Error::internal(format!("the container's interface {} vanished", a.name)))?;
    link::configure(&there, end.index, a.ip, a.prefix, a.gateway)
}

/// Brings the loopback interface of a network namespace up (the runtime does so for those that it makes).
pub fn loopback(pid: i32) -> Result<()> {
    let netns = open(&format!("/proc/{pid}/ns/net"))?;
    inside(&netns, || Ok(crate::sys::netif::up("lo")?)).context(|| "bring the loopback interface up")
}

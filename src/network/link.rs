//! Interfaces, addresses and routes, by rtnetlink.

use super::netlink::{ACK, Batch, CREATE, EXCL, Socket, attributes};
use crate::base::{Context, Error, Result};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// `bridge`, `veth`, …; empty for hardware.
    pub kind: String,
    /// It is up.
    pub up: bool,
}

fn header(index: u32, up: bool) -> [u8; 16] {
    let mut h = [0; 16];
    h[4..8].copy_from_slice(&index.to_ne_bytes());
    let flag = (libc::IFF_UP as u32).to_ne_bytes();
    if up {
        h[8..12].copy_from_slice(&flag);
        h[12..16].copy_from_slice(&flag);
    }
    h
}

/// Names of interfaces: at most 15 bytes, no slash, no space.
pub fn check_name(name: &str) -> Result<()> {
    let odd = name.is_empty()
        || name.len() > 15
        || matches!(name, "." | "..")
        || name.bytes().any(|b| b == b'/' || b == b':' || b <= b' ');
    if odd { Err(Error::invalid(format!("{name:?} is not a name of an interface"))) } else { Ok(()) }
}

fn done(result: std::result::Result<(), (u32, Errno)>) -> rustix::io::Result<()> {
    result.map_err(|(_, e)| e)
}

/// Looks an interface up.
pub fn get(socket: &Socket, name: &str) -> Result<Option<Link>> {
    check_name(name)?;
    let what = || format!("look up the interface {name}");
    let mut b = Batch::default();
    b.message(GETLINK, 0, &header(0, false));
    b.text(IFLA_IFNAME, name);
    for answer in socket.send(&mut b).context(what)? {
        match answer.result {
            Some(Err(Errno::NODEV)) => return Ok(None),
            Some(Err(e)) => return Err(e).context(what),
            Some(Ok(())) => {}
            None => {
                let body = &answer.body;
                let word = |at: usize| body.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                let info = attributes(body.get(16..).unwrap_or_default()).find(|(kind, _)| *kind == IFLA_LINKINFO);
                let kind = info.and_then(|(_, value)| attributes(value).find(|(kind, _)| *kind == INFO_KIND));
                let kind =
                    kind.map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()).unwrap_or_default();
                return Ok(Some(Link { index: word(4), kind, up: word(8) & libc::IFF_UP as u32 != 0 }));
            }
        }
    }
    Ok(None)
}

/// Makes a bridge. Its hardware address is given, so that it does not change with the ports that come and go.
pub fn make_bridge(socket: &Socket, name: &str, mac: [u8; 6], mtu: u32) -> rustix::io::Result<()> {
    let mut b = Batch::default();
    b.message(NEWLINK, ACK | CREATE | EXCL, &header(0, false));
    b.text(IFLA_IFNAME, name).attr(IFLA_ADDRESS, &mac);
    if mtu != 0 {
        b.number(IFLA_MTU, mtu);
    }
    b.begin(IFLA_LINKINFO).text(INFO_KIND, "bridge").end();
    done(socket.apply(&mut b))
}

/// One end of a new pair.
pub struct End<'a> {
    /// Name.
    pub name: &'a str,
    /// Hardware address; all zero lets the kernel choose.
    pub mac: [u8; 6],
}

/// Makes a pair of interfaces in one go: `host` here, a port of the bridge and up; `peer` in another network namespace.
pub fn make_pair(
    socket: &Socket,
    host: &End<'_>,
    bridge: u32,
    peer: &End<'_>,
    netns: BorrowedFd<'_>,
    mtu: u32,
) -> rustix::io::Result<()> {
    let mut b = Batch::default();
    b.message(NEWLINK, ACK | CREATE | EXCL, &header(0, true));
    b.text(IFLA_IFNAME, host.name).number(IFLA_MASTER, bridge);
    if mtu != 0 {
        b.number(IFLA_MTU, mtu);
    }
    b.begin(IFLA_LINKINFO).text(INFO_KIND, "veth").begin(INFO_DATA).begin(VETH_PEER).raw(&header(0, false));
    b.text(IFLA_IFNAME, peer.name).number(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
    if peer.mac != [0; 6] {
        b.attr(IFLA_ADDRESS, &peer.mac);
    }
    if mtu != 0 {
        b.number(IFLA_MTU, mtu);
    }
    done(socket.apply(&mut b))
}

fn address(b: &mut Batch, index: u32, ip: Ipv4Addr, prefix: u8) {
    let [low, mid, high, top] = index.to_ne_bytes();
    b.message(NEWADDR, ACK | CREATE | EXCL, &[libc::AF_INET as u8, prefix, 0, 0, low, mid, high, top]);
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let broadcast = Ipv4Addr::from(u32::from(ip) | !mask);
    b.attr(2, &ip.octets()).attr(1, &ip.octets());
    if prefix < 31 {
        b.attr(4, &broadcast.octets());
    }
}

/// Gives an interface an address and brings it up. An address that it has already is no error.
pub fn set_address(socket: &Socket, index: u32, ip: Ipv4Addr, prefix: u8) -> rustix::io::Result<()> {
    let mut b = Batch::default();
    address(&mut b, index, ip, prefix);
    match done(socket.apply(&mut b)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let mut b = Batch::default();
    b.message(NEWLINK, ACK, &header(index, true));
    done(socket.apply(&mut b))
}

/// All that a container's interface needs, in one message: address, up, default route.
pub fn configure(socket: &Socket, index: u32, ip: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> Result<()> {
    let mut b = Batch::default();
    let names = ["", "set its address", "bring it up", "set the default route"];
    address(&mut b, index, ip, prefix);
    b.message(NEWLINK, ACK, &header(index, true));
    if let Some(gateway) = gateway {
        // family, lengths, service, table main, protocol boot, scope universe, type unicast, flags
        b.message(NEWROUTE, ACK | CREATE | EXCL, &[libc::AF_INET as u8, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        b.attr(5, &gateway.octets()).number(4, index);
    }
    socket.apply(&mut b).map_err(|(at, e)| {
        let step = names.get(at as usize).copied().unwrap_or_default();
        Error::from(e).context(format!("configure the container's interface {ip}/{prefix}: {step}"))
    })
}

/// Keeps IPv6 off an interface of this network namespace: the networks here are IPv4, and link-local addresses would be a way
/// around their rules.
pub fn without_ipv6(name: &str) -> Result<()> {
    check_name(name)?;
    let file = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    match std::fs::write(&file, "1") {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context(|| format!("write {file}")),
        _ => Ok(()), // no such file: a kernel without IPv6
    }
}

/// Removes an interface; one that is not there is no error. Blocks for some 10 ms: a container's own is left to the end of its
/// namespace instead.
pub fn delete(socket: &Socket, name: &str) -> Result<()> {
    check_name(name)?;
    let mut b = Batch::default();
    b.message(DELLINK, ACK, &header(0, false));
    b.text(IFLA_IFNAME, name);
    match done(socket.apply(&mut b)) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(e) => Err(e).context(|| format!("remove the interface {name}")),
    }
}

//! The bridge that a network's containers are plugged into.

use super::link;
use super::netlink::Socket;
use crate::base::{Context, Error, Result};
use rustix::io::Errno;
use std::net::Ipv4Addr;

/// Makes sure that the bridge `name` is there, is up and has the address `ip`. Returns its number.
pub fn ensure(name: &str, ip: Ipv4Addr, prefix: u8, mtu: u32) -> Result<u32> {
    let socket = Socket::route()?;
    let found = match link::get(&socket, name)? {
        Some(found) => found,
        None => {
            // an address of the locally administered range, made of the bridge's own
            let [a, b, c, d] = ip.octets();
            match link::make_bridge(&socket, name, [0x02, 0x42, a, b, c, d], mtu) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::OPNOTSUPP) => {
                    return Err(Error::unsupported(format!("make the bridge {name}: the kernel has no bridges (CONFIG_BRIDGE)")));
                }
                Err(e) => return Err(e).context(|| format!("make the bridge {name}")),
            }
            link::without_ipv6(name)?;
            link::get(&socket, name)?.ok_or_else(|| Error::internal(format!("the bridge {name} vanished")))?
        }
    };
    if found.kind != "bridge" {
        return Err(Error::conflict(format!("the interface {name} is not a bridge")));
    }
    link::set_address(&socket, found.index, ip, prefix)
        .context(|| format!("give the bridge {name} the address {ip}/{prefix}"))?;
    Ok(found.index)
}

/// Removes a bridge.
pub fn delete(name: &str) -> Result<()> {
    link::delete(&Socket::route()?, name)
}

/// Lets the host route between networks; without it a container reaches no further than the host.
pub fn forwarding() -> Result<()> {
    const FILE: &str = "/proc/sys/net/ipv4/ip_forward";
    if std::fs::read_to_string(FILE).context(|| format!("read {FILE}"))?.trim() == "1" {
        return Ok(());
    }
    std::fs::write(FILE, "1").context(|| format!("write {FILE}"))
}

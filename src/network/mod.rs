//! Floor 2: networks of containers: the bridge, the pair of interfaces that plugs a container into it, address translation.
//!
//! ```text
//! bridge::ensure(name, ip, prefix, mtu)      the bridge is there, up, and has its address
//! bridge::forwarding()                       ip_forward is on
//! nat::ensure(&nat::Network { .. })          masquerade and guard; Kind::Unsupported names the missing kernel option
//! veth::attach(&veth::Attach { .. })         plugs the network namespace of a process in; veth::mac(ip)
//! pool::Pool                                 addresses of a subnet
//! link::delete, bridge::delete, nat::remove  take it down (a container's pair goes with its namespace)
//! ```
//!
//! All of it is netlink (no `ip`, no `nft`), and takes well below a millisecond per call; only removing an interface blocks for
//! some 10 ms. The host's end of a pair is removed by the kernel 16-48 ms after the container's namespace has ended: its name
//! and its address must not be used again at once.

pub mod bridge;
pub mod link;
pub mod nat;
mod netlink;
pub mod pool;
pub mod veth;

pub use netlink::Socket;

//! The network of containers, built in a network namespace that nobody else sees.

use super::trial::{self, NEEDS_ROOT, in_child};
use super::{Feature, Found};
use crate::base::{Context, Error, Kind, Result};
use crate::network::{Socket, bridge, link, nat};
use crate::sys::clone;
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

const BRIDGE: &str = "prtiql-check";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub const FEATURES: &[Feature] = &[
    Feature {
        name: "bridges",
        required: true,
        options: "CONFIG_NET CONFIG_INET CONFIG_BRIDGE",
        without: "no container runs but with --network host or none",
        probe: |_| tried(|| bridge::ensure(BRIDGE, ADDRESS, 24, 0).map(drop)),
    },
    Feature {
        name: "pairs of virtual interfaces",
        required: true,
        options: "CONFIG_VETH",
        without: "no container runs but with --network host or none",
        probe: |_| tried(pair),
    },
    Feature {
        name: "forwarding",
        required: false,
        options: "CONFIG_INET CONFIG_SYSCTL",
        without: "containers reach the host only",
        probe: |_| tried(bridge::forwarding),
    },
    Feature {
        name: "address translation",
        required: false,
        options: "CONFIG_NETFILTER CONFIG_NETFILTER_NETLINK CONFIG_NF_TABLES CONFIG_NF_TABLES_IPV4 CONFIG_NF_CONNTRACK CONFIG_NF_NAT \
                  CONFIG_NFT_NAT CONFIG_NFT_MASQ CONFIG_NFT_CT",
        without: "containers on the bridge reach the host only, and are not guarded from outside",
        probe: |_| tried(translation),
    },
    Feature {
        name: "default route",
        required: false,
        options: "",
        without: "pulls reach registries of the local network only",
        probe: |_| route(),
    },
];

/// Does it in a network namespace of its own.
fn tried(what: fn() -> Result<()>) -> Found {
    let in_its_own = || {
        clone::unshare(libc::CLONE_NEWNET).context(|| "make a network namespace")?;
        what()
    };
    match in_child(in_its_own) {
        Ok(()) => Found::yes(),
        Err(e) if e.is_refusal() && !trial::may_do_all() => Found::Unknown(NEEDS_ROOT.into()),
        Err(e) => Found::No(e.text),
    }
}

fn pair() -> Result<()> {
    let index = match bridge::ensure(BRIDGE, ADDRESS, 24, 0) {
        Err(e) if e.kind() == Kind::Unsupported => 0, // without a bridge there is still the pair
        other => other?,
    };
    let netns = std::fs::File::open("/proc/self/ns/net")?;
    let end = |name| link::End { name, mac: [0; 6] };
    link::make_pair(&Socket::route()?, &end("check0"), index, &end("check1"), netns.as_fd(), 0).map_err(|e| match e {
        Errno::OPNOTSUPP => Error::unsupported("the kernel does not know them"),
        e => e.into(),
    })
}

fn translation() -> Result<()> {
    nat::ensure(&nat::Network { bridge: BRIDGE, subnet: ADDRESS, prefix: 24, masquerade: true })
}

fn route() -> Found {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    // interface, destination, gateway …
    let default = table.lines().skip(1).any(|l| l.split('\t').nth(1) == Some("00000000"));
    if default { Found::yes() } else { Found::no() }
}

//! Networks: the three predefined ones, and the addresses of the default bridge. User-defined ones come with their issue.

use crate::base::{Error, Result};
use crate::config::Settings;
use crate::network::pool::Pool;
use crate::wire::container::Endpoint;
use crate::wire::shim::BridgePort;
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

/// A network.
#[derive(Clone, Debug)]
pub struct Network {
    /// 64 hex digits.
    pub id: String,
    /// bridge, host or none.
    pub name: &'static str,
    /// bridge, host or null.
    pub driver: &'static str,
}

/// The networks, and the default bridge's addresses.
pub struct Networks {
    all: Vec<Network>,
    /// Name of the bridge interface; empty without a default network.
    pub bridge: String,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    pool: Pool,
    /// Addresses are given out from here: `fixed-cidr`, or the whole subnet.
    range: (u32, u32),
    mtu: u32,
    masquerade: bool,
    firewall: bool,
    forward: bool,
}

fn cidr(text: &str) -> Result<(Ipv4Addr, u8)> {
    let bad = || Error::invalid(format!("invalid CIDR address: {text}"));
    let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
    let prefix: u8 = prefix.parse().map_err(|_| bad())?;
    if !(8..=30).contains(&prefix) {
        return Err(bad());
    }
    Ok((address.parse().map_err(|_| bad())?, prefix))
}

fn range(address: Ipv4Addr, prefix: u8) -> (u32, u32) {
    let mask = u32::MAX << (32 - u32::from(prefix));
    let base = u32::from(address) & mask;
    (base + 1, (base | !mask) - 1)
}

impl Networks {
    /// From `bip`, `fixed-cidr` and `bridge`.
    pub fn new(settings: &Settings) -> Result<Networks> {
        let (gateway, prefix) = cidr(&settings.bip)?;
        let mut pool = Pool::new(gateway, prefix)?;
        pool.reserve(gateway);
        let (mut first, mut last) = range(gateway, prefix);
        if !settings.fixed_cidr.is_empty() {
            let (address, fixed) = cidr(&settings.fixed_cidr)?;
            let (a, b) = range(address, fixed);
            if a < first || b > last {
                return Err(Error::invalid(format!("fixed-cidr {} is not within bip {}", settings.fixed_cidr, settings.bip)));
            }
            (first, last) = (a, b);
        }
        let id =
            |name: &str| crate::base::id::hex(&Sha256::digest(format!("{name} {} {}", settings.data_root, settings.exec_root)));
        let network = |name, driver| Network { id: id(name), name, driver };
        let with_bridge = settings.bridge != "none";
        let mut all = vec![network("host", "host"), network("none", "null")];
        if with_bridge {
            all.insert(0, network("bridge", "bridge"));
        }
        Ok(Networks {
            all,
            bridge: if with_bridge { settings.bridge.clone() } else { String::new() },
            gateway,
            prefix,
            pool,
            range: (first, last),
            mtu: settings.mtu,
            masquerade: settings.ip_masq,
            firewall: settings.iptables,
            forward: settings.ip_forward,
        })
    }

    /// All.
    pub fn all(&self) -> &[Network] {
        &self.all
    }

    /// By name, ID, or beginning of an ID.
    pub fn find(&self, name: &str) -> Option<&Network> {
        let by_name = self.all.iter().find(|n| n.name == name || n.id == name);
        by_name.or_else(|| {
            let mut found = self.all.iter().filter(|n| name.len() >= 3 && n.id.starts_with(name));
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// The subnet, as `172.17.0.0/16`.
    pub fn subnet(&self) -> String {
        let base = u32::from(self.gateway) & (u32::MAX << (32 - u32::from(self.prefix)));
        format!("{}/{}", Ipv4Addr::from(base), self.prefix)
    }

    /// Takes an address: the wanted one, or the next in turn, so that a freed one is not used again at once.
    pub fn take(&mut self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
        if let Some(address) = wanted {
            return match self.pool.reserve(address) {
                true => Ok(address),
                false => Err(Error::conflict(format!("address {address} is not free in {}", self.subnet()))),
            };
        }
        let mut outside = Vec::new();
        let mut found = None;
        while let Some(address) = self.pool.take() {
            if (self.range.0..=self.range.1).contains(&u32::from(address)) {
                found = Some(address);
                break;
            }
            outside.push(address);
        }
        outside.into_iter().for_each(|a| self.pool.free(a));
        found.ok_or_else(|| Error::unavailable(format!("no available IPv4 addresses on network bridge ({})", self.subnet())))
    }

    /// Gives an address back.
    pub fn release(&mut self, address: &str) {
        if let Ok(address) = address.parse::<Ipv4Addr>()
            && address != self.gateway
        {
            self.pool.free(address);
        }
    }

    /// The endpoint of a container on the default bridge, and what the starter needs for it.
    pub fn plug(&mut self, container: &str, asked: &Endpoint, mac: Option<&str>) -> Result<(Endpoint, BridgePort)> {
        let wanted = asked.ipam_config.as_ref().and_then(|c| c.ipv4_address.parse().ok());
        let address = self.take(wanted)?;
        let asked_mac = Some(asked.mac_address.as_str()).filter(|m| !m.is_empty()).or(mac.filter(|m| !m.is_empty()));
        let mac = match asked_mac {
            Some(mac) => mac.to_string(),
            None => crate::network::veth::mac(address).map(|b| format!("{b:02x}")).join(":"),
        };
        let endpoint = Endpoint {
            mac_address: mac.clone(),
            network_id: self.find("bridge").map(|n| n.id.clone()).unwrap_or_default(),
            endpoint_id: crate::base::id::random(),
            gateway: self.gateway.to_string(),
            ip_address: address.to_string(),
            ip_prefix_len: self.prefix,
            ..asked.clone()
        };
        let port = BridgePort {
            bridge: self.bridge.clone(),
            gateway: self.gateway.to_string(),
            prefix: self.prefix,
            address: address.to_string(),
            mac,
            // Fresh at every start: the host's end of a dead namespace lingers for a while.
            host_ifname: format!("veth{}", &endpoint.endpoint_id[..8]),
            mtu: self.mtu,
            firewall: self.firewall,
            forward: self.forward,
            masquerade: self.masquerade,
        };
        log::debug!("container {container}: address {address}");
        Ok((endpoint, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_in_turn_and_not_reused_at_once() {
        let settings = Settings { bip: "10.9.8.1/29".into(), ..Settings::default() };
        let mut n = Networks::new(&settings).unwrap();
        assert_eq!(n.subnet(), "10.9.8.0/29");
        let taken: Vec<String> = (0..5).map(|_| n.take(None).unwrap().to_string()).collect();
        assert_eq!(taken, ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"]);
        assert!(n.take(None).is_err());
        n.release("10.9.8.4");
        n.release("10.9.8.1");
        assert_eq!(n.take(None).unwrap().to_string(), "10.9.8.4");
        assert!(n.take(Some("10.9.8.5".parse().unwrap())).is_err());
        n.release("10.9.8.5");
        assert!(n.take(Some("10.9.8.5".parse().unwrap())).is_ok() && n.take(Some("10.9.9.5".parse().unwrap())).is_err());
    }

    #[test]
    fn bad_subnets_are_refused() {
        for bip in ["", "10.0.0.1", "10.0.0.1/33", "x/24"] {
            assert!(Networks::new(&Settings { bip: bip.into(), ..Settings::default() }).is_err(), "{bip}");
        }
    }
}

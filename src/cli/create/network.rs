//! `--network` and what belongs to an endpoint.

use super::Flags;
use crate::base::{Error, Result};
use crate::wire::container::{Endpoint, EndpointIpam};
use std::collections::BTreeMap;

type Endpoints = BTreeMap<String, Option<Endpoint>>;

/// The network mode, and the settings of each network that has some.
pub fn networks(flags: &Flags) -> Result<(String, Endpoints)> {
    let named: Vec<&String> = flags.network.iter().chain(&flags.net).collect();
    let mut endpoints = Endpoints::new();
    let mut mode = String::new();
    for text in &named {
        let (name, mut endpoint) = parse(text)?;
        if mode.is_empty() {
            mode = name.clone();
            general(flags, &mut endpoint);
        }
        let matters = is_user_defined(&name) || endpoint != Endpoint::default();
        if matters && endpoints.insert(name.clone(), Some(endpoint)).is_some() {
            return Err(Error::invalid(format!("network {name:?} is specified multiple times")));
        }
    }
    if named.is_empty() {
        mode = "default".into();
        let mut endpoint = Endpoint::default();
        general(flags, &mut endpoint);
        if endpoint != Endpoint::default() {
            endpoints.insert("default".into(), Some(endpoint));
        }
    }
    Ok((mode, endpoints))
}

/// What the flags say about the first network.
fn general(flags: &Flags, endpoint: &mut Endpoint) {
    let aliases = [flags.network_alias.as_slice(), flags.net_alias.as_slice()].concat();
    if !aliases.is_empty() {
        endpoint.aliases.get_or_insert_default().extend(aliases);
    }
    if !flags.ip.is_empty() || !flags.ip6.is_empty() || !flags.link_local_ip.is_empty() {
        let ipam = endpoint.ipam_config.get_or_insert_default();
        ipam.ipv4_address = flags.ip.clone();
        ipam.ipv6_address = flags.ip6.clone();
        ipam.link_local_ips = (!flags.link_local_ip.is_empty()).then(|| flags.link_local_ip.clone());
    }
    if !flags.link.is_empty() && flags.network.iter().chain(&flags.net).next().is_some_and(|n| is_user_defined(n)) {
        endpoint.links = Some(flags.link.clone());
    }
    endpoint.mac_address = flags.mac_address.clone();
}

/// `name`, or `name=…,alias=…,ip=…,driver-opt=…`.
fn parse(text: &str) -> Result<(String, Endpoint)> {
    let mut endpoint = Endpoint::default();
    if !text.contains('=') || text.starts_with("container:") {
        return Ok((text.into(), endpoint));
    }
    let mut name = String::new();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| Error::invalid(format!("invalid field {field}")))?;
        match key {
            "name" => name = value.into(),
            "alias" => endpoint.aliases.get_or_insert_default().push(value.into()),
            "ip" => endpoint.ipam_config.get_or_insert_with(EndpointIpam::default).ipv4_address = value.into(),
            "ip6" => endpoint.ipam_config.get_or_insert_with(EndpointIpam::default).ipv6_address = value.into(),
            "mac-address" => endpoint.mac_address = value.into(),
            "link-local-ip" => {
                let ipam = endpoint.ipam_config.get_or_insert_with(EndpointIpam::default);
                ipam.link_local_ips.get_or_insert_default().push(value.into());
            }
            "driver-opt" => {
                let (k, v) =
                    value.split_once('=').ok_or_else(|| Error::invalid("invalid key value pair format in driver options"))?;
                endpoint.driver_opts.get_or_insert_default().insert(k.into(), v.into());
            }
            _ => return Err(Error::invalid(format!("invalid field key {key}"))),
        }
    }
    if name.is_empty() {
        return Err(Error::invalid("network name is required"));
    }
    Ok((name, endpoint))
}

fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none" | "") && !name.starts_with("container:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_endpoints() {
        let one = |network: &[&str], alias: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
            networks(&Flags { network: own(network), network_alias: own(alias), ..Flags::default() })
        };
        let (mode, endpoints) = one(&["host"], &[]).unwrap();
        assert_eq!((mode.as_str(), endpoints.len()), ("host", 0));
        let (mode, endpoints) = one(&["mine", "name=other,alias=x,ip=1.2.3.4"], &["a"]).unwrap();
        assert_eq!(mode, "mine");
        assert_eq!(endpoints["mine"].as_ref().unwrap().aliases, Some(vec!["a".into()]));
        assert_eq!(endpoints["other"].as_ref().unwrap().ipam_config.as_ref().unwrap().ipv4_address, "1.2.3.4");
        assert!(one(&["a", "a"], &[]).is_err() && one(&["alias=x"], &[]).is_err());
    }
}

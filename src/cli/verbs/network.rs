//! `network create|ls|rm|connect|disconnect`.

use crate::base::{Error, Result, id};
use crate::cli::create;
use crate::cli::http::{Query, escape};
use crate::cli::output::{Layout, for_each, line};
use crate::cli::value::Json;
use crate::cli::{Cx, filters};
use crate::wire::container::{Endpoint, Labels};
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use std::collections::BTreeMap;

/// create a network
#[derive(FromArgs, ArgsInfo)]
pub struct Create {
    /// enable manual container attachment
    #[argh(switch)]
    attachable: bool,
    /// auxiliary IPv4 or IPv6 addresses used by network driver
    #[argh(option)]
    aux_address: Vec<String>,
    /// driver to manage the network
    #[argh(option, short = 'd', default = "String::from(\"bridge\")")]
    driver: String,
    /// IPv4 or IPv6 gateway for the master subnet
    #[argh(option)]
    gateway: Vec<String>,
    /// restrict external access to the network
    #[argh(switch)]
    internal: bool,
    /// allocate container ip from a sub-range
    #[argh(option)]
    ip_range: Vec<String>,
    /// IP address management driver
    #[argh(option, default = "String::from(\"default\")")]
    ipam_driver: String,
    /// set IPAM driver specific options
    #[argh(option)]
    ipam_opt: Vec<String>,
    /// enable IPv6 networking
    #[argh(switch)]
    ipv6: bool,
    /// set metadata on a network
    #[argh(option)]
    label: Vec<String>,
    /// set driver specific options
    #[argh(option, short = 'o')]
    opt: Vec<String>,
    /// subnet in CIDR format that represents a network segment
    #[argh(option)]
    subnet: Vec<String>,
    /// network
    #[argh(positional)]
    name: String,
}

/// list networks
#[derive(FromArgs, ArgsInfo)]
pub struct List {
    /// provide filter values (e.g. "driver=bridge")
    #[argh(option, short = 'f')]
    filter: Vec<String>,
    /// format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[argh(option, default = "String::new()")]
    format: String,
    /// do not truncate the output
    #[argh(switch)]
    no_trunc: bool,
    /// only display network IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// remove one or more networks
#[derive(FromArgs, ArgsInfo)]
pub struct Remove {
    /// do not error if the network does not exist
    #[argh(switch, short = 'f')]
    force: bool,
    /// network
    #[argh(positional)]
    names: Vec<String>,
}

/// connect a container to a network
#[derive(FromArgs, ArgsInfo)]
pub struct Connect {
    /// add network-scoped alias for the container
    #[argh(option)]
    alias: Vec<String>,
    /// driver options for the network
    #[argh(option)]
    driver_opt: Vec<String>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[argh(option, default = "String::new()")]
    ip: String,
    /// IPv6 address (e.g., "2001:db8::33")
    #[argh(option, default = "String::new()")]
    ip6: String,
    /// add link to another container
    #[argh(option)]
    link: Vec<String>,
    /// add a link-local address for the container
    #[argh(option)]
    link_local_ip: Vec<String>,
    /// network
    #[argh(positional)]
    network: String,
    /// container
    #[argh(positional)]
    container: String,
}

/// disconnect a container from a network
#[derive(FromArgs, ArgsInfo)]
pub struct Disconnect {
    /// force the container to disconnect from a network
    #[argh(switch, short = 'f')]
    force: bool,
    /// network
    #[argh(positional)]
    network: String,
    /// container
    #[argh(positional)]
    container: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    name: String,
    check_duplicate: bool,
    driver: String,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    internal: bool,
    attachable: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    options: Labels,
    labels: Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: String,
    options: Labels,
    config: Vec<Pool>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pool {
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    ip_range: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    gateway: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    auxiliary_addresses: Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    container: String,
    endpoint_config: Option<Endpoint>,
    force: bool,
}

const LAYOUT: Layout = Layout {
    headings: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

/// Subnets with the ranges, gateways and addresses that lie in them.
fn pools(args: &Create) -> Result<Vec<Pool>> {
    let mut pools: Vec<Pool> = args.subnet.iter().map(|s| Pool { subnet: s.clone(), ..Pool::default() }).collect();
    if pools.is_empty() && (!args.ip_range.is_empty() || !args.gateway.is_empty()) {
        return Err(Error::invalid("every ip-range or gateway must have a corresponding subnet"));
    }
    let find = |pools: &mut Vec<Pool>, address: &str| -> Result<usize> {
        pools
            .iter()
            .position(|p| contains(&p.subnet, address))
            .ok_or_else(|| Error::invalid(format!("no matching subnet for {address}")))
    };
    for range in &args.ip_range {
        let at = find(&mut pools, range.split('/').next().unwrap_or(range))?;
        pools[at].ip_range = range.clone();
    }
    for gateway in &args.gateway {
        let at = find(&mut pools, gateway)?;
        pools[at].gateway = gateway.clone();
    }
    for aux in &args.aux_address {
        let (name, address) = aux.split_once('=').ok_or_else(|| Error::invalid(format!("invalid aux-address: {aux}")))?;
        let at = find(&mut pools, address)?;
        pools[at].auxiliary_addresses.insert(name.into(), address.into());
    }
    Ok(pools)
}

fn contains(subnet: &str, address: &str) -> bool {
    use std::net::IpAddr;
    let Some((base, bits)) = subnet.split_once('/') else { return false };
    match (base.parse(), address.parse(), bits.parse::<u32>()) {
        (Ok(IpAddr::V4(a)), Ok(IpAddr::V4(b)), Ok(bits @ 0..=32)) => (u64::from(a.to_bits() ^ b.to_bits())) >> (32 - bits) == 0,
        (Ok(IpAddr::V6(a)), Ok(IpAddr::V6(b)), Ok(bits @ 1..=128)) => (a.to_bits() ^ b.to_bits()) >> (128 - bits) == 0,
        _ => false,
    }
}

/// Creates a network, prints its ID.
pub fn create(cx: &Cx, args: Create) -> Result<i32> {
    let config = pools(&args)?;
    let body = Body {
        name: args.name,
        check_duplicate: true,
        driver: args.driver,
        enable_ipv6: args.ipv6,
        internal: args.internal,
        attachable: args.attachable,
        ipam: Ipam { driver: args.ipam_driver, options: create::labels(&args.ipam_opt), config },
        options: create::labels(&args.opt),
        labels: create::labels(&args.label),
    };
    let made = cx.client.post("/networks/create", &Query::new(), Some(&serde_json::to_vec(&body)?))?;
    if !made.get("Warning").str().is_empty() {
        eprintln!("WARNING: {}", made.get("Warning").str());
    }
    line(made.get("Id").str()).map(|()| 0)
}

/// Prints the list.
pub fn list(cx: &Cx, args: List) -> Result<i32> {
    let answer = cx.client.get("/networks", &Query::new().maybe("filters", &filters::text(&args.filter)?))?;
    let mut networks: Vec<&Json> = answer.items().iter().collect();
    networks.sort_by_key(|n| n.get("Name").str());
    let row = |n: &&Json| {
        let full = n.get("Id").str();
        let labels: Vec<String> = n.get("Labels").fields().iter().map(|(k, v)| format!("{k}={}", v.str())).collect();
        let fields = [
            ("CreatedAt", n.get("Created").str().to_string()),
            ("Driver", n.get("Driver").str().into()),
            ("ID", if args.no_trunc { full.into() } else { id::short(full).into() }),
            ("IPv6", n.get("EnableIPv6").is_true().to_string()),
            ("Internal", n.get("Internal").is_true().to_string()),
            ("Labels", labels.join(",")),
            ("Name", n.get("Name").str().into()),
            ("Scope", n.get("Scope").str().into()),
        ];
        Json::Obj(fields.into_iter().map(|(k, v)| (k.to_string(), Json::Str(v))).collect())
    };
    let rows: Vec<Json> = networks.iter().map(row).collect();
    LAYOUT.print(&args.format, args.quiet, &rows)?;
    Ok(0)
}

/// Removes each.
pub fn remove(cx: &Cx, args: Remove) -> Result<i32> {
    for_each(&args.names, |name| match cx.client.delete(&format!("/networks/{}", escape(name)), &Query::new()) {
        Err(e) if args.force && e.kind() == crate::base::Kind::NotFound => Ok(()),
        other => other.and_then(|_| line(name)),
    })
}

/// Connects.
pub fn connect(cx: &Cx, args: Connect) -> Result<i32> {
    let list = |items: Vec<String>| if items.is_empty() { None } else { Some(items) };
    let mut endpoint = Endpoint { aliases: list(args.alias), links: list(args.link), ..Endpoint::default() };
    if !args.driver_opt.is_empty() {
        endpoint.driver_opts = Some(create::labels(&args.driver_opt));
    }
    if !args.ip.is_empty() || !args.ip6.is_empty() || !args.link_local_ip.is_empty() {
        let ipam = endpoint.ipam_config.get_or_insert_default();
        (ipam.ipv4_address, ipam.ipv6_address, ipam.link_local_ips) = (args.ip, args.ip6, list(args.link_local_ip));
    }
    let body = Attachment { container: args.container, endpoint_config: Some(endpoint), force: false };
    cx.client.post(&format!("/networks/{}/connect", escape(&args.network)), &Query::new(), Some(&serde_json::to_vec(&body)?))?;
    Ok(0)
}

/// Disconnects.
pub fn disconnect(cx: &Cx, args: Disconnect) -> Result<i32> {
    let body = Attachment { container: args.container, endpoint_config: None, force: args.force };
    cx.client.post(
        &format!("/networks/{}/disconnect", escape(&args.network)),
        &Query::new(),
        Some(&serde_json::to_vec(&body)?),
    )?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_in_subnets() {
        let inside = super::contains;
        assert!(inside("10.1.0.0/16", "10.1.2.3") && !inside("10.1.0.0/16", "10.2.2.3") && inside("0.0.0.0/0", "9.9.9.9"));
        assert!(
            inside("fd00::/8", "fd12::1")
                && !inside("fd00::/8", "fe80::1")
                && !inside("x", "1.2.3.4")
                && !inside("10.0.0.0/99", "10.0.0.1")
        );
    }
}

//! The files that the engine puts into a container: hosts, hostname, resolv.conf. They lie in the exec root.

use crate::base::{Context, Error, Result};
use crate::wire::shim::{Network, Start};
use std::fs;

/// Name servers when the host has none that a container could reach.
const FALLBACK: &[&str] = &["8.8.8.8", "8.8.4.4"];

/// Folder that holds the container's three files: its own, or that of the container whose network it shares.
pub fn folder(start: &Start) -> &str {
    match &start.network {
        Network::Join { run_dir, .. } => run_dir,
        _ => &start.run_dir,
    }
}

/// Writes the three files, unless they are another container's.
pub fn write(start: &Start) -> Result<()> {
    if matches!(start.network, Network::Join { .. }) {
        return Ok(());
    }
    let put = |name: &str, text: String| {
        let path = format!("{}/{name}", start.run_dir);
        fs::write(&path, text).context(|| format!("write {path}"))
    };
    put("hostname", format!("{}\n", start.config.hostname))?;
    put("hosts", hosts(start)?)?;
    put("resolv.conf", resolv_conf(start))
}

fn hosts(start: &Start) -> Result<String> {
    let mut text = match start.network {
        Network::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        _ => String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        ),
    };
    for entry in start.host.extra_hosts.iter().flatten() {
        let (name, address) =
            entry.split_once([':', '=']).ok_or_else(|| Error::invalid(format!("bad format for add-host: \"{entry}\"")))?;
        let address = if address == "host-gateway" { &start.host_gateway } else { address };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        text.push_str(&format!("{address}\t{name}\n"));
    }
    if let Network::Bridge(port) = &start.network {
        let name = &start.config.hostname;
        let full = if start.config.domainname.is_empty() { name.clone() } else { format!("{name}.{}", start.config.domainname) };
        let short = full.split('.').next().unwrap_or_default();
        let names = if short == full { full.clone() } else { format!("{full} {short}") };
        text.push_str(&format!("{}\t{names}\n", port.address));
    }
    Ok(text)
}

fn resolv_conf(start: &Start) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let own = &start.dns;
    if matches!(start.network, Network::Host) && own.servers.is_empty() && own.search.is_empty() && own.options.is_empty() {
        return host;
    }
    let of_host = |key: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|l| l.trim().strip_prefix(key)).filter(|l| l.starts_with([' ', '\t']));
        lines.flat_map(str::split_whitespace).map(String::from).collect()
    };
    let mut servers = own.servers.clone();
    if servers.is_empty() {
        // The host's loopback is not the container's.
        servers = of_host("nameserver");
        if !matches!(start.network, Network::Host) {
            servers.retain(|s| !s.starts_with("127.") && s != "::1");
        }
    }
    if servers.is_empty() {
        servers = FALLBACK.iter().map(|s| s.to_string()).collect();
    }
    let mut text: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
    let search = if own.search.is_empty() { of_host("search") } else { own.search.clone() };
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let options = if own.options.is_empty() { of_host("options") } else { own.options.clone() };
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::shim::{BridgePort, Dns};

    #[test]
    fn hosts_name_the_container_and_what_was_added() {
        let mut start = Start { host_gateway: "172.17.0.1".into(), ..Start::default() };
        start.config.hostname = "box.example".into();
        start.host.extra_hosts = Some(vec!["db:10.9.8.7".into(), "gw:host-gateway".into(), "six=[::5]".into()]);
        start.network = Network::Bridge(BridgePort { address: "172.17.0.2".into(), ..BridgePort::default() });
        let text = hosts(&start).unwrap();
        for line in ["127.0.0.1\tlocalhost", "10.9.8.7\tdb", "172.17.0.1\tgw", "::5\tsix", "172.17.0.2\tbox.example box"] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        start.host.extra_hosts = Some(vec!["nonsense".into()]);
        assert!(hosts(&start).is_err());
    }

    #[test]
    fn resolver_settings_win_over_the_hosts() {
        let dns = Dns { servers: vec!["10.1.2.3".into()], search: vec!["lab.test".into()], options: vec!["ndots:3".into()] };
        let text = resolv_conf(&Start { dns, ..Start::default() });
        assert_eq!(text, "nameserver 10.1.2.3\nsearch lab.test\noptions ndots:3\n");
        assert!(!resolv_conf(&Start::default()).contains("127."));
    }
}

//! `--publish` and `--expose`.

use crate::base::{Error, Result};
use crate::wire::container::{Empty, PortBinding, Set};
use std::collections::BTreeMap;

/// Port/protocol to bindings.
pub type Bindings = BTreeMap<String, Option<Vec<PortBinding>>>;

/// `80`, `80-82`
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    if first <= last && first > 0 { Some((first, last)) } else { None }
}

fn protocol(text: &str) -> Result<(&str, &str)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok((ports, "tcp")),
        "udp" => Ok((ports, "udp")),
        "sctp" => Ok((ports, "sctp")),
        _ => Err(Error::invalid(format!("invalid proto: {protocol}"))),
    }
}

/// `80`, `80-82/udp`: adds to the exposed ports.
pub fn expose(text: &str, exposed: &mut Set) -> Result<()> {
    let bad = || Error::invalid(format!("invalid range format for --expose: {text}"));
    if text.contains(':') {
        return Err(Error::invalid(format!("invalid port format for --expose: {text}")));
    }
    let (ports, protocol) = protocol(text)?;
    let (first, last) = range(ports).ok_or_else(bad)?;
    for port in first..=last {
        exposed.insert(format!("{port}/{protocol}"), Empty {});
    }
    Ok(())
}

/// `[[ip:][host[-host]]:]container[-container][/protocol]`, or `published=…,target=…`: adds to both tables.
pub fn publish(text: &str, exposed: &mut Set, bindings: &mut Bindings) -> Result<()> {
    let text = if text.contains('=') { long_form(text)? } else { text.to_string() };
    let (rest, protocol) = protocol(&text)?;
    let (head, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (ip, host) = match head.strip_prefix('[') {
        Some(v6) => {
            let (ip, host) = v6.split_once(']').ok_or_else(|| Error::invalid(format!("invalid IP address: {head}")))?;
            (ip, host.strip_prefix(':').unwrap_or(host))
        }
        None => head.rsplit_once(':').unwrap_or(("", head)),
    };
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(Error::invalid(format!("invalid IP address: {ip}")));
    }
    if container.is_empty() {
        return Err(Error::invalid(format!("no port specified: {text}<empty>")));
    }
    let (first, last) = range(container).ok_or_else(|| Error::invalid(format!("invalid containerPort: {container}")))?;
    let hosts = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| Error::invalid(format!("invalid hostPort: {host}")))?),
    };
    if let Some((low, high)) = hosts
        && high - low != last - first
        && first != last
    {
        return Err(Error::invalid(format!("invalid ranges specified for container and host Ports: {container} and {host}")));
    }
    for port in first..=last {
        let host_port = match hosts {
            None => String::new(),
            Some((low, high)) if first == last && high > low => format!("{low}-{high}"), // any of them
            Some((low, _)) => (low + (port - first)).to_string(),
        };
        let key = format!("{port}/{protocol}");
        exposed.insert(key.clone(), Empty {});
        let list = bindings.entry(key).or_default().get_or_insert_default();
        list.push(PortBinding { host_ip: ip.into(), host_port });
    }
    Ok(())
}

fn long_form(text: &str) -> Result<String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", v)) => published = v,
            Some(("target", v)) => target = v,
            Some(("protocol", v)) => protocol = v,
            Some(("mode", _)) => {}
            _ => return Err(Error::invalid(format!("invalid field {field}"))),
        }
    }
    if target.is_empty() {
        return Err(Error::invalid("missing mandatory field \"target\""));
    }
    Ok(if published.is_empty() { format!("{target}/{protocol}") } else { format!("{published}:{target}/{protocol}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let (mut exposed, mut bindings) = (Set::new(), Bindings::new());
        if let Err(e) = publish(text, &mut exposed, &mut bindings) {
            return e.to_string();
        }
        assert_eq!(exposed.len(), bindings.len());
        let each = bindings.iter().map(|(k, v)| {
            let v = v.as_ref().unwrap();
            format!("{k}={}", v.iter().map(|b| format!("{}:{}", b.host_ip, b.host_port)).collect::<Vec<_>>().join(","))
        });
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_form_of_publish() {
        for (text, want) in [
            ("80", "80/tcp=:"),
            ("8080:80", "80/tcp=:8080"),
            ("127.0.0.1:8080:80/udp", "80/udp=127.0.0.1:8080"),
            ("127.0.0.1::80", "80/tcp=127.0.0.1:"),
            ("[::1]:8080:80", "80/tcp=::1:8080"),
            ("7000-7001:80-81", "80/tcp=:7000 81/tcp=:7001"),
            ("7000-7001:80", "80/tcp=:7000-7001"),
            ("published=1,target=2,protocol=udp", "2/udp=:1"),
            ("1-3:5-6", "invalid ranges specified for container and host Ports: 5-6 and 1-3"),
            ("x:80", "invalid hostPort: x"),
            ("80:", "no port specified: 80:<empty>"),
            ("1:70000", "invalid containerPort: 70000"),
            ("1.2.3:1:2", "invalid IP address: 1.2.3"),
            ("80/xtp", "invalid proto: xtp"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
        let mut exposed = Set::new();
        expose("80-81/udp", &mut exposed).unwrap();
        assert_eq!(exposed.into_keys().collect::<Vec<_>>(), ["80/udp", "81/udp"]);
        assert!(expose("1:2", &mut Set::new()).is_err() && expose("a", &mut Set::new()).is_err());
    }
}

//! Devices of a container: those that it asks for, or (privileged) all of the host's; and Docker's access rules.

use crate::base::{Context, Error, Kind, Result};
use crate::runtime::spec::{Device, DeviceRule};
use crate::wire::container::HostConfig;
use rustix::fs::FileType;

/// Docker's default rules: no device but the harmless ones; any node may be made.
fn defaults() -> Vec<DeviceRule> {
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow: true,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    let mut rules = vec![
        DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() },
        rule("c", None, None, "m"),
        rule("b", None, None, "m"),
    ];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule("c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule("c", Some(136), None, "rwm"));
    rules
}

/// Nodes and rules for a container.
pub fn gather(host: &HostConfig) -> Result<(Vec<Device>, Vec<DeviceRule>)> {
    if host.privileged {
        let mut nodes = Vec::new();
        below("/dev", "/dev", true, &mut nodes)?;
        return Ok((nodes, vec![DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() }]));
    }
    let (mut nodes, mut rules) = (Vec::new(), defaults());
    for asked in host.devices.iter().flatten() {
        let what = || format!("error gathering device information while adding custom device \"{}\"", asked.path_on_host);
        let inside = if asked.path_in_container.is_empty() { &asked.path_on_host } else { &asked.path_in_container };
        let access = if asked.cgroup_permissions.is_empty() { "rwm" } else { &asked.cgroup_permissions };
        if !access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm')) {
            return Err(Error::invalid(format!("invalid device mode: {access}")));
        }
        let before = nodes.len();
        if std::path::Path::new(&asked.path_on_host).is_dir() {
            below(&asked.path_on_host, inside, false, &mut nodes).context(what)?;
        } else {
            nodes.push(node(&asked.path_on_host, inside).context(what)?);
        }
        for n in &nodes[before..] {
            rules.push(DeviceRule {
                allow: true,
                kind: n.kind.clone(),
                major: Some(n.major),
                minor: Some(n.minor),
                access: access.into(),
            });
        }
    }
    for text in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(text)?);
    }
    Ok((nodes, rules))
}

fn node(path: &str, inside: &str) -> Result<Device> {
    let real = std::fs::canonicalize(path)?;
    let stat = rustix::fs::stat(&real)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return Err(Error::new(Kind::Invalid, "not a device node")),
    };
    Ok(Device {
        path: inside.into(),
        kind: kind.into(),
        major: i64::from(rustix::fs::major(stat.st_rdev)),
        minor: i64::from(rustix::fs::minor(stat.st_rdev)),
        file_mode: Some(stat.st_mode & 0o7777),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
    })
}

/// All device nodes below a folder. What the container has of its own is left out.
fn below(folder: &str, inside: &str, host_dev: bool, nodes: &mut Vec<Device>) -> Result<()> {
    const OWN: &[&str] =
        &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "ptmx", "stdin", "stdout", "stderr", "core"];
    let mut names: Vec<_> = std::fs::read_dir(folder).context(|| folder.to_string())?.filter_map(|e| e.ok()).collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    for entry in names {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(kind) = entry.file_type() else { continue };
        if (host_dev && OWN.contains(&name.as_str())) || kind.is_symlink() {
            continue;
        }
        let (path, inside) = (format!("{folder}/{name}"), format!("{inside}/{name}"));
        if kind.is_dir() {
            below(&path, &inside, false, nodes)?;
        } else if let Ok(device) = node(&path, &inside) {
            nodes.push(device);
        }
    }
    Ok(())
}

/// `c 1:3 mr`, `a *:* rwm`.
fn parse_rule(text: &str) -> Result<DeviceRule> {
    let bad = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = words.as_slice() else { return Err(bad()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |t: &str| -> Result<Option<i64>> { if t == "*" { Ok(None) } else { t.parse().map(Some).map_err(|_| bad()) } };
    if !matches!(*kind, "a" | "b" | "c") || access.is_empty() || !access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm')) {
        return Err(bad());
    }
    Ok(DeviceRule { allow: true, kind: (*kind).into(), major: number(major)?, minor: number(minor)?, access: (*access).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_parse() {
        let rule = parse_rule("c 7:* mr").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(7), None, "mr"));
        for bad in ["", "x 1:2 r", "c 1 r", "c 1:2 q", "c a:b r", "c 1:2"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
        assert_eq!(node("/dev/null", "/dev/n").unwrap().major, 1);
        assert!(node("/etc/passwd", "/x").is_err());
    }
}

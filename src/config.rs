//! The daemon's settings: daemon.json with dockerd's keys, and dockerd's flags over it.

use crate::base::{Context, Error, Result, size, time};
use crate::wire::container::{Labels, Ulimit};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where daemon.json is looked for unless a flag says otherwise.
pub const DEFAULT_FILE: &str = "/etc/prtiql/daemon.json";

/// The settings. Names are daemon.json's keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// Addresses to listen on: unix://…, fd://.
    pub hosts: Vec<String>,
    /// Where state is kept.
    pub data_root: String,
    /// Where volatile state is kept.
    pub exec_root: String,
    /// File with the daemon's pid; empty writes none.
    pub pidfile: String,
    /// Log more.
    pub debug: bool,
    /// debug, info, warn, error, fatal.
    pub log_level: String,
    /// Group that may use the socket.
    pub group: String,
    /// Registries spoken to in plain http.
    pub insecure_registries: Vec<String>,
    /// Tried before Docker Hub; `registry=URL` is tried before that registry.
    pub registry_mirrors: Vec<String>,
    /// Proxies for pulls.
    pub proxies: Proxies,
    /// Layers fetched at once.
    pub max_concurrent_downloads: u32,
    /// Attempts at a request that fails for a passing reason.
    pub max_download_attempts: u32,
    /// Bytes a second that all downloads together may take, with k, m or g; empty or 0 has no limit.
    pub download_rate_limit: String,
    /// Seconds without a byte after which a connection is given up.
    pub download_stall_timeout: u32,
    /// Memory of a pull or load, page cache included; empty is by the number of downloads, 0 has no limit.
    pub worker_memory: String,
    /// Whether pulls take deltas: `auto`, `never` or `require`.
    pub delta: String,
    /// Address and prefix of the default bridge.
    pub bip: String,
    /// Part of the bridge's subnet to take addresses from.
    pub fixed_cidr: String,
    /// Name of the default bridge; "none" has no default network.
    pub bridge: String,
    /// Add firewall rules.
    pub iptables: bool,
    /// Switch forwarding on.
    pub ip_forward: bool,
    /// Masquerade what leaves the bridge.
    pub ip_masq: bool,
    /// MTU of the bridge; 0 is the kernel's.
    pub mtu: u32,
    /// Name servers of containers.
    pub dns: Vec<String>,
    /// Resolver options of containers.
    pub dns_opts: Vec<String>,
    /// Search domains of containers.
    pub dns_search: Vec<String>,
    /// What `host-gateway` means; empty is the bridge's address.
    pub host_gateway_ip: String,
    /// Default log driver.
    pub log_driver: String,
    /// Its options.
    pub log_opts: Labels,
    /// Limits of containers that set none.
    pub default_ulimits: BTreeMap<String, Ulimit>,
    /// Size of /dev/shm.
    pub default_shm_size: String,
    /// Default cgroup namespace: private or host; empty by the kernel's version.
    pub default_cgroupns_mode: String,
    /// Put an init into each container.
    pub init: bool,
    /// Parent of containers' cgroups.
    pub cgroup_parent: String,
    /// no-new-privileges unless a container says otherwise.
    pub no_new_privileges: bool,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// Seconds between SIGTERM and SIGKILL when the daemon stops containers.
    pub shutdown_timeout: u32,
    /// Containers go on when the daemon stops. Always so here; accepted as dockerd's.
    pub live_restore: bool,
    /// overlay2.
    pub storage_driver: String,
    /// Accepted as dockerd's; without effect.
    pub experimental: bool,
    /// Accepted: native.cgroupdriver=cgroupfs.
    pub exec_opts: Vec<String>,
    /// Folder of per-registry certificates.
    pub certs_dir: String,
    /// Accepted as dockerd's; there is no userland proxy.
    pub userland_proxy: bool,
    /// Accepted as dockerd's; this engine needs no containerd.
    pub containerd: String,
    /// Kept free on the data root's file system: bytes, or `N%`. Empty is 2 %, at most 64 MB.
    pub storage_reserve: String,
    /// Bytes that all layers together may have; empty is no limit.
    pub storage_quota: String,
    /// Removal of unused images.
    pub gc: Gc,
    /// Folders with images that are used in place and never written.
    pub image_stores: Vec<String>,
}

/// `gc` of daemon.json: removal of unused images.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Gc {
    /// Off unless asked for.
    pub enabled: bool,
    /// Images that no container has used for so long are removed, once a day.
    pub unused_for: String,
    /// So many bytes should be free; for that the longest unused images go before their time.
    pub keep_free: String,
}

impl Default for Gc {
    fn default() -> Gc {
        Gc { enabled: false, unused_for: "720h".into(), keep_free: String::new() }
    }
}

impl Gc {
    fn check(&self) -> Result<()> {
        time::parse_duration(&self.unused_for).map_err(|e| e.context("gc.unused-for"))?;
        if !self.keep_free.is_empty() {
            size::parse(&self.keep_free).map_err(|e| e.context("gc.keep-free"))?;
        }
        Ok(())
    }

    /// `unused_for` in milliseconds.
    pub fn unused_ms(&self) -> u64 {
        time::parse_duration(&self.unused_for).ok().and_then(|ns| u64::try_from(ns / 1_000_000).ok()).unwrap_or(u64::MAX)
    }

    /// `keep_free` in bytes.
    pub fn keep_free_bytes(&self) -> u64 {
        size::parse(&self.keep_free).unwrap_or(0)
    }
}

/// `proxies` of daemon.json.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct Proxies {
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hosts: Vec::new(),
            data_root: "/var/lib/prtiql".into(),
            exec_root: "/run/prtiql".into(),
            pidfile: "/run/prtiql.pid".into(),
            debug: false,
            log_level: "info".into(),
            group: "prtiql".into(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            proxies: Proxies::default(),
            max_concurrent_downloads: 3,
            max_download_attempts: 5,
            download_rate_limit: String::new(),
            download_stall_timeout: 30,
            worker_memory: String::new(),
            delta: String::new(),
            bip: "172.17.0.1/16".into(),
            fixed_cidr: String::new(),
            bridge: "prtiql0".into(),
            iptables: true,
            ip_forward: true,
            ip_masq: true,
            mtu: 0,
            dns: Vec::new(),
            dns_opts: Vec::new(),
            dns_search: Vec::new(),
            host_gateway_ip: String::new(),
            log_driver: "json-file".into(),
            log_opts: Labels::new(),
            default_ulimits: BTreeMap::new(),
            default_shm_size: "64m".into(),
            default_cgroupns_mode: String::new(),
            init: false,
            cgroup_parent: "/prtiql".into(),
            no_new_privileges: false,
            labels: Vec::new(),
            shutdown_timeout: 15,
            live_restore: true,
            storage_driver: "overlay2".into(),
            experimental: false,
            exec_opts: Vec::new(),
            certs_dir: "/etc/prtiql/certs.d".into(),
            userland_proxy: false,
            containerd: String::new(),
            storage_reserve: String::new(),
            storage_quota: String::new(),
            gc: Gc::default(),
            image_stores: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Text,
    Number,
    Flag,
    List,
    /// `key=value` into a map.
    Pairs,
}

/// dockerd's flags: long name, short name, daemon.json key, form.
const FLAGS: &[(&str, &str, &str, Takes)] = &[
    ("host", "H", "hosts", Takes::List),
    ("data-root", "g", "data-root", Takes::Text),
    ("graph", "", "data-root", Takes::Text),
    ("exec-root", "", "exec-root", Takes::Text),
    ("pidfile", "p", "pidfile", Takes::Text),
    ("debug", "D", "debug", Takes::Flag),
    ("log-level", "l", "log-level", Takes::Text),
    ("group", "G", "group", Takes::Text),
    ("insecure-registry", "", "insecure-registries", Takes::List),
    ("registry-mirror", "", "registry-mirrors", Takes::List),
    ("max-concurrent-downloads", "", "max-concurrent-downloads", Takes::Number),
    ("max-download-attempts", "", "max-download-attempts", Takes::Number),
    ("download-rate-limit", "", "download-rate-limit", Takes::Text),
    ("download-stall-timeout", "", "download-stall-timeout", Takes::Number),
    ("worker-memory", "", "worker-memory", Takes::Text),
    ("delta", "", "delta", Takes::Text),
    ("bip", "", "bip", Takes::Text),
    ("fixed-cidr", "", "fixed-cidr", Takes::Text),
    ("bridge", "b", "bridge", Takes::Text),
    ("iptables", "", "iptables", Takes::Flag),
    ("ip-forward", "", "ip-forward", Takes::Flag),
    ("ip-masq", "", "ip-masq", Takes::Flag),
    ("mtu", "", "mtu", Takes::Number),
    ("dns", "", "dns", Takes::List),
    ("dns-opt", "", "dns-opts", Takes::List),
    ("dns-search", "", "dns-search", Takes::List),
    ("host-gateway-ip", "", "host-gateway-ip", Takes::Text),
    ("log-driver", "", "log-driver", Takes::Text),
    ("log-opt", "", "log-opts", Takes::Pairs),
    ("default-shm-size", "", "default-shm-size", Takes::Text),
    ("default-cgroupns-mode", "", "default-cgroupns-mode", Takes::Text),
    ("init", "", "init", Takes::Flag),
    ("cgroup-parent", "", "cgroup-parent", Takes::Text),
    ("no-new-privileges", "", "no-new-privileges", Takes::Flag),
    ("label", "", "labels", Takes::List),
    ("shutdown-timeout", "", "shutdown-timeout", Takes::Number),
    ("live-restore", "", "live-restore", Takes::Flag),
    ("storage-driver", "s", "storage-driver", Takes::Text),
    ("experimental", "", "experimental", Takes::Flag),
    ("exec-opt", "", "exec-opts", Takes::List),
    ("certs-dir", "", "certs-dir", Takes::Text),
    ("userland-proxy", "", "userland-proxy", Takes::Flag),
    ("containerd", "", "containerd", Takes::Text),
    ("http-proxy", "", "proxies.http-proxy", Takes::Text),
    ("https-proxy", "", "proxies.https-proxy", Takes::Text),
    ("no-proxy", "", "proxies.no-proxy", Takes::Text),
    ("storage-reserve", "", "storage-reserve", Takes::Text),
    ("storage-quota", "", "storage-quota", Takes::Text),
    ("image-store", "", "image-stores", Takes::List),
    ("gc", "", "gc.enabled", Takes::Flag),
    ("gc-unused-for", "", "gc.unused-for", Takes::Text),
    ("gc-keep-free", "", "gc.keep-free", Takes::Text),
];

/// The flags as help text, one a line.
pub fn help() -> String {
    let mut out = String::from("Usage: prtiql daemon [OPTIONS]\n\nThe engine: serves the Docker Engine API.\n\nOptions:\n");
    out.push_str("      --config-file string\n      --validate\n");
    for (long, short, _, takes) in FLAGS {
        let short = if short.is_empty() { "    ".to_string() } else { format!("-{short}, ") };
        let value = match takes {
            Takes::Flag => "",
            Takes::Number => " int",
            Takes::List | Takes::Pairs => " list",
            Takes::Text => " string",
        };
        out.push_str(&format!("  {short}--{long}{value}\n"));
    }
    out
}

/// Settings from dockerd's flags and the file that they (or the default) name.
pub fn load(args: &[String]) -> Result<Settings> {
    let (flags, file) = parse_flags(args)?;
    let mut merged = match read_file(file.as_deref())? {
        Value::Object(map) => map,
        _ => return Err(Error::invalid("daemon.json is not a JSON object")),
    };
    let both: Vec<String> =
        flags.keys().filter(|k| merged.contains_key(*k) && !matches!(flags[*k], Value::Array(_))).cloned().collect();
    if !both.is_empty() {
        let both = both.join(", ");
        return Err(Error::invalid(format!(
            "the following directives are specified both as a flag and in the configuration file: {both}"
        )));
    }
    for (key, value) in flags {
        match (merged.get_mut(&key), value) {
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (_, value) => {
                merged.insert(key, value);
            }
        }
    }
    from_map(merged)
}

fn from_map(map: Map<String, Value>) -> Result<Settings> {
    let unknown: Vec<&str> = map
        .keys()
        .map(String::as_str)
        .filter(|k| !matches!(*k, "proxies" | "default-ulimits" | "gc") && !FLAGS.iter().any(|f| f.2 == *k))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::invalid(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        )));
    }
    // By way of text: one reader of JSON in the binary instead of two.
    let text = serde_json::to_vec(&Value::Object(map))?;
    let settings: Settings = serde_json::from_slice(&text).context(|| "configuration")?;
    settings.gc.check()?;
    match settings.storage_driver.as_str() {
        "" | "overlay2" | "overlay" => {}
        other => return Err(Error::invalid(format!("storage driver '{other}' is not part of this engine: use overlay2"))),
    }
    for (key, value) in [("download-rate-limit", &settings.download_rate_limit), ("worker-memory", &settings.worker_memory)] {
        if !value.is_empty() {
            crate::base::size::parse(value).context(|| key)?;
        }
    }
    crate::wire::worker::DeltaMode::parse(&settings.delta)?;
    for mirror in &settings.registry_mirrors {
        let url = mirror.split_once('=').filter(|(registry, _)| !registry.contains('/')).map_or(mirror.as_str(), |(_, url)| url);
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::invalid(format!("invalid mirror: {mirror:?} is no URL with http:// or https://")));
        }
    }
    if !matches!(settings.log_driver.as_str(), "json-file" | "local" | "none") {
        return Err(Error::invalid(format!("logger: no log driver named '{}' is registered", settings.log_driver)));
    }
    Ok(settings)
}

fn read_file(file: Option<&str>) -> Result<Value> {
    let path = file.unwrap_or(DEFAULT_FILE);
    match std::fs::read(path) {
        Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Value::Object(Map::new())),
        Ok(text) => serde_json::from_slice(&text).context(|| format!("unable to configure the daemon with file {path}")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => Ok(Value::Object(Map::new())),
        Err(e) => Err(e).context(|| format!("unable to configure the daemon with file {path}")),
    }
}

fn parse_flags(args: &[String]) -> Result<(Map<String, Value>, Option<String>)> {
    let (mut map, mut file) = (Map::new(), None);
    let mut words = args.iter().peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix('-') else {
            return Err(Error::invalid(format!("\"daemon\" accepts no arguments: '{word}'")));
        };
        let (name, inline) = match name.strip_prefix('-') {
            Some(long) => match long.split_once('=') {
                Some((n, v)) => (n, Some(v.to_string())),
                None => (long, None),
            },
            None => match (name.get(..1), name.get(1..)) {
                (Some(n), Some(rest)) if !rest.is_empty() => (n, Some(rest.strip_prefix('=').unwrap_or(rest).to_string())),
                _ => (name, None),
            },
        };
        let mut value = |inline: Option<String>| {
            inline.or_else(|| words.next().cloned()).ok_or_else(|| Error::invalid(format!("flag needs an argument: {word}")))
        };
        if name == "config-file" {
            file = Some(value(inline)?);
            continue;
        }
        let Some((_, _, key, takes)) =
            FLAGS.iter().find(|(long, short, ..)| name == *long || (!short.is_empty() && name == *short))
        else {
            return Err(Error::invalid(format!("unknown flag: {word}")));
        };
        let parsed = match takes {
            Takes::Flag => match inline.as_deref() {
                None | Some("true" | "1") => Value::Bool(true),
                Some("false" | "0") => Value::Bool(false),
                Some(other) => return Err(Error::invalid(format!("invalid argument \"{other}\" for --{name}"))),
            },
            Takes::Number => {
                let text = value(inline)?;
                text.parse::<u32>()
                    .map(Value::from)
                    .map_err(|_| Error::invalid(format!("invalid argument \"{text}\" for --{name}")))?
            }
            Takes::List | Takes::Text | Takes::Pairs => Value::String(value(inline)?),
        };
        put(&mut map, key, *takes, parsed)?;
    }
    Ok((map, file))
}

fn put(map: &mut Map<String, Value>, key: &str, takes: Takes, value: Value) -> Result<()> {
    if let Some((outer, inner)) = key.split_once('.') {
        let entry = map.entry(outer).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(nested) = entry {
            nested.insert(inner.to_string(), value);
        }
        return Ok(());
    }
    match takes {
        Takes::List => {
            if let Value::Array(list) = map.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(value);
            }
        }
        Takes::Pairs => {
            let text = value.as_str().unwrap_or_default().to_string();
            let (k, v) =
                text.split_once('=').ok_or_else(|| Error::invalid(format!("invalid log-opt '{text}': want key=value")))?;
            if let Value::Object(nested) = map.entry(key).or_insert_with(|| Value::Object(Map::new())) {
                nested.insert(k.to_string(), v.into());
            }
        }
        _ => {
            map.insert(key.to_string(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Result<Settings> {
        let words: Vec<String> = text.split_whitespace().map(String::from).collect();
        let (map, _) = parse_flags(&words)?;
        from_map(map)
    }

    #[test]
    fn dockerds_flags_in_all_their_spellings() {
        let s = flags(
            "-H unix:///a -H fd:// --data-root=/d -D --iptables=false --log-opt max-size=1m --mtu 1400 --http-proxy http://p",
        )
        .unwrap();
        assert_eq!((s.hosts.len(), s.data_root.as_str(), s.debug, s.iptables, s.mtu), (2, "/d", true, false, 1400));
        assert_eq!((s.log_opts["max-size"].as_str(), s.proxies.http_proxy.as_str()), ("1m", "http://p"));
        let s = flags("--download-rate-limit 512k --registry-mirror https://a --registry-mirror ghcr.io=http://b").unwrap();
        assert_eq!((s.download_rate_limit.as_str(), s.registry_mirrors.len(), s.download_stall_timeout), ("512k", 2, 30));
        for bad in [
            "--nosuch",
            "-H",
            "extra",
            "--mtu x",
            "--download-rate-limit fast",
            "--registry-mirror host",
            "--registry-mirror ghcr.io=host",
            "--storage-driver vfs",
            "--log-driver splunk",
        ] {
            assert!(flags(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_keys_are_named() {
        let map = serde_json::from_str(r#"{"no-such":1,"bip":"10.0.0.1/24"}"#).unwrap();
        assert!(from_map(map).unwrap_err().to_string().contains("no-such"));
        for (bad, name) in [(r#"{"gc":{"sometimes":1}}"#, "sometimes"), (r#"{"gc":{"unused-for":"long"}}"#, "gc.unused-for")] {
            let e = from_map(serde_json::from_str(bad).unwrap()).unwrap_err().to_string();
            assert!(e.contains(name), "{e}");
        }
        let gc = from_map(serde_json::from_str(r#"{"gc":{"enabled":true,"keep-free":"1m"}}"#).unwrap()).unwrap().gc;
        assert_eq!((gc.unused_ms(), gc.keep_free_bytes()), (720 * 3600 * 1000, 1 << 20));
    }
}

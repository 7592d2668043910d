//! What the host is: read once at start.

use crate::image::Platform;
use crate::store;

/// Facts about the host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its platform.
    pub platform: Platform,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub name: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// Processors online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// cgroup version: 1 or 2.
    pub cgroup: u8,
    /// File system of the data root.
    pub filesystem: String,
    /// The engine's identity, kept in the data root.
    pub id: String,
    /// Architecture as uname has it.
    pub machine: String,
}

impl Host {
    /// Looks.
    pub fn probe(root: &store::Root) -> Host {
        let uname = rustix::system::uname();
        let release = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let field = |name: &str| -> String {
            let line = release.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_string()
        };
        let info = rustix::system::sysinfo();
        Host {
            platform: Platform::host(),
            kernel: uname.release().to_string_lossy().into_owned(),
            name: uname.nodename().to_string_lossy().into_owned(),
            os: Some(field("PRETTY_NAME")).filter(|n| !n.is_empty()).unwrap_or_else(|| "Linux".into()),
            os_version: field("VERSION_ID"),
            cpus: cpus(),
            memory: info.totalram as u64 * u64::from(info.mem_unit),
            cgroup: if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 },
            filesystem: store::file_system(root.path()),
            id: identity(root),
            machine: uname.machine().to_string_lossy().into_owned(),
        }
    }
}

fn cpus() -> u32 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    count_list(online.trim()).max(1)
}

/// Counts a list such as `0-3,5`.
fn count_list(list: &str) -> u32 {
    let part = |p: &str| -> Option<u32> {
        match p.split_once('-') {
            Some((a, b)) => b.parse::<u32>().ok()?.checked_sub(a.parse().ok()?)?.checked_add(1),
            None => p.parse::<u32>().ok().map(|_| 1),
        }
    };
    list.split(',').filter_map(part).sum()
}

/// A random identity, made once.
fn identity(root: &store::Root) -> String {
    let path = root.path().join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return id.trim().to_string();
    }
    let id = crate::base::id::random();
    let id = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32]);
    let _ = std::fs::write(&path, &id);
    id
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_of_processors() {
        assert_eq!(super::count_list("0-3,5,7-8"), 7);
        assert_eq!(super::count_list("0"), 1);
        assert_eq!(super::count_list("x"), 0);
    }
}

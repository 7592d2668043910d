//! What has been written: by this process, and to the block device below a folder. Both are the kernel's own counts.

use crate::wire::worker::Written;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

/// diskstats counts in these, whatever the device has.
const SECTOR: u64 = 512;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name: `mmcblk0p2`.
    pub name: String,
}

impl Device {
    /// The one below a folder; none for file systems in memory or over the network.
    pub fn below(path: &Path) -> Option<Device> {
        let number = path.metadata().ok()?.st_dev();
        let mut parts = (rustix::fs::major(number), rustix::fs::minor(number));
        if parts.0 == 0 {
            // btrfs and the like give their mounts numbers of their own.
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
            let device = source(&mounts, parts)?.metadata().ok()?.st_rdev();
            parts = (rustix::fs::major(device), rustix::fs::minor(device));
        }
        let name = fields(&stats()?, |f| (f[0], f[1]) == (&*parts.0.to_string(), &*parts.1.to_string()))?.0;
        Some(Device { name })
    }

    /// What the device has been told to write since the boot, by whomever.
    pub fn written(&self) -> Option<Written> {
        Some(fields(&stats()?, |f| f[2] == self.name)?.1)
    }
}

fn stats() -> Option<String> {
    std::fs::read_to_string("/proc/diskstats").ok()
}

/// Name and counts in the line of diskstats that is wanted.
fn fields(stats: &str, wanted: impl Fn(&[&str]) -> bool) -> Option<(String, Written)> {
    let lines = stats.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.filter(|f| f.len() >= 10).find(|f| wanted(f))?;
    let (requests, sectors) = (line[7].parse().ok()?, line[9].parse::<u64>().ok()?);
    Some((line[2].to_string(), Written { bytes: sectors.saturating_mul(SECTOR), requests }))
}

/// The device of a mount by its number, from mountinfo.
fn source(mounts: &str, (major, minor): (u32, u32)) -> Option<&Path> {
    let number = format!("{major}:{minor}");
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&number))?;
    let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
    source.starts_with('/').then(|| Path::new(source))
}

/// Bytes that this process, and children that it has waited for, have made dirty and not taken back.
pub fn written_by_process() -> u64 {
    written_in(&std::fs::read_to_string("/proc/self/io").unwrap_or_default())
}

fn written_in(io: &str) -> u64 {
    let field = |name: &str| -> u64 {
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    field("write_bytes").saturating_sub(field("cancelled_write_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts() {
        assert_eq!(written_in("rchar: 1\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n"), 4096);
        assert_eq!(written_in(""), 0);
        let stats = " 179 2 mmcblk0p2 10 2 300 4 50 6 700 8 0 0 0\n";
        let found = fields(stats, |f| (f[0], f[1]) == ("179", "2")).unwrap();
        assert_eq!(found, ("mmcblk0p2".into(), Written { bytes: 700 * 512, requests: 50 }));
        assert!(fields("179 2 short", |_| true).is_none());
        let mounts = "36 25 0:33 / /data rw shared:1 - btrfs /dev/sda2 rw,subvol=/\n37 25 0:4 / /proc rw - proc proc rw\n";
        assert_eq!(source(mounts, (0, 33)), Some(Path::new("/dev/sda2")));
        assert_eq!(source(mounts, (0, 4)), None);
    }
}

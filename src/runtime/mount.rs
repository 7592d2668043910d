//! Making single mounts: with the mount API of Linux 5.12 (nothing is named by a path that could be swapped), else with
//! `mount(2)` on `/proc/self/fd/N`.

use super::path;
use crate::base::{Context, Error, Result};
use crate::sys::calls::{MOUNT_API, is_there};
use crate::sys::mountattr;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// `MOUNT_ATTR_RDONLY`.
pub const RDONLY: u64 = 1;
/// `MOUNT_ATTR_NOSUID`.
pub const NOSUID: u64 = 2;
/// `MOUNT_ATTR_NODEV`.
pub const NODEV: u64 = 4;
/// `MOUNT_ATTR_NOEXEC`.
pub const NOEXEC: u64 = 8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
// MS_…; libc's constants differ in type between machines
const UNBINDABLE: u64 = 1 << 17;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// The words of fstab that are understood here; all others are the file system's own.
pub const WORDS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "lazytime",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Options of one mount, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// Attributes to set on all mounts below, too.
    pub set_all: u64,
    /// Attributes to clear on all mounts below, too.
    pub clear_all: u64,
    /// `MS_PRIVATE` and the like; 0 is unset.
    pub propagation: u64,
    /// The propagation is for all mounts below, too.
    pub propagation_all: bool,
    /// Bind mount.
    pub bind: bool,
    /// With all mounts below the source.
    pub recursive: bool,
    /// Flags of the file system itself: `sync`, `dirsync`, …
    pub flags: Vec<&'static str>,
    /// The file system's own options.
    pub data: Vec<String>,
    /// Copy what the root has at the destination into the new tmpfs.
    pub copy_up: bool,
}

/// One word of fstab: attributes set, attributes cleared.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "noatime" => (NOATIME, ATIME),
        "atime" | "relatime" | "norelatime" | "nostrictatime" => (0, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        _ => return None,
    })
}

impl Options {
    /// Takes fstab's words apart. Unknown words are the file system's own.
    pub fn parse(words: &[String]) -> Options {
        let mut o = Options::default();
        for word in words {
            if let Some((set, clear)) = attribute(word) {
                o.set = o.set & !clear | set;
                o.clear = o.clear & !set | clear;
                continue;
            }
            if let Some((set, clear)) = word.strip_prefix('r').and_then(attribute) {
                o.set_all = o.set_all & !clear | set;
                o.clear_all = o.clear_all & !set | clear;
                continue;
            }
            let (propagation, all) = match word.as_str() {
                "private" => (PRIVATE, false),
                "slave" => (SLAVE, false),
                "shared" => (SHARED, false),
                "unbindable" => (UNBINDABLE, false),
                "rprivate" => (PRIVATE, true),
                "rslave" => (SLAVE, true),
                "rshared" => (SHARED, true),
                "runbindable" => (UNBINDABLE, true),
                _ => (0, false),
            };
            if propagation != 0 {
                (o.propagation, o.propagation_all) = (propagation, all);
                continue;
            }
            match word.as_str() {
                "defaults" | "async" | "remount" | "" => {}
                "bind" => o.bind = true,
                "rbind" => (o.bind, o.recursive) = (true, true),
                "sync" => o.flags.push("sync"),
                "dirsync" => o.flags.push("dirsync"),
                "mand" => o.flags.push("mand"),
                "lazytime" => o.flags.push("lazytime"),
                "tmpcopyup" => o.copy_up = true,
                other => o.data.push(other.to_owned()),
            }
        }
        o
    }
}

/// The kernel has the whole of the new mount API.
pub fn modern() -> bool {
    static STATE: AtomicU8 = AtomicU8::new(0);
    match STATE.load(Ordering::Relaxed) {
        1 => true,
        2 => false,
        _ => {
            // without a valid descriptor this can only fail; how it fails tells. A filter may let through some of them only.
            let yes = MOUNT_API.into_iter().all(is_there)
                && matches!(mountattr::set(rustix::fs::CWD, u64::MAX, 0, 0, false), Err(Errno::INVAL));
            STATE.store(if yes { 1 } else { 2 }, Ordering::Relaxed);
            yes
        }
    }
}

/// Says which option a kernel lacks that does not know a kind of file system.
pub fn unknown_kind(kind: &str, e: Errno) -> Error {
    let option = match kind {
        "overlay" => "CONFIG_OVERLAY_FS",
        "tmpfs" => "CONFIG_TMPFS",
        "devpts" => "CONFIG_UNIX98_PTYS",
        "mqueue" => "CONFIG_POSIX_MQUEUE",
        "sysfs" => "CONFIG_SYSFS",
        "cgroup" | "cgroup2" => "CONFIG_CGROUPS",
        _ => return e.into(),
    };
    if e == Errno::NODEV { Error::from(e).context(format!("the kernel has no such file system ({option})")) } else { e.into() }
}

/// `/proc/self/fd/N`, to name an open file where only a path is taken.
pub fn fd_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// A new file system that is mounted nowhere yet. Only where [`modern`].
pub fn detached(kind: &str, source: &str, o: &Options) -> Result<OwnedFd> {
    let name = || format!("mount {kind}");
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| unknown_kind(kind, e)).context(name)?;
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(&fs, "source", source).context(name)?;
    }
    for flag in &o.flags {
        rustix::mount::fsconfig_set_flag(&fs, *flag).context(name)?;
    }
    for word in &o.data {
        let set = match word.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&fs, key, value),
            None => rustix::mount::fsconfig_set_flag(&fs, word.as_str()),
        };
        set.context(|| format!("mount {kind}: option {word}"))?;
    }
    rustix::mount::fsconfig_create(&fs).context(name)?;
    rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain((o.set | o.set_all) as u32))
        .context(name)
}

/// A copy of the mount at `path` (empty: that `dir` is), mounted nowhere yet. Only where [`modern`].
pub fn copy(dir: BorrowedFd<'_>, path: &str, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags)
}

/// Mounts a detached tree on the file that `at` is.
pub fn attach(tree: BorrowedFd<'_>, at: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", at, "", flags)
}

/// Mounts a new file system on `at`, which is `dest` in `root`; returns the root of the new mount.
pub fn file_system(
    root: BorrowedFd<'_>,
    dest: &str,
    at: BorrowedFd<'_>,
    kind: &str,
    source: &str,
    o: &Options,
) -> Result<OwnedFd> {
    if modern() {
        let tree = detached(kind, source, o)?;
        attach(tree.as_fd(), at).context(|| format!("mount {kind} at {dest}"))?;
        if o.propagation != 0 {
            mountattr::set(tree.as_fd(), 0, 0, o.propagation, o.propagation_all).context(|| format!("propagation of {dest}"))?;
        }
        return Ok(tree);
    }
    let data =
        std::ffi::CString::new(o.data.join(",")).map_err(|_| Error::invalid(format!("options of {dest} hold a zero byte")))?;
    let flags = old_flags(o.set | o.set_all, &o.flags);
    let source = if source.is_empty() { kind } else { source };
    rustix::mount::mount(source, fd_path(at), kind, flags, data.as_c_str())
        .map_err(|e| unknown_kind(kind, e))
        .context(|| format!("mount {kind} at {dest}"))?;
    // the descriptor is of what lies beneath: look the path up again
    let on_top = path::open(root, dest, OFlags::PATH).context(|| format!("open {dest}"))?;
    old_propagation(on_top.as_fd(), o, dest)?;
    Ok(on_top)
}

/// Binds `source` (a path on the host, or with an empty path the file `source_fd`) on `at`, which is `dest` in `root`.
pub fn bind(root: BorrowedFd<'_>, dest: &str, at: BorrowedFd<'_>, source: BorrowedFd<'_>, o: &Options) -> Result<()> {
    if modern() {
        let tree = copy(source, "", o.recursive).context(|| format!("bind {dest}"))?;
        return bind_tree(tree.as_fd(), at, o, dest);
    }
    let flags = MountFlags::BIND | if o.recursive { MountFlags::REC } else { MountFlags::empty() };
    rustix::mount::mount(fd_path(source), fd_path(at), c"", flags, None).context(|| format!("bind {dest}"))?;
    let on_top = path::open(root, dest, OFlags::PATH).context(|| format!("open {dest}"))?;
    if o.set | o.clear != 0 {
        remount(on_top.as_fd(), o.set, o.clear).context(|| format!("set the attributes of {dest}"))?;
    }
    if o.set_all | o.clear_all != 0 {
        crate::runtime::note::add(format!("mount {dest}: recursive attributes need Linux 5.12; only the mount itself gets them"));
        remount(on_top.as_fd(), o.set_all, o.clear_all).context(|| format!("set the attributes of {dest}"))?;
    }
    old_propagation(on_top.as_fd(), o, dest)
}

/// The times of access are one field of the attributes: it is cleared as a whole when any of it is set.
fn cleared(set: u64, clear: u64) -> u64 {
    if (set | clear) & ATIME != 0 { clear | ATIME } else { clear }
}

/// Gives a detached tree its attributes and mounts it on `at`.
pub fn bind_tree(tree: BorrowedFd<'_>, at: BorrowedFd<'_>, o: &Options, dest: &str) -> Result<()> {
    let what = || format!("set the attributes of {dest}");
    if o.set_all | o.clear_all != 0 {
        mountattr::set(tree, o.set_all, cleared(o.set_all, o.clear_all), 0, true).context(what)?;
    }
    if o.set | o.clear | o.propagation != 0 {
        mountattr::set(tree, o.set, cleared(o.set, o.clear), if o.propagation_all { 0 } else { o.propagation }, false)
            .context(what)?;
    }
    if o.propagation != 0 && o.propagation_all {
        mountattr::set(tree, 0, 0, o.propagation, true).context(what)?;
    }
    attach(tree, at).context(|| format!("bind {dest}"))
}

/// Sets attributes on a mount that is in place, keeping what is locked by a user namespace.
pub fn remount(mount: BorrowedFd<'_>, set: u64, clear: u64) -> rustix::io::Result<()> {
    if modern() {
        return mountattr::set(mount, set, cleared(set, clear), 0, false);
    }
    let have = rustix::fs::fstatvfs(mount)?.f_flag.bits() & 0x140f; // ST_RDONLY|NOSUID|NODEV|NOEXEC|NOATIME|RELATIME
    let keep = have & 0xf & !clear;
    let mut flags = old_flags(set | keep, &[]);
    if (set | clear) & ATIME == 0 && have & 0x400 != 0 {
        flags |= MountFlags::NOATIME;
    }
    rustix::mount::mount_remount(fd_path(mount), flags | MountFlags::BIND, c"")
}

fn old_propagation(mount: BorrowedFd<'_>, o: &Options, dest: &str) -> Result<()> {
    if o.propagation == 0 {
        return Ok(());
    }
    let rec = if o.propagation_all { libc::MS_REC as u32 } else { 0 };
    let flags = rustix::mount::MountPropagationFlags::from_bits_retain(o.propagation as u32 | rec);
    rustix::mount::mount_change(fd_path(mount), flags).context(|| format!("propagation of {dest}"))
}

fn old_flags(set: u64, words: &[&str]) -> MountFlags {
    let mut flags = MountFlags::empty();
    for (bit, flag) in [
        (RDONLY, MountFlags::RDONLY),
        (NOSUID, MountFlags::NOSUID),
        (NODEV, MountFlags::NODEV),
        (NOEXEC, MountFlags::NOEXEC),
        (NOATIME, MountFlags::NOATIME),
        (STRICTATIME, MountFlags::STRICTATIME),
        (NODIRATIME, MountFlags::NODIRATIME),
        (NOSYMFOLLOW, MountFlags::from_bits_retain(256)),
    ] {
        if set & bit != 0 {
            flags |= flag;
        }
    }
    for word in words {
        flags |= match *word {
            "sync" => MountFlags::SYNCHRONOUS,
            "dirsync" => MountFlags::DIRSYNC,
            "mand" => MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
            _ => MountFlags::LAZYTIME,
        };
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fstab_words() {
        let words: Vec<String> =
            "rbind,rro,nosuid,rprivate,size=64k,noatime,suid,sync,mode=755".split(',').map(str::to_owned).collect();
        let o = Options::parse(&words);
        assert!(o.bind && o.recursive && o.propagation_all);
        assert_eq!((o.set, o.set_all, o.propagation), (NOATIME, RDONLY, PRIVATE));
        assert_eq!(o.clear, NOSUID | ATIME);
        assert_eq!((o.flags.as_slice(), o.data.join(",")), (["sync"].as_slice(), "size=64k,mode=755".to_owned()));
        assert_eq!(Options::parse(&["ro".into(), "rw".into()]).set, 0);
    }
}

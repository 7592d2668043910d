//! Building the container's root: the root mount, everything that is mounted in it, and making it `/`.

use super::mount::{self, Options, RDONLY};
use super::path::{self, Make, PROC_MAGIC};
use super::spec::{Mount, Spec};
use super::{cgroup, copy, dev, mask, overlay};
use crate::base::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files of procfs over which a file system such as lxcfs may be mounted.
const OVER_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What the parent has prepared, since only it may: in a user namespace of its own a container can neither open nor mount
/// what belongs to the host.
#[derive(Default)]
pub struct Prepared {
    /// The root as a detached mount.
    pub root: Option<OwnedFd>,
    /// Sources of bind mounts as detached mounts, by index into the mounts.
    pub sources: Vec<(usize, OwnedFd)>,
}

fn absolute(bundle: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{bundle}/{path}") }
}

/// Opens in the parent what the child could not: see [`Prepared`].
pub fn prepare(spec: &Spec, bundle: &str) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    if let Some(o) = &spec.ext.overlay {
        prepared.root = overlay::detached(o)?;
    }
    if spec.namespace("user").is_some() && mount::modern() {
        if spec.ext.overlay.is_none() {
            let path = absolute(bundle, &spec.root.path);
            prepared.root = Some(mount::copy(rustix::fs::CWD, &path, true).context(|| format!("open the root {path}"))?);
        }
        for (i, m) in spec.mounts.iter().enumerate() {
            let o = Options::parse(&m.options);
            if o.bind || m.kind == "bind" {
                let path = absolute(bundle, &m.source);
                prepared.sources.push((i, mount::copy(rustix::fs::CWD, &path, o.recursive).context(|| format!("bind {path}"))?));
            }
        }
    }
    Ok(prepared)
}

fn propagation(name: &str) -> Result<MountPropagationFlags> {
    let (all, bare) = match name.strip_prefix('r') {
        Some(bare) => (MountPropagationFlags::REC, bare),
        None => (MountPropagationFlags::empty(), name),
    };
    Ok(all
        | match bare {
            "private" => MountPropagationFlags::PRIVATE,
            "slave" => MountPropagationFlags::DOWNSTREAM,
            "shared" => MountPropagationFlags::SHARED,
            "unbindable" => MountPropagationFlags::UNBINDABLE,
            _ => return Err(Error::invalid(format!("rootfsPropagation {name:?} is not known"))),
        })
}

/// Mounts the root and all that belongs in it; the process is in a new mount namespace. Returns the root.
pub fn build(spec: &Spec, bundle: &str, prepared: Prepared, group: &cgroup::Cgroup) -> Result<OwnedFd> {
    let asked = if spec.linux.rootfs_propagation.is_empty() { "rslave" } else { &spec.linux.rootfs_propagation };
    let shared = asked.ends_with("shared");
    // nothing that happens here may reach the host, except where shared mounts were asked for
    let first = if shared {
        MountPropagationFlags::SHARED | MountPropagationFlags::REC
    } else {
        propagation(asked)? | MountPropagationFlags::REC
    };
    rustix::mount::mount_change("/", first).context(|| "set the propagation of the host's mounts")?;
    let root = root_mount(spec, bundle, prepared.root, shared)?;
    for (i, m) in spec.mounts.iter().enumerate() {
        let source = prepared.sources.iter().find(|(at, _)| *at == i).map(|(_, fd)| fd);
        one(root.as_fd(), spec, bundle, m, source, group)?;
    }
    if needs_dev(spec) {
        dev::fill(root.as_fd(), &spec.linux.devices)?;
    }
    Ok(root)
}

/// The container has a `/dev` of its own, which is ours to fill.
pub fn needs_dev(spec: &Spec) -> bool {
    !spec.mounts.iter().any(|m| {
        m.destination.trim_end_matches('/') == "/dev"
            && (m.kind == "bind" || m.options.iter().any(|o| o == "bind" || o == "rbind"))
    })
}

fn root_mount(spec: &Spec, bundle: &str, detached: Option<OwnedFd>, shared: bool) -> Result<OwnedFd> {
    let target = match &spec.ext.overlay {
        Some(o) if o.upper.is_empty() => o.lowers.first().cloned().unwrap_or_default(),
        Some(o) => o.upper.clone(),
        None => absolute(bundle, &spec.root.path),
    };
    let what = || format!("mount the root {target}");
    if shared {
        // pivot_root refuses a root whose parent mount is shared
        isolate(&target)?;
    }
    let open = || rustix::fs::open(target.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let at = open().context(what)?;
    let tree = match detached {
        Some(tree) => Some(tree),
        None if spec.ext.overlay.is_none() && mount::modern() => Some(mount::copy(at.as_fd(), "", true).context(what)?),
        None => None,
    };
    if let Some(tree) = tree {
        mount::attach(tree.as_fd(), at.as_fd()).context(what)?;
        return Ok(tree);
    }
    match &spec.ext.overlay {
        Some(o) => overlay::at(o, &target)?,
        None => rustix::mount::mount_bind_recursive(target.as_str(), target.as_str()).context(what)?,
    }
    open().context(what)
}

/// Makes the mount that holds `path` private.
fn isolate(path: &str) -> Result<()> {
    let what = || format!("make the mount of {path} private");
    let real = std::fs::canonicalize(path).context(what)?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").context(what)?;
    let holder =
        table.lines().filter_map(|l| l.split(' ').nth(4)).filter(|m| real.starts_with(m)).max_by_key(|m| m.len()).unwrap_or("/");
    rustix::mount::mount_change(holder, MountPropagationFlags::PRIVATE).context(what)
}

/// Makes one mount of the specification.
fn one(
    root: BorrowedFd<'_>,
    spec: &Spec,
    bundle: &str,
    m: &Mount,
    source: Option<&OwnedFd>,
    group: &cgroup::Cgroup,
) -> Result<()> {
    let dest = m.destination.as_str();
    let o = Options::parse(&m.options);
    if o.bind || m.kind == "bind" {
        return bind(root, bundle, m, source, &o);
    }
    match m.kind.as_str() {
        "cgroup" | "cgroup2" => cgroup::mount(root, dest, &o, group, spec.makes("cgroup")),
        "proc" | "sysfs" => {
            let at = path::plain_mountpoint(root, dest)?;
            mount::file_system(root, dest, at.as_fd(), &m.kind, &m.source, &o).map(drop)
        }
        kind => {
            if dest.trim_end_matches('/') == "/proc" || dest.starts_with("/proc/") {
                return Err(Error::invalid(format!("{dest:?} cannot be mounted because it is inside /proc")));
            }
            let at = path::mountpoint(root, dest, Make::Directory)?;
            let mut o = o;
            if kind == "tmpfs" && !o.data.iter().any(|d| d.starts_with("mode=")) {
                // as runc: a tmpfs takes the mode of the directory that it covers
                let mode =
                    rustix::fs::statat(&at, "", AtFlags::EMPTY_PATH).context(|| format!("look at {dest}"))?.st_mode & 0o7777;
                o.data.push(format!("mode={mode:o}"));
            }
            let top = match mount::file_system(root, dest, at.as_fd(), kind, &m.source, &o) {
                // few programs use it, and many small kernels do not have it
                Err(e) if kind == "mqueue" && e.errno() == Some(Errno::NODEV) => {
                    super::note::minor(format!("{e}: the container has none"));
                    return Ok(());
                }
                top => top?,
            };
            if o.copy_up {
                copy::tree(at.as_fd(), top.as_fd()).context(|| format!("copy {dest} into its tmpfs"))?;
            }
            Ok(())
        }
    }
}

fn bind(root: BorrowedFd<'_>, bundle: &str, m: &Mount, prepared: Option<&OwnedFd>, o: &Options) -> Result<()> {
    let dest = m.destination.as_str();
    let opened;
    let source = match prepared {
        Some(tree) => tree,
        None => {
            let path = absolute(bundle, &m.source);
            opened = rustix::fs::open(path.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("bind {path}"))?;
            &opened
        }
    };
    let stat = rustix::fs::statat(source, "", AtFlags::EMPTY_PATH).context(|| format!("bind {}", m.source))?;
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let at = path::mountpoint(root, dest, if folder { Make::Directory } else { Make::File })?;
    let on_proc = path::kind_of(at.as_fd()).context(|| format!("look at {dest}"))? == PROC_MAGIC;
    let from_proc = || path::kind_of(source.as_fd()).is_ok_and(|kind| kind == PROC_MAGIC);
    if dest.trim_end_matches('/') == "/proc" {
        if !from_proc() {
            return Err(Error::invalid(format!("{dest:?} cannot be mounted because it is not of type proc")));
        }
    } else if (on_proc && !OVER_PROC.contains(&dest)) || (dest.starts_with("/proc/") && !OVER_PROC.contains(&dest)) {
        return Err(Error::invalid(format!("{dest:?} cannot be mounted because it is inside /proc")));
    }
    if m.copy_up && folder {
        copy::up(at.as_fd(), source.as_fd()).context(|| format!("copy {dest} of the image into {}", m.source))?;
    }
    match prepared {
        Some(tree) => mount::bind_tree(tree.as_fd(), at.as_fd(), o, dest),
        None => mount::bind(root, dest, at.as_fd(), source.as_fd(), o),
    }
}

/// Masks, read-only paths; to be done when all else is in place.
pub fn protect(root: BorrowedFd<'_>, spec: &Spec) -> Result<()> {
    mask::readonly(root, &spec.linux.readonly_paths)?;
    mask::mask(root, &spec.linux.masked_paths)
}

/// Makes `root` the process's `/` and takes the host's mounts out of its sight.
pub fn enter(root: BorrowedFd<'_>, spec: &Spec, no_pivot: bool) -> Result<()> {
    let what = || "make the container's root the root";
    rustix::process::fchdir(root).context(what)?;
    let pivoted = if no_pivot { Err(Errno::INVAL) } else { rustix::process::pivot_root(".", ".") };
    match pivoted {
        Ok(()) => {
            // the old root now lies on top of the new one: "." is seen through to it
            if spec.linux.rootfs_propagation.ends_with("shared") {
                rustix::mount::mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).context(what)?;
            }
            rustix::mount::unmount(".", UnmountFlags::DETACH).context(what)?;
        }
        // the host runs from its initial RAM file system, from which one cannot pivot
        Err(Errno::INVAL) => {
            hide_kernel_mounts(root)?;
            rustix::mount::mount_move(".", "/").context(what)?;
            rustix::process::chroot(".").context(what)?;
        }
        Err(e) => return Err(e).context(|| "pivot_root"),
    }
    rustix::process::chdir("/").context(what)?;
    if spec.root.readonly {
        mount::remount(root, RDONLY, 0).context(|| "make the root read-only")?;
    }
    if !spec.linux.rootfs_propagation.is_empty() {
        rustix::mount::mount_change("/", propagation(&spec.linux.rootfs_propagation)?)
            .context(|| "set the propagation of the root")?;
    }
    Ok(())
}

/// Without pivot_root the host's tree stays beneath: at least its full /proc and /sys are taken away. The container's own
/// are below its root.
fn hide_kernel_mounts(root: BorrowedFd<'_>) -> Result<()> {
    let what = || "hide the host's /proc and /sys";
    let own = std::fs::read_link(mount::fd_path(root)).context(what)?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").context(what)?;
    for line in table.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let kernel = tail.starts_with("proc ") || tail.starts_with("sysfs ");
        if let Some(at) = head.split(' ').nth(4).filter(|at| kernel && !std::path::Path::new(at).starts_with(&own)) {
            match rustix::mount::unmount(at, UnmountFlags::DETACH) {
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {} // went with the one above it
                Err(e) => return Err(e).context(|| format!("unmount the host's {at}")),
            }
        }
    }
    Ok(())
}

//! The container's root as an overlay of an image's layers, mounted in the container's own mount namespace only.

use super::mount::{self, fd_path};
use super::spec::Overlay;
use crate::base::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};
use std::os::fd::{AsFd, OwnedFd};

/// The longest value that `fsconfig` takes, and the longest option text that `mount(2)` takes.
const LONGEST_VALUE: usize = 255;
const LONGEST_TEXT: usize = 4095;

/// Whatever the kernel's defaults are: the upper directory can be used with copies of its lower ones (no index of file
/// handles), and holds whole files under their own names (no redirects, and so no metadata-only copies), so that it can be
/// read by itself.
const STABLE: [(&str, &str); 2] = [("index", "off"), ("redirect_dir", "off")];

/// The overlay as a detached mount, or `None` where the kernel needs [`at`] for it.
pub fn detached(o: &Overlay) -> Result<Option<OwnedFd>> {
    check(o)?;
    if !mount::modern() {
        return Ok(None);
    }
    let what = || "mount the overlay";
    let open = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    let fs = open.map_err(|e| mount::unknown_kind("overlay", e)).context(what)?;
    let set = |key: &str, value: &str| rustix::mount::fsconfig_set_string(&fs, key, value);
    set("source", "overlay").context(what)?; // what mount and df show
    let joined = o.lowers.join(":");
    let simple = joined.len() <= LONGEST_VALUE && !o.lowers.iter().any(|l| l.contains([':', '\\']));
    if simple {
        set("lowerdir", &joined).context(|| describe(o))?;
    } else {
        for (i, lower) in o.lowers.iter().enumerate() {
            match set("lowerdir+", lower) {
                // before Linux 6.7 there is no such option
                Err(Errno::INVAL) if i == 0 => return Ok(None),
                other => other.context(|| format!("mount the overlay: layer {lower}"))?,
            }
        }
    }
    if !o.upper.is_empty() {
        if o.upper.len() > LONGEST_VALUE || o.work.len() > LONGEST_VALUE {
            return Ok(None);
        }
        set("upperdir", &o.upper).context(|| describe(o))?;
        set("workdir", &o.work).context(|| describe(o))?;
        for (key, value) in STABLE {
            set(key, value).context(|| describe(o))?;
        }
    }
    rustix::mount::fsconfig_create(&fs).context(|| describe(o))?;
    let tree = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).context(what)?;
    Ok(Some(tree))
}

/// Mounts the overlay with `mount(2)` at `target`, in the mount namespace that the process is in.
pub fn at(o: &Overlay, target: &str) -> Result<()> {
    let open = |path: &str| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open layer {path}"))
    };
    let fds: Vec<OwnedFd> = o.lowers.iter().map(|l| open(l)).collect::<Result<_>>()?;
    let names: Vec<String> = fds.iter().map(|fd| fd_path(fd.as_fd())).collect();
    let mut text = format!("lowerdir={}", names.join(":"));
    let writable = if o.upper.is_empty() { None } else { Some((open(&o.upper)?, open(&o.work)?)) };
    if let Some((upper, work)) = &writable {
        text.push_str(&format!(",upperdir={},workdir={}", fd_path(upper.as_fd()), fd_path(work.as_fd())));
        STABLE.iter().for_each(|(key, value)| text.push_str(&format!(",{key}={value}")));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Error::invalid(format!("the image has too many layers for this kernel: {}", o.lowers.len())));
    }
    let data = std::ffi::CString::new(text).map_err(|_| Error::invalid("a layer's path holds a zero byte"))?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), data.as_c_str())
        .map_err(|e| mount::unknown_kind("overlay", e))
        .context(|| describe(o))
}

fn check(o: &Overlay) -> Result<()> {
    if o.lowers.is_empty() || o.upper.is_empty() != o.work.is_empty() || (o.upper.is_empty() && o.lowers.len() < 2) {
        return Err(Error::invalid("an overlay needs a lower directory, and an upper with a work directory or two lower ones"));
    }
    Ok(())
}

fn describe(o: &Overlay) -> String {
    match o.lowers.as_slice() {
        [one] => format!("mount the overlay of {one} and {}", o.upper),
        [top, ..] => format!("mount the overlay of {} layers, the topmost {top}, and {}", o.lowers.len(), o.upper),
        [] => "mount the overlay".to_owned(),
    }
}

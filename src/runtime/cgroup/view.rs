//! What a container sees at `/sys/fs/cgroup`: its own groups.

use super::{Cgroup, ROOT};
use crate::base::{Context, Result};
use crate::runtime::mount::{self, Options};
use crate::runtime::path::{self, Make};
use crate::sys::mountattr;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Mounts the container's view at `dest`; `own` says that it has a control group namespace.
pub fn mount(root: BorrowedFd<'_>, dest: &str, o: &Options, group: &Cgroup, own: bool) -> Result<()> {
    if !group.v2 {
        return version1(root, dest, o, group);
    }
    let at = path::mountpoint(root, dest, Make::Directory)?;
    if own {
        // from inside the namespace the root of the file system is the container's group
        return mount::file_system(root, dest, at.as_fd(), "cgroup2", "cgroup", &Options { data: Vec::new(), ..o.clone() })
            .map(drop);
    }
    let host = rustix::fs::open(ROOT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {ROOT}"))?;
    mount::bind(root, dest, at.as_fd(), host.as_fd(), &Options { recursive: true, data: Vec::new(), ..o.clone() })
}

/// A tmpfs with the container's directory of each hierarchy bound in it.
fn version1(root: BorrowedFd<'_>, dest: &str, o: &Options, group: &Cgroup) -> Result<()> {
    let what = || format!("mount control groups at {dest}");
    let at = path::mountpoint(root, dest, Make::Directory)?;
    let data = vec!["mode=755".to_owned(), "size=16k".to_owned()];
    let writable = Options { set: o.set & !mount::RDONLY, data, ..Options::default() };
    let top = mount::file_system(root, dest, at.as_fd(), "tmpfs", "cgroup", &writable)?;
    for h in &group.hierarchies {
        let from = format!("{ROOT}/{}{}", h.dir, group.path);
        let source = match rustix::fs::open(from.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => continue, // not mounted on this host
            other => other.context(what)?,
        };
        rustix::fs::mkdirat(&top, h.dir.as_str(), Mode::from_raw_mode(0o755)).context(what)?;
        let inner = path::open(top.as_fd(), &h.dir, OFlags::PATH).context(what)?;
        if mount::modern() {
            let tree = mount::copy(source.as_fd(), "", false).context(what)?;
            mount::attach(tree.as_fd(), inner.as_fd()).context(what)?;
        } else {
            mount::bind(top.as_fd(), &h.dir, inner.as_fd(), source.as_fd(), &Options { set: o.set, ..Options::default() })?;
        }
        if h.dir.contains(',') {
            for name in h.dir.split(',') {
                rustix::fs::symlinkat(h.dir.as_str(), &top, name).context(what)?;
            }
        }
    }
    if mount::modern() {
        return mountattr::set(top.as_fd(), o.set | o.set_all, 0, 0, true).context(what);
    }
    mount::remount(top.as_fd(), o.set | o.set_all, 0).context(what)
}

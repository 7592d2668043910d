//! Looking paths up inside a container's root, so that no symbolic link in an image or a volume leads out of it.
//!
//! The kernel does it (`openat2` with `RESOLVE_IN_ROOT`, 5.6); before that, and where something must be made on the way, a
//! walker goes from directory to directory by descriptors and follows links itself.

use crate::base::{Context, Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// What to make at the end of a path where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Nothing: it must be there.
    Nothing,
    /// A directory, and those above it.
    Directory,
    /// An empty file, and the directories above it.
    File,
}

/// `statfs` type of procfs.
pub const PROC_MAGIC: i64 = 0x9fa0;

/// The type of the file system that `fd` lies on.
#[allow(clippy::unnecessary_cast)] // it has other types on other machines
pub fn kind_of(fd: BorrowedFd<'_>) -> rustix::io::Result<i64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64)
}

/// The kernel has no `openat2`.
static OLD: AtomicBool = AtomicBool::new(false);

/// Opens `path` (absolute or not, always taken from `root`) with `flags`; symbolic links are followed within `root`.
pub fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if !OLD.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { "." } else { path };
        for _ in 0..32 {
            match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {} // something was renamed meanwhile; the kernel asks to try again
                Err(Errno::NOSYS | Errno::PERM) => {
                    OLD.store(true, Ordering::Relaxed);
                    break;
                }
                other => return other,
            }
        }
    }
    walk(root, path, flags, Make::Nothing)
}

/// Opens `path` in `root` as a path descriptor, for mounting on it; makes what is missing. `/proc` and `/sys` may not be
/// reached through a symbolic link: what an image could otherwise redirect are the masks and the read-only paths.
pub fn plain_mountpoint(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    let mut here = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for name in path.split('/').filter(|c| !c.is_empty() && *c != ".") {
        let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refused = || format!("{path} in the container must be an ordinary directory");
        if name == ".." {
            return Err(Error::invalid(refused()));
        }
        here = match rustix::fs::openat(&here, name, step, Mode::empty()) {
            Err(Errno::NOENT) => {
                make_one(here.as_fd(), name.as_bytes(), Make::Directory).context(refused)?;
                rustix::fs::openat(&here, name, step, Mode::empty()).context(refused)?
            }
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(Error::invalid(refused())),
            other => other.context(refused)?,
        };
    }
    Ok(here)
}

/// Opens `path` in `root` as a path descriptor, for mounting on it; makes what is missing.
pub fn mountpoint(root: BorrowedFd<'_>, path: &str, make: Make) -> Result<OwnedFd> {
    match open(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => beside(root, path, make)
            .or_else(|_| walk(root, path, OFlags::PATH, make))
            .context(|| format!("make mount point {path} in the container")),
        other => other.context(|| format!("open mount point {path} in the container")),
    }
}

/// Makes and opens a path of which only the last component is missing: the usual case, in few calls.
fn beside(root: BorrowedFd<'_>, path: &str, make: Make) -> rustix::io::Result<OwnedFd> {
    let (above, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or((".", path));
    if make == Make::Nothing || matches!(name, "" | "." | "..") {
        return Err(Errno::INVAL);
    }
    let dir = open(root, if above.is_empty() { "/" } else { above }, OFlags::PATH | OFlags::DIRECTORY)?;
    create(dir.as_fd(), name.as_bytes(), make)?; // a link that leads nowhere "exists": that is for the walker
    rustix::fs::openat(&dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `path` like [`open`], component by component.
pub fn walk(root: BorrowedFd<'_>, path: &str, flags: OFlags, make: Make) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut todo: Vec<Vec<u8>> = path.split('/').rev().filter(|c| !c.is_empty()).map(|c| c.as_bytes().to_vec()).collect();
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                above.pop();
                continue;
            }
            _ => {}
        }
        let here = above.last().map_or(root, |fd| fd.as_fd());
        let found = match rustix::fs::openat(here, name.as_slice(), step, Mode::empty()) {
            Err(Errno::NOENT) if make != Make::Nothing => {
                make_one(here, &name, if todo.is_empty() { make } else { Make::Directory })?;
                rustix::fs::openat(here, name.as_slice(), step, Mode::empty())?
            }
            other => other?,
        };
        if is_link(found.as_fd())? {
            links += 1;
            // links of procfs may lead anywhere, whatever their text says: nothing is made beyond them
            let magic = make != Make::Nothing && kind_of(found.as_fd())? == PROC_MAGIC;
            if links > 40 || magic {
                return Err(Errno::LOOP);
            }
            let target = rustix::fs::readlinkat(found.as_fd(), "", Vec::new())?.into_bytes();
            if target.first() == Some(&b'/') {
                above.clear();
            }
            todo.extend(target.split(|b| *b == b'/').rev().filter(|c| !c.is_empty()).map(<[u8]>::to_vec));
            continue;
        }
        if todo.is_empty() && flags != OFlags::PATH {
            return rustix::fs::openat(here, name.as_slice(), flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        }
        above.push(found);
    }
    match above.pop() {
        Some(fd) => Ok(fd),
        None => rustix::fs::openat(root, ".", flags | OFlags::CLOEXEC, Mode::empty()),
    }
}

/// Makes one thing if it is not there.
fn make_one(here: BorrowedFd<'_>, name: &[u8], make: Make) -> rustix::io::Result<()> {
    match create(here, name, make) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn create(here: BorrowedFd<'_>, name: &[u8], make: Make) -> rustix::io::Result<()> {
    if make == Make::File {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        rustix::fs::openat(here, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o755))
    }
}

fn is_link(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let stat = rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink)
}

/// Reads a whole file of at most `limit` bytes in `root`.
pub fn read(root: BorrowedFd<'_>, path: &str, limit: u64) -> rustix::io::Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::from(open(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    let mut text = Vec::with_capacity(4096);
    file.take(limit).read_to_end(&mut text).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (std::path::PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("prtiql-path-{}", crate::base::id::random()));
        std::fs::create_dir_all(dir.join("root/etc")).unwrap();
        std::fs::write(dir.join("root/etc/f"), "in").unwrap();
        std::fs::write(dir.join("f"), "out").unwrap();
        for (link, to) in [("up", "../../../f"), ("abs", "/etc/f"), ("dir", "/etc"), ("dangling", "/made/here"), ("loop", "loop")]
        {
            std::os::unix::fs::symlink(to, dir.join("root").join(link)).unwrap();
        }
        let root = rustix::fs::open(dir.join("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, root)
    }

    #[test]
    fn links_stay_inside_both_ways_of_looking() {
        let (dir, root) = tree();
        let text = |fd: rustix::io::Result<OwnedFd>| {
            let mut s = String::new();
            std::io::Read::read_to_string(&mut std::fs::File::from(fd.unwrap()), &mut s).unwrap();
            s
        };
        for path in ["/abs", "dir/f", "../../etc/f", "etc/../dir/./f"] {
            assert_eq!(text(open(root.as_fd(), path, OFlags::RDONLY)), "in", "{path}");
            assert_eq!(text(walk(root.as_fd(), path, OFlags::RDONLY, Make::Nothing)), "in", "{path}");
        }
        assert_eq!(open(root.as_fd(), "up", OFlags::RDONLY).unwrap_err(), Errno::NOENT);
        assert_eq!(walk(root.as_fd(), "up", OFlags::RDONLY, Make::Nothing).unwrap_err(), Errno::NOENT);
        assert_eq!(walk(root.as_fd(), "loop", OFlags::RDONLY, Make::Nothing).unwrap_err(), Errno::LOOP);
        mountpoint(root.as_fd(), "/dangling/x", Make::Directory).unwrap();
        assert!(dir.join("root/made/here/x").is_dir());
        mountpoint(root.as_fd(), "/a/b/file", Make::File).unwrap();
        assert!(dir.join("root/a/b/file").is_file());
        assert!(mountpoint(root.as_fd(), "/etc/f/x", Make::Directory).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}

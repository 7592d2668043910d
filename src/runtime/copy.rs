//! Copying what an image has at a volume's mount point into the new, empty volume. Everything goes by descriptors and follows
//! no links, since both trees may hold anything.

use crate::base::{Context, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How deep a tree may be.
const DEEPEST: usize = 200;

/// Copies `from` into `to` if `to` is empty, and gives `to` the owner and mode of `from`.
pub fn up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let target = reopen(to)?;
    for entry in Dir::read_from(&target).context(|| "list the volume")? {
        let entry = entry.context(|| "list the volume")?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(());
        }
    }
    tree(from, to)
}

/// Copies the content of directory `from` into directory `to`, and its owner and mode.
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let (from, to) = (reopen(from)?, reopen(to)?);
    directory(&from, &to, 0)
}

fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::fs::openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context(|| "open directory")
}

fn directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in Dir::read_from(from).context(|| "list directory")? {
        let entry = entry.context(|| "list directory")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let what = || format!("copy {}", name.to_string_lossy());
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).context(what)?;
        one(from, to, name, &stat, depth).context(what)?;
    }
    let stat = rustix::fs::fstat(from).context(|| "look at directory")?;
    attributes(from, to, &stat)
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, stat: &Stat, depth: usize) -> Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let bits = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, bits)?;
            let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let target = rustix::fs::openat(to, name, flags | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            directory(&source, &target, depth + 1)
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
            let target = rustix::fs::openat(to, name, flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, bits)?;
            let (mut reader, mut writer) = (std::fs::File::from(source), std::fs::File::from(target));
            std::io::copy(&mut reader, &mut writer)?;
            attributes(&OwnedFd::from(reader), &OwnedFd::from(writer), stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(link.as_c_str(), to, name)?;
            own(to, name, stat)
        }
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
            rustix::fs::mknodat(to, name, kind, bits, stat.st_rdev)?;
            own(to, name, stat)
        }
        _ => Ok(()), // a socket means nothing without its server
    }
}

fn own(dir: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

#[allow(clippy::useless_conversion)] // the fields' types differ between machines
fn attributes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    xattrs(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    Ok(rustix::fs::futimens(to.as_fd(), &times)?)
}

fn xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let n = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(n) => n,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for name in names[..n].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let n = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..n], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {} // the volume's file system may know no attributes
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_volume_is_filled_and_a_used_one_is_left_alone() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dir = std::env::temp_dir().join(format!("prtiql-copy-{}", crate::base::id::random()));
        std::fs::create_dir_all(dir.join("image/sub")).unwrap();
        std::fs::create_dir_all(dir.join("volume")).unwrap();
        std::fs::write(dir.join("image/sub/f"), "text").unwrap();
        std::fs::set_permissions(dir.join("image/sub/f"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        std::fs::set_permissions(dir.join("image"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("image/link")).unwrap();
        let open = |name: &str| rustix::fs::open(dir.join(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        up(open("image").as_fd(), open("volume").as_fd()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("volume/sub/f")).unwrap(), "text");
        assert_eq!(std::fs::metadata(dir.join("volume/sub/f")).unwrap().mode() & 0o7777, 0o4750);
        assert_eq!(std::fs::metadata(dir.join("volume")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::read_link(dir.join("volume/link")).unwrap().to_str(), Some("/etc/passwd"));
        std::fs::write(dir.join("volume/sub/f"), "mine").unwrap();
        up(open("image").as_fd(), open("volume").as_fd()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("volume/sub/f")).unwrap(), "mine");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

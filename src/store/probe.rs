//! What the data root's file system can: containers' upper layers need more than many have. It is tried out when a data root is
//! first used on a file system, and noted there, so that later starts write nothing.

use crate::base::{Context, Error, Result};
use crate::sys::calls::{MOUNT_API, is_there};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The note in the data root.
const NOTE: &str = "filesystem.json";
/// The folder in which things are tried out.
const TRIAL: &str = ".probe";
/// The attribute that layers use.
const ATTRIBUTE: &str = "trusted.overlay.opaque";

#[derive(Serialize, Deserialize)]
struct Note {
    /// The name of the file system that was found able.
    filesystem: String,
}

/// File systems by their numbers in statfs(2); Docker's names where it has one.
const NAMES: &[(u64, &str)] = &[
    (0xef53, "extfs"),
    (0xf2f5_2010, "f2fs"),
    (0x9123_683e, "btrfs"),
    (0x5846_5342, "xfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlayfs"),
    (0xe0f5_e1e2, "erofs"),
    (0x7371_7368, "squashfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x2405_1905, "ubifs"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0x0102_1997, "9p"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x6573_5546, "fuse"),
    (0xf15f, "ecryptfs"),
];

/// The name of the file system that a folder is on.
pub fn file_system(path: &Path) -> String {
    #[allow(clippy::unnecessary_cast)] // the field's type differs between architectures
    let number = rustix::fs::statfs(path).map(|s| s.f_type as u64 & 0xffff_ffff).unwrap_or(0);
    NAMES
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| format!("unknown ({number:#x})"), |(_, name)| (*name).to_string())
}

/// Fails if the data root at `path` is on a file system that cannot carry containers, and says what it lacks.
pub fn probe(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("data root {}", path.display()))?;
    let filesystem = file_system(path);
    let noted = std::fs::read(path.join(NOTE)).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    if noted.is_some_and(|note| note.filesystem == filesystem) {
        return Ok(());
    }
    match try_out(path) {
        Ok(lacks) if lacks.is_empty() => note(path, filesystem).context(|| format!("write {}", path.join(NOTE).display())),
        Ok(lacks) => Err(Error::unsupported(format!(
            "data root {} is on {filesystem}, which cannot carry containers: it lacks {}: put it on ext4, f2fs, btrfs, xfs or tmpfs \
             with --data-root",
            path.display(),
            lacks.join(", ")
        ))),
        // A disk that is full or read-only says nothing of what it can; others tell of that.
        Err(e) => {
            log::debug!("what {filesystem} can was not tried out: {e}");
            Ok(())
        }
    }
}

fn note(path: &Path, filesystem: String) -> Result<()> {
    let fresh = path.join("filesystem.json.new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(&Note { filesystem })?)?;
    file.sync_all()?;
    Ok(std::fs::rename(&fresh, path.join(NOTE))?)
}

/// What the file system of a folder lacks; nothing is left in it.
pub fn try_out(path: &Path) -> Result<Vec<String>> {
    let trial = path.join(TRIAL);
    let _ = std::fs::remove_dir_all(&trial);
    let lacks = try_in(&trial);
    let _ = std::fs::remove_dir_all(&trial);
    lacks
}

/// What is lacking. That something may not be done (no privilege) is not held against the file system.
fn try_in(trial: &Path) -> Result<Vec<String>> {
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| trial.join(name));
    for folder in [trial, &lower, &upper, &work] {
        std::fs::create_dir(folder)?;
    }
    let mut lacks: Vec<String> = Vec::new();
    let mut lacking = |what: &str, e: Errno| match e {
        Errno::NOSPC | Errno::ROFS | Errno::IO | Errno::DQUOT => Err(Error::from(e)),
        Errno::ACCESS => Ok(()),
        e => {
            lacks.push(format!("{what} ({})", crate::base::error::errno_text(e)));
            Ok(())
        }
    };
    // A device that is no whiteout tells whether devices may be made here at all.
    let device = |name: &str, number| {
        rustix::fs::mknodat(CWD, upper.join(name), FileType::CharacterDevice, Mode::from_raw_mode(0o600), number)
    };
    let privileged = rustix::process::geteuid().is_root() && device("null", rustix::fs::makedev(1, 3)) != Err(Errno::PERM);
    if let Err(e) = rustix::fs::symlink("x", upper.join("link")) {
        lacking("symbolic links", e)?;
    }
    if let Err(e) = rustix::fs::chown(&upper, Some(rustix::fs::Uid::from_raw(1)), None)
        && rustix::process::geteuid().is_root()
    {
        lacking("owners of files", e)?;
    }
    if privileged {
        if let Err(e) = rustix::fs::setxattr(&upper, ATTRIBUTE, b"y", XattrFlags::empty())
            && e != Errno::PERM
        {
            lacking("attributes trusted.*", e)?;
        }
        if let Err(e) = device("gone", rustix::fs::makedev(0, 0)) {
            lacking("whiteouts", e)?;
        }
        std::fs::write(upper.join("a"), "")?;
        if let Err(e) = rustix::fs::renameat_with(CWD, upper.join("a"), CWD, upper.join("b"), RenameFlags::WHITEOUT) {
            lacking("renames that leave a whiteout", e)?;
        }
        if let Err(e) = overlay(&lower, &upper.join("u"), &work) {
            lacking("what the kernel's overlay asks of an upper layer", e)?;
        }
    }
    if !tells_types(&upper)? {
        lacking("types in folders (d_type)", Errno::NOTSUP)?;
    }
    Ok(lacks)
}

/// Makes an overlay that is mounted nowhere. A kernel or a path with which that cannot be done says nothing.
fn overlay(lower: &Path, upper: &Path, work: &Path) -> rustix::io::Result<()> {
    if !MOUNT_API.into_iter().all(is_there) {
        return Ok(());
    }
    let Ok(fs) = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) else { return Ok(()) };
    rustix::fs::mkdir(upper, Mode::from_raw_mode(0o700))?;
    for (key, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
        let Some(text) = path.to_str().filter(|t| t.len() < 256 && !t.contains([',', ':', '\\'])) else { return Ok(()) };
        rustix::mount::fsconfig_set_string(&fs, key, text)?;
    }
    match rustix::mount::fsconfig_create(&fs) {
        Err(Errno::PERM) => Ok(()),
        other => other,
    }
}

fn tells_types(folder: &Path) -> Result<bool> {
    let fd = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let there = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if there && entry.file_type() == FileType::Unknown {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_out_once() {
        let path = std::env::temp_dir().join(format!("prtiql-probe-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let able = probe(&path);
        assert!(!path.join(TRIAL).exists());
        if able.is_ok() {
            let inode = |p: &Path| std::os::unix::fs::MetadataExt::ino(&p.metadata().unwrap());
            let before = inode(&path.join(NOTE));
            probe(&path).unwrap();
            assert_eq!(inode(&path.join(NOTE)), before);
        }
        assert_eq!(file_system(Path::new("/proc")), "unknown (0x9fa0)");
        std::fs::remove_dir_all(&path).unwrap();
    }
}

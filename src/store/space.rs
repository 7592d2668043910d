//! Room on the data root's file system: what of it is kept free, and how much layers may occupy in all.

use crate::base::size::human;
use crate::base::{Context, Error, Result, size};
use crate::store::{Root, layer_info, layers};
use crate::wire::worker::Space;
use rustix::io::Errno;
use std::path::Path;

/// Kept free unless the settings say otherwise: this share of the file system …
const SHARE: u64 = 50;
/// … but not more than so many bytes.
const MOST: u64 = 64 << 20;
/// Inodes that stay free: without any, not even the state of a container could be written.
const INODES: u64 = 32;

/// What the settings `storage-reserve` (bytes, or `N%` of the file system) and `storage-quota` (bytes) mean on this data root.
pub fn limits(path: &Path, reserve: &str, quota: &str) -> Result<Space> {
    let disk = rustix::fs::statvfs(path).context(|| format!("size of the file system of {}", path.display()))?;
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let reserve = match (reserve.trim(), reserve.trim().strip_suffix('%')) {
        ("", _) => (total / SHARE).min(MOST),
        (_, Some(percent)) => total / 100 * u64::from(share(percent)?),
        (bytes, None) => size::parse(bytes).map_err(|e| e.context("storage-reserve"))?,
    };
    let quota = match quota.trim() {
        "" => 0,
        bytes => size::parse(bytes).map_err(|e| e.context("storage-quota"))?,
    };
    Ok(Space { reserve, quota, ..Space::default() })
}

fn share(percent: &str) -> Result<u8> {
    let bad = || Error::invalid(format!("storage-reserve: invalid share '{percent}%': use 0% to 90%"));
    percent.trim().parse().ok().filter(|p| *p <= 90).ok_or_else(bad)
}

/// Bytes that may still be written.
pub fn room(root: &Root) -> Result<u64> {
    let free = free(root)?.0.saturating_sub(root.space().reserve);
    Ok(match root.space().quota {
        0 => free,
        quota => free.min(quota.saturating_sub(occupied(root)?)),
    })
}

/// Fails, with the figures, if what is to be done does not fit.
pub fn check(root: &Root, bytes: u64, inodes: u64) -> Result<()> {
    let space = root.space();
    let (free, free_inodes) = free(root)?;
    if bytes > free.saturating_sub(space.reserve) {
        let reserved = match space.reserve {
            0 => String::new(),
            reserve => format!(" of which {} are kept by storage-reserve", human(reserve.min(free))),
        };
        return Err(full(format!("{} are needed, {} are free{reserved}", human(bytes), human(free))));
    }
    if inodes.saturating_add(INODES) > free_inodes {
        return Err(full(format!("{inodes} inodes are needed, {free_inodes} are free of which {INODES} are kept")));
    }
    if space.quota > 0 {
        let occupied = occupied(root)?;
        if bytes > space.quota.saturating_sub(occupied) {
            let (quota, occupied) = (human(space.quota), human(occupied));
            return Err(full(format!("{} are needed, layers occupy {occupied} of storage-quota {quota}", human(bytes))));
        }
    }
    Ok(())
}

/// Fails if, in the midst of the work, less than that is left of the room.
pub fn check_left(root: &Root, bytes: u64) -> Result<()> {
    if room(root)? >= bytes {
        return Ok(());
    }
    let reserved = match root.space().reserve {
        0 => String::new(),
        reserve => format!(" ({} are kept by storage-reserve)", human(reserve)),
    };
    Err(full(format!("the room for layers has come to its end{reserved}")))
}

fn full(why: String) -> Error {
    Error::from(Errno::NOSPC).context(why).context("remove images (prtiql image prune -a), or make the data root larger")
}

/// Bytes and inodes that are free. A file system that makes inodes as they are needed has no figure of them: never too few.
fn free(root: &Root) -> Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(root.path()).context(|| format!("free space of {}", root.path().display()))?;
    let inodes = if disk.f_files == 0 { u64::MAX } else { disk.f_favail };
    Ok((disk.f_bavail.saturating_mul(disk.f_frsize), inodes))
}

/// Bytes of the files of all layers. What cannot be read counts nothing.
fn occupied(root: &Root) -> Result<u64> {
    Ok(layers(root)?.iter().filter_map(|layer| layer_info(root, layer).ok()).map(|info| info.size).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_all_their_forms() {
        let of = |reserve: &str, quota: &str| limits(Path::new("/"), reserve, quota);
        assert_eq!(of("16m", "1g").unwrap(), Space { reserve: 16 << 20, quota: 1 << 30, ..Space::default() });
        assert_eq!(of("0", "").unwrap(), Space::default());
        assert!(of("", "").unwrap().reserve <= MOST && of("50%", "").unwrap().reserve > 0);
        for bad in ["95%", "x%", "many", "-1"] {
            assert!(of(bad, "").unwrap_err().to_string().contains("storage-reserve"), "{bad}");
        }
        assert!(of("", "x").unwrap_err().to_string().contains("storage-quota"));
    }

    #[test]
    fn what_does_not_fit_is_told_with_figures() {
        let root = Root::attach(Path::new("/tmp"));
        check(&root, 1000, 1).unwrap();
        let e = check(&root, u64::MAX, 1).unwrap_err().to_string();
        assert!(e.contains("are needed") && e.contains("no space left on device"), "{e}");
        let space = Space { reserve: u64::MAX, ..Space::default() };
        let root = root.with(space, crate::store::Stores::default());
        assert!(check(&root, 1, 1).unwrap_err().to_string().contains("storage-reserve") && room(&root).unwrap() == 0);
    }
}

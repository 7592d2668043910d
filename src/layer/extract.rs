//! Entries to files: what an image's layer means on disk, below one folder, with OCI whiteouts turned into overlayfs' own.

use crate::base::{Context, Error, Result};
use crate::layer::entry::{Entry, Kind};
use crate::layer::flush::Flusher;
use crate::layer::place::{self, Tree};
use crate::layer::skeleton::{Writer, extra_name};
use crate::layer::{path, times::FolderTimes};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The umask that extraction expects: these bits of an entry's mode, and the special ones, are set by a call of their own.
pub const MASKED: u32 = 0o022;

/// What becomes of an entry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Goes into a file, from which it can be read again.
    File,
    /// Is kept nowhere else than in the skeleton.
    Lost,
}

/// A file being written.
struct Open {
    file: OwnedFd,
    real: Vec<u8>,
    /// Bytes of content taken so far.
    taken: u64,
    /// The piece of a sparse file being filled.
    piece: usize,
    /// Bytes of that piece already filled.
    filled: u64,
}

/// Extracts the entries of one layer.
pub struct Extractor {
    tree: Tree,
    extra: PathBuf,
    flusher: Flusher,
    times: FolderTimes,
    open: Option<Open>,
    /// Bytes of regular files.
    size: u64,
}

impl Extractor {
    /// Into `staged`/fs, which is made, as are `staged`/extra and a work file when they are needed.
    pub fn new(staged: &Path) -> Result<Extractor> {
        let fs = staged.join("fs");
        let what = || format!("create {}", fs.display());
        rustix::fs::mkdir(&fs, Mode::from_raw_mode(0o755)).context(what)?;
        let root = rustix::fs::open(&fs, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .context(what)?;
        Ok(Extractor {
            tree: Tree::new(root),
            extra: staged.join("extra"),
            flusher: Flusher::default(),
            times: FolderTimes::new(staged.join("times")),
            open: None,
            size: 0,
        })
    }

    /// Bytes of regular files so far; hard links count once.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes what the entry says. Content follows through [`Extractor::write`] if it is a file.
    pub fn begin(&mut self, entry: &Entry, skeleton: &mut Writer) -> Result<Body> {
        let what = || format!("layer entry {:?}", String::from_utf8_lossy(&entry.path));
        let name = path::clean(&entry.path)?;
        self.make(entry, &name, skeleton).context(what)
    }

    /// Content of the current file.
    pub fn write(&mut self, entry: &Entry, mut data: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let what = || format!("write layer entry {:?}", String::from_utf8_lossy(&entry.path));
        while !data.is_empty() {
            let (at, room) = match &entry.sparse {
                None => (open.taken, data.len()),
                Some(map) => match map.get(open.piece) {
                    Some((_, length)) if open.filled == *length => {
                        (open.piece, open.filled) = (open.piece + 1, 0);
                        continue;
                    }
                    Some((offset, length)) => (offset + open.filled, usize::try_from(length - open.filled).unwrap_or(usize::MAX)),
                    None => return Err(Error::internal("more content than the map of a sparse file has").context(what())),
                },
            };
            let part = &data[..room.min(data.len())];
            let n = rustix::io::retry_on_intr(|| rustix::io::pwrite(&open.file, part, at)).context(what)?;
            if n == 0 {
                return Err(Error::from(Errno::IO).context(what()));
            }
            data = &data[n..];
            open.taken += n as u64;
            open.filled += n as u64;
            if entry.sparse.is_none() {
                self.flusher.wrote(open.file.as_fd(), open.taken).context(what)?;
            }
        }
        Ok(())
    }

    /// The entry is complete; `padded` says that zeros filled up its last block.
    pub fn end(&mut self, entry: &Entry, padded: bool, skeleton: &mut Writer) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let what = || format!("write layer entry {:?}", String::from_utf8_lossy(&entry.path));
        if entry.sparse.is_some() {
            rustix::fs::ftruncate(&open.file, entry.size).context(what)?;
        }
        self.set_open_metadata(open.file.as_fd(), entry).context(what)?;
        self.size += entry.stored;
        match &entry.sparse {
            None if entry.stored > 0 => skeleton.file(&open.real, 0, entry.stored, padded)?,
            None => {}
            Some(map) => {
                let last = map.iter().rposition(|(_, length)| *length > 0);
                for (nth, (offset, length)) in map.iter().enumerate().filter(|(_, (_, length))| *length > 0) {
                    skeleton.file(&open.real, *offset, *length, padded && Some(nth) == last)?;
                }
            }
        }
        if entry.size > 0 { self.flusher.done(open.file, entry.stored) } else { Ok(()) }
    }

    /// All entries are there: what is left to write, and the times of folders.
    pub fn finish(mut self) -> Result<()> {
        self.flusher.flush().context(|| "write the layer's files")?;
        let tree = &self.tree;
        self.times.apply(|real, times| match tree.exact(real) {
            // The descriptor names a place only: the change goes through its name.
            Ok(folder) => rustix::fs::utimensat(&folder, c".", times, AtFlags::empty()),
            // It was replaced by something else later.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(e) => Err(e),
        })
    }

    fn make(&mut self, entry: &Entry, name: &[u8], skeleton: &mut Writer) -> Result<Body> {
        if name.is_empty() {
            return match entry.kind {
                Kind::Dir => {
                    let root = self.tree.exact(b"")?;
                    self.set_folder_metadata(&root, b"", entry)?;
                    Ok(Body::Lost)
                }
                _ => Err(Error::invalid("it would replace the root folder")),
            };
        }
        let (parent, last) = path::split(name);
        if let Some(hidden) = last.strip_prefix(b".wh.") {
            return self.white_out(parent, hidden);
        }
        match entry.kind {
            Kind::Dir => self.make_folder(entry, parent, last, skeleton)?,
            Kind::File => {
                self.make_file(entry, parent, last, skeleton)?;
                return Ok(Body::File);
            }
            Kind::Link => self.make_link(entry, parent, last, skeleton)?,
            Kind::Symlink => {
                let target = entry.link.clone();
                if target.is_empty() {
                    return Err(Error::invalid("a symbolic link without a target"));
                }
                self.create(parent, last, skeleton, |folder| rustix::fs::symlinkat(&target[..], folder, last))?;
                self.set_named_metadata(entry, parent, last)?;
            }
            Kind::Char | Kind::Block | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::Char => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.major, entry.minor);
                let mode = Mode::from_raw_mode(entry.mode & 0o777);
                self.create(parent, last, skeleton, |folder| rustix::fs::mknodat(folder, last, kind, mode, device))?;
                self.set_named_metadata(entry, parent, last)?;
            }
        }
        Ok(Body::Lost)
    }

    fn make_file(&mut self, entry: &Entry, parent: &[u8], last: &[u8], skeleton: &mut Writer) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = self.create(parent, last, skeleton, |folder| rustix::fs::openat(folder, last, flags, mode))?;
        let (_, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        self.open = Some(Open { file, real, taken: 0, piece: 0, filled: 0 });
        Ok(())
    }

    fn make_folder(&mut self, entry: &Entry, parent: &[u8], last: &[u8], skeleton: &mut Writer) -> Result<()> {
        let (folder, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        let mut opaque = false;
        match place::stat(folder, last)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {}
            found => {
                // What a whiteout of the same layer hid stays hidden below the new folder.
                opaque = found.is_some_and(|stat| is_whiteout(&stat));
                let mode = Mode::from_raw_mode(entry.mode & 0o777);
                self.create(parent, last, skeleton, |folder| rustix::fs::mkdirat(folder, last, mode))?;
            }
        }
        let made = self.tree.exact(&real)?;
        if opaque {
            self.set_opaque(&made)?;
        }
        self.set_folder_metadata(&made, &real, entry)
    }

    fn make_link(&mut self, entry: &Entry, parent: &[u8], last: &[u8], skeleton: &mut Writer) -> Result<()> {
        let target = path::clean(&entry.link)?;
        let (target_parent, target_last) = path::split(&target);
        let missing =
            || Error::invalid(format!("hard link to {:?}, which the layer does not have", String::from_utf8_lossy(&entry.link)));
        if target_last.is_empty() {
            return Err(missing());
        }
        let (source, source_real) = self.tree.existing(target_parent).map_err(|_| missing())?;
        match place::stat(source.as_fd(), target_last)? {
            None => return Err(missing()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => return Err(Error::invalid("hard link to a folder")),
            Some(_) => {}
        }
        let (_, real) = self.tree.folder(parent)?;
        if join(real, last) == join(&source_real, target_last) {
            return Ok(()); // a link to itself
        }
        self.create(parent, last, skeleton, |folder| rustix::fs::linkat(&source, target_last, folder, last, AtFlags::empty()))
            .map_err(|e| if e.to_string() == "no such file or directory" { missing() } else { e })
    }

    /// `.wh.x` hides x of lower layers, `.wh..wh..opq` everything in its folder.
    fn white_out(&mut self, parent: &[u8], hidden: &[u8]) -> Result<Body> {
        if hidden == b".wh..opq" {
            let (_, real) = self.tree.folder(parent)?;
            let real = real.to_vec();
            let folder = self.tree.exact(&real)?;
            self.set_opaque(&folder)?;
            return Ok(Body::Lost);
        }
        if hidden.starts_with(b".wh.") {
            return Ok(Body::Lost); // what aufs kept for itself
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("a whiteout of no name"));
        }
        let (folder, real) = self.tree.folder(parent)?;
        let real = join(real, hidden);
        match place::stat(folder, hidden)? {
            // The layer itself has it: whiteouts are about lower layers only.
            Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                let folder = self.tree.exact(&real)?;
                self.set_opaque(&folder)?;
            }
            Some(_) => {}
            None => rustix::fs::mknodat(folder, hidden, FileType::CharacterDevice, Mode::empty(), 0)?,
        }
        Ok(Body::Lost)
    }

    /// Creates a name by `act`, after what is there has made room.
    fn create<T>(
        &mut self,
        parent: &[u8],
        last: &[u8],
        skeleton: &mut Writer,
        act: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let (folder, _) = self.tree.folder(parent)?;
        match act(folder) {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
        self.make_room(parent, last, skeleton)?;
        let (folder, _) = self.tree.folder(parent)?;
        Ok(act(folder)?)
    }

    /// What an earlier entry made is replaced. Content that the skeleton speaks of moves to extra/.
    fn make_room(&mut self, parent: &[u8], last: &[u8], skeleton: &mut Writer) -> Result<()> {
        let (folder, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        let Some(stat) = place::stat(folder, last)? else { return Ok(()) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let empty = match kind {
            FileType::Directory => match rustix::fs::unlinkat(folder, last, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.tree.forget();
                    return Ok(());
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => false,
                Err(e) => return Err(e.into()),
            },
            FileType::RegularFile => stat.st_size == 0,
            _ => true,
        };
        if empty {
            rustix::fs::unlinkat(folder, last, AtFlags::empty())?;
        } else {
            let sequence = skeleton.replace(&real)?;
            match rustix::fs::mkdir(&self.extra, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            rustix::fs::renameat(folder, last, rustix::fs::CWD, self.extra.join(extra_name(sequence)))?;
            if kind == FileType::RegularFile && stat.st_nlink == 1 {
                self.size = self.size.saturating_sub(u64::try_from(stat.st_size).unwrap_or(0));
            }
        }
        self.tree.forget();
        Ok(())
    }

    fn set_opaque(&self, folder: &OwnedFd) -> Result<()> {
        let folder = reopen(folder)?;
        rustix::fs::fsetxattr(&folder, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
            .context(|| "the data root's file system cannot mark a folder as opaque for overlayfs")
    }

    /// Owner, mode, attributes and times of an open file, in the order in which none undoes the other.
    fn set_open_metadata(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        if entry.mode & (0o7000 | MASKED) != 0 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
        }
        for (name, value) in kept_xattrs(entry) {
            xattr_result(name, rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        }
        Ok(rustix::fs::futimens(file, &times(entry))?)
    }

    fn set_folder_metadata(&mut self, folder: &OwnedFd, real: &[u8], entry: &Entry) -> Result<()> {
        let open = reopen(folder)?;
        rustix::fs::fchown(&open, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        rustix::fs::fchmod(&open, Mode::from_raw_mode(entry.mode))?;
        for (name, value) in kept_xattrs(entry) {
            xattr_result(name, rustix::fs::fsetxattr(&open, name, value, XattrFlags::empty()))?;
        }
        self.times.add(real, &times(entry).last_modification)
    }

    /// Of symbolic links, devices and pipes: these cannot be opened.
    fn set_named_metadata(&mut self, entry: &Entry, parent: &[u8], last: &[u8]) -> Result<()> {
        let (folder, _) = self.tree.folder(parent)?;
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(folder, last, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if entry.kind != Kind::Symlink && entry.mode & (0o7000 | MASKED) != 0 {
            rustix::fs::chmodat(folder, last, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        for (name, value) in kept_xattrs(entry) {
            let mut by_descriptor = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
            by_descriptor.extend_from_slice(last);
            xattr_result(name, rustix::fs::lsetxattr(&by_descriptor[..], name, value, XattrFlags::empty()))?;
        }
        Ok(rustix::fs::utimensat(folder, last, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == 0
}

/// A descriptor that names a place, opened for changes of its metadata.
fn reopen(folder: &OwnedFd) -> Result<OwnedFd> {
    Ok(rustix::fs::openat(folder, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.seconds, tv_nsec: entry.nanos as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// An image may not speak to overlayfs in its private language: redirects and the like would reach other layers.
fn kept_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let private = |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    entry.xattrs.iter().filter(move |(name, _)| !private(name)).map(|(name, value)| (&name[..], &value[..]))
}

/// A file system without extended attributes loses them, as with Docker; anything else that fails is an error.
fn xattr_result(name: &[u8], result: rustix::io::Result<()>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            log::warn!("the data root's file system does not take the attribute {}", String::from_utf8_lossy(name));
            Ok(())
        }
        // user.* is for files and folders only.
        Err(Errno::PERM) if name.starts_with(b"user.") => Ok(()),
        Err(e) => Err(Error::from(e).context(format!("set the attribute {}", String::from_utf8_lossy(name)))),
    }
}

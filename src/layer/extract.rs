//! Entries to files: what an image's layer means on disk, below one folder, with OCI whiteouts turned into overlayfs' own.

use crate::base::{Context, Error, Result};
use crate::layer::checkpoint::check_counters;
use crate::layer::entry::{Entry, Kind};
use crate::layer::flush::Flusher;
use crate::layer::folders::Folders;
use crate::layer::made::Made;
use crate::layer::place::{self, Tree};
use crate::layer::skeleton::{Writer, extra_name};
use crate::layer::spool::Spool;
use crate::layer::twin::Twin;
use crate::layer::undo::Undo;
use crate::layer::{path, xattr};
use crate::sys::io;
use crc32fast::Hasher;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
    at: Position,
    /// Of the piece being filled.
    sum: Hasher,
}

/// Where a file's content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Content {
    /// It is written as it comes.
    Written,
    /// The file is another layer's, too.
    Linked,
    /// Its blocks are those of another layer's file.
    Cloned,
}

/// How far a file has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    /// Its name without symbolic links.
    real: Vec<u8>,
    /// Bytes of content taken so far.
    taken: u64,
    /// The piece of a sparse file being filled.
    piece: usize,
    /// Bytes of that piece already filled.
    filled: u64,
    /// Where its content comes from.
    content: Content,
    /// Checksums of the pieces before it.
    sums: Vec<u32>,
}

/// What an extractor needs to go on where it stopped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    size: u64,
    folders: u64,
    replaced_any: bool,
    /// The open file, and the checksum of its current piece.
    open: Option<(Position, u32)>,
}

/// Extracts the entries of one layer.
pub struct Extractor {
    tree: Tree,
    extra: PathBuf,
    flusher: Flusher,
    folders: Folders,
    /// What is done before something is replaced.
    pub undo: Undo,
    open: Option<Open>,
    /// Bytes of regular files.
    size: u64,
    /// Something has been replaced: a folder that is made may follow another of its name.
    replaced_any: bool,
    /// Whether files may share their blocks with another layer's: one answer of the file system is enough.
    can_clone: bool,
    /// Bytes of files that are another layer's, too,
    pub linked: u64,
    /// and of files that share their blocks with another layer's.
    pub cloned: u64,
}

impl Extractor {
    /// Into `work`/layer, which exists: fs/ is made there, and extra/ when it is needed. `made` is for layers that can be resumed.
    pub fn new(work: &Path, made: Option<Made>) -> Result<Extractor> {
        let fs = work.join("layer/fs");
        rustix::fs::mkdir(&fs, Mode::from_raw_mode(0o755)).context(|| format!("create {}", fs.display()))?;
        Extractor::start(work, made, Spool::new(work.join("folders")), false)
    }

    fn start(work: &Path, made: Option<Made>, folders: Spool, armed: bool) -> Result<Extractor> {
        let fs = work.join("layer/fs");
        let root = rustix::fs::open(&fs, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {}", fs.display()))?;
        Ok(Extractor {
            tree: Tree::new(root, made),
            extra: work.join("layer/extra"),
            flusher: Flusher::default(),
            folders: Folders::new(folders),
            undo: Undo::new(work, armed),
            open: None,
            size: 0,
            replaced_any: false,
            can_clone: true,
            linked: 0,
            cloned: 0,
        })
    }

    /// Goes on from a saved state, after [`crate::layer::restore`].
    pub fn resume(work: &Path, made: Made, saved: Saved, entry: &Entry) -> Result<Extractor> {
        let folders = Spool::resume(work.join("folders"), saved.folders)?;
        let mut extractor = Extractor::start(work, Some(made), folders, true)?;
        (extractor.size, extractor.replaced_any) = (saved.size, saved.replaced_any);
        check_counters(&[saved.size])?;
        if let Some((at, sum)) = saved.open {
            extractor.reopen(at, sum, entry).context(|| "go on with the layer's last file")?;
        }
        Ok(extractor)
    }

    fn reopen(&mut self, at: Position, sum: u32, entry: &Entry) -> Result<()> {
        check_counters(&[at.taken, at.filled])?;
        let (folder, name) = path::split(&at.real);
        let folder = self.tree.exact(folder)?;
        let access = if at.content == Content::Written { OFlags::WRONLY } else { OFlags::RDONLY };
        let file = rustix::fs::openat(&folder, name, access | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if at.content != Content::Written {
            self.open = Some(Open { file, at, sum: Hasher::new_with_initial(sum) });
            return Ok(()); // cutting it would cut the other layer's file
        }
        let end = match &entry.sparse {
            None => at.taken,
            // In the holes there is nothing that somebody else has left.
            Some(map) => map.get(at.piece).map_or(0, |(offset, _)| offset.saturating_add(at.filled)),
        };
        rustix::fs::ftruncate(&file, end)?;
        self.flusher.resume(at.taken);
        self.open = Some(Open { file, at, sum: Hasher::new_with_initial(sum) });
        Ok(())
    }

    /// The state, after all work files have been written.
    pub fn save(&mut self) -> Result<(Saved, u64)> {
        let made = self.tree.made.as_mut().map_or(Ok(0), Made::spill)?;
        let open = self.open.as_ref().map(|open| (open.at.clone(), open.sum.clone().finalize()));
        Ok((Saved { size: self.size, folders: self.folders.spill()?, replaced_any: self.replaced_any, open }, made))
    }

    /// So much waits to be written that the next sync should come soon.
    pub fn is_due(&self) -> bool {
        self.flusher.is_due()
    }

    /// The file system has been synced.
    pub fn synced(&mut self) {
        self.flusher.synced(self.open.as_ref().map(|open| (open.file.as_fd(), open.at.taken)));
    }

    /// An entry has replaced another.
    pub fn has_replaced(&self) -> bool {
        self.replaced_any
    }

    /// Bytes of regular files so far; hard links count once.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes what the entry says. Content follows through [`Extractor::write`] if it is a file; `twin` is another layer's file that
    /// is said to have the same.
    pub fn begin(&mut self, entry: &Entry, skeleton: &mut Writer, twin: Option<Rc<OwnedFd>>) -> Result<Body> {
        let what = || format!("layer entry {:?}", String::from_utf8_lossy(&entry.path));
        let name = path::clean(&entry.path)?;
        self.make(entry, &name, skeleton, twin).context(what)
    }

    /// Content of the current file.
    pub fn write(&mut self, entry: &Entry, mut data: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let what = || format!("write layer entry {:?}", String::from_utf8_lossy(&entry.path));
        while !data.is_empty() {
            let (at, room) = match &entry.sparse {
                None => (open.at.taken, data.len()),
                Some(map) => match map.get(open.at.piece) {
                    Some((_, length)) if open.at.filled == *length => {
                        open.next_piece();
                        continue;
                    }
                    Some((offset, length)) => {
                        (offset + open.at.filled, usize::try_from(length - open.at.filled).unwrap_or(usize::MAX))
                    }
                    None => return Err(Error::internal("more content than the map of a sparse file has").context(what())),
                },
            };
            let part = &data[..room.min(data.len())];
            let n = match open.at.content {
                Content::Written => rustix::io::retry_on_intr(|| rustix::io::pwrite(&open.file, part, at)).context(what)?,
                Content::Linked | Content::Cloned => part.len(),
            };
            if n == 0 {
                return Err(Error::from(Errno::IO).context(what()));
            }
            open.sum.update(&data[..n]);
            data = &data[n..];
            open.at.taken += n as u64;
            open.at.filled += n as u64;
            if entry.sparse.is_none() && open.at.content == Content::Written {
                self.flusher.wrote(open.file.as_fd(), open.at.taken).context(what)?;
            }
        }
        Ok(())
    }

    /// The entry is complete; `padded` says that zeros filled up its last block.
    pub fn end(&mut self, entry: &Entry, padded: bool, skeleton: &mut Writer) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let what = || format!("write layer entry {:?}", String::from_utf8_lossy(&entry.path));
        if entry.sparse.is_some() {
            rustix::fs::ftruncate(&open.file, entry.size).context(what)?;
        }
        match open.at.content {
            Content::Linked => self.linked += entry.stored,
            Content::Cloned => self.cloned += entry.stored,
            Content::Written => {}
        }
        if open.at.content != Content::Linked {
            self.set_open_metadata(open.file.as_fd(), entry).context(what)?;
        }
        self.size += entry.stored;
        let real = open.at.real.clone();
        match &entry.sparse {
            None if entry.stored > 0 => skeleton.file(&real, 0, entry.stored, padded, open.sum.clone().finalize())?,
            None => {}
            Some(map) => {
                while open.at.sums.len() < map.len() {
                    open.next_piece();
                }
                let last = map.iter().rposition(|(_, length)| *length > 0);
                let pieces = map.iter().zip(&open.at.sums).enumerate().filter(|(_, ((_, length), _))| *length > 0);
                for (nth, ((offset, length), sum)) in pieces {
                    skeleton.file(&real, *offset, *length, padded && Some(nth) == last, *sum)?;
                }
            }
        }
        if entry.size > 0 && open.at.content == Content::Written { self.flusher.done(open.file, entry.stored) } else { Ok(()) }
    }

    /// All entries are there: folders become what they are to be, and everything durable.
    pub fn finish(mut self) -> Result<()> {
        self.folders.apply(&self.tree)?;
        io::sync_file_system(self.tree.root.as_fd()).context(|| "write the layer's files")?;
        self.flusher.synced(None);
        Ok(())
    }

    fn make(&mut self, entry: &Entry, name: &[u8], skeleton: &mut Writer, twin: Option<Rc<OwnedFd>>) -> Result<Body> {
        if name.is_empty() {
            return match entry.kind {
                Kind::Dir => {
                    self.folders.set(b"", entry, false, false)?;
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
                let twin = twin.filter(|_| entry.sparse.is_none()).and_then(|file| Twin::of(file, entry.stored));
                self.make_file(entry, parent, last, skeleton, twin)?;
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

    fn make_file(&mut self, entry: &Entry, parent: &[u8], last: &[u8], skeleton: &mut Writer, twin: Option<Twin>) -> Result<()> {
        let alike = twin.as_ref().filter(|twin| twin.is_alike(entry));
        let linked = alike.is_some_and(|twin| {
            let by_descriptor = format!("/proc/self/fd/{}", twin.file.as_raw_fd());
            let link = |folder: BorrowedFd<'_>| {
                rustix::fs::linkat(rustix::fs::CWD, &by_descriptor, folder, last, AtFlags::SYMLINK_FOLLOW)
            };
            // Another file system, too many links already, no /proc: a file of its own will do.
            self.create(parent, last, skeleton, link).is_ok()
        });
        let (file, content) = match twin {
            Some(twin) if linked => (twin.file.try_clone().context(|| "duplicate a descriptor")?, Content::Linked),
            twin => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(entry.mode & 0o777);
                let file = self.create(parent, last, skeleton, |folder| rustix::fs::openat(folder, last, flags, mode))?;
                let cloned = twin.filter(|_| self.can_clone).map(|twin| rustix::fs::ioctl_ficlone(&file, &*twin.file));
                self.can_clone &= !matches!(cloned, Some(Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV)));
                (file, if matches!(cloned, Some(Ok(()))) { Content::Cloned } else { Content::Written })
            }
        };
        let (_, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        let at = Position { real, taken: 0, piece: 0, filled: 0, content, sums: Vec::new() };
        self.open = Some(Open { file, at, sum: Hasher::new() });
        Ok(())
    }

    fn make_folder(&mut self, entry: &Entry, parent: &[u8], last: &[u8], skeleton: &mut Writer) -> Result<()> {
        let (folder, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        let (mut fresh, mut opaque) = (false, false);
        match place::stat(folder, last)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {}
            found => {
                // What a whiteout of the same layer hid stays hidden below the new folder.
                opaque = found.is_some_and(|stat| is_whiteout(&stat));
                self.create(parent, last, skeleton, |folder| rustix::fs::mkdirat(folder, last, Mode::from_raw_mode(0o755)))?;
                fresh = self.replaced_any;
            }
        }
        self.folders.set(&real, entry, fresh, opaque)
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
            self.folders.set_opaque(real)?;
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
            Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => self.folders.set_opaque(&real)?,
            Some(_) => {}
            None => {
                rustix::fs::mknodat(folder, hidden, FileType::CharacterDevice, Mode::empty(), 0)?;
                self.tree.note(&real)?;
            }
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
        let (folder, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        match act(folder) {
            Err(Errno::EXIST) => {}
            other => {
                let made = other?;
                self.tree.note(&real)?;
                return Ok(made);
            }
        }
        self.make_room(parent, last, skeleton)?;
        let (folder, _) = self.tree.folder(parent)?;
        let made = act(folder)?;
        self.tree.note(&real)?;
        Ok(made)
    }

    /// What an earlier entry made is replaced. Content that the skeleton speaks of moves to extra/, and so does everything that a
    /// checkpoint knows.
    fn make_room(&mut self, parent: &[u8], last: &[u8], skeleton: &mut Writer) -> Result<()> {
        let (folder, real) = self.tree.folder(parent)?;
        let real = join(real, last);
        let Some(stat) = place::stat(folder, last)? else { return Ok(()) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        self.replaced_any = true;
        let holds = match kind {
            FileType::Directory if self.undo.is_armed() => true,
            FileType::Directory => match rustix::fs::unlinkat(folder, last, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.tree.forget();
                    return Ok(());
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => true,
                Err(e) => return Err(e.into()),
            },
            FileType::RegularFile => stat.st_size > 0 || self.undo.is_armed(),
            _ => self.undo.is_armed(),
        };
        if holds {
            let sequence = skeleton.replace(&real)?;
            self.undo.note(sequence, &real)?;
            match rustix::fs::mkdir(&self.extra, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let (folder, _) = self.tree.folder(parent)?;
            rustix::fs::renameat(folder, last, rustix::fs::CWD, self.extra.join(extra_name(sequence)))?;
            if kind == FileType::RegularFile && stat.st_nlink == 1 {
                self.size = self.size.saturating_sub(u64::try_from(stat.st_size).unwrap_or(0));
            }
        } else {
            rustix::fs::unlinkat(folder, last, AtFlags::empty())?;
        }
        self.tree.forget();
        Ok(())
    }

    /// Owner, mode, attributes and times of an open file, in the order in which none undoes the other.
    fn set_open_metadata(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        if entry.mode & (0o7000 | MASKED) != 0 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
        }
        for (name, value) in xattr::kept(entry) {
            xattr::result(name, rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        }
        Ok(rustix::fs::futimens(file, &times(entry))?)
    }

    /// Of symbolic links, devices and pipes: these cannot be opened.
    fn set_named_metadata(&mut self, entry: &Entry, parent: &[u8], last: &[u8]) -> Result<()> {
        let (folder, _) = self.tree.folder(parent)?;
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(folder, last, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if entry.kind != Kind::Symlink && entry.mode & (0o7000 | MASKED) != 0 {
            rustix::fs::chmodat(folder, last, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        for (name, value) in xattr::kept(entry) {
            let mut by_descriptor = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
            by_descriptor.extend_from_slice(last);
            xattr::result(name, rustix::fs::lsetxattr(&by_descriptor[..], name, value, XattrFlags::empty()))?;
        }
        Ok(rustix::fs::utimensat(folder, last, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl Open {
    fn next_piece(&mut self) {
        self.at.sums.push(std::mem::take(&mut self.sum).finalize());
        (self.at.piece, self.at.filled) = (self.at.piece + 1, 0);
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

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.seconds, tv_nsec: entry.nanos as _ };
    Timestamps { last_access: time, last_modification: time }
}

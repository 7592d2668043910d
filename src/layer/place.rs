//! Finding the folder of an entry inside the layer's root, whatever symbolic links earlier entries have made: links are followed
//! as if the layer were the root file system, and nothing outside is ever reached.

use crate::base::{Context, Error, Result};
use crate::layer::made::Made;
use crate::layer::path;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Symbolic links followed for one path: the kernel's limit.
const MOST_LINKS: u32 = 40;
/// Steps taken for one path, so that a hostile one costs little.
const MOST_STEPS: u32 = 20_000;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The root of a layer's files, and the folder used last.
pub struct Tree {
    /// The folder fs/.
    pub root: OwnedFd,
    last: Option<Place>,
    has_openat2: bool,
    /// Where the names made are listed, if the layer can be resumed.
    pub made: Option<Made>,
}

struct Place {
    /// The folder's clean name as entries have it.
    asked: Vec<u8>,
    /// The same without symbolic links.
    real: Vec<u8>,
    folder: OwnedFd,
}

impl Tree {
    /// Of an open folder.
    pub fn new(root: OwnedFd, made: Option<Made>) -> Tree {
        Tree { root, last: None, has_openat2: true, made }
    }

    /// A name (without symbolic links) has been made.
    pub fn note(&mut self, real: &[u8]) -> Result<()> {
        self.made.as_mut().map_or(Ok(()), |made| made.add(real))
    }

    /// Forgets the folder used last: something was replaced.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The folder `asked` (clean), made if it is missing, and its name without symbolic links.
    pub fn folder(&mut self, asked: &[u8]) -> Result<(BorrowedFd<'_>, &[u8])> {
        if self.last.as_ref().is_none_or(|last| last.asked != asked) {
            let (folder, real) = self.find(asked, true)?;
            self.last = Some(Place { asked: asked.to_vec(), real, folder });
        }
        match &self.last {
            Some(last) => Ok((last.folder.as_fd(), &last.real)),
            None => Err(Error::internal("no folder")),
        }
    }

    /// The folder `asked` (clean) as it is now, or an error; for targets of hard links.
    pub fn existing(&mut self, asked: &[u8]) -> Result<(OwnedFd, Vec<u8>)> {
        self.find(asked, false)
    }

    /// The folder at a name without symbolic links, if it is such a one.
    pub fn exact(&self, real: &[u8]) -> rustix::io::Result<OwnedFd> {
        if real.is_empty() {
            return rustix::fs::openat(&self.root, c".", FOLDER, Mode::empty());
        }
        if self.has_openat2 {
            match open_exact(self.root.as_fd(), real, FOLDER) {
                Err(Errno::NOSYS) => {}
                other => return other,
            }
        }
        let mut at = rustix::fs::openat(&self.root, c".", FOLDER, Mode::empty())?;
        for part in real.split(|b| *b == b'/') {
            at = rustix::fs::openat(&at, part, FOLDER, Mode::empty())?;
        }
        Ok(at)
    }

    /// The same, open for changes of its metadata.
    pub fn open_folder(&self, real: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if !real.is_empty() && self.has_openat2 {
            match open_exact(self.root.as_fd(), real, flags) {
                Err(Errno::NOSYS) => {}
                other => return other,
            }
        }
        rustix::fs::openat(self.exact(real)?, c".", flags, Mode::empty())
    }

    fn find(&mut self, asked: &[u8], make: bool) -> Result<(OwnedFd, Vec<u8>)> {
        match self.exact(asked) {
            Ok(folder) => Ok((folder, asked.to_vec())),
            // A link on the way, or something missing: step by step.
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT | Errno::XDEV | Errno::AGAIN) => {
                self.walk(asked, make).context(|| format!("folder {:?} of the layer", String::from_utf8_lossy(asked)))
            }
            Err(e) => Err(Error::from(e).context(format!("folder {:?} of the layer", String::from_utf8_lossy(asked)))),
        }
    }

    /// One name after the other. Holds one descriptor; `..` in a link's target goes back to the root and down again.
    fn walk(&mut self, asked: &[u8], make: bool) -> Result<(OwnedFd, Vec<u8>)> {
        let mut todo: VecDeque<Vec<u8>> = asked.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut at = self.exact(b"")?;
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = todo.pop_front() {
            steps += 1;
            if steps > MOST_STEPS {
                return Err(Errno::LOOP.into());
            }
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    real.truncate(path::split(&real).0.len());
                    steps += real.iter().filter(|b| **b == b'/').count() as u32;
                    at = self.exact(&real)?;
                    continue;
                }
                _ => {}
            }
            match rustix::fs::openat(&at, &part[..], FOLDER, Mode::empty()) {
                Ok(next) => {
                    at = next;
                    push(&mut real, &part);
                }
                Err(Errno::NOENT) if make => {
                    rustix::fs::mkdirat(&at, &part[..], Mode::from_raw_mode(0o755))?;
                    at = rustix::fs::openat(&at, &part[..], FOLDER, Mode::empty())?;
                    push(&mut real, &part);
                    self.note(&real)?;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let target = match rustix::fs::readlinkat(&at, &part[..], Vec::new()) {
                        Ok(target) => target.into_bytes(),
                        Err(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
                        Err(e) => return Err(e.into()),
                    };
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if target.first() == Some(&b'/') {
                        real.clear();
                        at = self.exact(b"")?;
                    }
                    for part in target.split(|b| *b == b'/').rev() {
                        todo.push_front(part.to_vec());
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok((at, real))
    }
}

fn push(real: &mut Vec<u8>, part: &[u8]) {
    if !real.is_empty() {
        real.push(b'/');
    }
    real.extend_from_slice(part);
}

/// Opens what lies below `root` at a path that has no symbolic link in it.
fn open_exact(root: BorrowedFd<'_>, real: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::io::retry_on_intr(|| rustix::fs::openat2(root, real, flags, Mode::empty(), resolve))
}

/// Opens a regular file below `root` for reading, at a path that has no symbolic link in it; anything else is an error. Reading does not
/// count as access where that is allowed: a new time for each file of an image would be written, twice.
pub fn open_file(root: BorrowedFd<'_>, real: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open_below(root, real, flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open_below(root, real, flags)?, // another's
        other => other?,
    };
    let stat = rustix::fs::fstat(&file)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() { Ok(file) } else { Err(Errno::INVAL) }
}

/// [`open_exact`], on a kernel that may not have openat2.
fn open_below(root: BorrowedFd<'_>, real: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match open_exact(root, real, flags) {
        Err(Errno::NOSYS) => {}
        other => return other,
    }
    let (folder, name) = path::split(real);
    let mut at = rustix::fs::openat(root, c".", FOLDER, Mode::empty())?;
    for part in folder.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
        if part == b".." {
            return Err(Errno::INVAL);
        }
        at = rustix::fs::openat(&at, part, FOLDER, Mode::empty())?;
    }
    rustix::fs::openat(&at, name, flags, Mode::empty())
}

/// The metadata of a name in a folder, not following a link; `None` if there is nothing.
pub fn stat(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

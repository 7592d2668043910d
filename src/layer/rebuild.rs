//! Rebuilding a layer's tar from its files and its skeleton: in order, or from any offset, in bounded memory. Nothing that the
//! skeleton says is trusted: lengths are checked, and files are opened only below the layer's own folders.

use crate::base::{Context, Error, Result};
use crate::layer::flush::forget_file;
use crate::layer::ops::{Op, Ops, damaged};
use crate::layer::skeleton::{END_MAGIC, HEAD, MAGIC, MOST_POINTS, MOVED, POINT, Point, TRAILER, VERSION, extra_name};
use crate::layer::{file_body::FileBody, path, place};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the tar that are passed over rather than looked up.
const NEAR: u64 = 256 * 1024;

/// A layer's skeleton, open for reading, with the folders it refers to.
pub struct Skeleton {
    file: File,
    fs: OwnedFd,
    extra: Option<OwnedFd>,
    tar_size: u64,
    entries: u64,
    ops_end: u64,
    moved_at: u64,
    moved: u64,
    index_at: u64,
    index: u64,
    points: OnceCell<Vec<Point>>,
}

impl Skeleton {
    /// Opens the skeleton in a layer's folder (that holds `fs` and perhaps `extra`).
    pub fn open(layer: &Path) -> Result<Skeleton> {
        let path = layer.join("skeleton");
        let what = || format!("open {}", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fs = rustix::fs::open(layer.join("fs"), flags, Mode::empty())
            .context(|| format!("open {}", layer.join("fs").display()))?;
        let extra = match rustix::fs::open(layer.join("extra"), flags, Mode::empty()) {
            Ok(folder) => Some(folder),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(Error::from(e).context(format!("open {}", layer.join("extra").display()))),
        };
        let file = File::open(&path).context(what)?;
        let length = file.metadata().context(what)?.len();
        let mut head = [0; HEAD as usize];
        let mut trailer = [0; TRAILER];
        if length < HEAD + 1 + TRAILER as u64 {
            return Err(damaged("too short").context(what()));
        }
        file.read_exact_at(&mut head, 0).context(what)?;
        file.read_exact_at(&mut trailer, length - TRAILER as u64).context(what)?;
        if &head[..8] != MAGIC || &trailer[TRAILER - 8..] != END_MAGIC {
            return Err(damaged("no skeleton").context(what()));
        }
        if head[8..16] != [VERSION.to_le_bytes(), [0; 4]].concat()[..] {
            return Err(Error::unsupported("skeleton of another version").context(what()));
        }
        let mut n = [0u64; 8];
        for (number, bytes) in n.iter_mut().zip(trailer.chunks_exact(8)) {
            *number = u64_at(bytes);
        }
        let [tar_size, entries, _files, ops_end, moved_at, moved, index_at, index] = n;
        let fits = |at: u64, count: u64, size: usize, end: u64| {
            count.checked_mul(size as u64).and_then(|l| at.checked_add(l)) == Some(end)
        };
        if ops_end < HEAD
            || ops_end.checked_add(1) != Some(moved_at)
            || !fits(moved_at, moved, MOVED, index_at)
            || !fits(index_at, index, POINT, length - TRAILER as u64)
        {
            return Err(damaged("its parts do not fit its length").context(what()));
        }
        Ok(Skeleton { file, fs, extra, tar_size, entries, ops_end, moved_at, moved, index_at, index, points: OnceCell::new() })
    }

    /// Length of the tar.
    pub fn tar_size(&self) -> u64 {
        self.tar_size
    }

    /// Entries of the tar.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads the operations from the start.
    pub fn ops(&self) -> Ops<'_> {
        Ops::new(&self.file, self.ops_end)
    }

    /// Reads the operations from the last index point at or before an offset of the tar.
    pub fn ops_before(&self, offset: u64) -> Result<Ops<'_>> {
        let points = self.points()?;
        let mut ops = self.ops();
        if let Some(before) = points.partition_point(|point| point.tar <= offset).checked_sub(1) {
            ops.jump(points[before])?;
        }
        Ok(ops)
    }

    /// The tar as a stream that can be read from any offset.
    pub fn tar(&self) -> TarReader<'_> {
        TarReader { skeleton: self, ops: self.ops(), piece: Piece::None, open: None, forget: false }
    }

    /// Opens the file of a FILE operation.
    pub fn open_file(&self, ordinal: u64, path: &[u8]) -> Result<OwnedFd> {
        let name = || String::from_utf8_lossy(path).into_owned();
        match self.find_moved(ordinal)? {
            None => place::open_file(self.fs.as_fd(), path).context(|| format!("file {:?} of the layer", name())),
            Some((sequence, strip)) => {
                let extra = self.extra.as_ref().ok_or_else(|| damaged("extra/ is missing"))?;
                let rest = path.get(strip as usize..).ok_or_else(|| damaged("a replaced file"))?;
                let mut moved = extra_name(sequence).into_bytes();
                moved.extend_from_slice(rest);
                place::open_file(extra.as_fd(), &moved).context(|| format!("replaced file {:?} of the layer", name()))
            }
        }
    }

    /// Is there nothing at the place of an entry? In a layer that has replaced nothing, each is where it was made. (A kernel that
    /// cannot look misses nothing.)
    pub fn lacks(&self, entry: &[u8]) -> bool {
        let Ok(name) = path::clean(entry) else { return false };
        let (folder, last) = path::split(&name);
        let name = match last.strip_prefix(b".wh.") {
            Some(hidden) if hidden.starts_with(b".wh.") => folder.to_vec(),
            Some(hidden) if folder.is_empty() => hidden.to_vec(),
            Some(hidden) => [folder, b"/", hidden].concat(),
            None => name.clone(),
        };
        if name.is_empty() {
            return false;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fs, &name[..], flags, Mode::empty(), resolve).is_err_and(|e| e == Errno::NOENT)
    }

    /// Calls `found` with each file whose content is not what it was, and how; reads everything. `go_on` is asked between files.
    pub fn damaged_files(&self, go_on: &dyn Fn() -> Result<()>, found: &mut dyn FnMut(&[u8], &str)) -> Result<()> {
        let mut buffer = vec![0; 128 * 1024];
        let mut ops = self.ops();
        while let Some(op) = ops.next()? {
            let Op::File { ordinal, offset, length, sum, .. } = op else { continue };
            go_on()?;
            match self.sum_of(ordinal, ops.path(), offset, length, &mut buffer) {
                Ok(now) if now == sum => {}
                Ok(_) => found(ops.path(), "its content has changed"),
                Err(e) => found(ops.path(), &e.to_string()),
            }
        }
        Ok(())
    }

    fn sum_of(&self, ordinal: u64, path: &[u8], mut offset: u64, mut left: u64, buffer: &mut [u8]) -> Result<u32> {
        let file = self.open_file(ordinal, path)?;
        let mut sum = crc32fast::Hasher::new();
        while left > 0 {
            let n = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut buffer[..n], offset))?;
            if got == 0 {
                return Err(Error::internal("it is shorter than it was"));
            }
            sum.update(&buffer[..got]);
            (offset, left) = (offset + got as u64, left - got as u64);
        }
        forget_file(file.as_fd());
        Ok(sum.finalize())
    }

    /// The index, read when it is needed for the first time.
    fn points(&self) -> Result<&[Point]> {
        if let Some(points) = self.points.get() {
            return Ok(points);
        }
        if self.index > MOST_POINTS as u64 {
            return Err(damaged("its index"));
        }
        let mut bytes = vec![0; self.index as usize * POINT];
        self.file.read_exact_at(&mut bytes, self.index_at).context(|| "read the index of a skeleton")?;
        let point = |b: &[u8]| Point { tar: u64_at(b), at: u64_at(&b[8..]), files: u64_at(&b[16..]) };
        Ok(self.points.get_or_init(|| bytes.chunks_exact(POINT).map(point).collect()))
    }

    fn find_moved(&self, ordinal: u64) -> Result<Option<(u32, u32)>> {
        let (mut low, mut high) = (0, self.moved);
        while low < high {
            let middle = (low + high) / 2;
            let mut bytes = [0; MOVED];
            self.file.read_exact_at(&mut bytes, self.moved_at + middle * MOVED as u64).context(|| "read a skeleton")?;
            let found = u64_at(&bytes);
            if found == ordinal {
                let part = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                return Ok(Some((part(8), part(12))));
            }
            if found < ordinal { low = middle + 1 } else { high = middle }
        }
        Ok(None)
    }
}

fn u64_at(bytes: &[u8]) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(out)
}

/// What is left of the operation being read.
enum Piece {
    None,
    Bytes {
        data: Vec<u8>,
        used: usize,
    },
    /// Opened when it is read: a seek passes over many.
    File {
        ordinal: u64,
        /// Where in the file the next byte is, and where the first was.
        offset: u64,
        start: u64,
        left: u64,
        pad: u64,
    },
    Zeros(u64),
}

impl Piece {
    /// Bytes that are not read yet.
    fn left(&self) -> u64 {
        match self {
            Piece::None => 0,
            Piece::Bytes { data, used } => (data.len() - used) as u64,
            Piece::File { left, pad, .. } => left + pad,
            Piece::Zeros(left) => *left,
        }
    }
}

/// The tar of a layer as a stream with random access. Reading on from where the last read ended is cheap.
pub struct TarReader<'a> {
    skeleton: &'a Skeleton,
    ops: Ops<'a>,
    piece: Piece,
    open: Option<OwnedFd>,
    forget: bool,
}

impl Drop for TarReader<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl TarReader<'_> {
    /// The file at hand is done with.
    fn close(&mut self) {
        if let Some(file) = self.open.take().filter(|_| self.forget) {
            forget_file(file.as_fd());
        }
    }

    /// Drops what was read from the page cache, file by file: for whole-tar passes over cold layers.
    pub fn forgetful(mut self) -> Self {
        self.forget = true;
        self
    }

    /// The next bytes of the tar; 0 at its end.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let n = self.read_piece(&mut buf[filled..])?;
            if n == 0 && !self.next_piece()? {
                break;
            }
            filled += n;
        }
        Ok(filled)
    }

    /// Reads from an offset of the tar; fewer bytes only at its end.
    pub fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if offset != self.offset() {
            self.seek(offset)?;
        }
        self.read(buf)
    }

    /// Reading there costs little: it is where the last read ended, or a little behind it.
    pub fn is_near(&self, offset: u64) -> bool {
        (self.offset()..=self.passable()).contains(&offset)
    }

    /// How far it is read on to rather than looked up. (A damaged skeleton may name any offset.)
    fn passable(&self) -> u64 {
        self.ops.tar_offset().saturating_add(NEAR)
    }

    /// All content of the file that an offset of the tar is in, if it is in one.
    pub fn body_at(&mut self, offset: u64) -> Result<Option<FileBody>> {
        if offset != self.offset() {
            self.seek(offset)?;
        }
        while self.piece.left() == 0 {
            if !self.next_piece()? {
                return Ok(None);
            }
        }
        let Piece::File { ordinal, offset: next, start, left, .. } = self.piece else { return Ok(None) };
        let here = self.offset();
        let Some(begin) = here.checked_sub(next - start).filter(|_| left > 0) else { return Ok(None) };
        let file = match self.open.take() {
            Some(file) => file,
            None => self.skeleton.open_file(ordinal, self.ops.path())?,
        };
        Ok(Some(FileBody::new(file, self.ops.path(), begin..here + left, start)))
    }

    /// As [`Self::body_at`], of the next file, if that is no larger and no farther away.
    pub fn next_body(&mut self, largest: u64, limit: u64) -> Result<Option<FileBody>> {
        while self.offset() < limit && self.next_piece()? {
            match self.piece {
                Piece::File { left, .. } if left > largest => break,
                Piece::File { left, .. } if left > 0 => return self.body_at(self.offset()),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Where the next read begins.
    pub fn offset(&self) -> u64 {
        self.ops.tar_offset() - self.piece.left()
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        // Forward within the same neighbourhood needs no new start; backward does.
        let here = self.offset();
        if offset < here || offset > self.passable() {
            self.ops = self.skeleton.ops_before(offset)?;
            self.piece = Piece::None;
        }
        loop {
            let mut over = offset.saturating_sub(self.offset());
            if over == 0 {
                return Ok(());
            }
            match &mut self.piece {
                Piece::None => {}
                Piece::Bytes { data, used } => *used += over.min((data.len() - *used) as u64) as usize,
                Piece::File { offset, left, pad, .. } => {
                    let n = over.min(*left);
                    (*offset, *left, over) = (*offset + n, *left - n, over - n);
                    *pad -= over.min(*pad);
                }
                Piece::Zeros(left) => *left -= over.min(*left),
            }
            if self.offset() < offset && !self.next_piece()? {
                return Ok(());
            }
        }
    }

    fn read_piece(&mut self, buf: &mut [u8]) -> Result<usize> {
        Ok(match &mut self.piece {
            Piece::None => 0,
            Piece::Bytes { data, used } => {
                let n = buf.len().min(data.len() - *used);
                buf[..n].copy_from_slice(&data[*used..*used + n]);
                *used += n;
                n
            }
            Piece::File { ordinal, offset, left, .. } if *left > 0 => {
                let n = buf.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let file = opened(&mut self.open, self.skeleton, *ordinal, self.ops.path())?;
                let got = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buf[..n], *offset));
                let name = || format!("file {:?} of the layer", String::from_utf8_lossy(self.ops.path()));
                let got = got.context(name)?;
                if got == 0 {
                    return Err(damaged("the file is shorter than it was").context(name()));
                }
                (*offset, *left) = (*offset + got as u64, *left - got as u64);
                got
            }
            Piece::File { pad, .. } => {
                let n = buf.len().min(*pad as usize);
                buf[..n].fill(0);
                *pad -= n as u64;
                n
            }
            Piece::Zeros(left) => {
                let n = buf.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                buf[..n].fill(0);
                *left -= n as u64;
                n
            }
        })
    }

    fn next_piece(&mut self) -> Result<bool> {
        self.close();
        let mut data = match std::mem::replace(&mut self.piece, Piece::None) {
            Piece::Bytes { mut data, .. } => {
                data.clear();
                data
            }
            _ => Vec::new(),
        };
        let Some(next) = self.ops.next()? else { return Ok(false) };
        self.piece = match next {
            Op::Block(slot) => {
                data.extend_from_slice(self.ops.block(slot));
                Piece::Bytes { data, used: 0 }
            }
            Op::Literal(_) => {
                self.ops.take(&mut data)?;
                Piece::Bytes { data, used: 0 }
            }
            Op::File { ordinal, offset, length, pad, .. } => Piece::File { ordinal, offset, start: offset, left: length, pad },
            Op::Zeros(n) => Piece::Zeros(n),
            Op::Reset => Piece::None,
        };
        Ok(true)
    }
}

/// The file of an operation, opened when it is needed for the first time.
fn opened<'a>(open: &'a mut Option<OwnedFd>, skeleton: &Skeleton, ordinal: u64, path: &[u8]) -> Result<&'a OwnedFd> {
    Ok(match open {
        Some(file) => file,
        none => none.insert(skeleton.open_file(ordinal, path)?),
    })
}

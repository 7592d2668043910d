//! What a delta copies from: the exact tars of layers, one after the other, with random access. They come from tar files, or from a
//! store's files through their skeletons.

use crate::base::{Context, Error, Result};
use crate::delta::ahead::Ahead;
use crate::layer::{FileBody, Skeleton, TarReader};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Places in skeletons that are read on from, each about 20 kB of memory.
const MOST_READERS: usize = 4;
/// Files that are open at once, or an eighth of what the process may have: copies go to and fro between a few…
const MOST_BODIES: usize = 128;
/// …or fewer, if so many bytes of them have been read: what is open stays in the page cache.
const MOST_CACHED: u64 = 32 << 20;
/// Programs are made of copies of some dozens of bytes, one near the other: such are taken from pages of files, of which a few are kept.
const PAGE: usize = 4096;
const MOST_PAGES: usize = 16;

/// Where a layer's tar is.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// In a store.
    Layer(&'a Skeleton),
    /// In a file of that many bytes.
    Tar(&'a File, u64),
}

impl Origin<'_> {
    /// Length of the tar.
    pub fn size(&self) -> u64 {
        match self {
            Origin::Layer(skeleton) => skeleton.tar_size(),
            Origin::Tar(_, size) => *size,
        }
    }
}

/// Layers' tars as one sequence of bytes.
pub struct Base<'a> {
    parts: Vec<Part<'a>>,
    size: u64,
    /// Those that were used last come last, of all three.
    readers: Vec<Reader<'a>>,
    bodies: Vec<(usize, FileBody)>,
    most_bodies: usize,
    pages: Vec<Page>,
    ahead: Ahead,
}

struct Part<'a> {
    origin: Origin<'a>,
    start: u64,
}

/// A part of a file's content.
struct Page {
    layer: usize,
    at: u64,
    bytes: Vec<u8>,
}

/// A place in a layer.
struct Reader<'a> {
    layer: usize,
    tar: TarReader<'a>,
}

/// Puts the one that is meant last, as what was used last; false if there is none.
fn comes_last<T>(all: &mut [T], is_meant: impl Fn(&T) -> bool) -> bool {
    let Some(found) = all.iter().rposition(is_meant) else { return false };
    all[found..].rotate_left(1);
    true
}

impl Page {
    fn has(&self, at: u64) -> bool {
        at.checked_sub(self.at).is_some_and(|from| from < self.bytes.len() as u64)
    }

    /// Reads up to its end; how many bytes that were.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> usize {
        let from = &self.bytes[(at - self.at) as usize..];
        let n = from.len().min(buf.len());
        buf[..n].copy_from_slice(&from[..n]);
        n
    }
}

impl<'a> Base<'a> {
    /// Of these layers, in this order.
    pub fn new(layers: &[Origin<'a>]) -> Result<Base<'a>> {
        let (mut parts, mut size) = (Vec::with_capacity(layers.len()), 0u64);
        for origin in layers {
            parts.push(Part { origin: *origin, start: size });
            size = size.checked_add(origin.size()).ok_or_else(|| Error::invalid("a base larger than can be counted"))?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
        let most_bodies = MOST_BODIES.min(usize::try_from(limit / 8).unwrap_or(MOST_BODIES)).max(1);
        Ok(Base { parts, size, readers: Vec::new(), bodies: Vec::new(), most_bodies, pages: Vec::new(), ahead: Ahead::default() })
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Which layer has that byte, and where.
    pub fn locate(&self, offset: u64) -> Option<(usize, u64)> {
        let nth = self.parts.partition_point(|part| part.start <= offset).checked_sub(1)?;
        (offset < self.size).then(|| (nth, offset - self.parts[nth].start))
    }

    /// Fills `buf` with what is at `offset`; it may go over the end of a layer.
    pub fn read_exact_at(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            let (nth, at) = self.locate(offset).ok_or_else(|| Error::invalid("a copy from beyond the end of the base"))?;
            let n = usize::try_from(self.parts[nth].origin.size() - at).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(n);
            self.read_part(nth, at, now)?;
            (buf, offset) = (rest, offset + n as u64);
        }
        Ok(())
    }

    /// The file of a store whose content begins at `offset`, most of which is to be read now: if it is small, with its neighbours.
    pub fn file_at(&mut self, offset: u64) -> Result<Option<Rc<OwnedFd>>> {
        let Some((nth, at)) = self.locate(offset) else { return Ok(None) };
        if let Some(file) = self.ahead.file_from(nth, at) {
            return Ok(Some(file));
        }
        if !self.is_open(nth, at)
            && let Some(body) = self.open(nth, at)?
            && let Some(reader) = self.readers.last_mut()
        {
            match self.ahead.fill(nth, body, &mut reader.tar) {
                Some(body) => self.keep(nth, body),
                None => {
                    if let Some(file) = self.ahead.file_from(nth, at) {
                        return Ok(Some(file));
                    }
                }
            }
        }
        // If it could not be read with others, it is opened anew.
        Ok(self.body(nth, at)?.and_then(|body| body.file_from(at)))
    }

    fn read_part(&mut self, nth: usize, mut at: u64, mut buf: &mut [u8]) -> Result<()> {
        if let Origin::Tar(file, _) = self.parts[nth].origin {
            return file.read_exact_at(buf, at).context(|| "read the base's tar");
        }
        while !buf.is_empty() {
            let n = match self.ahead.read_at(nth, at, buf) {
                Some(n) => n,
                None if buf.len() <= PAGE / 2 && self.turn_page(nth, at)? => {
                    self.pages.last().map_or(0, |page| page.read_at(at, buf))
                }
                None => match self.body(nth, at)? {
                    Some(body) => {
                        let n = body.read_at(at, buf)?;
                        // Most are read from start to end, once: the next that has to go.
                        if at + n as u64 == body.range().end {
                            self.bodies.rotate_right(1);
                        }
                        n
                    }
                    None => self.read_headers(nth, at, buf)?,
                },
            };
            (buf, at) = (&mut buf[n..], at + n as u64);
        }
        Ok(())
    }

    /// Makes the page that an offset of a layer is in the last one; false if that is in no file.
    fn turn_page(&mut self, nth: usize, at: u64) -> Result<bool> {
        if comes_last(&mut self.pages, |page| page.layer == nth && page.has(at)) {
            return Ok(true);
        }
        if self.body(nth, at)?.is_none() {
            return Ok(false);
        }
        let spare = (self.pages.len() >= MOST_PAGES).then(|| self.pages.remove(0).bytes);
        let Some((_, body)) = self.bodies.last() else { return Ok(false) };
        let range = body.range();
        let start = at - (at - range.start) % PAGE as u64;
        let mut bytes = spare.unwrap_or_else(|| vec![0; PAGE]);
        bytes.resize(PAGE.min(usize::try_from(range.end - start).unwrap_or(PAGE)), 0);
        body.read_at(start, &mut bytes)?;
        self.pages.push(Page { layer: nth, at: start, bytes });
        Ok(true)
    }

    /// The content of the file that an offset of a layer of a store is in, if it is in one.
    fn body(&mut self, nth: usize, at: u64) -> Result<Option<&FileBody>> {
        if !self.is_open(nth, at) {
            let Some(body) = self.open(nth, at)? else { return Ok(None) };
            self.keep(nth, body);
        }
        Ok(self.bodies.last().map(|(_, body)| body))
    }

    /// If that file is open, it is the last one now.
    fn is_open(&mut self, nth: usize, at: u64) -> bool {
        comes_last(&mut self.bodies, |(layer, body)| *layer == nth && body.range().contains(&at))
    }

    /// Opens that file by a reader, the last one now.
    fn open(&mut self, nth: usize, at: u64) -> Result<Option<FileBody>> {
        Ok(self.reader(nth, at).map(|reader| reader.body_at(at)).transpose()?.flatten())
    }

    fn keep(&mut self, nth: usize, body: FileBody) {
        self.bodies.push((nth, body));
        while self.bodies.len() > self.most_bodies || self.bodies.len() > 1 && self.cached() > MOST_CACHED {
            self.bodies.remove(0);
        }
    }

    /// Bytes of the open files that the page cache may have.
    fn cached(&self) -> u64 {
        self.bodies.iter().map(|(_, body)| body.cached()).fold(0, u64::saturating_add)
    }

    /// Reads what is in no file, and then, perhaps, what is.
    fn read_headers(&mut self, nth: usize, at: u64, buf: &mut [u8]) -> Result<usize> {
        match self.reader(nth, at).map(|reader| reader.read_at(at, buf)).transpose()? {
            Some(n) if n == buf.len() => Ok(n),
            _ => Err(Error::internal("a layer of the base is shorter than it was")),
        }
    }

    /// A reader of a layer of a store: one that is there already, or else that which was not used for the longest time.
    fn reader(&mut self, nth: usize, at: u64) -> Option<&mut TarReader<'a>> {
        let Origin::Layer(skeleton) = self.parts[nth].origin else { return None };
        if !comes_last(&mut self.readers, |reader| reader.layer == nth && reader.tar.is_near(at)) {
            let oldest = (self.readers.len() >= MOST_READERS).then(|| self.readers.remove(0));
            let fresh = || Reader { layer: nth, tar: skeleton.tar().forgetful() };
            self.readers.push(oldest.filter(|reader| reader.layer == nth).unwrap_or_else(fresh));
        }
        self.readers.last_mut().map(|reader| &mut reader.tar)
    }
}

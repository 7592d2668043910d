//! What a delta copies from: the exact tars of layers, one after the other, with random access. They come from tar files, or from a
//! store's files through their skeletons.

use crate::base::{Context, Error, Result};
use crate::layer::{Skeleton, TarReader};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Places that are open for reading at once, each in a file of its own and about 20 kB of memory: copies go to and fro between a few files.
const MOST_OPEN: usize = 8;

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
    /// Those that were used last come last.
    readers: Vec<Reader<'a>>,
}

struct Part<'a> {
    origin: Origin<'a>,
    start: u64,
}

/// A place in a layer.
struct Reader<'a> {
    layer: usize,
    tar: TarReader<'a>,
}

impl<'a> Base<'a> {
    /// Of these layers, in this order.
    pub fn new(layers: &[Origin<'a>]) -> Result<Base<'a>> {
        let (mut parts, mut size) = (Vec::with_capacity(layers.len()), 0u64);
        for origin in layers {
            parts.push(Part { origin: *origin, start: size });
            size = size.checked_add(origin.size()).ok_or_else(|| Error::invalid("a base larger than can be counted"))?;
        }
        Ok(Base { parts, size, readers: Vec::new() })
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

    /// The file of a store whose content begins at `offset`, if that is all of it.
    pub fn file_at(&mut self, offset: u64) -> Result<Option<OwnedFd>> {
        let Some((nth, at)) = self.locate(offset) else { return Ok(None) };
        match self.reader(nth, at) {
            Some(reader) => reader.file_at(at),
            None => Ok(None),
        }
    }

    fn read_part(&mut self, nth: usize, at: u64, buf: &mut [u8]) -> Result<()> {
        if let Origin::Tar(file, _) = self.parts[nth].origin {
            return file.read_exact_at(buf, at).context(|| "read the base's tar");
        }
        match self.reader(nth, at).map(|reader| reader.read_at(at, buf)).transpose()? {
            Some(n) if n == buf.len() => Ok(()),
            _ => Err(Error::internal("a layer of the base is shorter than it was")),
        }
    }

    /// A reader of a layer of a store: the one that is there already, or in the file that has the place, or the one that was not used
    /// for the longest time.
    fn reader(&mut self, nth: usize, at: u64) -> Option<&mut TarReader<'a>> {
        let Origin::Layer(skeleton) = self.parts[nth].origin else { return None };
        let found = self.readers.iter().rposition(|reader| reader.layer == nth && reader.tar.is_near(at));
        let reader = match found {
            Some(found) => self.readers.remove(found),
            None => {
                let oldest = (self.readers.len() >= MOST_OPEN).then(|| self.readers.remove(0));
                oldest
                    .filter(|reader| reader.layer == nth)
                    .unwrap_or_else(|| Reader { layer: nth, tar: skeleton.tar().forgetful() })
            }
        };
        self.readers.push(reader);
        self.readers.last_mut().map(|reader| &mut reader.tar)
    }
}

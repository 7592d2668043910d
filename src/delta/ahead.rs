//! Small files of a base that are read at once, before they are asked for: an image of thousands of files is thousands of waits for
//! the device, unless some wait together.

use crate::layer::{FileBody, TarReader};
use crate::sys::aio::{ALIGNED, Read, Reads};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The most files at once.
const MOST: usize = 16;
/// Larger ones are requests that any device likes.
const LARGEST: u64 = 64 << 10;
/// Memory for them.
const ROOM: usize = 256 << 10;
/// Who asks for a file so far behind the last one goes through the layer in order.
const NEAR: u64 = 1 << 20;

/// Files of one layer with all their content, in the tar's order.
#[derive(Default)]
pub struct Ahead {
    layer: usize,
    files: Vec<(FileBody, Range<usize>)>,
    /// How many of them have been asked for.
    used: usize,
    /// Where in the tar the last one ended.
    end: u64,
    memory: Vec<u8>,
    /// Where in the memory the first address is that is good for devices.
    first: usize,
    reads: Option<Reads>,
}

impl Ahead {
    fn find(&self, layer: usize, at: u64) -> Option<&(FileBody, Range<usize>)> {
        if layer != self.layer || at >= self.end {
            return None;
        }
        self.files.iter().find(|(body, _)| body.range().contains(&at))
    }

    /// The file whose content begins there, if it is here.
    pub fn file_from(&mut self, layer: usize, at: u64) -> Option<Rc<OwnedFd>> {
        let file = self.find(layer, at)?.0.file_from(at)?;
        self.used += 1;
        Some(file)
    }

    /// Reads from an offset of the layer's tar to the end of the file there, if it is here; how many bytes that were.
    pub fn read_at(&self, layer: usize, at: u64, buf: &mut [u8]) -> Option<usize> {
        let (body, place) = self.find(layer, at)?;
        let from = place.start + (at - body.range().start) as usize;
        let n = buf.len().min(place.end - from);
        buf[..n].copy_from_slice(&self.memory[from..from + n]);
        Some(n)
    }

    /// Somebody wants all of a file: reads it and those after it, twice as many as were of use the last time. Gives the file back if
    /// it is not among them: one out of order, too large, or that cannot be read so.
    pub fn fill(&mut self, layer: usize, file: FileBody, tar: &mut TarReader<'_>) -> Option<FileBody> {
        let (start, end) = (file.range().start, file.range().end);
        let is_next = layer == self.layer && (self.end..=self.end.saturating_add(NEAR)).contains(&start);
        let used = if is_next { self.used.max(1) } else { 1 };
        self.files.clear();
        (self.layer, self.used, self.end) = (layer, used, end);
        if !is_next || end - start > LARGEST || !self.is_ready() || !file.read_directly() {
            return Some(file);
        }
        let (most, mut free) = (MOST.min(used * 2), self.first);
        let mut next = Some(file);
        while let Some(file) = next.take() {
            let size = (file.range().end - file.range().start) as usize;
            self.files.push((file, free..free + size));
            free += size.next_multiple_of(ALIGNED);
            if self.files.len() < most {
                let largest = LARGEST.min((self.first + ROOM - free) as u64);
                // What is wrong with a file is said to who asks for it.
                next = tar.next_body(largest, start.saturating_add(NEAR)).unwrap_or(None).filter(FileBody::read_directly);
            }
        }
        self.read();
        self.used = 0;
        None
    }

    /// Has what it needs; a kernel may lack it.
    fn is_ready(&mut self) -> bool {
        if self.memory.is_empty() {
            self.reads = Reads::new(MOST).ok();
            self.memory = vec![0; ROOM + ALIGNED];
            self.first = self.memory.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        }
        self.reads.is_some()
    }

    fn read(&mut self) {
        let (Some(reads), Some(mut memory)) = (&mut self.reads, self.memory.get_mut(self.first..)) else { return };
        let mut wanted = Vec::with_capacity(self.files.len());
        for (body, place) in &self.files {
            let (buffer, rest) = memory.split_at_mut(place.len().next_multiple_of(ALIGNED).min(memory.len()));
            wanted.push(Read { file: body.file(), buffer, result: Ok(0) });
            memory = rest;
        }
        reads.read(&mut wanted);
        // What did not come is left to who asks for it, and says what was wrong.
        let mut come = wanted.iter().map(|read| read.result).collect::<Vec<_>>().into_iter();
        self.files.retain(|(_, place)| come.next().is_some_and(|result| result.is_ok_and(|n| n >= place.len())));
        self.end = self.files.last().map_or(self.end, |(body, _)| body.range().end);
    }
}

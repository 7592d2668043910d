//! A base read in short pieces from all over: the last blocks are kept, because to find a place in a layer's tar costs more than to read
//! some kilobytes of it.

use crate::base::{Result, need};
use crate::delta::base::Base;

/// Bytes of a block, and how many are kept: 1 MB.
const BLOCK: usize = 16 * 1024;
const KEPT: usize = 64;

/// A base, and some of its blocks.
pub struct Blocks<'a> {
    base: Base<'a>,
    /// Which block is in which place.
    numbers: [Option<u64>; KEPT],
    bytes: Vec<u8>,
}

impl<'a> Blocks<'a> {
    /// Of this base.
    pub fn new(base: Base<'a>) -> Blocks<'a> {
        need::announce((KEPT * BLOCK) as u64);
        Blocks { base, numbers: [None; KEPT], bytes: vec![0; KEPT * BLOCK] }
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.base.size()
    }

    /// Fills `buf` with what is at `offset`.
    pub fn read_exact_at(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let beyond = offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size());
        if buf.len() >= BLOCK || beyond {
            return self.base.read_exact_at(offset, buf);
        }
        while !buf.is_empty() {
            let (number, within) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
            let block = self.block(number)?;
            let n = buf.len().min(block.len() - within);
            let (now, rest) = buf.split_at_mut(n);
            now.copy_from_slice(&block[within..within + n]);
            (buf, offset) = (rest, offset + n as u64);
        }
        Ok(())
    }

    fn block(&mut self, number: u64) -> Result<&[u8]> {
        let place = (number % KEPT as u64) as usize;
        let start = number * BLOCK as u64;
        let length = usize::try_from(self.base.size() - start).unwrap_or(BLOCK).min(BLOCK);
        let bytes = &mut self.bytes[place * BLOCK..][..length];
        if self.numbers[place] != Some(number) {
            self.numbers[place] = None;
            self.base.read_exact_at(start, bytes)?;
            self.numbers[place] = Some(number);
        }
        Ok(bytes)
    }
}

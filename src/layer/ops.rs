//! The operations of a skeleton, read one after the other in bounded memory. Nothing that they say is trusted.

use crate::base::{Context, Error, Result};
use crate::layer::entry::LONGEST_PATH;
use crate::layer::skeleton::{HEAD, Point, canonical_sum, op, plain_path};
use crate::layer::tar::BLOCK;
use std::fs::File;
use std::os::unix::fs::FileExt;

const BUFFER: usize = 16 * 1024;

/// A skeleton that is not what it was.
pub(super) fn damaged(what: &str) -> Error {
    Error::internal(format!("skeleton is damaged: {what}"))
}

/// One operation. Together, in order, they are the tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A header block: [`Ops::block`] of this slot has it.
    Block(usize),
    /// Content of a file: [`Ops::path`] has its path.
    File {
        /// Its number among FILE operations.
        ordinal: u64,
        /// Where in the file.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Zero bytes after it.
        pad: u64,
        /// CRC-32 of the content.
        sum: u32,
    },
    /// So many bytes follow: [`Ops::take`] gives them; what is not taken is skipped.
    Literal(u64),
    /// So many zero bytes.
    Zeros(u64),
    /// An entry begins here.
    Reset,
}

/// Reads the operations of a skeleton one after the other.
pub struct Ops<'a> {
    file: &'a File,
    end: u64,
    /// Where the buffer's end is in the file.
    at: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read, and that were used of these.
    filled: usize,
    used: usize,
    tar: u64,
    files: u64,
    templates: [[u8; BLOCK]; 4],
    named: Vec<u8>,
    path: Vec<u8>,
    literal: u64,
}

impl<'a> Ops<'a> {
    /// From the first operation; `end` is where END is.
    pub(super) fn new(file: &'a File, end: u64) -> Ops<'a> {
        Ops {
            file,
            end,
            at: HEAD,
            buffer: Vec::new(),
            filled: 0,
            used: 0,
            tar: 0,
            files: 0,
            templates: [[0; BLOCK]; 4],
            named: Vec::new(),
            path: Vec::new(),
            literal: 0,
        }
    }

    /// The offset in the tar of the next operation.
    pub fn tar_offset(&self) -> u64 {
        self.tar
    }

    /// The header block last given in a slot.
    pub fn block(&self, slot: usize) -> &[u8; BLOCK] {
        &self.templates[slot & 3]
    }

    /// The path of the last FILE operation.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next operation; `None` at the end.
    #[allow(clippy::should_implement_trait)] // it lends its blocks, which an Iterator cannot
    pub fn next(&mut self) -> Result<Option<Op>> {
        while self.literal > 0 {
            let n = self.literal.min(BUFFER as u64) as usize;
            self.skip(n)?;
            self.literal -= n as u64;
        }
        if self.at - (self.filled - self.used) as u64 >= self.end {
            return Ok(None);
        }
        let code = self.byte()?;
        let (next, length) = match code & 7 {
            op::BLOCK => {
                let slot = usize::from(code >> 3 & 3);
                self.read_block(slot, code & op::SUMMED != 0)?;
                (Op::Block(slot), BLOCK as u64)
            }
            op::FILE => self.read_file(code)?,
            op::LITERAL => {
                self.literal = self.number()?;
                if self.literal > BLOCK as u64 {
                    return Err(damaged("a literal too long"));
                }
                (Op::Literal(self.literal), self.literal)
            }
            op::ZEROS => {
                let n = self.number()?;
                (Op::Zeros(n), n)
            }
            op::RESET => {
                self.templates = [[0; BLOCK]; 4];
                self.named.clear();
                (Op::Reset, 0)
            }
            _ => return Err(damaged("an unknown operation")),
        };
        self.tar = self.tar.checked_add(length).ok_or_else(|| damaged("too long"))?;
        Ok(Some(next))
    }

    /// Takes the bytes of the literal just announced.
    pub fn take(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let n = std::mem::take(&mut self.literal) as usize;
        let bytes = self.bytes(n)?;
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Goes on from an index point.
    pub(super) fn jump(&mut self, point: Point) -> Result<()> {
        if point.at < HEAD || point.at >= self.end {
            return Err(damaged("its index"));
        }
        (self.at, self.tar, self.files) = (point.at, point.tar, point.files);
        (self.filled, self.used) = (0, 0);
        Ok(())
    }

    fn read_block(&mut self, slot: usize, summed: bool) -> Result<()> {
        let runs = self.number()?;
        let mut at = 0usize;
        for _ in 0..runs.min(BLOCK as u64) {
            let skip = self.number()?.min(BLOCK as u64) as usize;
            let length = self.number()?.min(BLOCK as u64) as usize;
            let start = at + skip;
            at = start + length;
            if at > BLOCK || length == 0 {
                return Err(damaged("a header block"));
            }
            let mut bytes = [0; BLOCK];
            bytes[..length].copy_from_slice(self.bytes(length)?);
            self.templates[slot][start..at].copy_from_slice(&bytes[..length]);
        }
        if summed {
            let field = canonical_sum(&self.templates[slot]);
            self.templates[slot][148..156].copy_from_slice(&field);
        }
        Ok(())
    }

    fn read_file(&mut self, code: u8) -> Result<(Op, u64)> {
        let mut sum = [0; 4];
        if code & op::SUM == 0 {
            return Err(damaged("a file without a checksum"));
        }
        sum.copy_from_slice(self.bytes(4)?);
        let length = self.number()?;
        let offset = if code & op::OFFSET != 0 { self.number()? } else { 0 };
        self.path.clear();
        if code & op::NAMED != 0 {
            let shared = usize::try_from(self.number()?).unwrap_or(usize::MAX);
            let more = usize::try_from(self.number()?).unwrap_or(usize::MAX);
            if shared > self.named.len() || more > LONGEST_PATH {
                return Err(damaged("a path"));
            }
            let mut named = std::mem::take(&mut self.named);
            named.truncate(shared);
            named.extend_from_slice(self.bytes(more)?);
            self.path.extend_from_slice(&named);
            self.named = named;
        } else {
            let plain = plain_path(&self.templates[0]).ok_or_else(|| damaged("a path"))?;
            self.path.extend_from_slice(&plain);
        }
        offset.checked_add(length).filter(|end| *end <= i64::MAX as u64).ok_or_else(|| damaged("a length"))?;
        let too_long = || damaged("too long");
        let end = self.tar.checked_add(length).ok_or_else(too_long)?;
        let pad = match code & op::PADDED {
            0 => 0,
            _ => end.checked_next_multiple_of(BLOCK as u64).ok_or_else(too_long)? - end,
        };
        let ordinal = self.files;
        self.files = ordinal.checked_add(1).ok_or_else(too_long)?;
        Ok((Op::File { ordinal, offset, length, pad, sum: u32::from_le_bytes(sum) }, length + pad))
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("a number too long"))
    }

    fn byte(&mut self) -> Result<u8> {
        match self.buffer[..self.filled].get(self.used) {
            Some(byte) => {
                self.used += 1;
                Ok(*byte)
            }
            None => Ok(self.bytes(1)?[0]),
        }
    }

    /// The next `n` bytes (at most a path's or a block's worth).
    fn bytes(&mut self, n: usize) -> Result<&[u8]> {
        if self.filled - self.used < n {
            self.buffer.copy_within(self.used..self.filled, 0);
            (self.filled, self.used) = (self.filled - self.used, 0);
            if self.buffer.len() < n.max(BUFFER) {
                let old = std::mem::replace(&mut self.buffer, vec![0; n.max(BUFFER)]);
                self.buffer[..self.filled].copy_from_slice(&old[..self.filled]);
            }
            let more = self.end.saturating_sub(self.at).min((self.buffer.len() - self.filled) as u64) as usize;
            if self.filled + more < n {
                return Err(damaged("it ends too early"));
            }
            self.file.read_exact_at(&mut self.buffer[self.filled..][..more], self.at).context(|| "read a skeleton")?;
            (self.at, self.filled) = (self.at + more as u64, self.filled + more);
        }
        self.used += n;
        Ok(&self.buffer[self.used - n..self.used])
    }

    fn skip(&mut self, n: usize) -> Result<()> {
        self.bytes(n).map(|_| ())
    }
}

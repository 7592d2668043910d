//! Unpacking of a section, as it is read.

use crate::PART;
use crate::decode::{Bad, Decoder};
use std::io::{self, Read};

/// A section being unpacked.
pub struct Unpacker<'a> {
    head: Box<dyn Read + 'a>,
    parts: Box<dyn Read + 'a>,
    /// Bytes of parts that are not unpacked yet.
    left: u64,
    /// A part.
    packed: Vec<u8>,
    decoder: Decoder,
    /// Bytes of the last part that have been handed on.
    used: usize,
}

impl<'a> Unpacker<'a> {
    /// Of a section of `length` bytes, whose matches go back no more than `1 << dictionary`: its head, unpacked, and its parts.
    pub fn new(head: Box<dyn Read + 'a>, parts: Box<dyn Read + 'a>, length: u64, dictionary: u32) -> Unpacker<'a> {
        Unpacker { head, parts, left: length, packed: Vec::new(), decoder: Decoder::new(dictionary), used: 0 }
    }

    fn next_part(&mut self) -> io::Result<()> {
        let (mut has_trees, mut size) = ([0], [0; 2]);
        self.head.read_exact(&mut has_trees)?;
        match has_trees[0] {
            0 => (),
            1 => self.decoder.read_trees(&mut self.head)?,
            _ => return Err(Bad.into()),
        }
        self.head.read_exact(&mut size)?;
        self.packed.resize(u16::from_le_bytes(size).into(), 0);
        self.parts.read_exact(&mut self.packed)?;
        let length = self.left.min(PART as u64);
        self.decoder.part(&self.packed, length as usize)?;
        (self.used, self.left) = (0, self.left - length);
        if self.left == 0 && self.head.read(&mut [0])? + self.parts.read(&mut [0])? > 0 {
            return Err(Bad.into());
        }
        Ok(())
    }
}

impl Read for Unpacker<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.decoder.latest().len() && self.left > 0 {
            self.next_part()?;
        }
        let ready = &self.decoder.latest()[self.used..];
        let n = ready.len().min(out.len());
        out[..n].copy_from_slice(&ready[..n]);
        self.used += n;
        Ok(n)
    }
}

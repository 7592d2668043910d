//! Unpacking of sections, as they are read.

use crate::base::Result;
use crate::base::part::Part;
use crate::delta::format::{Packing, Way, bad};
use lzma_rust2::{Action, LzmaStream, Status};
use prtiql_codes::Unpacker;
use std::fs::File;
use std::io::{self, Read};

/// Packed bytes that are read at once.
const BUFFER: usize = 8 << 10;
/// How the heads of [`Way::Codes`] are packed: lc, lp and pb, and the logarithm of the dictionary's size.
pub const HEADS: ((u32, u32, u32), u8) = ((0, 0, 0), 14);

/// The bytes of a section whose packed ones are in a file from `at` on.
pub fn unpack<'a>(file: &'a File, at: u64, packing: &Packing) -> Result<Box<dyn Read + 'a>> {
    let Packing { plain, packed, way } = *packing;
    Ok(match way {
        Way::Stored => Box::new(Part::new(file, at, packed)),
        Way::Lzma { properties, dictionary } => {
            Box::new(Lzma::new(Part::new(file, at, packed), plain, packed, (properties, dictionary))?)
        }
        Way::Codes { dictionary, head } => {
            let parts = packed.checked_sub(head.1).ok_or_else(|| bad("how a section is packed"))?;
            let parts = Part::new(file, at.saturating_add(head.1), parts);
            let head = Lzma::new(Part::new(file, at, head.1), head.0, head.1, (0, HEADS.1))?;
            Box::new(Unpacker::new(Box::new(head), Box::new(parts), plain, dictionary.into()))
        }
    })
}

/// What LZMA has packed. (The library's own reader is generic, so that it would be compiled with this crate, for size.)
struct Lzma<'a> {
    part: Part<'a>,
    /// Packed bytes that are not yet in `input`.
    left: u64,
    stream: LzmaStream,
    input: Vec<u8>,
    used: usize,
}

impl<'a> Lzma<'a> {
    fn new(part: Part<'a>, plain: u64, packed: u64, (properties, dictionary): (u8, u8)) -> Result<Lzma<'a>> {
        let stream = LzmaStream::new_with_props(plain, properties, 1 << dictionary, None).map_err(|_| bad("damaged data"))?;
        Ok(Lzma { part, left: packed, stream, input: Vec::new(), used: 0 })
    }
}

impl Read for Lzma<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.used == self.input.len() && self.left > 0 {
                self.input.resize(self.left.min(BUFFER as u64) as usize, 0);
                self.part.read_exact(&mut self.input)?;
                (self.used, self.left) = (0, self.left - self.input.len() as u64);
            }
            let action = if self.left == 0 { Action::Finish } else { Action::Run };
            let done = self.stream.process(&self.input[self.used..], out, action)?;
            self.used += done.bytes_consumed;
            if done.bytes_produced > 0 || done.status == Status::StreamEnd || out.is_empty() {
                return Ok(done.bytes_produced);
            }
            if done.bytes_consumed == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

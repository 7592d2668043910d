//! librsync's delta format: literals, and copies of ranges of a base; all numbers are big-endian. The reader takes it as it comes, the
//! writer puts adjacent copies together; neither holds more than a buffer.

use crate::base::{Error, Result};
use crate::delta::blocks::Blocks;

/// Where bytes go.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// The first four bytes.
pub const MAGIC: u32 = 0x7273_0236;

/// No more bytes follow that count.
const END: u8 = 0;
/// Up to this one the command is a literal of that many bytes.
const LAST_SHORT: u8 = 64;
/// The first literal whose length follows, in 1, 2, 4 or 8 bytes.
const LITERAL: u8 = 65;
/// The first copy: position and length follow, each in 1, 2, 4 or 8 bytes.
const COPY: u8 = 69;
/// The first that has no meaning.
const RESERVED: u8 = COPY + 16;

/// Bytes that are handed on at once, about.
const CHUNK: usize = 64 * 1024;
/// Literal bytes that wait for their length to be known: what two bytes can count.
const LONGEST_LITERAL: usize = 0xffff;

/// Reads a delta, and gives what it stands for.
pub struct Reader {
    state: State,
    /// Bytes of the number or numbers being read, and how many there are.
    field: [u8; 16],
    filled: usize,
    /// What is to be handed on: most pieces are short.
    out: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    Command,
    /// The length of a literal, of so many bytes.
    LiteralLength(usize),
    /// Position and length of a copy, of so many bytes each.
    Copy(usize, usize),
    /// So many bytes to come.
    Literal(u64),
    Ended,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { state: State::Magic, field: [0; 16], filled: 0, out: Vec::new() }
    }
}

impl Reader {
    /// Takes the next bytes of the delta. What it copies comes from `base`; what it gives goes to `sink`. Bytes after the delta's end
    /// mean nothing.
    pub fn push(&mut self, mut input: &[u8], base: &mut Blocks<'_>, sink: Sink<'_>) -> Result<()> {
        while !input.is_empty() {
            if self.out.len() >= CHUNK {
                self.hand_on(sink)?;
            }
            match self.state {
                State::Ended => break,
                State::Magic => {
                    if let Some(magic) = self.number(&mut input, 4)
                        && magic != u64::from(MAGIC)
                    {
                        let text = format!("Got magic number {magic:x} rather than expected value {MAGIC:x}");
                        return Err(Error::invalid(text));
                    }
                }
                State::Command => {
                    self.state = command(input[0])?;
                    input = &input[1..];
                }
                State::LiteralLength(width) => {
                    if let Some(length) = self.number(&mut input, width) {
                        self.state = State::Literal(length);
                    }
                }
                State::Literal(0) => self.state = State::Command,
                State::Literal(left) => {
                    let n = input.len().min(usize::try_from(left).unwrap_or(usize::MAX)).min(CHUNK);
                    self.out.extend_from_slice(&input[..n]);
                    (input, self.state) = (&input[n..], State::Literal(left - n as u64));
                }
                State::Copy(where_width, width) => {
                    if self.fill(&mut input, where_width + width) {
                        let (position, length) = self.field[..where_width + width].split_at(where_width);
                        let (position, length) = (be(position), be(length));
                        self.state = State::Command;
                        self.copy(position, length, base, sink)?;
                    }
                }
            }
        }
        self.hand_on(sink)
    }

    fn hand_on(&mut self, sink: Sink<'_>) -> Result<()> {
        if !self.out.is_empty() {
            sink(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Nothing more comes: was that all?
    pub fn finish(&self) -> Result<()> {
        if self.state == State::Ended { Ok(()) } else { Err(unexpected_end()) }
    }

    /// Collects a number; the state after it is that of a command.
    fn number(&mut self, input: &mut &[u8], width: usize) -> Option<u64> {
        self.fill(input, width).then(|| {
            self.state = State::Command;
            be(&self.field[..width])
        })
    }

    fn fill(&mut self, input: &mut &[u8], width: usize) -> bool {
        let n = input.len().min(width - self.filled);
        self.field[self.filled..self.filled + n].copy_from_slice(&input[..n]);
        (self.filled, *input) = (self.filled + n, &input[n..]);
        let full = self.filled == width;
        if full {
            self.filled = 0;
        }
        full
    }

    fn copy(&mut self, mut position: u64, mut length: u64, base: &mut Blocks<'_>, sink: Sink<'_>) -> Result<()> {
        if position.checked_add(length).is_none_or(|end| end > base.size()) {
            return Err(Error::invalid(format!(
                "copying for COPY({position}, {length}) command: the base has only {} bytes",
                base.size()
            )));
        }
        while length > 0 {
            if self.out.len() >= CHUNK {
                self.hand_on(sink)?;
            }
            let n = usize::try_from(length).unwrap_or(CHUNK).min(CHUNK);
            let before = self.out.len();
            self.out.resize(before + n, 0);
            base.read_exact_at(position, &mut self.out[before..])?;
            (position, length) = (position + n as u64, length - n as u64);
        }
        Ok(())
    }
}

/// A delta, or what holds one, was cut short.
pub fn unexpected_end() -> Error {
    Error::invalid("unexpected EOF")
}

fn command(code: u8) -> Result<State> {
    let width = |n: u8| 1 << (n & 3);
    Ok(match code {
        END => State::Ended,
        1..=LAST_SHORT => State::Literal(u64::from(code)),
        LITERAL..COPY => State::LiteralLength(width(code - LITERAL)),
        COPY..RESERVED => State::Copy(width((code - COPY) >> 2), width(code - COPY)),
        _ => return Err(Error::invalid(format!("bogus command {code:x}"))),
    })
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Writes a delta.
pub struct Writer<'a> {
    sink: Sink<'a>,
    literal: Vec<u8>,
    /// Position and length of a copy that the next may continue.
    copy: (u64, u64),
    written: u64,
}

impl<'a> Writer<'a> {
    /// Begins one.
    pub fn new(sink: Sink<'a>) -> Result<Writer<'a>> {
        let mut writer = Writer { sink, literal: Vec::new(), copy: (0, 0), written: 0 };
        writer.put(&MAGIC.to_be_bytes())?;
        Ok(writer)
    }

    /// Bytes as they are.
    pub fn literal(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.end_copy()?;
        while !bytes.is_empty() {
            let n = bytes.len().min(LONGEST_LITERAL - self.literal.len());
            self.literal.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.literal.len() == LONGEST_LITERAL {
                self.end_literal()?;
            }
        }
        Ok(())
    }

    /// Bytes of the base.
    pub fn copy(&mut self, position: u64, length: u64) -> Result<()> {
        if length > 0 && self.copy.0.checked_add(self.copy.1) != Some(position) {
            self.end_copy()?;
            self.copy.0 = position;
        }
        if length > 0 {
            self.end_literal()?;
            self.copy.1 += length;
        }
        Ok(())
    }

    /// That was all. Returns how many bytes the delta has.
    pub fn finish(mut self) -> Result<u64> {
        self.end_copy()?;
        self.end_literal()?;
        self.put(&[END])?;
        Ok(self.written)
    }

    fn end_literal(&mut self) -> Result<()> {
        let literal = std::mem::take(&mut self.literal);
        match literal.len() {
            0 => {}
            n if n <= usize::from(LAST_SHORT) => self.put(&[n as u8])?,
            n => {
                let (width, bytes) = shortest(n as u64);
                self.put(&[LITERAL + width])?;
                self.put(&bytes[8 - (1 << width)..])?;
            }
        }
        self.put(&literal)?;
        self.literal = literal;
        self.literal.clear();
        Ok(())
    }

    fn end_copy(&mut self) -> Result<()> {
        let (position, length) = std::mem::take(&mut self.copy);
        if length == 0 {
            return Ok(());
        }
        let ((where_width, position), (width, length)) = (shortest(position), shortest(length));
        self.put(&[COPY + where_width * 4 + width])?;
        self.put(&position[8 - (1 << where_width)..])?;
        self.put(&length[8 - (1 << width)..])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        (self.sink)(bytes)
    }
}

/// The shortest width (its logarithm) that has room for a number, and the number's bytes.
fn shortest(number: u64) -> (u8, [u8; 8]) {
    let width = match number {
        0..=0xff => 0,
        0x100..=0xffff => 1,
        0x1_0000..=0xffff_ffff => 2,
        _ => 3,
    };
    (width, number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::base::Base;

    /// Applies a delta to no base, `step` bytes at a time.
    fn apply(delta: &[u8], step: usize) -> Result<Vec<u8>> {
        let (mut reader, mut out) = (Reader::default(), Vec::new());
        let mut base = Blocks::new(Base::new(&[])?);
        for part in delta.chunks(step) {
            reader.push(part, &mut base, &mut |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        reader.finish().map(|()| out)
    }

    fn write(fill: impl FnOnce(&mut Writer<'_>) -> Result<()>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let mut writer = Writer::new(&mut sink).unwrap();
        fill(&mut writer).unwrap();
        let length = writer.finish().unwrap();
        assert_eq!(length, out.len() as u64);
        out
    }

    #[test]
    fn commands_are_the_shortest() {
        assert_eq!(write(|_| Ok(())), [0x72, 0x73, 2, 0x36, 0]);
        let delta = write(|w| {
            w.copy(1, 2)?;
            w.copy(3, 4)?; // goes on
            w.copy(0x100, 5)?;
            w.literal(b"a")?;
            w.literal(b"b")?;
            w.copy(0x1_0000, 0x100)?;
            w.copy(0x1_0000_0000, 0x1_0000)?;
            w.copy(9, 0)
        });
        let rest = [
            &[0x45, 1, 6][..],
            &[0x49, 1, 0, 5],
            &[2, b'a', b'b'],
            &[0x4e, 0, 1, 0, 0, 1, 0],
            &[0x53, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0],
            &[0],
        ];
        assert_eq!(delta[4..], rest.concat());
    }

    #[test]
    fn literals_of_every_length() {
        for length in [0, 1, 64, 65, 255, 256, 65_535, 65_536, 200_000] {
            let text: Vec<u8> = (0..length).map(|i: usize| (i * i / 7 % 251) as u8).collect();
            let delta = write(|w| text.chunks(1000).try_for_each(|part| w.literal(part)));
            assert!(delta.len() <= text.len() + 5 + 3 * (1 + length / 65_535), "{length}");
            for step in [1, 7, 100_000] {
                assert_eq!(apply(&delta, step).unwrap(), text);
            }
            assert!(delta.len() == 5 || apply(&delta[..delta.len() - 1], 9).unwrap_err().to_string() == "unexpected EOF");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let magic = MAGIC.to_be_bytes();
        let fails = |delta: &[u8]| apply(delta, 3).unwrap_err().to_string();
        assert_eq!(fails(&[0xba, 0xaa, 0xaa, 0xad, 0]), "Got magic number baaaaaad rather than expected value 72730236");
        assert_eq!(fails(b""), "unexpected EOF");
        assert_eq!(fails(&[&magic[..], &[0x55, 0]].concat()), "bogus command 55");
        assert_eq!(fails(&[&magic[..], &[0x45, 1, 2, 0]].concat()), "copying for COPY(1, 2) command: the base has only 0 bytes");
        assert!(fails(&[&magic[..], &[0x54], &[0xff; 16]].concat()).contains("the base has only"));
        assert_eq!(apply(&[&magic[..], &[1, b'x', 0, 9, 9]].concat(), 2).unwrap(), b"x");
    }
}

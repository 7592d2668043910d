//! Decompression without I/O: gzip (all members, checksums verified), zstd, or none, recognised by the first bytes.

use crate::base::{Error, Result, need};
use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress, inflate_flags};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Where decompressed bytes go.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// What deflate may refer back to.
const WINDOW: usize = 32 * 1024;
/// Decompressed bytes are handed on in pieces of up to this less [`WINDOW`].
const OUT: usize = 160 * 1024;
/// The largest zstd window that is accepted, as the format's specification advises; it is memory.
const ZSTD_WINDOW: u64 = 8 << 20;
/// A larger window is announced before memory is taken for it.
const SMALL_WINDOW: u64 = 1 << 20;
/// The largest zstd block, with its header and a checksum.
const LARGEST_BLOCK: usize = 128 * 1024 + 7;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of frames to be skipped: the last three bytes of their magic number.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// A decoder fed by slices.
pub enum Decoder {
    /// Not enough bytes seen to tell.
    Unknown(Vec<u8>),
    /// Gzip.
    Gzip(Box<Gzip>),
    /// Zstandard.
    Zstd(Box<Zstd>),
    /// No compression.
    Plain,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::Unknown(Vec::new())
    }
}

/// What a decoder needs to go on where it stopped.
#[derive(Debug, Serialize, Deserialize)]
pub enum State {
    /// No compression.
    Plain,
    /// Between two deflate blocks, or outside of them.
    Gzip {
        /// Where in the member.
        part: Part,
        /// Its header's flags.
        flags: u8,
        /// Bytes of the field being read.
        field: [u8; 8],
        /// How many bits of the last byte are still to be used, and these.
        bits: (u8, u8),
        /// The last output, which further blocks refer to.
        window: Vec<u8>,
        /// Checksum of the member's output so far.
        crc: u32,
        /// Its length.
        length: u32,
    },
    /// Between two frames.
    Zstd {
        /// Input that has been taken but not used.
        pending: Vec<u8>,
        /// Bytes still to be passed over.
        skip: u64,
    },
}

impl Decoder {
    /// Takes `input` off its front; what it decodes to goes to `sink`. With `pause` it stops at the first place from which
    /// another decoder could go on ([`Decoder::save`]), and says whether it has.
    pub fn push(&mut self, input: &mut &[u8], pause: bool, sink: Sink<'_>) -> Result<bool> {
        match self {
            Decoder::Unknown(seen) => {
                seen.extend_from_slice(std::mem::take(input));
                if seen.len() < 4 {
                    return Ok(false);
                }
                let seen = std::mem::take(seen);
                *self = Decoder::recognise(&seen);
                self.push(&mut &seen[..], false, sink)
            }
            Decoder::Gzip(gzip) => gzip.push(input, pause, sink),
            Decoder::Zstd(zstd) => zstd.push(std::mem::take(input), pause, sink),
            Decoder::Plain => sink(std::mem::take(input)).map(|()| pause),
        }
    }

    /// The state after a push that has stopped.
    pub fn save(&self) -> Option<State> {
        match self {
            Decoder::Unknown(_) => None,
            Decoder::Gzip(gzip) => gzip.save(),
            Decoder::Zstd(zstd) => (!zstd.started).then(|| State::Zstd { pending: zstd.pending.clone(), skip: zstd.skip }),
            Decoder::Plain => Some(State::Plain),
        }
    }

    /// Goes on from a saved state.
    pub fn resume(state: State) -> Result<Decoder> {
        Ok(match state {
            State::Plain => Decoder::Plain,
            State::Zstd { pending, skip } => Decoder::Zstd(Box::new(Zstd { pending, skip, ..Zstd::default() })),
            state => Decoder::Gzip(Box::new(Gzip::resume(state)?)),
        })
    }

    /// The input has ended.
    pub fn finish(&mut self, sink: Sink<'_>) -> Result<()> {
        match self {
            Decoder::Unknown(seen) => sink(seen),
            Decoder::Gzip(gzip) => gzip.finish(),
            Decoder::Zstd(zstd) => zstd.finish(sink),
            Decoder::Plain => Ok(()),
        }
    }

    fn recognise(start: &[u8]) -> Decoder {
        let skippable = start[1..4] == SKIPPABLE && start[0] & 0xf0 == 0x50;
        if start.starts_with(&[0x1f, 0x8b]) {
            Decoder::Gzip(Box::default())
        } else if start.starts_with(&ZSTD_MAGIC) || skippable {
            Decoder::Zstd(Box::default())
        } else {
            Decoder::Plain
        }
    }
}

/// Where in a gzip member the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The ten fixed bytes, so many of them seen.
    Head(usize),
    /// Of the extra field's length, so many bytes seen.
    ExtraLength(usize),
    /// So many bytes of it to come.
    Extra(usize),
    /// In the file's name.
    Name,
    /// In the comment.
    Comment,
    /// The header's checksum, so many bytes seen.
    HeadSum(usize),
    /// In the deflate stream.
    Body,
    /// Checksum and length, so many of the eight bytes seen.
    Trailer(usize),
    /// After a member: another one, or zeros.
    After,
}

/// A gzip stream.
pub struct Gzip {
    part: Part,
    flags: u8,
    field: [u8; 8],
    inflate: DecompressorOxide,
    out: Box<[u8]>,
    /// Bytes of `out` that hold data: up to [`WINDOW`] of them are the past.
    out_len: usize,
    crc: Hasher,
    length: u32,
}

impl Default for Gzip {
    fn default() -> Gzip {
        Gzip {
            part: Part::Head(0),
            flags: 0,
            field: [0; 8],
            inflate: DecompressorOxide::new(),
            out: vec![0; OUT].into_boxed_slice(),
            out_len: 0,
            crc: Hasher::new(),
            length: 0,
        }
    }
}

fn bad_gzip(what: &str) -> Error {
    Error::invalid(format!("invalid gzip data: {what}"))
}

impl Gzip {
    fn push(&mut self, input: &mut &[u8], pause: bool, sink: Sink<'_>) -> Result<bool> {
        while let Some((byte, rest)) = input.split_first() {
            if self.part == Part::Body {
                if self.inflate(input, pause, sink)? {
                    return Ok(true);
                }
                continue;
            }
            let byte = *byte;
            *input = rest;
            let next = match self.part {
                Part::Head(n) => {
                    match n {
                        0 if byte != 0x1f => return Err(bad_gzip("no header")),
                        1 if byte != 0x8b => return Err(bad_gzip("no header")),
                        2 if byte != 8 => return Err(bad_gzip("an unknown method")),
                        3 if byte & 0xe0 != 0 => return Err(bad_gzip("unknown flags")),
                        3 => self.flags = byte,
                        _ => {}
                    }
                    if n < 9 { Part::Head(n + 1) } else { Part::ExtraLength(0) }
                }
                Part::ExtraLength(n) => {
                    self.field[n] = byte;
                    match n {
                        0 => Part::ExtraLength(1),
                        _ => Part::Extra(usize::from(self.field[0]) | usize::from(byte) << 8),
                    }
                }
                Part::Extra(n) => Part::Extra(n - 1),
                Part::Name if byte != 0 => Part::Name,
                Part::Name => Part::Comment,
                Part::Comment if byte != 0 => Part::Comment,
                Part::Comment => Part::HeadSum(0),
                Part::HeadSum(n) => Part::HeadSum(n + 1),
                Part::Trailer(n) => {
                    self.field[n] = byte;
                    if n == 7 {
                        self.check_trailer()?;
                        Part::After
                    } else {
                        Part::Trailer(n + 1)
                    }
                }
                Part::After if byte == 0 => Part::After,
                Part::After if byte == 0x1f => Part::Head(1),
                Part::After => return Err(bad_gzip("something else follows it")),
                Part::Body => Part::Body,
            };
            self.part = self.settle(next);
            if self.part == Part::Body && next != Part::Body {
                self.inflate.init();
                (self.out_len, self.length) = (0, 0);
                self.crc.reset();
            }
        }
        Ok(pause && self.part == Part::After)
    }

    fn save(&self) -> Option<State> {
        let boundary = self.inflate.block_boundary_state();
        let bits = match (self.part, boundary) {
            (Part::Body, None) => return None,
            (Part::Body, Some(state)) => (state.num_bits, state.bit_buf),
            _ => (0, 0),
        };
        let window = if self.part == Part::Body { self.out_len.saturating_sub(WINDOW)..self.out_len } else { 0..0 };
        Some(State::Gzip {
            part: self.part,
            flags: self.flags,
            field: self.field,
            bits,
            window: self.out[window].to_vec(),
            crc: self.crc.clone().finalize(),
            length: self.length,
        })
    }

    fn resume(state: State) -> Result<Gzip> {
        let State::Gzip { part, flags, field, bits: (num_bits, bit_buf), window, crc, length } = state else {
            return Err(bad_gzip("a state of another kind"));
        };
        let inside = match part {
            Part::ExtraLength(n) => n < 2,
            Part::Trailer(n) => n < 8,
            _ => true,
        };
        if window.len() > WINDOW || num_bits > 7 || !inside {
            return Err(bad_gzip("a state that cannot be"));
        }
        let boundary = BlockBoundaryState { num_bits, bit_buf, ..BlockBoundaryState::default() };
        let mut gzip = Gzip {
            part,
            flags,
            field,
            inflate: DecompressorOxide::from_block_boundary_state(&boundary),
            out_len: window.len(),
            crc: Hasher::new_with_initial(crc),
            length,
            ..Gzip::default()
        };
        gzip.out[..window.len()].copy_from_slice(&window);
        Ok(gzip)
    }

    /// Passes over the parts of a header that this member does not have.
    fn settle(&self, mut part: Part) -> Part {
        let (head_sum, extra, name, comment) =
            (self.flags & 2 != 0, self.flags & 4 != 0, self.flags & 8 != 0, self.flags & 16 != 0);
        loop {
            part = match part {
                Part::ExtraLength(0) if !extra => Part::Name,
                Part::Extra(0) => Part::Name,
                Part::Name if !name => Part::Comment,
                Part::Comment if !comment => Part::HeadSum(0),
                Part::HeadSum(0) if !head_sum => Part::Body,
                Part::HeadSum(2) => Part::Body,
                part => return part,
            }
        }
    }

    /// Returns true if it stopped between two blocks, as it was asked to.
    fn inflate(&mut self, input: &mut &[u8], pause: bool, sink: Sink<'_>) -> Result<bool> {
        const FLAGS: u32 = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let flags = if pause { FLAGS | inflate_flags::TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY } else { FLAGS };
        if self.out_len == self.out.len() {
            self.out.copy_within(self.out_len - WINDOW.., 0);
            self.out_len = WINDOW;
        }
        let (status, used, made) = decompress(&mut self.inflate, input, &mut self.out, self.out_len, flags);
        *input = &input[used..];
        let fresh = &self.out[self.out_len..self.out_len + made];
        self.crc.update(fresh);
        self.length = self.length.wrapping_add(made as u32);
        self.out_len += made;
        if made > 0 {
            sink(fresh)?;
        }
        match status {
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => Ok(false),
            TINFLStatus::BlockBoundary => Ok(true),
            TINFLStatus::Done => {
                self.part = Part::Trailer(0);
                Ok(false)
            }
            _ => Err(bad_gzip("corrupt deflate stream")),
        }
    }

    fn check_trailer(&self) -> Result<()> {
        let number = |at: usize| u32::from_le_bytes([self.field[at], self.field[at + 1], self.field[at + 2], self.field[at + 3]]);
        if number(0) != self.crc.clone().finalize() || number(4) != self.length {
            return Err(bad_gzip("wrong checksum"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        if self.part == Part::After { Ok(()) } else { Err(bad_gzip("unexpected end")) }
    }
}

/// A zstd stream: frames one after the other.
pub struct Zstd {
    frame: FrameDecoder,
    /// Inside a frame, which ends in a checksum or not.
    started: bool,
    summed: bool,
    last: bool,
    pending: Vec<u8>,
    skip: u64,
    out: Box<[u8]>,
}

impl Default for Zstd {
    fn default() -> Zstd {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(ZSTD_WINDOW);
        Zstd {
            frame,
            started: false,
            summed: false,
            last: false,
            pending: Vec::new(),
            skip: 0,
            out: vec![0; 64 * 1024].into_boxed_slice(),
        }
    }
}

fn bad_zstd(what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("invalid zstd data: {what}"))
}

impl Zstd {
    fn push(&mut self, input: &[u8], pause: bool, sink: Sink<'_>) -> Result<bool> {
        // Whole blocks only are given to the decoder: what is pending never grows past one block and one input.
        self.pending.extend_from_slice(input);
        self.decode(pause, sink)?;
        Ok(pause && !self.started)
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<()> {
        self.last = true;
        self.decode(false, sink)?;
        if self.started || !self.pending.is_empty() || self.skip > 0 { Err(bad_zstd("unexpected end")) } else { Ok(()) }
    }

    /// With `pause` it stops after a frame.
    fn decode(&mut self, pause: bool, sink: Sink<'_>) -> Result<()> {
        let mut at = 0;
        while at < self.pending.len() {
            let rest = &self.pending[at..];
            if self.skip > 0 {
                let n = self.skip.min(rest.len() as u64);
                self.skip -= n;
                at += n as usize;
            } else if !self.started {
                // A frame's header is at most 18 bytes; the shortest frame is shorter.
                if rest.len() < if self.last { 8 } else { 18 } {
                    break;
                }
                if rest[1..4] == SKIPPABLE && rest[0] & 0xf0 == 0x50 {
                    self.skip = 8 + u64::from(u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]));
                    continue;
                }
                let window = window(rest);
                if (SMALL_WINDOW..=ZSTD_WINDOW).contains(&window) {
                    need::announce(2 * window); // the decoder's buffer grows by doubling
                }
                let mut source = rest;
                self.frame.reset(&mut source).map_err(bad_zstd)?;
                self.summed = rest[4] & 4 != 0;
                at += rest.len() - source.len();
                self.started = true;
            } else {
                let Some(length) = block_length(rest, self.summed) else { break };
                if length > LARGEST_BLOCK {
                    return Err(bad_zstd("a block too large"));
                }
                if length > rest.len() {
                    break;
                }
                let block = BlockDecodingStrategy::UptoBlocks(1);
                let finished = self.frame.decode_blocks(&rest[..length], block).map_err(bad_zstd)?;
                at += length;
                while self.frame.can_collect() > 0 {
                    let n = self.frame.read(&mut self.out).map_err(bad_zstd)?;
                    sink(&self.out[..n])?;
                }
                self.started = !finished;
                if finished && pause {
                    break;
                }
            }
        }
        self.pending.drain(..at);
        Ok(())
    }
}

/// The size in bytes of the window that a frame's header asks for.
fn window(header: &[u8]) -> u64 {
    // RFC 8878, 3.1.1.1: a frame of a single segment has its content's size in the place of the window's.
    let (descriptor, next) = (header[4], &header[5..]);
    if descriptor & 0x20 == 0 {
        let (exponent, mantissa) = (u32::from(next[0] >> 3), u64::from(next[0] & 7));
        let base = 1u64 << (10 + exponent);
        return base + base / 8 * mantissa;
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let next = next.get(dictionary..).unwrap_or(&[]);
    let number = |length: usize| next.iter().take(length).rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    match descriptor >> 6 {
        0 => number(1),
        1 => 256 + number(2),
        2 => number(4),
        _ => number(8),
    }
}

/// The length of the block that begins here, with its header, and with the frame's checksum if it is the last.
fn block_length(rest: &[u8], summed: bool) -> Option<usize> {
    let header = u32::from_le_bytes([*rest.first()?, *rest.get(1)?, *rest.get(2)?, 0]);
    let content = match header >> 1 & 3 {
        1 => 1, // one byte, repeated
        _ => header as usize >> 3,
    };
    Some(3 + content + if header & 1 != 0 && summed { 4 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(data: &[u8], flags: u8) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        if flags & 4 != 0 {
            out.extend_from_slice(&[3, 0, b'a', b'b', b'c']);
        }
        if flags & 8 != 0 {
            out.extend_from_slice(b"name\0");
        }
        if flags & 16 != 0 {
            out.extend_from_slice(b"\0");
        }
        if flags & 2 != 0 {
            out.extend_from_slice(&[1, 2]);
        }
        out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(data, 6));
        out.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
        out.extend_from_slice(&(data.len() as u32).to_le_bytes());
        out
    }

    fn decode(data: &[u8], step: usize) -> Result<Vec<u8>> {
        let straight = decode_with(data, step, false);
        let resumed = decode_with(data, step, true);
        assert_eq!(straight.as_ref().map_err(|e| e.to_string()), resumed.as_ref().map_err(|e| e.to_string()));
        straight
    }

    fn decode_with(data: &[u8], step: usize, pause: bool) -> Result<Vec<u8>> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for chunk in data.chunks(step) {
            let mut rest = chunk;
            while !rest.is_empty() {
                // At every place where it can: another one goes on.
                let paused = decoder.push(&mut rest, pause, &mut |d| {
                    out.extend_from_slice(d);
                    Ok(())
                })?;
                if let Some(state) = paused.then(|| decoder.save()).flatten() {
                    let state = postcard::to_allocvec(&state).unwrap();
                    decoder = Decoder::resume(postcard::from_bytes(&state).unwrap())?;
                }
            }
        }
        decoder.finish(&mut |d| {
            out.extend_from_slice(d);
            Ok(())
        })?;
        Ok(out)
    }

    fn sample(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * i / 77 % 251) as u8).collect()
    }

    #[test]
    fn gzip_with_every_header_and_many_members() {
        for size in [0, 1, 1000, 400_000] {
            let data = sample(size);
            for flags in 0..32 {
                let mut packed = gzip(&data, flags);
                assert_eq!(decode(&packed, 70_000).unwrap(), data, "size {size} flags {flags}");
                if size == 1000 {
                    packed.extend_from_slice(&gzip(b"more", 8));
                    packed.extend_from_slice(&[0; 100]);
                    assert_eq!(decode(&packed, 1).unwrap(), [&data[..], b"more"].concat());
                }
            }
        }
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let data = sample(100_000);
        let packed = gzip(&data, 0);
        for cut in [4, 9, 20, packed.len() / 2, packed.len() - 9, packed.len() - 1] {
            assert!(decode(&packed[..cut], 999).is_err(), "cut at {cut}");
        }
        let mut wrong = packed.clone();
        let at = wrong.len() - 8;
        wrong[at] ^= 1;
        assert!(decode(&wrong, 999).unwrap_err().to_string().contains("checksum"));
        assert!(decode(&[&packed[..], b"junk"].concat(), 999).is_err());
    }

    #[test]
    fn zstd_and_plain() {
        let data = sample(700_000);
        let packed = ruzstd::encoding::compress_to_vec(&data[..], ruzstd::encoding::CompressionLevel::Fastest);
        for step in [1000, 100_000, usize::MAX / 2] {
            assert_eq!(decode(&packed, step).unwrap(), data);
        }
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9], &packed[..], &packed[..]].concat();
        assert_eq!(decode(&skippable, 1234).unwrap(), [&data[..], &data[..]].concat());
        assert!(decode(&packed[..packed.len() - 10], 1000).is_err());
        assert_eq!(decode(&data, 10).unwrap(), data);
        assert_eq!(decode(b"", 10).unwrap(), b"");
        assert_eq!(decode(b"abc", 10).unwrap(), b"abc");
    }
}

//! A tar parser without I/O: it is fed slices as they come and says what they are. It holds one block, one entry and, while a
//! pax header passes, at most [`LARGEST_META`] bytes of it; its state between two calls is small, so that work can stop anywhere.

use crate::base::{Error, Result};
use crate::layer::entry::{Entry, Extra, Kind, MOST_PIECES, check_sparse, checked_path};
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

/// The size of a tar block.
pub const BLOCK: usize = 512;
/// The largest pax header or GNU long name.
pub const LARGEST_META: u64 = 1 << 20;

/// What the bytes just taken are. Every byte of the tar belongs to exactly one event, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The input is used up.
    More,
    /// A whole block of headers; [`Parser::block`] has it.
    Block(Role),
    /// All headers of an entry have passed: [`Parser::entry`] has it.
    Entry,
    /// Bytes of the entry's content.
    Data(&'a [u8]),
    /// Bytes that fill the content's last block.
    Pad(&'a [u8]),
    /// The entry is complete.
    End,
    /// Bytes after the end mark, and the mark itself.
    Tail(&'a [u8]),
}

/// What a block of headers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The header of an entry.
    Main,
    /// The header of a pax header or a GNU long name.
    Meta,
    /// The first block of such a one's content.
    MetaFirst,
    /// Any further block, and maps of sparse files.
    MetaMore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// At a header.
    Header,
    /// One zero block has passed.
    HalfEnd,
    /// In the content of a pax header or long name of this type, with so many bytes to come.
    Meta {
        kind: u8,
        left: u64,
        first: bool,
    },
    /// In the extension blocks of an old GNU sparse header.
    SparseBlocks,
    /// In the decimal map in front of a pax 1.0 sparse file: blocks taken so far.
    SparseMap {
        left: u64,
    },
    /// All headers have passed.
    Ready,
    Data {
        left: u64,
    },
    Pad {
        left: u64,
    },
    Tail,
}

/// Sparse files of more pieces are not stopped in.
const MOST_SAVED_PIECES: usize = 1024;

/// What a parser needs to go on where it stopped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    state: State,
    /// The part of a block that has come.
    block: Vec<u8>,
    entry: Entry,
    global: (Option<u32>, Option<u32>, Option<(i64, u32)>),
}

/// The parser.
#[derive(Debug)]
pub struct Parser {
    state: State,
    block: Box<[u8; BLOCK]>,
    filled: usize,
    entry: Entry,
    extra: Extra,
    global: Extra,
    meta: Vec<u8>,
    /// Of a pax 1.0 sparse map: bytes not yet parsed.
    map_text: Vec<u8>,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    /// At the start of a tar.
    pub fn new() -> Parser {
        Parser {
            state: State::Header,
            block: Box::new([0; BLOCK]),
            filled: 0,
            entry: Entry::default(),
            extra: Extra::default(),
            global: Extra::default(),
            meta: Vec::new(),
            map_text: Vec::new(),
        }
    }

    /// The state between two pushes; `None` inside of headers that belong together, which are never far from their end.
    pub fn save(&self) -> Option<Saved> {
        let between = matches!(self.state, State::Header | State::HalfEnd | State::Tail) && self.extra.is_empty();
        let inside = matches!(self.state, State::Data { .. } | State::Pad { .. })
            && self.entry.sparse.as_ref().is_none_or(|map| map.len() <= MOST_SAVED_PIECES);
        (between || inside).then(|| Saved {
            state: self.state,
            block: self.block[..self.filled].to_vec(),
            entry: if inside { self.entry.clone() } else { Entry::default() },
            global: (self.global.uid, self.global.gid, self.global.time),
        })
    }

    /// Goes on from a saved state.
    pub fn resume(saved: Saved) -> Result<Parser> {
        let mut parser = Parser::new();
        let part = parser.block.get_mut(..saved.block.len()).filter(|part| part.len() < BLOCK);
        part.ok_or_else(|| Error::internal("a state of the tar parser that cannot be"))?.copy_from_slice(&saved.block);
        parser.filled = saved.block.len();
        (parser.state, parser.entry) = (saved.state, saved.entry);
        (parser.global.uid, parser.global.gid, parser.global.time) = saved.global;
        Ok(parser)
    }

    /// The block of the last [`Event::Block`].
    pub fn block(&self) -> &[u8; BLOCK] {
        &self.block
    }

    /// The entry of the last [`Event::Entry`].
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Takes bytes off the front of `input` and says what they are.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Event<'a>> {
        match self.state {
            State::Ready => {
                self.state = State::Data { left: self.entry.stored };
                return Ok(Event::Entry);
            }
            State::Data { left: 0 } => {
                let over = self.entry.stored % BLOCK as u64;
                self.state = State::Pad { left: if over == 0 { 0 } else { BLOCK as u64 - over } };
                return self.next(input);
            }
            State::Pad { left: 0 } => {
                self.state = State::Header;
                return Ok(Event::End);
            }
            State::Data { left } if !input.is_empty() => {
                let (part, n) = take(input, left);
                self.state = State::Data { left: left - n };
                return Ok(Event::Data(part));
            }
            State::Pad { left } if !input.is_empty() => {
                let (part, n) = take(input, left);
                self.state = State::Pad { left: left - n };
                return Ok(Event::Pad(part));
            }
            State::Tail if !input.is_empty() => return Ok(Event::Tail(take(input, u64::MAX).0)),
            State::Data { .. } | State::Pad { .. } | State::Tail => return Ok(Event::More),
            _ => {}
        }
        let (part, n) = take(input, (BLOCK - self.filled) as u64);
        self.block[self.filled..self.filled + part.len()].copy_from_slice(part);
        self.filled += n as usize;
        if self.filled < BLOCK {
            return Ok(Event::More);
        }
        self.filled = 0;
        self.take_block()
    }

    /// The input has ended: fails if that is in the middle of something. Returns bytes of a last, incomplete block that must be
    /// zeros after a tar without an end mark.
    pub fn finish(&self) -> Result<&[u8]> {
        let clean = match self.state {
            State::Header => self.extra.path.is_none() && self.block[..self.filled].iter().all(|b| *b == 0),
            State::HalfEnd => self.block[..self.filled].iter().all(|b| *b == 0),
            State::Tail => true,
            _ => false,
        };
        if clean { Ok(&self.block[..self.filled]) } else { Err(Error::invalid("invalid tar: unexpected end")) }
    }

    fn take_block(&mut self) -> Result<Event<'static>> {
        let role = match self.state {
            State::Header | State::HalfEnd => {
                if self.block.iter().all(|b| *b == 0) {
                    self.state = if self.state == State::Header { State::HalfEnd } else { State::Tail };
                    return Ok(Event::Tail(&[0; BLOCK]));
                }
                if self.state == State::HalfEnd {
                    return Err(Error::invalid("invalid tar: a single zero block"));
                }
                self.take_header()?
            }
            State::Meta { kind, left, first } => {
                let n = left.min(BLOCK as u64);
                self.meta.extend_from_slice(&self.block[..n as usize]);
                self.state = State::Meta { kind, left: left - n, first: false };
                if left - n == 0 {
                    self.end_meta(kind)?;
                }
                if first { Role::MetaFirst } else { Role::MetaMore }
            }
            State::SparseBlocks => {
                let more = self.take_sparse_block()?;
                if !more {
                    self.end_sparse()?;
                }
                Role::MetaMore
            }
            State::SparseMap { left } => {
                let left = left.checked_sub(BLOCK as u64).ok_or_else(sparse_bad)?;
                self.state = State::SparseMap { left };
                self.take_map_block(left)?;
                Role::MetaMore
            }
            _ => return Err(Error::internal("tar parser out of step")),
        };
        Ok(Event::Block(role))
    }

    fn take_header(&mut self) -> Result<Role> {
        let header = Header::from_byte_slice(&self.block[..]);
        check_sum(&self.block)?;
        let size = number(&self.block[124..136]).ok_or_else(|| field("size"))?;
        let size = u64::try_from(size).map_err(|_| field("size"))?;
        let kind = header.entry_type();
        if let b'x' | b'g' | b'L' | b'K' = kind.as_byte() {
            if size > LARGEST_META {
                return Err(Error::invalid(format!("invalid tar: a pax header or long name of {size} bytes")));
            }
            self.meta.clear();
            self.state = State::Meta { kind: kind.as_byte(), left: size, first: true };
            if size == 0 {
                self.state = State::Header;
            }
            return Ok(Role::Meta);
        }
        self.make_entry(size)?;
        Ok(Role::Main)
    }

    /// A pax header or long name is complete.
    fn end_meta(&mut self, kind: u8) -> Result<()> {
        let name = || -> Result<Vec<u8>> {
            let end = self.meta.iter().position(|b| *b == 0).unwrap_or(self.meta.len());
            checked_path(&self.meta[..end])
        };
        match kind {
            b'L' => self.extra.path = Some(name()?),
            b'K' => self.extra.link = Some(name()?),
            b'x' => self.extra.add_records(&self.meta, false)?,
            _ => self.global.add_records(&self.meta, true)?,
        }
        // Large ones are rare: give their memory back.
        self.meta.clear();
        self.meta.shrink_to(16 * 1024);
        self.state = State::Header;
        Ok(())
    }

    fn make_entry(&mut self, header_size: u64) -> Result<()> {
        let header = Header::from_byte_slice(&self.block[..]);
        let mut extra = std::mem::take(&mut self.extra);
        let entry = &mut self.entry;
        let byte = header.entry_type().as_byte();
        let old_sparse = header.entry_type() == EntryType::GNUSparse;
        let path = match extra.sparse.name.take().or(extra.path) {
            Some(path) => path,
            None => checked_path(&header.path_bytes())?,
        };
        entry.kind = match byte {
            // Before POSIX, folders were files whose name ended in a slash.
            0 | b'0' if path.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::Link,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => {
                let name = String::from_utf8_lossy(&path).into_owned();
                return Err(Error::unsupported(format!("unhandled tar header type {other} ({name:?})")));
            }
        };
        entry.path = path;
        entry.link = match extra.link {
            Some(link) => link,
            None => checked_path(&header.link_name_bytes().unwrap_or_default())?,
        };
        let number_at = |at: std::ops::Range<usize>, name| number(&self.block[at]).ok_or_else(|| field(name));
        let id_at = |at, name| number_at(at, name).and_then(|n| u32::try_from(n).map_err(|_| field(name)));
        entry.mode = (number_at(100..108, "mode")? & 0o7777) as u32;
        entry.uid = extra.uid.or(self.global.uid).map_or_else(|| id_at(108..116, "uid"), Ok)?;
        entry.gid = extra.gid.or(self.global.gid).map_or_else(|| id_at(116..124, "gid"), Ok)?;
        (entry.seconds, entry.nanos) = match extra.time.or(self.global.time) {
            Some(time) => time,
            None => (number_at(136..148, "mtime")?, 0),
        };
        (entry.major, entry.minor) = match entry.kind {
            Kind::Char | Kind::Block => (id_at(329..337, "device")?, id_at(337..345, "device")?),
            _ => (0, 0),
        };
        entry.xattrs = extra.xattrs;
        entry.stored = match entry.kind {
            Kind::File => extra.size.unwrap_or(header_size),
            _ => 0, // whatever the header says, nothing follows: as Go's archive/tar has it
        };
        if entry.stored > i64::MAX as u64 {
            return Err(field("size"));
        }
        entry.size = entry.stored;
        entry.sparse = None;
        self.state = State::Ready;
        let sparse = extra.sparse;
        if old_sparse {
            self.start_old_sparse()?;
        } else if entry.kind == Kind::File && sparse.major == Some(1) {
            entry.size = sparse.real_size.ok_or_else(sparse_bad)?;
            entry.sparse = Some(Vec::new());
            self.map_text.clear();
            self.state = State::SparseMap { left: entry.stored };
        } else if entry.kind == Kind::File && !sparse.map.is_empty() {
            entry.size = sparse.real_size.ok_or_else(sparse_bad)?;
            entry.sparse = Some(sparse.map);
            self.end_sparse()?;
        }
        Ok(())
    }

    fn start_old_sparse(&mut self) -> Result<()> {
        let real = number(&self.block[483..495]).ok_or_else(sparse_bad)?;
        self.entry.size = u64::try_from(real).map_err(|_| sparse_bad())?;
        self.entry.sparse = Some(Vec::new());
        self.add_pieces(386, 4)?;
        match self.block[482] {
            0 => self.end_sparse()?,
            _ => self.state = State::SparseBlocks,
        }
        Ok(())
    }

    fn take_sparse_block(&mut self) -> Result<bool> {
        self.add_pieces(0, 21)?;
        Ok(self.block[504] != 0)
    }

    fn add_pieces(&mut self, at: usize, count: usize) -> Result<()> {
        let map = self.entry.sparse.get_or_insert_with(Vec::new);
        for piece in self.block[at..at + count * 24].chunks_exact(24) {
            if piece[0] == 0 {
                break;
            }
            let read = |part: &[u8]| number(part).and_then(|n| u64::try_from(n).ok()).ok_or_else(sparse_bad);
            if map.len() >= MOST_PIECES {
                return Err(Error::unsupported("sparse file of more than 16384 pieces"));
            }
            map.push((read(&piece[..12])?, read(&piece[12..])?));
        }
        Ok(())
    }

    /// The map of pax 1.0: a count, then offset and length of each piece, a decimal number a line.
    fn take_map_block(&mut self, left: u64) -> Result<()> {
        self.map_text.extend_from_slice(&self.block[..]);
        if self.map_text.len() > MOST_PIECES * 40 {
            return Err(Error::unsupported("sparse file of more than 16384 pieces"));
        }
        let newlines = self.map_text.iter().filter(|b| **b == b'\n').count() as u64;
        if newlines == 0 {
            return if left > 0 && self.map_text.len() <= BLOCK { Ok(()) } else { Err(sparse_bad()) };
        }
        let mut lines = self.map_text.split(|b| *b == b'\n');
        let mut next = || {
            let line = lines.next().and_then(|l| std::str::from_utf8(l).ok());
            line.and_then(|l| l.parse::<u64>().ok()).ok_or_else(sparse_bad)
        };
        let count = next()?;
        if count > MOST_PIECES as u64 {
            return Err(Error::unsupported("sparse file of more than 16384 pieces"));
        }
        if newlines < 1 + 2 * count {
            return Ok(()); // more blocks of the map follow
        }
        let mut map = Vec::new();
        for _ in 0..count {
            map.push((next()?, next()?));
        }
        self.entry.sparse = Some(map);
        self.entry.stored = left;
        self.map_text = Vec::new();
        self.end_sparse()
    }

    fn end_sparse(&mut self) -> Result<()> {
        let map = self.entry.sparse.get_or_insert_with(Vec::new);
        check_sparse(map, self.entry.size, self.entry.stored)?;
        self.state = State::Ready;
        Ok(())
    }
}

fn field(name: &str) -> Error {
    Error::invalid(format!("invalid tar header: bad {name}"))
}

fn sparse_bad() -> Error {
    Error::invalid("invalid tar: bad header of a sparse file")
}

fn take<'a>(input: &mut &'a [u8], most: u64) -> (&'a [u8], u64) {
    let n = input.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    let (part, rest) = input.split_at(n);
    *input = rest;
    (part, n as u64)
}

/// A numeric field: octal text between blanks and zeros, or base-256 with the top bit set. Empty is zero.
pub fn number(bytes: &[u8]) -> Option<i64> {
    if bytes[0] & 0x80 != 0 {
        // Two's complement, the marker bit taken off.
        let negative = bytes[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, b) in bytes.iter().enumerate() {
            let b = if i == 0 && !negative { b & 0x7f } else { *b };
            value = (value << 8) | i128::from(b);
            if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
                return None;
            }
        }
        return Some(value as i64);
    }
    let text = bytes.trim_ascii_start();
    let end = text.iter().position(|b| *b == 0 || *b == b' ').unwrap_or(text.len());
    let digits = &text[..end];
    digits.iter().try_fold(0i64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// The sum that a header block should have, with the checksum field taken as blanks.
pub fn sum(block: &[u8; BLOCK]) -> u32 {
    // Four sums of 16 bits side by side, each of 128 bytes: every header is summed several times.
    const LANES: u64 = 0x00ff_00ff_00ff_00ff;
    let mut lanes = 0;
    for word in block.chunks_exact(8) {
        let word = word.first_chunk().map_or(0, |w| u64::from_le_bytes(*w));
        lanes += (word & LANES) + (word >> 8 & LANES);
    }
    let all = (0..4).map(|n| (lanes >> (16 * n)) as u32 & 0xffff).sum::<u32>();
    let field: u32 = block[148..156].iter().map(|b| u32::from(*b)).sum();
    all - field + 8 * u32::from(b' ')
}

fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let found = number(&block[148..156]).ok_or_else(|| field("checksum"))?;
    if found == i64::from(sum(block)) {
        return Ok(());
    }
    let signed = |b: &[u8]| -> i64 { b.iter().map(|b| i64::from(*b as i8)).sum() };
    let old = signed(&block[..]) - signed(&block[148..156]) + 8 * i64::from(b' ');
    if found == old { Ok(()) } else { Err(field("checksum")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_notations() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777777\0"), Some(0o77777777777));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(8 << 30));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"99999999"), None);
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn every_cut_gives_the_same_events() {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, size) in [("a".to_string(), 0u64), ("b".into(), 700), ("c".repeat(150), 512)] {
            let mut header = Header::new_gnu();
            header.set_size(size);
            header.set_mode(0o640);
            header.set_cksum();
            builder.append_data(&mut header, &name, std::io::repeat(7).take(size)).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let read = |step: usize| {
            let mut parser = Parser::new();
            let (mut names, mut back) = (Vec::new(), Vec::new());
            for mut chunk in tar.chunks(step) {
                loop {
                    match parser.next(&mut chunk).unwrap() {
                        Event::More => break,
                        Event::Block(_) => back.extend_from_slice(parser.block()),
                        Event::Entry => names.push((parser.entry().path.len(), parser.entry().size)),
                        Event::Data(d) | Event::Pad(d) | Event::Tail(d) => back.extend_from_slice(d),
                        Event::End => {}
                    }
                }
            }
            parser.finish().unwrap();
            assert_eq!(back, tar, "step {step}");
            names
        };
        use std::io::Read;
        for step in [1, 7, 511, 512, 513, 100_000] {
            assert_eq!(read(step), [(1, 0), (1, 700), (150, 512)]);
        }
    }
}

//! A layer's delta as a file: a plain head, then the sections. `docs/DELTA-FORMAT.md` has it byte by byte.

use crate::base::part::Part;
use crate::base::{Context, Error, Result};
use crate::delta::numbers::put;
use crate::delta::unpack::unpack;
use crate::image::Digest;
use std::fs::File;
use std::io::Read;

/// First bytes of the file.
pub const MAGIC: &[u8; 8] = b"PRTQDLT\x01";
/// The largest head.
const LARGEST_HEAD: u64 = 64 << 10;
/// The largest dictionaries, all together: they are memory.
const MOST_DICTIONARIES: u64 = 5 << 20;
/// What one of [`Way::Codes`] takes beside its window.
const CODES_MEMORY: u64 = 256 << 10;
/// A delta whose sections are smaller altogether may have them in one stream, which is unpacked as a whole.
pub const LARGEST_JOINED: usize = 256 << 10;
/// Bytes of a section unpacked at once.
const BUFFER: usize = 8 << 10;

/// What the sections hold, in the order in which they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// One byte an entry.
    Flags,
    /// Paths, and header bytes that nothing foretells.
    Text,
    /// Numbers of headers and bodies.
    Numbers,
    /// Lengths of copies.
    Copies,
    /// Lengths of the literals before them.
    Gaps,
    /// Where copies are from.
    Shifts,
    /// Lengths of runs of equal and of other bytes in copies.
    Runs,
    /// The other bytes, less what they were foretold to be.
    Changes,
    /// Literals.
    Literals,
    /// What rules foretell addresses, for each 4 KiB of a body.
    Modes,
}

/// How many sections there are.
pub const SECTIONS: usize = 10;

/// How a section is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    /// Bytes as they are used.
    pub plain: u64,
    /// Bytes in the file.
    pub packed: u64,
    /// The way.
    pub way: Way,
}

/// Ways to pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// As it is.
    #[default]
    Stored,
    /// LZMA, which is smallest.
    Lzma {
        /// (pb * 5 + lp) * 9 + lc.
        properties: u8,
        /// The logarithm of the dictionary's size.
        dictionary: u8,
    },
    /// Prefix codes, which are unpacked in a quarter of the time.
    Codes {
        /// The logarithm of how far matches go back.
        dictionary: u8,
        /// Bytes of the codes' head as it is used, and as it is packed, by LZMA; it is at the begin of the packed bytes.
        head: (u64, u64),
    },
}

impl Way {
    /// Memory that unpacking takes, in bytes, of what a delta may choose.
    fn memory(self) -> u64 {
        match self {
            Way::Stored => 0,
            Way::Lzma { dictionary, .. } => 1 << dictionary.min(40),
            Way::Codes { dictionary, .. } => CODES_MEMORY + (1 << dictionary.min(40)),
        }
    }
}

/// What a delta says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Digest of the tar that it makes: the layer's diff ID.
    pub target: Digest,
    /// Its length.
    pub tar_size: u64,
    /// Diff IDs of the layers whose tars, one after the other, it copies from.
    pub base: Vec<Digest>,
    /// Bytes of files that are not as a whole in the base.
    pub fresh: u64,
    /// Entries of the tar that are told one by one.
    pub entries: u64,
    /// The longest list of copies that a file has.
    pub most_copies: u64,
    /// All sections are in one LZMA stream: its packing.
    pub joined: Option<Packing>,
    /// The sections.
    pub sections: [Packing; SECTIONS],
    /// Where the first one begins.
    pub start: u64,
}

pub(super) fn bad(what: &str) -> Error {
    Error::invalid(format!("invalid delta: {what}"))
}

impl Head {
    /// The head as it stands in the file.
    pub fn write(&self) -> Vec<u8> {
        let mut head = Vec::new();
        put(&mut head, 0); // features
        head.extend_from_slice(&self.target.0);
        put(&mut head, self.tar_size);
        put(&mut head, self.base.len() as u64);
        self.base.iter().for_each(|id| head.extend_from_slice(&id.0));
        for number in [self.fresh, self.entries, self.most_copies] {
            put(&mut head, number);
        }
        head.push(self.joined.is_some().into());
        if let Some(joined) = &self.joined {
            put_packing(&mut head, joined);
        }
        for section in &self.sections {
            match self.joined {
                Some(_) => put(&mut head, section.plain),
                None => put_packing(&mut head, section),
            }
        }
        let mut out = MAGIC.to_vec();
        put(&mut out, head.len() as u64);
        out.extend_from_slice(&head);
        out
    }

    /// Reads the head of a delta. Nothing in it is trusted.
    pub fn read(input: &mut dyn Read) -> Result<Head> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(|_| bad("too short"))?;
        if magic[..7] != MAGIC[..7] {
            return Err(bad("it does not begin as one"));
        }
        if magic != *MAGIC {
            return Err(Error::unsupported(format!("delta of version {}: a newer engine is needed", magic[7])));
        }
        let mut start = MAGIC.len() as u64;
        let mut length = 0u64;
        for shift in (0..21).step_by(7) {
            let mut byte = [0];
            input.read_exact(&mut byte).map_err(|_| bad("too short"))?;
            start += 1;
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        if length > LARGEST_HEAD {
            return Err(bad("its head is too long"));
        }
        let mut bytes = vec![0; length as usize];
        input.read_exact(&mut bytes).map_err(|_| bad("too short"))?;
        Head::parse(&bytes, start + length)
    }

    fn parse(bytes: &[u8], start: u64) -> Result<Head> {
        let mut input = bytes;
        let input = &mut input;
        let features = number(input)?;
        if features != 0 {
            return Err(Error::unsupported(format!("delta with features {features:#x}: a newer engine is needed")));
        }
        let target = digest(input)?;
        let tar_size = number(input)?;
        let count = number(input)?;
        let base = (0..count.min(LARGEST_HEAD)).map(|_| digest(input)).collect::<Result<Vec<_>>>()?;
        let (fresh, entries, most_copies) = (number(input)?, number(input)?, number(input)?);
        let joined = match number(input)? {
            0 => None,
            1 => Some(packing(input)?),
            _ => return Err(bad("its head")),
        };
        let mut sections = [Packing::default(); SECTIONS];
        for section in &mut sections {
            *section = match joined {
                Some(_) => Packing { plain: number(input)?, ..Packing::default() },
                None => packing(input)?,
            };
        }
        if !input.is_empty() {
            return Err(bad("its head"));
        }
        let head = Head { target, tar_size, base, fresh, entries, most_copies, joined, sections, start };
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<()> {
        let all = self.joined.iter().chain(&self.sections);
        if all.map(|packing| packing.way.memory()).sum::<u64>() > MOST_DICTIONARIES {
            return Err(Error::unsupported("a delta whose dictionaries take more memory than a device has for it"));
        }
        let plain = self.sections.iter().try_fold(0u64, |sum, s| sum.checked_add(s.plain)).ok_or_else(|| bad("its sizes"))?;
        if self.joined.is_some_and(|joined| joined.plain != plain || plain > LARGEST_JOINED as u64) {
            return Err(bad("its sizes"));
        }
        if self.tar_size > i64::MAX as u64 || self.most_copies > u64::from(crate::delta::MOST_COPIES) {
            return Err(bad("its sizes"));
        }
        Ok(())
    }
}

fn put_packing(out: &mut Vec<u8>, packing: &Packing) {
    put(out, packing.plain);
    if packing.plain == 0 {
        return;
    }
    put(out, packing.packed);
    match packing.way {
        Way::Stored => out.push(STORED),
        Way::Lzma { properties, dictionary } => out.extend_from_slice(&[properties, dictionary]),
        Way::Codes { dictionary, head } => {
            out.extend_from_slice(&[CODES, dictionary]);
            put(out, head.0);
            put(out, head.1);
        }
    }
}

/// In the place of LZMA's properties.
const STORED: u8 = 0xff;
const CODES: u8 = 0xfe;

fn packing(input: &mut &[u8]) -> Result<Packing> {
    let plain = number(input)?;
    if plain == 0 {
        return Ok(Packing::default());
    }
    let packed = number(input)?;
    let is_dictionary = |log: u8| (12..=30).contains(&log);
    let (way, is_good) = match byte(input)? {
        STORED => (Way::Stored, packed == plain),
        CODES => {
            let (dictionary, head) = (byte(input)?, (number(input)?, number(input)?));
            (Way::Codes { dictionary, head }, is_dictionary(dictionary) && head.1 <= packed)
        }
        properties => {
            let dictionary = byte(input)?;
            // More than four bits of lc and lp take megabytes.
            let is_good = properties < 225 && properties % 9 + properties / 9 % 5 <= 4;
            (Way::Lzma { properties, dictionary }, is_good && is_dictionary(dictionary))
        }
    };
    if is_good { Ok(Packing { plain, packed, way }) } else { Err(bad("how a section is packed")) }
}

fn byte(input: &mut &[u8]) -> Result<u8> {
    let (first, rest) = input.split_first().ok_or_else(|| bad("its head ends too early"))?;
    *input = rest;
    Ok(*first)
}

fn digest(input: &mut &[u8]) -> Result<Digest> {
    let (digest, rest) = input.split_first_chunk::<32>().ok_or_else(|| bad("its head ends too early"))?;
    *input = rest;
    Ok(Digest(*digest))
}

fn number(input: &mut &[u8]) -> Result<u64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = byte(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(bad("a number too long"))
}

/// A section being read.
pub struct Stream<'a> {
    from: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    used: usize,
    /// Bytes that are not yet in the buffer.
    left: u64,
}

impl Stream<'_> {
    fn fill(&mut self) -> Result<()> {
        let n = self.left.min(BUFFER as u64) as usize;
        if n == 0 {
            return Err(bad("a section ends too early"));
        }
        self.buffer.resize(n, 0);
        self.from.read_exact(&mut self.buffer).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                bad("damaged data")
            }
            _ => Error::from(e).context("read a delta"),
        })?;
        (self.used, self.left) = (0, self.left - n as u64);
        Ok(())
    }

    /// The next byte.
    #[inline(always)]
    pub fn byte(&mut self) -> Result<u8> {
        if self.used == self.buffer.len() {
            self.fill()?;
        }
        self.used += 1;
        Ok(self.buffer[self.used - 1])
    }

    /// The next number.
    pub fn number(&mut self) -> Result<u64> {
        // Most have one byte.
        if let Some(byte) = self.buffer.get(self.used).filter(|byte| **byte < 0x80) {
            self.used += 1;
            return Ok(u64::from(*byte));
        }
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(bad("a number too long"))
    }

    /// Fills `out` with the next bytes.
    pub fn take(&mut self, out: &mut [u8]) -> Result<()> {
        self.next(out, |out, bytes| out.copy_from_slice(bytes))
    }

    /// Adds the next bytes to those of `out`.
    pub fn add_to(&mut self, out: &mut [u8]) -> Result<()> {
        self.next(out, |out, bytes| out.iter_mut().zip(bytes).for_each(|(to, by)| *to = to.wrapping_add(*by)))
    }

    /// Hands on the next bytes, part by part, with the part of `out` that they are for.
    fn next(&mut self, mut out: &mut [u8], each: impl Fn(&mut [u8], &[u8])) -> Result<()> {
        while !out.is_empty() {
            if self.used == self.buffer.len() {
                self.fill()?;
            }
            let n = out.len().min(self.buffer.len() - self.used);
            let (now, rest) = out.split_at_mut(n);
            each(now, &self.buffer[self.used..self.used + n]);
            (self.used, out) = (self.used + n, rest);
        }
        Ok(())
    }

    /// The next bytes, if there are so many.
    pub fn take_vec(&mut self, count: u64) -> Result<Vec<u8>> {
        if count > self.left + (self.buffer.len() - self.used) as u64 {
            return Err(bad("a section ends too early"));
        }
        let mut out = vec![0; count as usize];
        self.take(&mut out)?;
        Ok(out)
    }

    /// Nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.left == 0 && self.used == self.buffer.len()
    }
}

/// Opens all sections of a delta.
pub fn open<'a>(file: &'a File, head: &Head) -> Result<Vec<Stream<'a>>> {
    let mut at = head.start;
    let mut next = |packing: &Packing| {
        let from = unpack(file, at, packing);
        at = at.saturating_add(packing.packed);
        from
    };
    let stream = |from: Box<dyn Read + 'a>, left: u64| Stream { from, buffer: Vec::new(), used: 0, left };
    if let Some(joined) = &head.joined {
        let mut all = vec![0; joined.plain as usize];
        next(joined)?.read_exact(&mut all).map_err(|_| bad("damaged data"))?;
        let mut rest = all.into_iter();
        let mut next = |n: u64| std::io::Cursor::new(rest.by_ref().take(n as usize).collect::<Vec<u8>>());
        return Ok(head.sections.iter().map(|s| stream(Box::new(next(s.plain)), s.plain)).collect());
    }
    head.sections.iter().map(|s| Ok(stream(next(s)?, s.plain))).collect()
}

/// Reads the head of a delta in a file.
pub fn read_head(file: &File) -> Result<Head> {
    let length = file.metadata().context(|| "read a delta")?.len();
    let head = Head::read(&mut Part::new(file, 0, length))?;
    let packed = match &head.joined {
        Some(joined) => Some(joined.packed),
        None => head.sections.iter().try_fold(0u64, |sum, s| sum.checked_add(s.packed)),
    };
    match packed.and_then(|packed| packed.checked_add(head.start)) {
        Some(end) if end == length => Ok(head),
        _ => Err(bad("its length is not what its head says")),
    }
}

//! All blocks of headers of one entry of a tar, and how those of a new entry follow from those of an old one.

use crate::base::{Error, Result};
use crate::layer::skeleton::canonical_sum;
use crate::layer::tar::{BLOCK, Event, Parser};

/// More blocks of headers are told as they are.
pub const MOST_BLOCKS: usize = 64;
/// A larger body is none: sums of sizes must not overflow.
const LARGEST_BODY: u64 = 1 << 60;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const TIME: std::ops::Range<usize> = 136..148;
const SUM: std::ops::Range<usize> = 148..156;
const PREFIX: std::ops::Range<usize> = 345..500;

/// The headers of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// All blocks.
    pub bytes: Vec<u8>,
    /// Where among them the main header is.
    pub main: usize,
    /// Bytes of the body in the tar.
    pub stored: u64,
    /// The path, as the headers have it together.
    pub path: Vec<u8>,
}

impl Group {
    /// Reads the group that begins at `offset`; `None` if there is none, as at a tar's end.
    pub fn read(offset: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<Option<Group>> {
        let (mut parser, mut group) = (Parser::new(), Group::default());
        while group.bytes.len() < MOST_BLOCKS * BLOCK {
            let mut block = [0; BLOCK];
            read(offset + group.bytes.len() as u64, &mut block)?;
            let role = match parser.next(&mut &block[..]) {
                Ok(Event::Block(role)) => role,
                _ => return Ok(None),
            };
            if role == crate::layer::tar::Role::Main {
                group.main = group.bytes.len();
            }
            group.bytes.extend_from_slice(&block);
            match parser.next(&mut &[][..]) {
                Ok(Event::Entry) if parser.entry().stored > LARGEST_BODY => return Ok(None),
                Ok(Event::Entry) => {
                    group.stored = parser.entry().stored;
                    group.path.clone_from(&parser.entry().path);
                    return Ok(Some(group));
                }
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Length of headers, body and padding.
    pub fn span(&self) -> u64 {
        self.bytes.len() as u64 + self.stored.next_multiple_of(BLOCK as u64)
    }

    /// The main header alone, as what the next entry's is told by.
    pub fn template(&self) -> Group {
        Group { bytes: self.main_block().to_vec(), main: 0, stored: self.stored, path: self.path.clone() }
    }

    fn main_block(&self) -> &[u8] {
        &self.bytes[self.main..self.main + BLOCK]
    }

    fn main_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.main..self.main + BLOCK]
    }

    /// The time in the main header.
    pub fn time(&self) -> Option<i64> {
        number(&self.main_block()[TIME])
    }

    /// Sets the time in the main header.
    pub fn set_time(&mut self, time: i64) {
        set_number(&mut self.main_mut()[TIME], time);
    }

    /// Sets the size in the main header.
    pub fn set_size(&mut self, size: u64) {
        set_number(&mut self.main_mut()[SIZE], i64::try_from(size).unwrap_or(i64::MAX));
        self.stored = size;
    }

    /// Sets the path in the main header: up to 100 bytes in the name, else at the last slash that lets both parts fit.
    pub fn set_path(&mut self, path: &[u8]) {
        let main = self.main_mut();
        let split = match path.len() {
            0..=100 => Some(0),
            n => (n.saturating_sub(101)..=155.min(n - 1)).rev().find(|at| path[*at] == b'/' && *at > 0),
        };
        let Some(split) = split else { return };
        let (prefix, name) = if split == 0 { (&[][..], path) } else { (&path[..split], &path[split + 1..]) };
        main[NAME].fill(0);
        main[NAME][..name.len()].copy_from_slice(name);
        if split > 0 || main[PREFIX].first().is_some_and(|b| *b != 0) {
            main[PREFIX].fill(0);
            main[PREFIX][..prefix.len()].copy_from_slice(prefix);
        }
        self.path = path.to_vec();
    }

    /// Sets the checksum of the main header.
    pub fn set_sum(&mut self) {
        let mut block = [0; BLOCK];
        block.copy_from_slice(self.main_block());
        let sum = canonical_sum(&block);
        self.main_mut()[SUM].copy_from_slice(&sum);
    }

    /// Where the checksum of the main header is.
    pub fn sum_at(&self) -> std::ops::Range<usize> {
        self.main + SUM.start..self.main + SUM.end
    }

    /// Checks the group that a delta has told, and finds out what it says.
    pub fn parsed(&self) -> Result<Group> {
        let read = |at: u64, block: &mut [u8]| {
            let at = at as usize;
            let bytes = self.bytes.get(at..at + block.len()).ok_or_else(|| Error::invalid("invalid delta: cut headers"))?;
            block.copy_from_slice(bytes);
            Ok(())
        };
        match Group::read(0, read)? {
            Some(group) if group.bytes.len() == self.bytes.len() => Ok(group),
            _ => Err(Error::invalid("invalid delta: headers that are none")),
        }
    }
}

/// Octal digits, perhaps after blanks, up to a zero or a blank.
fn number(field: &[u8]) -> Option<i64> {
    let digits: Vec<u8> = field.iter().copied().skip_while(|b| *b == b' ').take_while(u8::is_ascii_digit).collect();
    i64::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()
}

/// Writes a number in as many octal digits as the field has now; nothing if it does not fit.
fn set_number(field: &mut [u8], number: i64) {
    let digits = field.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = format!("{number:0digits$o}");
    if number >= 0 && digits > 0 && text.len() == digits {
        field[..digits].copy_from_slice(text.as_bytes());
    }
}

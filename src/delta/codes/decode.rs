//! Unpacking of parts, each at once.

use crate::{
    DISTANCE_TREES, FAR, LAST, LENGTHS, LITERALS, LONGEST_CODE, MOST_LITERAL_TREES, ONLY, PART, Shape, distance_tree,
    far_distance,
};
use std::io::{self, Read};
use std::ops::Range;

/// Of each symbol that the next bits may begin with, its length in the low four bits, and the symbol.
type Table = [u16; 1 << LONGEST_CODE];

/// What was packed is damaged.
#[derive(Debug)]
pub struct Bad;

impl From<Bad> for io::Error {
    fn from(_: Bad) -> io::Error {
        io::ErrorKind::InvalidData.into()
    }
}

/// Unpacks one section.
pub struct Decoder {
    window: Vec<u8>,
    /// Bytes so far, and where in the window the last part is.
    at: u64,
    latest: Range<usize>,
    last: [u32; LAST],
    shape: Shape,
    /// Which tree a literal has, by its context.
    choice: Vec<u8>,
    literals: Vec<Table>,
    tokens: Vec<Table>,
    distances: Vec<Table>,
}

/// Packed bits, the lowest first.
struct Bits<'a> {
    input: &'a [u8],
    next: usize,
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    /// Has at least 32 bits ready; behind the end they are zeros.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count < 32 {
            let more = match self.input.get(self.next..).and_then(|rest| rest.first_chunk::<4>()) {
                Some(four) => u32::from_le_bytes(*four),
                None => self.last_bytes(),
            };
            self.buffer |= u64::from(more) << self.count;
            (self.next, self.count) = (self.next + 4, self.count + 32);
        }
    }

    #[cold]
    fn last_bytes(&self) -> u32 {
        let mut four = [0; 4];
        let rest = self.input.get(self.next..).unwrap_or_default();
        four.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        u32::from_le_bytes(four)
    }

    /// The next symbol, at most eleven bits. There must be so many.
    #[inline(always)]
    fn symbol(&mut self, table: &Table) -> usize {
        let entry = table[self.buffer as usize & (table.len() - 1)];
        self.skip(u32::from(entry & 15));
        usize::from(entry >> 4)
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.buffer >>= count;
        self.count -= count;
    }

    /// The next bits as a number, at most 32.
    #[inline(always)]
    fn number(&mut self, count: u32) -> u32 {
        self.fill();
        let number = self.buffer & ((1 << count) - 1);
        self.skip(count);
        number as u32
    }

    /// All has been used, but for less than a byte, which is zeros.
    fn is_at_end(&self) -> bool {
        let used = (self.next * 8).checked_sub(self.count as usize);
        used.is_some_and(|used| used.div_ceil(8) == self.input.len()) && self.buffer == 0
    }
}

impl Decoder {
    /// Of a section whose matches go back no more than `1 << dictionary` bytes. At least a part.
    pub fn new(dictionary: u32) -> Decoder {
        Decoder {
            window: vec![0; PART.max(1 << dictionary)],
            at: 0,
            latest: 0..0,
            last: [1; LAST],
            shape: Shape { literals: 0, tokens: 0, unit: 0 },
            choice: Vec::new(),
            literals: Vec::new(),
            tokens: Vec::new(),
            distances: Vec::new(),
        }
    }

    /// Takes other trees, from the head.
    pub fn read_trees(&mut self, head: &mut dyn Read) -> io::Result<()> {
        let mut kinds = [0; 2];
        head.read_exact(&mut kinds)?;
        let trees = usize::from(kinds[1]);
        self.shape = Shape::of_byte(kinds[0]).filter(|_| (1..=MOST_LITERAL_TREES).contains(&trees)).ok_or(Bad)?;
        self.choice.resize(self.shape.contexts(), 0);
        head.read_exact(&mut self.choice)?;
        if self.choice.iter().any(|tree| usize::from(*tree) >= trees) {
            return Err(Bad.into());
        }
        let tokens = 1 << self.shape.tokens;
        for (tables, count) in [(&mut self.literals, trees), (&mut self.tokens, tokens), (&mut self.distances, DISTANCE_TREES)] {
            tables.resize(count, [0; 1 << LONGEST_CODE]);
            for table in tables {
                let mut lengths = [0; 256];
                head.read_exact(&mut lengths)?;
                fill(table, &lengths)?;
            }
        }
        Ok(())
    }

    /// Unpacks the next part, of so many bytes: [`PART`], or fewer if it is the last. Trees must have been read.
    pub fn part(&mut self, packed: &[u8], length: usize) -> Result<(), Bad> {
        let mask = self.window.len() - 1;
        let begin = self.at as usize & mask;
        let end = begin + length;
        // The window is parts, so that none goes over its end.
        if end > self.window.len() || self.tokens.is_empty() {
            return Err(Bad);
        }
        let mut bits = Bits { input: packed, next: 0, buffer: 0, count: 0 };
        let mut at = begin;
        let mut before = self.window[at.wrapping_sub(1) & mask];
        while at < end {
            bits.fill();
            let token = bits.symbol(&self.tokens[self.shape.token(at)]);
            let (least, more) = LITERALS[token >> 4];
            let literals = (least + bits.number(more)) as usize;
            if literals > end - at {
                return Err(Bad);
            }
            for place in &mut self.window[at..at + literals] {
                bits.fill();
                let tree = self.choice[self.shape.context(at, before)];
                before = bits.symbol(&self.literals[usize::from(tree)]) as u8;
                *place = before;
                at += 1;
            }
            if at == end {
                break;
            }
            let (least, more) = LENGTHS[token & 15];
            let length = (least + bits.number(more)) as usize;
            bits.fill();
            let symbol = bits.symbol(&self.distances[distance_tree(token & 15)]);
            let distance = self.distance(symbol, &mut bits)? as usize;
            let so_far = self.at + (at - begin) as u64;
            if length > end - at || distance as u64 > so_far || distance > self.window.len() {
                return Err(Bad);
            }
            copy(&mut self.window, at, distance, length);
            at += length;
            before = self.window[at - 1];
        }
        if !bits.is_at_end() {
            return Err(Bad);
        }
        self.at += length as u64;
        self.latest = begin..end;
        Ok(())
    }

    /// The last part's bytes.
    pub fn latest(&self) -> &[u8] {
        &self.window[self.latest.clone()]
    }

    /// The distance that a symbol means, which is the last one then.
    #[inline(always)]
    fn distance(&mut self, symbol: usize, bits: &mut Bits<'_>) -> Result<u32, Bad> {
        // Not by rotating a part of them: of four that is two calls.
        let [a, b, c, d] = self.last;
        self.last = match symbol {
            0 => [a, b, c, d],
            1 => [b, a, c, d],
            2 => [c, a, b, d],
            3 => [d, a, b, c],
            LAST..FAR => [(symbol - LAST) as u32 + 1, a, b, c],
            _ => {
                let (least, more) = far_distance(symbol).ok_or(Bad)?;
                [(least + bits.number(more)) << self.shape.unit, a, b, c]
            }
        };
        Ok(self.last[0])
    }
}

/// Repeats what is some distance back.
#[inline(always)]
fn copy(window: &mut [u8], at: usize, distance: usize, length: usize) {
    let mask = window.len() - 1;
    let from = at.wrapping_sub(distance) & mask;
    if length <= distance && from + length <= window.len() {
        window.copy_within(from..from + length, at);
    } else {
        for n in 0..length {
            window[at + n] = window[(from + n) & mask];
        }
    }
}

/// Makes a table of codes' lengths: shorter codes come first, equally long ones in the order of their symbols, as in DEFLATE.
fn fill(table: &mut Table, lengths: &[u8; 256]) -> Result<(), Bad> {
    table.fill(0);
    if let Some(only) = lengths.iter().position(|length| *length == ONLY) {
        table.fill((only as u16) << 4);
        return if lengths.iter().filter(|length| **length != 0).count() == 1 { Ok(()) } else { Err(Bad) };
    }
    let mut code = 0u32;
    for length in 1..=LONGEST_CODE {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| u32::from(**l) == length) {
            if code >> length != 0 {
                return Err(Bad);
            }
            // Bits are read from the lowest on, but a code begins with its highest.
            let first = (code.reverse_bits() >> (32 - length)) as usize;
            table[first..].iter_mut().step_by(1 << length).for_each(|entry| *entry = (symbol as u16) << 4 | length as u16);
            code += 1;
        }
        code <<= 1;
    }
    // Complete, or empty.
    if lengths.iter().all(|length| u32::from(*length) <= LONGEST_CODE) && (code == 2 << LONGEST_CODE || code == 0) {
        Ok(())
    } else {
        Err(Bad)
    }
}

//! Prefix codes for the large sections of a delta: a few per cent larger than LZMA, and unpacked in a quarter of the time.
//! `docs/DELTA-FORMAT.md` has the format.
//!
//! Bytes are packed in parts of [`PART`]. A part is a sequence of tokens: some literals, then a match, which repeats what is some distance
//! back. All symbols are bytes, of a few kinds: tokens, literals by what precedes them, distances.

mod cluster;
mod decode;
mod encode;
mod matches;
mod parse;
mod trees;
mod unpack;

pub use encode::encode;
pub use unpack::Unpacker;

/// Bytes of a part, but for the last.
pub const PART: usize = 32 << 10;
/// Most trees of literals.
const MOST_LITERAL_TREES: usize = 16;
/// Trees of distances, by the match's length.
const DISTANCE_TREES: usize = 4;
/// Most bits of a code.
const LONGEST_CODE: u32 = 11;
/// In the place of a code's length: this is the tree's only symbol, and takes no bits.
const ONLY: u8 = 12;

/// How numbers are said by a code of four bits: the least number of each, and how many bits follow.
type Scale = [(u32, u32); 16];

/// How many literals.
const LITERALS: Scale = scale([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 7, 15], 0);
/// How long a match is.
const LENGTHS: Scale = scale([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 8, 15], 1);

const fn scale(bits: [u32; 16], first: u32) -> Scale {
    let (mut scale, mut least, mut n) = ([(0, 0); 16], first, 0);
    while n < 16 {
        scale[n] = (least, bits[n]);
        least += 1 << bits[n];
        n += 1;
    }
    scale
}

/// The code of a number: the last that does not begin beyond it.
fn code_of(scale: &Scale, number: u32) -> usize {
    scale.iter().rposition(|(least, _)| *least <= number).unwrap_or(0)
}

/// The last four distances have symbols of their own.
const LAST: usize = 4;
/// Distances up to this one, too.
const NEAR: u32 = 8;
/// The first symbol of farther ones.
const FAR: usize = LAST + NEAR as usize;

/// The symbol of another distance, and the number of the bits that follow: distances up to 8 have a symbol each, of larger ones, which must
/// be multiples of `1 << unit`, the symbol says the logarithm and three bits more. `None`: it is not such a multiple.
fn distance_symbol(distance: u32, unit: u32) -> Option<(usize, u32)> {
    if distance <= NEAR {
        return Some((LAST + distance as usize - 1, 0));
    }
    let n = (distance >> unit).wrapping_sub(1);
    match n.checked_ilog2().unwrap_or(0).saturating_sub(3) {
        _ if n.wrapping_add(1) << unit != distance => None,
        0 if n < 8 => Some((FAR + n as usize, 0)),
        bits => Some((FAR + 8 * bits as usize + (n >> bits) as usize, bits)),
    }
}

/// The least distance of a far symbol, in units, and the number of the bits that follow; `None` for other symbols.
fn far_distance(symbol: usize) -> Option<(u32, u32)> {
    let n = symbol.checked_sub(FAR)? as u32;
    match n / 8 {
        0 => Some((n + 1, 0)),
        more @ 1..=22 => Some((((8 + n % 8) << (more - 1)) + 1, more - 1)),
        _ => None,
    }
}

/// Which tree has the distance of a match whose length has that code.
fn distance_tree(length_code: usize) -> usize {
    length_code.saturating_sub(1).min(DISTANCE_TREES - 1)
}

/// What trees are told apart by, in a block of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// How many low bits of the place tell literals apart: up to 2 together with the byte before, 3 and 4 alone.
    literals: u32,
    /// How many tell tokens apart.
    tokens: u32,
    /// The logarithm of what far distances are multiples of.
    unit: u32,
}

impl Shape {
    /// All three are below this.
    const END: u32 = 5;
    /// From here on the byte before does not count.
    const PLACE_ALONE: u32 = 3;

    /// As a byte.
    fn byte(self) -> u8 {
        ((self.unit * Shape::END + self.tokens) * Shape::END + self.literals) as u8
    }

    fn of_byte(byte: u8) -> Option<Shape> {
        let (n, end) = (u32::from(byte), Shape::END);
        let shape = Shape { literals: n % end, tokens: n / end % end, unit: n / end / end };
        (shape.unit < end).then_some(shape)
    }

    /// How many contexts literals have.
    fn contexts(self) -> usize {
        if self.literals < Shape::PLACE_ALONE { 256 << self.literals } else { 1 << self.literals }
    }

    /// The context of a literal.
    #[inline(always)]
    fn context(self, at: usize, before: u8) -> usize {
        let phase = at & ((1 << self.literals) - 1);
        if self.literals < Shape::PLACE_ALONE { phase << 8 | usize::from(before) } else { phase }
    }

    /// The tree of a token.
    #[inline(always)]
    fn token(self, at: usize) -> usize {
        at & ((1 << self.tokens) - 1)
    }
}

#[cfg(test)]
mod tests;

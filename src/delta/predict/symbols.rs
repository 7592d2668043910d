//! Tables of symbols (System V ABI, "Symbol Table"): rows with a name's place among the strings, an address and a size.

use crate::{LEAST_ADDRESS, Map};

/// What of a row is foretold: bits.
pub mod field {
    /// Places of names.
    pub const NAME: u8 = 1;
    /// Addresses.
    pub const VALUE: u8 = 2;
    /// Sizes: from the address to where the last byte went.
    pub const SIZE: u8 = 4;
}

/// The most tables of a program.
pub const MOST_SYMBOLS: u64 = 8;

/// A table in the old and in the new program. Pairs are old and new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Where in the file.
    pub offset: (u64, u64),
    /// Bytes of it.
    pub length: (u64, u64),
    /// Where in the file its names are.
    pub strings: (u64, u64),
    /// What is foretold.
    pub fields: u8,
}

impl Symbols {
    /// How many bytes of both tables follow, from these places on; `None` if one is not in its table.
    pub fn left(&self, old: u64, new: u64) -> Option<u64> {
        let left = |at: u64, offset: u64, length: u64| length.checked_sub(at.checked_sub(offset)?).filter(|left| *left > 0);
        Some(left(old, self.offset.0, self.length.0)?.min(left(new, self.offset.1, self.length.1)?))
    }

    /// Foretells all rows that are whole in a piece of the table which begins at a place of the old file.
    pub fn foretell(&self, piece: &mut [u8], old: u64, map: &Map) {
        let row = if map.image().wide { 24 } else { 16 };
        let into = (old - self.offset.0) % row;
        let first = if into == 0 { 0 } else { row - into };
        let whole = piece.get_mut(first as usize..).unwrap_or_default();
        match map.image().wide {
            true => whole.chunks_exact_mut(24).for_each(|row| self.row(row, 8, map)),
            false => whole.chunks_exact_mut(16).for_each(|row| self.row(row, 4, map)),
        }
    }

    /// One row; its address and its size have so many bytes, and are there and behind.
    fn row(&self, row: &mut [u8], word: usize, map: &Map) {
        let name = number(&row[..4]);
        if self.fields & field::NAME != 0
            && name != 0
            && let Some(to) = map.moved(self.strings.0.wrapping_add(name))
        {
            put(&mut row[..4], to.wrapping_sub(self.strings.1));
        }
        let (value, size) = (number(&row[word..2 * word]), number(&row[2 * word..3 * word]));
        let Some(to) = Some(value).filter(|value| *value >= LEAST_ADDRESS).and_then(|value| map.aim(value)) else { return };
        if self.fields & field::VALUE != 0 {
            put(&mut row[word..2 * word], to);
        }
        if self.fields & field::SIZE != 0
            && size > 1
            && let Some(last) = map.aim(value.wrapping_add(size - 1))
            && let Some(size) = last.checked_sub(to)
        {
            put(&mut row[2 * word..3 * word], size.wrapping_add(1));
        }
    }
}

fn number(field: &[u8]) -> u64 {
    field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn put(field: &mut [u8], number: u64) {
    field.copy_from_slice(&number.to_le_bytes()[..field.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Machine, Segment, Span};

    #[test]
    fn rows_follow_their_functions_and_names() {
        // Code of 0x100 bytes, its last 0x40 moved on by 0x20; strings whose last eight moved on by 4; the table is at 0x200.
        let code = Segment { offset: 0, length: 0x100, memory: 0x100, address: 0x10000 };
        let new = Segment { length: 0x120, memory: 0x120, ..code };
        let image = Image { machine: Machine::X86, wide: true, segments: vec![(code, new)], ..Image::default() };
        let spans = vec![Span::of(0, 0, 0xc0), Span::of(0xc0, 0xe0, 0x40), Span::of(0x100, 0x120, 8), Span::of(0x108, 0x12c, 8)];
        let map = Map::new(image, spans);
        let all = field::NAME | field::VALUE | field::SIZE;
        let table = Symbols { offset: (0x200, 0x300), length: (72, 96), strings: (0x100, 0x120), fields: all };
        let row = |name: u32, value: u64, size: u64| {
            [&name.to_le_bytes()[..], &[2, 0, 1, 0], &value.to_le_bytes(), &size.to_le_bytes()].concat()
        };
        let mut piece = [row(1, 0x100b0, 0x20), row(9, 0x100d0, 8), row(0, 77, 16)].concat();
        table.foretell(&mut piece, 0x200, &map);
        assert_eq!(piece, [row(1, 0x100b0, 0x40), row(13, 0x100f0, 8), row(0, 77, 16)].concat());
        // A piece that begins and ends within rows: only what is whole changes.
        let mut piece = [row(9, 0x100d0, 8), row(9, 0x100d0, 8), row(9, 0x100d0, 8)].concat()[20..70].to_vec();
        table.foretell(&mut piece, 0x214, &map);
        assert_eq!(piece, [row(9, 0x100d0, 8), row(13, 0x100f0, 8), row(9, 0x100d0, 8)].concat()[20..70]);
        assert_eq!(table.left(0x200, 0x310), Some(72));
        assert_eq!(table.left(0x247, 0x300), Some(1));
        assert_eq!((table.left(0x248, 0x300), table.left(0x1ff, 0x300), table.left(0x200, 0x360)), (None, None, None));
    }
}

//! Tables whose rows say which of their bytes are addresses, places or numbers of rows elsewhere: symbols and relocations (System V ABI,
//! "Object Files") and records of unwinding (Linux Standard Base, "Exception Frames").

use crate::{LEAST_ADDRESS, Map, dwarf, go};

/// What rows a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Symbols; beside them are the strings that are their names.
    #[default]
    Symbols,
    /// Relocations; beside them is the table of the symbols that they name by number.
    Rel,
    /// The same with addends.
    Rela,
    /// Records of unwinding, each of which names its parent, a function and its length.
    Frames,
    /// Words of four bytes: how far something is in a part of the file.
    Words,
    /// Pairs of such words, each of its own part.
    Pairs,
    /// Go's records of functions, of such words and others.
    Records,
    /// Go's types: addresses, and words that are how far other types or code are in their parts.
    Types,
    /// What Go's functions know of themselves, in which there are such words.
    Inlined,
    /// Which of Go's functions is the first of each stretch of code.
    Buckets,
    /// Entries of .debug_info.
    Entries,
    /// Lists of locations, or of ranges, before DWARF 5.
    Locations,
    /// The latter.
    Ranges,
    /// Those of DWARF 5, and what lines code is of.
    Lists,
}

impl Kind {
    /// By its number in a delta.
    pub fn of(number: u64) -> Option<Kind> {
        const ALL: [Kind; 14] = [
            Kind::Symbols,
            Kind::Rel,
            Kind::Rela,
            Kind::Frames,
            Kind::Words,
            Kind::Pairs,
            Kind::Records,
            Kind::Types,
            Kind::Inlined,
            Kind::Buckets,
            Kind::Entries,
            Kind::Locations,
            Kind::Ranges,
            Kind::Lists,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// How many parts of the file its rows name something of.
    pub fn others(self) -> usize {
        match self {
            Kind::Frames | Kind::Locations | Kind::Ranges | Kind::Lists => 0,
            Kind::Symbols | Kind::Rel | Kind::Rela | Kind::Words => 1,
            Kind::Pairs | Kind::Types | Kind::Inlined | Kind::Buckets => 2,
            Kind::Records => 5,
            Kind::Entries => MOST_OTHERS,
        }
    }

    /// Which fields its rows have.
    pub fn fields(self) -> u8 {
        match self {
            Kind::Symbols | Kind::Rel | Kind::Rela => field::OTHER | field::ADDRESS | field::SIZE,
            Kind::Frames => field::OTHER | field::ADDRESS | field::SIZE | field::DATA,
            Kind::Words | Kind::Pairs | Kind::Records | Kind::Inlined => (1 << self.others()) - 1,
            Kind::Types => field::OTHER | field::ADDRESS | field::SIZE,
            Kind::Buckets | Kind::Locations | Kind::Ranges | Kind::Lists => field::OTHER,
            Kind::Entries => u8::MAX,
        }
    }

    /// Bytes of a row, with words of eight bytes or of four; `None`: each is as long as it says.
    pub fn row(self, wide: bool) -> Option<usize> {
        let word = if wide { 8 } else { 4 };
        match self {
            Kind::Symbols => Some(8 + 2 * word),
            Kind::Rel => Some(2 * word),
            Kind::Rela => Some(3 * word),
            Kind::Words | Kind::Pairs => Some(4 * self.others()),
            Kind::Buckets => Some(go::BUCKET),
            Kind::Ranges => Some(2 * word),
            _ => None,
        }
    }
}

/// What of a row is foretold: bits. Of those kinds that are words in parts of the file, each part has one, in their order.
pub mod field {
    /// The place of its name, the number of its symbol, or how far its parent is before it.
    pub const OTHER: u8 = 1;
    /// The address it is of: a symbol's value, what is relocated, the function.
    pub const ADDRESS: u8 = 2;
    /// The size there, or what is added.
    pub const SIZE: u8 = 4;
    /// A record's own data for handlers.
    pub const DATA: u8 = 8;
}

/// The most parts of the file that a table's rows name something of.
pub const MOST_OTHERS: usize = 7;
/// The most tables of a program.
pub const MOST_TABLES: u64 = 32;
/// The most parents of its records.
pub const MOST_PARENTS: u64 = 256;

/// A part of the file that rows of a table name something of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Other {
    /// Where it begins in the old file, and in the new one.
    pub offset: (u64, u64),
    /// Its bytes in the old file.
    pub length: u64,
}

impl Other {
    /// Where in the new part that is which was so far in the old one.
    pub fn moved(&self, far: u64, map: &Map) -> Option<u64> {
        let old = Some(far).filter(|far| *far < self.length).map(|far| self.offset.0.wrapping_add(far))?;
        map.moved(old).map(|to| to.wrapping_sub(self.offset.1))
    }
}

/// A table in the old and in the new program. Pairs are old and new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its rows.
    pub kind: Kind,
    /// What is foretold.
    pub fields: u8,
    /// Where in the file.
    pub offset: (u64, u64),
    /// Bytes of it.
    pub length: (u64, u64),
    /// What its rows name something of, as many as its kind has.
    pub others: [Other; MOST_OTHERS],
    /// Where in the old file parents begin, rising.
    pub parents: Vec<u64>,
}

impl Table {
    /// How many bytes of both tables follow, from these places on; `None` if one is not in its table.
    pub fn left(&self, old: u64, new: u64) -> Option<u64> {
        let left = |at: u64, offset: u64, length: u64| length.checked_sub(at.checked_sub(offset)?).filter(|left| *left > 0);
        Some(left(old, self.offset.0, self.length.0)?.min(left(new, self.offset.1, self.length.1)?))
    }

    /// Foretells what is whole in a piece of the table, of these places of the old and the new file.
    pub fn foretell(&self, piece: &mut [u8], old: u64, new: u64, map: &Map) {
        match self.kind {
            Kind::Symbols | Kind::Rel | Kind::Rela | Kind::Words | Kind::Pairs => self.rows(piece, old, map),
            Kind::Frames => self.frames(piece, old, new, map),
            Kind::Records => go::records(self, piece, old, map),
            Kind::Types if map.image().wide => go::types::<8>(self, piece, old, map),
            Kind::Types => go::types::<4>(self, piece, old, map),
            Kind::Inlined => go::inlined(self, piece, old, map),
            Kind::Buckets => go::buckets(self, piece, new, map),
            Kind::Entries => dwarf::entries(self, piece, old, map),
            Kind::Locations | Kind::Ranges => dwarf::pairs(self, piece, old, map),
            Kind::Lists => dwarf::lists(self, piece, map),
        }
    }

    /// Rows of one length, each of which is foretold by itself.
    fn rows(&self, piece: &mut [u8], old: u64, map: &Map) {
        let wide = map.image().wide;
        let Some(length) = self.kind.row(wide) else { return };
        let into = ((old - self.offset.0) % length as u64) as usize;
        let first = if into == 0 { 0 } else { length - into };
        let rows = piece.get_mut(first..).unwrap_or_default().chunks_exact_mut(length);
        match (self.kind, wide) {
            (Kind::Symbols, true) => rows.for_each(|row| self.symbol::<8>(row, map)),
            (Kind::Symbols, false) => rows.for_each(|row| self.symbol::<4>(row, map)),
            (Kind::Words | Kind::Pairs, _) => {
                rows.for_each(|row| row.chunks_exact_mut(4).enumerate().for_each(|(nth, word)| self.word((nth, 1), word, map)));
            }
            (_, true) => rows.for_each(|row| self.relocation::<8>(row, map)),
            (_, false) => rows.for_each(|row| self.relocation::<4>(row, map)),
        }
    }

    pub(crate) fn has(&self, bit: u8) -> bool {
        self.fields & bit != 0
    }

    /// Words of `W` bytes.
    fn symbol<const W: usize>(&self, row: &mut [u8], map: &Map) {
        let name = number(&row[..4]);
        if self.has(field::OTHER)
            && name != 0
            && let Some(to) = self.others[0].moved(name, map)
        {
            put(&mut row[..4], to);
        }
        let (value, size) = (number(&row[W..2 * W]), number(&row[2 * W..3 * W]));
        let Some(to) = address(value, map) else { return };
        if self.has(field::ADDRESS) {
            put(&mut row[W..2 * W], to);
        }
        if self.has(field::SIZE)
            && let Some(size) = grown(value, size, to, map)
        {
            put(&mut row[2 * W..3 * W], size);
        }
    }

    fn relocation<const W: usize>(&self, row: &mut [u8], map: &Map) {
        if self.has(field::ADDRESS)
            && let Some(to) = address(number(&row[..W]), map)
        {
            put(&mut row[..W], to);
        }
        // The symbol's number is above the type, which has half of a wide word and a byte of a narrow one.
        let (symbol, length) = if W == 8 { (12..16, 24) } else { (5..8, 16) };
        let nth = number(&row[symbol.clone()]);
        if self.has(field::OTHER)
            && nth != 0
            && let Some(to) = self.others[0].moved(nth * length, map)
        {
            put(&mut row[symbol], to / length);
        }
        if self.has(field::SIZE)
            && let Some(addend) = row.get_mut(2 * W..)
            && let Some(to) = address(number(addend), map)
        {
            put(addend, to);
        }
    }

    /// How far something is in one of the other parts, in units.
    pub(crate) fn word(&self, (other, unit): (usize, u64), word: &mut [u8], map: &Map) {
        let far = number(word);
        if self.has(1 << other)
            && far != 0
            && let Some(to) = self.others[other].moved(far * unit, map)
        {
            put(word, to / unit);
        }
    }

    /// Records are found by their parents: a word that is how far one is before it is what precedes a function.
    fn frames(&self, piece: &mut [u8], old: u64, new: u64, map: &Map) {
        let image = map.image();
        let (Some((old_address, _)), Some((new_address, _))) = (image.old_address(old), image.new_address(new)) else { return };
        let mut at = (self.offset.0.wrapping_sub(old) % 4) as usize;
        while let Some(word) = piece.get(at..).and_then(|rest| rest.first_chunk()) {
            let parent = (old + at as u64).wrapping_sub(u32::from_le_bytes(*word).into());
            if self.parents.binary_search(&parent).is_err() {
                at += 4;
                continue;
            }
            if self.has(field::OTHER)
                && let Some(to) = map.moved(parent)
            {
                put(&mut piece[at..at + 4], (new + at as u64).wrapping_sub(to));
            }
            at += 4;
            let Some(rest) = piece.get_mut(at..) else { return };
            let (old, new) = (old_address.wrapping_add(at as u64), new_address.wrapping_add(at as u64));
            self.record(rest, old, new, map);
        }
    }

    /// What follows the parent: the function, less its own address, its length, and after a byte, the length of what follows, the
    /// handlers' data, less its own address, too.
    fn record(&self, rest: &mut [u8], old: u64, new: u64, map: &Map) {
        let far = |field: &[u8]| i64::from(number(field) as u32 as i32) as u64;
        if let Some([function @ .., _, _, _, _]) = rest.first_chunk_mut::<8>() {
            let from = old.wrapping_add(far(function));
            if let Some(to) = map.aim(from) {
                if self.has(field::ADDRESS) {
                    put(function, to.wrapping_sub(new));
                }
                if self.has(field::SIZE)
                    && let Some(size) = grown(from, number(&rest[4..8]), to, map)
                {
                    put(&mut rest[4..8], size);
                }
            }
        }
        if self.has(field::DATA)
            && let Some(row) = rest.first_chunk_mut::<13>()
            && let (4, data) = (row[8], &mut row[9..])
            && far(data) != 0
            && let Some(to) = map.aim(old.wrapping_add(9).wrapping_add(far(data)))
        {
            put(data, to.wrapping_sub(new.wrapping_add(9)));
        }
    }
}

pub(crate) fn address(value: u64, map: &Map) -> Option<u64> {
    Some(value).filter(|value| *value >= LEAST_ADDRESS).and_then(|value| map.aim(value))
}

/// The size of what was at `from` and is at `to`: as far as where its last byte went.
pub(crate) fn grown(from: u64, size: u64, to: u64, map: &Map) -> Option<u64> {
    let last = map.aim(from.wrapping_add(size.checked_sub(1).filter(|by| *by > 0)?))?;
    Some(last.checked_sub(to)?.wrapping_add(1))
}

/// A little-endian number.
pub fn number(field: &[u8]) -> u64 {
    field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(crate) fn put(field: &mut [u8], number: u64) {
    field.copy_from_slice(&number.to_le_bytes()[..field.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Machine, Segment, Span};

    /// Code of 0x100 bytes at 0x10000, its last 0x40 moved on by 0x20; after it 0x100 bytes of which half moved on by 4 more.
    fn map() -> Map {
        let code = Segment { offset: 0, length: 0x200, memory: 0x200, address: 0x10000 };
        let new = Segment { length: 0x224, memory: 0x224, ..code };
        let image = Image { machine: Machine::X86, wide: true, segments: vec![(code, new)], ..Image::default() };
        let spans =
            [Span::of(0, 0, 0xc0), Span::of(0xc0, 0xe0, 0x40), Span::of(0x100, 0x120, 0x80), Span::of(0x180, 0x1a4, 0x80)];
        Map::new(image, spans.to_vec())
    }

    fn other(offset: (u64, u64)) -> [Other; MOST_OTHERS] {
        let mut all = [Other::default(); MOST_OTHERS];
        all[0] = Other { offset, length: 0x1000 };
        all
    }

    const ALL: u8 = field::OTHER | field::ADDRESS | field::SIZE | field::DATA;

    #[test]
    fn symbols_follow_their_functions_and_names() {
        let offset = (0x400, 0x500);
        let table = Table { fields: ALL, offset, length: (72, 96), others: other((0x178, 0x198)), ..Table::default() };
        let row = |name: u32, value: u64, size: u64| {
            [&name.to_le_bytes()[..], &[2, 0, 1, 0], &value.to_le_bytes(), &size.to_le_bytes()].concat()
        };
        let mut piece = [row(1, 0x100b0, 0x20), row(9, 0x100d0, 8), row(0, 77, 16)].concat();
        table.foretell(&mut piece, 0x400, 0x500, &map());
        assert_eq!(piece, [row(1, 0x100b0, 0x40), row(13, 0x100f0, 8), row(0, 77, 16)].concat());
        // A piece that begins and ends within rows: only what is whole changes.
        let mut piece = [row(9, 0x100d0, 8), row(9, 0x100d0, 8), row(9, 0x100d0, 8)].concat()[20..70].to_vec();
        table.foretell(&mut piece, 0x414, 0x514, &map());
        assert_eq!(piece, [row(9, 0x100d0, 8), row(13, 0x100f0, 8), row(9, 0x100d0, 8)].concat()[20..70]);
        assert_eq!(table.left(0x400, 0x510), Some(72));
        assert_eq!(table.left(0x447, 0x500), Some(1));
        assert_eq!((table.left(0x448, 0x500), table.left(0x3ff, 0x500), table.left(0x400, 0x560)), (None, None, None));
    }

    #[test]
    fn relocations_follow_their_places_and_symbols() {
        let offset = (0x400, 0x500);
        // Symbol 0 was at 0x150: the third row of its table is where all moved on.
        let table =
            Table { kind: Kind::Rela, fields: ALL, offset, length: (48, 48), others: other((0x150, 0x170)), ..Table::default() };
        let row = |place: u64, symbol: u32, addend: u64| {
            [&place.to_le_bytes()[..], &[7, 0, 0, 0], &symbol.to_le_bytes(), &addend.to_le_bytes()].concat()
        };
        let mut piece = [row(0x100d0, 1, 8), row(0x100b0, 0, 0x100d1)].concat();
        table.foretell(&mut piece, 0x400, 0x500, &map());
        assert_eq!(piece, [row(0x100f0, 1, 8), row(0x100b0, 0, 0x100f1)].concat());
        let place = |symbol: u64| (map().moved(0x150 + 24 * symbol).unwrap() - 0x170) / 24;
        assert_eq!((place(1), place(2)), (1, 2));
    }

    #[test]
    fn records_are_found_by_their_parents() {
        // The parent is at 0x170 and stays before what moved on; the record's words begin at 0x184.
        let table = Table {
            kind: Kind::Frames,
            fields: ALL,
            offset: (0x160, 0x180),
            length: (0xa0, 0xa4),
            parents: vec![0x170],
            ..Table::default()
        };
        let record = |parent: u32, function: i32, size: u32, data: i32| {
            [&parent.to_le_bytes()[..], &function.to_le_bytes(), &size.to_le_bytes(), &[4], &data.to_le_bytes(), &[1, 2, 3]]
                .concat()
        };
        let mut piece = [&[24, 0, 0, 0][..], &record(0x14, 0xd0 - 0x188, 8, 0xb0 - 0x191)].concat();
        table.foretell(&mut piece, 0x180, 0x1a4, &map());
        assert_eq!(piece, [&[24, 0, 0, 0][..], &record(0x1a8 - 0x190, 0xf0 - 0x1ac, 8, 0xb0 - 0x1b5)].concat());
        // Words that are no record's stay, and one that is cut has what there is.
        let mut piece = [&[0x15, 0, 0, 0][..], &[1; 8]].concat();
        table.foretell(&mut piece, 0x184, 0x1a8, &map());
        assert_eq!(piece, [&[0x15, 0, 0, 0][..], &[1; 8]].concat());
        let mut piece = vec![0x14, 0, 0, 0, 1, 2];
        table.foretell(&mut piece, 0x184, 0x1a8, &map());
        assert_eq!(piece, [0x18, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn words_are_found_in_their_parts() {
        let parts = [((0x150, 0x170), 0x40), ((0, 0), 0x1000), ((0x100, 0x120), 0x80), ((0xc0, 0xe0), 0x40), ((0x180, 0x1a4), 8)];
        let mut others = [Other::default(); MOST_OTHERS];
        for (other, (offset, length)) in others.iter_mut().zip(parts) {
            *other = Other { offset, length };
        }
        let table = Table { fields: 31, offset: (0x400, 0x500), length: (0x200, 0x200), others, ..Table::default() };
        let put = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let foretold = |kind: Kind, words: &[u32]| {
            let mut piece = put(words);
            Table { kind, ..table.clone() }.foretell(&mut piece, 0x400, 0x500, &map());
            piece
        };
        // 0x30 is at 0x180, from where on all is 4 further on; 0 and what is beyond the part stay.
        assert_eq!(foretold(Kind::Words, &[0x2f, 0x30, 0, 0x40]), put(&[0x2f, 0x34, 0, 0x40]));
        assert_eq!(foretold(Kind::Pairs, &[0x30, 0xc0, 0x2f, 1]), put(&[0x34, 0xe0, 0x2f, 1]));
        let record = |w: [u32; 4]| [w[0], 0xc0, 9, 0, w[1], 0, 0x80, 1, w[2], 5, 0x0100_0000, w[1], w[3]];
        let (old, new) = (record([0x30, 0x81, 4, 7]), record([0x34, 0x81, 4, 7]));
        let mut made = new;
        (made[1], made[6]) = (0xe0, 0x80);
        assert_eq!(foretold(Kind::Records, &[&[1][..], &old].concat()), put(&[&[1][..], &made].concat()));
        // A wide address, two words, and a method that the last four of these tell of: 16 bytes behind them.
        // How many methods there are is no place.
        let types = [0x100c0, 0, 0x30, 0x40, 1, 0x30, 16, 0, 0x30, 0x31, 0xc0, 0x30];
        assert_eq!(foretold(Kind::Types, &types), put(&[0x100e0, 0, 0x34, 0x40, 1, 0x30, 16, 0, 0x34, 0x35, 0xe0, 0x30]));
        // A call's name, and an object's pointers.
        let inlined = [7, 0x30, 0x0200_0007, 0x30, 24, 16, 0xc0, 16, 24, 0xc0];
        assert_eq!(foretold(Kind::Inlined, &inlined), put(&[7, 0x34, 0x0200_0007, 0x30, 24, 16, 0xe0, 16, 24, 0xc0]));
        // What could be a name is none after an object below the frame's top.
        let objects = [0xffff_fff0, 24, 16, 0x30, 0x10, 24, 16, 0x30];
        assert_eq!(foretold(Kind::Inlined, &objects), put(&[0xffff_fff0, 24, 16, 0x30, 0x10, 24, 16, 0x34]));
        // What is cut has what there is; nothing is beyond it.
        for kind in [Kind::Words, Kind::Pairs, Kind::Records, Kind::Types, Kind::Inlined] {
            let whole = foretold(kind, &types);
            for length in 0..48 {
                let mut piece = put(&types)[..length].to_vec();
                Table { kind, ..table.clone() }.foretell(&mut piece, 0x400, 0x500, &map());
                assert!(kind == Kind::Types || piece[..length / 8 * 8] == whole[..length / 8 * 8], "{kind:?} {length}");
            }
        }
    }
}

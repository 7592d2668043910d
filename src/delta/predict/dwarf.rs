//! What debuggers read (DWARF 2 to 5, of 32 bits): addresses and places in other sections, which stand at any byte. Where they are in
//! .debug_info is told by .debug_abbrev: an applier reads both of the old program before it copies from it.

use crate::Map;
use crate::tables::{Kind, Table, address, field, grown, number, put};
use std::ops::{Range, RangeInclusive};

/// The parts of the file that a table of debugging information names something of, by their number.
mod part {
    /// .debug_abbrev
    pub const ABBREV: u8 = 0;
    /// .debug_str
    pub const STRINGS: u8 = 1;
    /// .debug_loc; the next one is .debug_loclists, of DWARF 5.
    pub const LOCATIONS: u8 = 2;
    /// .debug_ranges; the next one is .debug_rnglists.
    pub const RANGES: u8 = 4;
    /// .debug_line
    pub const LINES: u8 = 6;
}

/// What of debugging information is foretold: bits.
mod debug_field {
    /// Places in each of the parts have the bit of their number; those of DWARF 5 that of the part before. References within a unit and
    /// units' lengths:
    pub const OWN: u8 = 1 << 3;
    /// Addresses.
    pub const ADDRESS: u8 = 1 << 5;
    /// Sizes of what is at an address.
    pub const SIZE: u8 = 1 << 7;

    /// Places in a part.
    pub fn of(part: u8) -> u8 {
        match part {
            3 | 5 => 1 << (part - 1),
            _ => 1 << part,
        }
    }
}

/// Larger ones are not looked at: this many bytes of .debug_info and .debug_abbrev…
const MOST_INFO: u64 = 8 << 20;
const MOST_ABBREV: u64 = 256 << 10;
/// …and so many times as many as the new program has.
const MOST_TIMES: u64 = 4;
/// Of each so many bytes of .debug_info it is known where the first entry begins.
const STEP: usize = 32;
/// Longer entries are not looked at.
const LONGEST_ENTRY: usize = 4096;
/// Bytes that are read at once.
const WINDOW: usize = 64 << 10;
/// More units are not looked at, nor entries of more attributes.
const MOST_UNITS: usize = 16 << 10;
const MOST_ATTRIBUTES: usize = 48;
/// How long a location's expression may be. Others are rare, and would be seen where the bytes of an address are.
const EXPRESSION: RangeInclusive<u64> = 1..=255;

/// What is known of the old program's debugging information.
#[derive(Default)]
pub struct Debug {
    abbrev: Vec<u8>,
    /// What each abbreviation says of its entries.
    shapes: Vec<Shape>,
    /// The fields of entries of one length that may be foretold.
    fields: Vec<Known>,
    units: Vec<Unit>,
    /// Of each step, one more than where its first entry begins; 0: none does.
    first: Vec<u8>,
    /// From where on locations, and ranges, are less which address.
    bases: [Vec<(u64, u64)>; 2],
}

#[derive(Clone, Copy)]
struct Shape {
    /// Where its attributes begin.
    attributes: u32,
    /// Bytes after the code; `None`: they are to be counted.
    length: Option<u16>,
    /// Those of the fields that are its own, if it has a length.
    fields: (u32, u8),
}

/// A field at a fixed place of an entry, counted from behind its code.
#[derive(Clone, Copy)]
struct Known {
    at: u16,
    length: u8,
    meaning: Meaning,
}

/// What a field is; one of the latter only before DWARF 4, where places had no form of their own.
#[derive(Clone, Copy)]
enum Meaning {
    Always(Field),
    Before4(Field),
}

impl Meaning {
    /// In a unit of that version. Lists of DWARF 5 are elsewhere.
    fn of(self, version: u16) -> Option<Field> {
        let field = match self {
            Meaning::Before4(_) if version >= 4 => return None,
            Meaning::Always(field) | Meaning::Before4(field) => field,
        };
        Some(match field {
            Field::Place(part @ (part::LOCATIONS | part::RANGES)) if version >= 5 => Field::Place(part + 1),
            _ => field,
        })
    }
}

/// A unit of .debug_info.
#[derive(Clone, Copy)]
struct Unit {
    start: u64,
    end: u64,
    version: u16,
    /// The first of its shapes, and how many it has.
    shapes: (u32, u32),
}

/// A field of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Address,
    Low,
    Size,
    Reference,
    /// A place in that part.
    Place(u8),
}

/// Reads forward; `None` at the end of what there is.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, length: usize) -> Option<()> {
        self.at = self.at.checked_add(length).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn number(&mut self, length: usize) -> Option<u64> {
        let from = self.at;
        self.skip(length)?;
        Some(number(&self.bytes[from..self.at]))
    }

    /// LEB128: of a signed one, only its length counts.
    fn leb(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.number(1)?;
            value |= (byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte < 0x80 {
                return Some(value);
            }
        }
    }
}

/// How long a field of that form is, with words of `word` bytes; `None` if it says so itself.
fn fixed(form: u64, word: usize) -> Option<usize> {
    Some(match form {
        0x19 | 0x21 => 0,
        0x0b | 0x0c | 0x11 | 0x25 | 0x29 => 1,
        0x05 | 0x12 | 0x26 | 0x2a => 2,
        0x27 | 0x2b => 3,
        0x06 | 0x0e | 0x13 | 0x17 | 0x1c | 0x1d | 0x1f | 0x28 | 0x2c | 0x1f20 | 0x1f21 => 4,
        0x07 | 0x14 | 0x20 | 0x24 => 8,
        0x1e => 16,
        0x01 => word,
        _ => return None,
    })
}

/// What a field is, if it is foretold.
fn meaning(attribute: u64, form: u64) -> Option<Meaning> {
    let place = match attribute {
        0x10 => Some(part::LINES),
        0x55 => Some(part::RANGES),
        // Locations and frames' bases, and what GNU adds to them.
        0x02 | 0x40 | 0x2137 => Some(part::LOCATIONS),
        _ => None,
    };
    match (attribute, form) {
        (0x11, 0x01) => Some(Meaning::Always(Field::Low)),
        (_, 0x01) => Some(Meaning::Always(Field::Address)),
        (0x12, 0x06 | 0x07) => Some(Meaning::Always(Field::Size)),
        (_, 0x0e) => Some(Meaning::Always(Field::Place(part::STRINGS))),
        (_, 0x13) => Some(Meaning::Always(Field::Reference)),
        (_, 0x17) => place.map(|part| Meaning::Always(Field::Place(part))),
        (_, 0x06) => place.map(|part| Meaning::Before4(Field::Place(part))),
        _ => None,
    }
}

impl Debug {
    /// Of the old program of the first table of this kind, if any, for a new one of `size` bytes: `read` fills a buffer from a place.
    pub fn read<E>(map: &Map, size: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Debug, E> {
        let mut debug = Debug::default();
        let Some(table) = map.image().tables.iter().find(|table| table.kind == Kind::Entries) else { return Ok(debug) };
        let abbrev = &table.others[usize::from(part::ABBREV)];
        let most = size.saturating_mul(MOST_TIMES);
        if table.length.0 > most.min(MOST_INFO) || abbrev.length > most.min(MOST_ABBREV) {
            return Ok(debug);
        }
        let word = if map.image().wide { 8 } else { 4 };
        debug.abbrev = vec![0; abbrev.length as usize];
        read(abbrev.offset.0, &mut debug.abbrev)?;
        let tables = debug.read_shapes(word);
        debug.first = vec![0; (table.length.0 as usize).div_ceil(STEP)];
        let (mut window, mut from, mut have) = (vec![0; WINDOW], 0, 0);
        // Where the next unit begins; the last one, and what of it is known: its address, if it has first places of locations and ranges.
        let (mut start, mut at) = (0, 0);
        let mut last: Option<(Unit, Option<u64>, [bool; 2])> = None;
        while at < table.length.0 {
            if from + have < table.length.0 && at + LONGEST_ENTRY as u64 > from + have {
                (from, have) = (at, (WINDOW as u64).min(table.length.0 - at));
                read(table.offset.0.wrapping_add(from), &mut window[..have as usize])?;
            }
            let bytes = &window[(at - from) as usize..have as usize];
            if at == start {
                let Some((unit, header, abbreviations)) = head(bytes, at, word) else { break };
                if debug.units.len() >= MOST_UNITS {
                    break;
                }
                let own = abbreviations.and_then(|far| tables.binary_search_by_key(&far, |table| table.0).ok());
                let unit = Unit { shapes: own.map_or((0, 0), |nth| tables[nth].1), ..unit };
                debug.note(at);
                debug.units.push(unit);
                (start, last) = (unit.end, Some((unit, None, [false; 2])));
                at = if unit.shapes.1 == 0 { start } else { at + header as u64 };
                continue;
            }
            let Some((unit, base, seen)) = &mut last else { break };
            debug.note(at);
            let (mut low, mut found) = (0, [None; 2]);
            let looks = base.is_none() || *seen != [true; 2];
            let length = debug.entry(bytes, unit, word, looks, |field, place| {
                let value = number(&bytes[place]);
                match field {
                    Field::Low => low = value,
                    Field::Place(part::LOCATIONS) => found[0] = found[0].or(Some(value)),
                    Field::Place(part::RANGES) => found[1] = found[1].or(Some(value)),
                    _ => {}
                }
            });
            let base = *base.get_or_insert(low);
            for nth in 0..2 {
                if let Some(place) = found[nth].filter(|_| !seen[nth]) {
                    seen[nth] = true;
                    debug.bases[nth].push((place, base));
                }
            }
            at = length.map_or(start, |length| at + length as u64).min(start);
        }
        debug.bases.iter_mut().for_each(|bases| bases.sort_unstable());
        Ok(debug)
    }

    fn note(&mut self, at: u64) {
        if let Some(first) = self.first.get_mut(at as usize / STEP)
            && *first == 0
        {
            *first = 1 + (at as usize % STEP) as u8;
        }
    }

    /// Fills in the shapes; which of them each table of abbreviations has, by where it begins.
    fn read_shapes(&mut self, word: usize) -> Vec<(u64, (u32, u32))> {
        let mut tables = Vec::new();
        let Debug { abbrev, shapes, fields, .. } = self;
        let mut cursor = Cursor { bytes: abbrev, at: 0 };
        let (mut start, mut first) = (0, 0);
        while let Some(code) = cursor.leb() {
            let count = (shapes.len() - first) as u64;
            if code == 0 {
                if count > 0 {
                    tables.push((start as u64, (first as u32, count as u32)));
                }
                (start, first) = (cursor.at, shapes.len());
                continue;
            }
            let Some(shape) = shape(&mut cursor, word, fields) else { break };
            // They are numbered one by one; others are not looked at.
            if code != count + 1 {
                break;
            }
            shapes.push(shape);
        }
        tables
    }

    /// Goes through an entry at the front: what it has that is foretold, and where, if that is asked for; its length.
    fn entry(
        &self,
        bytes: &[u8],
        unit: &Unit,
        word: usize,
        looks: bool,
        mut told: impl FnMut(Field, Range<usize>),
    ) -> Option<usize> {
        let bytes = &bytes[..bytes.len().min(LONGEST_ENTRY)];
        let mut cursor = Cursor { bytes, at: 0 };
        let code = cursor.leb()?;
        if code == 0 {
            return Some(cursor.at);
        }
        if code > u64::from(unit.shapes.1) {
            return None;
        }
        let shape = self.shapes.get(unit.shapes.0 as usize + code as usize - 1)?;
        if let Some(length) = shape.length {
            let (start, (first, count)) = (cursor.at, shape.fields);
            for known in self.fields[first as usize..].iter().take(if looks { count.into() } else { 0 }) {
                let place = start + usize::from(known.at)..start + usize::from(known.at) + usize::from(known.length);
                if let Some(field) = known.meaning.of(unit.version)
                    && place.end <= bytes.len()
                {
                    told(field, place);
                }
            }
            cursor.skip(length.into())?;
            return Some(cursor.at);
        }
        let mut attributes = Cursor { bytes: &self.abbrev, at: shape.attributes as usize };
        loop {
            let (attribute, form) = (attributes.leb()?, attributes.leb()?);
            if (attribute, form) == (0, 0) {
                return Some(cursor.at);
            }
            if form == 0x21 {
                attributes.leb()?;
            }
            let start = cursor.at;
            if let Some(length) = fixed(form, word) {
                cursor.skip(length)?;
                if let Some(field) = meaning(attribute, form).and_then(|meaning| meaning.of(unit.version)) {
                    told(field, start..cursor.at);
                }
                continue;
            }
            match form {
                0x08 => while cursor.number(1)? != 0 {},
                0x0d | 0x0f | 0x15 | 0x1a | 0x1b | 0x22 | 0x23 => {
                    cursor.leb()?;
                }
                0x10 => cursor.skip(if unit.version < 3 { word } else { 4 })?,
                0x03 | 0x04 | 0x09 | 0x0a | 0x18 => {
                    let length = match form {
                        0x03 => cursor.number(2)?,
                        0x04 => cursor.number(4)?,
                        0x0a => cursor.number(1)?,
                        _ => cursor.leb()?,
                    };
                    let start = cursor.at;
                    cursor.skip(usize::try_from(length).ok()?)?;
                    // An expression that begins with an address (DW_OP_addr).
                    if bytes[start..cursor.at].first() == Some(&3) && start + 1 + word <= cursor.at {
                        told(Field::Address, start + 1..start + 1 + word);
                    }
                }
                _ => return None,
            }
        }
    }

    /// Where the first entry or unit begins in a range of .debug_info, as far as that is known.
    fn next(&self, range: Range<u64>) -> Option<u64> {
        let steps =
            usize::try_from(range.start).ok()? / STEP..usize::try_from(range.end).ok()?.div_ceil(STEP).min(self.first.len());
        let mut known = steps.filter(|nth| self.first[*nth] != 0).map(|nth| (nth * STEP) as u64 + u64::from(self.first[nth]) - 1);
        known.find(|begin| *begin >= range.start).filter(|begin| *begin < range.end)
    }

    fn unit(&self, far: u64) -> Option<&Unit> {
        let nth = self.units.partition_point(|unit| unit.start <= far);
        self.units.get(nth.checked_sub(1)?).filter(|unit| far < unit.end)
    }

    /// What locations or ranges at a place are less.
    fn base(&self, which: usize, far: u64) -> u64 {
        let bases = &self.bases[which];
        bases.partition_point(|base| base.0 <= far).checked_sub(1).map_or(0, |nth| bases[nth].1)
    }
}

/// An abbreviation after its code; adds its fields.
fn shape(cursor: &mut Cursor<'_>, word: usize, fields: &mut Vec<Known>) -> Option<Shape> {
    cursor.leb()?;
    cursor.skip(1)?;
    let (attributes, first, mut sum) = (cursor.at as u32, fields.len(), Some(0));
    for _ in 0..=MOST_ATTRIBUTES {
        let (attribute, form) = (cursor.leb()?, cursor.leb()?);
        if (attribute, form) == (0, 0) {
            if sum.is_none() {
                fields.truncate(first);
            }
            return Some(Shape { attributes, length: sum, fields: (first as u32, (fields.len() - first) as u8) });
        }
        if form == 0x21 {
            cursor.leb()?;
        }
        let length = fixed(form, word);
        if let (Some(at), Some(length), Some(meaning)) = (sum, length, meaning(attribute, form)) {
            fields.push(Known { at, length: length as u8, meaning });
        }
        sum = sum.zip(length).map(|(sum, length)| sum + length as u16);
    }
    None
}

/// The header of a unit: where it ends, how long the header is, and where its abbreviations are, if it is one that is looked at.
fn head(bytes: &[u8], start: u64, word: usize) -> Option<(Unit, usize, Option<u64>)> {
    let mut cursor = Cursor { bytes, at: 0 };
    let (length, version) = (cursor.number(4)?, cursor.number(2)? as u16);
    if length >= 0xffff_fff0 {
        return None;
    }
    let end = start + 4 + length;
    let unit = Unit { start, end, version, shapes: (0, 0) };
    let (kind, size, abbreviations) = match version {
        2..=4 => {
            let abbreviations = cursor.number(4)?;
            (1, cursor.number(1)?, abbreviations)
        }
        5 => (cursor.number(1)?, cursor.number(1)?, cursor.number(4)?),
        _ => (0, 0, 0),
    };
    let is_known = matches!(kind, 1 | 3) && size == word as u64;
    if end < start + cursor.at as u64 {
        return None;
    }
    Some((unit, cursor.at, is_known.then_some(abbreviations)))
}

/// Entries of .debug_info.
pub fn entries(table: &Table, piece: &mut [u8], old: u64, map: &Map) {
    let (debug, word) = (map.debug(), if map.image().wide { 8 } else { 4 });
    let far = old.wrapping_sub(table.offset.0);
    let end = far + piece.len() as u64;
    let mut fields: Vec<(Field, Range<usize>)> = Vec::new();
    let mut next = debug.next(far..end);
    let mut unit = None;
    while let Some(place) = next.filter(|place| *place < end) {
        let at = (place - far) as usize;
        unit = unit.filter(|unit: &&Unit| place < unit.end).or_else(|| debug.unit(place));
        let Some(unit) = unit else { return };
        if place == unit.start {
            let header = if unit.shapes.1 > 0 { header(table, &mut piece[at..], unit, map) } else { None };
            next = header.map_or_else(|| debug.next(place + 1..end), |length| Some(place + length as u64));
            continue;
        }
        fields.clear();
        let length = debug.entry(&piece[at..], unit, word, true, |field, place| fields.push((field, place)));
        let mut low = None;
        for (field, place) in fields.drain(..) {
            let field_bytes = &mut piece[at..][place];
            let value = number(field_bytes);
            let (bit, to) = match field {
                Field::Address | Field::Low => {
                    let to = address(value, map);
                    low = to.filter(|_| field == Field::Low).map(|to| (value, to)).or(low);
                    (debug_field::ADDRESS, to)
                }
                Field::Size => (debug_field::SIZE, low.and_then(|(from, to)| grown(from, value, to, map))),
                Field::Reference => (debug_field::OWN, reference(table, unit, value, map)),
                Field::Place(part) => (debug_field::of(part), table.others[usize::from(part)].moved(value, map)),
            };
            if table.has(bit)
                && let Some(to) = to
            {
                put(field_bytes, to);
            }
        }
        next = match length {
            Some(length) if place + (length as u64) < unit.end => Some(place + length as u64),
            _ => debug.next(place + 1..end),
        };
    }
}

/// How far something is in its unit.
fn reference(table: &Table, unit: &Unit, value: u64, map: &Map) -> Option<u64> {
    let start = table.offset.0.wrapping_add(unit.start);
    let (from, to) = map.moved(start).zip(map.moved(start.wrapping_add(value)))?;
    Some(to.wrapping_sub(from))
}

/// Length and abbreviations of a unit; its header's length.
fn header(table: &Table, bytes: &mut [u8], unit: &Unit, map: &Map) -> Option<usize> {
    let length = if unit.version >= 5 { 12 } else { 11 };
    let bytes = bytes.get_mut(..length)?;
    if table.has(debug_field::OWN)
        && let Some(last) = reference(table, unit, unit.end - unit.start - 1, map)
    {
        put(&mut bytes[..4], last.wrapping_sub(3));
    }
    let abbreviations = if unit.version >= 5 { &mut bytes[8..12] } else { &mut bytes[6..10] };
    if table.has(1 << part::ABBREV)
        && let Some(to) = table.others[usize::from(part::ABBREV)].moved(number(abbreviations), map)
    {
        put(abbreviations, to);
    }
    Some(length)
}

/// Lists of locations and of ranges before DWARF 5: pairs of addresses, less their unit's, the former with an expression behind each.
pub fn pairs(table: &Table, piece: &mut [u8], old: u64, map: &Map) {
    let (debug, word) = (map.debug(), if map.image().wide { 8 } else { 4 });
    let has_expressions = table.kind == Kind::Locations;
    let far = old.wrapping_sub(table.offset.0);
    let mut at = if has_expressions { 0 } else { (far.wrapping_neg() % (2 * word as u64)) as usize };
    while let Some(pair) = piece.get_mut(at..).and_then(|rest| rest.get_mut(..2 * word)) {
        let base = debug.base(usize::from(!has_expressions), far.wrapping_add(at as u64));
        let (from, to) = (number(&pair[..word]), number(&pair[word..]));
        let made =
            (from <= to && to > 0).then(|| Some((map.aim(base.wrapping_add(from))?, map.aim(base.wrapping_add(to))?))).flatten();
        let expression = if has_expressions { piece.get(at + 2 * word..at + 2 * word + 2).map(number) } else { Some(1) };
        if let (Some((from, to)), Some(length)) = (made, expression.filter(|length| EXPRESSION.contains(length))) {
            let base = if base == 0 { 0 } else { map.aim(base).unwrap_or(base) };
            if table.has(field::OTHER) {
                put(&mut piece[at..at + word], from.wrapping_sub(base));
                put(&mut piece[at + word..at + 2 * word], to.wrapping_sub(base));
            }
            at += 2 * word + if has_expressions { 2 + length as usize } else { 0 };
        } else if from == u64::MAX >> (64 - 8 * word) {
            // From here on all are less another address.
            if let Some(to) = address(to, map).filter(|_| table.has(field::OTHER)) {
                put(&mut piece[at + word..at + 2 * word], to);
            }
            at += 2 * word;
        } else if (from, to) == (0, 0) || !has_expressions {
            at += 2 * word;
        } else {
            at += 1;
        }
    }
}

/// Lists of DWARF 5, and programs of lines: an address follows a byte that is 2 (DW_LNE_set_address) or 5 to 8 (DW_RLE_, DW_LLE_).
pub fn lists(table: &Table, piece: &mut [u8], map: &Map) {
    let word = if map.image().wide { 8 } else { 4 };
    let mut at = 0;
    while at + 1 + word <= piece.len() {
        let to = if matches!(piece[at], 2 | 5..=8) { address(number(&piece[at + 1..at + 1 + word]), map) } else { None };
        at += 1;
        if let Some(to) = to.filter(|_| table.has(field::OTHER)) {
            put(&mut piece[at..at + word], to);
            at += word;
        }
    }
}

//! Tables of addresses: when rows come or go all others look alike, since each differs from its neighbours in a byte or two. Which row is
//! which is seen once their addresses have been foretold.

use crate::delta::create::elf::{self, Program, Section};
use crate::delta::create::pieces::{Copy, of_body, put};
use crate::delta::create::rows::{Rows, copies as copies_of, paired};
use crate::delta::predict::tables::{self, field, number};
use crate::delta::predict::{Image, LEAST_ADDRESS, MODE_SPAN, Map, Table, foretell, rule};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// An old and a new program, and the part of the base that the old one is.
pub struct Sides<'a> {
    /// The old body, and what it says of itself.
    pub old: (&'a [u8], &'a Program),
    /// The new one.
    pub new: (&'a [u8], &'a Program),
    /// Where in the base the old one is.
    pub within: &'a Range<usize>,
}

/// What things cost, in tenths of a byte: a copy, a run of changed bytes, one of them, a literal.
const COPY: usize = 25;
const RUN: usize = 8;
const CHANGE: usize = 8;
const LITERAL: usize = 5;
/// Rounds: what has been set right in one is spoken of in the next.
const ROUNDS: usize = 2;
/// And what is spoken of elsewhere, and not where it would be looked for.
const FOUND: usize = 20;

/// What kind of table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One that a delta tells of.
    Told(tables::Kind),
    /// The index of records of unwinding, after twelve bytes: functions and records, less its own address.
    Index,
    /// ARM's: functions, and how they are unwound.
    Exidx,
    /// Addresses.
    Pointers,
}

const FRAMES: Kind = Kind::Told(tables::Kind::Frames);
const RECORDS: Kind = Kind::Told(tables::Kind::Records);

impl Kind {
    fn of(section: &Section) -> Option<Kind> {
        match (section.kind, &section.name[..]) {
            (_, b".eh_frame_hdr") => Some(Kind::Index),
            (0x7000_0001, b".ARM.exidx") => Some(Kind::Exidx),
            (14 | 15, _) | (_, b".data.rel.ro" | b".got" | b".got.plt" | b".data" | b".itablink") => Some(Kind::Pointers),
            _ => section.rows().map(Kind::Told),
        }
    }

    /// How its words are foretold, in a table that the delta has not told of.
    fn mode(self) -> u8 {
        match self {
            FRAMES => rule::RELATIVE,
            Kind::Index => rule::SECOND_BASE,
            Kind::Exidx => rule::PREL31,
            Kind::Told(_) | Kind::Pointers => rule::WIDE,
        }
    }
}

/// Where everything went by these copies of the old body, with what an applier reads of that beforehand.
pub fn learned(image: Image, copies: &[Copy], old: &[u8], size: usize) -> Map {
    let mut map = Map::new(image, copies.iter().map(Copy::span).collect());
    learn(&mut map, old, size);
    map
}

/// What an applier reads of the old body beforehand, by the tables that it is told of.
pub fn learn(map: &mut Map, old: &[u8], size: usize) {
    // What cannot be read foretells nothing, and is not told of.
    let _ = map.learn(size as u64, |place, part| {
        let bytes = usize::try_from(place).ok().and_then(|at| old.get(at..at.checked_add(part.len())?)).ok_or(())?;
        part.copy_from_slice(bytes);
        Ok::<(), ()>(())
    });
}

/// Sets the copies of tables right; all others stay.
pub fn realign(sides: &Sides<'_>, image: &Image, mut copies: Vec<Copy>) -> Vec<Copy> {
    // An index speaks of the places of records, and symbols of those of their names.
    for first in [true, false].repeat(ROUNDS) {
        let map = learned(image.clone(), &of_body(&copies, sides.within), sides.old.0, sides.new.0.len());
        for new in sides.new.1.sections() {
            let old = sides.old.1.sections().iter().find(|old| (&old.name, old.kind) == (&new.name, new.kind));
            let (Some(old), Some(kind)) = (old, Kind::of(new)) else { continue };
            if kind == Kind::Told(tables::Kind::Symbols) && first {
                let rows = names(sides, old, new, &map);
                set_right(sides, &mut copies, &rows, (0, FOUND), &map);
            }
            if first == (kind == FRAMES || kind == RECORDS) {
                let rows = (old_rows(sides, kind, old, new, &map), new_rows(sides, kind, new));
                set_right(sides, &mut copies, &rows, (kind.mode(), if first { FOUND } else { 0 }), &map);
            }
        }
    }
    copies
}

/// Copies a table row by row, if that is better than what there is.
fn set_right(sides: &Sides<'_>, copies: &mut Vec<Copy>, (old, new): &(Rows, Rows), (mode, found): (u8, usize), map: &Map) {
    let (Some(first), Some(_)) = (new.starts.first(), old.starts.first()) else { return };
    let modes = vec![mode; sides.new.0.len().div_ceil(MODE_SPAN)];
    let range = *first..new.end;
    // Rows that are new may be like those that they stand between, or not.
    let paired = paired(old, new);
    let own: Vec<Option<usize>> = paired.iter().enumerate().map(|(nth, row)| row.filter(|row| old.is(*row, new, nth))).collect();
    let cost = |copies: &[Copy]| {
        let mut lost = 0;
        let mut rest = copies.iter().skip_while(|c| c.at + c.length <= range.start).peekable();
        for (at, row) in new.starts.iter().zip(&own) {
            while rest.next_if(|c| c.at + c.length <= *at).is_some() {}
            let from = row.map(|row| sides.within.start + old.starts[row]);
            lost += usize::from(from.is_some() && from != rest.peek().filter(|c| c.at <= *at).map(|c| c.from + at - c.at));
        }
        cost(sides, copies, &range, &modes, map) + lost * found
    };
    let mut least = cost(copies);
    for pairs in [own.clone(), paired] {
        let other = put(copies, &copies_of(old, new, &pairs, sides.within.start));
        let cost = cost(&other);
        if cost < least {
            (least, *copies) = (cost, other);
        }
    }
}

/// What copies of a range cost, in tenths of a byte.
fn cost(sides: &Sides<'_>, copies: &[Copy], range: &Range<usize>, modes: &[u8], map: &Map) -> usize {
    let (mut cost, mut left) = (0, range.len());
    for copy in copies[copies.partition_point(|c| c.at + c.length <= range.start)..].iter().take_while(|c| c.at < range.end) {
        let (at, end) = (copy.at.max(range.start), (copy.at + copy.length).min(range.end));
        let from = (copy.from + at - copy.at).checked_sub(sides.within.start);
        let Some(old) = from.and_then(|from| sides.old.0.get(from..from + end - at)) else { continue };
        let mut piece = old.to_vec();
        foretell(&mut piece, from.unwrap_or(0) as u64, at as u64, modes, map);
        let mut last = false;
        for (made, new) in piece.iter().zip(&sides.new.0[at..end]) {
            cost += match (made != new, last) {
                (true, false) => RUN + CHANGE,
                (true, true) => CHANGE,
                (false, _) => 0,
            };
            last = made != new;
        }
        cost += COPY;
        left -= end - at;
    }
    cost + left * LITERAL
}

/// The rows of the old table, foretold as if it began where the new one does.
fn old_rows(sides: &Sides<'_>, kind: Kind, old: &Section, new: &Section, map: &Map) -> Rows {
    let mut bytes = sides.old.0[old.range.clone()].to_vec();
    if kind == FRAMES {
        return frames(&bytes, old, |address| map.aim(address));
    }
    let modes = vec![kind.mode(); (new.range.start + bytes.len()).div_ceil(MODE_SPAN)];
    foretell(&mut bytes, old.range.start as u64, new.range.start as u64, &modes, map);
    if kind == RECORDS {
        return records(&bytes, &sides.old, old);
    }
    rows(&bytes, kind, sides.old.1.is_wide(), old.range.start)
}

fn new_rows(sides: &Sides<'_>, kind: Kind, new: &Section) -> Rows {
    let bytes = &sides.new.0[new.range.clone()];
    match kind {
        FRAMES => frames(bytes, new, Some),
        RECORDS => records(bytes, &sides.new, new),
        _ => rows(bytes, kind, sides.new.1.is_wide(), new.range.start),
    }
}

/// The names of a table of symbols: one follows its symbol.
fn names(sides: &Sides<'_>, old: &Section, new: &Section, map: &Map) -> (Rows, Rows) {
    let mut bytes = sides.old.0[old.range.clone()].to_vec();
    Table { fields: field::ADDRESS, ..Table::default() }.foretell(&mut bytes, 0, 0, map);
    let strings = |side: &(_, &Program), table: &Section| {
        table.links.first().and_then(|link| side.1.sections().get(*link)).map(|s| s.range.clone()).unwrap_or_default()
    };
    let wide = sides.new.1.is_wide();
    let length = tables::Kind::Symbols.row(wide).unwrap_or(usize::MAX);
    let rows = |symbols: &[u8], strings: Range<usize>, body: &[u8]| {
        let mut names: BTreeMap<usize, Option<u64>> = BTreeMap::new();
        for row in symbols.chunks_exact(length) {
            let (name, key) = symbol(row, wide);
            if name > 0 && name < strings.len() {
                // A name of several symbols follows none.
                names.entry(strings.start + name).and_modify(|key| *key = None).or_insert(key);
            }
        }
        let ends = names.keys().skip(1).copied().chain([strings.end]);
        let keys = names.iter().zip(ends).map(|((start, key), end)| (hashed(&body[*start..end]), *key)).collect();
        Rows { keys, starts: names.into_keys().collect(), end: strings.end }
    };
    (
        rows(&bytes, strings(&sides.old, old), sides.old.0),
        rows(&sides.new.0[new.range.clone()], strings(&sides.new, new), sides.new.0),
    )
}

fn hashed(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Rows of one length. Words that are less their own place have it added.
fn rows(bytes: &[u8], kind: Kind, wide: bool, start: usize) -> Rows {
    let (skip, length) = match kind {
        Kind::Index => (12, 8),
        Kind::Exidx => (0, 8),
        Kind::Pointers => (0, if wide { 8 } else { 4 }),
        Kind::Told(kind) => (0, kind.row(wide).unwrap_or(usize::MAX)),
    };
    let mut all = Rows::default();
    for (nth, row) in bytes.get(skip..).unwrap_or_default().chunks_exact(length).enumerate() {
        let at = skip + nth * length;
        all.starts.push(start + at);
        all.keys.push(match kind {
            Kind::Exidx => {
                let word = |from: usize| u32::from_le_bytes([row[from], row[from + 1], row[from + 2], row[from + 3]]);
                let own = |by: usize| word(by).wrapping_add((at + by) as u32) & 0x7fff_ffff;
                (hashed((own(0), if word(4) >> 31 == 1 || word(4) == 1 { word(4) } else { own(4) })), None)
            }
            Kind::Told(tables::Kind::Symbols) => (hashed(row), symbol(row, wide).1),
            // They follow from their place alone.
            Kind::Told(tables::Kind::Buckets) => (0, None),
            _ => (hashed(row), None),
        });
    }
    all.end = all.starts.last().map_or(start, |last| last + length);
    all
}

/// Where the name of a symbol is, and what tells it apart but for its name and size if it has an address.
fn symbol(row: &[u8], wide: bool) -> (usize, Option<u64>) {
    // Type and binding are before a wide address, and behind a narrow size.
    let (value, kind) = if wide { (&row[8..16], row[4]) } else { (&row[4..8], row[12]) };
    let value = number(value);
    (number(&row[..4]) as usize, (value >= LEAST_ADDRESS).then(|| hashed((value, kind))))
}

/// Records of unwinding: what counts is which function they are of.
fn frames(bytes: &[u8], section: &Section, aim: impl Fn(u64) -> Option<u64>) -> Rows {
    let mut all = Rows { end: section.range.start, ..Rows::default() };
    for (range, parent) in elf::frames(bytes) {
        let far = bytes.get(range.start + 8..range.end).and_then(|rest| rest.first_chunk()).map(|far| i32::from_le_bytes(*far));
        let place = section.address.wrapping_add(range.start as u64 + 8);
        all.starts.push(section.range.start + range.start);
        all.keys.push(match (parent, far) {
            (1.., Some(far)) => (hashed((0, aim(place.wrapping_add(i64::from(far) as u64)))), None),
            _ => (hashed(&bytes[range.clone()]), None),
        });
        all.end = section.range.start + range.end;
    }
    all
}

/// Go's records of functions, which are where their index says.
fn records(bytes: &[u8], side: &(&[u8], &Program), section: &Section) -> Rows {
    let index = section.links.last().and_then(|link| side.1.sections().get(*link)).map_or(0..0, |index| index.range.clone());
    let places = side.0[index.clone()].chunks_exact(8).map(|row| index.start.saturating_add(number(&row[4..]) as usize));
    let mut all = Rows { end: section.range.end, ..Rows::default() };
    all.starts.extend(places.filter(|place| section.range.contains(place)));
    all.starts.sort_unstable();
    all.starts.dedup();
    let ends = all.starts.iter().skip(1).copied().chain([all.end]);
    let rows = all.starts.iter().zip(ends).map(|(start, end)| &bytes[start - section.range.start..end - section.range.start]);
    all.keys = rows.map(|row| (hashed(row), row.first_chunk::<4>().map(hashed))).collect();
    all
}

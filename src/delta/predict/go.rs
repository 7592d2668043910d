//! Tables of Go's programs: records of functions, types, and what functions know of themselves. Most of their words are how far something
//! is in another part of the file.

use crate::tables::{Kind, Table, field, number, put};
use crate::{LEAST_ADDRESS, Map};
use std::ops::Range;

/// Go's records (runtime/runtime2.go, `_func`): words, then as many of two kinds as two of its fields say. What cannot be one is
/// passed over.
pub fn records(table: &Table, piece: &mut [u8], old: u64, map: &Map) {
    const LENGTH: usize = 44;
    const MOST: u64 = 32;
    let mut at = (table.offset.0.wrapping_sub(old) % 4) as usize;
    while let Some(record) = piece.get_mut(at..).filter(|rest| rest.len() >= LENGTH) {
        let (tables, data) = (number(&record[28..32]), u64::from(record[43]));
        if record[42] != 0 || tables >= MOST || data >= MOST {
            at += 4;
            continue;
        }
        // The last one counts words.
        for (place, other, unit) in [(0, 0, 1), (4, 1, 1), (16, 2, 1), (20, 2, 1), (24, 2, 1), (32, 3, 4)] {
            table.word((other, unit), &mut record[place..place + 4], map);
        }
        let words = record[LENGTH..].chunks_exact_mut(4);
        for (nth, word) in (0..tables + data).zip(words) {
            table.word((if nth < tables { 2 } else { 4 }, 1), word, map);
        }
        at += LENGTH + 4 * (tables + data) as usize;
    }
}

/// Go's types (internal/abi/type.go): addresses, and less than any of them how far another type or a name is. Of methods, which are
/// where a type says, two words are how far code is.
pub fn types<const W: usize>(table: &Table, piece: &mut [u8], old: u64, map: &Map) {
    let least = table.others[0].length.max(LEAST_ADDRESS);
    let mut at = (old.wrapping_neg() % W as u64) as usize;
    let (mut methods, mut counts) = (0..0, 0..0);
    while let Some(word) = piece.get_mut(at..at + W) {
        let value = number(word);
        if value >= least
            && let Some(to) = map.aim(value)
        {
            if table.has(field::SIZE) {
                put(word, to);
            }
            at += W;
            continue;
        }
        for place in (at..at + W).step_by(4) {
            if let Some(found) = methods_of(piece, place) {
                (methods, counts) = (found, place + 4..place + 12);
            }
            if counts.contains(&place) {
                continue;
            }
            let is_code = methods.contains(&place) && (place - methods.start) % 16 >= 8;
            table.word((usize::from(is_code), 1), &mut piece[place..place + 4], map);
        }
        at += W;
    }
}

/// What Go's functions know of themselves: names of inlined calls, and where it is told which words of objects in frames are pointers.
pub fn inlined(table: &Table, piece: &mut [u8], old: u64, map: &Map) {
    let mut at = (old.wrapping_neg() % 4) as usize;
    while at + 4 <= piece.len() {
        let (before, word) = piece.split_at_mut(at);
        let is_object = is_object(before, number(&word[..4]) >= table.others[0].length);
        if is_object || is_call(before) {
            table.word((usize::from(is_object), 1), &mut word[..4], map);
        }
        at += 4;
    }
}

/// Bytes of a row of what is the first function of each stretch (runtime/symtab.go, `findfuncbucket`): a number, and for each of its
/// stretches a byte that is added.
pub const BUCKET: usize = 20;
const STRETCHES: usize = 16;
/// Bytes of code of a stretch.
const STRETCH: u64 = 256;
/// Such tables are not foretold if they are larger, which is memory…
const MOST_BUCKETS: u64 = 256 << 10;
/// …or if their index is so many times as large, which is work.
const MOST_FUNCTIONS: u64 = 64;
/// Bytes of the index that are read at once.
const PART: u64 = 4096;

/// The first function of each stretch of the new code, as it follows from the old index: of a file of `size` bytes, by `read`, which
/// fills a buffer from a place of the old one.
pub fn first_functions<E>(map: &Map, size: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Vec<u32>, E> {
    const NONE: u32 = u32::MAX;
    let Some(table) = map.image().tables.iter().find(|table| table.kind == Kind::Buckets) else { return Ok(Vec::new()) };
    let ([code, index, ..], length) = (&table.others, table.length.1);
    let is_within = table.offset.1.checked_add(length).is_some_and(|end| end <= size);
    if !is_within || length > MOST_BUCKETS || index.length > MOST_FUNCTIONS * length {
        return Ok(Vec::new());
    }
    let mut all = vec![NONE; length.div_ceil(BUCKET as u64) as usize * STRETCHES];
    let mut buffer = [0; PART as usize];
    let mut start = None;
    for part in (0..index.length).step_by(PART as usize) {
        let rows = &mut buffer[..PART.min(index.length - part) as usize];
        read(index.offset.0.wrapping_add(part), rows)?;
        for (row, far) in rows.chunks_exact(8).zip((part..).step_by(8)) {
            let Some((entry, place)) = code.moved(number(&row[..4]), map).zip(index.moved(far, map)) else { continue };
            let stretch = entry.wrapping_sub(*start.get_or_insert(entry)).div_ceil(STRETCH);
            // Of those that begin in one, the next begins in the last.
            if let Some(last) = usize::try_from(stretch).ok().and_then(|nth| all.get_mut(nth))
                && let Some(nth) = u32::try_from(place / 8).ok().filter(|nth| *nth < NONE)
            {
                *last = if *last == NONE { nth } else { nth.max(*last) };
            }
        }
    }
    let mut last = 0;
    for nth in &mut all {
        last = if *nth == NONE { last } else { *nth };
        *nth = last;
    }
    Ok(all)
}

/// What is the first function of each stretch.
pub fn buckets(table: &Table, piece: &mut [u8], new: u64, map: &Map) {
    let all = map.first_functions();
    for (at, byte) in (new.wrapping_sub(table.offset.1) as usize..).zip(piece) {
        let (first, within) = (at / BUCKET * STRETCHES, at % BUCKET);
        let nth = |by: usize| all.get(first + by).copied().filter(|_| table.has(field::OTHER));
        let Some((base, own)) = nth(0).zip(nth(within.saturating_sub(4))) else { return };
        *byte = if within < 4 { base.to_le_bytes()[within] } else { own.wrapping_sub(base) as u8 };
    }
}

/// Where methods are, if this is what a type has that has some: a name, how many they are, how many of them are exported, how far they
/// are, and zeros.
fn methods_of(piece: &[u8], at: usize) -> Option<Range<usize>> {
    let words: &[u8; 16] = piece.get(at..)?.first_chunk()?;
    let (all, exported, far) = (number(&words[4..6]) as usize, number(&words[6..8]) as usize, number(&words[8..12]) as usize);
    let is_so = exported <= all && all > 0 && (16..1 << 16).contains(&far) && far % 4 == 0 && words[12..] == [0; 4];
    is_so.then(|| at + far..at + far + 16 * all)
}

/// What of a call is before its name: a byte and zeros.
fn is_call(before: &[u8]) -> bool {
    before.ends_with(&[0; 3])
}

/// What of an object is before that which tells of its pointers: where in the frame it is, mostly below its top, its length, and up to
/// where it has some. What cannot be a call's name is so of more objects.
fn is_object(before: &[u8], cannot_be_name: bool) -> bool {
    let Some((rest, words)) = before.split_last_chunk::<8>() else { return false };
    let (length, pointers) = (number(&words[..4]), number(&words[4..]));
    let is_local = || rest.len() >= 4 && rest.last().is_some_and(|high| *high >= 0x80);
    let is_one = pointers > 0 && pointers <= length && length < 1 << 24;
    is_one && pointers.is_multiple_of(4) && length.is_multiple_of(4) && (cannot_be_name || is_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Machine, Other, Segment, Span};

    #[test]
    fn buckets_follow_from_the_old_index() {
        let whole = Segment { offset: 0, length: 0x4000, memory: 0x4000, address: 0x10000 };
        let other = |old, new, length| Other { offset: (old, new), length };
        let mut table = Table { kind: Kind::Buckets, fields: field::OTHER, ..Table::default() };
        (table.offset, table.length) = ((0x3000, 0x3300), (24, 30));
        table.others[..2].copy_from_slice(&[other(0, 0, 0x1000), other(0x2000, 0x2200, 36)]);
        // Code that is longer from 0x300 on, and an index with another row after the first two.
        let spans = [(0, 0, 0x300), (0x300, 0x410, 0xd00), (0x2000, 0x2200, 16), (0x2010, 0x2218, 20)];
        let spans = spans.map(|(old, new, length)| Span::of(old, new, length)).to_vec();
        let learned = |table: &Table, size: u64| {
            let segments = vec![(whole, whole)];
            let image = Image { machine: Machine::A64, wide: true, segments, tables: vec![table.clone()], ..Image::default() };
            let mut map = Map::new(image, spans.clone());
            let functions: Vec<u8> =
                [0x10u32, 9, 0x80, 9, 0x310, 9, 0x710, 9, 0x900].iter().flat_map(|n| n.to_le_bytes()).collect();
            let done = map.learn(size, |place, part| {
                let from = place as usize - 0x2000;
                part.copy_from_slice(functions.get(from..from + part.len()).ok_or("not there")?);
                Ok::<(), &str>(())
            });
            done.map(|()| map)
        };
        // They begin at 0x10, 0x80, 0x420 and 0x820, and are the functions 0, 1, 3 and 4.
        let row = [&[0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3][..], &[4; 7], &[4, 0, 0, 0], &[0; 6]].concat();
        let map = learned(&table, 0x4000).unwrap();
        for from in [0, 3, 4, 20, 27] {
            let mut piece = vec![7; 30 - from];
            table.foretell(&mut piece, 0x3000, 0x3300 + from as u64, &map);
            assert_eq!(piece, row[from..], "{from}");
        }
        // Without its field, in a file that ends before it, or if it is too large, it stays.
        let stays = |table: &Table, size: u64| {
            let mut piece = [7; 24];
            table.foretell(&mut piece, 0x3000, 0x3300, &learned(table, size).unwrap());
            piece == [7; 24]
        };
        assert!(stays(&Table { fields: 0, ..table.clone() }, 0x4000) && stays(&table, 0x3300 + 29));
        assert!(stays(&Table { length: (24, 1 << 18 | 1), ..table.clone() }, 1 << 30));
        // An index that is no part of the old file is an error, one that is too long not even read.
        table.others[1].length = 30 * 64;
        assert!(learned(&table, 0x4000).is_err());
        table.others[1].length += 1;
        assert!(stays(&table, 0x4000));
    }
}

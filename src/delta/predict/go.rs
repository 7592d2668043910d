//! Tables of Go's programs: records of functions, types, and what functions know of themselves. Most of their words are how far something
//! is in another part of the file.

use crate::tables::{Table, field, number, put};
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
    let mut methods = 0..0;
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
            methods = methods_of(piece, place).unwrap_or(methods);
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
        let is_name = number(&word[..4]) < table.others[0].length;
        if if is_name { is_call(before) } else { is_object(before) } {
            table.word((usize::from(!is_name), 1), &mut word[..4], map);
        }
        at += 4;
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

/// What of an object is before that which tells of its pointers: its length, and up to where it has some.
fn is_object(before: &[u8]) -> bool {
    let Some((_, words)) = before.split_last_chunk::<8>() else { return false };
    let (length, pointers) = (number(&words[..4]), number(&words[4..]));
    pointers > 0 && pointers <= length && length < 1 << 24 && pointers.is_multiple_of(4) && length.is_multiple_of(4)
}

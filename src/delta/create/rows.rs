//! Rows of two tables, and which follows which.

use crate::delta::create::pieces::Copy;
use std::collections::HashMap;

/// What things cost, in tenths of a byte: a row that is copied from another one, and a copy.
const WRONG: usize = 20;
pub const COPY: usize = 45;
/// Rows that are looked at to tell whether another place is better.
const AHEAD: usize = 64;

/// Rows by what they say.
type Places = HashMap<u64, Vec<usize>>;

/// The rows of a table: where each begins, and what it says apart from where it stands.
#[derive(Default)]
pub struct Rows {
    /// Offsets in the file, rising.
    pub starts: Vec<usize>,
    /// The whole of it, and the most telling part.
    pub keys: Vec<(u64, Option<u64>)>,
    /// Where the last one ends.
    pub end: usize,
}

impl Rows {
    /// Both rows are there, and say the same.
    pub fn is(&self, row: usize, other: &Rows, nth: usize) -> bool {
        self.keys.get(row).zip(other.keys.get(nth)).is_some_and(|(a, b)| a.0 == b.0 || a.1.is_some() && a.1 == b.1)
    }
}

/// For each new row the old one that it is copied from.
pub fn paired(old: &Rows, new: &Rows) -> Vec<Option<usize>> {
    let (mut by_all, mut by_part): (Places, Places) = Default::default();
    for (nth, (all, part)) in old.keys.iter().enumerate() {
        by_all.entry(*all).or_default().push(nth);
        if let Some(part) = part {
            by_part.entry(*part).or_default().push(nth);
        }
    }
    let mut pairs = Vec::with_capacity(new.keys.len());
    let mut next: Option<usize> = None;
    for (nth, (all, part)) in new.keys.iter().enumerate() {
        let goes_on = next.filter(|next| *next < old.keys.len());
        let places = by_all.get(all).or_else(|| by_part.get(part.as_ref()?));
        if !goes_on.is_some_and(|row| old.is(row, new, nth))
            && let Some(places) = places
        {
            let near = places.partition_point(|row| *row < goes_on.unwrap_or(0)).min(places.len() - 1);
            let row = places[near];
            let run = (0..AHEAD).take_while(|by| old.is(row + by, new, nth + by)).count();
            let wrong = goes_on.map_or(run, |next| (0..run).filter(|by| !old.is(next + by, new, nth + by)).count());
            if goes_on.is_none() || wrong * WRONG > COPY {
                next = Some(row);
            }
        }
        let row = next.filter(|next| *next < old.keys.len());
        pairs.push(row);
        next = row.map(|row| row + 1);
    }
    pairs
}

/// Copies of these pairs; `base` is added to old places.
pub fn copies(old: &Rows, new: &Rows, pairs: &[Option<usize>], base: usize) -> Vec<Copy> {
    let bounds = |rows: &Rows, nth: usize| rows.starts[nth]..rows.starts.get(nth + 1).copied().unwrap_or(rows.end);
    let mut copies: Vec<Copy> = Vec::new();
    for (nth, row) in pairs.iter().enumerate() {
        let Some(row) = *row else { continue };
        let (from, at) = (bounds(old, row), bounds(new, nth));
        let length = at.len().min(from.len());
        let from = base + from.start;
        match copies.last_mut() {
            Some(last) if last.at + last.length == at.start && last.from + last.length == from => last.length += length,
            _ => copies.push(Copy { at: at.start, from, length }),
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[u64]) -> Rows {
        let starts: Vec<usize> = (0..keys.len()).map(|nth| 100 + 8 * nth).collect();
        Rows { end: 100 + 8 * keys.len(), starts, keys: keys.iter().map(|key| (*key, (*key > 50).then_some(key / 10))).collect() }
    }

    fn pairs(old: &[u64], new: &[u64]) -> Vec<Option<usize>> {
        paired(&rows(old), &rows(new))
    }

    #[test]
    fn rows_are_found_behind_what_came_and_what_went() {
        let some = |all: &[usize]| all.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(pairs(&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 9, 3, 4, 5, 6, 7]), some(&[0, 1, 2, 2, 3, 4, 5, 6]));
        assert_eq!(pairs(&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 4, 5, 6, 7]), some(&[0, 1, 3, 4, 5, 6]));
        // One row that is elsewhere is not worth two copies.
        assert_eq!(pairs(&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 7, 4, 5, 6, 7]), some(&[0, 1, 2, 3, 4, 5, 6]));
        // Nothing to go on with.
        assert_eq!(pairs(&[1, 2], &[8, 1, 2, 9]), [None, Some(0), Some(1), None]);
        assert_eq!(pairs(&[], &[8]), [None]);
    }

    #[test]
    fn what_tells_most_is_enough_where_the_whole_is_not_found() {
        assert_eq!(pairs(&[61, 71, 81, 91, 101], &[62, 81, 92, 101]), [Some(0), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn copies_go_on_as_long_as_rows_do() {
        let (old, new) = (rows(&[1, 2, 3, 4]), rows(&[1, 2, 9, 4, 1]));
        let all = copies(&old, &new, &[Some(0), Some(1), None, Some(3), Some(0)], 1000);
        let copy = |at, from, length| Copy { at, from, length };
        assert_eq!(all, [copy(100, 1100, 16), copy(124, 1124, 8), copy(132, 1100, 8)]);
    }
}

//! Rows of two tables, and which follows which.

use crate::delta::create::pieces::Copy;

/// Rows by what they say: keys and numbers, rising.
struct Places(Vec<(u64, usize)>);

impl Places {
    fn of(rows: impl Iterator<Item = (u64, usize)>) -> Places {
        let mut all: Vec<(u64, usize)> = rows.collect();
        all.sort_unstable();
        Places(all)
    }

    /// The first row from `row` on that says this; if there is none, the last.
    fn near(&self, key: u64, row: usize) -> Option<usize> {
        let at = self.0.partition_point(|place| *place < (key, row));
        let is = |place: &&(u64, usize)| place.0 == key;
        self.0.get(at).filter(is).or_else(|| self.0.get(at.checked_sub(1)?).filter(is)).map(|place| place.1)
    }
}

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
    let by_all = Places::of(old.keys.iter().enumerate().map(|(nth, key)| (key.0, nth)));
    let by_part = Places::of(old.keys.iter().enumerate().filter_map(|(nth, key)| Some((key.1?, nth))));
    let mut pairs = Vec::with_capacity(new.keys.len());
    let mut next: Option<usize> = None;
    for (nth, (all, part)) in new.keys.iter().enumerate() {
        let goes_on = next.filter(|next| *next < old.keys.len());
        let from = goes_on.unwrap_or(0);
        if !goes_on.is_some_and(|row| old.is(row, new, nth))
            && let Some(row) = by_all.near(*all, from).or_else(|| by_part.near((*part)?, from))
        {
            next = Some(row);
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
        assert_eq!(pairs(&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 7, 4, 5, 6, 7]), some(&[0, 1, 6, 3, 4, 5, 6]));
        // Of several that say the same the next, or if nothing goes on the first.
        assert_eq!(pairs(&[1, 2, 3, 2, 4, 2, 5], &[3, 2, 9, 2, 5, 2]), some(&[2, 3, 4, 5, 6, 1]));
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

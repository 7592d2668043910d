//! What the tars on both sides hold, and which entry of the old follows which of the new.

use crate::base::Result;
use crate::delta::group::Group;
use crate::layer::tar::BLOCK;
use std::collections::HashMap;

/// An entry of a tar.
pub struct Item {
    /// Where its headers begin.
    pub at: usize,
    /// Its headers.
    pub group: Group,
}

impl Item {
    /// Where its body is.
    pub fn body(&self) -> std::ops::Range<usize> {
        let start = self.at + self.group.bytes.len();
        start..start + self.group.stored as usize
    }
}

/// The entries of a tar that begins at `start` of `bytes` and ends at `end`, up to the first thing that is none, and where that is.
pub fn items(bytes: &[u8], start: usize, end: usize) -> Result<(Vec<Item>, usize)> {
    let (mut all, mut at) = (Vec::new(), start);
    let bytes = &bytes[..end];
    loop {
        let read = |from: u64, block: &mut [u8]| {
            let from = from as usize;
            // Beyond the end there is nothing: an empty block ends a tar.
            block.fill(0);
            if let Some(found) = bytes.get(from..from + block.len()) {
                block.copy_from_slice(found);
            }
            Ok(())
        };
        let Some(group) = Group::read(at as u64, read)? else { return Ok((all, at)) };
        let item = Item { at, group };
        let body = item.body();
        let padded = body.end.next_multiple_of(BLOCK);
        // Only zeros fill a body's last block: anything else is told as it is.
        if bytes.get(body.end..padded).is_none_or(|pad| pad.iter().any(|b| *b != 0)) || !(padded - start).is_multiple_of(BLOCK) {
            return Ok((all, at));
        }
        at = padded;
        all.push(item);
    }
}

/// Finds the old entry that a new one follows.
pub struct Pairs<'a> {
    old: &'a [Item],
    exact: HashMap<&'a [u8], usize>,
    folded: HashMap<Vec<u8>, Vec<usize>>,
    named: HashMap<&'a [u8], Vec<usize>>,
}

impl<'a> Pairs<'a> {
    /// Of these old entries.
    pub fn new(old: &'a [Item]) -> Pairs<'a> {
        let mut pairs = Pairs { old, exact: HashMap::new(), folded: HashMap::new(), named: HashMap::new() };
        for (nth, item) in old.iter().enumerate() {
            let path = plain(&item.group.path);
            pairs.exact.insert(path, nth); // a later layer's hides an earlier one's
            pairs.folded.entry(fold(path)).or_default().push(nth);
            pairs.named.entry(name(path)).or_default().push(nth);
        }
        pairs
    }

    /// The entry of the same path; else of a path that differs in digits only; else of the same name. Of several, that of the nearest
    /// size.
    pub fn find(&self, new: &Group) -> Option<usize> {
        let path = plain(&new.path);
        let same_kind = |nth: &usize| {
            let old = &self.old[*nth].group;
            (old.stored > 0) == (new.stored > 0)
        };
        if let Some(nth) = self.exact.get(path).filter(|nth| same_kind(nth)) {
            return Some(*nth);
        }
        let nearest = |all: Option<&Vec<usize>>| {
            all?.iter().copied().filter(same_kind).min_by_key(|nth| self.old[*nth].group.stored.abs_diff(new.stored))
        };
        if new.stored == 0 {
            return nearest(self.folded.get(&fold(path)));
        }
        nearest(self.folded.get(&fold(path))).or_else(|| nearest(self.named.get(name(path))))
    }
}

fn plain(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"./").unwrap_or(path)
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// Hexadecimal digits in a row that are a checksum rather than a word.
const LEAST_SUM: usize = 6;

/// A path with every version and every checksum as `#`.
fn fold(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let run = path[at..].iter().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).count();
        let whole = path.get(at + run).is_none_or(|b| !b.is_ascii_alphanumeric());
        let sum = run >= LEAST_SUM && whole && path[at..at + run].iter().any(u8::is_ascii_digit);
        let digits = path[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        match if sum { run } else { digits } {
            0 if path[at] == b'.' && out.last() == Some(&b'#') => at += 1,
            0 => {
                out.push(path[at]);
                at += 1;
            }
            n => {
                if out.last() != Some(&b'#') {
                    out.push(b'#');
                }
                at += n;
            }
        }
    }
    out
}

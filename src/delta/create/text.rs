//! The text that is searched: every distinct body of the base, one after the other.

use crate::base::Result;
use crate::delta::create::tars::Item;
use crate::delta::suffix::Suffixes;
use std::collections::HashMap;
use std::ops::Range;

/// A stretch of the text.
struct Stretch {
    /// Where in the text.
    text: usize,
    /// Where in the base.
    base: usize,
    length: usize,
}

/// The bodies of the base.
pub struct Text {
    suffixes: Suffixes,
    stretches: Vec<Stretch>,
    /// Where in the base a body begins, to where in the text the same bytes are.
    bodies: HashMap<usize, usize>,
}

impl Text {
    /// Of all bodies of the old entries. `mask` gives a body as it is to be searched.
    pub fn new(base: &[u8], old: &[Item], same: &Same, mask: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<Text> {
        let (mut text, mut stretches, mut bodies) = (Vec::new(), Vec::new(), HashMap::new());
        for item in old {
            let body = item.body();
            if body.is_empty() {
                continue;
            }
            let first = same.first(&base[body.clone()]).unwrap_or(body.start);
            if let Some(at) = bodies.get(&first).copied() {
                bodies.insert(body.start, at);
                continue;
            }
            bodies.insert(body.start, text.len());
            stretches.push(Stretch { text: text.len(), base: body.start, length: body.len() });
            match mask(&base[body.clone()]) {
                Some(masked) => text.extend_from_slice(&masked),
                None => text.extend_from_slice(&base[body]),
            }
        }
        Ok(Text { suffixes: Suffixes::new(text)?, stretches, bodies })
    }

    /// The text itself.
    pub fn bytes(&self) -> &[u8] {
        self.suffixes.text()
    }

    /// The body that begins there in the base.
    pub fn body(&self, base: usize) -> Option<usize> {
        self.bodies.get(&base).copied()
    }

    /// The whole body that a place of the text is in.
    pub fn around(&self, at: usize) -> Range<usize> {
        let nth = self.stretches.partition_point(|s| s.text <= at);
        match nth.checked_sub(1).and_then(|nth| self.stretches.get(nth)) {
            Some(s) => s.text..s.text + s.length,
            None => 0..0,
        }
    }

    /// Where in the base a place of the text is.
    pub fn in_base(&self, at: usize) -> usize {
        let nth = self.stretches.partition_point(|s| s.text <= at).saturating_sub(1);
        self.stretches.get(nth).map_or(0, |s| s.base + (at - s.text))
    }

    /// The longest beginning of `wanted` that one body has.
    pub fn longest(&self, wanted: &[u8]) -> (usize, usize) {
        let (at, length) = self.suffixes.longest(wanted);
        (at, length.min(self.around(at).end.saturating_sub(at)))
    }
}

/// Bodies by their content.
pub struct Same<'a> {
    base: &'a [u8],
    by_sum: HashMap<(usize, u32), Vec<usize>>,
}

impl<'a> Same<'a> {
    /// Of the old entries.
    pub fn new(base: &'a [u8], old: &[Item]) -> Same<'a> {
        let mut by_sum: HashMap<_, Vec<usize>> = HashMap::new();
        for item in old {
            let body = item.body();
            let all = by_sum.entry((body.len(), crc32fast::hash(&base[body.clone()]))).or_default();
            all.push(body.start);
        }
        Same { base, by_sum }
    }

    /// Where in the base the first body of these bytes begins.
    pub fn first(&self, body: &[u8]) -> Option<usize> {
        let all = self.by_sum.get(&(body.len(), crc32fast::hash(body)))?;
        all.iter().copied().find(|at| &self.base[*at..*at + body.len()] == body)
    }
}

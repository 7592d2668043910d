//! What of a new body is copied from where: long stretches that are mostly equal, found by way of the suffixes of the base.

use crate::delta::create::text::Text;
use crate::delta::predict::Span;
use crate::delta::suffix::common_prefix;
use std::collections::HashMap;
use std::ops::Range;

/// A copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where in the new body.
    pub at: usize,
    /// Where in the text.
    pub from: usize,
    /// Bytes.
    pub length: usize,
}

impl Copy {
    /// It is of that part of the text, as a whole.
    pub fn is_within(&self, part: &Range<usize>) -> bool {
        part.contains(&self.from) && self.from + self.length <= part.end
    }

    /// For a map of where the old body went, in which its place is.
    pub fn span(&self) -> Span {
        Span::of(self.from as u64, self.at as u64, self.length as u64)
    }
}

/// Those copies that are of one body as a whole, with their places relative to it.
pub fn of_body(copies: &[Copy], body: &Range<usize>) -> Vec<Copy> {
    let own = copies.iter().filter(|copy| copy.is_within(body));
    own.map(|copy| Copy { from: copy.from - body.start, ..*copy }).collect()
}

/// A match must be so much longer than what the last alignment gives.
const BETTER: usize = 8;
/// Where the last alignment gives so many equal bytes, no other is looked for.
const ENOUGH: usize = 32;

/// An alignment of new and old, within one old body.
#[derive(Clone)]
struct Line {
    /// Old place less new place.
    offset: isize,
    /// The old body.
    within: Range<usize>,
}

impl Line {
    /// The old place of a new one.
    fn old(&self, at: usize) -> Option<usize> {
        let old = at.checked_add_signed(self.offset)?;
        self.within.contains(&old).then_some(old)
    }
}

/// Finds the copies of one body; `start` is where the old body that it follows is in the text.
pub fn find(text: &Text, new: &[u8], start: Option<usize>) -> Vec<Copy> {
    let old = text.bytes();
    let mut line = match start {
        Some(start) => Line { offset: start as isize, within: text.around(start) },
        None => Line { offset: 0, within: 0..0 },
    };
    let equal = |line: &Line, at: usize| line.old(at).is_some_and(|o| old[o] == new[at]);
    let mut copies = Vec::new();
    let (mut scan, mut last, mut length, mut from) = (0, 0, 0, 0);
    while scan < new.len() {
        let mut score = 0usize;
        scan += length;
        let mut scored = scan;
        while scan < new.len() {
            if scored == scan
                && let Some(o) = line.old(scan)
            {
                let run = common_prefix(&old[o..line.within.end], &new[scan..]);
                if run >= ENOUGH {
                    (scan, scored, score) = (scan + run, scan + run, 0);
                    continue;
                }
            }
            (from, length) = text.longest(&new[scan..]);
            while scored < scan + length {
                score += usize::from(equal(&line, scored));
                scored += 1;
            }
            if length == score && length != 0 || length > score + BETTER {
                break;
            }
            score -= usize::from(score > 0 && equal(&line, scan));
            scan += 1;
        }
        if scan >= new.len() {
            length = 0;
        }
        if length != score || scan >= new.len() {
            let next = (scan < new.len()).then(|| Line { offset: from as isize - scan as isize, within: text.around(from) });
            let end = scan.min(new.len());
            let forward = extend(last, end, |at| equal(&line, at));
            let mut backward = match &next {
                Some(next) => {
                    let most = (end - last).min(from - next.within.start);
                    extend_back(most, |by| equal(next, end - by))
                }
                None => 0,
            };
            let mut forward = forward;
            if last + forward > end - backward {
                let over = last + forward - (end - backward);
                let (mut sum, mut best, mut keep) = (0isize, 0isize, 0);
                for i in 0..over {
                    let at = last + forward - over + i;
                    sum += isize::from(equal(&line, at));
                    sum -= isize::from(next.as_ref().is_some_and(|next| equal(next, end - backward + i)));
                    if sum > best {
                        (best, keep) = (sum, i + 1);
                    }
                }
                forward = forward + keep - over;
                backward -= keep;
            }
            if forward > 0
                && let Some(o) = line.old(last)
            {
                copies.push(Copy { at: last, from: o, length: forward });
            }
            last = end - backward;
            if let Some(next) = next {
                line = next;
            }
        }
    }
    copies
}

/// In tenths of a byte: what a copied byte saves, and what one that must be changed costs…
const SAVES: i64 = 4;
const CHANGE: i64 = 10;
/// …what a copy of the body that the new one follows costs, and one of another, which is a farther way…
const OWN: i64 = 60;
const OTHER: i64 = 150;
/// …and to copy from another at all. The device reads it anew at that time, and waits for its disk as long as for unpacking hundreds of
/// bytes.
const COLD: i64 = 1000;

/// Gives up copies that cost more than they save; `own` is where in the text the body begins that the new one follows.
pub fn prune(text: &Text, new: &[u8], copies: Vec<Copy>, own: Option<usize>) -> Vec<Copy> {
    let old = text.bytes();
    let gain = |copy: &Copy, body: usize| {
        let pairs = old[copy.from..copy.from + copy.length].iter().zip(&new[copy.at..copy.at + copy.length]);
        let wrong = pairs.filter(|(old, new)| old != new).count() as i64;
        SAVES * copy.length as i64 - CHANGE * wrong - if own == Some(body) { OWN } else { OTHER }
    };
    let all = copies.into_iter().map(|copy| (text.around(copy.from).start, copy));
    let paying: Vec<_> = all.map(|(body, copy)| (body, gain(&copy, body), copy)).filter(|(_, gain, _)| *gain >= 0).collect();
    let mut bodies: HashMap<usize, i64> = HashMap::new();
    paying.iter().for_each(|(body, gain, _)| *bodies.entry(*body).or_default() += gain);
    let is_worth_it = |body: &usize| own == Some(*body) || bodies.get(body).is_some_and(|gain| *gain >= COLD);
    paying.into_iter().filter(|(body, ..)| is_worth_it(body)).map(|(.., copy)| copy).collect()
}

/// How far from `from` on, at most to `to`, more is equal than is not.
fn extend(from: usize, to: usize, equal: impl Fn(usize) -> bool) -> usize {
    let (mut sum, mut best, mut length) = (0isize, 0isize, 0);
    for at in from..to {
        sum += isize::from(equal(at));
        let gain = 2 * sum - (at + 1 - from) as isize;
        if gain > best {
            (best, length) = (gain, at + 1 - from);
        }
    }
    length
}

fn extend_back(most: usize, equal: impl Fn(usize) -> bool) -> usize {
    let (mut sum, mut best, mut length) = (0isize, 0isize, 0);
    for by in 1..=most {
        sum += isize::from(equal(by));
        let gain = 2 * sum - by as isize;
        if gain > best {
            (best, length) = (gain, by);
        }
    }
    length
}

/// Puts copies in the place of what there is. Both lists are in the order of the new body.
pub fn put(copies: &[Copy], better: &[Copy]) -> Vec<Copy> {
    let mut all = Vec::with_capacity(copies.len() + better.len());
    let mut next = better.iter().peekable();
    for copy in copies {
        let (mut at, end) = (copy.at, copy.at + copy.length);
        let part = |at: usize, end: usize| Copy { at, from: copy.from + (at - copy.at), length: end - at };
        while let Some(new) = next.peek().filter(|new| new.at < end && at < end) {
            if at < new.at {
                all.push(part(at, new.at));
            }
            at = at.max(new.at + new.length);
            if at <= end {
                all.push(**new);
                next.next();
            }
        }
        if at < end {
            all.push(part(at, end));
        }
    }
    all.extend(next);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_takes_the_place_of_what_there_is() {
        let copy = |at, from, length| Copy { at, from, length };
        let all = [copy(10, 110, 10), copy(30, 230, 10), copy(40, 340, 10)];
        assert_eq!(put(&all, &[]), all);
        assert_eq!(put(&[], &all), all);
        assert_eq!(put(&all, &[copy(0, 5, 100)]), [copy(0, 5, 100)]);
        assert_eq!(
            put(&all, &[copy(12, 7, 2), copy(14, 8, 2)]),
            [copy(10, 110, 2), copy(12, 7, 2), copy(14, 8, 2), copy(16, 116, 4), all[1], all[2]]
        );
        let over = copy(15, 9, 28);
        assert_eq!(
            put(&all, &[copy(2, 1, 3), over, copy(60, 2, 5)]),
            [copy(2, 1, 3), copy(10, 110, 5), over, copy(43, 343, 7), copy(60, 2, 5)]
        );
        assert_eq!(
            put(&all, &[copy(20, 1, 10), copy(35, 3, 5)]),
            [all[0], copy(20, 1, 10), copy(30, 230, 5), copy(35, 3, 5), all[2]]
        );
    }
}

//! Where bytes are equal in many ways, as in tables of jumps, the addresses in code that has been found again tell which way is right:
//! each says where its old target went.

use crate::delta::create::pieces::{Copy, of_body, put};
use crate::delta::predict::{self, Image};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Votes that a change needs: each copy costs some bytes.
const LEAST: usize = 6;
/// Rounds: what has been set right in one speaks in the next.
const ROUNDS: usize = 2;

/// Bodies as they are compared: with their addresses blanked.
pub struct Sides<'a> {
    /// The old body.
    pub old: &'a [u8],
    /// The new one.
    pub new: &'a [u8],
    /// The old one as it is searched.
    pub old_masked: &'a [u8],
    /// The new one as it is searched.
    pub new_masked: &'a [u8],
}

/// A stretch of the old body whose addresses say that it went elsewhere.
struct Moved {
    old: Range<usize>,
    /// Where its neighbours say otherwise.
    room: Range<usize>,
    shift: i64,
    votes: usize,
}

/// Addresses in code.
pub struct Targets {
    /// Where they are in the old body, in order.
    old: Vec<(usize, u64)>,
    /// And in the new one.
    new: HashMap<usize, u64>,
}

impl Targets {
    /// All of two bodies.
    pub fn of(old: &[u8], new: &[u8], image: &Image) -> Targets {
        Targets { old: predict::targets(old, image, false), new: predict::targets(new, image, true).into_iter().collect() }
    }

    /// What copied code says: an old address, and the new one at the same place.
    pub fn pairs(&self, copies: &[Copy], mut told: impl FnMut(u64, u64)) {
        for copy in copies {
            let first = self.old.partition_point(|(site, _)| *site < copy.from);
            for (site, target) in self.old[first..].iter().take_while(|(site, _)| *site < copy.from + copy.length) {
                if let Some(to) = self.new.get(&(site - copy.from + copy.at)) {
                    told(*target, *to);
                }
            }
        }
    }
}

/// Sets copies right. Those of the old body lie in `within`, of the base; the others stay.
pub fn realign(sides: &Sides<'_>, targets: &Targets, image: &Image, within: &Range<usize>, mut copies: Vec<Copy>) -> Vec<Copy> {
    for _ in 0..ROUNDS {
        let own = of_body(&copies, within);
        let moved = moved(sides, &votes(sides, targets, image, &own), &own);
        if moved.is_empty() {
            break;
        }
        for stretch in moved {
            let at = (stretch.old.start as i64 + stretch.shift) as usize;
            copies = put(&copies, &[Copy { at, from: within.start + stretch.old.start, length: stretch.old.len() }]);
        }
    }
    copies
}

/// For each old target in the file: its new places, as shifts, and how often each was seen.
fn votes(sides: &Sides<'_>, targets: &Targets, image: &Image, copies: &[Copy]) -> BTreeMap<usize, HashMap<i64, usize>> {
    let (old, new) = (image.one_sided(false), image.one_sided(true));
    // A segment may be longer than its file.
    let place = |image: &Image, address: u64, body: &[u8]| image.old_offset(address).filter(|at| *at < body.len() as u64);
    let mut all: BTreeMap<usize, HashMap<i64, usize>> = BTreeMap::new();
    targets.pairs(copies, |from, to| {
        if let (Some(from), Some(to)) = (place(&old, from, sides.old), place(&new, to, sides.new)) {
            *all.entry(from as usize).or_default().entry(to as i64 - from as i64).or_default() += 1;
        }
    });
    all
}

/// Neighbouring targets that agree with each other, and not with the copies.
fn moved(sides: &Sides<'_>, votes: &BTreeMap<usize, HashMap<i64, usize>>, copies: &[Copy]) -> Vec<Moved> {
    let mut by_old: Vec<Copy> = copies.to_vec();
    by_old.sort_by_key(|copy| copy.from);
    let agrees = |target: usize, shift: i64| {
        // Copies that overlap in the old body are few: a look at those just before is enough.
        let end = by_old.partition_point(|copy| copy.from <= target);
        let near = by_old[end.saturating_sub(8)..end].iter().filter(|copy| target < copy.from + copy.length);
        near.clone().any(|copy| copy.at as i64 - copy.from as i64 == shift)
    };
    let mut all: Vec<Moved> = Vec::new();
    let (mut open, mut before): (Option<Moved>, usize) = (None, 0);
    for (target, shifts) in votes {
        let Some((shift, count)) = shifts.iter().max_by_key(|(shift, count)| (**count, **shift)) else { continue };
        match &mut open {
            Some(stretch) if stretch.shift == *shift => {
                stretch.old.end = target + 1;
                stretch.votes += count;
                continue;
            }
            Some(stretch) => {
                (stretch.room.end, before) = (*target, stretch.old.end);
                all.extend(open.take());
            }
            None => {}
        }
        match agrees(*target, *shift) {
            true => before = target + 1,
            false => open = Some(Moved { old: *target..target + 1, room: before..usize::MAX, shift: *shift, votes: *count }),
        }
    }
    all.extend(open);
    all.retain_mut(|stretch| stretch.votes >= LEAST && grow(sides, stretch));
    all
}

/// Makes a stretch as long as both sides are equal and nobody says otherwise; false if they are not.
fn grow(sides: &Sides<'_>, stretch: &mut Moved) -> bool {
    let equal = |old: usize| {
        let new = old.checked_add_signed(stretch.shift as isize).and_then(|new| sides.new_masked.get(new));
        new.is_some() && new == sides.old_masked.get(old)
    };
    let inside = stretch.old.clone();
    if inside.clone().filter(|at| equal(*at)).count() * 10 < inside.len() * 9 {
        return false;
    }
    while stretch.old.end < stretch.room.end && equal(stretch.old.end) {
        stretch.old.end += 1;
    }
    while stretch.old.start > stretch.room.start && equal(stretch.old.start - 1) {
        stretch.old.start -= 1;
    }
    true
}

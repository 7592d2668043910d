//! Memory that is not in the file has no copies that say where it went: code that uses it does.

use crate::delta::create::pieces::Copy;
use crate::delta::create::votes::Targets;
use crate::delta::predict::{Image, MOST_SEGMENTS, Machine, Segment};
use std::collections::{BTreeMap, HashMap};

/// Votes that a stretch needs: it costs some bytes to tell.
const LEAST: usize = 16;

/// A stretch of old memory: where it begins, how much further on it is in the new program, and how often that is said.
struct Stretch {
    start: u64,
    shift: u64,
    votes: usize,
}

/// Tells of stretches that went elsewhere than where the end of the file does as segments without bytes, which are looked at first.
pub fn add(targets: &Targets, copies: &[Copy], image: &mut Image) {
    // ARM's code has branches only.
    if image.machine == Machine::Arm {
        return;
    }
    let mut added = Vec::new();
    for (old, new) in &image.segments {
        let file = new.address.wrapping_add(new.length).wrapping_sub(old.address.wrapping_add(old.length));
        let stretches = stretches(targets, copies, old, new);
        let ends = stretches.iter().skip(1).map(|next| next.start).chain([old.address.wrapping_add(old.memory)]);
        for (stretch, end) in stretches.iter().zip(ends).filter(|(stretch, _)| stretch.shift != file) {
            let part = |address: u64| Segment { offset: 0, length: 0, memory: end.wrapping_sub(stretch.start), address };
            added.push((stretch.votes, (part(stretch.start), part(stretch.start.wrapping_add(stretch.shift)))));
        }
    }
    // The most wanted ones, if there are too many; one is left for what follows the segments.
    added.sort_by_key(|(votes, _)| std::cmp::Reverse(*votes));
    added.truncate((MOST_SEGMENTS as usize - 1).saturating_sub(image.segments.len()));
    image.segments.splice(0..0, added.into_iter().map(|(_, segment)| segment));
}

/// Neighbouring places that went the same way.
fn stretches(targets: &Targets, copies: &[Copy], old: &Segment, new: &Segment) -> Vec<Stretch> {
    let mut votes: BTreeMap<u64, HashMap<u64, usize>> = BTreeMap::new();
    let beyond =
        |segment: &Segment, address: u64| (segment.length..segment.memory).contains(&address.wrapping_sub(segment.address));
    targets.pairs(copies, |from, to| {
        if beyond(old, from) && beyond(new, to) {
            *votes.entry(from).or_default().entry(to.wrapping_sub(from)).or_default() += 1;
        }
    });
    let mut all: Vec<Stretch> = Vec::new();
    for (start, shifts) in votes {
        let Some((shift, votes)) = shifts.into_iter().max_by_key(|(shift, votes)| (*votes, *shift)) else { continue };
        match all.last_mut() {
            Some(last) if last.shift == shift => last.votes += votes,
            _ => all.push(Stretch { start, shift, votes }),
        }
    }
    // What few say is left out, and those around it may then say the same.
    all.retain(|stretch| stretch.votes >= LEAST);
    all.dedup_by(|next, last| {
        let same = next.shift == last.shift;
        last.votes += if same { next.votes } else { 0 };
        same
    });
    all
}

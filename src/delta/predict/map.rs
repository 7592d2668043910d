//! Where the addresses of an old program went in a new one.

use crate::dwarf::Debug;
use crate::tables::{MOST_PARENTS, MOST_TABLES, Table};
use crate::{Machine, go, rule};
use std::cell::Cell;
use std::collections::BinaryHeap;

/// A part of a program's file that is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub length: u64,
    /// Bytes in memory.
    pub memory: u64,
    /// Address of the first.
    pub address: u64,
}

impl Segment {
    fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.address) < self.memory
    }

    /// The address of a place of the file, and how many bytes follow in the segment.
    fn address_of(&self, offset: u64) -> Option<(u64, u64)> {
        let within = offset.wrapping_sub(self.offset);
        (within < self.length).then(|| (self.address.wrapping_add(within), self.length - within))
    }
}

/// An old and a new program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its code.
    pub machine: Machine,
    /// Addresses have eight bytes.
    pub wide: bool,
    /// The segments, old and new.
    pub segments: Vec<(Segment, Segment)>,
    /// Addresses that tables of words are relative to, old and new.
    pub bases: [(u64, u64); 2],
    /// Tables that are told of apart from their segments.
    pub tables: Vec<Table>,
}

impl Image {
    /// Its segments can be counted with, and are not too many.
    pub fn is_sound(&self) -> bool {
        let fits = |s: &Segment| s.offset.checked_add(s.length).is_some_and(|end| end <= i64::MAX as u64) && s.length <= s.memory;
        self.segments.len() <= MOST_SEGMENTS as usize
            && self.tables.len() <= MOST_TABLES as usize
            && self.tables.iter().all(|t| t.parents.len() <= MOST_PARENTS as usize && t.parents.is_sorted())
            && self.segments.iter().all(|(old, new)| fits(old) && fits(new))
    }

    /// Address of a place in the old file.
    pub fn old_address(&self, offset: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|(old, _)| old.address_of(offset))
    }

    /// Address of a place in the new file.
    pub fn new_address(&self, offset: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|(_, new)| new.address_of(offset))
    }

    /// Where in the old file an address is.
    pub fn old_offset(&self, address: u64) -> Option<u64> {
        let holds = |s: &Segment| address.wrapping_sub(s.address) < s.length;
        self.segments.iter().find(|(old, _)| holds(old)).map(|(old, _)| old.offset + address.wrapping_sub(old.address))
    }

    /// One of the programs as both.
    pub fn one_sided(&self, new: bool) -> Image {
        let pick = |(old, other): &(Segment, Segment)| if new { (*other, *other) } else { (*old, *old) };
        Image { segments: self.segments.iter().map(pick).collect(), ..self.clone() }
    }

    /// From places of which one is in no segment: how far to the next begin of one.
    pub fn step_to_segment(&self, old: u64, new: u64) -> u64 {
        let all = self.segments.iter().map(|(o, n)| ahead(o.offset, old).min(ahead(n.offset, new)));
        all.min().unwrap_or(u64::MAX)
    }

    /// How far to where the next table begins, in either file.
    pub fn step_to_table(&self, old: u64, new: u64) -> u64 {
        let all = self.tables.iter().map(|s| ahead(s.offset.0, old).min(ahead(s.offset.1, new)));
        all.min().unwrap_or(u64::MAX)
    }

    /// With these rules every byte must be looked at, not every word.
    pub fn is_dense(&self, mode: u8) -> bool {
        match self.machine {
            Machine::X86 => mode & (rule::CODE | rule::OTHER_CODE) != 0,
            Machine::Arm => mode & rule::OTHER_CODE != 0,
            Machine::RiscV => mode & rule::CODE != 0,
            _ => false,
        }
    }
}

/// The most segments of a program.
pub const MOST_SEGMENTS: u64 = 64;

/// A stretch of the old file, and how much further on it is in the new one. A program has up to ten thousands of them, and both files
/// have at most 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where in the old file.
    pub start: u32,
    /// The first byte after it.
    pub end: u32,
    /// New place less old place.
    pub shift: i32,
}

impl Span {
    /// Of a copy, by its places in the old and the new file.
    pub fn of(old: u64, new: u64, length: u64) -> Span {
        Span { start: old as u32, end: (old + length) as u32, shift: (new as i64 - old as i64) as i32 }
    }
}

/// Parts of a program by which spans are found: at least 4 KiB each, and at most 2^14.
const LEAST_PART: u32 = 12;
const MOST_PARTS: u32 = 14;

/// The lowest old address, and how far it is from there to the highest; everywhere if a segment goes over the end of all addresses.
fn reach(image: &Image) -> (u64, u64) {
    let lowest = image.segments.iter().map(|(old, _)| old.address).min().unwrap_or(0);
    let end = image.segments.iter().try_fold(0, |end, (old, _)| Some(old.address.checked_add(old.memory)?.max(end)));
    end.map_or((0, u64::MAX), |end| (lowest, end.saturating_sub(lowest).saturating_sub(1)))
}

/// More than one segment is in it, or none, or not all of it is in one.
const MIXED: u8 = u8::MAX;

/// Which old segment is the first that holds each part of memory, of 2^`part` bytes.
fn homes(image: &Image, (lowest, reach): (u64, u64), part: u32) -> Vec<u8> {
    let mut homes = vec![MIXED; (reach >> part) as usize + 1];
    // The earlier ones have the last word.
    for (nth, (old, _)) in image.segments.iter().enumerate().rev().filter(|(_, (old, _))| old.memory > 0) {
        let first = old.address - lowest;
        let Some(last) = first.checked_add(old.memory - 1) else {
            homes.fill(MIXED); // it goes over the end of all addresses
            continue;
        };
        homes[(first >> part) as usize..=(last >> part) as usize].fill(MIXED);
        let whole = first.div_ceil(1 << part) as usize..(last.saturating_add(1) >> part) as usize;
        homes.get_mut(whole).unwrap_or_default().fill(nth as u8);
    }
    homes
}

/// No two new segments have a place of the file in common.
fn is_apart(image: &Image) -> bool {
    let ends = |(_, new): &(Segment, Segment)| (new.offset, new.offset.saturating_add(new.length));
    let mut all: Vec<(u64, u64)> = image.segments.iter().map(ends).filter(|(start, end)| start < end).collect();
    all.sort_unstable();
    all.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

/// How far ahead a place is; without end if it is not.
fn ahead(start: u64, at: u64) -> u64 {
    start.checked_sub(at).filter(|by| *by > 0).unwrap_or(u64::MAX)
}

/// Where everything went.
#[derive(Default)]
pub struct Map {
    image: Image,
    spans: Vec<Span>,
    /// How many spans begin before each part of the old file, of 2^`part` bytes.
    before: Vec<u32>,
    part: u32,
    /// The lowest old address, and how far it is from there to the highest.
    reach: (u64, u64),
    /// Which segment each part of memory is in, of 2^`home_part` bytes, from the lowest old address on; or [`MIXED`].
    home: Vec<u8>,
    home_part: u32,
    /// No place of the new file is in two segments.
    is_apart: bool,
    /// The first of Go's functions in each stretch of the new code.
    first_functions: Vec<u32>,
    /// What is known of the old program's debugging information.
    debug: Debug,
    /// All stays where it is; the last address that was asked for is remembered.
    listens: Option<Cell<Option<u64>>>,
}

impl Map {
    /// From the copies of the old file, in any order. Where they overlap, the longest decides, of equal ones the first.
    pub fn new(image: Image, mut copies: Vec<Span>) -> Map {
        copies.retain(|span| span.start < span.end);
        copies.sort_by_key(|span| (span.start, span.end, span.shift));
        let mut spans: Vec<Span> = Vec::new();
        let mut add = |start: u32, end: u32, shift: i32| match spans.last_mut() {
            Some(last) if last.end == start && last.shift == shift => last.end = end,
            _ if start < end => spans.push(Span { start, end, shift }),
            _ => {}
        };
        // By length, and the earlier first.
        let mut active: BinaryHeap<(u32, std::cmp::Reverse<u32>)> = BinaryHeap::new();
        let (mut next, mut at) = (0, 0);
        while next < copies.len() || !active.is_empty() {
            while active.peek().is_some_and(|(_, nth)| copies[nth.0 as usize].end <= at) {
                active.pop();
            }
            while let Some(copy) = copies.get(next).filter(|copy| copy.start <= at || active.is_empty()) {
                at = at.max(copy.start);
                active.push((copy.end - copy.start, std::cmp::Reverse(next as u32)));
                next += 1;
            }
            let Some((_, nth)) = active.peek() else { continue };
            let longest = copies[nth.0 as usize];
            let end = copies.get(next).map_or(longest.end, |copy| copy.start.min(longest.end));
            if end > at {
                add(at, end, longest.shift);
                at = end;
            } else if copies.get(next).is_none_or(|copy| copy.start > at) {
                active.pop();
            }
        }
        let last = spans.last().map_or(0, |span| span.start);
        let part_of = |bits: u32| bits.saturating_sub(MOST_PARTS).max(LEAST_PART);
        let part = part_of(u32::BITS - last.leading_zeros());
        let before = (0..=(last >> part) + 1).map(|nth| spans.partition_point(|span| span.start >> part < nth) as u32);
        let (is_apart, reach) = (is_apart(&image), reach(&image));
        let home_part = part_of(u64::BITS - reach.1.leading_zeros());
        let home = homes(&image, reach, home_part);
        Map { before: before.collect(), part, reach, image, spans, home, home_part, is_apart, ..Map::default() }
    }

    /// May this be an old address? It is a quick look.
    pub fn may_hold(&self, address: u64) -> bool {
        address.wrapping_sub(self.reach.0) <= self.reach.1
    }

    /// The first segment that holds an old address.
    fn segment(&self, address: u64) -> Option<&(Segment, Segment)> {
        let part = address.wrapping_sub(self.reach.0) >> self.home_part;
        match self.home.get(part as usize) {
            Some(nth) if *nth != MIXED => self.image.segments.get(usize::from(*nth)),
            _ => self.image.segments.iter().find(|(old, _)| old.holds(address)),
        }
    }

    /// The last span that begins at or before a place.
    fn nearest(&self, offset: u64) -> Option<&Span> {
        let nth = usize::try_from(offset >> self.part).unwrap_or(usize::MAX).min(self.before.len().saturating_sub(2));
        let (from, to) = (*self.before.get(nth)? as usize, *self.before.get(nth + 1)? as usize);
        let within = self.spans.get(from..to)?.partition_point(|span| u64::from(span.start) <= offset);
        self.spans.get((from + within).checked_sub(1)?)
    }

    /// Where a place of the old file is in the new one, if anything before it or there is.
    pub fn moved(&self, offset: u64) -> Option<u64> {
        offset.checked_add_signed(self.nearest(offset)?.shift.into())
    }

    /// Of one program in which nothing moves: it only hears what addresses are asked for.
    pub fn listener(image: Image) -> Map {
        Map { reach: reach(&image), image, listens: Some(Cell::new(None)), ..Map::default() }
    }

    /// The last address that a listener was asked for, once.
    pub fn heard(&self) -> Option<u64> {
        self.listens.as_ref()?.take()
    }

    /// The programs.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Reads what tables need of the old file that are foretold from elsewhere than their own bytes: `read` fills a buffer from a place of
    /// it. The new file has `size` bytes.
    pub fn learn<E>(&mut self, size: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<(), E> {
        self.first_functions = go::first_functions(self, size, &mut read)?;
        self.debug = Debug::read(self, size, read)?;
        Ok(())
    }

    /// What is known of the old program's debugging information.
    pub(crate) fn debug(&self) -> &Debug {
        &self.debug
    }

    /// The first of Go's functions in each stretch of the new code, if that is known.
    pub fn first_functions(&self) -> &[u32] {
        &self.first_functions
    }

    /// Leaves it with these tables.
    pub fn set_tables(&mut self, tables: Vec<Table>) {
        self.image.tables = tables;
    }

    /// Where an old address is now; `None` if it is none.
    pub fn aim(&self, address: u64) -> Option<u64> {
        if !self.may_hold(address) {
            return None;
        }
        let (old, new) = self.segment(address)?;
        if let Some(listens) = &self.listens {
            listens.set(Some(address));
            return Some(address);
        }
        let within = address.wrapping_sub(old.address);
        if within >= old.length {
            // Memory that is not in the file keeps its distance from the file's end.
            return Some(
                address.wrapping_sub(old.address.wrapping_add(old.length)).wrapping_add(new.address.wrapping_add(new.length)),
            );
        }
        let moved = self.moved(old.offset + within)?;
        // Most stay in their segment.
        let own = if self.is_apart { new.address_of(moved) } else { None };
        let home = own.or_else(|| self.image.new_address(moved)).map(|(address, _)| address);
        // The end of a segment is an address, too.
        home.or_else(|| (moved == new.offset + new.length).then(|| new.address.wrapping_add(new.length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_copy_decides() {
        let span = |start, end, shift| Span { start, end, shift };
        let map = Map::new(
            Image::default(),
            vec![span(10, 20, 1), span(0, 100, 2), span(15, 30, 3), span(90, 400, 4), span(500, 501, 5)],
        );
        assert_eq!(map.spans, [span(0, 90, 2), span(90, 400, 4), span(500, 501, 5)]);
        let map = Map::new(Image::default(), vec![span(0, 10, 1), span(5, 25, 2), span(20, 28, 3)]);
        assert_eq!(map.spans, [span(0, 5, 1), span(5, 25, 2), span(25, 28, 3)]);
        assert!(Map::new(Image::default(), Vec::new()).spans.is_empty());
    }

    #[test]
    fn a_segment_is_found_by_its_address() {
        let of = |address, memory| Segment { offset: 0, length: 0, memory, address };
        let finds = |segments: &[Segment]| {
            let image = Image { segments: segments.iter().map(|s| (*s, *s)).collect(), ..Image::default() };
            let map = Map::new(image.clone(), Vec::new());
            let parts = (0..64).map(|nth| nth << LEAST_PART);
            for at in segments.iter().flat_map(|s| [s.address, s.address.wrapping_add(s.memory)]).chain(parts) {
                for at in [at.wrapping_sub(1), at, at.wrapping_add(1)] {
                    let first = image.segments.iter().find(|(old, _)| old.holds(at));
                    assert_eq!(map.segment(at), first, "{segments:?} {at}");
                }
            }
        };
        finds(&[of(4096, 100), of(0, 0), of(8192, 1), of(100, 3996), of(8193, 7)]);
        finds(&[of(4100, 10), of(4096, 100), of(4105, 20), of(4000, 300)]);
        finds(&[of(u64::MAX, 1), of(0, 1)]);
        finds(&[of(u64::MAX - 5, 10), of(0, u64::MAX)]);
        finds(&[of(0x1_0000, 0x5000), of(0x1_2345, 0x4000), of(0x1_f000, 0x3001), of(0x1_2000, 0x9000)]);
        finds(&[of(0, 0)]);
        finds(&[]);
    }

    #[test]
    fn the_quick_look_turns_no_address_away() {
        let of = |address, memory| Segment { offset: 0, length: 16, memory, address };
        for segment in [of(0, 16), of(4096, 100), of(u64::MAX - 15, 16), of(u64::MAX - 15, 4096), of(0, u64::MAX)] {
            let map = Map::new(Image { segments: vec![(segment, segment)], ..Image::default() }, vec![Span::of(0, 0, 16)]);
            for address in [segment.address, segment.address + 15, segment.address.wrapping_add(segment.memory - 1)] {
                assert_eq!(map.aim(address), Some(address), "{segment:?}");
            }
        }
        let map = Map::new(Image { segments: vec![(of(4096, 100), of(4096, 100))], ..Image::default() }, Vec::new());
        assert!(!map.may_hold(4095) && map.may_hold(4096) && map.may_hold(4195) && !map.may_hold(4196));
    }
}

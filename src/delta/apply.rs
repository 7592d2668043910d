//! From a base and a delta to the tar, in one pass and in bounded memory. Nothing that the delta says is trusted: the worst that
//! it can do is to make other bytes, which the caller's digest tells.

use crate::base::{Error, Result};
use crate::delta::base::Base;
use crate::delta::format::{self, Head, Section, Stream};
use crate::delta::group::{Group, MOST_BLOCKS};
use crate::delta::numbers::{Shifts, unzigzag};
use crate::delta::predict::{MODE_SPAN, Map, Span, foretell};
use crate::delta::{LARGEST_PROGRAM, LONGEST_COPY, flag, program};
use crate::layer::tar::BLOCK;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Bytes handed on at once where they need not be looked at.
const CHUNK: usize = 64 << 10;
/// The longest path, as the tar parser has it.
const LONGEST_PATH: u64 = 4096;

/// What comes out.
#[derive(Debug)]
pub enum Out<'a> {
    /// The next bytes of the tar.
    Bytes(&'a [u8]),
    /// The body of the entry that comes next is, as a whole, what a file of the base has; it is open where the base is a store's. Its
    /// bytes come nevertheless.
    Whole(Option<Rc<OwnedFd>>),
}

/// Takes what comes out.
pub type Sink<'a> = &'a mut dyn FnMut(Out<'_>) -> Result<()>;

fn is_within(main: &Range<u64>, offset: u64, length: u32) -> bool {
    main.contains(&offset) && main.end - offset >= u64::from(length)
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("invalid delta: {what}"))
}

/// Makes the tar that `delta` tells, from the layers that its head names.
pub fn apply(delta: &File, base: &mut Base<'_>, sink: Sink<'_>) -> Result<()> {
    let head = format::read_head(delta)?;
    let streams = format::open(delta, &head)?;
    let mut applier = Applier {
        base,
        streams,
        sink,
        left: head.tar_size,
        cursor: 0,
        last: Group { bytes: vec![0; BLOCK], ..Group::default() },
        drift: 0,
        elsewhere: 0,
        shifts: Shifts::default(),
        copies: Vec::new(),
        runs: (0, 0),
        buffer: vec![0; CHUNK],
        pending: Vec::with_capacity(CHUNK),
    };
    for _ in 0..head.entries {
        applier.entry(&head)?;
    }
    applier.rest()
}

struct Applier<'a, 'b, 'c> {
    base: &'a mut Base<'b>,
    streams: Vec<Stream<'c>>,
    sink: Sink<'a>,
    /// Bytes of the tar still to come.
    left: u64,
    /// Where in the base the entry after the last one that was used begins.
    cursor: u64,
    /// The headers of the entry before.
    last: Group,
    /// How much later than its entry of the base the last one was.
    drift: i64,
    /// Where the last body that was elsewhere ended.
    elsewhere: u64,
    shifts: Shifts,
    /// Of the file at hand: literal bytes before, length, shift.
    copies: Vec<(u64, u32, i64)>,
    /// Copied bytes that are as foretold, then such that are not, up to the next pair of numbers.
    runs: (u64, u64),
    buffer: Vec<u8>,
    /// Bytes that wait until it is worth to hand them on: a program is made of ten thousands of copies.
    pending: Vec<u8>,
}

impl Applier<'_, '_, '_> {
    fn number(&mut self, section: Section) -> Result<u64> {
        self.streams[section as usize].number()
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| bad("more than the tar's size"))?;
        if self.pending.len() + bytes.len() <= CHUNK {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        }
        self.hand_on()?;
        (self.sink)(Out::Bytes(bytes))
    }

    fn hand_on(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            (self.sink)(Out::Bytes(&self.pending))?;
            self.pending.clear();
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while count > 0 {
            let n = count.min(ZEROS.len() as u64);
            self.emit(&ZEROS[..n as usize])?;
            count -= n;
        }
        Ok(())
    }

    fn entry(&mut self, head: &Head) -> Result<()> {
        let flags = self.streams[Section::Flags as usize].byte()?;
        // Where the entry of the base begins whose headers are used, if it is one.
        let origin = match flags & flag::FROM {
            flag::NEXT => Some(self.cursor),
            flag::OTHER => {
                let blocks = unzigzag(self.number(Section::Numbers)?);
                let offset = blocks.checked_mul(BLOCK as i64).and_then(|by| self.cursor.checked_add_signed(by));
                Some(offset.ok_or_else(|| bad("a place before the base"))?)
            }
            _ => None,
        };
        let mut body = None;
        let mut group = match (origin, flags & flag::FROM) {
            (Some(offset), _) => {
                let group = Group::read(offset, |at, block| self.base.read_exact_at(at, block))?;
                let group = group.ok_or_else(|| bad("an entry of the base that is none"))?;
                body = Some((offset.saturating_add(group.bytes.len() as u64), group.stored));
                self.cursor = offset.saturating_add(group.span());
                group
            }
            (None, flag::LAST) => self.last.template(),
            _ => {
                let blocks = self.number(Section::Numbers)?;
                if !(1..=MOST_BLOCKS as u64).contains(&blocks) {
                    return Err(bad("the length of headers"));
                }
                let mut bytes = vec![0; blocks as usize * BLOCK];
                self.streams[Section::Text as usize].take(&mut bytes)?;
                Group { bytes, ..Group::default() }
            }
        };
        if flags & (flag::PATH | flag::TIME | flag::SIZE | flag::PATCH) != 0 {
            self.change(flags, origin.is_some(), &mut group)?;
        }
        if flags & (flag::FROM | flag::PATH | flag::TIME | flag::SIZE | flag::PATCH) != 0 {
            group = group.parsed()?;
        }
        let whole = self.whole_body(flags, body, group.stored)?;
        if let Some(offset) = whole {
            let file = self.base.file_at(offset)?;
            self.hand_on()?;
            (self.sink)(Out::Whole(file))?;
        }
        self.emit(&group.bytes)?;
        match (whole, flags & flag::BODY) {
            (Some(offset), _) => self.whole(offset, group.stored)?,
            (None, flag::PIECES) => {
                if let Some((offset, _)) = body.filter(|(_, stored)| *stored > 0) {
                    self.base.file_at(offset)?;
                }
                self.pieces(head, body.map_or(0..0, |(offset, size)| offset..offset.saturating_add(size)), group.stored)?
            }
            (None, _) => {}
        }
        self.zeros(group.stored.next_multiple_of(BLOCK as u64) - group.stored)?;
        self.last = group;
        Ok(())
    }

    fn change(&mut self, flags: u8, of_base: bool, group: &mut Group) -> Result<()> {
        if flags & flag::PATH != 0 {
            let (shared, more) = (self.number(Section::Numbers)?, self.number(Section::Numbers)?);
            if shared > self.last.path.len() as u64 || more > LONGEST_PATH {
                return Err(bad("a path"));
            }
            let mut path = self.last.path[..shared as usize].to_vec();
            path.resize(path.len() + more as usize, 0);
            self.streams[Section::Text as usize].take(&mut path[shared as usize..])?;
            group.set_path(&path);
        }
        if flags & flag::TIME != 0 {
            let by = unzigzag(self.number(Section::Numbers)?);
            let time = group.time().unwrap_or(0);
            self.drift = if of_base { self.drift.wrapping_add(by) } else { self.drift };
            group.set_time(time.wrapping_add(if of_base { self.drift } else { by }));
        }
        if flags & flag::SIZE != 0 {
            let by = unzigzag(self.number(Section::Numbers)?);
            group.set_size(group.stored.wrapping_add_signed(by));
        }
        let (mut runs, mut own) = (0, false);
        if flags & flag::PATCH != 0 {
            let number = self.number(Section::Numbers)?;
            (runs, own) = (number >> 1, number & 1 != 0);
        }
        let mut at = 0;
        for _ in 0..runs {
            let (skip, length) = (self.number(Section::Numbers)?, self.number(Section::Numbers)?);
            let start = skip.checked_add(at).ok_or_else(|| bad("headers"))?;
            at = start.checked_add(length).filter(|end| *end <= group.bytes.len() as u64).ok_or_else(|| bad("headers"))?;
            self.streams[Section::Text as usize].take(&mut group.bytes[start as usize..at as usize])?;
        }
        match own {
            true => {
                let range = group.sum_at();
                self.streams[Section::Text as usize].take(&mut group.bytes[range])?;
            }
            false => group.set_sum(),
        }
        Ok(())
    }

    /// Where in the base the entry's body is as a whole. `body` is where the entry of the base that the headers are from has its own, and
    /// how long it is.
    fn whole_body(&mut self, flags: u8, body: Option<(u64, u64)>, size: u64) -> Result<Option<u64>> {
        match flags & flag::BODY {
            flag::SAME => match body {
                _ if size == 0 => Ok(None),
                Some((offset, stored)) if stored == size => Ok(Some(offset)),
                _ => Err(bad("a body that is not there")),
            },
            flag::ELSEWHERE => {
                let by = unzigzag(self.number(Section::Numbers)?);
                let offset = self.elsewhere.checked_add_signed(by).ok_or_else(|| bad("a place before the base"))?;
                self.elsewhere = offset.saturating_add(size);
                Ok(Some(offset))
            }
            flag::PIECES => Ok(None),
            _ => Err(bad("an entry's flags")),
        }
    }

    fn whole(&mut self, mut offset: u64, mut size: u64) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while size > 0 {
            let n = size.min(buffer.len() as u64) as usize;
            self.base.read_exact_at(offset, &mut buffer[..n])?;
            self.emit(&buffer[..n])?;
            (offset, size) = (offset + n as u64, size - n as u64);
        }
        self.buffer = buffer;
        Ok(())
    }

    fn pieces(&mut self, head: &Head, main: Range<u64>, size: u64) -> Result<()> {
        let count = self.number(Section::Numbers)?;
        if count > head.most_copies {
            return Err(bad("too many copies"));
        }
        let mut copies = std::mem::take(&mut self.copies);
        copies.clear();
        let mut told = 0u64;
        for _ in 0..count {
            let (gap, length) = (self.number(Section::Gaps)?, self.number(Section::Copies)?);
            let code = self.number(Section::Shifts)?;
            // One of nothing would be work without an end.
            if !(1..=LONGEST_COPY).contains(&length) {
                return Err(bad("the length of a copy"));
            }
            if gap > size - told || length > size - told - gap {
                return Err(bad("copies longer than their file"));
            }
            told += gap + length;
            copies.push((gap, length as u32, self.shifts.decode(code)));
        }
        let (map, modes) = self.foretold(&copies, &main, size)?;
        let mut at = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        for (gap, length, shift) in &copies {
            self.literals(*gap, &mut buffer)?;
            at += gap;
            if buffer.len() < *length as usize {
                buffer.resize(LONGEST_COPY as usize, 0);
            }
            let offset = (main.start + at).checked_add_signed(*shift).ok_or_else(|| bad("a place before the base"))?;
            let copied = &mut buffer[..*length as usize];
            self.base.read_exact_at(offset, copied)?;
            if let Some(map) = map.as_ref().filter(|_| is_within(&main, offset, *length)) {
                foretell(copied, offset - main.start, at, &modes, map);
            }
            self.differ(copied)?;
            self.emit(copied)?;
            at += u64::from(*length);
        }
        self.literals(size - told, &mut buffer)?;
        (self.copies, self.buffer) = (copies, buffer);
        Ok(())
    }

    /// Where addresses of the old body went, and how they are foretold in each part of the new one.
    fn foretold(&mut self, copies: &[(u64, u32, i64)], main: &Range<u64>, size: u64) -> Result<(Option<Map>, Vec<u8>)> {
        let first = self.number(Section::Numbers)?;
        if first == 0 {
            return Ok((None, Vec::new()));
        }
        let image = program::read(first, || self.number(Section::Numbers))?
            .filter(|_| size.max(main.end - main.start) <= LARGEST_PROGRAM);
        let image = image.ok_or_else(|| bad("a program"))?;
        let (mut at, mut spans) = (0, Vec::with_capacity(copies.len()));
        for (gap, length, shift) in copies {
            at += gap;
            let offset = (main.start + at).checked_add_signed(*shift).ok_or_else(|| bad("a place before the base"))?;
            if is_within(main, offset, *length) {
                let start = offset - main.start;
                spans.push(Span::of(start, at, u64::from(*length)));
            }
            at += u64::from(*length);
        }
        let modes = self.streams[Section::Modes as usize].take_vec(size.div_ceil(MODE_SPAN as u64))?;
        let mut map = Map::new(image, spans);
        map.learn(size, |place, part| {
            let offset = main.start.checked_add(place).filter(|offset| is_within(main, *offset, part.len() as u32));
            self.base.read_exact_at(offset.ok_or_else(|| bad("an index beyond its program"))?, part)
        })?;
        Ok((Some(map), modes))
    }

    fn literals(&mut self, mut count: u64, buffer: &mut [u8]) -> Result<()> {
        while count > 0 {
            let n = count.min(buffer.len() as u64) as usize;
            self.streams[Section::Literals as usize].take(&mut buffer[..n])?;
            self.emit(&buffer[..n])?;
            count -= n as u64;
        }
        Ok(())
    }

    /// Makes copied bytes what they are to be.
    fn differ(&mut self, mut copied: &mut [u8]) -> Result<()> {
        while !copied.is_empty() {
            if self.runs == (0, 0) {
                self.runs = (self.number(Section::Runs)?, self.number(Section::Runs)?);
                if self.runs == (0, 0) {
                    return Err(bad("a run of nothing"));
                }
            }
            let n = self.runs.0.min(copied.len() as u64);
            self.runs.0 -= n;
            copied = &mut copied[n as usize..];
            let n = if self.runs.0 == 0 { self.runs.1.min(copied.len() as u64) as usize } else { 0 };
            self.streams[Section::Changes as usize].add_to(&mut copied[..n])?;
            self.runs.1 -= n as u64;
            copied = &mut copied[n..];
        }
        Ok(())
    }

    /// What comes after the entries: zeros, then anything.
    fn rest(mut self) -> Result<()> {
        let zeros = self.number(Section::Numbers)?;
        self.zeros(zeros)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        self.literals(self.left, &mut buffer)?;
        if self.streams.iter().any(|stream| !stream.is_at_end()) {
            return Err(bad("more than it should have"));
        }
        self.hand_on()
    }
}

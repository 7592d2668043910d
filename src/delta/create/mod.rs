//! Making a delta: on a build host, with the whole base in memory.

mod elf;
mod encode;
mod go;
mod mask;
mod memory;
mod modes;
mod pieces;
mod rows;
mod tables;
mod tars;
mod text;
mod votes;

use crate::base::{Error, Result};
use crate::delta::format::{Head, Section};
use crate::delta::group::Group;
use crate::delta::numbers::{Shifts, zigzag};
use crate::delta::predict::{Image, foretell};
use crate::delta::program;
use crate::delta::{LARGEST_PROGRAM, LONGEST_COPY, MOST_COPIES, flag};
use crate::image::Digest;
use crate::layer::tar::BLOCK;
use elf::Program;
use encode::Sections;
use pieces::Copy;
use std::ops::Range;
use tars::{Item, Pairs, items};
use text::{Same, Text};

/// How a delta is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// 1 to 9: how much time is spent on making it small.
    pub level: u32,
    /// Bytes of memory that may be used.
    pub memory: u64,
    /// Processes that may work at once; the delta is the same. More than one only where this process has no threads.
    pub processes: usize,
}

/// What a layer's delta is made from.
pub struct Layer<'a> {
    /// The tars of the base's layers, one after the other.
    pub base: &'a [u8],
    /// Where in it each ends, and its diff ID.
    pub parts: &'a [(usize, Digest)],
    /// The layer's tar.
    pub new: &'a [u8],
    /// Its diff ID.
    pub target: Digest,
}

/// Told how far it has come: a stage, and bytes done of all.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Bytes of memory that making a delta takes for each byte of the base, and of the new tar.
const FOR_BASE: u64 = 7;
const FOR_NEW: u64 = 4;

/// Makes the delta of a layer.
pub fn layer(layer: &Layer<'_>, options: &Options, progress: Progress<'_>) -> Result<Vec<u8>> {
    let need = FOR_BASE * layer.base.len() as u64 + FOR_NEW * layer.new.len() as u64 + (64 << 20);
    if need > options.memory {
        return Err(Error::unsupported(format!(
            "this delta needs {} MB of memory, {} MB are allowed (--memory)",
            need >> 20,
            options.memory >> 20
        )));
    }
    let mut old = Vec::new();
    let mut start = 0;
    for (end, _) in layer.parts {
        old.extend(items(layer.base, start, *end)?.0);
        start = *end;
    }
    let (new, rest) = items(layer.new, 0, layer.new.len())?;
    progress("index", 0, layer.base.len() as u64);
    let same = Same::new(layer.base, &old);
    let text = Text::new(layer.base, &old, &same, mask::masked)?;
    let mut maker = Maker {
        layer,
        old: &old,
        pairs: Pairs::new(&old),
        same: &same,
        text: &text,
        out: Sections::default(),
        cursor: 0,
        last: Group { bytes: vec![0; BLOCK], ..Group::default() },
        drift: 0,
        elsewhere: 0,
        shifts: Shifts::default(),
        fresh: 0,
        most_copies: 0,
    };
    for item in &new {
        progress("compare", item.at as u64, layer.new.len() as u64);
        maker.entry(item)?;
    }
    maker.rest(rest);
    progress("pack", 0, 0);
    let Maker { out, fresh, most_copies, .. } = maker;
    log::debug!("sections: {:?}", out.sizes());
    let (joined, sections, packed) = out.pack(options.level, options.processes, layer.new.len() as u64)?;
    let head = Head {
        target: layer.target,
        tar_size: layer.new.len() as u64,
        base: layer.parts.iter().map(|(_, id)| *id).collect(),
        fresh,
        entries: new.len() as u64,
        most_copies,
        joined,
        sections,
        start: 0,
    };
    let mut file = head.write();
    file.extend_from_slice(&packed);
    Ok(file)
}

struct Maker<'a> {
    layer: &'a Layer<'a>,
    old: &'a [Item],
    pairs: Pairs<'a>,
    same: &'a Same<'a>,
    text: &'a Text,
    out: Sections,
    cursor: usize,
    last: Group,
    drift: i64,
    elsewhere: usize,
    shifts: Shifts,
    fresh: u64,
    most_copies: u64,
}

/// How an entry's headers can be told.
struct Told {
    flags: u8,
    text: Vec<u8>,
    numbers: Vec<u64>,
    drift: i64,
}

impl Maker<'_> {
    fn entry(&mut self, item: &Item) -> Result<()> {
        let new = &item.group;
        let body = &self.layer.new[item.body()];
        let origin = self.pairs.find(new).map(|nth| &self.old[nth]);
        let by_old = origin.and_then(|old| self.tell(&old.group, new, true));
        let by_last = self.tell(&self.last.template(), new, false);
        let cost = |told: &Option<Told>| told.as_ref().map_or(usize::MAX, |t| 2 * t.text.len() + t.numbers.len());
        // Headers of the base bring their body along: they are worth a few bytes more.
        let use_old = by_old.is_some() && (!body.is_empty() || cost(&by_old) <= cost(&by_last));
        let (told, origin) = match (use_old, origin) {
            (true, Some(old)) => (by_old, Some(old)),
            _ => (by_last, None),
        };
        let mut flags = told.as_ref().map_or(flag::RAW, |t| t.flags);
        if let (Some(old), flag::NEXT) = (origin, flags & flag::FROM)
            && old.at != self.cursor
        {
            flags |= flag::OTHER;
        }
        let same_body = origin.map(Item::body).filter(|b| self.layer.base[b.clone()] == *body);
        let elsewhere = if same_body.is_some() || body.is_empty() { None } else { self.same.first(body) };
        flags |= match (same_body.is_some(), elsewhere) {
            _ if body.is_empty() && origin.is_none_or(|o| o.group.stored == 0) => flag::SAME,
            (true, _) => flag::SAME,
            (_, Some(_)) => flag::ELSEWHERE,
            _ => flag::PIECES,
        };
        self.out.bytes(Section::Flags, &[flags]);
        if let (Some(old), flag::OTHER) = (origin, flags & flag::FROM) {
            self.out.number(Section::Numbers, zigzag((old.at as i64 - self.cursor as i64) / BLOCK as i64));
        }
        match told {
            Some(told) => {
                told.numbers.iter().for_each(|n| self.out.number(Section::Numbers, *n));
                self.out.bytes(Section::Text, &told.text);
                self.drift = told.drift;
            }
            None => {
                self.out.number(Section::Numbers, (new.bytes.len() / BLOCK) as u64);
                self.out.bytes(Section::Text, &new.bytes);
            }
        }
        if let Some(old) = origin {
            self.cursor = old.at + old.group.span() as usize;
        }
        match flags & flag::BODY {
            flag::ELSEWHERE => {
                let at = elsewhere.unwrap_or(0);
                self.out.number(Section::Numbers, zigzag(at as i64 - self.elsewhere as i64));
                self.elsewhere = at + body.len();
            }
            flag::PIECES => {
                self.fresh += body.len() as u64;
                self.body(body, origin.map(Item::body));
            }
            _ => {}
        }
        self.last = new.clone();
        Ok(())
    }

    /// How the headers `new` follow from `old`; `None` if they are too different.
    fn tell(&self, old: &Group, new: &Group, of_base: bool) -> Option<Told> {
        if old.bytes.len() != new.bytes.len() {
            return None;
        }
        let mut told = Told {
            flags: if of_base { flag::NEXT } else { flag::LAST },
            text: Vec::new(),
            numbers: Vec::new(),
            drift: self.drift,
        };
        let mut made = old.clone();
        if made.path != new.path {
            let shared = made_shared(&self.last.path, &new.path);
            told.flags |= flag::PATH;
            told.numbers.extend([shared as u64, (new.path.len() - shared) as u64]);
            told.text.extend_from_slice(&new.path[shared..]);
            made.set_path(&new.path);
        }
        if let (Some(before), Some(after)) = (made.time(), new.time())
            && before != after
        {
            told.flags |= flag::TIME;
            let by = after - before;
            told.numbers.push(zigzag(if of_base { by.wrapping_sub(self.drift) } else { by }));
            if of_base {
                told.drift = by;
            }
            made.set_time(after);
        }
        if made.stored != new.stored {
            told.flags |= flag::SIZE;
            told.numbers.push(zigzag(new.stored as i64 - made.stored as i64));
            made.set_size(new.stored);
        }
        // Checksums follow from the rest, unless they are written in a way of their own.
        let sum = made.sum_at();
        let mut summed = Group { main: made.main, ..new.clone() };
        summed.set_sum();
        let own = summed.bytes[sum.clone()] != new.bytes[sum.clone()];
        let runs = differences(&made.bytes, &new.bytes, &sum);
        let sum_differs = made.bytes[sum.clone()] != new.bytes[sum.clone()];
        let is_changed = told.flags & !flag::FROM != 0;
        if !runs.is_empty() || (if is_changed { own } else { sum_differs }) {
            told.flags |= flag::PATCH;
            told.numbers.push((runs.len() as u64) << 1 | u64::from(own));
            let mut at = 0;
            for run in &runs {
                told.numbers.extend([(run.start - at) as u64, run.len() as u64]);
                told.text.extend_from_slice(&new.bytes[run.clone()]);
                at = run.end;
            }
            if own {
                told.text.extend_from_slice(&new.bytes[sum]);
            }
        }
        (told.text.len() < new.bytes.len() / 2).then_some(told)
    }

    fn body(&mut self, body: &[u8], main: Option<Range<usize>>) {
        let start = main.as_ref().and_then(|main| self.text.body(main.start));
        let main = main.unwrap_or(0..0);
        let masked = mask::masked(body);
        let searched = masked.as_deref().unwrap_or(body);
        let mut copies = pieces::prune(self.text, searched, pieces::find(self.text, searched, start), start);
        copies.iter_mut().for_each(|copy| copy.from = self.text.in_base(copy.from));
        let old = &self.layer.base[main.clone()];
        let programs = Program::read(old).zip(Program::read(body));
        let programs = programs.filter(|_| body.len().max(main.len()) as u64 <= LARGEST_PROGRAM);
        let mut image = programs.as_ref().and_then(|(old, new)| old.image(new));
        if let (Some(image), Some(start), Some(programs)) = (&mut image, start, &programs) {
            let old_masked = &self.text.bytes()[start..start + old.len()];
            let sides = votes::Sides { old, new: body, old_masked, new_masked: searched };
            let targets = votes::Targets::of(old, body, image);
            copies = votes::realign(&sides, &targets, image, &main, copies);
            memory::add(&targets, &pieces::of_body(&copies, &main), image);
            *image = programs.0.with_tables(&programs.1, std::mem::take(image));
            let sides = tables::Sides { old: (old, &programs.0), new: (body, &programs.1), within: &main };
            copies = tables::realign(&sides, image, copies);
        }
        let copies = cut(copies);
        self.most_copies = self.most_copies.max(copies.len() as u64);
        self.out.number(Section::Numbers, copies.len() as u64);
        let mut at = 0;
        for copy in &copies {
            self.out.number(Section::Gaps, (copy.at - at) as u64);
            self.out.number(Section::Copies, copy.length as u64);
            let code = self.shifts.code(copy.from as i64 - (main.start + copy.at) as i64);
            self.out.number(Section::Shifts, code);
            self.out.bytes(Section::Literals, &body[at..copy.at]);
            at = copy.at + copy.length;
        }
        self.out.bytes(Section::Literals, &body[at..]);
        self.differences(body, &main, &copies, image);
    }

    /// What copied bytes become, after addresses in them have been foretold.
    fn differences(&mut self, body: &[u8], main: &Range<usize>, copies: &[Copy], image: Option<Image>) {
        let old = &self.layer.base[main.clone()];
        let of_main = pieces::of_body(copies, main);
        let Some(image) = image.filter(|_| !of_main.is_empty()) else {
            self.out.number(Section::Numbers, 0);
            for copy in copies {
                self.differ(&body[copy.at..copy.at + copy.length], &self.layer.base[copy.from..copy.from + copy.length]);
            }
            return;
        };
        let mut map = tables::learned(image, &of_main, old, body.len());
        // What lists are counted from is known by entries: without these, all is chosen anew.
        for _ in 0..2 {
            map.set_tables(modes::choose_fields(old, body, &of_main, &map));
            tables::learn(&mut map, old, body.len());
        }
        program::write(map.image(), |number| self.out.number(Section::Numbers, number));
        let modes = modes::choose(old, body, &of_main, &map);
        self.out.bytes(Section::Modes, &modes);
        for copy in copies {
            let mut piece = self.layer.base[copy.from..copy.from + copy.length].to_vec();
            if copy.is_within(main) {
                foretell(&mut piece, (copy.from - main.start) as u64, copy.at as u64, &modes, &map);
            }
            self.differ(&body[copy.at..copy.at + copy.length], &piece);
        }
    }

    fn differ(&mut self, new: &[u8], foretold: &[u8]) {
        new.iter().zip(foretold).for_each(|(new, foretold)| self.out.copied(*new, *foretold));
    }

    fn rest(&mut self, at: usize) {
        let rest = &self.layer.new[at..];
        let zeros = rest.iter().take_while(|b| **b == 0).count();
        self.out.number(Section::Numbers, zeros as u64);
        self.out.bytes(Section::Literals, &rest[zeros..]);
    }
}

fn made_shared(before: &[u8], path: &[u8]) -> usize {
    crate::delta::suffix::common_prefix(before, path)
}

/// Where two headers of one length differ, apart from `but`.
fn differences(old: &[u8], new: &[u8], but: &Range<usize>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..new.len()).filter(|at| !but.contains(at) && old[*at] != new[*at]) {
        match runs.last_mut() {
            Some(last) if at - last.end <= 2 && !(last.end..at).any(|between| but.contains(&between)) => last.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// Copies no longer than one may be, and no more than there may be: the shortest are given up.
fn cut(copies: Vec<Copy>) -> Vec<Copy> {
    let mut all: Vec<Copy> = Vec::with_capacity(copies.len());
    for copy in copies {
        let mut done = 0;
        while done < copy.length {
            let length = (copy.length - done).min(LONGEST_COPY as usize);
            all.push(Copy { at: copy.at + done, from: copy.from + done, length });
            done += length;
        }
    }
    if all.len() > MOST_COPIES as usize {
        let mut lengths: Vec<usize> = all.iter().map(|c| c.length).collect();
        lengths.sort_unstable();
        let least = lengths[all.len() - MOST_COPIES as usize];
        all.retain(|c| c.length > least);
    }
    all
}

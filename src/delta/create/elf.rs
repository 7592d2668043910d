//! What a program's file says about itself: only the making side reads it.

use crate::delta::create::go;
use crate::delta::predict::tables::{Kind, number};
use crate::delta::predict::{Image, MOST_OTHERS, MOST_PARENTS, MOST_SEGMENTS, MOST_TABLES, Machine, Other, Segment, Table};
use std::ops::Range;

/// A little-endian ELF file.
#[derive(Clone, Debug)]
pub struct Program {
    machine: Machine,
    wide: bool,
    /// Loaded parts, and whether they are code.
    segments: Vec<(Segment, bool)>,
    /// Where .text begins, and the index of unwinding tables.
    bases: [u64; 2],
    sections: Vec<Section>,
    /// Where records of unwinding begin that others refer to.
    parents: Vec<u64>,
}

impl Section {
    /// Where in the file an address of its is.
    pub fn place(&self, address: u64) -> usize {
        self.range.start.saturating_add(address.wrapping_sub(self.address) as usize)
    }

    /// What rows it has, if it is a table.
    pub fn rows(&self) -> Option<Kind> {
        match (self.kind, &self.name[..]) {
            (_, b".eh_frame") => Some(Kind::Frames),
            (go::KIND, name) => go::rows(name),
            (_, b".debug_info") => Some(Kind::Entries),
            (_, b".debug_loc") => Some(Kind::Locations),
            (_, b".debug_ranges") => Some(Kind::Ranges),
            (_, b".debug_loclists" | b".debug_rnglists" | b".debug_line") => Some(Kind::Lists),
            (2 | 11, _) => Some(Kind::Symbols),
            (4, _) => Some(Kind::Rela),
            (9, _) => Some(Kind::Rel),
            _ => None,
        }
    }
}

/// Records of .eh_frame (LSB, "Exception Frames"): where each begins and ends, and its parent, the distance of another before it; 0: it
/// is one itself.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let mut at = 0;
    std::iter::from_fn(move || {
        // A length of 0 ends them, one of all ones would be followed by a wide one.
        let length = word(at).filter(|length| (4..u32::MAX).contains(length))?;
        let end = (at + 4).checked_add(length as usize).filter(|end| *end <= bytes.len())?;
        let record = (at..end, word(at + 4)?);
        at = end;
        Some(record)
    })
}

/// A named part of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: Vec<u8>,
    /// Its type (SHT_).
    pub kind: u64,
    /// Where in the file.
    pub range: Range<usize>,
    /// Its address.
    pub address: u64,
    /// The sections that it refers to, by number: a table of symbols names its strings.
    pub links: Vec<usize>,
}

/// What entries of debugging information name something of, in the order of the parts.
const ENTRIES_SPEAK_OF: [&[u8]; MOST_OTHERS] =
    [b".debug_abbrev", b".debug_str", b".debug_loc", b".debug_loclists", b".debug_ranges", b".debug_rnglists", b".debug_line"];

/// More are not looked at.
const MOST_HEADERS: u64 = 4096;
/// The longest name of a section.
const LONGEST_NAME: usize = 256;
/// The type of sections that have no bytes in the file.
const NO_BITS: u64 = 8;
const PAGE: u64 = 4096;

struct Reader<'a> {
    bytes: &'a [u8],
    wide: bool,
}

impl Reader<'_> {
    fn number(&self, at: u64, length: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        Some(number(self.bytes.get(at..at.checked_add(length)?)?))
    }

    /// A field of the machine's size, at one of two places.
    fn word(&self, at: u64, narrow: u64, wide: u64) -> Option<u64> {
        if self.wide { self.number(at + wide, 8) } else { self.number(at + narrow, 4) }
    }

    /// A table of headers: where each begins.
    fn table(&self, place: u64, size_at: (u64, u64)) -> Option<impl Iterator<Item = u64> + use<>> {
        let at = if self.wide { size_at.1 } else { size_at.0 };
        let (size, count) = (self.number(at, 2)?, self.number(at + 2, 2)?);
        Some((0..count.min(MOST_HEADERS)).map(move |nth| place.saturating_add(nth * size)))
    }

    /// All sections, by number; those that are not in the file are empty.
    fn sections(&self) -> Option<Vec<Section>> {
        let headers: Vec<u64> = self.table(self.word(0, 32, 40)?, (46, 58))?.collect();
        let names = self.number(if self.wide { 62 } else { 50 }, 2)?;
        let names = self.word(*headers.get(names as usize)?, 16, 24)?;
        let section = |at: &u64| {
            let name = names.checked_add(self.number(*at, 4)?).and_then(|name| self.bytes.get(usize::try_from(name).ok()?..))?;
            let name = &name[..name.iter().take(LONGEST_NAME).position(|byte| *byte == 0)?];
            let kind = self.number(at + 4, 4)?;
            let (start, length) = (self.word(*at, 16, 24)?, self.word(*at, 20, 32)?);
            let range = start as usize..start.checked_add(length).filter(|end| *end <= self.bytes.len() as u64)? as usize;
            let links = vec![self.number(at + if self.wide { 40 } else { 24 }, 4)? as usize];
            let address = self.word(*at, 12, 16)?;
            Some(Section { name: name.to_vec(), kind, range: if kind == NO_BITS { 0..0 } else { range }, address, links })
        };
        let none = Section { name: Vec::new(), kind: 0, range: 0..0, address: 0, links: Vec::new() };
        Some(headers.iter().map(|at| section(at).unwrap_or_else(|| none.clone())).collect())
    }
}

impl Program {
    /// Reads it; `None` if it is none, or not of this kind.
    pub fn read(bytes: &[u8]) -> Option<Program> {
        if bytes.get(..4)? != b"\x7fELF" || bytes.get(5) != Some(&1) {
            return None;
        }
        let reader = Reader { bytes, wide: *bytes.get(4)? == 2 };
        let machine = match reader.number(18, 2)? {
            3 | 62 => Machine::X86,
            40 => Machine::Arm,
            183 => Machine::A64,
            243 => Machine::RiscV,
            _ => Machine::None,
        };
        let (mut segments, mut bases) = (Vec::new(), [0; 2]);
        for at in reader.table(reader.word(0, 28, 32)?, (42, 54))? {
            let kind = reader.number(at, 4)?;
            let flags = if reader.wide { reader.number(at + 4, 4)? } else { reader.number(at + 24, 4)? };
            let segment = Segment {
                offset: reader.word(at, 4, 8)?,
                address: reader.word(at, 8, 16)?,
                length: reader.word(at, 16, 32)?,
                memory: reader.word(at, 20, 40)?,
            };
            match kind {
                1 => segments.push((segment, flags & 1 != 0)),
                0x6474_e550 => bases[1] = segment.address,
                _ => {}
            }
        }
        bases[0] = segments.iter().find(|(_, code)| *code).map_or(0, |(segment, _)| segment.address);
        let mut sections = reader.sections().unwrap_or_default();
        go::add(bytes, reader.wide, &mut sections);
        let of_entries =
            ENTRIES_SPEAK_OF.map(|name| sections.iter().position(|section| section.name == name).unwrap_or(usize::MAX));
        sections.iter_mut().filter(|s| s.rows() == Some(Kind::Entries)).for_each(|section| section.links = of_entries.to_vec());
        if let Some(text) = sections.iter().find(|section| section.name == b".text") {
            bases[0] = text.address;
        }
        let records = sections.iter().find(|section| section.rows() == Some(Kind::Frames)).map_or(0..0, |s| s.range.clone());
        let parents = frames(&bytes[records.clone()]).filter(|(_, parent)| *parent == 0).take(MOST_PARENTS as usize);
        let parents = parents.map(|(range, _)| (records.start + range.start) as u64).collect();
        (!segments.is_empty()).then_some(Program { machine, wide: reader.wide, segments, bases, sections, parents })
    }

    /// This as the old and `new` as the new program, if they are of one kind.
    pub fn image(&self, new: &Program) -> Option<Image> {
        if (self.machine, self.wide) != (new.machine, new.wide) {
            return None;
        }
        // The first ones do, if there are more than a delta can tell.
        let pairs = self.segments.iter().zip(&new.segments).take(MOST_SEGMENTS as usize);
        let image = Image {
            machine: self.machine,
            wide: self.wide,
            segments: pairs.map(|((old, _), (new, _))| (*old, *new)).collect(),
            bases: [(self.bases[0], new.bases[0]), (self.bases[1], new.bases[1])],
            tables: Vec::new(),
        };
        image.is_sound().then_some(image)
    }

    /// Adds what is not loaded, or is told of apart from being loaded: what follows the segments in the file, where debuggers look, gets
    /// addresses that follow theirs; and tables of mixed rows.
    pub fn with_tables(&self, new: &Program, mut image: Image) -> Image {
        if let (Some(old), Some(new), true) = (self.rest(), new.rest(), image.segments.len() < MOST_SEGMENTS as usize) {
            image.segments.push((old, new));
        }
        for new_table in &new.sections {
            let old_table = self.sections.iter().find(|s| (&s.name, s.kind) == (&new_table.name, new_table.kind));
            let (Some(old_table), Some(kind)) = (old_table, new_table.rows()) else { continue };
            let mut others = [Other::default(); MOST_OTHERS];
            for (nth, other) in others[..kind.others()].iter_mut().enumerate() {
                let range = |program: &Program, table: &Section| {
                    let link = table.links.get(nth).and_then(|link| program.sections.get(*link));
                    link.map_or(0..0, |section| section.range.clone())
                };
                let (old, new) = (range(self, old_table), range(new, new_table));
                *other = Other { offset: (old.start as u64, new.start as u64), length: old.len() as u64 };
            }
            image.tables.push(Table {
                kind,
                fields: u8::MAX,
                offset: (old_table.range.start as u64, new_table.range.start as u64),
                length: (old_table.range.len() as u64, new_table.range.len() as u64),
                others,
                parents: if kind == Kind::Frames { self.parents.clone() } else { Vec::new() },
            });
        }
        image.tables.truncate(MOST_TABLES as usize);
        image
    }

    /// All that follows the segments in the file, as if it were loaded behind them.
    fn rest(&self) -> Option<Segment> {
        let last = |of: fn(&Segment) -> Option<u64>| {
            self.segments.iter().map(|(s, _)| of(s)).try_fold(0, |max, end| Some(end?.max(max)))
        };
        let offset = last(|s| s.offset.checked_add(s.length))?;
        let length = self.sections.iter().map(|s| s.range.end as u64).max()?.checked_sub(offset).filter(|length| *length > 0)?;
        // The same within a page as in the file, so that words stay aligned.
        let address = last(|s| s.address.checked_add(s.memory))?.checked_next_multiple_of(PAGE)?.checked_add(offset % PAGE)?;
        Some(Segment { offset, length, memory: length, address })
    }

    /// Its sections, by number.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Addresses have eight bytes.
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Which code.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Where in the file code is.
    pub fn code(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.segments
            .iter()
            .filter(|(_, code)| *code)
            .map(|(s, _)| (s.offset as usize, s.offset.saturating_add(s.length) as usize))
    }
}

//! Tables of Go's programs, as they are since Go 1.20: which function is where, what it is called, what its lines are
//! (cmd/link/internal/ld/pcln.go, runtime/symtab.go), and the types that there are. They are told of as if each were a section.

use crate::delta::create::elf::Section;
use crate::delta::predict::tables::{Kind, number};
use std::ops::{Range, RangeInclusive};

/// The type of these sections, which no other has.
pub const KIND: u64 = u64::MAX;

/// What there is: its name, what rows it has, and what these speak of.
const PARTS: [(&str, Option<Kind>, &[&str]); 15] = [
    ("code", None, &[]),
    ("names", None, &[]),
    // For each place in a function its line, its frame and so on.
    ("lines", None, &[]),
    // The names of files, and which of them belong to what was compiled at once.
    ("files", None, &[]),
    ("units", Some(Kind::Words), &["files"]),
    // Data of functions; and from the first that tells of objects or of inlined calls on.
    ("data", None, &[]),
    ("inlined", Some(Kind::Inlined), &["names", "constants"]),
    // The index of functions with their records, and both apart.
    ("functions", None, &[]),
    ("index", Some(Kind::Pairs), &["code", "functions"]),
    // The last one says where they are.
    ("records", Some(Kind::Records), &["code", "names", "lines", "units", "data", "index"]),
    // Types; and those that are linked, if they are listed: the names of many are before them.
    ("types", None, &[]),
    ("linked", Some(Kind::Types), &["types", "code"]),
    ("links", Some(Kind::Words), &["types"]),
    ("constants", None, &[]),
    // Which function is the first of each stretch of code.
    ("buckets", Some(Kind::Buckets), &["code", "index"]),
];

/// First bytes of the table, little-endian.
const MAGIC: &[u8] = &[0xf1, 0xff, 0xff, 0xff, 0, 0];
/// A record of a function without what its counts tell of.
const RECORD: usize = 44;
/// More tables of lines are none.
const MOST_LINES: usize = 32;
/// Which of a function's data tell of objects in its frame and of inlined calls.
const WITH_WORDS: RangeInclusive<usize> = 2..=3;
/// Words of what the runtime knows of a program: what is looked for is among them.
const MODULE: usize = 64;

/// What rows a part has.
pub fn rows(name: &[u8]) -> Option<Kind> {
    PARTS.iter().find(|part| part.0.as_bytes() == name)?.1
}

/// Adds the parts to the sections of a program, if it is Go's.
pub fn add(bytes: &[u8], wide: bool, sections: &mut Vec<Section>) {
    let Some(ranges) = (Reader { bytes, word: if wide { 8 } else { 4 }, sections }).parts() else { return };
    let first = sections.len();
    for ((name, _, links), range) in PARTS.iter().zip(ranges) {
        let links = links.iter().filter_map(|link| Some(first + PARTS.iter().position(|part| part.0 == *link)?)).collect();
        sections.push(Section { name: name.as_bytes().to_vec(), kind: KIND, range, address: 0, links });
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes of a word.
    word: usize,
    sections: &'a [Section],
}

impl Reader<'_> {
    fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.ends_with(name))
    }

    fn number(&self, at: usize, length: usize) -> Option<usize> {
        usize::try_from(number(self.bytes.get(at..at.checked_add(length)?)?)).ok()
    }

    /// Where each part is; empty ones are not there.
    fn parts(&self) -> Option<[Range<usize>; PARTS.len()]> {
        let table = self.section(b"gopclntab")?;
        let all = table.range.clone();
        self.bytes.get(all.clone())?.strip_prefix(MAGIC)?;
        let head = |nth: usize| self.number(all.start + 8 + nth * self.word, self.word);
        let place = |nth: usize| all.start.checked_add(head(nth)?).filter(|at| *at <= all.end);
        let between = |start: usize, end: usize| (start <= end).then_some(start..end);
        let index = place(7)?;
        let index = between(index, index.checked_add(head(0)?.checked_mul(8)?)?.checked_add(4)?)?;
        let code = self.section(b".text")?;
        let links = self.section(b".typelink").map_or(0..0, |links| links.range.clone());
        let constants = self.section(b".rodata")?;
        let ends = [index.start, index.end - 4].map(|at| self.number(at, 4).unwrap_or(0) as u64);
        let Module { types, data, buckets, text } = self.module(table, constants, ends).unwrap_or_default();
        let code = text.map_or(code.range.start, |text| code.place(text)).min(code.range.end)..code.range.end;
        // Since Go 1.26 data of functions are in the table, too.
        let records = between(index.end, if all.contains(&data.start) { data.start } else { all.end })?;
        let far = |at: usize, from: &Range<usize>| at.checked_add(from.start).filter(|at| *at < from.end).unwrap_or(from.end);
        let mut linked: Vec<usize> = links.clone().step_by(4).filter_map(|at| self.number(at, 4)).collect();
        let each = self.data(&index);
        let first_told = each.iter().filter(|(nth, _)| WITH_WORDS.contains(nth)).map(|(_, far)| *far).min().unwrap_or(0);
        let mut places: Vec<usize> = each.iter().map(|(_, far)| *far).collect();
        let data = data.start..far(end_of(&mut places), &data);
        let linked_end = far(end_of(&mut linked), &types);
        Some([
            code,
            between(place(3)?, place(4)?)?,
            between(place(6)?, index.start)?,
            between(place(5)?, place(6)?)?,
            between(place(4)?, place(5)?)?,
            data.clone(),
            far(first_told, &data)..data.end,
            index.start..records.end,
            index,
            records,
            types.clone(),
            linked.first().map_or(types.clone(), |first| far(*first, &types)..linked_end),
            links,
            constants.range.clone(),
            buckets,
        ])
    }

    /// All data of functions: which it is, and how far it is.
    fn data(&self, index: &Range<usize>) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for row in index.clone().step_by(8) {
            let record = self.number(row + 4, 4).and_then(|far| index.start.checked_add(far)).filter(|at| *at < self.bytes.len());
            // Records that are more than fit in there are none.
            let Some(record) = record.filter(|_| all.len() < self.bytes.len()) else { break };
            let Some((lines, count)) = self.number(record + 28, 4).zip(self.number(record + RECORD - 1, 1)) else { continue };
            let place = record + RECORD + 4 * lines.min(MOST_LINES);
            let each = (0..count).filter_map(|nth| Some((nth, self.number(place + 4 * nth, 4)?)));
            all.extend(each.filter(|(_, far)| *far != u32::MAX as usize));
        }
        all
    }

    /// What the runtime knows of the program begins with where the table and its names are. `ends` are where its first function begins
    /// and its last one ends.
    fn module(&self, table: &Section, constants: &Section, ends: [u64; 2]) -> Option<Module> {
        let begins = |(at, names): &(u64, u64)| {
            *at == table.address && names.checked_sub(*at).is_some_and(|far| far < table.range.len() as u64)
        };
        for section in self.sections {
            let words = || self.bytes[section.range.clone()].chunks_exact(self.word).map(number);
            for (nth, _) in words().zip(words().skip(1)).enumerate().filter(|(_, pair)| begins(pair)) {
                let all: Vec<u64> = words().skip(nth).take(MODULE).collect();
                if let Some(module) = self.parts_of(&all, constants, ends) {
                    return Some(module);
                }
            }
        }
        None
    }

    /// Where is what these words of a module tell of.
    fn parts_of(&self, module: &[u64], constants: &Section, ends: [u64; 2]) -> Option<Module> {
        // What is first in each stretch, where the first function begins, where the last one ends, and what both are counted from.
        let is_it = |w: &[u64]| [w[1], w[2]].map(|at| at.wrapping_sub(w[3])) == ends && w[1] < w[2];
        let found = module.windows(4).find(|w| is_it(w));
        let buckets = found.and_then(|w| self.bytes_of(w[0], w[0].checked_add(buckets_for(w[2] - w[1])?)?)).unwrap_or_default();
        // Types, their end, constants, and data. Up to Go 1.25 data can be among what is between the first two.
        let older = |w: &[u64]| {
            let types = (w[2] == constants.address).then(|| self.bytes_of(w[0], w[1]))??;
            let data = self.bytes_of(w[3], w[1]).or_else(|| self.bytes_from(w[3]))?;
            Some((types.start..if types.contains(&data.start) { data.start } else { types.end }, data))
        };
        // Types, the length of those that are linked, the end of all, other tables, constants, and data.
        let newer = |w: &[u64]| {
            let types = (w[5] == constants.address).then(|| self.bytes_of(w[0], w[2]))??;
            Some((types, self.bytes_from(w[6])?))
        };
        let (types, data) = module.windows(4).find_map(older).or_else(|| module.windows(7).find_map(newer))?;
        let data = data.start..if data.contains(&buckets.start) { buckets.start } else { data.end };
        Some(Module { types, data, buckets, text: found.map(|w| w[3]) })
    }

    /// Where in the file the bytes of a section are that an address is the first of.
    fn bytes_from(&self, address: u64) -> Option<Range<usize>> {
        let has = |section: &&Section| address.checked_sub(section.address).is_some_and(|far| far < section.range.len() as u64);
        let section = self.sections.iter().filter(|section| section.address != 0).find(has)?;
        Some(section.place(address)..section.range.end)
    }

    /// The same up to another address.
    fn bytes_of(&self, start: u64, end: u64) -> Option<Range<usize>> {
        let (all, length) = (self.bytes_from(start)?, usize::try_from(end.checked_sub(start)?).ok()?);
        (length <= all.len()).then(|| all.start..all.start + length)
    }
}

/// Where the last of these begins and, since nothing says how long it is, as much more as the longest other one has.
fn end_of(places: &mut [usize]) -> usize {
    places.sort_unstable();
    let longest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    places.last().map_or(0, |last| last.saturating_add(longest))
}

/// Bytes of the table of what is first in each stretch, for so many of code.
fn buckets_for(code: u64) -> Option<u64> {
    (4 * code.div_ceil(4096)).checked_add(code.div_ceil(256))
}

/// Parts of the file, and the address that functions are counted from.
#[derive(Default)]
struct Module {
    types: Range<usize>,
    data: Range<usize>,
    buckets: Range<usize>,
    text: Option<u64>,
}

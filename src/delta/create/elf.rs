//! What a program's file says about itself: only the making side reads it.

use crate::delta::predict::{Image, MOST_SEGMENTS, Machine, Segment};

/// A little-endian ELF file.
#[derive(Clone, Debug)]
pub struct Program {
    machine: Machine,
    wide: bool,
    /// Loaded parts, and whether they are code.
    segments: Vec<(Segment, bool)>,
    /// Where .text begins, and the index of unwinding tables.
    bases: [u64; 2],
}

/// More are not looked at.
const MOST_HEADERS: u64 = 4096;

struct Reader<'a> {
    bytes: &'a [u8],
    wide: bool,
}

impl Reader<'_> {
    fn number(&self, at: u64, length: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let field = self.bytes.get(at..at.checked_add(length)?)?;
        Some(field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
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
        if let Some(text) = Program::text(&reader) {
            bases[0] = text;
        }
        (!segments.is_empty()).then_some(Program { machine, wide: reader.wide, segments, bases })
    }

    /// The address of the section .text.
    fn text(reader: &Reader<'_>) -> Option<u64> {
        let table = reader.word(0, 32, 40)?;
        let sections: Vec<u64> = reader.table(table, (46, 58))?.collect();
        let names = reader.number(if reader.wide { 62 } else { 50 }, 2)?;
        let names = reader.word(*sections.get(names as usize)?, 16, 24)?;
        let found = sections.iter().find(|at| {
            let name = reader.number(**at, 4).and_then(|name| usize::try_from(names.checked_add(name)?).ok());
            name.and_then(|name| reader.bytes.get(name..name + 6)) == Some(b".text\0")
        })?;
        reader.word(*found, 12, 16)
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
        };
        image.is_sound().then_some(image)
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

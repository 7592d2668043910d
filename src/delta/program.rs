//! Two programs, as a delta tells of them: what addresses are foretold by.

use crate::base::Result;
use crate::delta::numbers::{unzigzag, zigzag};
use crate::delta::predict::{Image, MOST_PARENTS, MOST_SEGMENTS, MOST_TABLES, Machine, Other, Segment, Table, tables};

/// Tells it in numbers.
pub fn write(image: &Image, mut put: impl FnMut(u64)) {
    let put = &mut put;
    put(1 + (image.machine as u64) * 2 + u64::from(image.wide));
    put(image.segments.len() as u64);
    for (old, new) in &image.segments {
        tell((old.offset, new.offset), put);
        tell((old.length, new.length), put);
        tell((old.memory, new.memory), put);
        tell((old.address, new.address), put);
    }
    image.bases.iter().for_each(|base| tell(*base, put));
    put(image.tables.len() as u64);
    for table in &image.tables {
        put(table.kind as u64);
        put(table.fields.into());
        tell(table.offset, put);
        tell(table.length, put);
        for other in &table.others[..table.kind.others()] {
            tell(other.offset, put);
            put(other.length);
        }
        if table.kind == tables::Kind::Frames {
            put(table.parents.len() as u64);
            let before = [table.offset.0].into_iter().chain(table.parents.iter().copied());
            table.parents.iter().zip(before).for_each(|(parent, before)| put(parent.wrapping_sub(before)));
        }
    }
}

/// An old number, and how much more the new one is.
fn tell((old, new): (u64, u64), put: &mut impl FnMut(u64)) {
    put(old);
    put(zigzag(new.wrapping_sub(old) as i64));
}

/// Reads it, after the first number, which is not 0; `None` if it makes no sense.
pub fn read(first: u64, mut next: impl FnMut() -> Result<u64>) -> Result<Option<Image>> {
    let Some(machine) = Machine::of((first - 1) / 2) else { return Ok(None) };
    let mut image = Image { machine, wide: (first - 1) % 2 == 1, ..Image::default() };
    for _ in 0..at_most(next()?, MOST_SEGMENTS) {
        let (offset, length) = (pair(&mut next)?, pair(&mut next)?);
        let (memory, address) = (pair(&mut next)?, pair(&mut next)?);
        let old = Segment { offset: offset.0, length: length.0, memory: memory.0, address: address.0 };
        let new = Segment { offset: offset.1, length: length.1, memory: memory.1, address: address.1 };
        image.segments.push((old, new));
    }
    image.bases = [pair(&mut next)?, pair(&mut next)?];
    for _ in 0..at_most(next()?, MOST_TABLES) {
        let Some(kind) = tables::Kind::of(next()?) else { return Ok(None) };
        let fields = next()? as u8;
        let (offset, length) = (pair(&mut next)?, pair(&mut next)?);
        let mut table = Table { kind, fields, offset, length, ..Table::default() };
        for other in &mut table.others[..kind.others()] {
            *other = Other { offset: pair(&mut next)?, length: next()? };
        }
        if kind == tables::Kind::Frames {
            let mut parent = offset.0;
            for _ in 0..at_most(next()?, MOST_PARENTS) {
                parent = parent.wrapping_add(next()?);
                table.parents.push(parent);
            }
        }
        image.tables.push(table);
    }
    Ok(image.is_sound().then_some(image))
}

/// An old number, and the new one as how much more it is.
fn pair(mut next: impl FnMut() -> Result<u64>) -> Result<(u64, u64)> {
    let old = next()?;
    Ok((old, old.wrapping_add_signed(unzigzag(next()?))))
}

/// Of too many, one more than there may be is enough to tell.
fn at_most(count: u64, most: u64) -> u64 {
    count.min(most + 1)
}

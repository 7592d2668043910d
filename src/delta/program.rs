//! Two programs, as a delta tells of them: what addresses are foretold by.

use crate::base::Result;
use crate::delta::numbers::{unzigzag, zigzag};
use crate::delta::predict::{Image, MOST_SEGMENTS, MOST_SYMBOLS, Machine, Segment, Symbols};

/// Tells it in numbers.
pub fn write(image: &Image, mut put: impl FnMut(u64)) {
    put(1 + (image.machine as u64) * 2 + u64::from(image.wide));
    put(image.segments.len() as u64);
    let mut pair = |old: u64, new: u64| {
        put(old);
        put(zigzag(new.wrapping_sub(old) as i64));
    };
    for (old, new) in &image.segments {
        pair(old.offset, new.offset);
        pair(old.length, new.length);
        pair(old.memory, new.memory);
        pair(old.address, new.address);
    }
    image.bases.iter().for_each(|(old, new)| pair(*old, *new));
    put(image.symbols.len() as u64);
    for symbols in &image.symbols {
        put(symbols.fields.into());
        for (old, new) in [symbols.offset, symbols.length, symbols.strings] {
            put(old);
            put(zigzag(new.wrapping_sub(old) as i64));
        }
    }
}

/// Reads it, after the first number, which is not 0; `None` if it makes no sense.
pub fn read(first: u64, mut next: impl FnMut() -> Result<u64>) -> Result<Option<Image>> {
    let Some(machine) = Machine::of((first - 1) / 2) else { return Ok(None) };
    let count = next()?;
    if count > MOST_SEGMENTS {
        return Ok(None);
    }
    let mut pair = || -> Result<(u64, u64)> {
        let old = next()?;
        Ok((old, old.wrapping_add_signed(unzigzag(next()?))))
    };
    let mut image = Image { machine, wide: (first - 1) % 2 == 1, ..Image::default() };
    for _ in 0..count {
        let (offset, length, memory, address) = (pair()?, pair()?, pair()?, pair()?);
        let old = Segment { offset: offset.0, length: length.0, memory: memory.0, address: address.0 };
        let new = Segment { offset: offset.1, length: length.1, memory: memory.1, address: address.1 };
        image.segments.push((old, new));
    }
    image.bases = [pair()?, pair()?];
    let count = next()?;
    if count > MOST_SYMBOLS {
        return Ok(None);
    }
    for _ in 0..count {
        let fields = next()? as u8;
        let mut pair = || -> Result<(u64, u64)> {
            let old = next()?;
            Ok((old, old.wrapping_add_signed(unzigzag(next()?))))
        };
        image.symbols.push(Symbols { fields, offset: pair()?, length: pair()?, strings: pair()? });
    }
    Ok(image.is_sound().then_some(image))
}

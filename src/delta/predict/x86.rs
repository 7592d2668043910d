//! i386 and x86-64: calls, jumps, and operands relative to the instruction pointer.

use crate::{Map, Slide, rule, words};

/// Where a distance begins in what may be an instruction here; its end is what it counts from.
pub fn distance(code: &[u8], calls: bool, operands: bool) -> Option<usize> {
    match code {
        [0xe8 | 0xe9, ..] if calls => Some(1),
        [0x0f, 0x80..=0x8f, ..] if calls => Some(2),
        [_, modrm, ..] if operands && modrm & 0xc7 == 5 => Some(2),
        _ => None,
    }
}

/// What may be an instruction here leads there: the address, and where its distance ends.
fn target(code: &[u8], old: u64, calls: bool, operands: bool) -> Option<(u64, usize)> {
    let at = distance(code, calls, operands)?;
    let far = i64::from(i32::from_le_bytes(*code.get(at..)?.first_chunk()?));
    Some((old.wrapping_add(at as u64 + 4).wrapping_add_signed(far), at + 4))
}

/// The same byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte that is 0, and of some that are not, but follow such a one.
fn zeros(bytes: u64) -> u64 {
    bytes.wrapping_sub(eight(1)) & !bytes & eight(0x80)
}

/// At which of the next eight places something may begin that [`distance`] knows: the highest bits of their bytes. All may if there is
/// too little to tell.
fn places(code: &[u8], calls: bool, operands: bool) -> u64 {
    let (Some(here), Some(next)) = (code.first_chunk(), code.get(1..).and_then(|rest| rest.first_chunk())) else {
        return eight(0x80);
    };
    let (here, next) = (u64::from_le_bytes(*here), u64::from_le_bytes(*next));
    let call = zeros((here ^ eight(0xe8)) & eight(0xfe)) | zeros(here ^ eight(0x0f)) & zeros((next ^ eight(0x80)) & eight(0xf0));
    let operand = zeros((next & eight(0xc7)) ^ eight(5));
    (if calls { call } else { 0 }) | (if operands { operand } else { 0 })
}

/// Foretells code, as trying [`super::step`] at each place would, only faster: it is done for every byte. Up to `end`, or the end of
/// the last instruction.
pub(crate) fn sweep(code: &mut [u8], mut at: usize, end: usize, slide: &Slide, mode: u8, map: &Map) -> usize {
    let (calls, operands) = (mode & rule::CODE != 0, mode & rule::OTHER_CODE != 0);
    let data = mode & rule::WORDS != 0;
    let mut done = at;
    while at < end {
        let mut left = places(&code[at..], calls, operands);
        if data {
            left |= 0x80_0000_0080 << (8 * (slide.at(at).0.wrapping_neg() % 4)); // each fourth
        }
        while left != 0 {
            let place = at + (left.trailing_zeros() / 8) as usize;
            left &= left - 1;
            if place < done || place >= end {
                continue;
            }
            let (rest, (old, new)) = (&mut code[place..], slide.at(place));
            let mut length = step(rest, old, new, mode, map);
            if length == 0 && data && old.is_multiple_of(4) {
                length = words(rest, old, new, mode, map);
            }
            done = place + length;
        }
        at = (at + 8).max(done);
    }
    done.max(end)
}

/// See [`super::step`].
pub fn step(code: &mut [u8], old: u64, new: u64, mode: u8, map: &Map) -> usize {
    let (calls, operands) = (mode & rule::CODE != 0, mode & rule::OTHER_CODE != 0);
    let Some((address, end)) = target(code, old, calls, operands) else { return 0 };
    let Some(to) = map.aim(address) else { return 0 };
    let far = to.wrapping_sub(new.wrapping_add(end as u64)) as u32;
    code[end - 4..end].copy_from_slice(&far.to_le_bytes());
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Machine, Segment, Span};

    #[test]
    fn sweeping_is_trying_every_place() {
        let segment = |address| Segment { offset: 0, length: 4096, memory: 4096, address };
        let image = Image {
            machine: Machine::X86,
            wide: true,
            segments: vec![(segment(0x1_0000), segment(0x2_0000))],
            ..Image::default()
        };
        let map = Map::new(image, vec![Span::of(0, 16, 1024), Span::of(1024, 0, 2048)]);
        let mut dice = 1u32;
        let mut roll = || {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 24) as u8
        };
        let mut changed = 0;
        for round in 0..4000 {
            // Instructions with small distances, and other bytes.
            let mut code = Vec::new();
            for _ in 0..roll() % 12 {
                let start: &[u8] = [&[0xe8][..], &[0xe9], &[0x0f, 0x84], &[0x8b, 0x05], &[0x0f], &[]][usize::from(roll() % 6)];
                code.extend_from_slice(start);
                let far = i32::from(roll()) * 8 - 1024;
                match roll() % 3 {
                    0 => code.push(roll()),
                    _ => code.extend_from_slice(&far.to_le_bytes()),
                }
            }
            let length = code.len();
            let (from, end) = if length == 0 { (0, 0) } else { (usize::from(roll()) % length, usize::from(roll()) % length + 1) };
            let mode = [rule::CODE, rule::OTHER_CODE, 3, 3 | rule::RELATIVE, rule::CODE | rule::WIDE | rule::WORD][round % 5];
            let slide = Slide { old: 0x1_0400 + round as u64 % 8, new: 0x2_0410 + round as u64 % 8 };
            let (mut fast, mut slow) = (code.clone(), code.clone());
            let mut at = from;
            while at < end {
                at += crate::step(&mut slow, at, &slide, mode, &map);
            }
            let swept = sweep(&mut fast, from, end, &slide, mode, &map);
            assert_eq!((swept, &fast), (at.max(end), &slow), "{code:02x?} {from}..{end} mode {mode}");
            changed += usize::from(fast != code);
        }
        assert!(changed > 500, "{changed}");
    }
}

//! i386 and x86-64: calls, jumps, and operands relative to the instruction pointer.

use crate::{Map, rule};

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

/// What a byte may be: the first of a call or jump, and one that names an operand relative to the instruction pointer.
const FIRST: u8 = 1;
const OPERAND: u8 = 2;
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = if matches!(byte, 0xe8 | 0xe9 | 0x0f) { FIRST } else { 0 } | if byte & 0xc7 == 5 { OPERAND } else { 0 };
        byte += 1;
    }
    kinds
};

/// See [`super::pass`]. It is done for every byte of code.
pub fn pass(code: &[u8], mut at: usize, end: usize, slide: u64, mode: u8, map: &Map) -> usize {
    let (calls, operands) = (mode & rule::CODE != 0, mode & rule::OTHER_CODE != 0);
    let (first, second) = (if calls { FIRST } else { 0 }, if operands { OPERAND } else { 0 });
    let end = end.min(code.len().saturating_sub(1)); // what is shorter than two bytes is none
    while at < end {
        if KINDS[usize::from(code[at])] & first | KINDS[usize::from(code[at + 1])] & second != 0
            && target(&code[at..], slide.wrapping_add(at as u64), calls, operands).is_some_and(|(to, _)| map.may_hold(to))
        {
            break;
        }
        at += 1;
    }
    at
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

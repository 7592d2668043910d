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

/// See [`super::pass`].
pub fn pass(code: &[u8], mut at: usize, end: usize, mode: u8) -> usize {
    let (calls, operands) = (mode & rule::CODE != 0, mode & rule::OTHER_CODE != 0);
    while at < end
        && let (Some(first), Some(second)) = (code.get(at), code.get(at + 1))
    {
        let call = first & 0xfe == 0xe8 || *first == 0x0f && second & 0xf0 == 0x80;
        if call && calls || second & 0xc7 == 5 && operands {
            break;
        }
        at += 1;
    }
    at
}

/// See [`super::step`].
pub fn step(code: &mut [u8], old: u64, new: u64, mode: u8, map: &Map) -> usize {
    let Some(at) = distance(code, mode & rule::CODE != 0, mode & rule::OTHER_CODE != 0) else { return 0 };
    let Some(bytes) = code.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else { return 0 };
    let far = i64::from(i32::from_le_bytes(*bytes));
    let end = at as u64 + 4;
    let Some(to) = map.aim(old.wrapping_add(end).wrapping_add_signed(far)) else { return 0 };
    *bytes = (to.wrapping_sub(new.wrapping_add(end)) as u32).to_le_bytes();
    at + 4
}

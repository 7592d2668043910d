//! 32-bit ARM: branches of A32, and of Thumb-2.

use crate::{Map, rule};

/// See [`super::step`].
pub fn step(code: &mut [u8], old: u64, new: u64, mode: u8, map: &Map) -> usize {
    if mode & rule::CODE != 0 && old.is_multiple_of(4) {
        let done = a32(code, old, new, map);
        if done > 0 {
            return done;
        }
    }
    if mode & rule::OTHER_CODE != 0 && old.is_multiple_of(2) { thumb(code, old, new, map) } else { 0 }
}

/// It is a branch, or too short to tell.
pub fn may_branch(code: &[u8], old: u64, mode: u8) -> bool {
    let Some(word) = code.first_chunk().map(|word| u32::from_le_bytes(*word)) else { return true };
    let thumb = mode & rule::OTHER_CODE != 0 && is_thumb_branch(word as u16, (word >> 16) as u16);
    thumb || mode & rule::CODE != 0 && old.is_multiple_of(4) && is_a32_branch(word)
}

/// B, BL and BLX with a distance.
pub fn is_a32_branch(word: u32) -> bool {
    word & 0x0e00_0000 == 0x0a00_0000
}

fn a32(code: &mut [u8], old: u64, new: u64, map: &Map) -> usize {
    let Some(bytes) = code.first_chunk_mut::<4>() else { return 0 };
    let word = u32::from_le_bytes(*bytes);
    if !is_a32_branch(word) {
        return 0;
    }
    let far = i64::from((word << 8) as i32 >> 6);
    let Some(to) = map.aim(old.wrapping_add(8).wrapping_add_signed(far)) else { return 0 };
    let field = (to.wrapping_sub(new.wrapping_add(8)) >> 2) as u32 & 0xff_ffff;
    *bytes = (word & 0xff00_0000 | field).to_le_bytes();
    4
}

/// BL, BLX and B with a long distance.
pub fn is_thumb_branch(first: u16, second: u16) -> bool {
    first & 0xf800 == 0xf000 && matches!(second & 0xd000, 0xd000 | 0xc000 | 0x9000)
}

fn thumb(code: &mut [u8], old: u64, new: u64, map: &Map) -> usize {
    let Some(bytes) = code.first_chunk_mut::<4>() else { return 0 };
    let (first, second) = (u16::from_le_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([bytes[2], bytes[3]]));
    if !is_thumb_branch(first, second) {
        return 0;
    }
    let (s, j1, j2) = (u32::from(first >> 10 & 1), u32::from(second >> 13 & 1), u32::from(second >> 11 & 1));
    let (i1, i2) = (1 ^ j1 ^ s, 1 ^ j2 ^ s);
    let raw = s << 24 | i1 << 23 | i2 << 22 | u32::from(first & 0x3ff) << 12 | u32::from(second & 0x7ff) << 1;
    let far = i64::from((raw << 7) as i32 >> 7);
    // BLX goes to A32 code, from a place rounded down to a word.
    let from = |at: u64| if second & 0xd000 == 0xc000 { at.wrapping_add(4) & !3 } else { at.wrapping_add(4) };
    let Some(to) = map.aim(from(old).wrapping_add_signed(far)) else { return 0 };
    let far = to.wrapping_sub(from(new)) as u32;
    let s = far >> 24 & 1;
    let (j1, j2) = (1 ^ (far >> 23 & 1) ^ s, 1 ^ (far >> 22 & 1) ^ s);
    let first = first & 0xf800 | (s << 10) as u16 | (far >> 12 & 0x3ff) as u16;
    let second = second & 0xd000 | (j1 << 13 | j2 << 11) as u16 | (far >> 1 & 0x7ff) as u16;
    bytes[..2].copy_from_slice(&first.to_le_bytes());
    bytes[2..].copy_from_slice(&second.to_le_bytes());
    4
}

/// Which of both kinds of code a file has mostly: a call is by far the most frequent instruction with a byte of its own.
pub fn is_mostly_thumb(code: &[u8]) -> bool {
    let a32 = code.chunks_exact(4).filter(|w| w[3] == 0xeb).count();
    let thumb = code.chunks_exact(2).zip(code.get(2..).unwrap_or_default().chunks_exact(2));
    let thumb = thumb.filter(|(a, b)| a[1] & 0xf8 == 0xf0 && b[1] & 0xd0 == 0xd0).count();
    thumb > a32
}

//! AArch64: branches, and the pairs of instructions that make an address of a page and a place in it.

use crate::Map;

/// Instructions after an ADRP in which its pair is looked for.
pub const AHEAD: usize = 16;

/// The nth instruction.
pub fn word(code: &[u8], nth: usize) -> Option<u32> {
    code.get(4 * nth..)?.first_chunk().map(|w| u32::from_le_bytes(*w))
}

/// Replaces the nth instruction.
pub fn put(code: &mut [u8], nth: usize, to: u32) {
    if let Some(w) = code.get_mut(4 * nth..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *w = to.to_le_bytes();
    }
}

/// The field of `bits` bits from bit `low` on, with its sign, times four.
fn far(word: u32, low: u32, bits: u32) -> i64 {
    i64::from((word << (32 - low - bits)) as i32 >> (32 - bits)) * 4
}

/// Where a branch's distance is: lowest bit and bits.
pub fn branch(word: u32) -> Option<(u32, u32)> {
    match word >> 24 {
        _ if word & 0x7c00_0000 == 0x1400_0000 => Some((0, 26)),  // B, BL
        0x54 | 0x34 | 0x35 | 0xb4 | 0xb5 => Some((5, 19)),        // B.cond, CBZ, CBNZ
        0x18 | 0x58 | 0x98 | 0x1c | 0x5c | 0x9c => Some((5, 19)), // LDR (literal)
        0x36 | 0x37 | 0xb6 | 0xb7 => Some((5, 14)),               // TBZ, TBNZ
        _ => None,
    }
}

/// It is a branch or ADRP.
pub fn may_aim(word: u32) -> bool {
    branch(word).is_some() || is_page(word)
}

/// Is it ADRP?
pub fn is_page(word: u32) -> bool {
    word & 0x9f00_0000 == 0x9000_0000
}

/// The scale of the offset of an instruction that adds to, loads or stores at a place in a page; `None` if it is no such.
pub fn in_page(word: u32) -> Option<u32> {
    if word & 0xffc0_0000 == 0x9100_0000 {
        return Some(0); // ADD
    }
    if word & 0x3b00_0000 != 0x3900_0000 {
        return None;
    }
    // LDR and STR, unsigned offset; of vectors the 16-byte ones have their own way to say so.
    let vector = word & 0x0480_0000 == 0x0480_0000 && word >> 30 == 0;
    Some(if vector { 4 } else { word >> 30 })
}

/// See [`super::step`].
pub fn step(code: &mut [u8], old: u64, new: u64, map: &Map) -> usize {
    let Some(instruction) = word(code, 0) else { return 0 };
    if let Some((low, bits)) = branch(instruction) {
        let Some(to) = map.aim(old.wrapping_add_signed(far(instruction, low, bits))) else { return 0 };
        let mask = ((1u32 << bits) - 1) << low;
        let field = ((to.wrapping_sub(new) as i64 >> 2) as u32) << low & mask;
        put(code, 0, instruction & !mask | field);
        return 4;
    }
    if is_page(instruction) { page(code, instruction, old, new, map) } else { 0 }
}

fn page(code: &mut [u8], instruction: u32, old: u64, new: u64, map: &Map) -> usize {
    let register = instruction & 31;
    let pages = i64::from((instruction << 8) as i32 >> 13) << 2 | i64::from(instruction >> 29 & 3);
    let page = (old & !0xfff).wrapping_add_signed(pages << 12);
    let mut target = None;
    for nth in 1..=AHEAD {
        let Some(user) = word(code, nth) else { break };
        if is_page(user) && user & 31 == register {
            break;
        }
        let Some(scale) = in_page(user).filter(|_| user >> 5 & 31 == register) else { continue };
        let place = page.wrapping_add(u64::from(user >> 10 & 0xfff) << scale);
        if let Some(to) = map.aim(place) {
            target.get_or_insert(to);
            if to & !0xfff == target.unwrap_or(to) & !0xfff && (to & 0xfff) % (1 << scale) == 0 {
                put(code, nth, user & !(0xfff << 10) | ((to & 0xfff) as u32 >> scale) << 10);
            }
        }
        if user & 31 == register {
            break; // from here on the register holds something else
        }
    }
    let Some(to) = target.or_else(|| map.aim(page)) else { return 0 };
    let pages = ((to >> 12) as i64 - (new >> 12) as i64) as u32;
    put(code, 0, instruction & 0x9f00_001f | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5);
    4
}

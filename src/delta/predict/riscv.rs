//! RISC-V: jumps, and the pairs of instructions that make an address.

use crate::Map;

/// Bytes after an AUIPC in which its pair is looked for.
const AHEAD: usize = 32;

fn word(code: &[u8], at: usize) -> Option<u32> {
    code.get(at..)?.first_chunk().map(|w| u32::from_le_bytes(*w))
}

fn put(code: &mut [u8], at: usize, to: u32) {
    if let Some(w) = code.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *w = to.to_le_bytes();
    }
}

/// Instructions whose 12-bit offset adds to the register of an AUIPC: the offset, and the instruction with another one.
fn offset(word: u32, register: u32) -> Option<i64> {
    if word >> 15 & 31 != register {
        return None;
    }
    match word & 0x7f {
        0x13 if word >> 12 & 7 == 0 => {}
        0x03 | 0x07 | 0x67 => {}
        0x23 | 0x27 => return Some(i64::from((word & 0xfe00_0000) as i32 >> 20) | i64::from(word >> 7 & 31)),
        _ => return None,
    }
    Some(i64::from(word as i32 >> 20))
}

fn with_offset(word: u32, offset: u32) -> u32 {
    match word & 0x7f {
        0x23 | 0x27 => word & 0x01ff_f07f | (offset & 0xfe0) << 20 | (offset & 31) << 7,
        _ => word & 0x000f_ffff | offset << 20,
    }
}

/// It is JAL or AUIPC, or too short to tell.
pub fn may_aim(code: &[u8]) -> bool {
    code.first().is_none_or(|low| matches!(low & 0x7f, 0x6f | 0x17))
}

/// See [`super::step`].
pub fn step(code: &mut [u8], old: u64, new: u64, map: &Map) -> usize {
    let Some(instruction) = word(code, 0) else { return 0 };
    match instruction & 0x7f {
        0x6f => jump(code, instruction, old, new, map),
        0x17 => pair(code, instruction, old, new, map),
        _ => 0,
    }
}

/// JAL.
fn jump(code: &mut [u8], instruction: u32, old: u64, new: u64, map: &Map) -> usize {
    let sign = i64::from(instruction as i32 >> 31) << 20;
    let far = sign
        | i64::from(instruction >> 12 & 0xff) << 12
        | i64::from(instruction >> 20 & 1) << 11
        | i64::from(instruction >> 21 & 0x3ff) << 1;
    let Some(to) = map.aim(old.wrapping_add_signed(far)) else { return 0 };
    let far = to.wrapping_sub(new) as u32;
    let field = (far >> 20 & 1) << 31 | (far >> 1 & 0x3ff) << 21 | (far >> 11 & 1) << 20 | (far >> 12 & 0xff) << 12;
    put(code, 0, instruction & 0xfff | field);
    4
}

/// AUIPC and the instruction that adds the rest.
fn pair(code: &mut [u8], instruction: u32, old: u64, new: u64, map: &Map) -> usize {
    let register = instruction >> 7 & 31;
    let high = i64::from((instruction & 0xffff_f000) as i32);
    let mut at = 4;
    while at <= AHEAD {
        let Some(user) = word(code, at) else { return 0 };
        if let Some(low) = offset(user, register) {
            let Some(to) = map.aim(old.wrapping_add_signed(high + low)) else { return 0 };
            let far = to.wrapping_sub(new) as u32;
            put(code, 0, instruction & 0xfff | far.wrapping_add(0x800) & 0xffff_f000);
            put(code, at, with_offset(user, far & 0xfff));
            return 4;
        }
        at += if user & 3 == 3 { 4 } else { 2 };
    }
    0
}

/// Blanks the addresses of the instruction at the front; how far to go on.
pub fn mask(code: &mut [u8]) -> usize {
    let Some(instruction) = word(code, 0) else { return 4 };
    match instruction & 0x7f {
        0x6f => put(code, 0, instruction & 0xfff),
        0x17 => {
            put(code, 0, instruction & 0xfff);
            let mut at = 4;
            while at <= AHEAD {
                let Some(user) = word(code, at) else { break };
                if offset(user, instruction >> 7 & 31).is_some() {
                    put(code, at, with_offset(user, 0));
                    break;
                }
                at += if user & 3 == 3 { 4 } else { 2 };
            }
        }
        _ => {}
    }
    if instruction & 3 == 3 { 4 } else { 2 }
}

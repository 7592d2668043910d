//! Code without its addresses, in which what is equal is found although everything has moved.

use crate::delta::create::elf::Program;
use crate::delta::predict::{Machine, a64, arm, riscv, x86};

/// A body as it is searched; `None` if that is as it is.
pub fn masked(body: &[u8]) -> Option<Vec<u8>> {
    let program = Program::read(body)?;
    let mut out = body.to_vec();
    for (start, end) in program.code() {
        let end = end.min(out.len());
        let Some(code) = out.get_mut(start..end) else { continue };
        match program.machine() {
            Machine::X86 => mask_x86(code),
            Machine::Arm => mask_arm(code),
            Machine::A64 => mask_a64(code),
            Machine::RiscV => mask_riscv(code),
            Machine::None => {}
        }
    }
    Some(out)
}

fn mask_x86(code: &mut [u8]) {
    let mut at = 0;
    while at < code.len() {
        // A distance of more than 16 MiB is something else.
        let near = |from: usize| matches!(code.get(from + 3), Some(0 | 0xff));
        match x86::distance(&code[at..], true, true).map(|by| at + by).filter(|from| near(*from)) {
            Some(from) => {
                code[from..from + 4].fill(0);
                at = from + 4;
            }
            None => at += 1,
        }
    }
}

/// A32 and Thumb both: a file has mostly one of them, and what looks like the other's branches is rare.
fn mask_arm(code: &mut [u8]) {
    let thumb = arm::is_mostly_thumb(code);
    let mut at = 0;
    while at + 4 <= code.len() {
        let word = u32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]);
        if thumb {
            if arm::is_thumb_branch(word as u16, (word >> 16) as u16) {
                code[at..at + 4].copy_from_slice(&(word & 0xd000_f800).to_le_bytes());
                at += 2;
            }
            at += 2;
        } else {
            if arm::is_a32_branch(word) {
                code[at..at + 3].fill(0);
            }
            at += 4;
        }
    }
}

fn mask_a64(code: &mut [u8]) {
    let words = code.len() / 4;
    for nth in 0..words {
        let word = a64::word(code, nth).unwrap_or(0);
        if let Some((low, bits)) = a64::branch(word).filter(|(_, bits)| *bits == 26) {
            a64::put(code, nth, word & !(((1 << bits) - 1) << low));
        } else if a64::is_page(word) {
            a64::put(code, nth, word & 0x9f00_001f);
            for ahead in 1..=a64::AHEAD {
                let Some(user) = a64::word(code, nth + ahead) else { break };
                if a64::is_page(user) && (user ^ word) & 31 == 0 {
                    break;
                }
                if a64::in_page(user).is_some() && user >> 5 & 31 == word & 31 {
                    a64::put(code, nth + ahead, user & !(0xfff << 10));
                    if (user ^ word) & 31 == 0 {
                        break;
                    }
                }
            }
        }
    }
}

fn mask_riscv(code: &mut [u8]) {
    let mut at = 0;
    while at + 4 <= code.len() {
        at += riscv::mask(&mut code[at..]);
    }
}

//! Version 2 has no devices controller: a small program decides, attached to the group.

use super::devices::Rule;
use crate::base::{Context, Result};
use crate::sys::bpf::{self, Insn};
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;

const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 1;

const LOAD32: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOV: u8 = 0xb4; // 32-bit, immediate
const MOV_REG: u8 = 0xbc;
const AND: u8 = 0x54;
const RSH: u8 = 0x74;
const JNE: u8 = 0x55; // 64-bit comparison with an immediate
const JEQ: u8 = 0x15;
const JNE_REG: u8 = 0x5d;
const EXIT: u8 = 0x95;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: registers(dst, src), off, imm }
}

/// The two halves of a byte, whose order depends on the machine's byte order.
fn registers(dst: u8, src: u8) -> u8 {
    if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src }
}

/// The program for `rules`: looks from the last to the first, since the last that fits decides.
fn program(rules: &[Rule]) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD32, TYPE, 1, 0, 0),
        insn(AND, TYPE, 0, 0, 0xffff),
        insn(LOAD32, ACCESS, 1, 0, 0),
        insn(RSH, ACCESS, 0, 0, 16),
        insn(LOAD32, MAJOR, 1, 4, 0),
        insn(LOAD32, MINOR, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new(); // each jumps past the rule if it does not fit; the distance is filled in below
        match rule.kind {
            'b' => tests.push(insn(JNE, TYPE, 0, 0, 1)),
            'c' => tests.push(insn(JNE, TYPE, 0, 0, 2)),
            _ => {}
        }
        let bits = rule.access.chars().fold(0, |all, c| {
            all | match c {
                'm' => 1,
                'r' => 2,
                'w' => 4,
                _ => 0,
            }
        });
        if bits != 7 {
            tests.push(insn(MOV_REG, SCRATCH, ACCESS, 0, 0));
            tests.push(insn(AND, SCRATCH, 0, 0, bits));
            // to be allowed, all of it must be allowed; to be denied, one part is enough
            tests.push(if rule.allow { insn(JNE_REG, SCRATCH, ACCESS, 0, 0) } else { insn(JEQ, SCRATCH, 0, 0, 0) });
        }
        if let Some(major) = rule.major {
            tests.push(insn(JNE, MAJOR, 0, 0, major as i32));
        }
        if let Some(minor) = rule.minor {
            tests.push(insn(JNE, MINOR, 0, 0, minor as i32));
        }
        let n = tests.len();
        for (i, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, JNE | JEQ | JNE_REG) {
                test.off = (n - i - 1 + 2) as i16;
            }
        }
        code.append(&mut tests);
        code.push(insn(MOV, 0, 0, 0, i32::from(rule.allow)));
        code.push(insn(EXIT, 0, 0, 0, 0));
        if n == 0 {
            return code; // fits everything: what stands before it is void
        }
    }
    code.push(insn(MOV, 0, 0, 0, 0));
    code.push(insn(EXIT, 0, 0, 0, 0));
    code
}

/// Restricts the group at `dir` to the devices that the rules allow.
pub fn attach(dir: &str, rules: &[Rule]) -> Result<()> {
    if rules.iter().all(|r| r.allow && r.kind == 'a') {
        return Ok(());
    }
    let what = || "restrict devices (CONFIG_CGROUP_BPF)";
    let group = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context(what)?;
    let loaded = bpf::load_device_program(&program(rules)).context(what)?;
    bpf::attach_device_program(group.as_fd(), loaded.as_fd()).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cgroup::devices;

    /// What the kernel would do with the program.
    fn run(code: &[Insn], kind: u64, access: u64, major: u64, minor: u64) -> bool {
        let mut r = [0u64; 11];
        let mut at = 0;
        loop {
            let i = &code[at];
            let (dst, src) = (usize::from(i.regs & 15), usize::from(i.regs >> 4));
            at += 1;
            let jump = match i.code {
                LOAD32 => {
                    r[dst] = [access << 16 | kind, major, minor][i.off as usize / 4];
                    false
                }
                MOV => {
                    r[dst] = i.imm as u32 as u64;
                    false
                }
                MOV_REG => {
                    r[dst] = r[src];
                    false
                }
                AND => {
                    r[dst] &= i.imm as u32 as u64;
                    false
                }
                RSH => {
                    r[dst] >>= i.imm;
                    false
                }
                JNE => r[dst] != i.imm as u64,
                JEQ => r[dst] == i.imm as u64,
                JNE_REG => r[dst] != r[src],
                EXIT => return r[0] != 0,
                other => panic!("{other:#x}"),
            };
            if jump {
                at += i.off as usize;
            }
        }
    }

    #[test]
    fn the_default_rules_allow_what_a_container_needs_and_no_disk() {
        let code = program(&devices::rules(&[]));
        assert!(run(&code, 2, 6, 1, 3) && run(&code, 2, 2, 136, 7) && run(&code, 1, 1, 8, 0));
        assert!(!run(&code, 1, 2, 8, 0) && !run(&code, 2, 6, 10, 200) && !run(&code, 2, 3, 10, 200));
        assert!(run(&program(&[Rule { allow: true, kind: 'a', major: None, minor: None, access: "rwm".into() }]), 1, 7, 8, 0));
    }
}

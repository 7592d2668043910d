//! From verdicts on ranges of numbers to a program: a balanced tree of comparisons, built from its end so that every jump's
//! target is known when the jump is made. Jumps reach 255 instructions; what lies farther away is copied or reached by a hop.

use crate::sys::exec::Insn;

const LOAD: u16 = 0x20; // 32 bits of seccomp_data, absolute
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQ: u16 = 0x15;
const GT: u16 = 0x25;
const GE: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offset of the number in seccomp_data.
const NUMBER: u32 = 0;
/// Offset of the machine.
const MACHINE: u32 = 4;

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Equal after masking.
    Masked,
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Argument, 0-5.
    pub arg: u32,
    /// How.
    pub op: Op,
    /// With what; for `Masked` the result.
    pub value: u64,
    /// For `Masked`: the mask.
    pub mask: u64,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This value is returned to the kernel.
    Plain(u32),
    /// The first of these whose tests all hold, else the last value.
    Depends(Vec<(Vec<Test>, u32)>, u32),
}

/// One machine's part: verdicts on disjoint ranges of numbers in order, and what all other numbers get.
pub struct Part {
    /// `AUDIT_ARCH_…`.
    pub audit: u32,
    /// Arguments have 64 bits.
    pub wide: bool,
    /// From, to, verdict.
    pub ranges: Vec<(u32, u32, Verdict)>,
    /// For numbers in between.
    pub default: u32,
    /// For numbers above the last that is known.
    pub beyond: u32,
    /// The last that is known.
    pub last: u32,
}

struct Code {
    /// The program, last instruction first.
    back: Vec<Insn>,
    returns: Vec<(u32, usize)>,
}

impl Code {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.back.push(Insn { code, jt, jf, k });
        self.back.len() - 1
    }

    /// How far an instruction that is emitted after `more` others has to jump to `target`.
    fn distance(&self, target: usize, more: usize) -> usize {
        self.back.len() + more - target - 1
    }

    /// An instruction that does what `target` does and lies near enough.
    fn near(&mut self, target: usize) -> usize {
        if self.distance(target, 8) <= 255 {
            return target;
        }
        if self.back[target].code == RETURN {
            let k = self.back[target].k;
            let at = self.push(RETURN, 0, 0, k);
            self.returns.retain(|(value, _)| *value != k);
            self.returns.push((k, at));
            return at;
        }
        let k = self.distance(target, 0) as u32;
        self.push(JUMP, 0, 0, k)
    }

    fn ret(&mut self, value: u32) -> usize {
        match self.returns.iter().find(|(v, _)| *v == value) {
            Some((_, at)) => {
                let at = *at;
                self.near(at)
            }
            None => {
                let at = self.push(RETURN, 0, 0, value);
                self.returns.push((value, at));
                at
            }
        }
    }

    /// A comparison with the accumulator.
    fn branch(&mut self, code: u16, k: u32, yes: usize, no: usize) -> usize {
        let (yes, no) = (self.near(yes), self.near(no));
        let (yes, no) = (self.near(yes), self.near(no)); // the second may have moved the first out of reach
        let (jt, jf) = (self.distance(yes, 0) as u8, self.distance(no, 0) as u8);
        self.push(code, jt, jf, k)
    }

    /// One condition: goes to `yes` or `no`.
    fn test(&mut self, t: &Test, wide: bool, yes: usize, no: usize) -> usize {
        let (yes, no) = match t.op {
            Op::Ne | Op::Lt | Op::Le => (no, yes),
            _ => (yes, no),
        };
        let (low, high) = (t.value as u32, (t.value >> 32) as u32);
        let low_at = 16 + 8 * t.arg + if cfg!(target_endian = "little") { 0 } else { 4 };
        let high_at = 16 + 8 * t.arg + if cfg!(target_endian = "little") { 4 } else { 0 };
        match t.op {
            Op::Eq | Op::Ne | Op::Masked => {
                let mask = if t.op == Op::Masked { t.mask } else { u64::MAX };
                self.branch(EQ, low, yes, no);
                if mask as u32 != u32::MAX {
                    self.push(AND, 0, 0, mask as u32);
                }
                let rest = self.push(LOAD, 0, 0, low_at);
                let mask_high = (mask >> 32) as u32;
                if !wide || (mask_high == 0 && high == 0) {
                    return rest;
                }
                self.branch(EQ, high, rest, no);
                if mask_high != u32::MAX {
                    self.push(AND, 0, 0, mask_high);
                }
            }
            Op::Gt | Op::Le | Op::Ge | Op::Lt => {
                self.branch(if matches!(t.op, Op::Gt | Op::Le) { GT } else { GE }, low, yes, no);
                let rest = self.push(LOAD, 0, 0, low_at);
                if !wide {
                    return rest;
                }
                let same = self.branch(EQ, high, rest, no);
                self.branch(GT, high, yes, same);
            }
        }
        self.push(LOAD, 0, 0, high_at)
    }

    fn verdict(&mut self, v: &Verdict, wide: bool) -> usize {
        match v {
            Verdict::Plain(value) => self.ret(*value),
            Verdict::Depends(choices, other) => {
                let mut next = self.ret(*other);
                for (tests, value) in choices.iter().rev() {
                    let fail = next;
                    next = self.ret(*value);
                    for t in tests.iter().rev() {
                        next = self.test(t, wide, next, fail);
                    }
                }
                next
            }
        }
    }

    /// The tree over `bounds`, each the first number of a stretch with its verdict.
    fn tree(&mut self, bounds: &[(u32, &Verdict)], wide: bool) -> usize {
        match bounds {
            [] => self.ret(0),
            [(_, verdict)] => self.verdict(verdict, wide),
            _ => {
                let (left, right) = bounds.split_at(bounds.len() / 2);
                let yes = self.tree(right, wide);
                let no = self.tree(left, wide);
                self.branch(GE, right[0].0, yes, no)
            }
        }
    }

    fn part(&mut self, part: &Part) -> usize {
        let (default, beyond) = (Verdict::Plain(part.default), Verdict::Plain(part.beyond));
        let mut bounds: Vec<(u32, &Verdict)> = Vec::with_capacity(2 * part.ranges.len() + 2);
        let mut add = |from: u64, verdict| match bounds.last() {
            Some((_, last)) if *last == verdict => {}
            _ => bounds.push((from as u32, verdict)),
        };
        let known = u64::from(part.last);
        let mut next = 0;
        let end = (u64::from(u32::MAX) + 1, 0, None);
        let ranges = part.ranges.iter().map(|(from, to, verdict)| (u64::from(*from), u64::from(*to), Some(verdict)));
        for (from, to, verdict) in ranges.chain(std::iter::once(end)) {
            if next < from && next <= known {
                add(next, &default);
            }
            if next < from && from > known + 1 {
                add(next.max(known + 1), &beyond);
            }
            if let Some(verdict) = verdict {
                add(from, verdict);
                next = to + 1;
            }
        }
        self.tree(&bounds, part.wide);
        self.push(LOAD, 0, 0, NUMBER)
    }
}

/// The whole program; a call of a machine that has no part gets `foreign`.
pub fn program(parts: &[Part], foreign: u32) -> Vec<Insn> {
    let mut code = Code { back: Vec::with_capacity(1024), returns: Vec::with_capacity(16) };
    let mut no = code.ret(foreign);
    for part in parts.iter().rev() {
        // returns that lie behind another machine's part are out of reach: each part has its own
        code.returns.clear();
        let yes = code.part(part);
        no = code.branch(EQ, part.audit, yes, no);
    }
    code.push(LOAD, 0, 0, MACHINE);
    code.back.reverse();
    code.back
}

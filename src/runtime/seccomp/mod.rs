//! Filters of system calls: Docker's default profile, and profiles of the OCI specification, compiled to BPF.
//!
//! No library: the numbers that are treated alike become sorted ranges, and these a balanced tree of comparisons
//! (`emit`). A number above all that are known gives ENOSYS, so that programs fall back to older calls; so does clone3, whose
//! flags a filter cannot see. Programs of the other machine that a kernel runs (x86 on x86-64, arm on aarch64) have a part of
//! their own; any other is killed.

mod emit;
mod tables;

use super::caps;
use super::spec::{Process, Seccomp, SeccompArg, Spec};
use crate::base::{Error, Result};
use crate::sys::exec::Insn;
use emit::{Op, Part, Test, Verdict};
use std::collections::BTreeMap;
use tables::{Group, HERE, Machine};

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Actions that a profile may name.
pub const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
/// Operators of its conditions.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const ARCHITECTURES: [(u32, &str); 5] = [
    (0xc000_003e, "SCMP_ARCH_X86_64"),
    (0x4000_0003, "SCMP_ARCH_X86"),
    (0xc000_00b7, "SCMP_ARCH_AARCH64"),
    (0x4000_0028, "SCMP_ARCH_ARM"),
    (0xc000_00f3, "SCMP_ARCH_RISCV64"),
];

/// The machines that a filter can have rules for here, the native one first.
pub fn architectures() -> Vec<&'static str> {
    HERE.iter().filter_map(|m| ARCHITECTURES.iter().find(|(audit, _)| *audit == m.audit)).map(|(_, name)| *name).collect()
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<Insn>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub flags: u32,
}

/// The filter that a container's process is to have.
pub fn for_process(spec: &Spec) -> Result<Option<Filter>> {
    match &spec.linux.seccomp {
        Some(profile) => compile(profile).map(Some),
        None if spec.ext.default_seccomp => docker_default(&spec.process).map(Some),
        None => Ok(None),
    }
}

/// Docker's default profile for a process with these bounding capabilities.
pub fn docker_default(process: &Process) -> Result<Filter> {
    let bounding = process.capabilities.as_ref().map(|c| caps::Sets::new(c).bounding).unwrap_or_default();
    let parts: Vec<Part> = HERE.iter().map(|m| docker_part(m, bounding)).collect();
    finish(&parts, 0)
}

fn finish(parts: &[Part], flags: u32) -> Result<Filter> {
    let program = emit::program(parts, KILL_PROCESS);
    if program.len() > 4096 {
        return Err(Error::invalid("the seccomp profile is too large for the kernel"));
    }
    Ok(Filter { program, flags })
}

fn docker_part(machine: &Machine, bounding: u64) -> Part {
    let applies = |g: &&Group| bounding & g.with == g.with && bounding & g.without == 0;
    let mut plain: Vec<(u32, u32)> = Vec::with_capacity(128);
    for g in machine.docker.iter().filter(applies).filter(|g| g.errno == 0 && g.args.is_empty()) {
        plain.extend_from_slice(g.calls);
    }
    plain.sort_unstable();
    let mut ranges: Vec<(u32, u32, Verdict)> = Vec::with_capacity(plain.len() + 8);
    for (from, to) in plain {
        match ranges.last_mut() {
            Some((_, end, _)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => ranges.push((from, to, Verdict::Plain(ALLOW))),
        }
    }
    let mut special: BTreeMap<u32, Verdict> = BTreeMap::new();
    let free = |n: u32, ranges: &[(u32, u32, Verdict)]| !ranges.iter().any(|(from, to, _)| (*from..=*to).contains(&n));
    for g in machine.docker.iter().filter(applies) {
        let tests: Vec<Test> = g.args.iter().filter_map(|(arg, op, value, two)| test(*arg, op, *value, *two)).collect();
        for n in g.calls.iter().flat_map(|(from, to)| *from..=*to).filter(|n| free(*n, &ranges)) {
            if g.errno != 0 {
                special.entry(n).or_insert(Verdict::Plain(ERRNO | u32::from(g.errno)));
            } else if let Verdict::Depends(choices, _) =
                special.entry(n).or_insert_with(|| Verdict::Depends(Vec::new(), ERRNO | libc::EPERM as u32))
            {
                choices.push((tests.clone(), ALLOW));
            }
        }
    }
    ranges.extend(special.into_iter().map(|(n, verdict)| (n, n, verdict)));
    ranges.sort_by_key(|r| r.0);
    part(machine, ranges, ERRNO | libc::EPERM as u32)
}

fn numbers(machine: &Machine) -> impl Iterator<Item = (&'static str, u32)> {
    machine.names.lines().filter_map(|l| l.split_once(' ')).filter_map(|(name, n)| Some((name, n.parse().ok()?)))
}

fn part(machine: &Machine, ranges: Vec<(u32, u32, Verdict)>, default: u32) -> Part {
    // a program must be able to tell a call that is new to us from one that is forbidden
    let beyond = if default & 0xffff_0000 == ERRNO { ERRNO | libc::ENOSYS as u32 } else { default };
    Part { audit: machine.audit, wide: machine.wide, ranges, default, beyond, last: machine.last }
}

fn test(arg: u32, op: &str, value: u64, two: u64) -> Option<Test> {
    let op = match op {
        "SCMP_CMP_NE" => Op::Ne,
        "SCMP_CMP_LT" => Op::Lt,
        "SCMP_CMP_LE" => Op::Le,
        "SCMP_CMP_EQ" => Op::Eq,
        "SCMP_CMP_GE" => Op::Ge,
        "SCMP_CMP_GT" => Op::Gt,
        // here the first value is the mask, the second the result
        "SCMP_CMP_MASKED_EQ" => return Some(Test { arg, op: Op::Masked, value: two & value, mask: value }),
        _ => return None,
    };
    Some(Test { arg, op, value, mask: u64::MAX })
}

fn action(name: &str, errno: Option<u32>) -> Result<u32> {
    let number = errno.unwrap_or(libc::EPERM as u32).min(0xffff);
    Ok(match name {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => ERRNO | number,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_TRACE" => TRACE | number,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_NOTIFY" => return Err(Error::unsupported("seccomp: SCMP_ACT_NOTIFY is not supported")),
        other => return Err(Error::invalid(format!("seccomp: action {other:?} is not known"))),
    })
}

fn flags(names: &[String]) -> Result<u32> {
    names.iter().try_fold(0, |all, name| {
        Ok(all
            | match name.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => 0, // there is but one thread
                "SECCOMP_FILTER_FLAG_LOG" => 2,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
                other => return Err(Error::invalid(format!("seccomp: flag {other:?} is not known"))),
            })
    })
}

/// Compiles a profile of the OCI specification.
pub fn compile(profile: &Seccomp) -> Result<Filter> {
    compile_for(HERE, profile)
}

fn compile_for(machines: &[Machine], profile: &Seccomp) -> Result<Filter> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    // the native machine always has its rules, others only if they are named
    let named = |m: &Machine| {
        ARCHITECTURES.iter().any(|(audit, name)| *audit == m.audit && profile.architectures.iter().any(|a| a == name))
    };
    let mut parts = Vec::new();
    for (i, machine) in machines.iter().enumerate() {
        if i == 0 || named(machine) {
            parts.push(user_part(machine, profile, default)?);
        }
    }
    finish(&parts, flags(&profile.flags)?)
}

fn user_part(machine: &Machine, profile: &Seccomp, default: u32) -> Result<Part> {
    let mut names: Vec<(&str, u32)> = Vec::with_capacity(512);
    names.extend(numbers(machine));
    names.sort_unstable();
    let mut rules = Vec::with_capacity(profile.syscalls.len());
    // each number with each rule that names it, in the rules' order
    let mut hits: Vec<(u32, usize)> = Vec::with_capacity(512);
    for rule in &profile.syscalls {
        let act = action(&rule.action, rule.errno_ret)?;
        let choices = alternatives(&rule.args)?;
        if act != default {
            let found = rule.names.iter().filter_map(|name| names.binary_search_by(|(known, _)| (*known).cmp(name)).ok());
            hits.extend(found.map(|i| (names[i].1, rules.len())));
            rules.push((act, choices));
        }
    }
    hits.sort_unstable();
    let mut ranges: Vec<(u32, u32, Verdict)> = Vec::with_capacity(256);
    for same in hits.chunk_by(|a, b| a.0 == b.0) {
        let (mut all, mut other) = (Vec::new(), default);
        for (act, choices) in same.iter().map(|(_, rule)| &rules[*rule]) {
            // a rule without conditions is what is left when the others do not fit
            if choices.is_empty() {
                other = *act;
            } else {
                all.extend(choices.iter().map(|tests| (tests.clone(), *act)));
            }
        }
        let verdict =
            if all.iter().all(|(_, value)| *value == other) { Verdict::Plain(other) } else { Verdict::Depends(all, other) };
        let n = same[0].0;
        match ranges.last_mut() {
            Some((_, to, last)) if *to + 1 == n && *last == verdict => *to = n,
            _ => ranges.push((n, n, verdict)),
        }
    }
    Ok(part(machine, ranges, default))
}

/// The conditions of a rule: all must hold, except that several for the same argument are alternatives, as in runc.
fn alternatives(args: &[SeccompArg]) -> Result<Vec<Vec<Test>>> {
    let mut tests = Vec::new();
    for a in args {
        let one = test(a.index, &a.op, a.value, a.value_two);
        let one =
            one.filter(|t| t.arg < 6).ok_or_else(|| Error::invalid(format!("seccomp: condition {a:?} is not understood")))?;
        tests.push(one);
    }
    if tests.is_empty() {
        return Ok(Vec::new());
    }
    let twice = tests.iter().enumerate().any(|(i, t)| tests[..i].iter().any(|other| other.arg == t.arg));
    Ok(if twice { tests.into_iter().map(|t| vec![t]).collect() } else { vec![tests] })
}

#[cfg(test)]
mod simulate;

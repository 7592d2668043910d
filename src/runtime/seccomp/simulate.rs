//! The kernel's view of a program, to hold it against the rules that it was made from.

use super::tables::{AARCH64, ARM, RISCV64, X86, X86_64};
use super::*;

/// What the program returns for one call.
fn run(program: &[Insn], audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, audit);
    for (i, a) in args.iter().enumerate() {
        let (low, high) = if cfg!(target_endian = "little") { (0, 1) } else { (1, 0) };
        (data[4 + 2 * i + low], data[4 + 2 * i + high]) = (*a as u32, (*a >> 32) as u32);
    }
    let (mut at, mut acc) = (0usize, 0u32);
    loop {
        let i = program[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => acc = data[i.k as usize / 4],
            0x54 => acc &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(acc == i.k),
            0x25 => at += jump(acc > i.k),
            0x35 => at += jump(acc >= i.k),
            0x06 => return i.k,
            other => panic!("{other:#x}"),
        }
    }
}

/// What Docker's profile says of one call, straight from its groups.
fn docker(machine: &Machine, caps: u64, number: u32, args: [u64; 6]) -> u32 {
    let mut conditional = None;
    for g in machine.docker {
        let here = g.calls.iter().any(|(from, to)| (*from..=*to).contains(&number));
        if !here || caps & g.with != g.with || caps & g.without != 0 {
            continue;
        }
        let holds = g.args.iter().all(|(arg, op, value, two)| {
            let a = if machine.wide { args[*arg as usize] } else { args[*arg as usize] & 0xffff_ffff };
            match *op {
                "SCMP_CMP_LT" => a < *value,
                "SCMP_CMP_EQ" => a == *value,
                "SCMP_CMP_GT" => a > *value,
                "SCMP_CMP_MASKED_EQ" => a & value == *two,
                other => panic!("{other}"),
            }
        });
        if g.errno == 0 && g.args.is_empty() {
            return ALLOW;
        }
        if holds {
            conditional = Some(if g.errno == 0 { ALLOW } else { ERRNO | u32::from(g.errno) });
        }
    }
    conditional.unwrap_or(if number > machine.last { ERRNO | libc::ENOSYS as u32 } else { ERRNO | libc::EPERM as u32 })
}

#[test]
fn docker_s_profile_is_what_its_groups_say() {
    let machines = [X86_64, X86, AARCH64, ARM, RISCV64];
    let default: u64 = 0xa804_25fb;
    let (mut checked, values) = (
        0,
        [0, 1, 8, 37, 38, 39, 40, 41, 0x20000, 0x20008, 0x10000, 0xffff_ffff, 0x1_0000_0000, 0x7e02_0000, 0x4000_0000, u64::MAX],
    );
    for caps in [default, 0, u64::MAX, default | 1 << 21, default | 1 << 19] {
        let parts: Vec<Part> = machines.iter().map(|m| docker_part(m, caps)).collect();
        let program = emit::program(&parts, KILL_PROCESS);
        for m in &machines {
            for number in (0..600).chain([0xf_0000, 0xf_0001, 0xf_0002, 0xf_0005, 0xf_0006, 0x4000_0000, 0x4000_0001, u32::MAX]) {
                let conditional = m
                    .docker
                    .iter()
                    .any(|g| !g.args.is_empty() && g.calls.iter().any(|(from, to)| (*from..=*to).contains(&number)));
                for value in values.iter().copied().take(if conditional { values.len() } else { 1 }) {
                    let args = [value, 0, 0, 0, 0, 0];
                    assert_eq!(
                        run(&program, m.audit, number, args),
                        docker(m, caps, number, args),
                        "{:#x} {number} {value:#x} {caps:#x}",
                        m.audit
                    );
                    checked += 1;
                }
            }
        }
        assert_eq!(run(&program, 0x8000_0016, 1, [0; 6]), KILL_PROCESS);
    }
    assert!(checked > 15_000);
}

#[test]
fn the_native_program_is_small_and_knows_the_calls_that_matter() {
    for (machine, limit) in [(X86_64, 120), (AARCH64, 120), (RISCV64, 120), (ARM, 200)] {
        let program = emit::program(&[docker_part(&machine, 0xa804_25fb)], KILL_PROCESS);
        assert!(program.len() < limit, "{:#x}: {}", machine.audit, program.len());
        let number = |name: &str| numbers(&machine).find(|(n, _)| *n == name).unwrap().1;
        let call = |name, arg| run(&program, machine.audit, number(name), [arg, 0, 0, 0, 0, 0]);
        assert_eq!(call("openat", 0), ALLOW);
        assert_eq!(call("clone3", 0), ERRNO | libc::ENOSYS as u32);
        assert_eq!(call("clone", libc::CLONE_NEWUSER as u64), ERRNO | libc::EPERM as u32);
        assert_eq!(call("clone", 0x11), ALLOW);
        assert_eq!(call("keyctl", 0), ERRNO | libc::EPERM as u32);
        assert_eq!(call("socket", 40), ERRNO | libc::EPERM as u32);
        assert_eq!(run(&program, machine.audit, 5000, [0; 6]), ERRNO | libc::ENOSYS as u32);
    }
}

#[test]
fn the_numbers_are_those_of_libc() {
    for (name, n) in
        [("read", libc::SYS_read), ("openat", libc::SYS_openat), ("setns", libc::SYS_setns), ("seccomp", libc::SYS_seccomp)]
    {
        assert_eq!(numbers(&HERE[0]).find(|(known, _)| *known == name).unwrap().1 as libc::c_long, n);
    }
}

#[test]
fn user_profiles_on_every_machine() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_ARM"],"syscalls":[
        {"names":["openat","futex_time64","cacheflush","rt_sigreturn"],"action":"SCMP_ACT_ALLOW"},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]},
        {"names":["lseek","_llseek"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":4294967295,"op":"SCMP_CMP_EQ"}]}]}"#;
    let profile: Seccomp = serde_json::from_str(text).unwrap();
    let numbers = |m: &Machine, name: &str| numbers(m).find(|(n, _)| *n == name).map(|(_, n)| n);
    for machines in [&[X86_64, X86][..], &[AARCH64, ARM], &[ARM], &[RISCV64]] {
        let program = compile_for(machines, &profile).unwrap().program;
        for m in machines.iter().filter(|m| m.audit != X86.audit) {
            let call = |name: &str, args| run(&program, m.audit, numbers(m, name).unwrap(), args);
            assert_eq!(call("openat", [0; 6]), ALLOW);
            assert_eq!(call("rt_sigreturn", [0; 6]), ALLOW);
            assert_eq!(call("unshare", [0; 6]), ERRNO | 1);
            assert_eq!(call("clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
            assert_eq!(call("clone", [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]), ERRNO | 1);
            // a register of a 32-bit machine: the upper half is not its
            assert_eq!(call("lseek", [0, u64::from(u32::MAX), 0, 0, 0, 0]), ALLOW);
            assert_eq!(call("lseek", [0, u64::MAX, 0, 0, 0, 0]), if m.wide { ERRNO | 1 } else { ALLOW });
            if m.audit == ARM.audit {
                assert_eq!((call("futex_time64", [0; 6]), call("cacheflush", [0; 6])), (ALLOW, ALLOW));
            }
            assert_eq!(run(&program, m.audit, m.last + 1, [0; 6]), ERRNO | libc::ENOSYS as u32);
        }
        // the other machine's calls only where the profile names it
        let foreign = if machines[0].audit == RISCV64.audit { ARM.audit } else { X86.audit };
        assert_eq!(run(&program, foreign, 1, [0; 6]), KILL_PROCESS);
    }
}

#[test]
fn user_profiles() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
        {"names":["read","nosuch"],"action":"SCMP_ACT_ERRNO","errnoRet":5},
        {"names":["write"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"},{"index":2,"value":4294967296,"op":"SCMP_CMP_GE"}]},
        {"names":["lseek"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"},{"index":0,"value":9,"op":"SCMP_CMP_NE"}]},
        {"names":["close"],"action":"SCMP_ACT_TRAP","args":[{"index":1,"value":4294967295,"valueTwo":5,"op":"SCMP_CMP_MASKED_EQ"}]},
        {"names":["dup"],"action":"SCMP_ACT_LOG","args":[{"index":5,"value":7,"op":"SCMP_CMP_LE"}]}]}"#;
    let profile: Seccomp = serde_json::from_str(text).unwrap();
    let filter = compile(&profile).unwrap();
    let call = |n: libc::c_long, args| run(&filter.program, HERE[0].audit, n as u32, args);
    assert_eq!(call(libc::SYS_read, [0; 6]), ERRNO | 5);
    assert_eq!(call(libc::SYS_write, [2, 0, 1 << 32, 0, 0, 0]), KILL_PROCESS);
    assert_eq!(call(libc::SYS_write, [2, 0, 1 << 31, 0, 0, 0]), ALLOW);
    assert_eq!(call(libc::SYS_write, [1, 0, 1 << 33, 0, 0, 0]), ALLOW);
    assert_eq!((call(libc::SYS_lseek, [3, 0, 0, 0, 0, 0]), call(libc::SYS_lseek, [9, 0, 0, 0, 0, 0])), (ERRNO | 1, ALLOW));
    assert_eq!((call(libc::SYS_close, [0, (7 << 32) | 5, 0, 0, 0, 0]), call(libc::SYS_close, [0, 6, 0, 0, 0, 0])), (TRAP, ALLOW));
    assert_eq!((call(libc::SYS_dup, [0, 0, 0, 0, 0, 7]), call(libc::SYS_dup, [0, 0, 0, 0, 0, 8])), (LOG, ALLOW));
    assert_eq!(call(libc::SYS_getpid, [0; 6]), ALLOW);
    for bad in [
        r#"{"defaultAction":"X"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#,
    ] {
        assert!(compile(&serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
    }
}

#!/usr/bin/env python3
"""Makes src/runtime/seccomp/tables/*.rs: numbers of system calls by machine, and Docker's default profile resolved to them.

usage: seccomp_tables.py <source folder of the libc crate> <moby's seccomp default.json>

The numbers come from the libc crate; those that it lacks and that are the same on every machine are listed below."""
import json, pathlib, re, sys

libc, profile = pathlib.Path(sys.argv[1]) / "src/unix/linux_like/linux", json.load(open(sys.argv[2]))
out = pathlib.Path(__file__).parent.parent / "src/runtime/seccomp/tables"

MACHINES = {  # name: (files of libc, bits, machines that Docker's profile knows it by)
    "x86_64": (["gnu/b64/x86_64/not_x32.rs", "musl/b64/x86_64/mod.rs"], 64, {"amd64"}),
    "x86": (["gnu/b32/x86/mod.rs", "musl/b32/x86/mod.rs"], 32, {"amd64", "x86"}),
    "aarch64": (["gnu/b64/aarch64/mod.rs", "gnu/b64/aarch64/lp64.rs", "musl/b64/aarch64/mod.rs"], 64, {"arm64"}),
    "arm": (["gnu/b32/arm/mod.rs", "musl/b32/arm/mod.rs"], 32, {"arm", "arm64"}),
    "riscv64": (["gnu/b64/riscv64/mod.rs", "musl/b64/riscv64/mod.rs"], 64, {"riscv64"}),
}
# one number everywhere: all calls since Linux 5.1
COMMON = {"pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
          "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_open": 434, "clone3": 435,
          "close_range": 436, "openat2": 437, "pidfd_getfd": 438, "faccessat2": 439, "process_madvise": 440, "epoll_pwait2": 441,
          "mount_setattr": 442, "quotactl_fd": 443, "landlock_create_ruleset": 444, "landlock_add_rule": 445,
          "landlock_restrict_self": 446, "memfd_secret": 447, "process_mrelease": 448, "futex_waitv": 449,
          "set_mempolicy_home_node": 450, "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454,
          "futex_wait": 455, "futex_requeue": 456, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459,
          "lsm_set_self_attr": 460, "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463, "getxattrat": 464,
          "listxattrat": 465, "removexattrat": 466, "open_tree_attr": 467}
TIME64 = ["clock_gettime64", "clock_settime64", "clock_adjtime64", "clock_getres_time64", "clock_nanosleep_time64", "timer_gettime64",
          "timer_settime64", "timerfd_gettime64", "timerfd_settime64", "utimensat_time64", "pselect6_time64", "ppoll_time64", None,
          "io_pgetevents_time64", "recvmmsg_time64", "mq_timedsend_time64", "mq_timedreceive_time64", "semtimedop_time64",
          "rt_sigtimedwait_time64", "futex_time64", "sched_rr_get_interval_time64"]
ARM_PRIVATE = {"breakpoint": 0xF0001, "cacheflush": 0xF0002, "usr26": 0xF0003, "usr32": 0xF0004, "set_tls": 0xF0005}
MORE = {"x86": {"arch_prctl": 384, "io_pgetevents": 385, "semget": 393, "semctl": 394, "shmget": 395, "shmctl": 396, "shmat": 397,
                "shmdt": 398, "msgget": 399, "msgsnd": 400, "msgrcv": 401, "msgctl": 402},
        "arm": {"statx": 397, "rseq": 398, "io_pgetevents": 399, "migrate_pages": 400, "kexec_file_load": 401, "sync_file_range2": 341},
        "riscv64": {"riscv_hwprobe": 258, "riscv_flush_icache": 259, "kexec_file_load": 294}}
NOT_ON = {"memfd_secret": {"arm"}, "map_shadow_stack": {"arm", "x86", "riscv64", "aarch64"}}
CAPS = ("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN "
        "NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
        "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE").split()


def numbers(machine):
    files, bits, _ = MACHINES[machine]
    table = {n: v for n, v in COMMON.items() if machine not in NOT_ON.get(n, ())}
    if bits == 32:
        table |= {n: 403 + i for i, n in enumerate(TIME64) if n}
    if machine == "arm":
        table |= ARM_PRIVATE
    table |= MORE.get(machine, {})
    for f in files:
        for name, value in re.findall(r"pub const SYS_(\w+): c_long = (.+?);", (libc / f).read_text()):
            if value.isdigit() and not (name in table and table[name] != int(value)):
                table[name] = int(value)
    return table


def caps(names):
    return sum(1 << CAPS.index(n.removeprefix("CAP_")) for n in names or [])


def ranges(nums):
    result = []
    for n in sorted(set(nums)):
        if result and result[-1][1] + 1 == n:
            result[-1][1] = n
        else:
            result.append([n, n])
    return ", ".join(f"({a}, {b})" for a, b in result)


def rust(machine):
    table, known = numbers(machine), MACHINES[machine][2]
    lines = [f"//! System calls of {machine}, and Docker's default profile for it. Made by scripts/seccomp_tables.py.", "", "use super::Group;", ""]
    lines += ["/// The highest number of an ordinary call.", f"pub const LAST: u32 = {max(v for v in table.values() if v < 0x10000)};", ""]
    lines += ["/// Names and numbers.", "pub const NAMES: &str = \"\\"]
    lines += [f"{n} {v}\\n\\" for n, v in sorted(table.items(), key=lambda nv: (nv[1], nv[0]))]
    lines += ["\";", "", "/// The groups of Docker's default profile.", "pub const DOCKER: &[Group] = &["]
    for rule in profile["syscalls"]:
        inc, exc = rule.get("includes") or {}, rule.get("excludes") or {}
        if inc.get("arches") and not known & set(inc["arches"]) or known & set(exc.get("arches") or []):
            continue
        nums = [table[n] for n in rule["names"] if n in table]
        if not nums:
            continue
        args = []
        for a in rule.get("args") or []:
            value, two = (a["value"], a.get("valueTwo", 0))
            args.append(f"({a['index']}, \"{a['op']}\", {value:#x}, {two:#x})")
        errno = rule.get("errnoRet", 1) if rule["action"] == "SCMP_ACT_ERRNO" else 0
        assert rule["action"] in ("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW")
        lines.append(f"    Group {{ with: {caps(inc.get('caps')):#x}, without: {caps(exc.get('caps')):#x}, errno: {errno}, args: &[{', '.join(args)}], "
                     f"calls: &[{ranges(nums)}] }},")
    lines += ["];", ""]
    (out / f"{machine}.rs").write_text("\n".join(lines))
    print(machine, len(table), "calls")


out.mkdir(parents=True, exist_ok=True)
for machine in MACHINES:
    rust(machine)

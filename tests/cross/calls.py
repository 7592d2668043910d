#!/usr/bin/env python3
"""calls.py ZIG: holds the numbers of src/runtime/seccomp/tables against the kernel's headers, which zig brings for every machine. Calls that
are newer than these headers cannot be held against anything; a name with another number fails, and so does one of the headers that is missing."""
import pathlib, re, subprocess, sys

zig = pathlib.Path(sys.argv[1])
tables = pathlib.Path(__file__).parents[2] / "src/runtime/seccomp/tables"
MACHINES = {"x86_64": ("x86_64-linux-musl", "x86"), "x86": ("x86-linux-musl", "x86"), "aarch64": ("aarch64-linux-musl", "aarch64"),
            "arm": ("arm-linux-musleabihf", "arm"), "riscv64": ("riscv64-linux-musl", "riscv")}
# macros that are no calls, calls that left the kernel long ago, and one that no profile names
NOT = {"syscalls", "arch_specific_syscall", "SYSCALL_BASE", "OABI_SYSCALL_BASE", "SYSCALL_MASK", "BASE", "create_module", "get_kernel_syms",
       "query_module", "get_tls"}


def headers(target, folder):
    include = zig.parent / "lib/libc/include"
    text = subprocess.run([zig, "cc", "-target", target, "-E", "-dM", "-nostdinc", "-isystem", include / (folder + "-linux-any"), "-isystem",
                           include / "any-linux-any", "-include", "asm/unistd.h", "-xc", "/dev/null"], capture_output=True, text=True, check=True).stdout
    macros = dict(re.findall(r"#define (\w+) (.+)", text))

    def value(text):
        while found := re.search(r"__\w+", text):
            text = text.replace(found[0], "(%s)" % macros.get(found[0], "0"))
        return sum(int(part, 0) for part in re.sub("[()]", "", text).split("+"))
    calls = {re.sub("^__(ARM_)?NR_", "", name): text for name, text in macros.items() if re.match("__(ARM_)?NR_", name)}
    return {name: value(text) for name, text in calls.items() if name not in NOT}


failed = []
for machine, (target, folder) in MACHINES.items():
    known = {name: int(n) for name, n in re.findall(r"^(\w+) (\d+)\\n\\$", (tables / (machine + ".rs")).read_text(), re.M)}
    kernel = headers(target, folder)
    assert len(kernel) > 290, kernel
    for name, number in kernel.items():
        if known.get(name) != number:
            failed.append("%s: %s is %s, in the kernel %d" % (machine, name, known.get(name), number))
sys.exit("; ".join(failed) or None)

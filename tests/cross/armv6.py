#!/usr/bin/env python3
"""armv6.py PROGRAM: fails, with their names, if functions of an ARMv6 program hold instructions that an ARM1176 (ARMv6K, VFPv2) lacks.

PROGRAM has its symbols. The disassembler is told the machine and cannot name what that machine lacks, with three exceptions that are looked at
here: movw and movt, loads and stores of ARMv8, and all that belongs to the floating point unit. Functions that are only called if the kernel says
that the CPU can (HWCAP) may hold what they want."""
import re, subprocess, sys

# ring's routines for NEON; musl's ways to take a lock on ARMv7; what libunwind does where a frame's table speaks of such registers
CHOSEN_AT_RUN_TIME = re.compile(r"ring_core_\w*(neon|NEON|vpaes|bsaes)\w*|_(bsaes|vpaes)_\w+|__a_(barrier|cas)_v7|_ZN9libunwind\w+VFPv3EPv")
ARMV8 = re.compile(r"(lda|stl)(|b|h|ex\w*)$|crc32\w*$|sevl$|hlt$|(aes|sha)\w+\.")
VFP2 = re.compile(r"v(add|n?mul|sub|n?ml[as]|div|sqrt|abs|neg|cmpe?|cvtr?|mov|mrs|msr|ldr|str|push|pop|(ld|st)m(ia|db)?)"
                  r"(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.(f32|f64|s32|u32|32))*$")
NEW_REGISTER = re.compile(r"\bq\d|\bd(1[6-9]|2\d|3[01])\b")
CONSTANT = re.compile(r"v(mov|cvt)\S* .*#")  # of VFPv3


def lacks(word, name, operands):
    if not name or "UNDEFINED" in name + operands or ARMV8.match(name) or word >> 20 & 0xff in (0x30, 0x34):
        return True
    return name[0] == "v" and bool(not VFP2.match(name) or NEW_REGISTER.search(operands) or CONSTANT.match(name + " " + operands))


def main():
    found, function, functions = {}, "", 0
    listing = subprocess.Popen(["arm-linux-gnueabihf-objdump", "-d", "-m", "armv6k", sys.argv[1]], stdout=subprocess.PIPE, text=True)
    for line in listing.stdout:
        head = re.match(r"[0-9a-f]{8} <(.*)>:$", line)
        if head:
            if head[1][0] != ".":  # a label inside
                function, functions = head[1], functions + 1
            continue
        address, word, name, operands = (line.rstrip("\n").split("\t", 3) + ["", "", ""])[:4]
        if not re.match("[0-9a-f]{8} ?$", word) or name.startswith("."):
            continue
        if lacks(int(word, 16), name.strip(), operands) and not CHOSEN_AT_RUN_TIME.match(function):
            found.setdefault(function, "%s %s %s" % (word.strip(), name, operands.split("@")[0].strip()))
    if listing.wait() or functions < 1000:
        sys.exit("no disassembly with symbols")
    if found:
        sys.exit("%d functions: %s" % (len(found), "; ".join("%s (%s)" % item for item in list(found.items())[:10])))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""elf.py BINARY ARCH: fails, with a sentence, unless the file is a static program for that machine with nothing of this one in it."""
import os, struct, sys

MACHINES = {"x86_64": (2, 62), "aarch64": (2, 183), "armv7": (1, 40), "armv6": (1, 40), "riscv64": (2, 243)}  # class, e_machine
DYNAMIC, INTERP, LOAD = 2, 3, 1
EABI5_HARD_FLOAT = 0x05000400
LARGEST_PAGE = 64 << 10


def wrong(path, arch):
    data = open(path, "rb").read()
    bits, machine = MACHINES[arch]
    if data[:6] != b"\x7fELF" + bytes([bits, 1]):
        return "not a little-endian ELF file of class %d" % bits
    kind, found = struct.unpack_from("<HH", data, 16)
    if (kind, found) != (2, machine):
        return "type %d for machine %d, not an executable for machine %d" % (kind, found, machine)
    if bits == 2:
        start, flags, size, count = (*struct.unpack_from("<Q", data, 32), *struct.unpack_from("<I", data, 48), *struct.unpack_from("<HH", data, 54))
        headers = [struct.unpack_from("<IIQQQQQQ", data, start + size * n) for n in range(count)]
        headers = [(h[0], h[3], h[7]) for h in headers]
    else:
        start, flags, size, count = (*struct.unpack_from("<I", data, 28), *struct.unpack_from("<I", data, 36), *struct.unpack_from("<HH", data, 42))
        headers = [struct.unpack_from("<IIIIIIII", data, start + size * n) for n in range(count)]
        headers = [(h[0], h[2], h[7]) for h in headers]
    kinds = [h[0] for h in headers]
    if INTERP in kinds or DYNAMIC in kinds:
        return "it wants a dynamic linker"
    if arch in ("armv6", "armv7") and flags != EABI5_HARD_FLOAT:
        return "ABI %#x" % flags
    if arch == "aarch64" and any(align < LARGEST_PAGE for kind, _, align in headers if kind == LOAD):
        return "a kernel with pages of 64 KiB cannot load it"
    homes = {os.environ.get("HOME", ""), os.environ.get("CARGO_HOME", ""), os.getcwd()} - {"", "/"}
    for home in homes:
        at = data.find(home.encode() + b"/")
        if at >= 0:
            return "a path of this machine is in it: %r" % data[at:at + 80]
    return None


if __name__ == "__main__":
    sys.exit(wrong(*sys.argv[1:]))

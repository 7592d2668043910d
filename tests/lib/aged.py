#!/usr/bin/env python3
"""aged.py - runs a command on a kernel that seems to lack system calls: a seccomp filter answers them.

  aged.py CALL[=ERROR][,CALL[=ERROR]]... COMMAND [ARGUMENT...]

CALL is a name; or `NAME/N:BITS`: that one if its argument N (from 0) has one of these bits; or `after:NAME`: all calls with higher numbers,
which is all that newer kernels brought. ERROR is a name of errno(3), ENOSYS unless given; the first CALL that fits counts. The filter holds
for all that the command starts, and stacks with filters that these install. The numbers are those of the engine's own tables.
"""
import ctypes, errno, os, re, struct, sys

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3, "arm": 0x40000028}
LOAD, EQUAL, GREATER, HAS, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGT|K, BPF_JMP|JSET|K, BPF_RET|K
NUMBER, ARGUMENTS = 0, 16  # in struct seccomp_data
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
SET_NO_NEW_PRIVS, SET_SECCOMP, MODE_FILTER = 38, 22, 2


def numbers(machine):
    tables = os.path.join(os.path.dirname(__file__), "../../src/runtime/seccomp/tables", machine + ".rs")
    return {name: int(number) for name, number in re.findall(r"^(\w+) (\d+)\\n", open(tables).read(), re.M)}


def program(calls, machine):
    known = numbers(machine)
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT[machine]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, NUMBER)]
    for call in calls.split(","):
        name, _, error = call.partition("=")
        answer = (RETURN, 0, 0, ERRNO | getattr(errno, error or "ENOSYS"))
        if name.startswith("after:"):
            code += [(GREATER, 0, 1, known[name[6:]]), answer]
        elif "/" in name:
            name, argument, bits = name.replace(":", "/").split("/")
            code += [(EQUAL, 0, 4, known[name]), (LOAD, 0, 0, ARGUMENTS + 8 * int(argument)), (HAS, 0, 1, int(bits)), answer, (LOAD, 0, 0, NUMBER)]
        else:
            code += [(EQUAL, 0, 1, known[name]), answer]
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code), len(code)


def main():
    calls, command = sys.argv[1], sys.argv[2:]
    machine = os.uname().machine
    text, length = program(calls, "arm" if machine.startswith("arm") else machine)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(text, len(text))
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    filter = Program(length, ctypes.addressof(buffer))
    if os.geteuid() != 0:  # root keeps its privileges: a container's programs may gain some
        libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(SET_SECCOMP, MODE_FILTER, ctypes.byref(filter), 0, 0) != 0:
        sys.exit("aged.py: the filter does not load: " + os.strerror(ctypes.get_errno()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()

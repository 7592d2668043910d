"""An application for a board with little memory: it maps 4 MiB of /file and touches every page of them, ten times a second. There is
no compiler for the boards, so here it is assembled: 200 bytes for aarch64."""
import struct

TEXT = bytes.fromhex(
    "600c8092 81030010 020080d2 080780d2 010000d4"                    # fd = openat(-100, "/file", 0)
    "e40300aa 000080d2 0108a0d2 220080d2 230080d2 050080d2 c81b80d2 010000d4"  # at = mmap(0, 4 << 20, PROT_READ, MAP_SHARED, fd, 0)
    "f30300aa 14005091"                                               # x19 = at, x20 = its end
    "e90313aa 2a014039 29054091 3f0114eb a3ffff54"                    # for each page: ldrb w10, [x9]
    "a0000010 010080d2 a80c80d2 010000d4 f7ffff17"                    # nanosleep(0.1 s); again
    "0000000000000000 00e1f50500000000 2f66696c6500")                 # the time, the name


def program():
    """It as an ELF file of one segment."""
    base, head = 0x400000, 64 + 56
    size = head + len(TEXT)
    return (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
            + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + TEXT)

#!/usr/bin/env python3
"""pairimages.py URL BUSYBOX.tar NAME: pushes NAME:1, NAME:2 and NAME:3, of which each follows from the one before as releases do.

A layer of a program, of modules, of settings and of links; one layer is the same in all. Prints the diff IDs of each, a line each.
"""
import io, random, struct, sys, tarfile
import push


def layer(files):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, mode, mtime, content in files:
            info = tarfile.TarInfo(path)
            info.mode, info.mtime = mode, mtime
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            if path.endswith("capable"):
                info.pax_headers["SCHILY.xattr.user.note"] = "kept"
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return raw.getvalue()


def program(release):
    """An x86-64 program of 300 kB with calls, which all move from release to release."""
    dice, code = random.Random(1), bytearray()
    functions = [dice.randbytes(dice.randrange(40, 400)) for _ in range(1200)]
    for n in range(release):
        functions.insert(100 * (n + 1), random.Random(100 + n).randbytes(77))
    starts, at = [], 0x1000
    for body in functions:
        starts.append(at)
        at += len(body) + 5
    order = random.Random(2)
    for nth, body in enumerate(functions):
        far = starts[order.randrange(len(functions) - 3)] - (starts[nth] + 5)
        code += b"\xe8" + struct.pack("<i", far) + body
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x1000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 5, 0x1000, 0x1000, 0, len(code), len(code), 0x1000)
    return head.ljust(0x1000, b"\0") + bytes(code)


def app(release):
    time = 1_700_000_000 + release * 86_400
    files = [("app", 0o755, time, None), ("app/program", 0o755, time, program(release)), ("app/link", 0o777, time, "program")]
    for n in range(60):
        text = "".join(f"def f{n}_{k}(x): return x * {n * k}\n" for k in range(100))
        if n == 7:
            text += f"# release {release}\n"
        files.append((f"app/module{n}.py", 0o644, time, text.encode()))
    files.append(("app/capable", 0o755, time, b"capable" * 100))
    return layer(files)


def data():
    """In no release changed, but made anew by each."""
    return [("data", 0o755, 1_600_000_000, None)] + [(f"data/{n}", 0o640, 1_600_000_000, random.Random(n).randbytes(50_000)) for n in range(20)]


def main():
    url, busybox, name = sys.argv[1:]
    registry = push.Registry(url)
    with tarfile.open(busybox) as tar:
        import json
        base = [tar.extractfile(member).read() for member in json.load(tar.extractfile("manifest.json"))[0]["Layers"]]
    for release in (1, 2, 3):
        extra = layer(data() + [(f"data/of{release}", 0o644, 1_600_000_000 + release, b"release %d" % release)])
        layers = [*base, extra, app(release)]
        registry.push(name, str(release), layers)
        print(*(push.digest(x) for x in layers))


main()

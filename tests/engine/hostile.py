"""Writes docker-archives whose layers try to reach outside: hostile.py FOLDER. `victim` lies beside FOLDER."""
import hashlib, io, json, os, sys, tarfile

out = sys.argv[1]
victim = os.path.join(os.path.dirname(os.path.abspath(out)), "victim")
os.makedirs(out, exist_ok=True)


def entry(name, kind=tarfile.REGTYPE, data=b"escaped\n", link="", **more):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    for key, value in more.items():
        setattr(info, key, value)
    return info, io.BytesIO(data) if kind == tarfile.REGTYPE else None


def layer(*entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, data)
    return raw.getvalue()


LAYERS = {
    "dotdot": layer(entry("../../../../../../../../tmp/escaped")),
    "dotdot-inside": layer(entry("a/../../../escaped")),
    "absolute": layer(entry("/tmp/escaped")),
    "symlink-then-file": layer(entry("d", tarfile.SYMTYPE, link="/tmp"), entry("d/escaped")),
    "symlink-to-victim": layer(entry("f", tarfile.SYMTYPE, link=victim), entry("f")),
    "hardlink-to-victim": layer(entry("f", tarfile.LNKTYPE, link=victim), entry("f")),
    "hardlink-dotdot": layer(entry("f", tarfile.LNKTYPE, link="../" * 12 + victim.lstrip("/")), entry("f")),
    "relative-symlink": layer(entry("d", tarfile.SYMTYPE, link="../" * 12 + "tmp"), entry("d/escaped")),
    "usrmerge": layer(entry("bin", tarfile.SYMTYPE, link="/tmp"), entry("bin/escaped"), entry("bin", tarfile.DIRTYPE), entry("bin/escaped")),
    "whiteout-of-all": layer(entry(".wh..", data=b""), entry(".wh...", data=b""), entry("x/.wh...", data=b"")),
    "whiteout-dotdot": layer(entry("../../.wh.victim", data=b"")),
    "device": layer(entry("dev", tarfile.DIRTYPE), entry("dev/disk", tarfile.BLKTYPE, devmajor=254, devminor=0)),
    "long-name": layer(entry("n" * 5000)),
    "deep": layer(entry("d/" * 2000 + "f")),
    "odd-name": layer(entry("a\nb\x01"), entry("..."), entry(".wh."), entry("./")),
    "cut": layer(entry("f", data=b"x" * 100_000))[:50_000],
    "pax-bomb": layer(entry("f", pax_headers={"comment": "x" * 3_000_000})),
    "negative-size": None,
    "not-a-tar": b"this is no archive" * 1000,
}
broken = bytearray(layer(entry("f")))
broken[124:136] = b"-0000000001\0"
LAYERS["negative-size"] = bytes(broken)

for name, data in LAYERS.items():
    digest = hashlib.sha256(data).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [f"hostile/{name}:1"], "Layers": ["l.tar"]}]).encode()
    with tarfile.open(os.path.join(out, name + ".tar"), "w") as tar:
        for path, text in [("l.tar", data), ("c.json", config), ("manifest.json", manifest)]:
            info = tarfile.TarInfo(path)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))

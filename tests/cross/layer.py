#!/usr/bin/env python3
"""layer.py - the layer that tests/cross has each machine's binary extract, and what must come of it.

  layer.py BINARY FOLDER [EMULATOR...]

Loads and verifies it from a docker-archive, and pulls and verifies it by TLS, with one worker process each. A line each: ok, FAIL or skip;
last the line "result DIGEST", which is of all names, metadata, contents and the skeleton: the same on every machine.
"""
import hashlib, io, json, os, random, shutil, subprocess, sys, tarfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import worker
from hub import Hub

DATES = [0, 1, 1700000000, 2**31 - 1, 2**31, 4000000000, 2**32 - 1, 2**32 + 5]   # 1970 to 2106, and the seconds where 32 bits end
HUGE = 5 << 30                                                                   # bytes of a sparse file with something at its end


def make(folder):
    """The layer's tar, in a file of this name."""
    path, source = os.path.join(folder, "layer.tar"), os.path.join(folder, "source")
    shutil.rmtree(source, ignore_errors=True)
    os.makedirs(source)
    with open(os.path.join(source, "huge"), "wb") as f:
        f.write(b"start")
        f.truncate(HUGE - 3)
        f.seek(HUGE - 3)
        f.write(b"end")
    os.utime(os.path.join(source, "huge"), (1700000000, 1700000000))
    subprocess.run(["tar", "--sparse", "--format=gnu", "--owner=root:0", "--group=root:0", "--mode=644", "-cf", path, "-C", source, "huge"], check=True)
    words = random.Random(5)
    text = b"".join(words.choice([b"flash", b"power", b"page", b"cache", b" ", b"\n"]) for _ in range(400_000))
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as tar:
        def add(name, data=b"", **about):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o644, 1700000000
            for key, value in about.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
        add("dates", type=tarfile.DIRTYPE, mode=0o755, mtime=4000000000)
        for date in DATES:
            add("dates/%d" % date, b"%d" % date, mtime=date)
        add("dates/half", b"half", mtime=4102444800, pax_headers={"mtime": "4102444800.5"})
        add("text", text)
        add("noise", words.randbytes(300_001), mode=0o4755)
        add("many", type=tarfile.DIRTYPE, mode=0o1777)
        for n in range(500):
            add("many/%d" % n, words.randbytes(n * 7))
        add("owner", b"x", uid=3_000_000_000, gid=2**32 - 2)
        add("link", type=tarfile.SYMTYPE, linkname="text", mode=0o777, mtime=4000000001)
        add("hard", type=tarfile.LNKTYPE, linkname="noise")
        add("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        add("far", type=tarfile.BLKTYPE, devmajor=511, devminor=70000, mode=0o600)
        add("pipe", type=tarfile.FIFOTYPE)
    shutil.rmtree(source)
    return path


def listing(root):
    """One line a name: all that a container sees of it."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            s = os.lstat(path)
            content = ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as f:
                    f.seek(max(0, s.st_size - (1 << 20)))
                    content = hashlib.sha256(f.read()).hexdigest()
            kind = (oct(s.st_mode), s.st_uid, s.st_gid, os.major(s.st_rdev), os.minor(s.st_rdev), s.st_nlink)
            size = s.st_size if not os.path.isdir(path) else 0
            yield " ".join(map(str, (os.path.relpath(path, root), *kind, size, s.st_mtime_ns, content)))


def expect(tar, lines):
    """What is wrong with a listing, held against the tar itself; the listing knows less of holes and more of links."""
    found = {line.split(" ", 1)[0]: line.split(" ") for line in lines}
    for info in tarfile.open(tar):
        line = found.get(info.name)
        if line is None:
            return "%s is missing" % info.name
        want = float(info.pax_headers.get("mtime", info.mtime))
        if float(line[8]) != want * 1e9 and not info.islnk():
            return "%s is of %s, not of %s" % (info.name, line[8], want)
        if (int(line[2]), int(line[3])) != (info.uid, info.gid) and not info.islnk():
            return "%s has owner %s:%s" % (info.name, line[2], line[3])
        if info.isdev() and not info.isfifo() and (int(line[4]), int(line[5])) != (info.devmajor, info.devminor):
            return "%s is device %s:%s" % (info.name, line[4], line[5])
        if info.isreg() and (int(line[7]) != info.size or info.name != "huge" and line[9] != sha(tar_bytes(tar, info))):
            return "%s has other bytes" % info.name
    return None


def tar_bytes(tar, info):
    data = tarfile.open(tar).extractfile(info).read()
    return data[max(0, len(data) - (1 << 20)):]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def archive(folder, tar):
    """A docker-archive of one image of the layer; its config and its path."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(open(tar, "rb").read())]}}).encode()
    path = os.path.join(folder, "image.tar")
    with tarfile.open(path, "w") as out:
        manifest = [{"Config": "config.json", "RepoTags": ["layer:1"], "Layers": ["layer.tar"]}]
        for name, data in (("manifest.json", json.dumps(manifest).encode()), ("config.json", config)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        out.add(tar, "layer.tar")
    return config, path


def main():
    binary, folder, *under = sys.argv[1:]
    failed = False

    def line(name, wrong):
        nonlocal failed
        failed |= bool(wrong)
        print(("FAIL %s: %s" % (name, wrong)) if wrong else "ok   " + name, flush=True)

    def job(root, message, fds=()):
        w = worker.Worker(os.path.abspath(binary), root, message, fds, under=under)
        last = w.run()
        damage = [r["Verified"]["damage"] for r in w.reports if isinstance(r, dict) and r.get("Verified", {}).get("damage")]
        return damage or (None if last == "Done" else last or "exit %s" % w.process.returncode)

    os.makedirs(folder, exist_ok=True)
    tar = make(folder)
    diff_id = sha(open(tar, "rb").read())
    config, image = archive(folder, tar)
    results = set()

    def look(how, root):
        layer = os.path.join(root, "layers/sha256", diff_id)
        lines = list(listing(os.path.join(layer, "fs")))
        line(how + ": names, dates beyond 2038, owners, devices and contents are the tar's", expect(tar, lines))
        line(how + ": the tar is rebuilt bit for bit", job(root, {"Verify": {"images": []}}))
        results.add(sha("\n".join(lines).encode() + open(os.path.join(layer, "skeleton"), "rb").read()))

    root = os.path.join(folder, "loaded")
    wrong = job(root, {"Load": {"prefix": [], "length": None, "chunked": False}}, (os.open(image, os.O_RDONLY),))
    line("load", wrong)
    if not wrong:
        look("load", root)
    with Hub(folder, config, open(tar, "rb").read()) as hub:
        root = os.path.join(folder, "pulled")
        wrong = job(root, worker.pull_job(hub.reference, "linux/amd64", certs_dir=hub.certs))
        line("pull by TLS, with the certificate checked", wrong)
    if not wrong:
        look("pull", root)
    if len(results) == 1:
        print("result", results.pop())
    sys.exit(failed)


if __name__ == "__main__":
    main()

"""The images of these tests, made from a seed: the same bytes in every process that needs them.

They hold what a crash could damage in its own way: many small files, large ones, hard links, extended attributes, whiteouts,
an opaque folder, symbolic links, a device, odd modes and owners.
"""
import gzip, hashlib, io, json, random, tarfile

EPOCH = 1735689600
CAPABILITY = "\x01\x00\x00\x02\x00\x04" + "\x00" * 14  # net_bind_service, as security.capability holds it


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layer:
    """A tar being written."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, data=b"", kind=tarfile.REGTYPE, link="", mode=0o644, xattrs=None):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode, info.mtime = kind, link, mode, EPOCH + len(name)
        info.uid, info.gid = (1000, 1000) if name.startswith("home") else (0, 0)
        info.size = len(data)
        if kind == tarfile.CHRTYPE:
            info.devmajor, info.devminor = 1, 3
        info.pax_headers = {"SCHILY.xattr." + k: v for k, v in (xattrs or {}).items()}
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def folder(self, name, mode=0o755):
        return self.add(name, kind=tarfile.DIRTYPE, mode=mode)

    def many(self, root, folders, files, most=3000):
        """Small files, every 10th with an attribute, every 12th a hard link to one of the same folder."""
        self.folder(root)
        for d in range(folders):
            self.folder(f"{root}/d{d}", 0o755 if d % 3 else 0o2775)
            for f in range(files // folders):
                name = f"{root}/d{d}/f{f}"
                if f % 12 == 11:
                    self.add(name, kind=tarfile.LNKTYPE, link=f"{root}/d{d}/f{f - 1}")
                else:
                    data = self.random.randbytes(self.random.randrange(most))
                    self.add(name, data, mode=0o600 if f % 5 else 0o755, xattrs={"user.note": f"of {name}"} if f % 10 == 0 else None)
        return self

    def done(self):
        self.tar.close()
        return self.raw.getvalue()


def layers():
    base = Layer(1).many("usr", 24, 1100).folder("bin").folder("etc")
    base.add("bin/app", base.random.randbytes(400_000), mode=0o4755, xattrs={"security.capability": CAPABILITY})
    base.add("bin/link", kind=tarfile.SYMTYPE, link="app").add("etc/motd", b"base\n").add("etc/null", kind=tarfile.CHRTYPE)
    python = Layer(2).many("lib", 16, 800).many("home", 4, 100)
    change = Layer(3).folder("usr").folder("usr/d1").add("usr/.wh.d0").add("usr/d1/.wh..wh..opq").add("usr/d1/new", b"instead\n")
    change.folder("etc").add("etc/.wh.motd").many("srv", 4, 120)
    top = Layer(4).folder("opt").add("opt/blob", Layer(5).random.randbytes(2_500_000)).many("opt/data", 3, 60)
    new = Layer(6).many("srv", 6, 240).add("srv/large", Layer(7).random.randbytes(9_500_000)).add("srv/again", b"x" * 70_000)
    last = Layer(8).folder("etc").add("etc/motd", b"next\n").add("etc/.wh.null").many("var", 3, 90)
    return {name: l.done() for name, l in dict(base=base, python=python, change=change, top=top, new=new, last=last, tiny=tiny()).items()}


def tiny():
    return Layer(9).many("bin", 1, 12)


class Image:
    """An image as a registry has it: blobs by digest, a manifest."""

    def __init__(self, name, raw, command, level=1):
        self.name, self.raw = name, raw
        self.diff_ids = [digest(r) for r in raw]
        self.config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": command, "Labels": {"of": name}},
                                  "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}).encode()
        self.id = digest(self.config)
        zipped = [gzip.compress(r, level, mtime=0) for r in raw]
        self.blobs = {digest(b): b for b in zipped + [self.config]}
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": self.id, "size": len(self.config)},
            "layers": [{"mediaType": kind, "digest": digest(b), "size": len(b)} for b in zipped]}).encode()

    def archive(self, tag):
        """The image as `docker save` writes it."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            files = {f"{i}/layer.tar": raw for i, raw in enumerate(self.raw)}
            names = list(files)
            files["config.json"] = self.config
            files["manifest.json"] = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode()
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()


def images():
    """big: 4 layers and more than 2,000 files. next: shares the lowest with it, and its middle one is large enough to be gone on
    with (a checkpoint comes after 8 MiB). load: arrives by an archive. tiny: the further pull."""
    l = layers()
    return {i.name: i for i in (
        Image("big", [l["base"], l["python"], l["change"], l["top"]], ["/bin/app"]),
        Image("next", [l["base"], l["new"], l["last"]], ["/bin/app", "next"]),
        Image("load", [l["last"], l["tiny"]], ["/bin/load"]),
        Image("tiny", [l["tiny"]], ["/bin/tiny"]))}


def pair():
    """Images of a scenario of its own: old, and new, which a delta makes of it. Of its two layers the lower one has every way in which a file can follow from another:
    the same file, the same content at another time, changed content, a hard link, a new name. A checkpoint (after 16 MiB) falls into
    a file that is copied in the lower layer, and into one that is linked in the upper one."""
    noise = Layer(20).random.randbytes(9_000_000)
    big = Layer(21).random.randbytes(17_400_000)

    def lower(later):
        l = Layer(22).many("usr", 4, 120).folder("opt").add("opt/same", noise)
        for n in range(80):
            l.add(f"opt/{'later' if later and n % 4 == 0 else 'f'}{n}", b"release 2\n" * (later and n % 3 == 0) + noise[n * 5000:][:4000 + n])
        l.add("opt/link", kind=tarfile.LNKTYPE, link="opt/same")
        changed = bytes(b ^ 1 for b in noise[:64]) + noise[64:8_500_000] if later else noise[:8_500_000]
        return l.add("opt/changed", changed).many("etc", 2, 40).done()

    def upper(later):
        l = Layer(23).folder("data").add("data/note", b"release 2\n" if later else b"release 1\n")
        return l.add("data/same", big).add("data/end", b"end\n" * (2 if later else 1)).done()

    # Not compressed: it is noise, and many processes make it.
    return {i.name: i for i in (
        Image("old", [lower(False), upper(False)], ["/old"], 0), Image("new", [lower(True), upper(True)], ["/new"], 0),
        Image("tiny", [tiny().done()], ["/bin/tiny"]))}

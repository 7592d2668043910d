"""An update as devices get it: two versions of some of Debian's packages, of a board's architecture, beside a libc that stays as it is. So the addresses
that a delta predicts are those of that machine's real code, and what comes out can be run. Fetched once; what is kept is the two layers."""
import glob, hashlib, io, os, re, shutil, subprocess, tarfile
from dataclasses import dataclass
from lib import kernels


@dataclass(frozen=True)
class Parts:
    old: str        # the suites of Debian's that the older and the newer packages are from
    new: str
    changed: tuple  # the packages
    same: tuple     # what these need, from the newer suite in both
    tried_by: str   # a command, and the beginning of what it prints
    says: str


OPENSSL = Parts("bookworm-updates", "bookworm", ("openssl", "libssl3"), ("libc6", "libatomic1"), "openssl version", "OpenSSL 3.0.")
# riscv64 is in no older release. From one to the next all is made by another compiler, too, so little is as it was.
PROGRAMS = Parts("trixie", "forky", ("bash", "tar", "grep", "libgmp10", "libexpat1"), ("libc6", "libtinfo6"), "bash --version", "GNU bash, version")
LEFT_OUT = re.compile(r"\./usr/(share|lib/[^/]+/gconv)(/|$)")  # as slim images do; character sets are half of libc6
FOLDERS = ("usr", "usr/bin", "usr/lib", "usr/lib64")
LINKS = (("lib", "usr/lib"), ("lib64", "usr/lib64"))


class Missing(Exception):
    """A package is in a suite no more."""


def of(arch):
    return PROGRAMS if arch.debian == "riscv64" else OPENSSL


def layers(arch):
    """The tars of the old and the new layer; fetches the packages unless they are there."""
    parts = of(arch)
    mark = hashlib.sha256(repr((parts, LEFT_OUT, FOLDERS, LINKS)).encode()).hexdigest()[:8]
    folder = f"{kernels.CACHE}/updates/{arch.debian}-{mark}"
    if not os.path.isdir(folder):
        for old in glob.glob(f"{kernels.CACHE}/updates/{arch.debian}-*"):
            shutil.rmtree(old)
        new = folder + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(new)
        fetch(arch.debian, parts, new)
        os.rename(new, folder)
    result = []
    for which in ("old", "new"):
        with open(f"{folder}/{which}.tar", "rb") as f:
            result.append(f.read())
    return result


def fetch(machine, parts, folder):
    environment = {**os.environ, "APT_CONFIG": kernels.apt((parts.old, parts.new), (machine,))}

    def packages(suite, names):
        """The tar in each."""
        for name in names:
            done = subprocess.run(["apt-get", "download", f"{name}:{machine}/{suite}"], cwd=folder, env=environment, capture_output=True, text=True)
            found = glob.glob(folder + "/*.deb")
            if not found:
                raise Missing(f"{name} of {suite} for {machine}: {done.stderr.strip()}")
            yield subprocess.run(["dpkg-deb", "--fsys-tarfile", found[0]], stdout=subprocess.PIPE, check=True).stdout
            os.remove(found[0])

    same = list(packages(parts.new, parts.same))
    for which, suite in (("old", parts.old), ("new", parts.new)):
        with open(f"{folder}/{which}.tar", "wb") as f:
            f.write(merge([*same, *packages(suite, parts.changed)]))


def merge(packages):
    """One layer of the packages' files, with /lib and /lib64 in /usr."""
    raw, seen = io.BytesIO(), set()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as out:

        def add(info, content=None):
            if info.name not in seen:
                seen.add(info.name)
                out.addfile(info, content)

        for name, to in [*((f, None) for f in FOLDERS), *LINKS]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime = tarfile.SYMTYPE if to else tarfile.DIRTYPE, to or "", 0o755, 1735689600
            add(info)
        for package in packages:
            with tarfile.open(fileobj=io.BytesIO(package)) as tar:
                for info in tar:
                    if info.name != "." and not LEFT_OUT.match(info.name):
                        content = tar.extractfile(info) if info.isreg() else None
                        info.name = re.sub(r"^\./(lib(64)?(/|$))", r"./usr/\1", info.name).removeprefix("./")
                        add(info, content)
    return raw.getvalue()


def shares(old, new):
    """Bytes of the new layer's files: of those that are just so in the old one, and of the others."""

    def files(data):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return [(i.mode, i.uid, i.gid, i.mtime, i.size, hashlib.sha256(tar.extractfile(i).read()).digest()) for i in tar if i.isreg()]

    known, all_of = set(files(old)), files(new)
    same = sum(f[4] for f in all_of if f in known)
    return same, sum(f[4] for f in all_of) - same

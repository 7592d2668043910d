#!/usr/bin/env python3
"""debian_pair.py FOLDER PACKAGE... - a pair of layers for delta.py and deltapull.py: FOLDER/old.tar and new.tar have the files of Debian's
packages in the second newest and in the newest version that apt knows (`apt-cache madison`), or of the only one. OLD=NEW names two packages.

The tars follow from the packages alone. As when an image is built, files get the time at which they are unpacked, 250 a second.

  web         php8.2-cli php8.2-common php8.2-opcache nginx imagemagick-6.q16 libmagickcore-6.q16-6 mariadb-server-core libmariadb3
  postgresql  postgresql-15 libpq5 postgresql-client-15
  openjdk     openjdk-17-jre-headless
  kernel      linux-image-6.1.0-55-amd64=linux-image-6.1.0-56-amd64
  webkit      libwebkit2gtk-4.1-0 libjavascriptcoregtk-4.1-0
"""
import io, os, subprocess, sys, tarfile, tempfile
from pathlib import PurePosixPath

STARTS = {"old": 1714000000, "new": 1716500000}
A_SECOND = 250


def package(name, is_new):
    """The tar in it."""
    listed = subprocess.run(["apt-cache", "madison", name], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    versions = list(dict.fromkeys(line.split("|")[1].strip() for line in listed if line.endswith("Packages")))
    if not versions:
        sys.exit(f"{name}: apt knows no such package")
    version = versions[0] if is_new else versions[:2][-1]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-q", f"{name}={version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        [file] = os.listdir(folder)
        return subprocess.run(["dpkg-deb", "--fsys-tarfile", f"{folder}/{file}"], check=True, stdout=subprocess.PIPE).stdout


def layer(packages, start, out):
    """One tar of the packages' files and links, in order of their names, with the folders above them."""
    entries, folders, count = {}, {}, 0
    for data in packages:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for found in tar:
                if not (found.isreg() or found.issym()):
                    continue
                count += 1
                info = tarfile.TarInfo(found.name.removeprefix("./"))
                info.mtime = start + count // A_SECOND
                if found.issym():
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, found.linkname, 0o644
                else:
                    info.mode, info.size = found.mode, found.size
                entries[info.name] = info, tar.extractfile(found).read() if found.isreg() else b""
    for info, _ in entries.values():
        for parent in map(str, list(PurePosixPath(info.name).parents)[:-1]):
            folders[parent] = max(info.mtime, folders.get(parent, 0))
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted({*folders, *entries}):
            if name in folders:
                info, content = tarfile.TarInfo(name), b""
                info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, folders[name]
            else:
                info, content = entries[name]
            tar.addfile(info, io.BytesIO(content))


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, *names = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for which, start in STARTS.items():
        is_new = which == "new"
        wanted = [name.split("=")[-1 if is_new else 0] for name in names]
        layer((package(name, is_new) for name in wanted), start, f"{folder}/{which}.tar")


main()

#!/usr/bin/env python3
"""package_pair.py FOLDER PACKAGE... - a pair of layers for delta.py and deltapull.py: FOLDER/old.tar and new.tar have the files of packages.

  NAME                      Debian's, the second newest and the newest version that apt knows (`apt-cache madison`), or the only one
  OLD=NEW                   Debian's, two names
  npm:NAME@OLD=NEW          npm's, two versions
  pypi:NAME@OLD=NEW@MACHINE a wheel of PyPI's, two versions

The tars follow from the packages alone. As when an image is built, files get the time at which they are unpacked, 250 a second.

  web         php8.2-cli php8.2-common php8.2-opcache nginx imagemagick-6.q16 libmagickcore-6.q16-6 mariadb-server-core libmariadb3
  postgresql  postgresql-15 libpq5 postgresql-client-15
  openjdk     openjdk-17-jre-headless
  kernel      linux-image-6.1.0-55-amd64=linux-image-6.1.0-56-amd64
  webkit      libwebkit2gtk-4.1-0 libjavascriptcoregtk-4.1-0
  lefthook    npm:lefthook-linux-arm64@2.2.1=2.2.2
  ruff        pypi:ruff@0.17.5=0.17.6@aarch64
"""
import gzip, io, os, subprocess, sys, tarfile, tempfile, zipfile
from pathlib import PurePosixPath

# What of a wheel's platform is before the machine, PyPI's names of it.
PLATFORMS = ["manylinux_2_39", "manylinux_2_31", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"]
STARTS = {"old": 1714000000, "new": 1716500000}
A_SECOND = 250


def fetched(*command):
    """The only file that a command leaves in its folder."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [file] = os.listdir(folder)
        with open(f"{folder}/{file}", "rb") as f:
            return f.read()


def debian(name, is_new):
    name = name.split("=")[-1 if is_new else 0]
    listed = subprocess.run(["apt-cache", "madison", name], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    versions = list(dict.fromkeys(line.split("|")[1].strip() for line in listed if line.endswith("Packages")))
    if not versions:
        sys.exit(f"{name}: apt knows no such package")
    file = fetched("apt-get", "download", "-q", f"{name}={versions[0] if is_new else versions[:2][-1]}")
    return subprocess.run(["dpkg-deb", "--fsys-tarfile", "-"], input=file, check=True, stdout=subprocess.PIPE).stdout


def npm(spec, is_new):
    name, _, versions = spec.rpartition("@")
    return gzip.decompress(fetched("npm", "pack", "--silent", f"{name}@{versions.split('=')[is_new]}"))


def pypi(spec, is_new):
    name, versions, machine = spec.split("@")
    platforms = [word for platform in PLATFORMS for word in ("--platform", f"{platform}_{machine}")]
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", "312", "-d", "."]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(fetched(*pip, *platforms, f"{name}=={versions.split('=')[is_new]}"))) as wheel, tarfile.open(fileobj=out, mode="w") as tar:
        for item in wheel.infolist():
            if not item.is_dir():
                info = tarfile.TarInfo(f"usr/lib/python3/dist-packages/{item.filename}")
                info.size, info.mode = item.file_size, 0o755 if item.external_attr >> 16 & 0o111 else 0o644
                tar.addfile(info, wheel.open(item))
    return out.getvalue()


def package(name, is_new):
    """The tar in it."""
    source, _, spec = name.partition(":")
    known = {"npm": npm, "pypi": pypi}
    return known[source](spec, is_new) if source in known else debian(name, is_new)


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
        layer((package(name, which == "new") for name in names), start, f"{folder}/{which}.tar")


main()

#!/usr/bin/env python3
"""onelayer.py - pushes an image of busybox and one further layer, for tests of what is shared between images.

  onelayer.py http://HOST:PORT ARCHIVE NAME:TAG FILE:SEED[+CHANGE]:SIZE:TIME...

ARCHIVE is busybox as a docker-archive. The layer has the files, of so many random bytes made from SEED (with CHANGE, one byte of each 64 KiB
is another) and of that time. Prints the layer's diff ID.
"""
import io, json, random, sys, tarfile
from push import Registry, digest


def content(seed, size):
    seed, _, change = seed.partition("+")
    data = bytearray(random.Random(seed).randbytes(size))
    for at in range(0, size if change else 0, 1 << 16):
        data[at] = (data[at] + int(change)) % 256
    return bytes(data)


def main():
    url, archive, name, *files = sys.argv[1:]
    name, tag = name.rsplit(":", 1)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, seed, size, time in (f.split(":") for f in files):
            info = tarfile.TarInfo(path)
            info.size, info.mtime = int(size), int(time)
            tar.addfile(info, io.BytesIO(content(seed, int(size))))
    with tarfile.open(archive) as tar:
        read = lambda n: tar.extractfile(n).read()
        image = json.loads(read("manifest.json"))[0]
        config, layers = json.loads(read(image["Config"])), [read(x) for x in image["Layers"]] + [out.getvalue()]
    config["rootfs"]["diff_ids"] = [digest(x) for x in layers]
    Registry(url).push(name, tag, layers, json.dumps(config).encode(), how="plain")
    print(digest(layers[-1]))


main()

#!/usr/bin/env python3
"""layered.py - pushes an image of busybox and further layers of random bytes to a registry, for tests.

  layered.py http://HOST:PORT ARCHIVE NAME:TAG SEED:SIZE...

ARCHIVE is busybox as a docker-archive. Each SEED:SIZE is a layer with the file /SEED of so many bytes; the same seed and size give the
same layer in every image.
"""
import io, json, random, sys, tarfile
from push import Registry, digest


def layer(seed, size):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(seed)
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(seed).randbytes(size)))
    return out.getvalue()


def main():
    url, archive, name, *wanted = sys.argv[1:]
    name, tag = name.rsplit(":", 1)
    tar = tarfile.open(archive)
    read = lambda n: tar.extractfile(n).read()
    image = json.loads(read("manifest.json"))[0]
    config = json.loads(read(image["Config"]))
    layers = [read(x) for x in image["Layers"]] + [layer(s, int(n)) for s, n in (w.split(":") for w in wanted)]
    config["rootfs"]["diff_ids"] = [digest(x) for x in layers]
    config["config"]["Labels"] = {"name": name}
    Registry(url).push(name, tag, layers, json.dumps(config).encode(), how="plain")
    print(*config["rootfs"]["diff_ids"])


if __name__ == "__main__":
    main()

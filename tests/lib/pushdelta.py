#!/usr/bin/env python3
"""pushdelta.py - pushes a delta image from a data root to a registry, for tests of engines that only have the base.

  pushdelta.py http://HOST:PORT DATA-ROOT IMAGE-ID NAME:TAG

Prints the sizes of the layers' blobs (gzip -6).
"""
import os, sys
import json
from push import Registry, compress, digest

EMPTY = bytes(1024)


def header(size):
    out = bytearray(512)
    fields = ((0, b"delta"), (100, b"0000600\0"), (108, b"0000000\0"), (116, b"0000000\0"), (124, b"%011o\0" % size), (136, b"00000000000\0"),
              (148, b" " * 8), (156, b"0"), (257, b"ustar\00000"))
    for at, text in fields:
        out[at:at + len(text)] = text
    out[148:156] = b"%07o\0" % sum(out)
    return bytes(out)


def layer(root, diff_id):
    if diff_id == digest(EMPTY):
        return EMPTY
    with open(os.path.join(root, "layers/sha256", diff_id[7:], "fs/delta"), "rb") as f:
        delta = f.read()
    tar = header(len(delta)) + delta + bytes(-len(delta) % 512 + 1024)
    if digest(tar) != diff_id:
        sys.exit(f"{diff_id} is not what it is called")
    return tar


def main():
    url, root, image, name = sys.argv[1:]
    with open(os.path.join(root, "images/sha256", image.split(":")[-1], "config.json"), "rb") as f:
        config = f.read()
    layers = [layer(root, d) for d in json.loads(config)["rootfs"]["diff_ids"]]
    blobs = [compress(x, "gzip") for x in layers]
    name, tag = name.rsplit(":", 1)
    Registry(url).push(name, tag, layers, config, blobs=blobs)
    print(*(len(b) for b in blobs))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""deltapull.py - what a pull by a delta costs, beside a full pull of the same image: CPU, peak memory, page cache left, bytes written.

  deltapull.py BINARY PAIR... [--runs N] [--fs ext4|btrfs|xfs] [--level N] [--work DIR]

PAIR is a folder with old.tar and new.tar, which become images of one layer at docker-registry on loopback. Both pulls go into a file
system of their own on a loop device; the delta's has the old image. Of several runs each figure's least is taken. Exits with 1 if a
bound of the specification is broken. Needs root and docker-registry.
"""
import argparse, glob, gzip, hashlib, json, os, shutil, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "lib"))
import push
from pull import cached, sh
from worker import Worker, pull_job

PORT = 5994


class Disk:
    """A file system on a loop device."""
    def __init__(self, work, mb, fs):
        self.image, self.mount = f"{work}/disk.img", f"{work}/mnt"
        with open(self.image, "wb") as f:
            f.truncate(max(mb, 400) << 20)
        sh(f"mkfs.{fs}", "-q", *(("-E", "lazy_itable_init=0,lazy_journal_init=0") if fs == "ext4" else ()), self.image)
        os.makedirs(self.mount, exist_ok=True)
        self.device = sh("losetup", "--direct-io=on", "-f", "--show", self.image).strip()
        sh("mount", self.device, self.mount)

    def written(self):
        """Bytes so far."""
        with open(f"/sys/block/{os.path.basename(self.device)}/stat") as f:
            return int(f.read().split()[6]) * 512

    def close(self):
        sh("umount", self.mount)
        sh("losetup", "-d", self.device)
        os.remove(self.image)


def pull(binary, disk, root, name, delta, counts=True):
    """Figures of one pull."""
    sh("sync", "-f", disk.mount)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
    before, started = disk.written(), time.time()
    worker = Worker(binary, root, pull_job(f"127.0.0.1:{PORT}/{name}", delta=delta))
    last = worker.run()
    wall = time.time() - started
    if last != "Done":
        sys.exit(f"pull of {name} failed: {last}")
    sh("sync", "-f", disk.mount)
    # Looking at files and folders changes when they were read; those of the old image are not looked at.
    written, left = disk.written() - before, cached(root) if counts else 0
    u = worker.usage
    return {"cpu": u.ru_utime + u.ru_stime, "user": u.ru_utime, "sys": u.ru_stime, "wall": wall, "rss": worker.rss, "left": left, "disk": written}


def publish(work, pair):
    """Pushes both images; the delta's size and the layers', by what `delta create` says of itself."""
    registry = push.Registry(f"http://127.0.0.1:{PORT}")
    name, sizes = os.path.basename(os.path.abspath(pair)), []
    for tag in ("old", "new"):
        with open(f"{pair}/{tag}.tar", "rb") as f:
            tar = f.read()
        blob = gzip.compress(tar, 6, mtime=0)
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]}}
        registry.push(name, tag, [], json.dumps(config).encode(), blobs=[blob])
        sizes.append(len(blob))
    return name, sizes[1]


def shares(root):
    """Bytes of the newest layer's files by where they are: those that another layer has too, the rest, and the blocks of the rest."""
    newest = max(glob.glob(f"{root}/layers/sha256/*"), key=os.path.getmtime)
    linked = other = blocks = 0
    for folder, _, names in os.walk(newest + "/fs"):
        for s in (os.lstat(os.path.join(folder, n)) for n in names):
            own = s.st_nlink == 1
            linked, other, blocks = linked + s.st_size * (not own), other + s.st_size * own, blocks + s.st_blocks * 512 * own
    return linked, other, blocks


def least(rows):
    return {key: min(row[key] for row in rows) for key in rows[0]}


def measure(a, pair):
    name, plain = publish(a.work, pair)
    mb = (os.path.getsize(pair + "/old.tar") + os.path.getsize(pair + "/new.tar")) * 2 >> 20
    sh(a.binary, "delta", "create", "-q", "--push", "--level", str(a.level), f"127.0.0.1:{PORT}/{name}:old", f"127.0.0.1:{PORT}/{name}:new",
       env={**os.environ, "TMPDIR": a.work}, stderr=subprocess.DEVNULL)
    full, delta = [], []
    for _ in range(a.runs):
        for rows, before in ((full, ()), (delta, ("old",))):
            disk = Disk(a.work, mb + 300, a.fs)
            try:
                for tag in before:
                    pull(a.binary, disk, disk.mount + "/root", f"{name}:{tag}", "never", counts=False)
                rows.append(pull(a.binary, disk, disk.mount + "/root", f"{name}:new", "require" if before else "never"))
                if before:
                    linked, other, blocks = shares(disk.mount + "/root")
            finally:
                disk.close()
    full, delta = least(full), least(delta)
    row = {"pair": name, "layer MB": round(plain / 1e6, 2), "cpu full": round(full["cpu"], 3), "cpu delta": round(delta["cpu"], 3), "user": round(delta["user"], 3),
           "sys": round(delta["sys"], 3), "cpu ratio": round(delta["cpu"] / full["cpu"], 2), "wall full": round(full["wall"], 2), "wall delta": round(delta["wall"], 2),
           "rss KiB": delta["rss"], "rss full KiB": full["rss"], "cache left MB": round(delta["left"] / 1e6, 1), "linked MB": round(linked / 1e6, 1),
           "other MB": round(other / 1e6, 1), "disk MB": round(delta["disk"] / 1e6, 1), "disk/other": round(delta["disk"] / max(other, 1), 3), "disk/blocks": round(delta["disk"] / max(blocks, 1), 3),
           "disk full MB": round(full["disk"] / 1e6, 1)}
    print(json.dumps(row), flush=True)
    return [what for what, bad in (("CPU", delta["cpu"] > full["cpu"]), ("RSS", delta["rss"] > 8192), ("cache", delta["left"] > 16e6)) if bad]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("pairs", nargs="+")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--fs", default="ext4", choices=("ext4", "btrfs", "xfs"))
    ap.add_argument("--level", type=int, default=6)
    ap.add_argument("--work", default="/tmp/prtiql-bench")
    a = ap.parse_args()
    a.binary = os.path.abspath(a.binary)
    os.makedirs(a.work, exist_ok=True)
    # A delta that another build has left there might be smaller, and be taken.
    shutil.rmtree(f"{a.work}/registry", ignore_errors=True)
    with open(f"{a.work}/registry.yml", "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {a.work}/registry}}}}\nhttp: {{addr: '127.0.0.1:{PORT}'}}\n")
    registry = subprocess.Popen(["docker-registry", "serve", f"{a.work}/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    broken = {}
    try:
        time.sleep(1)
        for pair in a.pairs:
            bad = measure(a, pair.rstrip("/"))
            if bad:
                broken[pair] = bad
    finally:
        registry.kill()
        registry.wait()
    if broken:
        sys.exit(f"beyond the bounds: {broken}")


if __name__ == "__main__":
    main()

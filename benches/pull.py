#!/usr/bin/env python3
"""pull.py - what a pull costs: CPU against `gunzip | tar x`, peak memory, page cache left behind, bytes and requests written.

  pull.py BINARY [--mb N] [--layer TAR] [--runs N] [--work DIR] [--docker]

Makes a layer of about N MB gzip (default 200) from this machine's /usr, serves it by docker-registry on loopback, pulls it into
an ext4 file system on a loop device, and does the same by `gunzip | tar x` for comparison; with --docker also by dockerd (Debian's
docker.io), into the same file system. Needs root and docker-registry.
"""
import argparse, glob, hashlib, json, os, re, resource, shutil, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "lib"))
import push
from worker import Worker, pull_job


def sh(*cmd, **kw):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, **kw).stdout.decode()


def make_layer(work, mb):
    """A tar whose gzip has about `mb` MB; sorted, so that it is the same on the same machine."""
    path = f"{work}/layer-{mb}.tar"
    if not os.path.exists(path + ".gz"):
        files, total = [], 0
        for folder, dirs, names in os.walk("/usr"):
            dirs.sort()
            for name in sorted(names):
                p = os.path.join(folder, name)
                if os.path.isfile(p) and not os.path.islink(p):
                    files.append(p)
                    total += os.path.getsize(p)
            if total > mb * 2.9e6:
                break
        with open(f"{work}/list", "w") as f:
            f.write("\n".join(files))
        sh("tar", "--numeric-owner", "--format=posix", "--pax-option=delete=atime,delete=ctime", "-cf", path, "-T", f"{work}/list", stderr=subprocess.DEVNULL)
        sh("gzip", "-6", "-k", "-n", path)
    return path


class Ext4:
    """An ext4 file system on a loop device."""
    def __init__(self, work, mb):
        self.image, self.mount = f"{work}/disk.img", f"{work}/mnt"
        with open(self.image, "wb") as f:
            f.truncate(mb << 20)
        sh("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        os.makedirs(self.mount, exist_ok=True)
        self.device = sh("losetup", "--direct-io=on", "-f", "--show", self.image).strip()
        sh("mount", self.device, self.mount)

    def stat(self):
        """Write requests and bytes so far."""
        n = open(f"/sys/block/{os.path.basename(self.device)}/stat").read().split()
        return int(n[4]), int(n[6]) * 512

    def close(self):
        sh("umount", self.mount)
        sh("losetup", "-d", self.device)
        os.remove(self.image)


def cached(folder):
    """Bytes of the files below that are in the page cache."""
    out = subprocess.run(f"find {folder} -type f -print0 | xargs -0 fincore -b -n -o RES | awk '{{s+=$1}} END {{print s+0}}'", shell=True, capture_output=True)
    return int(out.stdout)


def processes(pid):
    """The process and all below it."""
    found = [pid]
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            for child in open(task).read().split():
                found += processes(int(child))
        except OSError:
            pass
    return found


def cpu_of(pid):
    """Seconds of CPU of a process, of those below it, and of those that they have waited for."""
    ticks = 0
    for p in processes(pid):
        try:
            ticks += sum(int(n) for n in open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[11:15])
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


def docker_pull(work, disk, reference):
    """What the same pull costs dockerd."""
    run = f"{work}/docker-run"
    shutil.rmtree(run, ignore_errors=True)
    os.makedirs(run)
    daemon = subprocess.Popen(["dockerd", "--data-root", f"{disk.mount}/docker", "--exec-root", run, "--pidfile", f"{run}/pid", "-H", f"unix://{run}/sock",
                               "--bridge=none", "--iptables=false", "--storage-driver=overlay2", "--insecure-registry", reference.split("/")[0]],
                              stdout=subprocess.DEVNULL, stderr=open(f"{run}/log", "w"))
    try:
        for _ in range(300):
            if os.path.exists(f"{run}/sock") and subprocess.run(["docker", "-H", f"unix://{run}/sock", "version"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        sh("sync", "-f", disk.mount)
        before, cpu, start = disk.stat(), cpu_of(daemon.pid), time.time()
        sh("docker", "-H", f"unix://{run}/sock", "pull", "-q", reference)
        wall, cpu = time.time() - start, cpu_of(daemon.pid) - cpu
        peak = max(int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{p}/status").read()).group(1)) for p in processes(daemon.pid))
        sh("sync", "-f", disk.mount)
        return wall, cpu, peak, [a - b for a, b in zip(disk.stat(), before)], cached(f"{disk.mount}/docker")
    finally:
        daemon.terminate()
        daemon.wait()


def children():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--mb", type=int, default=200)
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--layer", help="use this tar instead")
    ap.add_argument("--docker", action="store_true", help="compare with dockerd")
    ap.add_argument("--work", default="/tmp/prtiql-bench")
    a = ap.parse_args()
    os.makedirs(a.work, exist_ok=True)
    tar = a.layer or make_layer(a.work, a.mb)
    if not os.path.exists(tar + ".gz"):
        sh("gzip", "-6", "-k", "-n", tar)
    gz, tar_bytes = os.path.getsize(tar + ".gz"), os.path.getsize(tar)
    port = 5993
    with open(f"{a.work}/registry.yml", "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {a.work}/registry}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    registry = subprocess.Popen(["docker-registry", "serve", f"{a.work}/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = []
    try:
        time.sleep(1)
        blob = open(tar + ".gz", "rb").read()
        diff = "sha256:" + hashlib.sha256(open(tar, "rb").read()).hexdigest()
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
        push.Registry(f"http://127.0.0.1:{port}").push("bench", "1", [], json.dumps(config).encode(), blobs=[blob])
        for _ in range(a.runs):
            disk = Ext4(a.work, tar_bytes * 2 // 1000000 + 512)
            try:
                sh("sync")
                os.makedirs(f"{disk.mount}/x")
                before, start, cpu = disk.stat(), time.time(), children()
                subprocess.run(f"gunzip -c {tar}.gz | tar -C {disk.mount}/x -xf -", shell=True, check=True, stderr=subprocess.DEVNULL)
                peer_cpu = children() - cpu
                sh("sync", "-f", disk.mount)
                peer_wall = time.time() - start
                peer_bytes = disk.stat()[1] - before[1]
                shutil.rmtree(f"{disk.mount}/x")
                sh("sync", "-f", disk.mount)
                before = disk.stat()
                start = time.time()
                w = Worker(os.path.abspath(a.binary), f"{disk.mount}/root", pull_job(f"127.0.0.1:{port}/bench:1"))
                last = w.run()
                wall = time.time() - start
                if last != "Done":
                    sys.exit(f"pull failed: {last}")
                after = disk.stat()
                left = cached(f"{disk.mount}/root")
                info = json.load(open(glob.glob(f"{disk.mount}/root/layers/sha256/*/layer.json")[0]))
                v = Worker(os.path.abspath(a.binary), f"{disk.mount}/root", {"Verify": {"images": []}})
                v.run()
                cpu = w.usage.ru_utime + w.usage.ru_stime
                rows.append({"gzip MB": round(gz / 1e6, 1), "files MB": round(info["size"] / 1e6, 1), "entries": info["entries"],
                             "cpu s": round(cpu, 2), "user": round(w.usage.ru_utime, 2), "sys": round(w.usage.ru_stime, 2), "gunzip|tar cpu s": round(peer_cpu, 2),
                             "cpu ratio": round(cpu / peer_cpu, 2), "wall s": round(wall, 2), "gunzip|tar+sync wall s": round(peer_wall, 2),
                             "tar MB/s cpu": round(tar_bytes / 1e6 / cpu), "rss KiB": w.rss, "cache left MB": round(left / 1e6, 1),
                             "written/files": round((after[1] - before[1]) / info["size"], 3), "gunzip|tar+sync written/files": round(peer_bytes / info["size"], 3), "write requests": after[0] - before[0],
                             "skeleton/entries": round(os.path.getsize(glob.glob(f"{disk.mount}/root/layers/sha256/*/skeleton")[0]) / info["entries"], 1),
                             "verify cpu": round((v.usage.ru_utime + v.usage.ru_stime) / cpu, 2), "verify rss": v.rss})
                if a.docker:
                    shutil.rmtree(f"{disk.mount}/root")
                    d_wall, d_cpu, d_rss, (d_requests, d_bytes), d_left = docker_pull(a.work, disk, f"127.0.0.1:{port}/bench:1")
                    rows[-1].update({"docker cpu s": round(d_cpu, 2), "cpu/docker": round(cpu / d_cpu, 2), "docker wall s": round(d_wall, 2),
                                     "wall/docker": round(wall / d_wall, 2), "docker rss KiB": d_rss, "docker cache left MB": round(d_left / 1e6, 1),
                                     "docker written/files": round(d_bytes / info["size"], 3), "docker write requests": d_requests})
                print(json.dumps(rows[-1]), flush=True)
            finally:
                disk.close()
    finally:
        registry.kill()
        registry.wait()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""run.py BINARY [RUNS]: `run --rm busybox true` by command line and daemon, on the default bridge, against `runc run` of the same
program alone, interleaved. Runs itself in a sandbox. Needs root, Debian's runc, and busybox.tar as scripts/mkimage makes it
(IMAGES, default ~/.cache/prtiql/images). Prints minimum and median of both in ms, and their ratios."""
import json, os, shutil, statistics, subprocess, sys, tarfile, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE = os.environ.get("IMAGES", os.path.expanduser("~/.cache/prtiql/images")) + "/busybox.tar"


def bundle(where):
    """The image's layer as a root file system, and runc's own default specification with `true` as its command."""
    with tarfile.open(IMAGE) as archive:
        layer = json.load(archive.extractfile("manifest.json"))[0]["Layers"][0]
        with tarfile.open(fileobj=archive.extractfile(layer)) as files:
            files.extractall(f"{where}/rootfs", filter="tar")
    subprocess.run(["runc", "spec"], cwd=where, check=True)
    spec = json.load(open(f"{where}/config.json"))
    spec["process"] |= {"terminal": False, "args": ["true"]}
    json.dump(spec, open(f"{where}/config.json", "w"))


def timed(*command):
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return (time.perf_counter() - start) * 1000


def inside(binary, runs):
    os.makedirs("/var/tmp", exist_ok=True)
    work = tempfile.mkdtemp(prefix="prtiql-run-", dir="/var/tmp")
    daemon = subprocess.Popen([binary, "daemon", "--data-root", f"{work}/data"], stderr=subprocess.DEVNULL)
    try:
        bundle(f"{work}")
        time.sleep(1)
        subprocess.run([binary, "load", "-qi", IMAGE], check=True, stdout=subprocess.DEVNULL)
        ours, peer = [], []
        for i in range(runs + 2):
            ours.append(timed(binary, "run", "--rm", "busybox", "true"))
            peer.append(timed("runc", "run", "-b", work, f"bench{i}"))
        ours, peer = ours[2:], peer[2:]
        print(json.dumps({"runs": runs, "run --rm min ms": round(min(ours), 2), "median ms": round(statistics.median(ours), 2),
                          "runc min ms": round(min(peer), 2), "runc median ms": round(statistics.median(peer), 2),
                          "ratio min": round(min(ours) / min(peer), 2), "ratio median": round(statistics.median(ours) / statistics.median(peer), 2)}))
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        inside(sys.argv[2], int(sys.argv[3]))
    else:
        binary, runs = os.path.abspath(sys.argv[1]), (sys.argv[2:] or ["20"])[0]
        sys.exit(subprocess.run([f"{HERE}/../scripts/sandbox", sys.executable, os.path.abspath(__file__), "--inside", binary, runs]).returncode)

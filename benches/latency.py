#!/usr/bin/env python3
"""latency.py BINARY [--mb N]: `GET /containers/json` with 20 containers, idle and while an image of N MB gzip is pulled.

Runs itself in a sandbox (own mount, network and PID namespaces). Needs root, docker-registry, and busybox.tar as
scripts/mkimage makes it (IMAGES, default ~/.cache/prtiql/images). Prints p50 and p99 in ms and their ratio.
"""
import argparse, hashlib, http.client, json, os, socket, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "tests", "lib"))


class Conn(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("engine", timeout=120)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(path)


def ask(path, method, url, body=None):
    c = Conn(path)
    c.request(method, "/v1.44" + url, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    r = c.getresponse()
    out = r.read()
    if r.status >= 400:
        sys.exit(f"{method} {url}: {r.status} {out[:200]}")
    return out


def sample(sock, stop, most):
    """Times of requests on one connection, a few ms apart, until `stop` is set or there are enough."""
    c, times = Conn(sock), []
    while not stop.is_set() and len(times) < most:
        t = time.perf_counter()
        c.request("GET", "/v1.44/containers/json")
        c.getresponse().read()
        times.append((time.perf_counter() - t) * 1000)
        time.sleep(0.003)
    return sorted(times)


def inside(a):
    import pull, push
    work = tempfile.mkdtemp(prefix="prtiql-latency-", dir=a.work)
    sock = "/run/prtiql.sock"
    with open(f"{work}/registry.yml", "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n")
    registry = subprocess.Popen(["docker-registry", "serve", f"{work}/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    daemon = subprocess.Popen([a.binary, "daemon", "--data-root", f"{work}/data"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        tar = pull.make_layer(a.work, a.mb)
        diff = "sha256:" + hashlib.sha256(open(tar, "rb").read()).hexdigest()
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
        push.Registry("http://127.0.0.1:5000").push("bench", "1", [], json.dumps(config).encode(), blobs=[open(tar + ".gz", "rb").read()])
        subprocess.run([a.binary, "load", "-qi", a.image], check=True, stdout=subprocess.DEVNULL)
        for i in range(20):
            ask(sock, "POST", f"/containers/create?name=c{i:02}", {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}})
            ask(sock, "POST", f"/containers/c{i:02}/start")
        idle = sample(sock, threading.Event(), 1000)
        done = threading.Event()

        def puller():
            out = ask(sock, "POST", "/images/create?fromImage=127.0.0.1:5000/bench&tag=1")
            done.text = out
            done.set()
        threading.Thread(target=puller, daemon=True).start()
        busy = sample(sock, done, 100000)
        if b"Downloaded newer image" not in done.text:
            sys.exit(f"the pull failed: {done.text[-300:]}")
        at = lambda times, q: times[min(len(times) - 1, int(len(times) * q))]
        out = {f"{name} {label} ms": round(at(times, q), 3) for name, times in (("idle", idle), ("pulling", busy)) for label, q in (("p50", 0.5), ("p99", 0.99))}
        out |= {"samples": [len(idle), len(busy)], "p99 ratio": round(at(busy, 0.99) / at(idle, 0.99), 2)}
        print(json.dumps(out))
        for i in range(20):
            ask(sock, "DELETE", f"/containers/c{i:02}?force=1")
    finally:
        daemon.terminate()
        daemon.wait()
        registry.kill()
        registry.wait()
        subprocess.run(["rm", "-rf", work])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--mb", type=int, default=100)
    ap.add_argument("--work", default="/tmp/prtiql-bench")
    ap.add_argument("--image", default=os.environ.get("IMAGES", os.path.expanduser("~/.cache/prtiql/images")) + "/busybox.tar")
    ap.add_argument("--inside", action="store_true")
    a = ap.parse_args()
    a.binary = os.path.abspath(a.binary)
    os.makedirs(a.work, exist_ok=True)
    if a.inside:
        return inside(a)
    sandbox = os.path.join(HERE, "..", "scripts", "sandbox")
    sys.exit(subprocess.run([sandbox, sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside"]).returncode)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""chaos.py ENGINE WORK [LIVES] [SEED]: containers live while the daemon and its children are killed at random.

Runs inside a sandbox (own mount, network and PID namespaces) with busybox:latest in WORK/data. What is checked: a container
whose create was acknowledged is there; one whose shim was left alone ends with its own exit code and its whole log; at the
end no mount, cgroup, interface, process or run directory is left. Prints ok/FAIL lines.
"""
import http.client, json, os, random, re, signal, socket, subprocess, sys, time

ENGINE, WORK = sys.argv[1:3]
LIVES = int(sys.argv[3]) if len(sys.argv) > 3 else 200
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 30)
SOCK = WORK + "/chaos.sock"
EXEC = "/run/prtiql-chaos"
random.seed(SEED)
failures = []


def fail(text):
    failures.append(text)
    print("FAIL chaos:", text, flush=True)


class Daemon:
    def __init__(self):
        self.process = None
        self.starts = 0

    def ensure(self):
        if self.process and self.process.poll() is None:
            return
        self.starts += 1
        log = open(WORK + "/chaos.log", "ab")
        self.process = subprocess.Popen([ENGINE, "daemon", "-H", "unix://" + SOCK, "--data-root", WORK + "/data", "--exec-root", EXEC,
                                         "--pidfile", EXEC + ".pid"], stderr=log, stdout=log)
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                if call("GET", "/_ping")[0] == 200:
                    return
            except OSError:
                time.sleep(0.02)
        fail("the daemon does not start: " + open(WORK + "/chaos.log").read()[-500:])
        sys.exit(1)


def call(method, path, body=None, timeout=20):
    c = http.client.HTTPConnection("engine", timeout=timeout)
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.settimeout(timeout)
    c.sock.connect(SOCK)
    data = json.dumps(body).encode() if body is not None else None
    c.request(method, "/v1.44" + path, data, {"Content-Type": "application/json"})
    r = c.getresponse()
    out = r.read()
    c.close()
    return r.status, out


def processes():
    """pid -> command line of everything in the sandbox."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(pid)] = open(f"/proc/{pid}/cmdline").read().split("\0")
        except OSError:
            pass
    return found


def victims(kind):
    return [(pid, args) for pid, args in processes().items() if args[0].endswith(kind)]


def main():
    daemon = Daemon()
    daemon.ensure()
    lives, hit, unsure = {}, set(), set()
    for i in range(LIVES):
        daemon.ensure()
        name, code = f"life{i}", i % 100 + 1
        network = random.choice(["none", "bridge", "bridge"])
        body = {"Image": "busybox:latest", "Cmd": ["sh", "-c", f"echo line-{i}; sleep 0.{random.randrange(10)}; echo end-{i}; exit {code}"],
                "HostConfig": {"NetworkMode": network}}
        try:
            status, out = call("POST", "/containers/create?name=" + name, body)
            if status != 201:
                fail(f"create {name}: {status} {out[:200]}")
                continue
            ident = json.loads(out)["Id"]
            lives[name] = (ident, code)
        except OSError:
            continue                                            # not acknowledged
        kind = random.choices(["none", "daemon", "prtiql-committer", "prtiql-shim", "prtiql-start", "prtiql-worker"], [4, 3, 1, 2, 1, 1])[0]
        if kind == "prtiql-start" or random.random() < 0.3:
            # the answer is not waited for: the kill may come before it
            pid = os.fork()
            if pid == 0:
                try:
                    call("POST", f"/containers/{name}/start")
                except OSError:
                    pass
                os._exit(0)
            unsure.add(name)
        else:
            pid = 0
            try:
                status, out = call("POST", f"/containers/{name}/start")
                if status != 204:
                    fail(f"start {name}: {status} {out[:200]}")
            except OSError:
                unsure.add(name)
        time.sleep(random.random() * 0.06)
        if kind == "daemon":
            daemon.process.kill()
            daemon.process.wait()
        elif kind != "none":
            for victim, args in victims(kind)[:1]:
                if kind == "prtiql-shim":
                    hit.update(re.findall(r"[0-9a-f]{64}", " ".join(args)))
                if kind == "prtiql-start":
                    hit.add(ident)
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if pid:
            os.waitpid(pid, 0)
    daemon.ensure()
    end = time.time() + 30
    while time.time() < end:
        listed = json.loads(call("GET", "/containers/json")[1])
        if not listed:
            break
        time.sleep(0.2)
    else:
        fail(f"still running: {[c['Names'] for c in listed]}")
    checked = whole = 0
    for name, (ident, code) in lives.items():
        status, out = call("GET", f"/containers/{ident}/json")
        if status != 200:
            fail(f"{name} was acknowledged and is lost")
            continue
        state = json.loads(out)["State"]
        checked += 1
        if ident in hit:
            if state["Running"]:
                fail(f"{name}: its shim was killed and it is said to run")
            continue
        if name in unsure and state["Status"] == "created":
            continue
        if state["ExitCode"] != code:
            fail(f"{name} ended with {state['ExitCode']} ({state['Error']}), want {code}")
        log = call("GET", f"/containers/{ident}/logs?stdout=1")[1].decode(errors="replace")
        number = name[4:]
        if f"line-{number}\n" not in log or f"end-{number}\n" not in log:
            fail(f"{name}: its log is not whole: {log!r}")
        whole += 1
    for ident, _ in lives.values():
        call("DELETE", f"/containers/{ident}?force=1")
    time.sleep(2.5)                                             # the kernel takes interfaces down behind a namespace's end
    mounts = [l for l in open("/proc/self/mountinfo") if "prtiql" in l and ("overlay" in l or "shm" in l)]
    if mounts:
        fail(f"mounts left: {mounts}")
    groups = subprocess.run("find /sys/fs/cgroup -mindepth 1 -type d -path '*prtiql/*'", shell=True, capture_output=True, text=True).stdout.split()
    groups = [g for g in groups if any(i in g for i, _ in lives.values())]
    if groups:
        fail(f"cgroups left: {len(groups)}, e.g. {groups[:3]}")
    links = [l for l in os.listdir("/sys/class/net") if l.startswith("veth")]
    if links:
        fail(f"interfaces left: {links}")
    stray = {p: a for p, a in processes().items() if "prtiql-shim" in a[0] or "prtiql-start" in a[0] or (len(a) > 2 and "line-" in a[2])}
    if stray:
        fail(f"processes left: {stray}")
    runs = os.listdir(EXEC + "/containers")
    if runs:
        fail(f"run directories left: {runs}")
    left = os.listdir(WORK + "/data/containers")
    if left:
        fail(f"container folders left: {left}")
    daemon.process.terminate()
    daemon.process.wait()
    if not failures:
        print(f"ok   chaos: {checked} lives, {whole} whole, {len(hit)} shims killed, {daemon.starts - 1} daemons killed (seed {SEED})")


main()
sys.exit(bool(failures))

#!/usr/bin/env python3
"""`prtiql runtime run` of `true` against crun and runc on the same bundle, interleaved; and the system calls of all processes.

usage: benches/runtime.py [PRTIQL] [RUNS]      as root; needs Debian's busybox-static, crun, runc, strace

The bundle is Docker's default: 14 capabilities, its seccomp profile (rebuilt from our own tables), masked and read-only paths,
new pid, network, ipc, uts and mount namespaces. Debian's crun refuses a hybrid cgroup set-up and cannot load its device filter
without CAP_SYS_RESOURCE: the bench runs in a mount namespace with version 1 alone, and once more with version 2 alone and no
device rules for anybody."""
import json, os, pathlib, re, shutil, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent.parent
DEFAULT = ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE").split()
DEFAULT_MASK = 0xA80425FB


def profile():
    """Docker's default profile for the default capabilities, as the OCI specification has it."""
    text = (HERE / "src/runtime/seccomp/tables/x86_64.rs").read_text()
    names = {int(n): name for name, n in re.findall(r"^(\w+) (\d+)\\n\\$", text, re.M)}
    rules = []
    for body in re.findall(r"Group \{(.*?calls: &\[.*?\],?\s*)\}", text, re.S):
        field = lambda key: int(re.search(rf"\b{key}: (0x[0-9a-f]+|\d+)", body)[1], 0)
        if field("with") & ~DEFAULT_MASK or field("without") & DEFAULT_MASK:
            continue
        calls = re.search(r"calls: &\[(.*?)\]", body, re.S)[1]
        numbers = [n for a, b in re.findall(r"\((\d+), (\d+)\)", calls) for n in range(int(a), int(b) + 1)]
        rule = {"names": [names[n] for n in numbers], "action": "SCMP_ACT_ERRNO" if field("errno") else "SCMP_ACT_ALLOW"}
        if field("errno"):
            rule["errnoRet"] = field("errno")
        args = re.findall(r"\((\d), \"(SCMP_CMP_\w+)\", (0x[0-9a-f]+), (0x[0-9a-f]+)\)", body)
        if args:
            rule["args"] = [{"index": int(i), "op": op, "value": int(v, 0), "valueTwo": int(w, 0)} for i, op, v, w in args]
        rules.append(rule)
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}


def bundle(prtiql, where, devices):
    root = where / "rootfs"
    for d in ["bin", "proc", "dev", "sys", "etc", "tmp"]:
        (root / d).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/true").symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    subprocess.run([prtiql, "runtime", "spec", "-b", where], check=True)
    c = json.loads((where / "config.json").read_text())
    caps = ["CAP_" + n for n in DEFAULT]
    c["ociVersion"] = "1.0.2"
    c["process"] |= {"terminal": False, "args": ["true"], "noNewPrivileges": False, "capabilities": {s: caps for s in ("bounding", "effective", "permitted")}}
    c["linux"] |= {"seccomp": profile(), "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")]}
    if not devices:
        del c["linux"]["resources"]
    (where / "config.json").write_text(json.dumps(c))


def measure(prtiql, where, runs):
    state = where / "state"
    commands = {"prtiql": [prtiql, "runtime", "--root", state / "p", "run"], "crun": ["crun", "--root", state / "c", "run"],
                "runc": ["runc", "--root", state / "r", "run"]}
    times = {name: [] for name in commands}
    for i in range(runs + 2):
        for name, command in commands.items():
            start = time.perf_counter()
            r = subprocess.run([*command, f"bench-{os.getpid()}-{i}"], cwd=where, capture_output=True)
            if r.returncode:
                sys.exit(f"{name}: {r.stderr.decode()}")
            if i >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    best = {name: (min(t), statistics.median(t)) for name, t in times.items()}
    for name, (low, mid) in best.items():
        trace = where / "trace"
        subprocess.run(["strace", "-f", "-c", "-o", trace, *commands[name], f"trace-{os.getpid()}"], cwd=where, capture_output=True)
        calls = re.search(r"^\s*100\.00.*?(\d+)(?:\s+\d+)? total$", trace.read_text(), re.M)
        print(f"  {name:7} min {low:6.2f} ms  median {mid:6.2f} ms  of crun: {low / best['crun'][0]:.2f} {mid / best['crun'][1]:.2f}"
              f"  system calls {calls[1] if calls else '?'}")


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "--inside":
        version, prtiql, runs = sys.argv[2], sys.argv[3], int(sys.argv[4])
        if version == "v2":
            subprocess.run("umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup", shell=True, check=True)
        else:
            subprocess.run("umount /sys/fs/cgroup/unified", shell=True, stderr=subprocess.DEVNULL)
        with tempfile.TemporaryDirectory(dir="/run" if os.access("/run", os.W_OK) else None) as d:
            bundle(prtiql, pathlib.Path(d), version == "v1")
            measure(prtiql, pathlib.Path(d), runs)
        sys.exit()
    prtiql = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else HERE / "dist/x86_64/prtiql")
    runs = sys.argv[2] if len(sys.argv) > 2 else "30"
    here = subprocess.run(["stat", "-fc", "%T", "/sys/fs/cgroup"], capture_output=True, text=True).stdout.strip()
    for version, what in [("v1", "cgroup v1, with device rules"), ("v2", "cgroup v2, without device rules")]:
        if version == "v1" and here == "cgroup2fs":
            continue
        print(what, flush=True)
        subprocess.run(["unshare", "-m", sys.executable, __file__, "--inside", version, prtiql, runs], check=True)

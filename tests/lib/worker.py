#!/usr/bin/env python3
"""worker.py - runs one job of prtiql-worker as the daemon does, and prints its reports.

  worker.py BINARY DATA_ROOT pull REFERENCE [--platform P]
  worker.py BINARY DATA_ROOT load ARCHIVE | verify [IMAGE…] | trash | usage PATH…

Plays the daemon's part: makes the data root, answers Plan and Image with Go, writes the tags that an image asks for.
"""
import array, json, os, resource, socket, struct, subprocess, sys, uuid


def prepare(root):
    for d in ("layers/sha256", "images/sha256", "tags", "staging", "trash"):
        os.makedirs(f"{root}/{d}", exist_ok=True)


def escape(reference):
    return reference.replace("/", "+").replace(":", "=")


class Worker:
    def __init__(self, binary, root, job, fds=(), env=None, exec_root="/tmp", under=()):
        """`under` is what runs a binary of another machine; it is told argv[0] by -0."""
        self.root = root
        prepare(root)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = {"args": [*under, "-0", "prtiql-worker", binary]} if under else {"args": ["prtiql-worker"], "executable": binary}
        self.process = subprocess.Popen(**command, stdin=theirs, stdout=subprocess.DEVNULL, env=env)
        theirs.close()
        self.socket = ours
        place = {"data_root": root, "exec_root": exec_root, "job": "job-" + uuid.uuid4().hex[:8]}
        self.send({"place": place, "job": job}, fds)
        self.rss = 0
        self.reports = []

    def send(self, message, fds=()):
        data = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([b"\0" + json.dumps(message).encode()], data)

    def receive(self):
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(16 * 4))
        if not data:
            return None
        if data[0] == 1:
            fd = array.array("i", ancillary[0][2])[-1]
            os.lseek(fd, 0, 0)
            with os.fdopen(fd, "rb") as f:
                return json.loads(f.read())
        return json.loads(data[1:])

    def measure(self):
        # ru_maxrss would count what this Python had when it forked.
        try:
            with open(f"/proc/{self.process.pid}/status") as f:
                self.rss = max(self.rss, *(int(line.split()[1]) for line in f if line.startswith("VmHWM")))
        except (OSError, TypeError, ValueError):
            pass

    def run(self, show=False):
        while True:
            try:
                report = self.receive()
            except ConnectionResetError:
                report = None
            if report is None:
                break
            self.measure()
            self.reports.append(report)
            if show:
                print(json.dumps(report)[:300], flush=True)
            if isinstance(report, dict):
                if "Plan" in report:
                    self.send("Go")
                if "Image" in report:
                    for r in report["Image"]["references"]:
                        with open(f"{self.root}/tags/{escape(r)}", "w") as f:
                            f.write(report["Image"]["id"] + "\n" + r + "\n")
                    self.send("Go")
        _, status, self.usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.reports[-1] if self.reports else None


def pull_job(reference, platform="", auth=None, **registries):
    return {"Pull": {"reference": reference, "all_tags": False, "platform": platform, "auth": auth,
                     "registries": dict({"max_attempts": 5}, **registries)}}


def main():
    binary, root, verb, *rest = sys.argv[1:]
    fds = ()
    if verb == "pull":
        platform = rest[rest.index("--platform") + 1] if "--platform" in rest else ""
        job = pull_job(rest[0], platform)
    elif verb == "load":
        fds = (os.open(rest[0], os.O_RDONLY),)
        job = {"Load": {"prefix": [], "length": None, "chunked": False}}
    elif verb == "verify":
        job = {"Verify": {"images": rest}}
    elif verb == "trash":
        job = {"EmptyTrash": {"hold": []}}
    else:
        job = {"Usage": {"paths": rest}}
    w = Worker(os.path.abspath(binary), os.path.abspath(root), job, fds)
    last = w.run(show=True)
    print("exit", w.process.returncode, "user %.2f sys %.2f rss %d KiB" % (w.usage.ru_utime, w.usage.ru_stime, w.rss))
    sys.exit(0 if last == "Done" else 1)


if __name__ == "__main__":
    main()

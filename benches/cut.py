#!/usr/bin/env python3
"""cut.py - what a cut costs: pulls are killed at random moments, and the bytes that come a second time are counted.

  cut.py BINARY [--mb N] [--runs N] [--seed N] [--work DIR]

The layer is that of pull.py. Between registry and engine stands a relay that counts; what it has sent and the engine's kernel has not
taken yet was never downloaded, and is not counted. Exits with 1 if a cut costs more than 16 MB and 1 % of the layer.
"""
import argparse, array, fcntl, hashlib, json, os, random, shutil, signal, socket, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tests", "lib")]
import push
from pull import make_layer
from worker import Worker, pull_job

REGISTRY, RELAY = 5993, 5994
SIOCOUTQ = 0x5411  # bytes that the peer's kernel has not acknowledged


class Relay:
    def __init__(self):
        self.sent, self.clients = 0, []
        self.listener = socket.create_server(("127.0.0.1", RELAY))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", REGISTRY))
            self.clients.append(client)
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, target, count):
        try:
            while data := source.recv(65536):
                self.sent += len(data) if count else 0
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def waiting(self):
        """Bytes sent that have not arrived."""
        total = 0
        for client in self.clients:
            number = array.array("i", [0])
            try:
                fcntl.ioctl(client.fileno(), SIOCOUTQ, number)
                total += number[0]
            except OSError:
                pass
        return total


def one(binary, root, relay, size, at):
    """Cuts a pull when `at` bytes were sent, and ends it; returns the bytes that came twice."""
    shutil.rmtree(root, ignore_errors=True)
    relay.sent, relay.clients = 0, []
    job = pull_job(f"127.0.0.1:{RELAY}/cut:1")
    worker = Worker(binary, root, job)
    talk = threading.Thread(target=worker.run, daemon=True)
    talk.start()
    while relay.sent < at and talk.is_alive():
        time.sleep(0.002)
    os.kill(worker.process.pid, signal.SIGSTOP)
    time.sleep(0.05)
    waiting = relay.waiting()
    os.kill(worker.process.pid, signal.SIGKILL)
    talk.join()
    time.sleep(0.3)
    end = Worker(binary, root, job).run()
    if end != "Done":
        sys.exit(f"the second pull failed: {end}")
    return relay.sent - waiting - size


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--mb", type=int, default=130)
    ap.add_argument("--runs", type=int, default=10)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--work", default="/tmp/prtiql-bench")
    a = ap.parse_args()
    os.makedirs(a.work, exist_ok=True)
    tar = make_layer(a.work, a.mb)
    blob = open(tar + ".gz", "rb").read()
    with open(tar, "rb") as f:
        diff_id = "sha256:" + hashlib.file_digest(f, "sha256").hexdigest()
    with open(f"{a.work}/cut.yml", "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {a.work}/registry}}}}\nhttp: {{addr: '127.0.0.1:{REGISTRY}'}}\n")
    registry = subprocess.Popen(["docker-registry", "serve", f"{a.work}/cut.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        push.Registry(f"http://127.0.0.1:{REGISTRY}").push("cut", "1", [], json.dumps(config).encode(), blobs=[blob])
        dice, relay, costs = random.Random(a.seed), Relay(), []
        for _ in range(a.runs):
            at = dice.randrange(len(blob) // 20, len(blob) * 19 // 20)
            costs.append(one(os.path.abspath(a.binary), f"{a.work}/cut-root", relay, len(blob), at))
            print(json.dumps({"cut at MB": round(at / 1e6, 1), "again MB": round(costs[-1] / 1e6, 2)}), flush=True)
    finally:
        registry.kill()
        registry.wait()
        shutil.rmtree(f"{a.work}/cut-root", ignore_errors=True)
    most = 16e6 + len(blob) / 100
    print(json.dumps({"gzip MB": round(len(blob) / 1e6, 1), "worst MB": round(max(costs) / 1e6, 2), "allowed MB": round(most / 1e6, 2)}))
    sys.exit(max(costs) > most)


if __name__ == "__main__":
    main()

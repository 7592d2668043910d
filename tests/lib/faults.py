#!/usr/bin/env python3
"""faults.py: pulls from fakehub.py while it misbehaves.

  faults.py images DIR          docker-archives lane0.tar ... of bytes that do not compress
  faults.py certs DIR           an authority, and certificates: of now, of 2099, of 2001, of another name
  faults.py sweep DIR FAKEHUB   every fault at every place; a line each: ok, FAIL
"""
import datetime, hashlib, io, json, os, random, re, socket, subprocess, sys, tarfile, threading, time, urllib.request

LANES = 4
LAYERS = [3 << 20, 2 << 20, 600 << 10]
MOST = 1.15                                             # bytes over the wire, as a multiple of the images'
LONGEST = 40                                            # seconds that any pull may take


def images(folder):
    for lane in range(LANES):
        tars = []
        for nth, size in enumerate(LAYERS):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                for part in range(4):
                    info = tarfile.TarInfo("layer%d/part%d" % (nth, part))
                    info.size, info.mtime = size // 4, 1700000000
                    tar.addfile(info, io.BytesIO(random.Random("%d %d %d" % (lane, nth, part)).randbytes(size // 4)))
            tars.append(out.getvalue())
        ids = ["sha256:" + hashlib.sha256(t).hexdigest() for t in tars]
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "rootfs": {"type": "layers", "diff_ids": ids}}).encode()
        manifest = [{"Config": "config.json", "RepoTags": ["lane%d:1" % lane], "Layers": ["%d.tar" % n for n in range(len(tars))]}]
        with tarfile.open(os.path.join(folder, "lane%d.tar" % lane), "w") as tar:
            files = [("manifest.json", json.dumps(manifest).encode()), ("config.json", config)]
            for name, data in files + [("%d.tar" % n, t) for n, t in enumerate(tars)]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def certs(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    os.makedirs(folder, exist_ok=True)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def write(file, subject, public, start, end, names=()):
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("authority")).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(not names, None), True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        with open(os.path.join(folder, file), "wb") as out:
            out.write(builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    year = lambda n: datetime.datetime(n, 1, 1)
    hub = ["*.docker.io"]
    write("ca.pem", "authority", authority.public_key(), year(2000), year(2120))
    write("hub.pem", "hub", key.public_key(), year(2020), year(2110), hub)
    write("future.pem", "hub", key.public_key(), year(2099), year(2110), hub)
    write("past.pem", "hub", key.public_key(), year(2001), year(2002), hub)
    write("other.pem", "hub", key.public_key(), year(2020), year(2110), ["portal.example"])
    with open(os.path.join(folder, "hub.key"), "wb") as out:
        out.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class Counter:
    """Passes connections on, and counts them and the bytes that the client was sent."""
    def __init__(self, port, to):
        self.bytes, self.connections, self.to = 0, 0, to
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(32)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.connections += 1
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
            server.connect(("127.0.0.1", self.to))
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.copy, args=(source, sink, counts), daemon=True).start()

    def copy(self, source, sink, counts):
        try:
            while data := source.recv(16 << 10):
                sink.sendall(data)
                if counts:
                    self.bytes += len(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def cases(blobs, config):
    """(what, [faults], the pull must succeed: True, False or None for either)"""
    big, small = blobs[0], blobs[2]
    size = LAYERS[0]
    for kind in ("drop", "stall"):
        for after in (0, 1, 100_000, size // 2, size):
            yield "%s at %d of a layer" % (kind, after), [(big, kind, after, 1)], True
        yield kind + " in two layers", [(big, kind, 700_000, 1), (blobs[1], kind, 1_500_000, 1)], True
        yield kind + " of the index", [("manifests/1", kind, 10, 1)], True
        yield kind + " of the config", [(config, kind, 10, 1)], True
    yield "drop every 300 kB", [(big, "drop", 300_000, 99)], True
    yield "drop at once for ever", [(small, "drop", 0, 99)], False
    for after in (0, 5, size // 2, size):
        yield "corrupt at %d of a layer" % after, [(small if after in (0, 5) else big, "corrupt", after, 1)], True
    yield "corrupt for ever", [(small, "corrupt", 1000, 99)], False
    yield "corrupt config", [(config, "corrupt", 20, 1)], True
    yield "corrupt manifest", [("manifests/sha256", "corrupt", 20, 1)], True
    yield "corrupt index", [("manifests/1", "corrupt", 20, 1)], None
    yield "a slow layer", [(big, "slow", 2 << 20, 1)], True
    yield "a layer of a byte a minute", [(small, "slow", 1, 1)], True
    for place in ("/v2/$", "token", "manifests/1", "manifests/sha256", config, big):
        for status in (429, 500, 503):
            yield "%d at %s" % (status, place[:16]), [(place, status, 0, 1)], True
        for status in (401, 404):
            yield "%d at %s" % (status, place[:16]), [(place, status, 0, 1)], None
    yield "500 for ever", [(big, 500, 0, 99)], False
    yield "429 at the middle of a layer", [(big, "drop", size // 2, 1), (big, 429, 0, 1)], True
    yield "401 at the middle of a layer", [(big, "drop", size // 2, 1), (big, 401, 0, 1)], None


def serve(fakehub, folder, nth):
    """A fakehub of its own for each lane, in this process, so that its faults can be taken back."""
    import importlib.util
    spec = importlib.util.spec_from_file_location("fakehub", fakehub)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    store = module.Store(os.path.join(folder, "hub"))
    store.add_archive(os.path.join(folder, "lane%d.tar" % nth))
    server = module.http.server.ThreadingHTTPServer(("127.0.0.1", 5020 + nth), module.Hub)
    server.daemon_threads = True
    server.store, server.auth, server.redirect, server.tls, server.password = store, True, False, False, "secret"
    server.tokens, server.uploads, server.faults, server.log = {}, {}, [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def pull(reference):
    start = time.time()
    try:
        done = subprocess.run(["prtiql", "pull", reference], capture_output=True, text=True, timeout=LONGEST)
        return done.returncode == 0, done.stderr.strip(), time.time() - start
    except subprocess.TimeoutExpired:
        return None, "no end within %d s" % LONGEST, LONGEST


def complaint(good, wanted, text):
    """What is wrong with how a pull ended, if anything."""
    if good is None:
        return text
    if wanted is not None and good != wanted:
        return "pulled" if good else text
    if not good and ("panic" in text or len(text.splitlines()) != 1 or not re.search(r"lane\d|sha256|127\.0\.0\.1", text)):
        return "unclear error: " + text
    return ""


def lane(nth, todo, server, results, lock):
    counter = Counter(5010 + nth, 5020 + nth)
    reference = "127.0.0.1:%d/library/lane%d:1" % (5010 + nth, nth)
    while True:
        with lock:
            if not todo:
                return
            what, faults, wanted = todo.pop(0)
        server.faults[:] = [{"match": m, "kind": kind, "after": after, "times": times} for m, kind, after, times in faults]
        before, connections = counter.bytes, counter.connections
        good, text, took = pull(reference)
        came, connections, why = counter.bytes - before, counter.connections - connections, complaint(good, wanted, text)
        server.faults[:] = []
        if not good and not why:
            good_now, text_now, _ = pull(reference)
            why = "" if good_now else "and not afterwards either: " + text_now
        subprocess.run(["prtiql", "rmi", "-f", reference], capture_output=True)
        with lock:
            results.append((what, good, took, came, connections))
            how = "pulled" if good else "error: " + text
            print("FAIL %s: %s" % (what, why) if why else "ok   %s: %.1f s, %s" % (what, took, how), flush=True)
            FAILED.extend([what] if why else [])


FAILED = []


def sweep(folder, fakehub):
    lock, results, lanes = threading.Lock(), [], []
    size = 0
    for nth in range(LANES):
        server = serve(fakehub, folder, nth)
        store = server.store
        digest, _ = next(v for v in store.man.values() if b'"layers":[{' in open(store.path(v[0]), "rb").read())
        manifest = json.load(open(store.path(digest)))
        size = sum(layer["size"] for layer in manifest["layers"]) + manifest["config"]["size"]
        blobs = [layer["digest"] for layer in manifest["layers"]]
        todo = list(cases(blobs, manifest["config"]["digest"]))[nth::LANES]
        lanes.append(threading.Thread(target=lane, args=(nth, todo, server, results, lock)))
    start = time.time()
    [thread.start() for thread in lanes]
    [thread.join() for thread in lanes]
    whole = [r for r in results if r[1]]
    ratio = sum(r[3] for r in whole) / (size * max(len(whole), 1))
    all_of_them = sum(r[3] for r in results) / (size * max(len(results), 1))
    print("     %d pulls in %.0f s, the longest %.1f s; of %d that ended well %.3f times the image came, of all %.3f times; worst: %s" % (
        len(results), time.time() - start, max(r[2] for r in results), len(whole), ratio, all_of_them,
        ", ".join("%s %.2f" % (r[0], r[3] / size) for r in sorted(results, key=lambda r: -r[3])[:5])))
    fits = ratio <= MOST and all_of_them <= MOST
    print("ok   bytes over the wire" if fits else "FAIL bytes over the wire: %.3f and %.3f, want %.2f" % (ratio, all_of_them, MOST))
    return 0 if fits and not FAILED else 1


if __name__ == "__main__":
    verb, arguments = sys.argv[1], sys.argv[2:]
    sys.exit({"images": images, "certs": certs, "sweep": sweep}[verb](*arguments) or 0)

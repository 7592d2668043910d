"""A registry in a thread, which can stop in the middle of a blob: that is how a pull is interrupted at a known place."""
import hashlib, http.server, json, re, tarfile, threading

PORT = 5000
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DELTA = "application/vnd.prtiql.delta.v1"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.server.hub
        found = re.fullmatch(r"/v2/(\w+)/(manifests|blobs|referrers)/([^?]+)\S*", self.path)
        image = found and hub.images.get(found[1])
        if not image:
            return self.reply(200 if self.path == "/v2/" else 404, b"{}", "application/json")
        if found[2] == "manifests":
            if found[3] in hub.deltas:  # those of the deltas, and of the image that they lead to
                text = hub.deltas[found[3]]
                return self.reply(200, text, json.loads(text).get("mediaType", OCI_MANIFEST))
            return self.reply(200, image.manifest, "application/vnd.docker.distribution.manifest.v2+json")
        if found[2] == "referrers":
            return self.reply(200, hub.referrers(found[3]), "application/vnd.oci.image.index.v1+json")
        blob = image.blobs.get(found[3], hub.deltas.get(found[3]))
        if blob is None:
            return self.reply(404, b"{}", "application/json")
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        more = {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"} if wanted else {}
        stall = hub.stalls.get(found[3])
        self.reply(206 if wanted else 200, blob[start:], "application/octet-stream", more, stall and max(0, stall - start))

    do_HEAD = do_GET

    def reply(self, status, body, kind, more={}, stall=None):
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if stall is None:
                self.wfile.write(body)
            else:
                self.wfile.write(body[:stall])
                self.wfile.flush()
                self.server.hub.stalled.set()
                self.server.hub.released.wait()
                self.close_connection = True
        except OSError:
            pass  # the worker was killed


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that was killed


class Hub:
    """Serves the images, and the deltas in a file of `prtiql delta create`."""

    def __init__(self, images, deltas=None):
        self.images, self.stalls, self.deltas = images, {}, {}
        if deltas:
            self.add_deltas(deltas)
        self.stalled, self.released = threading.Event(), threading.Event()
        self.server = Server(("127.0.0.1", PORT), Handler)
        self.server.hub = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add_deltas(self, path):
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member).read() if member.isfile() else b""
                self.deltas["sha256:" + hashlib.sha256(data).hexdigest()] = data

    def manifests(self):
        """(digest, text) of each delta's manifest."""
        return [(name, data) for name, data in self.deltas.items() if data[:1] == b"{" and json.loads(data).get("artifactType") == DELTA]

    def referrers(self, subject):
        """The deltas to the image of that manifest, as a registry lists them."""
        listed = [{"mediaType": OCI_MANIFEST, "digest": name, "size": len(data), "artifactType": DELTA, "annotations": json.loads(data)["annotations"]}
                  for name, data in self.manifests() if json.loads(data)["subject"]["digest"] == subject]
        return json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": listed}).encode()

    def last_part(self):
        """Of the only delta: the blob that makes its last layer."""
        (_, manifest), = self.manifests()
        return json.loads(manifest)["layers"][-1]["digest"]

    def stall(self, blob, after):
        """From now on, that blob stops after so many bytes."""
        self.stalls[blob] = after
        self.stalled.clear()
        self.released.clear()

    def release(self):
        self.stalls.clear()
        self.released.set()


def reference(name):
    return f"127.0.0.1:{PORT}/{name}:1"

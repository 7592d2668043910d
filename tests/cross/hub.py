"""hub.py - a registry with one image, by TLS, at an address of this machine that is not loopback's (whose certificates nobody checks)."""
import gzip, hashlib, http.server, json, os, shutil, socket, ssl, sys, threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import certificate


def address():
    """This machine's own address; loopback's where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing
            return s.getsockname()[0]
        except OSError:
            return "127.0.0.1"


class Hub:
    def __init__(self, folder, config, layer):
        self.folder, self.host = os.path.join(folder, "hub"), address()
        digest = lambda data: "sha256:" + hashlib.sha256(data).hexdigest()
        blob = gzip.compress(layer, 6, mtime=0)
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        about = lambda data, kind: {"mediaType": kind, "digest": digest(data), "size": len(data)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": about(config, "application/vnd.docker.container.image.v1+json"),
                               "layers": [about(blob, "application/vnd.docker.image.rootfs.diff.tar.gzip")]}).encode()
        bodies = {"/v2/": b"{}", "/v2/layer/manifests/1": manifest, "/v2/layer/manifests/" + digest(manifest): manifest}
        bodies |= {"/v2/layer/blobs/" + digest(data): data for data in (config, blob)}

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = bodies.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                if "/manifests/" in self.path:
                    self.send_header("Content-Type", kind)
                    self.send_header("Docker-Content-Digest", digest(manifest))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((self.host, 0), Answer)
        self.server.daemon_threads = True
        authority = "%s:%d" % self.server.server_address[:2]
        self.reference, self.certs = authority + "/layer:1", os.path.join(self.folder, "certs.d")
        own = os.path.join(self.certs, authority)
        os.makedirs(own, exist_ok=True)
        chain = certificate.make(self.folder, self.host)
        shutil.copy(chain[0], own)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*chain)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

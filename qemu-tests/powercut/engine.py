"""The engine under test: starting and ending it, and its API over plain HTTP."""
import http.client, json, os, signal, socket, subprocess, time, urllib.parse


class EngineError(Exception):
    """It answered, and the answer is no."""


class Engine:
    """One daemon on a data root. `wrap`: a command before it, as a tracer."""

    def __init__(self, binary, data, run, wrap=()):
        self.binary, self.data, self.run, self.wrap = binary, data, run, list(wrap)
        self.socket, self.log, self.process = run + "/engine.sock", run + "/engine.log", None
        os.makedirs(run, exist_ok=True)

    def start(self, timeout=30):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*self.wrap, self.binary, "daemon", "-H", "unix://" + self.socket, "--data-root", self.data, "--exec-root", self.run + "/exec",
                 "--pidfile", self.run + "/pid"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.time() + timeout
        while time.time() < end:
            if self.process.poll() is not None:
                break
            try:
                return self.call("GET", "/_ping")
            except (OSError, http.client.HTTPException):
                time.sleep(0.004)
        raise EngineError("the engine does not start: " + self.said()[-600:])

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def kill(self, sig=signal.SIGKILL):
        """Ends the daemon; its children follow when their socket closes."""
        if self.process and self.process.poll() is None:
            try:
                os.kill(self.pid(), sig)
            except (ProcessLookupError, OSError, ValueError):
                self.process.kill()
            self.process.wait()

    def pid(self):
        """The daemon's process, also below a tracer."""
        if not self.wrap:
            return self.process.pid
        with open(self.run + "/pid") as f:
            return int(f.read())

    def children(self, name):
        """Processes of that name that this daemon started."""
        return [pid for pid, parent in processes(name) if parent == self.pid()]

    def settled(self, timeout=20):
        """Waits until no worker is at work."""
        end = time.time() + timeout
        while self.children("prtiql-worker"):
            if time.time() > end:
                raise EngineError("a worker does not end")
            time.sleep(0.004)

    def quiet(self, timeout=10):
        """Waits until what the last daemon started has ended: it may hold files open below the data root."""
        end = time.time() + timeout
        while time.time() < end:
            if not processes("prtiql-"):
                return
            time.sleep(0.004)
        for pid, _ in processes("prtiql-"):
            os.kill(pid, signal.SIGKILL)

    # -- the API -------------------------------------------------------------------------------------------------------------------
    def request(self, method, path, body=None, timeout=60, **query):
        c = http.client.HTTPConnection("engine", timeout=timeout)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(timeout)
        c.sock.connect(self.socket)
        if query:
            path += "?" + urllib.parse.urlencode(query)
        raw = isinstance(body, bytes)
        data = body if raw or body is None else json.dumps(body).encode()
        c.request(method, path, data, {"Content-Type": "application/x-tar" if raw else "application/json"})
        return c, c.getresponse()

    def call(self, method, path, body=None, timeout=60, **query):
        c, answer = self.request(method, path, body, timeout, **query)
        with c.sock if c.sock else answer:
            text = answer.read()
        if answer.status >= 400:
            raise EngineError(f"{method} {path}: {answer.status} {text.decode(errors='replace')[:300]}")
        return json.loads(text) if text[:1] in (b"{", b"[") and b"\n{" not in text.strip() else text

    def stream(self, method, path, body=None, **query):
        """A call that answers with a line for each thing that happens. An error line is an error."""
        text = self.call(method, path, body, **query)
        lines = [text] if isinstance(text, dict) else [json.loads(l) for l in text.splitlines() if l.strip()]
        for line in lines:
            if "error" in line or "message" in line:
                raise EngineError(f"{path}: {line.get('error') or line['message']}")
        return lines

    def pull(self, reference):
        return self.stream("POST", "/images/create", fromImage=reference)

    def load(self, archive):
        return self.stream("POST", "/images/load", archive)

    def verify(self):
        """Damage by layer; empty text for what is intact."""
        return {line["id"]: line["damage"] for line in self.stream("POST", "/system/verify")}


def processes(name):
    """(process, parent) of all in this sandbox whose name begins so."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                if not f.read().startswith(name):
                    continue
            with open(f"/proc/{pid}/stat") as f:
                found.append((int(pid), int(f.read().rpartition(")")[2].split()[1])))
        except OSError:
            pass
    return found

"""Debian's docker-registry on the host, which a guest reaches as 10.0.2.2, and the images in it."""
import gzip, io, json, os, random, socket, subprocess, sys, tarfile, time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, TOP + "/tests/lib")
import push
from lib.tls import Front

PLATFORMS = ["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6", "linux/riscv64"]
ELF_MACHINE = 18  # where an ELF header names the machine
S390 = (22).to_bytes(2, "little")


def layer(files):
    """A layer of (path, mode, content): bytes for a file, text for a link to it, None for a folder."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, mode, content in files:
            info = tarfile.TarInfo(path)
            info.mode, info.mtime = mode, 1735689600
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.LNKTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return raw.getvalue()


def busybox(binary, platform):
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    return layer([("bin", 0o755, None), ("etc", 0o755, None), ("tmp", 0o1777, None), ("bin/busybox", 0o755, binary),
                  *(("bin/" + a, 0o755, "bin/busybox") for a in applets if a != "busybox"),
                  ("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n"), ("etc/platform", 0o644, platform.encode())])


def application(binary, platform):
    """The layers of an application: busybox, or the docker-archive that IMAGE names with one more layer that says what it is for."""
    if "IMAGE" not in os.environ:
        return [busybox(binary, platform)]
    with tarfile.open(os.environ["IMAGE"]) as tar:
        read = lambda name: tar.extractfile(name).read()
        layers = [read(name) for name in json.loads(read("manifest.json"))[0]["Layers"]]
    return [*(gzip.decompress(one) if one[:2] == b"\x1f\x8b" else one for one in layers), layer([("etc/platform", 0o644, platform.encode())])]


def noise(mib, seed):
    """A layer that does not compress."""
    data = random.Random(seed).randbytes(mib << 20)
    return layer([("noise", 0o755, None), *((f"noise/{i}", 0o644, data[i << 20:(i + 1) << 20]) for i in range(mib))])


class Registry:
    def __init__(self, folder):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen([TOP + "/scripts/registry", folder, str(self.port)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.guest, self.host = f"10.0.2.2:{self.port}", f"127.0.0.1:{self.port}"
        self.api = push.Registry("http://" + self.host)
        for _ in range(100):
            try:
                self.api.call("GET", "/v2/")
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError("docker-registry does not start")
        self.tls = Front(folder + "/tls", self.port)

    def stop(self):
        self.tls.stop()
        self.process.terminate()
        self.process.wait()

    def index(self, name, layers, tag="1"):
        """An image index: `layers` is a list of layers for each platform. Returns the reference for a guest."""
        entries = []
        for platform, stack in layers.items():
            system, machine, variant = (platform.split("/") + [""])[:3]
            _, d = self.api.push(name, "of-" + platform.replace("/", "-"), stack, platform=(system, machine, variant))
            p = {"os": system, "architecture": machine, **({"variant": variant} if variant else {})}
            size = len(self.api.call("GET", f"/v2/{name}/manifests/{d}", None, Accept=push.DOCKER["manifest"]).read())
            entries.append({"mediaType": push.DOCKER["manifest"], "digest": d, "size": size, "platform": p})
        self.api.manifest(name, tag, {"schemaVersion": 2, "mediaType": push.DOCKER["list"], "manifests": entries}, push.DOCKER["list"])
        return f"{self.guest}/{name}:{tag}"

    def image(self, name, layers, platform, tag="1"):
        self.api.push(name, tag, layers, platform=tuple((platform.split("/") + [""])[:3]))
        return f"{self.guest}/{name}:{tag}"

    def images(self, arch, binary):
        """What the cases pull on a board of this architecture: name to reference."""
        at = f"{arch.name}/"
        self.base = base = application(binary, arch.platform)
        foreign = binary[:ELF_MACHINE] + S390 + binary[ELF_MACHINE + 2:]
        others = {p: [layer([("etc", 0o755, None), ("etc/platform", 0o644, p.encode())])] for p in PLATFORMS}
        return {
            "busybox": self.index(at + "busybox", {**others, arch.platform: base}),
            "foreign": self.image(at + "foreign", [busybox(foreign, "linux/s390x")], "linux/s390x"),
            "nothing": self.index(at + "nothing", {"linux/s390x": [layer([])], "linux/ppc64le": [layer([])]}),
            "large": self.image(at + "large", [*base, noise(32, 1)], arch.platform),
            "small": self.image(at + "small-with-a-name-as-long-as-those-of-real-ones", [noise(4, 3)], arch.platform),
        }

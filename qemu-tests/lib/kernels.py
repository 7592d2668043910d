"""Debian's kernel and busybox of each architecture, fetched once. What is kept is the kernel and the modules that are needed, not
the packages: unpacking those takes a minute each. No foreign architecture is added to the machine's own apt.
KERNEL, MODULES, DTB and BUSYBOX in the environment name other ones."""
import glob, gzip, hashlib, lzma, os, re, shutil, subprocess
from lib.arch import DISK, ROOT

CACHE = os.path.join(os.environ["PRTIQL_CACHE"], "vm")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = "trixie"  # the one release that has a kernel for all five


class Kernel:
    """One architecture's kernel: `image`, `busybox`, `dtb`, its modules in dependency order, and the file system of a root for it."""

    def __init__(self, arch, folder, root="erofs"):
        self.root = root
        self.image, self.busybox, self.modules = folder + "/kernel", folder + "/busybox", folder + "/modules"
        self.dtb = folder + "/" + arch.dtb if arch.dtb else None
        with open(folder + "/version") as f:
            self.version = f.read()

    def closure(self, names):
        """The modules that `names` need and the kernel has not built in, each after what it depends on."""
        order = []

        def add(name):
            name = name.replace("-", "_")
            path = f"{self.modules}/{name}.ko"
            if name not in order and os.path.exists(path):
                for other in needs(path):
                    add(other)
                order.append(name)

        for name in names:
            add(name)
        return order


def kernel(arch, folder):
    """The one that KERNEL names, with what it needs gathered in `folder`; else Debian's."""
    if "KERNEL" not in os.environ:
        return debian(arch)
    os.makedirs(folder)
    given = lambda name, else_: os.environ.get(name) or else_()
    tree = os.environ.get("MODULES", "").rstrip("/")
    shutil.copy(os.environ["KERNEL"], folder + "/kernel")
    shutil.copy(given("BUSYBOX", lambda: debian(arch).busybox), folder + "/busybox")
    if arch.dtb:
        shutil.copy(given("DTB", lambda: debian(arch).dtb), f"{folder}/{arch.dtb}")
    with open(folder + "/version", "w") as f:
        f.write(os.path.basename(tree) or "none")
    if tree:
        modules(tree, DISK + ROOT + list(arch.modules), folder + "/modules", strict=False)
    return Kernel(arch, folder, root="ext4")  # it has that for the data, and is perhaps older than erofs


def debian(arch):
    """Fetches it unless it is there."""
    names = DISK + ROOT + list(arch.modules)
    mark = hashlib.sha256(repr((names, arch)).encode()).hexdigest()[:8]
    folder = f"{CACHE}/kernels/{arch.name}-{mark}"
    if not os.path.isdir(folder):
        for old in glob.glob(f"{CACHE}/kernels/{arch.name}-{'?' * 8}"):
            shutil.rmtree(old)
        new = f"{CACHE}/kernels/new-{arch.name}"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(new)
        try:
            fetch(arch, names, new)
            shutil.rmtree(new + "/unpacked")
            os.rename(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return Kernel(arch, folder)


def fetch(arch, names, folder):
    tree = folder + "/unpacked"
    os.makedirs(tree)
    environment = {**os.environ, "APT_CONFIG": apt()}

    def unpack(package):
        done = subprocess.run(["apt-get", "download", f"{package}:{arch.debian}"], cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            return done.stderr
        for deb in glob.glob(folder + "/*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
            os.remove(deb)

    found = subprocess.run(["apt-cache", "pkgnames", "linux-image-"], env=environment, capture_output=True, text=True, check=True).stdout.split()
    found = [p for p in found if re.fullmatch(rf"linux-image-[0-9][^-]*-{arch.flavour}", p)]
    # A mirror may list a kernel that it no longer has: then the one before it.
    for package in sorted(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p)], reverse=True):
        trouble = unpack(package)
        if not trouble:
            break
    else:
        raise RuntimeError(f"no kernel for {arch.debian} in Debian {SUITE}: {trouble if found else 'not listed'}")
    if trouble := unpack("busybox-static"):
        raise RuntimeError(trouble)

    version = package.removeprefix("linux-image-")
    with open(folder + "/version", "w") as f:
        f.write(version)
    shutil.copy(glob.glob(tree + "/boot/vmlinu[xz]-*")[0], folder + "/kernel")
    shutil.copy(glob.glob(tree + "/*/bin/busybox")[0], folder + "/busybox")
    if arch.dtb:
        shutil.copy(glob.glob(f"{tree}/usr/lib/linux-image-*/{arch.dtb}")[0], folder)
    modules(f"{tree}/usr/lib/modules/{version}", names, folder + "/modules")


def modules(tree, names, folder, strict=True):
    """Copies the modules of these names, and all that they need, unpacked. `strict`: each must be there, or built in."""
    os.makedirs(folder)
    files = {os.path.basename(p).split(".")[0].replace("-", "_"): p for p in glob.glob(tree + "/**/*.ko*", recursive=True)}
    builtin = set()
    if strict:
        with open(tree + "/modules.builtin") as f:
            builtin = {os.path.basename(line.strip()).removesuffix(".ko").replace("-", "_") for line in f}

    def take(name, needed):
        name = name.replace("-", "_")
        path = f"{folder}/{name}.ko"
        if os.path.exists(path):
            return
        if name not in files:
            if strict and needed and name not in builtin:
                raise RuntimeError(f"{tree} has no module {name}")
            return
        with open(path, "wb") as f:
            f.write(unsigned(unpacked(files[name])))
        for other in needs(path):
            take(other, False)

    for name in names:
        take(name, name not in ("virtio_pci", "virtio_blk", "ipv6", "af_packet"))  # not every kernel has or needs these


def unpacked(path):
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    with {"xz": lzma.open, "gz": gzip.open}.get(path.rpartition(".")[2], open)(path, "rb") as f:
        return f.read()


def unsigned(module):
    """A module without its signature: to check one takes an emulated machine half a second."""
    magic = b"~Module signature appended~\n"
    if not module.endswith(magic):
        return module
    end = len(module) - len(magic)
    size = int.from_bytes(module[end - 4:end], "big")
    return module[:end - 12 - size]


def info(path):
    """What a module says of itself: (field, value) in order."""
    out = subprocess.run(["modinfo", "-0", path], capture_output=True, check=True).stdout.decode(errors="replace")
    return [(key, value) for key, _, value in (line.partition("=") for line in out.split("\0"))]


def needs(path):
    """What must be loaded before a module, soft dependencies included."""
    found = []
    for key, value in info(path):
        if key == "depends":
            found += [n for n in value.split(",") if n]
        elif key == "softdep" and value.startswith("pre:"):
            found += value[4:].split("post:")[0].split()
    return found


def apt(suites=(SUITE,), architectures=("amd64", "arm64", "armhf", "armel", "riscv64")):
    """A private apt with these suites and architectures, from the mirror that this machine uses. Its configuration file."""
    root = CACHE + "/apt"
    conf = root + "/apt.conf"
    for d in ("parts", "lists/partial", "cache/archives/partial"):
        os.makedirs(f"{root}/{d}", exist_ok=True)
    open(root + "/status", "w").close()
    with open(root + "/parts/debian.sources", "w") as f:
        f.write(f"Types: deb\nURIs: {mirror()}\nSuites: {' '.join(suites)}\nArchitectures: {' '.join(architectures)}\n"
                f"Components: main\nSigned-By: {KEYRING}\n")
    with open(conf, "w") as f:
        f.write(f"""APT::Architecture "amd64";
APT::Architectures {{ "amd64"; "arm64"; "armhf"; "armel"; "riscv64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "{root}/cache/pkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/parts";
""")
    subprocess.run(["apt-get", "update"], env={**os.environ, "APT_CONFIG": conf}, check=True, capture_output=True)
    return conf


def mirror():
    """The first archive of Debian's that this machine's own apt knows."""
    lines = []
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.sources")), *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(path):
            with open(path) as f:
                lines += f.read().splitlines()
    for line in lines:
        url = re.match(r"(?:URIs:|deb\s+(?:\[[^]]*\]\s+)?)\s*(https?://\S+/debian)/?(?:\s|$)", line)
        if url:
            return url[1]
    return "http://deb.debian.org/debian"

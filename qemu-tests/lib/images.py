"""Images made without root: the initramfs, the read-only root and the disk with it."""
import os, shutil, stat, struct, subprocess
from lib import kernels
from lib.arch import DISK, ROOT

GUEST = os.path.join(os.path.dirname(__file__), "..", "guest")
MIB = 1 << 20
ROOT_AT, ROOT_MIB = 1, 31  # the partitions, in MiB
DATA_AT = ROOT_AT + ROOT_MIB


def cpio(entries):
    """A newc archive of (name, mode, bytes)."""
    out = bytearray()
    for i, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        head = "070701" + "".join(f"{n:08x}" for n in (i + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        out += head.encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def initramfs(kernel):
    """busybox, the modules for the disk in the order of loading, and /init."""
    order = kernel.closure(DISK)
    entries = [(d, stat.S_IFDIR | 0o755, b"") for d in ("bin", "dev", "proc", "modules", "root")]
    entries += [("bin/busybox", stat.S_IFREG | 0o755, read(kernel.busybox)), ("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
                ("init", stat.S_IFREG | 0o755, read(GUEST + "/initramfs-init")), ("modules/order", stat.S_IFREG | 0o644, "\n".join(order).encode() + b"\n")]
    entries += [(f"modules/{n}.ko", stat.S_IFREG | 0o644, read(f"{kernel.modules}/{n}.ko")) for n in order]
    return cpio(entries)


def root(kernel, arch, engine, extra, folder):
    """A root file system as an image: busybox, the engine, modules, guest/root. `extra`: path to text."""
    tree = folder + "/tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(GUEST + "/root", tree)
    for d in ("bin", "dev", "proc", "sys", "run", "tmp", "data", "root", "mnt"):
        os.makedirs(f"{tree}/{d}", exist_ok=True)
    shutil.copy(kernel.busybox, tree + "/bin/busybox")
    os.symlink("bin", tree + "/sbin")
    shutil.copy(engine, tree + "/bin/prtiql")
    for path, text in extra.items():
        os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
        with open(f"{tree}/{path}", "w") as f:
            f.write(text)
    for applet in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", f"{tree}/bin/{applet}")
    names = kernel.closure(DISK + ROOT + list(arch.modules))
    modules = f"{tree}/lib/modules/{kernel.version}"
    os.makedirs(modules)
    with open(modules + "/modules.dep", "w") as dep, open(modules + "/modules.alias", "w") as alias:
        for name in names:
            path = f"{kernel.modules}/{name}.ko"
            shutil.copy(path, modules)
            others = [n for n in kernel.closure([name]) if n != name]
            dep.write(f"{name}.ko: {' '.join(n + '.ko' for n in reversed(others))}\n")
            alias.writelines(f"alias {v} {name}\n" for k, v in kernels.info(path) if k == "alias")
    with open(modules + "/modules.symbols", "w"):
        pass
    image = folder + "/root.img"
    if os.path.exists(image):
        os.remove(image)
    make = {"erofs": ["mkfs.erofs", "--quiet", "--all-root", "-T", "0", image, tree],
            "ext4": ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", tree, image, f"{ROOT_MIB}M"]}
    subprocess.run(make[kernel.root], check=True, stdout=subprocess.DEVNULL)
    assert os.path.getsize(image) <= ROOT_MIB * MIB
    return image


def disk(path, root_image, mib=1024, data="ext4", content=None):
    """A disk with two partitions: the root, and the data (`ext4` or `f2fs`, with the folder `content` in it). An SD card's size must be a power of two."""
    with open(path, "wb") as f:
        f.truncate(mib * MIB)
        table = b"".join(struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", at * MIB // 512, size * MIB // 512)
                         for at, size in ((ROOT_AT, ROOT_MIB), (DATA_AT, mib - DATA_AT)))
        f.seek(446)
        f.write(table + bytes(32) + b"\x55\xaa")
        f.seek(ROOT_AT * MIB)
        f.write(read(root_image))
    if data == "ext4":
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", "-E", f"offset={DATA_AT * MIB},root_owner=0:0", *(["-d", content] if content else []),
                        path, f"{mib - DATA_AT}M"], check=True, stdout=subprocess.DEVNULL)
    else:
        part = path + ".data"
        with open(part, "wb") as f:
            f.truncate((mib - DATA_AT) * MIB)
        subprocess.run(["mkfs.f2fs", "-q", "-l", "data", part], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["dd", f"if={part}", f"of={path}", "bs=1M", f"seek={DATA_AT}", "conv=notrunc,sparse", "status=none"], check=True)
        os.remove(part)

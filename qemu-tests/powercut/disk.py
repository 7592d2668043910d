"""A disk whose every write is recorded, or one that fails at a chosen write: QEMU's block layer below a loop device.

`qemu-storage-daemon` offers the disk as a file (FUSE); a loop device makes it a block device, and the kernel's own file system
works on it at native speed. The flushes that the file system asks for arrive as flushes.

Not with --direct-io: the loop device would then send requests side by side, and QEMU's export mixes their buffers up (10.0).
"""
import ctypes, mmap, os, subprocess, time

KIB, MIB = 1 << 10, 1 << 20
SIZE = 96 * MIB
# The last MiB lies outside the file system: markers go there.
MARKERS = SIZE - MIB
libc = ctypes.CDLL(None, use_errno=True)


class RigError(Exception):
    """The rig, not the engine, does not work here."""


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise RigError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout.strip()


def make(path, kind="ext4"):
    """An empty file system in a file. Nothing is left to be initialised later: that would be writes that nobody asked for."""
    with open(path, "wb") as f:
        f.truncate(SIZE)
    if kind == "f2fs":
        run("mkfs.f2fs", "-q", "-f", path, str(MARKERS // 512))
    else:
        run("mkfs.ext4", "-qF", "-b", "4096", "-N", "12000", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", path, f"{MARKERS // KIB}k")


def copy_file(source, target):
    """A copy, holes as holes."""
    fd = source if isinstance(source, int) else os.open(source, os.O_RDONLY)
    size, at = os.fstat(fd).st_size, 0
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.ftruncate(out, size)
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        offset = start
        while offset < at:
            offset += os.pwrite(out, os.pread(fd, min(1 << 20, at - offset), offset), offset)
    os.close(out)
    if fd is not source:
        os.close(fd)


class Mount:
    """A file system in a file, mounted."""

    def __init__(self, image, folder, options="noatime"):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.device = folder, run("losetup", "--show", "-f", image)
        try:
            run("mount", "-o", options, self.device, folder)
        except RigError:
            self.detach()
            raise

    def detach(self):
        """Explicitly: a live loop device of the last state would be used again, and pass falsely."""
        run("losetup", "-d", self.device)
        for _ in range(500):
            if not os.path.exists(f"/sys/block/{os.path.basename(self.device)}/loop/backing_file"):
                return
            time.sleep(0.01)
        raise RigError(f"{self.device} is still in use")

    def close(self):
        for _ in range(200):  # a process that was killed a moment ago may still hold a file
            if libc.umount2(self.folder.encode(), 0) == 0:
                return self.detach()
            time.sleep(0.01)
        raise RigError(f"{self.folder}: {os.strerror(ctypes.get_errno())}")


class Storage:
    """qemu-storage-daemon with the node `top` offered as the file `export`."""

    def __init__(self, work, nodes):
        self.export = work + "/export"
        with open(self.export, "wb"):
            pass
        log = open(work + "/storage.log", "wb")
        command = ["qemu-storage-daemon"]
        for node in nodes:
            command += ["--blockdev", node]
        command += ["--export", f"type=fuse,id=e,node-name=top,mountpoint={self.export},writable=on,allow-other=off"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(500):
            if os.path.getsize(self.export) == SIZE:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        self.process.kill()
        with open(work + "/storage.log") as f:
            raise RigError("qemu-storage-daemon offers no disk: " + f.read().strip()[-300:])

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:  # once in some hundred times it serves no more and does not end either
            self.process.kill()
            self.process.wait()
            subprocess.run(["umount", "-l", self.export], check=False)  # it would have done that itself


def file_node(name, path):
    # The host's own disk need not be flushed: only what is recorded counts.
    return f"driver=file,node-name={name},filename={path},cache.no-flush=on"


def recorded(work, image):
    """A disk whose writes and flushes go to work/writes as well, in the order of completion."""
    with open(work + "/writes", "wb"):
        pass
    return Storage(work, [file_node("data", image), file_node("log", work + "/writes"),
                          "driver=blklogwrites,node-name=top,file=data,log=log,log-sector-size=512"])


def marker(device, text):
    """Writes a line past the file system's end, straight to the device: its place in the record says when it happened."""
    block = mmap.mmap(-1, 4096)
    block.write(text.encode().ljust(4096, b"\0"))
    fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
    try:
        os.pwrite(fd, block, MARKERS)
    finally:
        os.close(fd)


def obstacle(work):
    """Why there can be no such disk here; empty if there can."""
    if os.geteuid():
        return "needs root"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            return f"no {device}"
    try:
        make(work + "/probe")
        storage = recorded(work, work + "/probe")
        try:
            Mount(storage.export, work + "/probed").close()
        finally:
            storage.close()
        return ""
    except (OSError, RigError) as e:
        return str(e)


def has_f2fs():
    """Can the kernel mount f2fs, and is there a program that makes one?"""
    if os.access("/sbin/modprobe", os.X_OK):
        subprocess.run(["/sbin/modprobe", "-q", "f2fs"], stderr=subprocess.DEVNULL)
    with open("/proc/filesystems") as f:
        if "f2fs" not in f.read().split():
            return "the kernel has no f2fs"
    return "" if any(os.access(p + "/mkfs.f2fs", os.X_OK) for p in ("/sbin", "/usr/sbin")) else "no mkfs.f2fs"

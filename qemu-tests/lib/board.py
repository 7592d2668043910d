"""A board: QEMU with one disk and one serial line, which a shell in the guest answers."""
import os, re, socket, subprocess, time
from collections import namedtuple
from pexpect import EOF, TIMEOUT, fdpexpect
from lib import images

SLOW = float(os.environ.get("PRTIQL_SLOW", "1"))  # every wait is multiplied by it
# the engine's processes, by what they call themselves, and what is asked of each
EACH = "for p in /proc/[0-9]*; do read -r name <$p/cmdline; case $name in prtiql%s*) %s;; esac; done 2>/dev/null"
PEAK = EACH % ("-worker", r"sed -n 's/VmHWM:[^0-9]*\([0-9]*\).*/\1/p' $p/status")
# the daemon has buried its workers: what they took is in its counts
QUIET = "! grep -qs 'prtiql-worke[r]' /proc/[0-9]*/cmdline && ! grep -qs '(zombie)' /proc/[0-9]*/status && echo quiet"


Cost = namedtuple("Cost", "peak cpu written came cached")


class Failed(Exception):
    """The board did not do what it was told; the end of its console is in the text."""


class Board:
    """`folder` is its own; `options` are words `board.NAME=VALUE` for guest/root/etc/init.d/rcS, `words` are the kernel's."""

    def __init__(self, arch, kernel, disk, folder, memory=256, options=None, words="", qemu=()):
        self.arch, self.kernel, self.disk, self.folder, self.memory, self.qemu = arch, kernel, disk, folder, memory, list(qemu)
        self.options, self.words = {"clock": int(time.time()), **(options or {})}, words
        self.process = self.console = None
        self.boots, self.count, self.log = 0, 0, folder + "/console.log"
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/initramfs", "wb") as f:
            f.write(images.initramfs(kernel))

    # -- power ---------------------------------------------------------------------------------------------------------------------
    def command(self):
        a, line = self.arch, f"console={self.arch.console} quiet panic=-1 mem={self.memory}M board.disk={self.arch.disk} board.root={self.kernel.root} {self.arch.options} {self.words}"
        line += "".join(f" board.{k}={v}" for k, v in self.options.items())
        machine = list(a.machine)
        if a.machine[1] != "raspi0":
            machine += ["-m", str(max(self.memory, 128))]
        drive = "if=sd" if a.net.startswith("usb") else "if=virtio"
        return [f"qemu-system-{a.qemu}", *machine, "-icount", "shift=3,sleep=on", "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", self.kernel.image, "-initrd", self.folder + "/initramfs", "-append", line,
                *(["-dtb", self.kernel.dtb] if self.kernel.dtb else []),
                "-drive", f"{drive},file={self.disk},format=raw,cache=unsafe", "-netdev", "user,id=net", "-device", a.net,
                "-chardev", f"socket,id=line,path={self.folder}/line,server=on,wait=on,logfile={self.log},logappend=on", "-serial", "chardev:line", *self.qemu]

    def start(self, ready=True):
        """Power on; waits for the shell and, if `ready`, for the engine. Returns the guest's seconds from kernel start to the engine."""
        self.boots += 1
        errors = open(self.folder + "/qemu.log", "w")
        path = self.folder + "/line"
        if os.path.exists(path):
            os.remove(path)
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(100):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.1)
        self.console = fdpexpect.fdspawn(self.socket, timeout=180 * SLOW, encoding="utf-8", codec_errors="replace")
        self.expect("# ")  # the shell's prompt
        # its line editor would ask the terminal where the cursor is, and take what comes for the answer
        self.send("stty -echo; dmesg -n 1; while IFS= read -r line; do eval \"$line\"; done")
        self.run("true")
        if not ready:
            return None
        said = self.until(r"sed -n 's/.*ready \([0-9.]*\) s after.*/\1/p' /run/engine.log", 60)
        return float(said.split()[-1])

    def cut(self):
        """The power goes."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.console:
            self.socket.close()
            self.console = None

    def reboot(self):
        """By the guest itself."""
        self.send("reboot")
        try:
            self.process.wait(90 * SLOW)
        except subprocess.TimeoutExpired:
            raise Failed("the guest does not go down:\n" + self.tail())
        self.cut()
        return self.start()

    # -- the console ---------------------------------------------------------------------------------------------------------------
    def tail(self, n=1500):
        with open(self.log, errors="replace") as f:
            return f.read()[-n:].replace("\r", "")

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def expect(self, pattern, timeout=None):
        try:
            self.console.expect(pattern, timeout=-1 if timeout is None else timeout * SLOW)
        except (EOF, TIMEOUT) as e:
            state = self.process.poll()
            raise Failed(f"{type(e).__name__} at {pattern!r}; QEMU {'runs' if state is None else f'ended with {state}'}:\n{self.tail()}") from None

    def run(self, command, timeout=120, check=None):
        """A command of the guest's shell: (exit code, output). What the engine says meanwhile on the same line is left out. `check` is the exit code that it must have."""
        self.count += 1
        mark = f"@{self.count}@"
        end = "" if command.endswith("&") else ";"
        self.send(f"{{ {command}{end} }} >/tmp/out 2>&1 </dev/null; echo \"{mark[:-1]}\"\"@ $?\"; cat /tmp/out; echo; echo \"{mark[:-1]}\"\"@ end\"")
        self.expect(re.escape(mark) + r" (\d+)\r\n", timeout)
        code = int(self.console.match[1])
        self.expect(re.escape(mark) + " end\r\n")
        text = self.console.before.replace("\r", "")
        text = re.sub(r"^engine: .*\n", "", text, flags=re.M).strip("\n")
        if check is not None and code != check:
            raise Failed(f"{command}: exit code {code}, not {check}:\n{text[-1500:]}")
        return code, text

    def sh(self, command, timeout=120):
        """The output of a command that must succeed."""
        return self.run(command, timeout, check=0)[1]

    def until(self, command, timeout):
        """Repeats it until it prints something; its output."""
        end = time.monotonic() + timeout * SLOW
        while True:
            code, text = self.run(command)
            if code == 0 and text:
                return text
            if time.monotonic() > end:
                raise Failed(f"{command} prints nothing in {timeout} s:\n{text}\n{self.tail()}")
            time.sleep(0.2)

    def limit(self, rate):
        """From now on downloads take so many bytes a second ("500k"); "" is no limit. A boot ends it."""
        again = "grep -c 'settings are read again' /run/engine.log"
        before = int(self.run(again)[1])
        file = "/etc/prtiql/daemon.json"
        self.run(f"while umount {file}; do :; done")
        if rate:
            self.sh(f"sed 's/}}$/, \"download-rate-limit\": \"{rate}\"}}/' {file} >/tmp/daemon.json && mount --bind /tmp/daemon.json {file}")
        self.sh("kill -HUP $(cat /run/prtiql.pid)")
        self.until(f"[ $({again}) -gt {before} ] && echo yes", 20)

    def counts(self):
        """Ticks of the workers so far, bytes written to the disk, bytes that came over the net, kB of page cache."""
        disk = self.arch.disk.removesuffix("p")
        self.until(QUIET, 120)
        return [int(n) for n in self.sh(f"""sync; awk '{{ print $16 + $17 }}' /proc/$(cat /run/prtiql.pid)/stat; awk '{{ print $7 * 512 }}' /sys/block/{disk}/stat
            cat /sys/class/net/[eu]*/statistics/rx_bytes; awk '/^Cached:/ {{ print $2 }}' /proc/meminfo""".replace("\n", ";")).split()]

    def measured(self, command, timeout):
        """The output of a command that must succeed, and what the workers took for it: `peak` kB of memory, and the differences of `counts`."""
        before = self.counts()
        self.sh(f"rm -f /tmp/done /tmp/peak; (while [ ! -e /tmp/done ]; do {PEAK} >>/tmp/peak; sleep 0.2; done) >/dev/null 2>&1 &")
        said = self.sh(f"{command}; rc=$?; touch /tmp/done; (exit $rc)", timeout)
        cpu, written, came, cached = (b - a for a, b in zip(before, self.counts()))
        return said, Cost(max(map(int, self.sh("cat /tmp/peak").split())), cpu, written, came, cached)

    # -- a person at the console ---------------------------------------------------------------------------------------------------
    def sit_down(self, terminal="vt102", rows=24, columns=80):
        """As behind a getty: the terminal echoes, and nobody else writes to it."""
        self.send(f"stty echo rows {rows} cols {columns}; export TERM={terminal}; trap : INT; touch /run/quiet")
        self.run("true")

    def stand_up(self):
        self.send("stty -echo; unset TERM; trap - INT; rm -f /run/quiet")
        self.run("true")

    def type(self, command, answers=(), timeout=60):
        """A command whose input and output are the serial line: (exit code, pieces of its output). `answers` are pairs of what it prints and what is
        typed then; a piece ends where one was given, the last one at the end."""
        self.count += 1
        mark = f"@{self.count}@"
        self.send(f'{command}; echo "{mark[:-1]}""@ $?"')
        self.expect(re.escape('@ $?"') + "\r\n")  # the echo
        pieces = []
        for pattern, answer in answers:
            self.expect(pattern, timeout)
            pieces.append((self.console.before + self.console.after).replace("\r", ""))
            self.socket.sendall(answer.encode())
        self.expect(re.escape(mark) + r" (\d+)\r\n", timeout)
        return int(self.console.match[1]), pieces + [self.console.before.replace("\r", "")]

"""What only some machines have: little memory, control groups of version 1, another file system, parts that are bad or absent."""
import re, time
import pytest
from lib import touch
from lib.registry import layer, noise

RUN = "prtiql run --rm {} cat /etc/platform"
AFTER_2038 = 2379931200  # 2045-06-01, noon


@pytest.mark.arch("aarch64")
def test_pull_with_64_mb(lab, fresh):
    """100 MB come without an OOM kill, and the pages of an application that runs stay: its major faults are counted."""
    at = lab.arch.name
    image = lab.registry.image(f"{at}/hundred", [*lab.registry.base, noise(100, 2)], lab.arch.platform)
    app = lab.registry.image(f"{at}/app", [layer([("app", 0o755, touch.program())])], lab.arch.platform)
    board = fresh(memory=64)  # of which this kernel leaves 32, as much as the application and the engine need
    board.start()
    board.sh(f"prtiql pull {app}; dd if=/dev/urandom of=/data/file bs=1M count=4; sync; echo 3 >/proc/sys/vm/drop_caches")
    board.sh(f"prtiql run -d --name app -v /data/file:/file {app} /app")
    time.sleep(5)
    process = board.sh("prtiql inspect --format '{{.State.Pid}}' app")
    faults = f"cut -d ' ' -f 12 /proc/{process}/stat"
    assert int(board.sh(faults)) > 0

    def during(command):
        before = int(board.sh(faults))
        board.sh(command, timeout=900)
        return int(board.sh(faults)) - before

    started = time.monotonic()
    pulling = during(f"prtiql pull -q {image}")
    idle = during(f"sleep {int(time.monotonic() - started) + 1}")
    lab.note(majfaults_64mb=pulling, majfaults_64mb_idle=idle)
    assert board.sh("awk '/^oom_kill / { print $2 }' /proc/vmstat") == "0"
    assert pulling <= idle + 20


@pytest.mark.arch("x86_64")
@pytest.mark.parametrize("kind", ["hybrid", "v1"])
def test_control_groups(lab, fresh, kind):
    """Hybrid, and of version 1 only. Debian's kernels have no memory controller of version 1."""
    board = fresh(options={"cgroup": kind})
    board.start()
    image = lab.images["busybox"]
    assert board.sh(f"prtiql pull -q {image} && " + RUN.format(image)).split("\n")[-1] == lab.arch.platform
    assert board.sh("prtiql info --format '{{.CgroupVersion}}'") == "1"
    assert board.sh(f"prtiql run --rm --pids-limit 30 --cpus 0.5 {image} sh -c 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu*/cpu.cfs_quota_us'").split("\n")[:2] == ["30", "50000"]
    said = board.run(f"prtiql run --rm --pids-limit 8 {image} sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait'")[1]
    assert re.search("can't fork|Resource temporarily unavailable", said), said
    assert board.run(f"prtiql run --rm {image} dd if=/dev/mem of=/dev/null count=1")[0] != 0
    board.sh(f"prtiql run -d --name one --restart always {image} sleep 1000")
    board.sh("prtiql exec one true && prtiql stop -t 0 one && prtiql rm one")
    assert not board.run("find /sys/fs/cgroup -path '*/prtiql/*' -type d | grep .")[1]


@pytest.mark.arch("x86_64")
def test_f2fs(lab, fresh):
    board = fresh(data="f2fs", options={"data": "f2fs"})
    board.start()
    board.sh(f"prtiql pull {lab.images['busybox']}")
    assert board.sh("grep ' /data ' /proc/mounts | cut -d ' ' -f 3") == "f2fs"
    assert board.sh(RUN.format(lab.images["busybox"])) == lab.arch.platform
    board.sh(f"prtiql run -d --name kept --restart always {lab.images['busybox']} sh -c 'echo kept >/file; sleep 1000'")
    board.until("prtiql exec kept cat /file", 20)
    board.cut()
    board.start()
    assert board.until("prtiql exec kept cat /file", 30) == "kept"
    board.sh("prtiql system verify")


@pytest.mark.arch("aarch64")
def test_full_data_partition(lab, fresh):
    """It runs; a pull that lacks room says so, and comes when there is some."""
    board = fresh()
    board.start()
    board.sh("dd if=/dev/zero of=/data/ballast bs=1M count=2000 2>/dev/null; [ -s /data/ballast ]")
    code, said = board.run(f"prtiql pull {lab.images['busybox']}")
    assert code == 1 and re.search("no space left|not enough room|lacks room|free", said), said
    board.cut()
    board.start()
    code, said = board.run(f"prtiql pull {lab.images['busybox']}")
    assert code == 1 and re.search("no space left|not enough room|lacks room|free", said), said
    board.sh("rm /data/ballast")
    board.sh(f"prtiql pull {lab.images['busybox']}")


@pytest.mark.arch("aarch64")
def test_read_only_data_partition(lab, fresh):
    board = fresh(options={"dataopts": "ro"})
    board.start(ready=False)
    said = board.until("grep -i 'read-only' /run/engine.log", 30)
    assert "/data/prtiql" in said


@pytest.mark.arch("aarch64")
def test_clock_at_1970_and_no_network(lab, fresh):
    """The engine comes up, containers of loaded images run, and a pull says what is wrong."""
    board = fresh(options={"clock": "", "net": "off"}, qemu=["-rtc", "base=1970-01-01T00:00:05"])
    board.start()
    assert board.sh("date +%Y") == "1970"
    code, said = board.run(f"prtiql pull {lab.images['busybox']}", timeout=200)
    assert code == 1 and re.search("network is unreachable|no route to host|connect", said, re.I), said
    board.sh("/etc/init.d/network")
    code, said = board.run(f"prtiql pull {lab.by_tls('busybox')}")
    assert code == 1 and re.search("certificate is not yet valid.*clock says 1970-01-01T", said), said
    board.sh(f"prtiql pull {lab.images['busybox']}")
    assert board.sh(RUN.format(lab.images["busybox"])) == lab.arch.platform
    assert board.sh("prtiql ps -a") is not None


@pytest.mark.arch("armv6", "armv7")
def test_after_2038(lab, fresh):
    """The engine's whole life is then: certificates are valid, and dates are right, where a word has 32 bits."""
    board = fresh(options={"clock": AFTER_2038})
    board.start()
    assert board.sh("date +%Y") == "2045"
    board.sh(f"prtiql pull {lab.by_tls('busybox')}", timeout=180)
    board.sh(f"prtiql run -d --name then {lab.by_tls('busybox')} sh -c 'date +%Y; exec sleep 1000'")
    assert board.until("prtiql logs -t then", 20).startswith("2045-06-01T") and board.sh("prtiql logs then") == "2045"
    assert board.sh("prtiql logs --since 2045-06-02 then; prtiql logs --until 2045-05-31 then") == ""
    assert re.match(r"2045-06-01T\S+ 2045-06-01T", board.sh("prtiql inspect --format '{{.Created}} {{.State.StartedAt}}' then"))
    assert re.fullmatch(r"Up (\d+|About a|Less than a) (seconds?|minute)", board.sh("prtiql ps --format '{{.Status}}'"))
    board.sh("prtiql restart -t 0 then && prtiql system verify")


@pytest.mark.arch("aarch64")
def test_no_entropy(lab, fresh):
    """No seed, no generator, and the first thing that the engine does is TLS. (QEMU's seed in the device tree is believed before the kernel has
    read that it must not be.)"""
    board = fresh(words="random.trust_cpu=off random.trust_bootloader=off", qemu=["-machine", "dtb-randomness=off"])
    board.start()
    at = lambda what: board.run(f"dmesg | sed -n 's/^. *\\([0-9.]*\\)] {what}.*/\\1/p'")[1]
    began, seeded = at("Run .init as init"), at("random: crng init done")
    assert began and (not seeded or float(seeded) > float(began)), f"{began} {seeded}"
    board.sh(f"prtiql run --name first {lab.by_tls('busybox')} cat /etc/platform", timeout=180)
    assert board.sh("prtiql logs first") == lab.arch.platform
    assert at("random: crng init done")
    assert not board.run("grep -E 'panic|level=error' /run/engine.log")[1]
    assert re.search("^ok +random numbers", board.sh("prtiql check"), re.M)

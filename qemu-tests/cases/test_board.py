"""The life of a board, on each architecture: one boot for most of it, then a reboot and a power cut."""
import os, re
import pytest
from lib.board import EACH

pytestmark = pytest.mark.smoke
PSS = EACH % ("", "cat $p/smaps_rollup") + " | awk '/^Pss:/ { s += $2 } END { print s + 0 }'"
STOP = EACH % ("-worker", "kill -STOP ${p#/proc/}")


def test_boot_to_engine_ready(lab, board):
    lab.note(ready_s=board.ready, size_mb=round(os.path.getsize(lab.engine) / 1e6, 2))
    assert board.ready < 60
    assert "level=error" not in board.sh("cat /run/engine.log")


def test_idle_memory(lab, board):
    board.sh("sleep 3")
    pss = int(board.sh(PSS))
    lab.note(idle_pss_kb=pss)
    assert 300 < pss < 3000


def test_check_explains_the_kernel(lab, board):
    if board.run("prtiql check --help")[0]:
        pytest.skip("this engine has no check")
    code, said = board.run("prtiql check")
    assert code == 0, said
    for part in ("overlay file system", "filters of system calls", "memory controller", "bridges"):
        assert re.search(f"^ok +{part}$", said, re.M), said
    assert lab.arch.platform in said


def test_pull_chooses_the_platform(lab, board, busybox):
    assert board.sh(f"prtiql run --rm {busybox} cat /etc/platform") == lab.arch.platform
    shown = board.sh(f"prtiql image inspect --format '{{{{.Os}}}}/{{{{.Architecture}}}}/{{{{.Variant}}}}' {busybox}").rstrip("/")
    assert shown == lab.arch.platform


def test_pull_without_a_match(lab, board):
    code, said = board.run(f"prtiql pull {lab.images['nothing']}")
    assert code == 1
    assert f"no matching manifest for {lab.arch.platform} in the manifest list entries" in said


def test_wrong_architecture(lab, board):
    code, said = board.run(f"prtiql run --rm {lab.images['foreign']} true", timeout=180)
    assert code == 126, said
    assert "exec format error" in said
    board.sh("prtiql rmi " + lab.images["foreign"])


def test_run_exec_logs(board, busybox):
    board.sh(f"prtiql run -d --name life {busybox} sh -c 'echo out; echo err >&2; sleep 1000'")
    board.until("prtiql logs life 2>&1 >/dev/null | grep err", 20)  # what comes last
    assert board.sh("prtiql logs life 2>/dev/null") == "out"
    assert board.sh("prtiql logs life 2>&1 >/dev/null") == "err"
    assert board.sh("prtiql exec life sh -c 'hostname; echo $$' | wc -l") == "2"
    assert board.run("prtiql exec life sh -c 'exit 7'")[0] == 7
    assert board.run(f"prtiql run --rm {busybox} sh -c 'exit 9'")[0] == 9
    assert "life" in board.sh("prtiql ps")
    board.sh("prtiql rm -f life")


def test_limits(board, busybox):
    """Seen from inside, and in force."""
    inside = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
    assert board.sh(f"prtiql run --rm --memory 16m --pids-limit 30 --cpus 0.5 {busybox} sh -c '{inside}'").split("\n") == ["16777216", "30", "50000 100000"]
    code, said = board.run(f"prtiql run --name greedy --memory 16m --memory-swap 16m {busybox} sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1'")
    assert code == 137, said
    assert board.sh("prtiql inspect --format '{{.State.OOMKilled}}' greedy") == "true"
    board.sh("prtiql rm greedy")
    said = board.run(f"prtiql run --rm --pids-limit 8 {busybox} sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait'")[1]
    assert re.search("can't fork|Resource temporarily unavailable", said), said
    # half a processor: what is held back is counted
    board.sh(f"prtiql run -d --name half --cpus 0.2 {busybox} sh -c 'while :; do :; done'")
    board.until("prtiql exec half awk '/^nr_throttled/ && $2 > 5' /sys/fs/cgroup/cpu.stat", 60)
    board.sh("prtiql rm -f half")


def test_bridge_and_translation(lab, board, busybox):
    """A container has an address of the bridge's, and the host's registry answers it by way of the board's."""
    said = board.sh(f"prtiql run --rm {busybox} sh -c 'ip -4 addr show eth0; ip route; wget -q -O - http://{lab.registry.guest}/v2/'")
    assert re.search(r"inet 172\.\d+\.\d+\.\d+/16", said), said
    assert said.endswith("{}"), said


def test_seccomp(board, busybox):
    """A call that needs no capability, forbidden by the profile alone."""
    assert board.run("unshare -U true")[0] == 0
    code, said = board.run(f"prtiql run --rm {busybox} unshare -U true")
    assert code == 1 and "Operation not permitted" in said, said
    assert board.sh(f"prtiql run --rm {busybox} sed -n 's/^Seccomp:.//p' /proc/self/status") == "2"
    assert board.run(f"prtiql run --rm --security-opt seccomp=unconfined {busybox} unshare -U true")[0] == 0


def test_memory_with_five_containers(lab, board, busybox):
    for i in range(5):
        board.sh(f"prtiql run -d --name five{i} {busybox} sleep 1000")
    board.sh("sleep 3")
    pss = int(board.sh(PSS))
    lab.note(five_pss_kb=pss)
    board.sh("prtiql rm -f five0 five1 five2 five3 five4")
    assert pss < 4000


def test_reboot(lab, board, busybox):
    board.sh(f"prtiql run -d --name always --restart always {busybox} sleep 1000")
    board.sh(f"prtiql run -d --name stopped --restart unless-stopped {busybox} sleep 1000")
    board.sh("prtiql stop -t 0 stopped")
    board.sh(f"prtiql run -d --name never {busybox} sleep 1000")
    lab.note(again_ready_s=board.reboot())
    board.until("prtiql ps --format '{{.Names}}' | grep -x always", 30)
    assert board.sh("prtiql ps --format '{{.Names}}'") == "always"
    assert board.sh("prtiql exec always cat /etc/platform") == lab.arch.platform
    board.sh("prtiql rm -f always stopped never")


def test_power_cut_in_a_pull(lab, board, busybox):
    """The next boot goes on where the last checkpoint is, and all is intact. The cut comes for sure before the pull's end: the guest itself, by its
    own clock, which the pull is paced by too, stops it a second after its second checkpoint, four seconds before its end."""
    image = lab.images["large"]
    board.limit("3m")
    board.sh(f"prtiql pull {image} >/tmp/pull 2>&1 &")
    board.sh("until grep -q PRTQCKP /data/prtiql/staging/layers/*/checkpoint.1 2>/dev/null; do sleep 0.2; done; sleep 1; " + STOP, timeout=400)
    assert image not in board.sh("prtiql images --format '{{.Repository}}:{{.Tag}}'")
    board.cut()
    board.start()
    _, cost = board.measured(f"prtiql pull {image}", timeout=600)
    at = re.search(r"goes on at byte (\d+) of (\d+)", board.sh("cat /run/engine.log"))
    assert at and int(at[1]) > 8 << 20
    left = int(at[2]) - int(at[1])
    assert cost.came < left * 1.15
    lab.note(pull_rss_kb=cost.peak, pull_written=round(cost.written / left, 3))
    board.sh("prtiql system verify", timeout=300)
    assert board.sh(f"prtiql run --rm {image} ls /noise | wc -l") == "32"
    assert not board.run("ls /data/prtiql/staging/layers 2>/dev/null")[1]

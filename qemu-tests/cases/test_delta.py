"""An update that comes by a delta, beside the same image as a whole: on the machine whose code it is."""
import re
import pytest

pytestmark = pytest.mark.smoke
SHOWN = "prtiql image inspect --format '{{.Id}} {{json .RepoDigests}} {{json .RootFS.Layers}}' "


def test_update_by_delta(lab, board, busybox, update):
    """The same image for a fraction of its bytes, which needs nothing of the old one afterwards."""
    board.sh(f"prtiql pull {update.old}", timeout=600)
    said, delta = board.measured(f"prtiql pull {update.new}", timeout=600)
    assert re.search(r"^Delta from [0-9a-f]{12}: \S+ instead of \S+$", said, re.M), said
    assert re.search(r"^Delta: [\d.]+MB linked, 0B shared, [\d.]+MB written$", said, re.M), said
    shown = board.sh(SHOWN + update.new)
    files = "/data/prtiql/layers/sha256/" + re.findall("sha256:([0-9a-f]{64})", shown)[-1] + "/fs"
    assert int(board.sh(f"find {files} -type f -links +1 -exec stat -c %s {{}} + | awk '{{ s += $1 }} END {{ print s }}'")) == update.same
    board.sh(f"prtiql rmi {update.old}")
    board.sh(f"prtiql system verify {update.new}", timeout=600)
    assert board.sh(f"prtiql run --rm {update.new} {update.tried_by}").startswith(update.says)

    board.sh(f"prtiql rmi {update.new}")
    said, full = board.measured(f"prtiql pull --delta=never {update.new}", timeout=600)
    assert "Delta" not in said, said
    assert board.sh(SHOWN + update.new) == shown
    board.sh(f"prtiql rmi {update.new}")

    lab.note(delta_rss_kb=delta.peak, delta_cpu=round(delta.cpu / full.cpu, 2), delta_written=round(delta.written / update.other, 3),
             delta_came=round(delta.came / update.plain, 3), delta_cached_kb=delta.cached)
    assert delta.peak <= 8192 and delta.cpu <= 3 * full.cpu
    assert delta.came < 0.8 * full.came and delta.cached <= 16384
    # beside the files and the delta itself, what any pull writes: folders, inodes, the journal
    assert delta.written - update.other - delta.came <= 1.5 * (full.written - update.other - update.same)

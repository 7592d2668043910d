"""Figures measured on the boards: a JSON file, and a table at the end."""
import json, os

COLUMNS = [("size_mb", "binary MB"), ("ready_s", "engine ready s"), ("idle_pss_kb", "idle PSS kB"), ("five_pss_kb", "PSS with 5 kB"),
           ("pull_rss_kb", "pull RSS kB"), ("pull_written", "written / byte"),
           ("delta_rss_kb", "delta RSS kB"), ("delta_cpu", "delta CPU / full"), ("delta_written", "delta written / byte"),
           ("delta_came", "delta net / layers"), ("delta_cached_kb", "delta cache kB")]


class Results:
    """Figures by board; those of an earlier run stay where this one measures none."""

    def __init__(self, path):
        self.path, self.boards = path, {}
        if os.path.exists(path):
            with open(path) as f:
                self.boards = json.load(f)

    def note(self, board, **figures):
        self.boards.setdefault(board, {}).update(figures)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".new", "w") as f:
            json.dump(self.boards, f, indent=1, sort_keys=True)
        os.rename(self.path + ".new", self.path)

    def table(self, boards):
        rows = [["board"] + [title for _, title in COLUMNS]]
        rows += [[b] + [str(self.boards[b].get(key, "-")) for key, _ in COLUMNS] for b in boards if b in self.boards]
        widths = [max(map(len, column)) for column in zip(*rows)]
        return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]

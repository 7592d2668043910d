"""The record of all writes, and the states that a power cut could have left.

The format is that of the kernel's dm-log-writes, as QEMU writes it: a super block, then for each request an entry of one sector
(sector, count, flags, length of data; little-endian) and its data.
"""
import json, os, random, struct
from disk import MARKERS, copy_file

SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4


class Write:
    __slots__ = ("start", "size", "at", "fua")

    def __init__(self, start, size, at, fua):
        self.start, self.size, self.at, self.fua = start, size, at, fua  # place and bytes on the disk, offset in the record


class Record:
    """`events`: in order, a Write, "flush", or the parsed text of a marker."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDONLY)
        self.events = []
        end, at = os.fstat(self.file).st_size, SECTOR
        while at + SECTOR <= end:  # the count in the super block lags behind
            sector, count, flags, _ = struct.unpack("<QQQQ", os.pread(self.file, 32, at))
            if not (sector or count or flags):
                break
            at += SECTOR
            start, size = sector * SECTOR, count * SECTOR
            if flags & FLUSH:
                self.events.append("flush")
            if flags & DISCARD or not size:
                continue
            if start >= MARKERS:
                self.events.append(json.loads(os.pread(self.file, size, at).rstrip(b"\0")))
            else:
                self.events.append(Write(start, size, at, bool(flags & FUA)))
            at += size

    def copy(self, disk, write, size=None):
        """Does a write on the disk, or its first bytes only."""
        os.pwrite(disk, os.pread(self.file, write.size if size is None else size, write.at), write.start)

    def count(self, kind):
        return sum(isinstance(e, kind) if isinstance(kind, type) else e == kind for e in self.events)


class State:
    """What the disk has after a cut before event number `point`.

    `kept` None: all writes until then, in order (the prefix). Else: all writes until the last flush, and of the later ones only
    those whose numbers are in `kept`, which has the bytes that arrived of each: what a cache that loses power may do.
    """

    def __init__(self, point, kept=None, torn=False):
        self.point, self.kept, self.torn = point, kept, torn

    def __str__(self):
        return f"event {self.point}" + ("" if self.kept is None else f", {len(self.kept)} of the writes since the flush{', torn' * self.torn}")


def states(record, subsets=4, seed=1):
    """Every prefix that ends in a write or a marker; and at each flush so many random subsets of what it was to make durable."""
    dice = random.Random(seed)
    pending = []
    for point, event in enumerate(record.events):
        if event == "flush":
            for _ in range(subsets if pending else 0):
                yield State(point, *subset(record, pending, dice))
            pending = []
            continue
        if isinstance(event, Write):
            pending.append(point)
        yield State(point + 1)


def subset(record, pending, dice):
    """(what is kept of each write, is one of them torn)"""
    share = dice.choice((0.1, 0.5, 0.5, 0.9))
    kept, torn = {}, False
    for number in pending:
        write = record.events[number]
        if write.fua or dice.random() < share:
            kept[number] = write.size
            if not write.fua and write.size > SECTOR and dice.random() < 0.1:
                kept[number], torn = dice.randrange(1, write.size // SECTOR) * SECTOR, True
    return kept, torn


def sample(record, all_states, most, seed=1):
    """At least `most` of the states: all at an acknowledgement (there a promise is new), the rest at random."""
    if most is None or most >= len(all_states):
        return all_states
    fresh = {p for p, e in enumerate(record.events) if isinstance(e, dict) and e.get("done")}
    chosen = [s for s in all_states if s.point - 1 in fresh and s.kept is None]
    rest = [s for s in all_states if not (s.point - 1 in fresh and s.kept is None)]
    chosen += random.Random(seed).sample(rest, max(0, most - len(chosen)))
    return sorted(chosen, key=lambda s: s.point)


class Replay:
    """The disk as it is at each state, in ascending order: `durable` has all up to a flush, `whole` everything."""

    def __init__(self, record, base, folder):
        self.record = record
        self.disks = []
        self.reached = [0, 0]
        for name in ("durable", "whole"):
            path = f"{folder}/{name}"
            copy_file(base, path)
            self.disks.append(os.open(path, os.O_RDWR))

    def make(self, state, path):
        """Writes the state's disk."""
        if state.kept is None:
            self.advance(1, state.point)
            return copy_file(self.disks[1], path)
        last = max((p for p in range(state.point) if self.record.events[p] == "flush"), default=0)
        self.advance(0, last)
        copy_file(self.disks[0], path)
        disk = os.open(path, os.O_RDWR)
        for number, size in sorted(state.kept.items()):
            self.record.copy(disk, self.record.events[number], size)
        os.close(disk)

    def advance(self, which, point):
        for event in self.record.events[self.reached[which]:point]:
            if isinstance(event, Write):
                self.record.copy(self.disks[which], event)
        self.reached[which] = max(self.reached[which], point)

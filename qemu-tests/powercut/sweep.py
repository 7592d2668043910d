"""Checks states of a record, each as a device would meet it after the power came back.

  sweep.py WORK ENGINE SEED MOST PART PARTS KIND     every PARTS-th of the (at most MOST, 0: all) states; a line of JSON for each

KIND is the file system, or `delta`: an ext4 where an image came by a delta.
"""
import json, os, subprocess, sys, time
import disk
from check import whole
from engine import Engine, EngineError
from hub import Hub
from images import images, pair
from model import Model
from writelog import Record, Replay, sample, states

# What e2fsck may do after a cut: replay the journal and finish what was being deleted.
HARMLESS = ("recovering journal", "Clearing orphaned inode", "files (", "Truncating orphaned inode", "Setting free", "orphan")


def worth(record, kind, seed):
    """The states that there are; of a pull by a delta, those after its base had come."""
    first = record.events.index({"step": 1}) if kind == "delta" else 0
    return [state for state in states(record, seed=seed) if state.point > first]


def fsck(image, kind, torn=False):
    if kind == "f2fs":  # of a disk that has been mounted, which rolled it forward
        done = subprocess.run(["fsck.f2fs", "--dry-run", image], capture_output=True, text=True)
        return [] if done.returncode == 0 and "[Fail]" not in done.stdout else [f"fsck.f2fs: {done.stdout.strip()[-300:]}"]
    done = subprocess.run(["e2fsck", "-fp", image], capture_output=True, text=True)
    # A torn commit block has a wrong checksum: its transaction never was, and nobody had been told that it is.
    harmless = HARMLESS + (("was corrupt, replay was aborted",) if torn else ())
    strange = [l.strip() for l in done.stdout.splitlines() + done.stderr.splitlines() if l.strip() and not any(h in l for h in harmless)]
    return [f"e2fsck: {' '.join(strange)[:300]}"] if strange or done.returncode > 1 else []


class Sweep:
    def __init__(self, work, binary, scratch, kind="ext4"):
        self.work, self.binary, self.scratch, self.kind = work, binary, scratch, kind
        self.record = Record(work + "/writes")
        with open(work + "/steps.json") as f:
            self.steps = json.load(f)
        with open(os.path.dirname(work) + "/trees.json") as f:
            self.trees = json.load(f)
        delta = kind == "delta"
        self.images = pair() if delta else images()
        # Whether what is gone on with is whole is seen by completing it.
        self.others = ("new", "old") if delta else ("next", "big")
        self.replay = Replay(self.record, work + "/base", scratch)
        self.hub = Hub(self.images, os.path.dirname(work) + "/delta.tar" if delta else None)

    def check(self, state, number):
        """What is wrong with a state, and whether a half-made layer was gone on with."""
        image = self.scratch + "/state"
        self.replay.make(state, image)
        # By turns the journal is replayed by e2fsck, as where a device checks its disk at boot, and by the kernel.
        first = self.kind != "f2fs" and number % 2 == 0
        bad = fsck(image, self.kind, state.torn) if first else []
        if bad:
            return bad, False
        try:
            mounted = disk.Mount(image, self.scratch + "/mnt")
        except disk.RigError as e:
            return [str(e)], False
        resumed = False
        engine = Engine(self.binary, mounted.folder + "/data", f"{self.scratch}/run")
        try:
            engine.start()
            # Something small is always pulled; all that the scenario has, now and then and where a half-made layer is to be used.
            resumed = os.path.isdir(engine.data + "/staging/layers") and bool(os.listdir(engine.data + "/staging/layers"))
            further = ("tiny", *self.others) if resumed or number % 10 == 0 else ("tiny",)
            bad = whole(engine, Model.at(self.steps, self.record.events[:state.point]), self.trees, self.images, further)
        except EngineError as e:
            bad = [str(e)]
        finally:
            engine.kill()
            engine.quiet()
            mounted.close()
        return bad + ([] if first else fsck(image, self.kind)), resumed


def main():
    work, binary, seed, most, part, parts, kind = sys.argv[1:8]
    scratch = f"{work}/sweep-{part}"
    os.makedirs(scratch, exist_ok=True)
    # In memory: nothing here need survive, and the disk below is everybody's.
    disk.run("mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", scratch)
    sweep = Sweep(work, binary, scratch, kind)
    chosen = sample(sweep.record, worth(sweep.record, kind, int(seed)), int(most) or None, seed=int(seed))
    for number, state in list(enumerate(chosen))[int(part)::int(parts)]:
        started = time.time()
        bad, resumed = sweep.check(state, number)
        print(json.dumps({"state": str(state), "bad": bad, "resumed": resumed, "seconds": round(time.time() - started, 3)}), flush=True)


if __name__ == "__main__":
    main()

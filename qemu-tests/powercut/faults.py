"""A write that fails (EIO) or a disk that is full (ENOSPC) somewhere in the scenario: what was acknowledged all the same is there.

  faults.py WORK ENGINE SEED MOST WRITES PART PARTS KIND     prints a line of JSON for each; KIND `delta`: while an image comes by a delta
"""
import http.client, json, os, random, sys
import disk
from check import whole
from engine import Engine, EngineError
from hub import Hub, reference
from images import images, pair
from model import Model
from scenario import Stage, delta_steps, steps
from sweep import fsck

BROKEN = (EngineError, OSError, http.client.HTTPException, ValueError, RuntimeError)


def failing(work, image, number):
    """A disk whose write of that number fails, once. The rules are in a file: there may be more than a command line takes."""
    with open(work + "/rules", "w") as f:
        # Each write takes the state from one number to the next.
        for i in range(number):
            f.write(f'[set-state]\nevent = "write_aio"\nstate = "{i + 1}"\nnew_state = "{i + 2}"\n')
        f.write(f'[inject-error]\nevent = "write_aio"\nstate = "{number + 1}"\nerrno = "5"\niotype = "write"\nonce = "on"\n')
    debug = f"driver=blkdebug,node-name=debug,image=data,config={work}/rules"
    return disk.Storage(work, [disk.file_node("data", image), debug, "driver=raw,node-name=top,file=debug"])


class Faults:
    def __init__(self, work, binary, part, kind):
        delta = kind == "delta"
        self.binary, self.images, self.steps = binary, pair() if delta else images(), delta_steps if delta else steps
        # what must come afterwards, with a disk that works and with one that has room again
        self.further, self.again = (("new",), ()) if delta else (("tiny", "next", "big"), ("tiny",))
        with open(work + "/trees.json") as f:
            self.trees = json.load(f)
        self.scratch = f"{work}/faults-{kind}-{part}"
        os.makedirs(self.scratch, exist_ok=True)
        disk.run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", self.scratch)
        disk.make(self.scratch + "/base")
        self.hub = Hub(self.images, work + "/delta.tar" if delta else None)

    def work(self, engine, model):
        """All steps that change something; each may fail. Returns how many did."""
        failed = 0
        for name, effects, function in self.steps(self.images, engine):
            if not effects or any(k.startswith("damage") for k in effects):
                continue
            model.begin(effects)
            try:
                function(Stage(engine, self.hub, self.images))
                model.done(effects)
                if failed:  # a tag that was not moved holds its image
                    model.begin({key: "there" for key, value in effects.items() if key.startswith("image ") and value is None})
            except BROKEN:
                failed += 1
        return failed

    def after(self, model, bad):
        """The next boot, with a disk that works."""
        bad += fsck(self.scratch + "/disk", "ext4")
        mounted = disk.Mount(self.scratch + "/disk", self.scratch + "/mnt")
        engine = Engine(self.binary, mounted.folder + "/data", self.scratch + "/run")
        try:
            engine.start()
            return bad + whole(engine, model, self.trees, self.images, self.further)
        except EngineError as e:
            return bad + [str(e)]
        finally:
            engine.kill()
            engine.quiet()
            mounted.close()

    def eio(self, number):
        disk.copy_file(self.scratch + "/base", self.scratch + "/disk")
        storage = failing(self.scratch, self.scratch + "/disk", number)
        model, failed, bad = Model(), 0, []
        try:
            mounted = disk.Mount(storage.export, self.scratch + "/mnt")
            engine = Engine(self.binary, mounted.folder + "/data", self.scratch + "/run")
            try:
                engine.start()
                failed = self.work(engine, model)
                if engine.process.poll() is not None:
                    bad.append("the daemon has ended: " + engine.said()[-300:])
            except EngineError:
                failed = -1  # it may say at start that the disk is broken
            finally:
                engine.kill()
                engine.quiet()
                mounted.close()
        finally:
            storage.close()
        # A step that failed may have removed an image and not its tag: the tag is set aside, by name. What the model promises is there.
        bad = [line for line in self.after(model, bad) if not ("tag " in line and "its image" in line and line.endswith("is not there"))]
        return f"EIO at write {number}, {failed} steps failed", bad

    def full(self, room):
        """A disk with so much room. Not a crash: with room again the same daemon goes on."""
        disk.copy_file(self.scratch + "/base", self.scratch + "/disk")
        mounted = disk.Mount(self.scratch + "/disk", self.scratch + "/mnt")
        model = Model()
        engine = Engine(self.binary, mounted.folder + "/data", self.scratch + "/run")
        try:
            engine.start()
            space = os.statvfs(mounted.folder)
            with open(mounted.folder + "/filler", "wb") as f:
                os.posix_fallocate(f.fileno(), 0, max(4096, space.f_bavail * space.f_frsize - room))
            failed = self.work(engine, model)
            os.unlink(mounted.folder + "/filler")
            bad = whole(engine, model, self.trees, self.images, self.again)
            for name in self.again if not bad else ():
                engine.call("DELETE", f"/images/{reference(name)}")
        except EngineError as e:
            return f"ENOSPC with {room} bytes", [str(e)]
        finally:
            engine.kill()
            engine.quiet()
            mounted.close()
        return f"ENOSPC with {room >> 10} KiB of room, {failed} steps failed", bad or self.after(model, [])


def main():
    work, binary, seed, most, writes, part, parts, kind = sys.argv[1:9]
    dice = random.Random(int(seed))
    faults = Faults(work, binary, int(part), kind)
    for number in range(int(most)):
        write, room = dice.randrange(1, int(writes)), dice.randrange(28 << 20)
        if number % int(parts) != int(part):
            continue
        did, bad = faults.full(room) if number % 3 == 2 else faults.eio(write)
        print(json.dumps({"state": did, "bad": bad}), flush=True)


if __name__ == "__main__":
    main()

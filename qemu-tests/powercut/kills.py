"""kill -9 of the daemon, a worker or the committer at random moments of random work, with a check after each.

  kills.py WORK ENGINE KILLS SEED PART [delta]      prints a line of JSON for each kill; `delta`: of work with images and deltas
"""
import http.client, json, os, random, signal, sys, threading, time
import disk
from check import container, whole
from engine import Engine, EngineError
from hub import Hub, reference
from images import images, pair
from model import Model
from scenario import create, made, tag, there

DAEMON, WORKER, COMMITTER = "daemon", "prtiql-worker", "prtiql-committer"


class Chaos:
    def __init__(self, work, binary, seed, part, delta=False):
        self.dice = random.Random(f"{seed} {part}")
        with open(work + "/trees.json") as f:
            self.trees = json.load(f)
        scratch = f"{work}/kills-{part}" + "-delta" * delta
        os.makedirs(scratch, exist_ok=True)
        disk.run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", scratch)
        disk.make(scratch + "/disk")
        self.mounted = disk.Mount(scratch + "/disk", scratch + "/mnt")
        self.engine = Engine(binary, self.mounted.folder + "/data", scratch + "/run")
        self.images, self.model, self.took = pair() if delta else images(), Model(), {}
        self.pulled = ("old", "new") if delta else ("big", "next")
        self.hub = Hub(self.images, work + "/delta.tar" if delta else None)
        self.engine.start()

    def now(self, key):
        value, = self.model.allowed.get(key, {None})
        return value

    def work(self):
        """Something that can be done now: (name, effects, function)."""
        e, dice = self.engine, self.dice
        choices = []
        containers = [k.removeprefix("container ") for k in self.model.allowed if k.startswith("container ") and self.now(k)]
        used = {json.loads(self.now("container " + c))[0] for c in containers}
        for name in self.pulled:
            image = self.images[name]
            # The disk has no room for both from their layers: new comes and goes while old is there.
            tagged = {n for n in self.pulled if self.now("tag " + reference(n))}
            if name == "new" and "old" not in tagged or name == "old" and "new" in tagged:
                continue
            if self.now("tag " + reference(name)) is None:
                choices += [(f"pull {name}", {**tag(name, image), **there(image)}, lambda n=name: e.pull(reference(n)))] * 3
            elif image.id not in used:
                # With another tag only the name goes.
                last = all(k == "tag " + reference(name) or self.now(k) != image.id for k in self.model.allowed)
                effects = {**tag(name, None), **({"image " + image.id: None} if last else {})}
                choices.append((f"rmi {name}", effects, lambda n=name: e.call("DELETE", f"/images/{reference(n)}")))
        load = self.images.get("load")
        if load is None:
            pass
        elif self.now("tag " + reference("load")) is None:
            choices += [("load", {**tag("load", load), **there(load)}, lambda: e.load(load.archive(reference("load"))))] * 2
        elif load.id not in used:
            choices.append(("rmi load", {**tag("load", None), "image " + load.id: None}, lambda: e.call("DELETE", f"/images/{reference('load')}")))
        here = [i for i in self.images.values() if self.now("image " + i.id)]
        for image in here[:2]:
            name = f"c{dice.randrange(1000)}"
            if name not in containers:
                choices.append((f"create on {image.name}", made(name, image, [name]), lambda i=image, n=name: create(e, n, i, [n])))
        first = "tag " + reference(self.pulled[0])
        image = self.images[self.pulled[0]]
        if self.now(first):
            choices.append(("tag", tag(f"t{dice.randrange(5)}", image), None))
        for name in containers[:2]:
            choices += [("rm", {"container " + name: None}, lambda n=name: e.call("DELETE", f"/containers/{n}"))] * (1 + len(containers) // 3)
        for key in [k for k in self.model.allowed if k.startswith("tag ") and "/t" in k and self.now(k) and k != "tag " + reference("tiny")][:2]:
            if self.now(first):
                choices.append(("untag", {key: None}, lambda k=key: e.call("DELETE", "/images/" + k.removeprefix("tag "))))
        name, effects, function = dice.choice(choices)
        if function is None:
            (key, _), = effects.items()
            function = lambda: e.call("POST", f"/images/{image.id}/tag", repo=key.removeprefix("tag ").removesuffix(":1"), tag="1")
        return name, effects, function

    def once(self):
        """One piece of work, a kill somewhere in it, one check. Returns (what was done, was there a kill, what is wrong)."""
        name, effects, function = self.work()
        kind = name.split()[0]
        victim = self.dice.choice((DAEMON, WORKER, WORKER, COMMITTER) if kind in ("pull", "load") else (DAEMON, DAEMON, COMMITTER))
        usual = self.took.get(kind, 0.3 if kind in ("pull", "load") else 0.02)
        outcome = {}

        def act():
            started = time.time()
            try:
                function()
                outcome["took"] = time.time() - started
            except (EngineError, OSError, http.client.HTTPException, ValueError) as error:
                outcome["error"] = error
        self.model.begin(effects)
        actor = threading.Thread(target=act)
        actor.start()
        time.sleep(self.dice.random() * usual * 1.2)
        targets = [self.engine.process.pid] if victim == DAEMON else self.engine.children(victim)
        try:
            for pid in targets[:1]:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            targets = []  # it had just ended by itself
        if victim == DAEMON:
            self.engine.process.wait()
            self.engine.start()
        actor.join()
        did = f"{name}, {victim} {'killed' if targets else 'not there'}, {'done' if 'took' in outcome else 'failed'}"
        if "took" in outcome:
            self.model.done(effects)
            self.took[kind] = (self.took.get(kind, outcome["took"]) + outcome["took"]) / 2
        elif not targets or victim == COMMITTER:
            # The daemon starts another committer, and gives it what was not acked: nobody may notice.
            return did, bool(targets), [f"{name} failed: {outcome['error']}"]
        if self.engine.process.poll() is not None:
            return did, bool(targets), ["the daemon has ended: " + self.engine.said()[-300:]]
        bad = whole(self.engine, self.model, self.trees, self.images, settle=True)
        if bad:
            bad.append("the log ends: " + self.engine.said()[-400:])
        else:
            self.engine.call("DELETE", f"/images/{reference('tiny')}")
        return did, bool(targets), bad

    def close(self):
        self.engine.kill()
        self.engine.quiet()
        self.mounted.close()


def main():
    work, binary, kills, seed, part = sys.argv[1:6]
    chaos = Chaos(work, binary, int(seed), int(part), "delta" in sys.argv[6:])
    try:
        left = int(kills)
        while left > 0:
            did, killed, bad = chaos.once()
            left -= killed  # a worker that had ended before its turn does not count
            print(json.dumps({"state": did, "killed": killed, "bad": bad}), flush=True)
            if bad:
                return  # what follows would only follow from it
    finally:
        chaos.close()


if __name__ == "__main__":
    main()

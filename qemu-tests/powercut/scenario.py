"""What the engine is asked to do while the record runs. A step is added here and nowhere else: its name, its effects as the model
has them, and a function that returns when the engine has acknowledged."""
import os, signal, subprocess
from check import container
from hub import reference


class Stage:
    """All that a step needs."""

    def __init__(self, engine, hub, images):
        self.engine, self.hub, self.images = engine, hub, images


def tag(name, image):
    return {"tag " + reference(name): image and image.id}


def there(image):
    return {"image " + image.id: "there"}


def gone(image):
    return {"image " + image.id: None}


def create(engine, name, image, command):
    engine.call("POST", "/containers/create", {"Image": image.id, "Cmd": command, "Labels": {"made": "by the test"}}, name=name)


def made(name, image, command):
    return {"container " + name: container(image.id, command, {"of": image.name, "made": "by the test"})}


def interrupted(stage, name, layer, share):
    """A pull whose registry stops in the middle of a layer, and whose client goes away then."""
    image = stage.images[name]
    blob = [b for b in image.blobs if b != image.id][layer]
    stage.hub.stall(blob, int(len(image.blobs[blob]) * share))
    connection, answer = stage.engine.request("POST", "/images/create", fromImage=reference(name))
    if not stage.hub.stalled.wait(60):
        raise RuntimeError("the pull did not come to its interruption")
    connection.sock and connection.sock.close()
    answer.close()
    connection.close()
    stage.engine.settled()
    stage.hub.release()


def repairable(engine):
    said = subprocess.run([engine.binary, "system", "verify", "--help"], capture_output=True, text=True)
    return "--repair" in said.stdout + said.stderr


def spoil(engine, diff_id):
    """Damages a file of a layer, as a worn-out flash does."""
    folder = f"{engine.data}/layers/sha256/{diff_id.removeprefix('sha256:')}/fs/etc"
    with open(folder + "/motd", "r+b") as f:
        f.write(b"#")
        os.fsync(f.fileno())


def repair(engine):
    done = subprocess.run([engine.binary, "-H", "unix://" + engine.socket, "system", "verify", "--repair"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"verify --repair: {done.stdout[-300:]} {done.stderr[-300:]}")


def halted(stage, name, delta):
    """A pull by a delta whose worker is killed when the last layer's delta is to come."""
    stage.hub.stall(delta, 10)
    connection, answer = stage.engine.request("POST", "/images/create", fromImage=reference(name))
    if not stage.hub.stalled.wait(60):
        raise RuntimeError("no delta was asked for")
    for pid in stage.engine.children("prtiql-worker"):
        os.kill(pid, signal.SIGKILL)
    answer.read()
    connection.close()
    stage.engine.settled()
    stage.hub.release()


def by_delta(stage, name):
    """A pull that must take the delta: else the record would be of something else."""
    said = stage.engine.stream("POST", "/images/create", fromImage=reference(name), delta="require")
    if not any("Delta from" in line.get("status", "") for line in said):
        raise RuntimeError(f"the pull takes no delta: {said[-3:]}")


def delta_steps(images, engine):
    """An image from which another is made by a delta."""
    old, new = images["old"], images["new"]
    e = engine
    yield "pull of the base", {**tag("old", old), **there(old)}, lambda s: e.pull(reference("old"))
    yield "interrupted pull by a delta", {}, lambda s: halted(s, "new", s.hub.last_part())
    yield "pull by a delta", {**tag("new", new), **there(new)}, lambda s: by_delta(s, "new")
    yield "removal of the base", {**tag("old", None), **gone(old)}, lambda s: e.call("DELETE", f"/images/{reference('old')}")


def steps(images, engine):
    """(name, effects, function) of each step, in order."""
    big, following, load = images["big"], images["next"], images["load"]
    spoiled = "damage " + following.diff_ids[-1]
    e = engine
    yield "pull", {**tag("big", big), **there(big)}, lambda s: e.pull(reference("big"))
    yield "tag", tag("keep", big), lambda s: e.call("POST", f"/images/{big.id}/tag", repo=reference("keep").removesuffix(":1"), tag="1")
    yield "create", made("one", big, ["a"]), lambda s: create(e, "one", big, ["a"])
    yield "interrupted pull", {}, lambda s: interrupted(s, "next", 1, 0.93)
    yield "resumed pull", {**tag("next", following), **there(following)}, lambda s: e.pull(reference("next"))
    yield "tag move", tag("keep", following), lambda s: e.call("POST", f"/images/{following.id}/tag", repo=reference("keep").removesuffix(":1"), tag="1")
    yield "container removal", {"container one": None}, lambda s: e.call("DELETE", "/containers/one")
    yield "another create", made("two", following, ["b", "c"]), lambda s: create(e, "two", following, ["b", "c"])
    yield "image removal", {**tag("big", None), **gone(big)}, lambda s: e.call("DELETE", f"/images/{reference('big')}")
    yield "load", {**tag("load", load), **there(load)}, lambda s: e.load(load.archive(reference("load")))
    if repairable(engine):
        yield "damage", {spoiled: "possible"}, lambda s: spoil(e, following.diff_ids[-1])
        yield "verify --repair", {spoiled: None}, lambda s: repair(e)
    yield "volume", {"volume kept": "there"}, lambda s: e.call("POST", "/volumes/create", {"Name": "kept"})
    yield "volume removal", {"volume kept": None}, lambda s: e.call("DELETE", "/volumes/kept")
    yield "last create", made("three", load, ["d"]), lambda s: create(e, "three", load, ["d"])
    yield "last removal", {"container three": None}, lambda s: e.call("DELETE", "/containers/three")

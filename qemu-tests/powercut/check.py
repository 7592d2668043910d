"""Is everything that was acknowledged there and whole, and nothing half-made visible?"""
import glob, hashlib, json, os, stat, time
from engine import EngineError
from hub import reference

# An interrupted pull leaves these on purpose: the next one goes on from there.
RESUMABLE = "layers"


def look(engine):
    """What the engine shows, as the model names it."""
    found = {}
    for image in engine.call("GET", "/images/json", all=1):
        found["image " + image["Id"]] = "there"
        for tag in image.get("RepoTags") or []:
            if tag != "<none>:<none>":
                found["tag " + tag] = image["Id"]
    for listed in engine.call("GET", "/containers/json", all=1):
        c = engine.call("GET", f"/containers/{listed['Id']}/json")
        found["container " + c["Name"].lstrip("/")] = container(c["Image"], c["Config"]["Cmd"], c["Config"]["Labels"])
    for volume in engine.call("GET", "/volumes")["Volumes"] or []:
        found["volume " + volume["Name"]] = "there"
    return found


def container(image, command, labels):
    """All that makes a container of these tests."""
    return json.dumps([image, command, labels], sort_keys=True)


def fingerprint(layer):
    """Of everything but the content of files, which `verify` reads: names, kinds, modes, owners, times, links, attributes."""
    total = hashlib.sha256()
    links = {}

    def walk(folder, at):
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            s = entry.stat(follow_symlinks=False)
            name = at + "/" + entry.name
            # A whiteout is of no time: the tar has none for it that would matter.
            when = 0 if stat.S_ISCHR(s.st_mode) and s.st_rdev == 0 else s.st_mtime_ns
            folder_like = stat.S_ISDIR(s.st_mode)
            first = name if folder_like else links.setdefault(s.st_ino, name)
            target = os.readlink(entry.path) if entry.is_symlink() else ""
            attributes = [(a, os.getxattr(entry.path, a, follow_symlinks=False)) for a in sorted(os.listxattr(entry.path, follow_symlinks=False))]
            total.update(repr((name, s.st_mode, s.st_uid, s.st_gid, when, s.st_rdev, 0 if folder_like else s.st_size, first, target,
                               attributes)).encode())
            if folder_like:
                walk(entry.path, name)
    for part in ("fs", "extra"):
        if os.path.isdir(f"{layer}/{part}"):
            walk(f"{layer}/{part}", part)
    return total.hexdigest()


def layers(data):
    folder = data + "/layers/sha256"
    return os.listdir(folder) if os.path.isdir(folder) else []


def fingerprints(data):
    return {name: fingerprint(f"{data}/layers/sha256/{name}") for name in layers(data)}


def damage(engine, trees, damaged=()):
    """Layers that are not what their names say. `damaged`: those that may be."""
    bad = [f"layer {name}: {why}" for name, why in engine.verify().items() if why and name not in damaged]
    for name, tree in fingerprints(engine.data).items():
        if trees.get(name, tree) != tree and "sha256:" + name not in damaged:
            bad.append(f"layer {name}: its files have other names, modes, owners, times or attributes")
    return bad


def leaks(data, timeout=8):
    """What is left in staging/ and trash/ after a while."""
    end = time.time() + timeout
    while True:
        left = [p for p in glob.glob(data + "/staging/*") + glob.glob(data + "/trash/*") if os.path.basename(p) != RESUMABLE]
        if not left or time.time() > end:
            inside = lambda p: " ".join(map(os.path.basename, glob.glob(p + "/*")[:5])) or "nothing"
            return ["left behind: " + "; ".join(f"{p.removeprefix(data + '/')} with {inside(p)}" for p in left[:4])] if left else []
        time.sleep(0.02)


def complaints(engine):
    """What the engine itself finds broken."""
    return [line.split("msg=", 1)[-1] for line in engine.said().splitlines() if "set aside" in line or "panicked" in line or "damaged" in line]


def whole(engine, model, trees, images, further=("tiny",), settle=False):
    """All checks on a running engine. Returns sentences; none is good. The pulls of `further` must complete."""
    damaged = model.damaged()
    try:
        found = look(engine)
        bad = complaints(engine) + model.problems(found) + damage(engine, trees, damaged)
        if bad:
            return bad
        if settle:
            model.settle(found)
        for name in further:
            image = images[name]
            engine.pull(reference(name))
            if engine.call("GET", f"/images/{reference(name)}/json")["Id"] != image.id:
                bad.append(f"a further pull of {name} gives another image")
            if name == further[-1] != further[0] and os.listdir(engine.data + "/staging/layers"):
                bad.append(f"half-made layers stay after all pulls: {os.listdir(engine.data + '/staging/layers')}")
        if further:
            bad += damage(engine, trees, damaged)
        return bad + leaks(engine.data)
    except (EngineError, OSError, ValueError) as e:
        return [f"{type(e).__name__}: {e}"]

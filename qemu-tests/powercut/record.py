"""Runs the scenario on a disk that records every write: WORK gets base (the empty disk), writes, and steps.json."""
import json, os
import disk
from check import fingerprints, leaks
from engine import Engine
from hub import reference
from scenario import Stage, steps

# strace makes a call do nothing and say that it did all: the negative controls, on the real binary.
SYNCS = "fsync,fdatasync,syncfs,sync_file_range,sync,msync"


def tracer(work):
    return ["strace", "-f", "-qq", "-o", work + "/strace.log", "--seccomp-bpf"]


def without_sync(work, data):
    return [*tracer(work), "-e", "trace=" + SYNCS, "-e", f"inject={SYNCS}:retval=0"]


def without_content_sync(work, data):
    """Of the file system as a whole, which is how the files of layers become durable."""
    return [*tracer(work), "-e", "trace=syncfs,sync_file_range", "-e", "inject=syncfs,sync_file_range:retval=0"]


def without_folder_sync(work, data):
    """Only of the folders whose entries make a thing real."""
    folders = [f"{data}/{f}" for f in ("layers/sha256", "images/sha256", "tags", "containers", "trash")]
    return [*tracer(work), "-e", "trace=fsync", "-e", "inject=fsync:retval=0", *[a for f in folders for a in ("-P", f)]]


def record(work, binary, hub, images, kind="ext4", control=None, steps=steps):
    """Returns the names of the steps done."""
    os.makedirs(work, exist_ok=True)
    disk.make(work + "/base", kind)
    disk.copy_file(work + "/base", work + "/disk")
    storage = disk.recorded(work, work + "/disk")
    done = []
    try:
        mounted = disk.Mount(storage.export, work + "/mnt")
        data = mounted.folder + "/data"
        try:
            engine = Engine(binary, data, work + "/run", control(work, data) if control else ())
            engine.start()
            try:
                stage = Stage(engine, hub, images)
                for number, (name, effects, function) in enumerate(steps(images, engine)):
                    done.append({"name": name, "effects": effects})
                    disk.marker(mounted.device, json.dumps({"step": number}))
                    function(stage)
                    disk.marker(mounted.device, json.dumps({"step": number, "done": True}))
                left = leaks(data)
                if left:
                    raise disk.RigError(f"at the end of the record: {left}")
            finally:
                engine.kill()
                engine.quiet()
        finally:
            mounted.close()
    finally:
        storage.close()
    with open(work + "/steps.json", "w") as f:
        json.dump(done, f)
    return [d["name"] for d in done]


def pristine(work, binary, images):
    """What the layers look like that were pulled in peace, each from its blob: fingerprints by diff ID."""
    os.makedirs(work, exist_ok=True)
    disk.make(work + "/full")
    mounted = disk.Mount(work + "/full", work + "/mnt")
    try:
        engine = Engine(binary, mounted.folder + "/data", work + "/run")
        engine.start()
        try:
            for name in images:
                engine.stream("POST", "/images/create", fromImage=reference(name), delta="never")
            return fingerprints(engine.data)
        finally:
            engine.kill()
            engine.quiet()
    finally:
        mounted.close()

#!/usr/bin/env python3
"""delta.py - what a delta costs: its size beside a plain pull's and other tools', and the time and memory to make and to apply it.

  delta.py BINARY [--corpus DIR] [--make SCRIPT] [--pairs A,B] [--level N] [--no-peers] [--check|--record] [--work DIR]

The corpus has a folder for each pair with old.tar and new.tar (default ~/.cache/prtiql/corpus); --make names the script that makes it if
it is not there. Each tar becomes an image of one layer. Every delta is applied again, and what it makes compared. Peers: gzip -6, which is
what a pull costs; rdiff as balenaEngine calls it, and gzip; zstd --patch-from; bsdiff; HDiffPatch (PyPI's hdiffpatch, zstd 21). What is not
installed is left out. --check compares our sizes with those of benches/delta.json, for CI: 1 if one has grown by more than 1 %; --record
writes them there.
"""
import argparse, gzip, hashlib, io, json, os, shutil, subprocess, sys, tarfile, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
RECORD = os.path.join(HERE, "delta.json")
CORPUS = os.path.expanduser("~/.cache/prtiql/corpus")
PAIRS = ["python", "node", "native", "go", "rust", "debian"]
MACHINES = {"native": ("arm64", None), "python": ("arm64", None), "go": ("arm", "v7"), "rust": ("arm", "v7")}
GROWTH = 1.01


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def archive(tar, out, pair):
    """A docker-archive whose image has that one layer."""
    machine, variant = MACHINES.get(pair, ("amd64", None))
    config = {"architecture": machine, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(tar)]}}
    if variant:
        config["variant"] = variant
    config = json.dumps(config).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(out, "w") as t:
        for path, content in ((name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
        t.add(tar, "layer.tar")


def timed(*command):
    """Seconds and peak memory in kB: the kernel's figure while it runs, as that of wait4 counts from before the exec."""
    start, peak, error = time.monotonic(), 0, tempfile.TemporaryFile()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=error)
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as f:
                # Before the exec it is this program.
                lines = dict(line.split(":", 1) for line in f)
            if not lines["Name"].startswith("\tpython"):
                peak = max(peak, int(lines.get("VmHWM", "0").split()[0]))
        except OSError:
            pass
        time.sleep(0.005)
    if process.returncode:
        error.seek(0)
        sys.exit(f"{' '.join(command)}: {error.read().decode(errors='replace')}")
    return time.monotonic() - start, peak


def layer_delta(file, out):
    """The layer's delta in what `delta create` has written."""
    with tarfile.open(file) as t:
        for member in t:
            content = t.extractfile(member)
            if content and content.read(7) == b"PRTQDLT":
                content.seek(0)
                with open(out, "wb") as f:
                    shutil.copyfileobj(content, f)
                return os.path.getsize(out)
    sys.exit(f"{file} has no delta")


def ours(binary, pair, folder, work, level):
    old, new = f"{folder}/old.tar", f"{folder}/new.tar"
    for name in ("old", "new"):
        archive(f"{folder}/{name}.tar", f"{work}/{name}.image", pair)
    create = timed(binary, "delta", "create", "-q", "--level", str(level), f"{work}/old.image", f"{work}/new.image", "-o", f"{work}/delta.oci")
    size = layer_delta(f"{work}/delta.oci", f"{work}/delta")
    apply = timed(binary, "delta", "apply", f"{work}/old.image", f"{work}/delta.oci", "-o", f"{work}/made.image")
    want, wanted = digest(new), os.path.getsize(new)
    with tarfile.open(f"{work}/made.image") as t:
        same = any(m.size == wanted and hashlib.sha256(t.extractfile(m).read()).hexdigest() == want for m in t if m.isfile())
    if not same:
        sys.exit(f"{pair}: another tar than the new one")
    return size, create, apply


def peers(folder, work):
    old, new, out = f"{folder}/old.tar", f"{folder}/new.tar", f"{work}/peer"
    sizes = {}

    def run(name, *command):
        if shutil.which(command[0]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            sizes[name] = os.path.getsize(out)

    with open(new, "rb") as f:
        sizes["gzip"] = len(gzip.compress(f.read(), 6, mtime=0))
    options = ["-b", "512", "-S", "32", "-H", "blake2", "-R", "rollsum"]
    if shutil.which("rdiff"):
        subprocess.run(["rdiff", "-f", *options, "signature", old, f"{work}/signature"], check=True)
        subprocess.run(["rdiff", "-f", "delta", f"{work}/signature", new, out], check=True)
        with open(out, "rb") as f:
            sizes["balena"] = len(gzip.compress(f.read(), 6, mtime=0))
    run("zstd", "zstd", "-q", "-f", "-19", "--long=27", f"--patch-from={old}", new, "-o", out)
    run("bsdiff", "bsdiff", old, new, out)
    try:
        import hdiffpatch
    except ImportError:
        return sizes
    with open(old, "rb") as a, open(new, "rb") as b:
        diff = hdiffpatch.diff(a.read(), b.read(), compression=hdiffpatch.ZStdConfig(level=21, window=24))
    sizes["HDiffPatch"] = len(diff)
    return sizes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--corpus", default=CORPUS)
    parser.add_argument("--make")
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--level", default=9, type=int)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--work")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    recorded = json.load(open(RECORD)) if os.path.exists(RECORD) else {}
    columns = ["gzip", "balena", "zstd", "bsdiff", "HDiffPatch"]
    grown = []
    number = lambda n: f"{n:,}".replace(",", " ") if n is not None else "-"
    print("| pair (new tar) | gzip -6 = full pull | balena | zstd --patch-from -19 | bsdiff | HDiffPatch | **prtiql** | create | apply |\n" + "|---" * 9 + "|")
    for pair in args.pairs.split(","):
        folder = f"{args.corpus}/{pair}"
        if not os.path.exists(f"{folder}/new.tar"):
            if not args.make:
                print(f"skip {pair}: no {folder}/new.tar", file=sys.stderr)
                continue
            subprocess.run([sys.executable, args.make, args.corpus, pair], check=True, stdout=subprocess.DEVNULL)
        with tempfile.TemporaryDirectory(dir=args.work) as work:
            size, create, apply = ours(args.binary, pair, folder, work, args.level)
            others = {} if args.no_peers else peers(folder, work)
        cells = [number(others.get(c)) for c in columns] + [f"**{number(size)}**"]
        cells += [f"{s:.1f} s, {kb / 1000:.0f} MB" for s, kb in (create, apply)]
        print(f"| {pair} ({os.path.getsize(f'{folder}/new.tar') / 1e6:.1f} MB) | " + " | ".join(cells) + " |", flush=True)
        # Debian's archive moves on: a size holds only for the tars that it was measured with.
        now = {"size": size, "tars": digest(f"{folder}/old.tar")[:16] + digest(f"{folder}/new.tar")[:16]}
        before = recorded.get(pair)
        if args.check and before and before["tars"] == now["tars"] and size > before["size"] * GROWTH:
            grown.append(f"{pair}: {size} bytes, recorded are {before['size']}")
        recorded[pair] = now
    if args.record:
        with open(RECORD, "w") as f:
            json.dump(recorded, f, indent=1, sort_keys=True)
            f.write("\n")
    for line in grown:
        print("grown:", line, file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""powercut.py ENGINE WORK: cuts the power, kills and breaks the disk, and prints a line for each kind: ok, FAIL, skip.

Runs in a sandbox (scripts/powercut). From the environment: STATES, KILLS, FAULTS (how many; 0: all states, no kills, no faults),
SEED, JOBS (side by side), ONLY (ext4, delta, f2fs, controls, kills, faults: what to run).
"""
import json, os, subprocess, sys, time
import disk, record, scenario
from hub import Hub, reference
from images import images, pair
from sweep import worth
from writelog import Record, Write, sample

HERE = os.path.dirname(os.path.abspath(__file__))
SANDBOX = os.path.join(HERE, "../../scripts/sandbox")
ENGINE, WORK = sys.argv[1:3]
STATES, KILLS, FAULTS, SEED = (int(os.environ.get(n, d)) for n, d in (("STATES", 300), ("KILLS", 60), ("FAULTS", 20), ("SEED", 1)))
# Most of a check is waiting for the trash, which is emptied after a second.
JOBS = int(os.environ.get("JOBS", 4 * os.cpu_count()))
ONLY = os.environ.get("ONLY", "ext4 delta f2fs controls kills faults").split()
CONTROLS = (("without_sync", "no fsync at all"), ("without_folder_sync", "no fsync of folders"), ("without_content_sync", "no syncfs of a layer's files"))
failed = False


def say(good, name, text=""):
    global failed
    failed |= not good
    print(f"{'ok  ' if good else 'FAIL'} {name}{': ' + text if text else ''}", flush=True)


def skip(name, reason):
    print(f"skip {name}: {reason}", flush=True)


def together(jobs, script, *arguments):
    """Runs a script several times side by side, each in a sandbox of its own; yields what they print."""
    running = []
    for part in range(jobs):
        command = [SANDBOX, sys.executable, os.path.join(HERE, script), *[str(a(part)) if callable(a) else str(a) for a in arguments]]
        out = open(f"{WORK}/{script}-{part}.out", "w+")
        running.append((subprocess.Popen(command, stdout=out, stderr=open(f"{WORK}/{script}-{part}.err", "w")), out, part))
    for process, out, part in running:
        status = process.wait()
        out.seek(0)
        yield from (json.loads(line) for line in out)
        if status:
            with open(f"{WORK}/{script}-{part}.err") as f:
                yield {"state": f"part {part} of {script}", "rig": True, "bad": [f"exited {status}: {f.read().strip()[-600:]}"]}


def results(kind, jobs, script, *arguments):
    """All lines of the parts; the bad ones also go into WORK/<kind>.bad."""
    started = time.time()
    lines = list(together(jobs, script, *arguments))
    bad = [l for l in lines if l["bad"]]
    with open(f"{WORK}/{kind}.bad", "w") as f:
        f.writelines(json.dumps(l) + "\n" for l in bad)
    return lines, bad, time.time() - started


def told(bad):
    return "; ".join(f"[{b['state']}] {b['bad'][0]}" for b in bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")


def sweep(kind, most, control=None, jobs=JOBS):
    """Records and checks. Returns (bad states, a line about all)."""
    work = f"{WORK}/{control or kind}"
    steps = scenario.delta_steps if kind == "delta" else scenario.steps
    steps = record.record(work, ENGINE, hub, all_images, "f2fs" if kind == "f2fs" else "ext4", control and getattr(record, control), steps)
    r = Record(work + "/writes")
    possible = worth(r, kind, SEED)
    lines, bad, took = results(control or kind, jobs, "sweep.py", work, ENGINE, SEED, most, lambda part: part, jobs, kind)
    resumed = sum(l.get("resumed", False) for l in lines)
    about = f"{len(lines)} of {len(possible)} states after cuts in {len(steps)} steps, {resumed} with a layer to go on with, {len(bad)} bad, {took:.0f} s"
    if len(lines) < len(sample(r, possible, most or None, SEED)):
        bad.append({"state": "the sweep", "rig": True, "bad": ["it ended early"]})
    return bad, about


def writes(kind):
    """How many the scenario makes."""
    work = f"{WORK}/{kind}"
    if not os.path.exists(work + "/steps.json"):
        steps = scenario.delta_steps if kind == "delta" else scenario.steps
        record.record(work, ENGINE, hub, all_images, "ext4", None, steps)
    return Record(work + "/writes").count(Write)


def main():
    if "ext4" in ONLY:
        bad, about = sweep("ext4", STATES)
        say(not bad, f"power cut: {about}", told(bad))
    if "delta" in ONLY:
        bad, about = sweep("delta", STATES and max(STATES // 5, 1))
        say(not bad, f"power cut in a pull by a delta: {about}", told(bad))
    if "f2fs" in ONLY:
        reason = disk.has_f2fs()
        if reason:
            skip("power cut on f2fs", reason)
        else:
            bad, about = sweep("f2fs", STATES and max(STATES // 4, 1))
            say(not bad, f"power cut on f2fs: {about}", told(bad))
    for control, what in CONTROLS if "controls" in ONLY else ():
        bad, about = sweep("ext4", 48, control)
        broken = [b for b in bad if b.get("rig")]
        say(bad and not broken, f"{what} is caught: {about}", told(broken) if broken else "" if bad else "the harness is blind")
    if "kills" in ONLY and KILLS:
        jobs = min(JOBS, max(1, KILLS // 5))
        lines, bad, took = results("kills", jobs, "kills.py", WORK, ENGINE, lambda part: len(range(part, KILLS, jobs)), SEED, lambda part: part)
        say(not bad, f"kill -9: {sum(l.get('killed', False) for l in lines)} kills in {len(lines)} pieces of work, {len(bad)} bad, {took:.0f} s", told(bad))
        few = max(1, KILLS // 5)
        jobs = min(JOBS, max(1, few // 5))
        lines, bad, took = results("delta kills", jobs, "kills.py", WORK, ENGINE, lambda part: len(range(part, few, jobs)), SEED, lambda part: part, "delta")
        say(not bad, f"kill -9 with deltas: {sum(l.get('killed', False) for l in lines)} kills in {len(lines)} pieces of work, {len(bad)} bad, {took:.0f} s", told(bad))
    for kind, about, most in (("ext4", "", FAULTS), ("delta", " with deltas", FAULTS // 3)) if "faults" in ONLY else ():
        jobs = min(JOBS, most)
        if jobs:
            lines, bad, took = results("faults " + kind, jobs, "faults.py", WORK, ENGINE, SEED, most, writes(kind), lambda part: part, jobs, kind)
            say(not bad, f"EIO and ENOSPC{about}: {len(lines)} disks, {len(bad)} bad, {took:.0f} s", told(bad))


if __name__ == "__main__":
    os.makedirs(WORK, exist_ok=True)
    why = disk.obstacle(WORK)
    if why:
        skip("power cut, kills, faults", why)
        sys.exit()
    all_images, made = images(), pair()
    hub = Hub({**all_images, **made})
    trees = record.pristine(WORK + "/pristine", ENGINE, all_images)
    for name in made:
        trees |= record.pristine(f"{WORK}/pristine-{name}", ENGINE, [name])
    subprocess.run([ENGINE, "delta", "create", "-q", "--level", "3", "-o", WORK + "/delta.tar", reference("old"), reference("new")], check=True, stdout=subprocess.DEVNULL)
    hub.add_deltas(WORK + "/delta.tar")
    all_images |= made
    with open(WORK + "/trees.json", "w") as f:
        json.dump(trees, f)
    main()
    sys.exit(failed)

#!/usr/bin/env python3
"""console.py WORK: drives the command line through a pseudo-terminal as a serial line's getty would; prints a line for each test."""
import fcntl, json, os, pty, select, struct, subprocess, sys, termios, time

WORK, APP = sys.argv[1], "127.0.0.1:5000/serial/app:1"
PROMPT = b"-- Enter: more, q: end -- "
failed = 0


def check(name, good, got=""):
    global failed
    print(f"ok   {name}" if good else f"FAIL {name}: {str(got)[:400]!r}", flush=True)
    failed |= not good


def terminal(*command, rows=0, columns=0, term="dumb", typed=b"", page=b"\n"):
    """Runs a command on a terminal; its exit status, output, and the time of each line. `page` is the answer where the next page is offered."""
    pid, fd = pty.fork()
    if pid == 0:
        if term is None:
            os.environ.pop("TERM", None)
        else:
            os.environ["TERM"] = term
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execvp(command[0], command)
    out, times, end = b"", [], time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        times += [time.monotonic()] * piece.count(b"\n")
        out += piece
        if typed and b"#" in out:
            os.write(fd, typed)
            typed = b""
        if out.endswith(PROMPT):
            os.write(fd, page)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out.decode(), times


def piped(*command, term="dumb"):
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TERM": term}, timeout=60)
    return done.returncode, done.stdout, done.stderr


def fits(text, columns=80):
    return "\x1b" not in text and all(len(line) < columns for line in text.replace("\r", "").split("\n"))


# pull: two megabytes at half a megabyte a second
status, text, times = terminal("prtiql", "pull", APP)
progress = [(line, at) for line, at in zip(text.replace("\r", "").split("\n"), times) if " layers" in line]
check("pull on a terminal that does not know its size", status == 0 and fits(text), text)
check("pull: lines of progress", 3 <= len(progress) <= 8 and "MB of " in text, text)
gaps = [b[1] - a[1] for a, b in zip(progress, progress[1:])]
check("pull: at most one a second", min(gaps, default=0) > 0.9, gaps)
check("pull -q", terminal("prtiql", "pull", "-q", APP)[:2] == (0, APP + "\r\n"))
subprocess.run(["prtiql", "rmi", APP], capture_output=True)
check("pull on a terminal that can, as Docker's", "\x1b[2K" in terminal("prtiql", "pull", APP, term="xterm", rows=24, columns=80)[1])

# a container whose every column is long
LONG = "a-name-that-is-rather-long-as-those-of-compose-are"
subprocess.run(["prtiql", "run", "-d", "--name", LONG, APP, "sh", "-c", "echo started; sleep 1000; echo never"], capture_output=True, check=True)
for term in ("dumb", None, "", "vt100"):
    for rows, columns in ((0, 0), (24, 80)):
        for command in ("ps -a", "images", "system df", "system df -v", "top " + LONG, "system wear", "check", "info", "history " + APP, "--help",
                        "run --help", "daemon --help", "runtime --help", "container --help", "volume ls", "network ls"):
            status, text, _ = terminal("prtiql", *command.split(), rows=rows, columns=columns, term=term)
            if not (status == 0 and fits(text) and text.strip()):
                check(f"{command} on {term} {rows}x{columns}", False, f"{status} {text}")
check("no command shows codes or long lines on a serial line", not failed)
status, text, _ = terminal("prtiql", "ps", columns=60, rows=20)
check("ps in sixty columns", status == 0 and fits(text, 60) and "NAMES" in text and "Up " in text, text)
status, text, _ = terminal("prtiql", "--help")
check("--help is one screen", text.count("\n") < 24, text)
for rows in (0, 24, 10):
    status, text, _ = terminal("prtiql", "run", "--help", rows=rows)
    pages = text.replace("\r", "").split(PROMPT.decode() + "\n")
    whole = piped("prtiql", "run", "--help")[1]
    check(f"run --help in pages of {rows} rows", status == 0 and len(pages) > 1 and all(p.count("\n") < (rows or 24) for p in pages) and "".join(pages) == whole, pages)
status, text, _ = terminal("prtiql", "run", "--help", page=b"q\n")
check("a page is enough", status == 0 and text.count("\n") == 24 and "--rm" not in text, text)
check("nobody to answer: no pages", PROMPT.decode() not in terminal("sh", "-c", "prtiql run --help </dev/null")[1])
check("on a terminal that can, no pages", PROMPT.decode() not in terminal("prtiql", "run", "--help", term="xterm", rows=24, columns=80)[1])
whole = terminal("prtiql", "ps", "--no-trunc", term="xterm", rows=24, columns=80)[1].replace("\r", "")
check("on a terminal that can, tables are Docker's", LONG in whole and len(whole.split("\n")[1]) > 80, whole)
for command in ("ps -a", "images", "--help", "run --help"):
    same = [piped("prtiql", *command.split(), term=term)[1] for term in ("dumb", "xterm", "")]
    check(f"{command} in a pipe does not ask what the terminal is", same[0] == same[1] == same[2] and same[0], same)
rows = [json.loads(line) for line in piped("prtiql", "ps", "--format", "json")[1].splitlines()]
check("ps --format json", len(rows) == 1 and rows[0]["Names"] == LONG, rows)
found = [json.loads(line) for line in piped("prtiql", "check", "--format", "json")[1].splitlines()]
check("check --format json", len(found) > 30 and {"ok"} <= {f["State"] for f in found} <= {"ok", "degraded"}, found)

# a shell in a container
status, text, _ = terminal("prtiql", "run", "--rm", "-it", APP, "sh", "-c", "stty size; tty; exit 7")
check("run -it: its size is that of a serial terminal", status == 7 and "24 80\r\n" in text and "/dev/pts/0" in text, f"{status} {text}")
status, text, _ = terminal("prtiql", "exec", "-it", LONG, "sh", typed=b"echo $((6*7)); exit 3\n")
check("exec -it: typed and answered", status == 3 and "42\r\n" in text, f"{status} {text}")
check("exit status of the program", piped("prtiql", "run", "--rm", APP, "sh", "-c", "exit 9")[0] == 9)
check("exit status of no program", piped("prtiql", "run", "--rm", APP, "nosuch")[0] == 127)
status, _, why = piped("prtiql", "run", "--rm", "-v", f"{WORK}/alien:/alien", APP, "/alien")
check("a program of another machine", status == 126 and "exec format error" in why, f"{status} {why}")
status, _, why = piped("prtiql", "exec", LONG, "/nosuch")
check("exec of no program", status == 127, f"{status} {why}")
status, _, why = piped("prtiql", "pull", "127.0.0.1:5000/other/index:1")
check("an index without this machine", status == 1 and "no matching manifest for linux/" in why and "in the manifest list entries" in why, why)
status, _, why = piped("prtiql", "-H", "unix:///nosuch.sock", "ps")
check("no daemon", status == 1 and "unix:///nosuch.sock" in why, why)

# what a kernel lacks, by a filter that says so (clone and mounts fail as on a kernel without the option)
aged = os.path.join(os.path.dirname(__file__), "../lib/aged.py")
for calls, option in (("fsopen=ENODEV,mount=ENODEV", "CONFIG_OVERLAY_FS"), ("seccomp=EINVAL", "CONFIG_SECCOMP_FILTER"), ("socket=EPROTONOSUPPORT", "CONFIG_BRIDGE"),
                      ("socketpair=EAFNOSUPPORT", "CONFIG_UNIX")):
    status, text, _ = piped(sys.executable, aged, calls, "prtiql", "check", "-q", "--format", "{{.State}} {{.Options}}")
    check(f"check without {option}", status == 1 and any(l.startswith("missing") and option in l for l in text.splitlines()), f"{status} {text}")
hidden = "mount -t tmpfs none /sys/fs/cgroup && exec prtiql check -q"
status, text, _ = piped("unshare", "-m", "sh", "-c", hidden)
check("check without control groups", status == 1 and "missing   control groups" in text and "CONFIG_CGROUPS" in text, text)

# the same, when the engine starts and runs something
for calls, option in (("fsopen=ENODEV", "CONFIG_OVERLAY_FS"), ("seccomp=EINVAL", "CONFIG_SECCOMP_FILTER")):
    root = "/run/lacking"
    host = f"unix://{root}/sock"
    os.makedirs(root, exist_ok=True)
    flags = ["--data-root", WORK + "/lacking", "--exec-root", root + "/run", "--pidfile", root + "/pid", "-H", host, "--bridge", "none"]
    daemon = subprocess.Popen([sys.executable, aged, calls, "prtiql", "daemon", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not os.path.exists(root + "/sock") and daemon.poll() is None:
        time.sleep(0.05)
    piped("prtiql", "-H", host, "pull", "-q", APP)
    status, _, why = piped("prtiql", "-H", host, "run", "--rm", "--network", "none", APP, "true")
    check(f"run without {option}", status == 125 and option in why, f"{status} {why}")
    daemon.terminate()
    said = daemon.communicate()[1]
    if option == "CONFIG_OVERLAY_FS":
        check(f"the daemon's first words without {option}", option in said, said)

subprocess.run(["prtiql", "rm", "-f", LONG], capture_output=True)
sys.exit(failed)

"""A person at the serial console: what the command line prints there, typed and read on the guest's own serial line."""
import json, re
import pytest

LONG = "a-container-whose-name-is-as-long-as-those-of-compose"
PROMPT = "-- Enter: more, q: end -- "


@pytest.fixture
def line(board):
    board.sit_down()
    yield board
    board.stand_up()


def said(line, command, code=0):
    """What a command prints: no codes, and unless it is an error, which the terminal may break, lines that do not reach the last column."""
    status, pieces = line.type(command)
    text = "".join(pieces)
    assert status == code, f"{command}: {status}: {text}"
    assert "\x1b" not in text and "\b" not in text, repr(text)
    assert code or all(len(row) < 80 for row in text.split("\n")), text
    return text


def uptime(line):
    return float(line.type("cat /proc/uptime")[1][0].split()[0])


@pytest.mark.smoke
def test_console_pull(lab, line):
    """At most one line of progress a second, by the guest's clock; Ctrl-C stops the pull itself, not only who watches it."""
    image = lab.images["small"]
    line.limit("500k")
    status, _ = line.type(f"prtiql pull {image}", [(r"MB of \S+\r\n", "\x03")])
    assert status == 130
    line.until("! grep -q 'prtiql-worke[r]' /proc/[0-9]*/cmdline && echo none", 20)
    assert image.rsplit(":", 1)[0] not in line.sh("prtiql images")
    line.limit("1m")
    before = uptime(line)
    text = said(line, f"prtiql pull {image}")
    took = uptime(line) - before
    progress = re.findall(r"^\d+ of \d+ layers.*\n", text, re.M)
    assert 3 <= len(progress) <= took + 1, f"{took} s: {text}"
    assert text.endswith(image + "\n"), text
    line.limit("")
    assert said(line, f"prtiql pull -q {image}") == image + "\n"


@pytest.mark.smoke
def test_console_tables(lab, line, busybox):
    said(line, f"prtiql run -d --name {LONG} {busybox} sh -c 'echo a long command indeed; exec sleep 1000'")
    try:
        for settings in ("", "stty rows 0 cols 0; TERM=dumb", "TERM=vt100", "unset TERM"):
            line.send(settings)
            assert re.search(r"^CONTAINER ID +IMAGE .* NAMES\n[0-9a-f]{12} .*~ +a-\S*~\n$", said(line, "prtiql ps"), re.M)
        for command, what in (("ps -a", "~"), ("images", "REPOSITORY"), ("system df -v", "IMAGE ID"), ("top " + LONG, "PID"), ("info", "Server:"),
                              ("check", "overlay file system"), ("volume ls", "VOLUME NAME"), (f"history {busybox}", "CREATED BY")):
            assert what in said(line, "prtiql " + command), command
        # for programs nothing is cut
        long = json.loads(line.type("prtiql ps --format json")[1][0])
        assert long["Names"] == LONG and long["Image"] == busybox
        assert f"{LONG} {busybox}\n" == line.type("prtiql ps -a --format '{{.Names}} {{.Image}}'")[1][0]
        assert [json.loads(row)["Repository"] for row in line.type("prtiql images --format json")[1][0].splitlines()].count(busybox.rsplit(":", 1)[0]) == 1
        whole = line.type("prtiql ps -q --no-trunc")[1][0].strip()
        assert re.fullmatch("[0-9a-f]{64}", whole) and line.type("prtiql ps -aq")[1][0] == whole[:12] + "\n"
    finally:
        line.run(f"prtiql rm -f {LONG}")


@pytest.mark.smoke
def test_console_help(line):
    """Each page fits the terminal, with its prompt."""
    assert said(line, "prtiql --help").count("\n") < 24
    for command in ("run", "daemon"):
        whole = line.sh(f"prtiql {command} --help")
        status, pages = line.type(f"prtiql {command} --help", [(PROMPT, "\n")] * (len(whole.splitlines()) // 23))
        pages[1:] = [page.removeprefix("\n") for page in pages[1:]]  # the answer's echo
        assert status == 0 and len(pages) > 1 and all(page.count("\n") < 24 for page in pages), pages
        # and together they are what a pipe gets
        assert "".join(page.removesuffix(PROMPT) for page in pages).strip() == whole.strip()
    status, pages = line.type("prtiql run --help", [(PROMPT, "q\n")])
    assert status == 0 and len(pages) == 2 and pages[1] == "q\n", pages


@pytest.mark.smoke
def test_console_exit_codes(line, busybox):
    said(line, "prtiql version")
    assert "no-such" in said(line, "prtiql inspect no-such", 1).lower()
    assert "is not a prtiql command" in said(line, "prtiql nonsense", 1)
    assert "--nonsense" in said(line, f"prtiql run --nonsense {busybox}", 125)
    said(line, f"prtiql run --rm {busybox} sh -c 'exit 7'", 7)
    assert "/no-such" in said(line, f"prtiql run --rm {busybox} /no-such", 127)
    assert "/etc" in said(line, f"prtiql run --rm {busybox} /etc", 126)
    # a shell in a container, and the line is afterwards what it was
    before = line.type("stty -g")
    status, pieces = line.type(f"prtiql run --rm -it {busybox} sh", [("# ", "stty size; tty\n"), (r"24 80\r\n/dev/pts/0\r\n", "exit 5\n")])
    assert status == 5, pieces
    assert line.type("stty -g") == before

"""What the cases share: a registry, and one board of each architecture. ARCH names the architectures, CASE a part of a case's name."""
import os, shutil, subprocess, sys, tempfile
from collections import namedtuple
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
sys.path.insert(0, HERE)
from lib import images, update as updates
from lib.arch import ARCHES
from lib.board import Board
from lib.kernels import CACHE, kernel
from lib.registry import Registry, busybox as base
from lib.results import Results
import push  # of tests/lib, which lib.registry has made known

WANTED = os.environ.get("ARCH", "").replace(",", " ").split() or list(ARCHES)
BINARIES = os.environ.get("PRTIQL_BIN_DIR", TOP + "/dist")
# this machine's, which makes deltas: where there are only the boards' ones, it was built
HOST = next((b for b in (f"{BINARIES}/x86_64/prtiql", TOP + "/dist/x86_64/prtiql") if os.path.exists(b)), None)
RESULTS = Results(TOP + "/target/vm/results.json")
# Two images, of which the registry has a delta; the bytes of the new one's files that the old one has, and of the others; those of its layer as it is
# fetched; what tries it, and what that says.
Update = namedtuple("Update", "old new same other plain tried_by says")


class Lab:
    """An architecture's parts, of which boards are made."""

    def __init__(self, name, registry, folder):
        self.arch, self.registry, self.folder = ARCHES[name], registry, f"{folder}/{name}"
        os.makedirs(self.folder)
        self.kernel, self.engine = kernel(self.arch, self.folder + "/kernel"), f"{BINARIES}/{self.arch.binary}/prtiql"
        self.boards = 0
        daemon = f'{{"data-root": "/data/prtiql", "insecure-registries": ["{registry.guest}"]}}\n'
        files = {"etc/prtiql/daemon.json": daemon, f"etc/prtiql/certs.d/{registry.tls.guest}/ca.crt": registry.tls.authority}
        self.root = images.root(self.kernel, self.arch, self.engine, files, self.folder)
        self.images = registry.images(self.arch, images.read(self.kernel.busybox))

    def by_tls(self, name):
        """The reference of an image of `images`, by TLS."""
        return self.images[name].replace(self.registry.guest, self.registry.tls.guest)

    def update(self):
        """Puts an update into the registry, with the delta that this machine's binary makes."""
        name, layers, parts = self.arch.name + "/update", updates.layers(self.arch), updates.of(self.arch)
        for tag, layer in zip(("old", "new"), layers):
            self.registry.image(name, [base(images.read(self.kernel.busybox), self.arch.platform), layer], self.arch.platform, tag)
        references = [f"{self.registry.host}/{name}:{tag}" for tag in ("old", "new")]
        done = subprocess.run([HOST, "delta", "create", "--push", *references], capture_output=True, text=True)
        assert done.returncode == 0 and ", pushed as " in done.stdout, done.stdout + done.stderr
        return Update(*(r.replace(self.registry.host, self.registry.guest) for r in references), *updates.shares(*layers),
                      len(push.compress(layers[1], "gzip")), parts.tried_by, parts.says)

    def note(self, **figures):
        RESULTS.note(self.arch.name, **figures)

    def board(self, data="ext4", content=None, **options):
        """Another board, switched off."""
        self.boards += 1
        folder = f"{self.folder}/{self.boards}"
        os.makedirs(folder)
        images.disk(folder + "/disk", self.root, data=data, content=content)
        return Board(self.arch, self.kernel, folder + "/disk", folder, **options)


if "KERNEL" in os.environ and len(WANTED) != 1:
    pytest.exit("KERNEL is for one ARCH", 2)


def pytest_generate_tests(metafunc):
    if "lab" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("arch")
        names = [n for n in WANTED if n in ARCHES and (only is None or n in only.args)]
        metafunc.parametrize("lab", names, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """A case of other architectures only is none of this run's; one architecture after the other, so that each is set up once."""
    mine = [i for i in items if i.callspec.params.get("lab") in ARCHES]
    items[:] = sorted(mine, key=lambda i: WANTED.index(i.callspec.params["lab"]))


@pytest.fixture(scope="session")
def work():
    """A folder on a real disk; it stays if KEEP is set."""
    os.makedirs(CACHE, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="run-", dir=CACHE)
    yield folder
    if not os.environ.get("KEEP"):
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def registry(work):
    r = Registry(work + "/registry")
    yield r
    r.stop()


@pytest.fixture(scope="session")
def lab(request, registry, work):
    yield Lab(request.param, registry, work)


@pytest.fixture(scope="session")
def board(lab):
    """The board that most cases share, with its engine ready."""
    b = lab.board()
    try:
        b.ready = b.start()
        yield b
    finally:
        b.cut()


@pytest.fixture(scope="session")
def busybox(lab, board):
    """The reference of the architecture's image, pulled."""
    board.sh(f"prtiql pull {lab.images['busybox']}", timeout=180)
    return lab.images["busybox"]


@pytest.fixture(scope="session")
def update(lab):
    try:
        return lab.update()
    except updates.Missing as e:
        pytest.skip(str(e))


@pytest.fixture
def fresh(lab):
    """Makes boards of their own for a case."""
    made = []

    def make(**options):
        made.append(lab.board(**options))
        return made[-1]

    yield make
    for b in made:
        b.cut()


# -- one line for each case -------------------------------------------------------------------------------------------------------------
def pytest_report_teststatus(report):
    return "", "", ""


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: the part that every submission runs")
    config.addinivalue_line("markers", "arch(names): the only architectures of a case")
    config.pluginmanager.register(Lines(config))


class Lines:
    def __init__(self, config):
        self.terminal = config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report):
        case, _, board = report.nodeid.split("::")[-1].rstrip("]").partition("[")
        name = f"vm {board} {case.removeprefix('test_').replace('_', ' ')}"
        if report.skipped:
            self.terminal.write_line(f"skip {name}: {report.longrepr[2].removeprefix('Skipped: ')}")
        elif report.failed:
            self.terminal.write_line(f"FAIL {name}")
            self.terminal.write_line("\n".join("     " + line for line in str(report.longrepr).splitlines()[-60:]))
        elif report.when == "call":
            self.terminal.write_line(f"ok   {name} ({report.duration:.0f} s)")

    def pytest_sessionfinish(self):
        self.terminal.ensure_newline()
        for line in RESULTS.table(WANTED):
            self.terminal.write_line("     " + line)

"""What several test folders need: where the outside tools are, and Prefect kept away from the user's own profile."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import certifi
import httpx
import kdc
import pytest
from lab_process import LabProcess
from secret_search import CommandLines, SecretSearch
from tsql import TsqlCheck
from warm import Warm

PROJECT = Path(__file__).resolve().parent.parent
SHARED = Path(
    os.environ.get("BILLPATCH_SHARED", PROJECT.parent / "shared")
)  # ../shared: the tools and captures beside the project

# A laptop's Prefect Cloud profile must never see a test's flow run.
os.environ["PREFECT_API_URL"] = ""
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
# Labs keep their hosts in thousands of small files: in memory they cost a tenth less of all processor time.
MEMORY = "/dev/shm"  # noqa: S108 - pytest makes a folder there that is its user's alone
with contextlib.suppress(OSError):
    there = os.statvfs(MEMORY)
    if there.f_bavail * there.f_frsize > 4 << 30 and not there.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: programs that tests start would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """At its end every session checks the T-SQL that it has sent; its workers draw the same nights, past midnight too."""
    os.environ.setdefault("BILLPATCH_SEED", time.strftime("%Y%m%d"))
    trust_one_authority(config)
    config.pluginmanager.register(TsqlCheck(SHARED / "tools" / "sqlcheck"), "tsql-check")


def trust_one_authority(config: pytest.Config) -> None:
    """Let HTTP clients read one certificate instead of a hundred and fifty: a night makes dozens of them, and all is loopback.

    It is one that signs nothing here: whom a test trusts it says itself.
    """
    assert config.cache is not None
    one = config.cache.mkdir("certificates") / "one.pem"
    if not one.exists():
        first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----")
        mine = one.with_suffix(f".{os.getpid()}")
        mine.write_text(first + end + "\n", encoding="utf-8")
        mine.replace(one)
    os.environ["SSL_CERT_FILE"] = str(one)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each worker its share of the long tests first: one that has no more to do takes short ones from the others."""
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if workers > 1:
        items[:] = dealt(items, workers)


def dealt(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """In an order of which every worker takes one part: long tests in turn, then short ones that lay together."""
    marks = {item: item.get_closest_marker("timeout") for item in items}
    allowed = {item: mark.args[0] if mark else 0 for item, mark in marks.items()}
    long = [
        item for item in items if allowed[item] or item.get_closest_marker("night") or item.get_closest_marker("slow")
    ]
    long.sort(key=lambda item: -allowed[item])
    first = set(long)
    short = [item for item in items if item not in first]
    order: list[pytest.Item] = []
    for worker in range(workers):
        # as the scheduler cuts: an equal part of what is left for each that is left
        size = (len(items) - len(order)) // (workers - worker)
        mine = long[worker::workers]
        rest = max(size - len(mine), 0)
        order += mine + short[:rest]
        short = short[rest:]
    return order


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not walk over Prefect a hundred times."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> list[str]:
    """Which nights are run, and how to have the same ones again."""
    one_in, seed = os.environ.get("BILLPATCH_NIGHTS", "1"), os.environ["BILLPATCH_SEED"]
    drawn = f"nights: one in {one_in}, drawn by BILLPATCH_SEED={seed}; all of them with BILLPATCH_NIGHTS=1"
    return [drawn] if one_in != "1" else []


def _beside(path: Path, what: str) -> Path:
    if path.exists():
        return path
    message = f"{what} is not beside the project"
    if os.environ.get("BILLPATCH_REQUIRE_SHARED"):
        pytest.fail(f"{message}, and BILLPATCH_REQUIRE_SHARED is set")
    pytest.skip(message)


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of what real machines wrote; the test is skipped where it is absent."""
    return _beside(SHARED / "data" / "captures", "the folder of captures")


@pytest.fixture(scope="session")
def lookalike() -> Path:
    """The program that runs a script as Windows PowerShell 5.1 would; the test is skipped where it is absent."""
    named = os.environ.get("POWERSHELL_LOOKALIKE")
    return _beside(Path(named) if named else SHARED / "tools" / "pwsh" / "pwsh", "the PowerShell engine")


@pytest.fixture(scope="session")
def pslint() -> Path:
    """The linter for Windows PowerShell 5.1; the test is skipped where it is absent."""
    return _beside(SHARED / "tools" / "pslint", "the PowerShell linter")


@pytest.fixture(scope="session")
def sqlcheck() -> Path:
    """The T-SQL checker; the test is skipped where it is absent."""
    return _beside(SHARED / "tools" / "sqlcheck", "the T-SQL checker")


@pytest.fixture(scope="session")
def kerberos() -> None:
    """A KDC and the packages with which the lab's hosts accept tickets; the test is skipped where they are absent."""
    absent = [
        *kdc.missing(),
        *(name for name in ("gssapi", "krb5", "kerberos") if importlib.util.find_spec(name) is None),
    ]
    if absent:
        message = f"{', '.join(absent)} absent: deployments/setup-kerberos installs what these tests need"
        if os.environ.get("BILLPATCH_REQUIRE_KERBEROS"):
            pytest.fail(f"{message}, and BILLPATCH_REQUIRE_KERBEROS is set")
        pytest.skip(message)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Where processes come from."""
    with Warm() as parent:
        yield parent


@pytest.fixture(scope="session")
def start_lab_process(warm: Warm) -> Callable[..., LabProcess]:
    """Start ``python -m lab`` in a new folder: ``start_lab_process(folder, "--speed", "100")``."""
    return partial(LabProcess, warm)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_home(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """Make a folder a PREFECT_HOME with an empty database that is migrated already: a migration costs ten seconds."""
    import prefect

    cache = request.config.cache
    assert cache is not None
    template = cache.mkdir("prefect-database") / f"{prefect.__version__}.db"

    def make(home: Path) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        if not template.exists():
            environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=180)
            mine = template.with_suffix(f".{os.getpid()}")
            shutil.copy(home / "prefect.db", mine)
            mine.replace(template)
        else:
            shutil.copy(template, home / "prefect.db")
        return home

    return make


@pytest.fixture(scope="session")
def start_prefect(prefect_home: Callable[[Path], Path]) -> Iterator[Callable[[Path], str]]:
    """Start a Prefect server whose PREFECT_HOME is the given folder; answers the address of its API."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(home: Path) -> str:
        # What was free a second ago may be somebody else's by now.
        for _ in range(3):
            url, said = try_to_start(home, free_port())
            if url:
                return url
            if "already in use" not in said:
                break
        pytest.fail(f"the Prefect server did not start: {said}")

    def try_to_start(home: Path, port: int) -> tuple[str, str]:
        environment = os.environ | {"PREFECT_HOME": str(prefect_home(home)), "PREFECT_API_URL": ""}
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        if shutil.which("setpriv"):  # a worker that is ended by Ctrl-C takes its server with it
            command = ["setpriv", "--pdeathsig", "TERM", *command]
        with (home / "server.log").open("wb") as log:
            server = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            servers.append(server)
        url = f"http://127.0.0.1:{port}/api"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and servers[-1].poll() is None:
            try:
                httpx.get(f"{url}/health", timeout=2).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return url, ""
        return "", (home / "server.log").read_text()[-2000:]

    yield start
    for server in servers:
        server.terminate()
    for server in servers:
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)  # with the web server that it has started


@pytest.fixture(scope="session")
def secrets_of_labs() -> Iterator[dict[str, str]]:
    """The secrets of every lab that this session has started: none of them is seen on any command line."""
    secrets: dict[str, str] = {}
    with CommandLines(every=0.25) as lines:
        yield secrets
    assert SecretSearch(secrets).in_bytes(lines.all(), "a command line") == []


@pytest.fixture(scope="session")
def prefect_harness(
    start_prefect: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
    secrets_of_labs: dict[str, str],
) -> Iterator[dict[str, str]]:
    """A Prefect server of this test session's own; flows that run in this process use it.

    Whatever the nights of the session came to, at its end no secret of their labs lies in its home: logs, states,
    artifacts, parameters, results.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    home = tmp_path_factory.mktemp("prefect")
    url = start_prefect(home)
    with temporary_settings({PREFECT_HOME: home, PREFECT_API_URL: url}):
        yield {"url": url, "home": str(home)}
        _say_the_last_words()
    assert SecretSearch(secrets_of_labs).in_folder(home) == []


def _say_the_last_words() -> None:
    """Send what Prefect still holds back, while there is a server to send it to."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for drain in (lambda: APILogWorker.instance().drain(), EventsWorker.drain_all):
        with contextlib.suppress(RuntimeError):
            drain()

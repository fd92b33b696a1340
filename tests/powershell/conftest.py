"""Runs every script twice: for real in the PowerShell engine, and as the lab tells it, from the same bytes.

``both(name, parameters)`` copies the host's folder, sends the shipped script through the shipped bootstrap in the
engine, and the same document to the lab; ``Both.agree()`` holds the two answers together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from echo_job import ship

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Faults
from lab.host import Host
from lab.scripts import JOBS, ScriptFailure
from lab.shell import CommandShell
from lab.tasks import Tasks
from lab.winrm.processes import Process

PROJECT = Path(__file__).resolve().parent.parent.parent
POWERSHELL = PROJECT / "powershell"
STUBS = Path(__file__).resolve().parent / "stubs"
ROOT = "C/ProgramData/EngageIPPatching"
SPEED = 50.0
OURS_ALONE = {"owner": "BA", "dacl": "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"}


def pytest_configure(config: pytest.Config) -> None:
    """``telling`` names the scripts and jobs whose two tellings a test holds together."""
    config.addinivalue_line("markers", "telling(*names): holds both tellings of these scripts and jobs together")


class Engine:
    """One warm process of the PowerShell engine; requests go through it one at a time."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._process = subprocess.Popen(
            [program, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request line, one answer line."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer

    def run(self, host: Path, args: list[str], stdin: str = "", **more: Any) -> dict[str, Any]:
        """Run powershell.exe's arguments on the host that is this folder, as over WinRM (code page 65001)."""
        stubs = [str(path) for path in sorted(STUBS.glob("*.ps1"))]
        options = {"codepage": 65001, "logon": "network", "speed": SPEED, "stubs": stubs, **more}
        return self.ask(host=str(host), args=args, stdin=stdin, **options)

    def call(
        self, host: Path, name: str, parameters: dict[str, Any], text: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """Call a shipped script, or one with another text, and read what the bootstrap answers."""
        said = self.run(host, bootstrap(), document(name, parameters, text), **more)
        assert said["stderr"] == ""
        answer: dict[str, Any] = json.loads(base64.b64decode(said["stdout_base64"]).decode("utf-8"))
        assert said["exit_code"] == (0 if answer["ok"] else 1)
        return answer

    def boot(self, host: Path) -> None:
        """The host boots: tasks end, volatile keys go."""
        self.ask(host=str(host), boot=True)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=20)


@pytest.fixture(scope="session")
def engine(lookalike: Path) -> Iterator[Engine]:
    """The engine, one process for the session."""
    process = Engine(lookalike)
    yield process
    process.close()


def bootstrap() -> list[str]:
    """The arguments of powershell.exe that a client sends: the shipped bootstrap without its comment lines."""
    lines = (POWERSHELL / "Invoke-Bootstrap.ps1").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    encoded = base64.b64encode(text.encode("utf-16-le")).decode()
    return ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand", encoded]


def library() -> str:
    """What a client sends as the library."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted((POWERSHELL / "lib").glob("*.ps1")))


def sha256(text: str) -> str:
    """The hash that the host makes of a text that it was sent."""
    return hashlib.sha256(text.encode()).hexdigest()


def document(name: str, parameters: dict[str, Any], text: str | None = None) -> str:
    """What a client sends on stdin."""
    path = POWERSHELL / f"{name}.ps1"
    return json.dumps(
        {
            "name": name,
            "library": library(),
            "script": path.read_text(encoding="utf-8") if text is None else text,
            "parameters": parameters,
        }
    )


def job_order(
    job_id: str,
    script: str,
    parameters: dict[str, Any],
    *,
    fence: int = 1,
    secrets: dict[str, str] | None = None,
    text: str | None = None,
) -> dict[str, Any]:
    """Start-PatchJob's parameters for a shipped job, or for one with another text."""
    text = (POWERSHELL / "jobs" / f"{script}.ps1").read_text(encoding="utf-8") if text is None else text
    launcher = (POWERSHELL / "Invoke-PatchJob.ps1").read_text(encoding="utf-8")
    order = {
        "id": job_id,
        "script": script,
        "script_text": text,
        "library_text": library(),
        "launcher_text": launcher,
        "sha256": sha256(text),
        "library_sha256": sha256(library()),
        "launcher_sha256": sha256(launcher),
        "parameters": parameters,
        "deadline_seconds": 3600,
        "fence": fence,
    }
    return order if secrets is None else order | {"secrets": secrets}


@pytest.fixture(scope="session")
def job_document() -> Callable[..., dict[str, Any]]:
    """Makes the parameters of Start-PatchJob."""
    return job_order


def baseline() -> dict[str, Any]:
    """The state files of an ordinary host; tests change what they are about."""
    return {
        "registry.json": {
            "HKLM": {
                "SOFTWARE": {"Microsoft": {"Windows NT": {"CurrentVersion": {"@": {"UBR": 6414}}}}},
                "SYSTEM": {"CurrentControlSet": {"Control": {"Session Manager": {"@": {}}}}},
            }
        },
        "services.json": {
            "W3SVC": {"status": "Running", "start": "Automatic", "display": "World Wide Web Publishing Service"},
            "EngageIP Job Service": {"status": "Running", "start": "Automatic"},
            "wuauserv": {"status": "Stopped", "start": "Manual"},
            "Spooler": {"status": "Stopped", "start": "Disabled"},
        },
        "cim.json": {
            "Win32_OperatingSystem": [
                {
                    "Caption": "Microsoft Windows Server 2019 Standard",
                    "Version": "10.0.17763",
                    "BuildNumber": "17763",
                    "LastBootUpTime": "2026-01-10T02:03:04.567891Z",
                }
            ],
            "Win32_ComputerSystem": [{"DomainRole": 3}],
        },
        "drives.json": {"C": {"size": 128_000_000_000, "free": 64_000_000_000}},
        "acl.json": {},
        "tasks.json": {},
    }


def tell(host: Host, sent: str) -> tuple[str, int]:
    """What the lab host's powershell.exe writes for a document on its stdin, and its exit code."""
    process = Process("powershell.exe " + " ".join(bootstrap()), "administrator", {}, CommandShell(host))
    process.send(sent.encode(), end=True)
    process.start()
    chunks, code = [], None
    while code is None:
        taken = process.take(1 << 20, 60.0)
        assert taken is not None, "the lab said nothing for a minute"
        process.settle(taken[0], delivered=True)
        chunks += taken[0]
        code = taken[1]
    assert not [data for stream, data in chunks if stream != "stdout"], chunks
    return b"".join(data for _, data in chunks).decode(), code


def _ignore(_percent: int, _message: str) -> None:
    """Stand in for progress.json where there is no job."""


@dataclass
class Twin:
    """Two copies of one host: ``engine`` is a folder of the PowerShell engine, ``lab`` a host of the lab."""

    engine_process: Engine
    engine: Path
    lab: Host
    volatile: set[str] = field(default_factory=set)

    def put(self, windows: str, data: bytes | str) -> None:
        """Write a file on both: ``C/Work/a.txt``."""
        for folder in (self.engine, self.lab.folder):
            target = folder / windows
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.encode() if isinstance(data, str) else data)

    def state(self, file: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a state file (``services.json``) on both."""
        for folder in (self.engine, self.lab.folder):
            path = folder / file
            content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            change(content)
            path.write_text(json.dumps(content), encoding="utf-8")

    def state_of_engine(self, file: str, content: dict[str, Any]) -> None:
        """Write a state file on the engine's side only: what a boot does there that its engine does not know of."""
        (self.engine / file).write_text(json.dumps(content), encoding="utf-8")

    def json(self, file: str) -> tuple[Any, Any]:
        """A JSON file as it is on the engine's side and on the lab's; None where it is absent."""
        paths = (self.engine / file, self.lab.folder / file)
        first, second = (json.loads(p.read_text(encoding="utf-8")) if p.exists() else None for p in paths)
        return first, second

    def files(self, folder: str = ROOT) -> tuple[list[str], list[str]]:
        """The names of the files below a folder on both sides, locks apart."""
        first, second = (
            sorted(
                p.relative_to(side / folder).as_posix()
                for p in (side / folder).rglob("*")
                if p.is_file() and p.suffix != ".lock"
            )
            for side in (self.engine, self.lab.folder)
        )
        return first, second

    def tree(self, folder: str) -> tuple[list[str], list[str]]:
        """The names of the files and of the folders below a folder on both sides."""
        first, second = (
            sorted(p.relative_to(side / folder).as_posix() for p in (side / folder).rglob("*"))
            for side in (self.engine, self.lab.folder)
        )
        return first, second

    def run(self, name: str, parameters: dict[str, Any] | None = None) -> Both:
        """The shipped script in the engine and in the lab."""
        sent = document(name, parameters or {})
        said = self.engine_process.run(self.engine, bootstrap(), sent)
        assert said["stdout"], said
        told, code = tell(self.lab, sent)
        return Both(name, json.loads(said["stdout"]), json.loads(told), said["exit_code"], code)

    def run_job(
        self,
        script: str,
        parameters: dict[str, Any],
        *,
        secrets: dict[str, str] | None = None,
        job_id: str | None = None,
    ) -> Both:
        """A shipped job as a real scheduled task on both sides, to its end; the values are its job.json."""
        job_id = job_id or f"test.1.{script}"
        started = self.run("Start-PatchJob", job_order(job_id, script, parameters, secrets=secrets))
        assert (started.engine["ok"], started.lab["ok"]) == (True, True), started
        return self.wait(job_id)

    def call_job(self, script: str, parameters: dict[str, Any], *, secrets: dict[str, str] | None = None) -> Both:
        """What a shipped job does, without its task: in the engine as SYSTEM, through the bootstrap. Quick."""
        # Where jobs run, their root was protected by the call that has started them.
        self.state("acl.json", lambda acl: acl.setdefault(r"C:\ProgramData\EngageIPPatching", OURS_ALONE))
        text = (POWERSHELL / "jobs" / f"{script}.ps1").read_text(encoding="utf-8")
        given = parameters if secrets is None else parameters | {"secrets": secrets}
        first = self.engine_process.call(self.engine, script, given, text, logon="system")
        try:
            second = {"ok": True, "value": JOBS[script](self.lab, parameters, secrets or {}, _ignore, Event())}
        except ScriptFailure as failure:
            second = {"ok": False, "error": failure.error(script)}
        return Both(script, first, json.loads(json.dumps(second)), 0, 0)

    def call_over_winrm(self, script: str, parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A shipped job sent as a call, by a client that knows nothing of tasks: the engine's answer, and the lab's."""
        text = (POWERSHELL / "jobs" / f"{script}.ps1").read_text(encoding="utf-8")
        return self.engine_process.call(self.engine, script, parameters, text), self.call_lab(script, parameters, text)

    def call_lab(self, script: str, parameters: dict[str, Any], text: str | None = None) -> dict[str, Any]:
        """A script, shipped or of this text, sent to the lab alone."""
        told, _ = tell(self.lab, document(script, parameters, text))
        answer: dict[str, Any] = json.loads(told)
        return answer

    def wait(self, job_id: str, seconds: float = 60) -> Both:
        """Get-PatchJob of both sides once neither runs any more: the values are the facts of this one job."""
        deadline = time.monotonic() + seconds
        over = False
        while True:
            both = self.run("Get-PatchJob", {"ids": [job_id]})
            first, second = (side["value"]["jobs"][0] for side in (both.engine, both.lab))
            if "Running" not in (first["task_state"], second["task_state"]) and second["task_state"] != "Queued":
                if over:
                    return Both(both.name, first, second, 0, 0)
                over = True  # what the engine has read while the job ended may be older than its end: one look more
                continue
            assert time.monotonic() < deadline, f"{job_id} still runs after {seconds} s: {both}"
            time.sleep(0.05)


@dataclass
class Both:
    """What the two tellings of a script answered."""

    name: str
    engine: dict[str, Any]
    lab: dict[str, Any]
    engine_exit: int
    lab_exit: int

    def agree(self, *volatile: str) -> Any:
        """Fail unless both are the same but for fields of these names (at any depth); returns the engine's value.

        A volatile field must still be there on both sides, and be of one JSON type.
        """
        assert blur(self.engine, volatile) == blur(self.lab, volatile)
        assert self.engine_exit == self.lab_exit
        return self.engine["value"] if self.engine.get("ok") else self.engine.get("error", self.engine)


def blur(value: Any, volatile: tuple[str, ...] | set[str]) -> Any:
    """``value`` with the volatile fields replaced by the name of their type (null stays null)."""
    if isinstance(value, dict):
        return {k: _kind(v) if k in volatile else blur(v, volatile) for k, v in value.items()}
    if isinstance(value, list):
        return [blur(item, volatile) for item in value]
    return value


def _kind(value: Any) -> str | None:
    return None if value is None else type(value).__name__


@pytest.fixture
def echo_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job named Write-Echo, shipped for the length of a test."""
    ship(tmp_path / "shipped", monkeypatch)


@pytest.fixture(scope="session")
def bootstrap_arguments() -> list[str]:
    """What a client gives powershell.exe."""
    return bootstrap()


@pytest.fixture(scope="session")
def shipped_scripts() -> list[str]:
    """Names of the scripts that a client calls."""
    own = {"Invoke-Bootstrap", "Invoke-PatchJob"}
    return sorted(path.stem for path in POWERSHELL.glob("*.ps1") if path.stem not in own)


@pytest.fixture(scope="session")
def shipped_jobs() -> list[str]:
    """Names of the scripts that run as jobs."""
    return sorted(path.stem for path in POWERSHELL.glob("jobs/*.ps1"))


@pytest.fixture
def twin(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., Twin]]:
    """Makes two copies of a host: ``twin(state, name="web01")``; without a state the baseline."""
    made: list[Twin] = []

    def make(state: dict[str, Any] | None = None, name: str = "web01", speed: float = SPEED) -> Twin:
        number = len(made)
        first, second = (tmp_path / f"{side}{number}" / name for side in ("engine", "lab"))
        for file, content in (state or baseline()).items():
            for folder in (first, second):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(json.dumps(content), encoding="utf-8")
        # The folders that every Windows has, as the engine makes them.
        for standard in ("Windows/System32", "Windows/Temp", "ProgramData", "Program Files", "Program Files (x86)"):
            for folder in (first, second):
                (folder / "C" / standard).mkdir(parents=True, exist_ok=True)
        audit = Audit(tmp_path / f"audit{number}.jsonl")
        host = Host(name, second, "127.0.0.1", frozenset({"app"}), audit, Clock(speed=speed), Faults())
        host.parts["tasks"] = Tasks(host)
        made.append(Twin(engine, first, host))
        return made[-1]

    yield make
    for each in made:
        each.lab.clock.stopping.set()
        each.lab.parts["tasks"].shutdown()
        shutil.rmtree(each.engine, ignore_errors=True)

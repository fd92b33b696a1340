"""The lab, a Prefect server and a worker on this machine, for ``billpatch lab``, ``demo`` and ``ui``.

Each is a process of its own, in a session of its own, so that Ctrl-C reaches only the one that ends them in order.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx
from ruamel.yaml import YAML

POOL = "billpatch"
PREFECT_YAML = Path(__file__).with_name("prefect.yaml")
_SAMPLE = "acme-billing"
_PATIENCE_SECONDS = 120.0
_ENDING_SECONDS = 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotRunning(Exception):  # noqa: N818 - the name says what happened
    """Something did not start, or has ended by itself; the message says what, why, and what to do."""


class Sandbox:
    """The processes of one folder, which holds all that they write; ended in reverse order with the block.

    Raises NotRunning where another one works in the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.environ = dict(os.environ)
        """What a program needs to find the lab's papers and the Prefect server."""
        self.papers: dict[str, Any] = {}
        """What the lab says of itself."""
        self.estate = ""
        """The name of the lab's estate."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(_only_one(self.folder / "lock"))
        for number in _SIGNALS:
            self._stack.callback(signal.signal, number, signal.getsignal(number))
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C must not leave half of them behind
        self._stack.close()

    # What can be started ---------------------------------------------------------------------------------------------

    def start_lab(self, preset: str, speed: float, faults: Sequence[str] = (), seed: int = 0) -> None:
        """Start an estate in ``lab`` below the folder; what an earlier lab left there is deleted."""
        folder = self.folder / "lab"
        _clear(folder)
        command = [sys.executable, "-m", "lab", "--dir", str(folder), "--preset", preset, "--speed", str(speed)]
        command += ["--seed", str(seed)]
        for fault in faults:
            command += ["--fault", fault]
        lab = self._start("lab", [*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert lab.stdin is not None  # noqa: S101 - asked for above
        assert lab.stdout is not None  # noqa: S101
        self._stack.callback(lab.stdin.close)  # its sign to end, also when this process is killed
        line = lab.stdout.readline()
        if not line:
            raise NotRunning(f"The lab did not start: {self._last_words('lab')}")
        self.papers = json.loads(line)
        self.estate = str(YAML(typ="safe").load(Path(self.papers["estate"]))["estate"])
        self.environ |= {
            "BILLPATCH_CREDENTIALS": self.papers["credentials"],
            "BILLPATCH_REPORTS": str(self.folder / "reports"),
            "BILLPATCH_POLL_SECONDS": "0.25",
            "BILLPATCH_ESTATES": str(self._estates()),
        }

    def start_prefect(self, port: int = 0) -> str:
        """Start a Prefect server of this folder's own, never the one of the user's profile.

        Returns its address, where it answers after ``await_prefect``.
        """
        port = _free_port(port)
        url = f"http://127.0.0.1:{port}"
        self.environ |= {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        self._start("prefect", [_program("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)])
        return url

    def await_prefect(self) -> None:
        """Wait until the Prefect server answers; on a fresh database it takes its time."""
        self._await(f"{self.environ['PREFECT_API_URL']}/health", "prefect")

    def deploy(self) -> None:
        """Save the lab's estate as deployments, and the kinds of blocks for their forms, in the Prefect server."""
        file = self.folder / "prefect.yaml"
        file.write_text(PREFECT_YAML.read_text(encoding="utf-8").replace(_SAMPLE, self.estate), encoding="utf-8")
        for command in (
            ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
            ["--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            ["block", "register", "--module", "blocks"],
        ):
            done = subprocess.run(
                [_program("prefect"), *command], env=self.environ, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise NotRunning(f"prefect {' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def start_worker(self) -> None:
        """Start a worker for the deployments; returns when the server knows of it."""
        self._start("worker", [_program("prefect"), "worker", "start", "--pool", POOL])
        self._await(f"{self.environ['PREFECT_API_URL']}/work_pools/{POOL}", "worker", {"status": "READY"})

    # What is done meanwhile ------------------------------------------------------------------------------------------

    def run(self, *command: str) -> int:
        """Run a program of this environment at the terminal; Ctrl-C is for it alone, and its end is waited for."""
        with subprocess.Popen([_program(command[0]), *command[1:]], env=self.environ) as process:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    continue  # the terminal has told it too

    def watch(self) -> None:
        """Wait until Ctrl-C; raises NotRunning when one of the processes has ended by itself."""
        with suppress(KeyboardInterrupt):
            while True:
                for name, process in self._processes.items():
                    if process.poll() is not None:
                        raise NotRunning(f"{name} has ended with {process.returncode}: {self._last_words(name)}")
                time.sleep(0.5)

    def _estates(self) -> Path:
        """A folder with the lab's estate file under the estate's name, as the estate store expects it."""
        estates = self.folder / "estates"
        shutil.rmtree(estates, ignore_errors=True)
        estates.mkdir()
        shutil.copy(self.papers["estate"], estates / f"{self.estate}.yaml")
        return estates

    def _start(
        self, name: str, command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int | IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environ, stdin=stdin, stdout=stdout or log, stderr=log, start_new_session=True
            )
        self._processes[name] = process
        self._stack.callback(_end, process)
        return process

    def _await(self, url: str, name: str, told: dict[str, str] | None = None) -> None:
        """Wait until ``url`` answers, and with the values that are to be ``told``."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and self._processes[name].poll() is None:
            with suppress(httpx.HTTPError):
                answer = httpx.get(url, timeout=5).raise_for_status()
                if not told or told.items() <= answer.json().items():
                    return
            time.sleep(0.25)
        raise NotRunning(f"The {name} did not start within {_PATIENCE_SECONDS:g} s: {self._last_words(name)}")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        log = self._log(name)
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return f"{lines[-1].strip() if lines else 'it said nothing'} (see {log})"


def _program(name: str) -> str:
    """A program of this environment, whatever the PATH says."""
    return str(Path(sys.executable).parent / name)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is None:
        process.terminate()
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has started: it leads a session of its own
        process.wait()


def _only_one(path: Path) -> IO[str]:
    """The lock of a folder, held while the file is open; raises NotRunning, naming the process that holds it."""
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise NotRunning(
            f"{path.parent} is in use by process {holder}, another billpatch lab, demo or ui. End that one, or set "
            "BILLPATCH_STATE to another folder."
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _clear(folder: Path) -> None:
    """Make room for a lab; raises NotRunning where something lies that no lab has left."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "lab.json").is_file() or not (folder / "audit.jsonl").is_file():
        raise NotRunning(
            f"{folder} is not empty, and no lab has left it so. Name another place with --dir, or with BILLPATCH_STATE."
        )
    with suppress(httpx.HTTPError, ValueError, KeyError):
        left = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
        httpx.get(f"{left['control']}/state", timeout=2)
        raise NotRunning(f"A lab is running in {folder} (process {left['pid']}). End it first.")
    shutil.rmtree(folder)


def _free_port(port: int) -> int:
    """``port`` where nobody listens on it, or a free one for 0; raises NotRunning for one that is taken."""
    with socket.socket() as free:
        # As servers do: a port that was closed a moment ago is free.
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("127.0.0.1", port))
        except OSError as error:
            reason = error.strerror or "it cannot be had"
            raise NotRunning(
                f"Port {port} cannot be used for the Prefect UI: {reason}. Name another with --port; 0 takes a free one."
            ) from None
        return int(free.getsockname()[1])

"""Nights that are cut off: flow runs in processes of their own, as a worker starts them, and ways to end them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from warm import Child, Warm

Event = dict[str, Any]
PATIENCE = 90.0
GRACE = 30.0
"""Seconds between SIGTERM and SIGKILL when a worker carries out a Cancel."""


class Prefect:
    """A Prefect server by its REST API, and a deployment of ``patch-estate`` that no worker serves."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home
        self._client = httpx.Client(base_url=url, timeout=30)
        flow = self.post("/flows/", name="patch-estate")["id"]
        entrypoint = "flows.patch.patch_estate"
        self.deployment = self.post("/deployments/", name="by-hand", flow_id=flow, entrypoint=entrypoint)["id"]

    def post(self, path: str, **body: Any) -> Any:
        deadline = time.monotonic() + GRACE
        while True:
            answer = self._client.post(path, json=body)
            # 503 is 'database is locked', which SQLite says under load.
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def order(self, deployment: str = "", **parameters: Any) -> str:
        """Create a flow run, as the form in the UI does; its id."""
        path = f"/deployments/{deployment or self.deployment}/create_flow_run"
        return str(self.post(path, parameters=parameters)["id"])

    def state(self, run: str) -> dict[str, Any]:
        """The state of a flow run: type, name, message."""
        found: dict[str, Any] = self.get(f"/flow_runs/{run}")["state"]
        return found

    def logs(self, run: str) -> list[dict[str, Any]]:
        """The last 200 lines in the log of a flow run and of its tasks, oldest first: level, name of the logger, message."""
        of_run = {"flow_run_id": {"any_": [run]}}
        found: list[dict[str, Any]] = self.post("/logs/filter", logs=of_run, limit=200, sort="TIMESTAMP_DESC")
        return found[::-1]

    def cancel(self, run: str) -> None:
        """What the Cancel button does."""
        self.post(f"/flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    def pause(self, run: str) -> None:
        """What the Pause button does: Suspended, to be failed after 300 seconds. Refused once the run has ended."""
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
        details = {"pause_timeout": later, "pause_reschedule": True, "pause_key": "ui"}
        state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
        answer = self.post(f"/flow_runs/{run}/set_state", state=state)
        assert answer["status"] == "ACCEPT" or answer["state"]["type"] == "COMPLETED", answer

    def resume(self, run: str) -> None:
        """What the Resume button does."""
        self.post(f"/flow_runs/{run}/resume")


class Door:
    """A way to a server that can be shut: connections are refused, and those that were open are reset."""

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", int(httpx.URL(url).port or 0))
        self._socket = self._listen(0)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.is_shut = False

    def __enter__(self) -> Self:
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_shut:
            self.shut()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(50)
        return listener

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError):
                server = socket.create_connection(self._target)
                with self._lock:
                    if listener is self._socket and not self.is_shut:
                        self._open |= {client, server}
                        threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
                        continue
                server.close()
            client.close()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        ends = {client: server, server: client}
        data = b"at first"
        with suppress(OSError, ValueError):
            while data:
                for ready in select.select(list(ends), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        break
                    ends[ready].sendall(data)
        for end in ends:
            end.close()
        with self._lock:
            self._open -= set(ends)

    def shut(self) -> None:
        """As if the server had been stopped."""
        with self._lock:
            self.is_shut = True
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            there, self._open = self._open, set()
        for end in there:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """As if it had been started again."""
        with self._lock:
            self._socket = self._listen(self.port)
            self.is_shut = False
        self._serve()


class Trail:
    """The lab's audit trail, read as it grows."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open(encoding="utf-8")  # noqa: SIM115 - read as long as the test runs
        self._rest = ""
        self._unseen: deque[Event] = deque()

    def next(self) -> Event | None:
        """The next event, None where there is none yet."""
        if not self._unseen:
            *lines, self._rest = (self._rest + self._file.read()).split("\n")
            self._unseen.extend(json.loads(line) for line in lines)
        return self._unseen.popleft() if self._unseen else None

    def skip(self) -> None:
        """Pass over everything that has happened so far."""
        while self.next():
            pass


@dataclass
class Night:
    """One process that patches the estate; ``flow_run`` where Prefect knows of it."""

    process: subprocess.Popen[bytes] | Child
    log: Path
    trail: Trail
    flow_run: str = ""
    since: list[Event] = field(default_factory=list)

    def until(self, reached: Callable[[list[Event], Event], bool], what: str) -> Event:
        """Wait for an event; fails when the process ends before."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            while event := self.trail.next():
                self.since.append(event)
                if reached(self.since, event):
                    return event
            if ended:
                break
            time.sleep(0.005)
        pytest.fail(f"'{what}' was not reached (exit code {self.process.poll()}):\n{self.said()}")

    def terminate(self) -> float:
        """SIGTERM, and what a worker does after it; how long the process took to end."""
        return self.end(signal.SIGTERM)

    def end(self, *signals: int) -> float:
        """Send these signals, and wait for the end; seconds. SIGKILL after as long as a worker waits."""
        started = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        return time.monotonic() - started

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"no end within {seconds:g} s:\n{self.said()}")

    def said(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


@dataclass
class Nights:
    """Starts processes over one lab; everything that is started is ended with the test."""

    lab: Any
    folder: Path
    prefect: Prefect | None = None
    warm: Warm | None = None
    change: str = "CHG0031001"
    started: list[Night] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trail = Trail(self.lab.papers["audit"])

    def environment(self, **more: str) -> dict[str, str]:
        """What a process needs to find the lab, and nothing of Prefect."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return plain | {
            "BILLPATCH_CREDENTIALS": self.lab.papers["credentials"],
            "BILLPATCH_REPORTS": str(self.folder / "reports"),
            "BILLPATCH_POLL_SECONDS": "0.1",
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **more,
        }

    def flow(self, *, url: str = "", **parameters: Any) -> Night:
        """A flow run in a process of its own, as a worker starts it; ``url`` leads to the API by another way."""
        assert self.prefect is not None
        run = self.prefect.order(estate=self.lab.estate, **{"change": self.change, **parameters})
        return self.again(run, url=url)

    def again(self, run: str, *, url: str = "") -> Night:
        """The process of a flow run that is there already."""
        assert self.prefect is not None
        environment = self.environment(
            PREFECT__FLOW_RUN_ID=run, PREFECT_API_URL=url or self.prefect.url, PREFECT_HOME=str(self.prefect.home)
        )
        return self._start(["prefect.engine"], environment, run)

    def command(self, *arguments: str, **environment: str) -> Night:
        """A command of ``billpatch``."""
        return self._start(["billpatch", *arguments], self.environment(**environment))

    def recover(self) -> int:
        """`billpatch recover` without any Prefect; its exit code."""
        night = self.command("recover", self.lab.estate, PREFECT_API_URL="")
        code = night.wait()
        assert code in {0, 3}, night.said()
        return code

    def _start(self, module: list[str], environment: dict[str, str], run: str = "") -> Night:
        log = self.folder / f"{len(self.started):02}.log"
        self.trail.skip()  # what happened before is none of this one's doing
        self.started.append(Night(self._process(module, environment, log), log, self.trail, run))
        return self.started[-1]

    def _process(self, module: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes] | Child:
        if self.warm is not None:
            return self.warm.run(module, environment, log)
        command = [sys.executable, "-m", *module]
        with log.open("wb") as out:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def close(self) -> None:
        """End what still runs."""
        for night in self.started:
            if night.process.poll() is None:
                night.process.kill()
                night.process.wait(10)

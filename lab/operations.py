"""What stands around an estate: a hypervisor, a monitoring system and a load balancer behind one HTTP API, JSON in and out.

- ``POST /hypervisor/vms/{vm}/snapshots`` {name}: 201 {id}, one more each time; GET and DELETE ``.../snapshots/{id}``.
  A snapshot is ``creating`` at first, and then ``ready``.
- ``POST /monitoring/silences`` {scope, until}: 201 {id}; GET and DELETE ``/monitoring/silences/{id}``. A silence is
  ``active`` until it is deleted or its time is over, and then ``expired``.
- ``PUT /balancer/nodes/{node}`` {state: drained or active}: 200 with what GET answers. A node that is told to drain is
  ``draining`` until its connections have ended.

Every request needs the header ``Authorization: Bearer <token>``. What is refused is answered with {error}.

Faults. On the VM: ``hypervisor.refuses`` (500 to every request, or to those of its setting ``method`` alone); and when a
snapshot is asked for, ``hypervisor.hollow`` (201, and nothing was made), ``hypervisor.slow`` (``seconds`` of lab time before the answer),
``hypervisor.lost_answer`` (the snapshot is made, the connection closed without an answer). On ``monitoring``:
``monitoring.down`` (503). On the node: ``balancer.down`` (503), and when it is told to drain, ``balancer.stuck`` (one
connection never ends).
"""

from __future__ import annotations

import http.server
import itertools
import json
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Faults

PORT = 9200
CREATING_SECONDS = 20.0
"""Lab seconds until a snapshot is ready."""
DRAIN_SECONDS = 15.0
"""Lab seconds until the last connection of a node has ended."""
CONNECTIONS = 40
"""Of a node that serves."""

Answer = tuple[int, dict[str, Any] | None]
"""Status and body."""


class AnswerLost(ConnectionError):  # noqa: N818 - named as it is called
    """What was asked for is done, and the connection ends without an answer."""


class _Refused(Exception):  # noqa: N818 - an answer, not an error of the lab
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class _Shared:
    """What the three systems share with the lab."""

    audit: Audit
    clock: Clock
    faults: Faults
    lock: threading.RLock = field(default_factory=threading.RLock)


class Operations(http.server.ThreadingHTTPServer):
    """Listens on ``address`` while started; ``vms`` and ``nodes`` are the names that its systems know."""

    daemon_threads = True

    def __init__(
        self,
        address: str,
        token: str,
        *,
        vms: Iterable[str],
        nodes: Iterable[str],
        audit: Audit,
        clock: Clock,
        faults: Faults,
    ) -> None:
        self.token = token
        self.url = f"http://{address}:{PORT}"
        around = _Shared(audit, clock, faults)
        self._systems = {
            "hypervisor": _Hypervisor(around, frozenset(vms)),
            "monitoring": _Monitoring(around),
            "balancer": _Balancer(around, nodes),
        }
        self._thread: threading.Thread | None = None
        super().__init__((address, PORT), _Handler)

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="lab-operations", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; safe to call where it was never started."""
        if self._thread is not None:
            self.shutdown()
        self.server_close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """What a request that has the token is answered; raises AnswerLost. Also for the lab's own hosts, without HTTP."""
        system, *rest = [unquote(part) for part in urlsplit(path).path.removeprefix("/").split("/")]
        if system not in self._systems:
            return 404, {"error": f"no {method} {path}"}
        try:
            return self._systems[system].answer(method, rest, body or {})
        except _Refused as refused:
            return refused.status, {"error": str(refused)}


class _System(ABC):
    """One of the three: ``answer`` gets the path's parts behind the system's name."""

    def __init__(self, around: _Shared) -> None:
        self.around = around
        self.strike = around.faults.strike

    @abstractmethod
    def answer(self, method: str, path: list[str], body: dict[str, Any]) -> Answer:
        """Status and body; raises _Refused."""


# The hypervisor -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Snapshot:
    name: str
    taken: str
    since: float


class _Hypervisor(_System):
    def __init__(self, around: _Shared, vms: frozenset[str]) -> None:
        super().__init__(around)
        self._vms = vms
        self._numbers = itertools.count(1)
        self._snapshots: dict[tuple[str, str], _Snapshot] = {}

    def answer(self, method: str, path: list[str], body: dict[str, Any]) -> Answer:
        if len(path) < 2 or path[0] != "vms" or path[1] not in self._vms:
            raise _no_such(method, path)
        vm = path[1]
        if self.strike("hypervisor.refuses", vm, method=method) is not None:
            raise _Refused(500, f"the datastore of {vm} does not answer")
        match method, path[2:]:
            case "POST", ["snapshots"]:
                return self._take(vm, body)
            case "GET" | "DELETE", ["snapshots", number]:
                with self.around.lock:
                    return self._existing(method, vm, number)
        raise _no_such(method, path)

    def _take(self, vm: str, body: dict[str, Any]) -> Answer:
        name = _text(body, "name")
        slow = self.strike("hypervisor.slow", vm)
        if slow is not None:
            self.around.clock.sleep(float(slow.get("seconds", 60)))
        with self.around.lock:
            number = f"snapshot-{next(self._numbers)}"
            if self.strike("hypervisor.hollow", vm) is not None:
                return 201, {"id": number}
            self._snapshots[vm, number] = _Snapshot(name, _iso(datetime.now(UTC)), time.monotonic())
            self.around.audit.write("hypervisor", "snapshot.taken", vm=vm, snapshot=number, name=name)
        if self.strike("hypervisor.lost_answer", vm) is not None:
            raise AnswerLost(f"no answer to the snapshot of {vm}")
        return 201, {"id": number}

    def _existing(self, method: str, vm: str, number: str) -> Answer:
        snapshot = self._snapshots.get((vm, number))
        if snapshot is None:
            raise _Refused(404, f"{vm} has no snapshot {number}")
        if method == "DELETE":
            del self._snapshots[vm, number]
            self.around.audit.write("hypervisor", "snapshot.deleted", vm=vm, snapshot=number)
            return 204, None
        ready = time.monotonic() - snapshot.since >= CREATING_SECONDS / self.around.clock.speed
        state = "ready" if ready else "creating"
        return 200, {"id": number, "name": snapshot.name, "state": state, "taken": snapshot.taken}


# Monitoring -----------------------------------------------------------------------------------------------------------


@dataclass
class _Silence:
    scope: str
    until: datetime
    ended: bool = False

    @property
    def active(self) -> bool:
        return not self.ended and datetime.now(UTC) < self.until


class _Monitoring(_System):
    def __init__(self, around: _Shared) -> None:
        super().__init__(around)
        self._numbers = itertools.count(1)
        self._silences: dict[str, _Silence] = {}

    def answer(self, method: str, path: list[str], body: dict[str, Any]) -> Answer:
        if self.strike("monitoring.down", "monitoring") is not None:
            raise _Refused(503, "monitoring is down for maintenance")
        with self.around.lock:
            match method, path:
                case "POST", ["silences"]:
                    return self._begin(body)
                case "GET" | "DELETE", ["silences", number]:
                    return self._existing(method, number)
        raise _no_such(method, path)

    def _begin(self, body: dict[str, Any]) -> Answer:
        scope, until = _text(body, "scope"), _moment(_text(body, "until"))
        number = f"silence-{next(self._numbers)}"
        self._silences[number] = _Silence(scope, until)
        self.around.audit.write("monitoring", "silence.begun", silence=number, scope=scope, until=_iso(until))
        return 201, {"id": number}

    def _existing(self, method: str, number: str) -> Answer:
        silence = self._silences.get(number)
        if silence is None:
            raise _Refused(404, f"no silence {number}")
        if method == "DELETE":
            if silence.active:
                silence.ended = True
                self.around.audit.write("monitoring", "silence.ended", silence=number, scope=silence.scope)
            return 204, None
        state = "active" if silence.active else "expired"
        return 200, {"id": number, "scope": silence.scope, "until": _iso(silence.until), "state": state}


# The load balancer ----------------------------------------------------------------------------------------------------


@dataclass
class _Node:
    state: str = "active"
    since: float = 0.0


class _Balancer(_System):
    def __init__(self, around: _Shared, nodes: Iterable[str]) -> None:
        super().__init__(around)
        self._nodes = {name: _Node() for name in nodes}

    def answer(self, method: str, path: list[str], body: dict[str, Any]) -> Answer:
        match method, path:
            case "GET" | "PUT", ["nodes", name] if name in self._nodes:
                if self.strike("balancer.down", name) is not None:
                    raise _Refused(503, "the balancer's API is starting")
                with self.around.lock:
                    if method == "PUT":
                        self._put(name, body.get("state"))
                    return 200, self._view(name)
        raise _no_such(method, path)

    def _put(self, name: str, wanted: Any) -> None:
        if wanted not in ("drained", "active"):
            raise _Refused(400, "state must be drained or active")
        if (wanted == "active") == (self._nodes[name].state == "active"):
            return
        if wanted == "active":
            self._nodes[name] = _Node()
            self.around.audit.write("balancer", "node.active", node=name)
            return
        order = self._nodes[name] = _Node("draining", time.monotonic())
        self.around.audit.write("balancer", "node.draining", node=name)
        if self.strike("balancer.stuck", name) is None:
            threading.Thread(target=self._drain, args=(name, order), name=f"lab-drain-{name}", daemon=True).start()

    def _drain(self, name: str, order: _Node) -> None:
        if self.around.clock.sleep(DRAIN_SECONDS):
            return
        with self.around.lock:
            if self._nodes[name] is order:  # it may have been told otherwise meanwhile
                order.state = "drained"
                self.around.audit.write("balancer", "node.drained", node=name)

    def _view(self, name: str) -> dict[str, Any]:
        node = self._nodes[name]
        connections = {"active": CONNECTIONS, "drained": 0}.get(node.state)
        if connections is None:
            gone = (time.monotonic() - node.since) * self.around.clock.speed / DRAIN_SECONDS
            connections = max(1, math.ceil(CONNECTIONS * (1 - gone)))
        return {"node": name, "state": node.state, "connections": connections}


# What they are sent ---------------------------------------------------------------------------------------------------


def _no_such(method: str, path: list[str]) -> _Refused:
    return _Refused(404, f"no {method} {'/'.join(path)}")


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise _Refused(400, f"{name} must be a text")
    return value


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Refused(400, f"until is no time: {text!r}") from None
    if moment.tzinfo is None:
        raise _Refused(400, f"until has no time zone: {text!r}")
    if moment <= datetime.now(UTC):
        raise _Refused(400, f"until is past: {text!r}")
    return moment


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Operations

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: the audit trail says what happened."""

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._reply(401, {"error": "the header Authorization: Bearer <token> is absent or wrong"})
            return
        try:
            body = json.loads(sent or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._reply(400, {"error": "the body is no JSON object"})
            return
        try:
            self._reply(*self.server.ask(self.command, self.path, body))
        except AnswerLost:
            self.close_connection = True

    def _reply(self, status: int, answer: dict[str, Any] | None) -> None:
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        if status != http.HTTPStatus.NO_CONTENT:  # which may have no body, nor say how long it is
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

"""The systems around the lab's estate: snapshots, silences and drained nodes, as their APIs tell and the trail shows."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from lab import operations
from lab.audit import Audit
from lab.clock import Clock
from lab.estate import PRESETS, Lab
from lab.faults import Fault, Faults
from lab.operations import CONNECTIONS, Operations
from lab.paper import awkward_token
from lab.scripts import SCRIPTS

SPEED = 100.0
SNAPSHOTS = "/hypervisor/vms/web01/snapshots"
NODE = "/balancer/nodes/web01"


class Client:
    """A caller with the token, and what the trail shows of it."""

    def __init__(self, server: Operations, audit: Audit, clock: Clock, faults: Faults) -> None:
        self.server, self._audit, self.clock, self._faults = server, audit, clock, faults
        self._http = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=20)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self._http.request(method, path, json=body)
        return answer.status_code, answer.json() if answer.content else None

    def fault(self, name: str, on: str = "*", times: int | None = None, **settings: Any) -> None:
        self._faults.declare(Fault(name, on, times, settings))

    def trail(self) -> list[tuple[str, str]]:
        path = self._audit.path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [(event["host"], event["event"]) for event in map(json.loads, lines)]

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """The three systems of an estate of two hosts, one of them behind the balancer."""
    audit, clock, faults = Audit(tmp_path / "audit.jsonl"), Clock(SPEED), Faults()
    server = Operations(
        f"127.231.{1 + secrets.randbelow(250)}.{1 + secrets.randbelow(250)}",
        awkward_token(),
        vms=["sql01", "web01"],
        nodes=["web01"],
        audit=audit,
        clock=clock,
        faults=faults,
    )
    server.start()
    made = Client(server, audit, clock, faults)
    yield made
    made.close()
    clock.stopping.set()
    server.stop()


def put_forward(by: timedelta) -> type[datetime]:
    """A clock that is ahead of the real one."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + by

    return Later


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def test_nobody_gets_in_without_the_token(client: Client) -> None:
    """401 to no token and to a wrong one, whatever is asked; nothing happens."""
    for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": client.server.token}):
        answer = httpx.post(client.server.url + SNAPSHOTS, json={"name": "x"}, headers=headers)
        assert answer.status_code == 401
    assert client.trail() == []


def test_each_request_takes_one_more_snapshot(client: Client, wait_until: Callable[..., None]) -> None:
    """Twice if asked twice; each is being made for a while before it is ready, and is gone once it is deleted."""
    client.clock.speed = 0.1
    taken = [client.ask("POST", SNAPSHOTS, {"name": "night"}) for _ in range(2)]
    assert taken == [(201, {"id": "snapshot-1"}), (201, {"id": "snapshot-2"})]
    one = f"{SNAPSHOTS}/snapshot-1"
    status, told = client.ask("GET", one)
    assert (status, told["id"], told["name"], told["state"]) == (200, "snapshot-1", "night", "creating")
    assert datetime.fromisoformat(told["taken"]) <= datetime.now(UTC)
    client.clock.speed = SPEED
    wait_until(lambda: client.ask("GET", one)[1]["state"] == "ready", what="the snapshot")
    assert client.ask("DELETE", one) == (204, None)
    assert (client.ask("DELETE", one)[0], client.ask("GET", one)[0]) == (404, 404)
    assert client.trail() == [("hypervisor", "snapshot.taken")] * 2 + [("hypervisor", "snapshot.deleted")]


def test_a_silence_lasts_until_it_is_ended(client: Client) -> None:
    """Active from the first moment, expired once it is deleted; a second deletion changes nothing."""
    status, made = client.ask("POST", "/monitoring/silences", {"scope": "acme", "until": in_an_hour()})
    assert status == 201
    one = f"/monitoring/silences/{made['id']}"
    told = client.ask("GET", one)[1]
    assert (told["id"], told["scope"], told["state"]) == (made["id"], "acme", "active")
    assert [client.ask("DELETE", one)[0] for _ in range(2)] == [204, 204]
    assert client.ask("GET", one)[1]["state"] == "expired"
    assert client.trail() == [("monitoring", "silence.begun"), ("monitoring", "silence.ended")]


def test_a_silence_ends_by_itself(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the time that it was given, by the real clock: which is put forward here, for it is nobody's to wait for."""
    made = client.ask("POST", "/monitoring/silences", {"scope": "acme", "until": in_an_hour()})[1]
    one = f"/monitoring/silences/{made['id']}"
    for minutes, state in ((0, "active"), (59, "active"), (61, "expired")):
        monkeypatch.setattr(operations, "datetime", put_forward(timedelta(minutes=minutes)))
        assert client.ask("GET", one)[1]["state"] == state


@pytest.mark.parametrize("until", [None, 7, "tomorrow", "2026-01-31T02:00:00", "2020-01-31T02:00:00Z"])
def test_silences_that_are_refused(client: Client, until: Any) -> None:
    """No time, a time that could be anywhere, and one that is past."""
    assert client.ask("POST", "/monitoring/silences", {"scope": "acme", "until": until})[0] == 400
    assert client.trail() == []


def test_a_node_drains_until_its_last_connection_has_ended(client: Client, wait_until: Callable[..., None]) -> None:
    """Draining with fewer connections, drained with none; said twice changes nothing; then it serves again."""
    client.clock.speed = 10
    serving = {"node": "web01", "state": "active", "connections": CONNECTIONS}
    assert client.ask("GET", NODE) == (200, serving)
    for _ in range(2):
        status, told = client.ask("PUT", NODE, {"state": "drained"})
        assert (status, told["state"]) == (200, "draining")
        assert told["connections"] > 0
    wait_until(lambda: client.ask("GET", NODE)[1]["state"] == "drained", what="the drain")
    assert client.ask("GET", NODE)[1]["connections"] == 0
    for _ in range(2):
        assert client.ask("PUT", NODE, {"state": "active"}) == (200, serving)
    assert client.trail() == [("balancer", f"node.{state}") for state in ("draining", "drained", "active")]


def test_a_node_that_serves_again_does_not_drain_to_its_end(client: Client, wait_until: Callable[..., None]) -> None:
    """What was told last holds."""
    client.clock.speed = 10
    client.ask("PUT", NODE, {"state": "drained"})
    client.ask("PUT", NODE, {"state": "active"})
    draining = "lab-drain-web01"
    assert draining in {thread.name for thread in threading.enumerate()}
    wait_until(lambda: draining not in {thread.name for thread in threading.enumerate()}, what="the end of the drain")
    assert client.ask("GET", NODE)[1]["state"] == "active"
    assert client.trail() == [("balancer", f"node.{state}") for state in ("draining", "active")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/hypervisor/vms/db99/snapshots", {"name": "x"}, 404),
        ("POST", SNAPSHOTS, {}, 400),
        ("POST", SNAPSHOTS, ["x"], 400),
        ("PUT", SNAPSHOTS, {"name": "x"}, 404),
        ("GET", f"{SNAPSHOTS}/snapshot-99", None, 404),
        ("GET", "/monitoring/silences/silence-99", None, 404),
        ("DELETE", "/monitoring/silences/silence-99", None, 404),
        ("GET", "/balancer/nodes/sql01", None, 404),
        ("PUT", "/balancer/nodes/sql01", {"state": "drained"}, 404),
        ("PUT", NODE, {"state": "gone"}, 400),
        ("GET", "/", None, 404),
        ("GET", "/backup/jobs", None, 404),
    ],
)
def test_what_is_not_there_is_refused(client: Client, method: str, path: str, body: Any, status: int) -> None:
    """With the status that says why, and a text; nothing happens."""
    answered, told = client.ask(method, path, body)
    assert (answered, list(told)) == (status, ["error"])
    assert client.trail() == []


def test_faults_of_the_hypervisor(client: Client) -> None:
    """It refuses; it says that it has, and has not; it takes its time; it has, and does not say so."""
    client.fault("hypervisor.refuses", "web01", times=1)
    assert client.ask("POST", SNAPSHOTS, {"name": "x"}) == (500, {"error": "the datastore of web01 does not answer"})
    client.fault("hypervisor.hollow", times=1)
    assert client.ask("POST", SNAPSHOTS, {"name": "x"}) == (201, {"id": "snapshot-1"})
    assert client.ask("GET", f"{SNAPSHOTS}/snapshot-1")[0] == 404
    assert client.trail() == []
    client.fault("hypervisor.slow", times=1, seconds=30)
    began = time.monotonic()
    assert client.ask("POST", SNAPSHOTS, {"name": "x"})[0] == 201
    assert time.monotonic() - began >= 30 / SPEED
    client.fault("hypervisor.lost_answer", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        client.ask("POST", SNAPSHOTS, {"name": "x"})
    assert client.ask("GET", f"{SNAPSHOTS}/snapshot-3")[0] == 200
    assert client.trail() == [("hypervisor", "snapshot.taken")] * 2
    client.fault("hypervisor.refuses", method="DELETE")
    assert client.ask("GET", f"{SNAPSHOTS}/snapshot-3")[0] == 200
    assert client.ask("DELETE", f"{SNAPSHOTS}/snapshot-3")[0] == 500


def test_faults_of_monitoring_and_balancer(client: Client) -> None:
    """Down; and a node of which one connection never ends."""
    client.fault("monitoring.down", times=1)
    assert client.ask("POST", "/monitoring/silences", {"scope": "acme", "until": in_an_hour()})[0] == 503
    client.fault("balancer.down", times=1)
    assert client.ask("PUT", NODE, {"state": "drained"})[0] == 503
    assert client.trail() == []
    client.fault("balancer.stuck", "web01")
    client.ask("PUT", NODE, {"state": "drained"})
    time.sleep(20 / SPEED)
    assert client.ask("GET", NODE)[1] == {"node": "web01", "state": "draining", "connections": 1}
    client.ask("PUT", NODE, {"state": "active"})
    assert client.ask("GET", NODE)[1]["state"] == "active"


def test_a_lab_has_them_for_its_own_hosts(tmp_path: Path) -> None:
    """The papers say where and with what; the preset's hooks lead there; scripts of a host reach them too."""
    with Lab(PRESETS["hooks"], tmp_path / "lab", speed=200) as lab:
        known = json.loads(lab.credentials_file.read_text(encoding="utf-8"))["operations"]
        assert sorted(known) == ["authorization", "kind"]
        assert known["kind"] == "api"
        headers = {"Authorization": known["authorization"]}
        snapshot, silence, drain = YAML(typ="safe").load(lab.estate_file)["hooks"]
        assert (snapshot["hosts"], drain["hosts"]) == (["sql01", "web01", "web02"], ["web01", "web02"])
        for host in snapshot["hosts"]:
            taken = httpx.post(snapshot["take"]["http"].replace("{host}", host), json={"name": "x"}, headers=headers)
            assert taken.status_code == 201
        begun = httpx.post(silence["begin"]["http"], json={"scope": "x", "until": in_an_hour()}, headers=headers)
        assert begun.status_code == 201
        script = b'# {"asks": {"method": "PUT", "path": "/balancer/nodes/web02", "body": {"state": "drained"}}}\n'
        web01 = lab.hosts["web01"]
        web01.disk.write(r"C:\Ops\drain.ps1", script)
        call = {"path": r"C:\Ops\drain.ps1", "sha256": hashlib.sha256(script).hexdigest()}
        assert SCRIPTS["Invoke-HookScript"](web01, call)["answer"]["state"] == "draining"
        for host, status in (("web01", 200), ("web02", 200), ("sql01", 404)):
            assert httpx.get(drain["drained"]["http"].replace("{host}", host), headers=headers).status_code == status

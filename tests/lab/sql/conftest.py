"""A lab machine with SQL Server and nothing else, and what a naive client would do with it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyodbc
import pytest

from blocks.sql_driver import choose, connection_string
from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.paper import awkward_secret
from lab.sql import Database, Durations, Login, SqlInstance
from lab.sql.billing import reporting, seeder

USER, APPLICATION = "svc-patching", "engageip"
_addresses = (
    f"127.{161 + os.getpid() % 90}.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255))
)
pyodbc.pooling = False


def wait_until(condition: Callable[[], object], seconds: float = 10.0, what: str = "the condition") -> None:
    """Poll ``condition`` until it holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"gave up waiting for {what} after {seconds} s"
        time.sleep(0.01)


class Machine:
    """The lab's side of the wire, and the naive client's."""

    def __init__(self, folder: Path, speed: float = 100.0, **more: Any) -> None:
        self.password, self.application_password = awkward_secret() + "}x;y={z'", awkward_secret()
        self.audit = Audit(folder / "audit.jsonl")
        self.clock = Clock(speed)
        self.host = Host(
            "sql01",
            folder / "hosts" / "sql01",
            next(_addresses),
            frozenset({"mssql"}),
            self.audit,
            self.clock,
            Faults(),
        )
        logins = [Login(USER, self.password), Login(APPLICATION, self.application_password, sysadmin=False)]
        databases = [Database("EngageIP", seed=seeder(users=20)), Database("Reporting", seed=reporting)]
        self.sql = SqlInstance(self.host, databases, logins=logins, **{"durations": Durations(), **more})
        self.host.parts["sql"] = self.sql
        (self.host.folder / "E").mkdir()

    def fault(self, name: str, on: str = "*", times: int | None = None, **settings: Any) -> None:
        self.host.faults.declare(Fault(name, on, times, settings))

    def connect(
        self, database: str = "master", *, user: str = USER, password: str | None = None, **more: Any
    ) -> pyodbc.Connection:
        """What a plain program does: one connection string, Microsoft's driver."""
        driver = choose("sql01", None, pyodbc.drivers())
        fields = {
            "SERVER": f"tcp:{self.host.address},1433",
            "UID": user,
            "PWD": self.password if password is None else password,
            "DATABASE": database,
            "TrustServerCertificate": "yes",
        }
        fields |= {key: str(value) for key, value in more.pop("fields", {}).items()}
        return pyodbc.connect(connection_string(driver, fields), **{"autocommit": True, "timeout": 3, **more})

    def events(self, name: str) -> list[dict[str, Any]]:
        """The audit trail's events of that name."""
        import json

        lines = self.audit.path.read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def file(self, windows: str) -> Path:
        return self.host.disk.path(windows)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """sql01, ONLINE, a hundred times as fast as life."""
    machine = Machine(tmp_path)
    machine.sql.start()
    yield machine
    machine.clock.stopping.set()
    machine.sql.stop()


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """sql01 as the test wants it, not started."""
    made: list[Machine] = []

    def make(**more: Any) -> Machine:
        made.append(Machine(tmp_path / str(len(made)), **more))
        return made[-1]

    yield make
    for machine in made:
        machine.clock.stopping.set()
        machine.sql.stop()


@pytest.fixture
def until() -> Callable[..., None]:
    """Polls a condition with a deadline."""
    return wait_until

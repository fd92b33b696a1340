"""A lab machine with WinRM and nothing else, whose 'PowerShell' is a function of the test."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.credentials import WinRMCredentials
from blocks.windows_host import WindowsHost
from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.winrm import Accounts, Process, Quotas, WinRM, WireTap
from lab.winrm.certificates import Authority

USER = "svc-patching"
_addresses = (
    f"127.{61 + os.getpid() % 100}.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255))
)

Script = Callable[[dict[str, Any], Process], dict[str, Any] | bytes]


class Machine:
    """The lab's side of the wire; ``script`` is what a call runs, and what it returns is the answer's value."""

    def __init__(self, folder: Path, quotas: Quotas | None = None, speed: float = 100) -> None:
        self.address = next(_addresses)
        self.password = f'p"\u2039&€-{secrets.token_hex(6)}'
        self.audit = Audit(folder / "audit.jsonl")
        self.faults = Faults()
        self.host = Host("sql01", folder / "sql01", self.address, frozenset(), self.audit, Clock(speed), self.faults)
        self.ca = Authority(folder / "ca")
        self.tap = WireTap()
        self.script: Script = lambda document, _process: {"echo": document["parameters"]}
        self.ran: list[dict[str, Any]] = []
        self.stderr = b""
        self._booting = threading.Lock()
        self.winrm = WinRM(
            self.host,
            Accounts("sql01", folder / "accounts", {USER: self.password}),
            self._powershell,
            tls=self.ca.tls("sql01", self.address),
            quotas=quotas,
            tap=self.tap,
        )
        self.winrm.boot()

    def _powershell(self, process: Process) -> int:
        document = json.loads(process.read().decode("utf-8"))
        self.ran.append(document)
        value = self.script(document, process)
        process.write(self.stderr, "stderr")
        raw = (
            value if isinstance(value, bytes) else json.dumps({"ok": True, "value": value}, ensure_ascii=False).encode()
        )
        process.write(raw)
        return 0 if b'"ok": true' in raw[:20] else 1

    def fault(self, name: str, times: int | None = 1, **settings: Any) -> None:
        self.faults.declare(Fault(name, times=times, with_=settings))

    def reboot(self) -> None:
        with self._booting:
            self.winrm.shutdown()
            self.winrm.boot()

    def events(self, name: str) -> list[dict[str, Any]]:
        if not self.audit.path.exists():
            return []
        lines = map(json.loads, self.audit.path.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["event"] == name]

    @property
    def shells(self) -> int:
        return sum(self.winrm.shells.open_ones().values())

    def credentials(self, **changes: Any) -> WinRMCredentials:
        fields = {"username": USER, "password": self.password, "scheme": "http", "ca_trust_path": str(self.ca.file)}
        return WinRMCredentials(**{**fields, **changes})

    def client(self, **changes: Any) -> WindowsHost:
        return WindowsHost("sql01", self.address, self.credentials(**changes))


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Build lab machines that are shut down at the end of the test."""
    made: list[Machine] = []

    def make(**settings: Any) -> Machine:
        made.append(Machine(tmp_path / f"m{len(made)}", **settings))
        return made[-1]

    yield make
    for machine in made:
        machine.host.clock.stopping.set()
        machine.winrm.shutdown()


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    """One lab machine."""
    return make_machine()


@pytest.fixture
def host(machine: Machine) -> Iterator[WindowsHost]:
    """A client of ``machine`` over http with NTLM's own sealing."""
    with machine.client() as client:
        yield client

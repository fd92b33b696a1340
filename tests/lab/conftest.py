"""A lab host with WinRM on real loopback sockets, and clients that talk to it as any other program would."""

from __future__ import annotations

import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import winrm

from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.paper import awkward_secret
from lab.shell import CommandShell
from lab.winrm import Accounts, CertificateMapping, Quotas, WinRM, WireTap
from lab.winrm.certificates import Authority, thumbprint

SPEED = 100.0


def _wait_until(condition: Callable[[], object], seconds: float = 10.0, what: str = "the condition") -> None:
    """Poll ``condition`` until it holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"gave up waiting for {what} after {seconds} s"
        time.sleep(0.01)


class Session:
    """A shell that stays open, and commands in it."""

    def __init__(self, protocol: winrm.Protocol) -> None:
        self.protocol = protocol
        self.shell = protocol.open_shell(codepage=65001, noprofile=True)

    def start(self, line: str, *arguments: str, **options: Any) -> str:
        command: str = self.protocol.run_command(self.shell, line, arguments, console_mode_stdin=False, **options)
        return command

    def run(self, line: str, *arguments: str, stdin: bytes | None = None) -> tuple[bytes, bytes, int]:
        """Standard output, standard error and exit code of a whole command."""
        command = self.start(line, *arguments)
        if stdin is not None:
            self.protocol.send_command_input(self.shell, command, stdin, end=True)
        answer: tuple[bytes, bytes, int] = self.protocol.get_command_output(self.shell, command)
        self.protocol.cleanup_command(self.shell, command)
        return answer

    def receive(self, command: str) -> tuple[bytes, bytes, int, bool]:
        answer: tuple[bytes, bytes, int, bool] = self.protocol.get_command_output_raw(self.shell, command)
        return answer


@dataclass
class Machine:
    """One host with WinRM, its account and its certificate authority."""

    host: Host
    winrm: WinRM
    ca: Path
    password: str = field(repr=False)
    user: str = "svc-patching"

    def protocol(self, transport: str = "ntlm", **settings: Any) -> winrm.Protocol:
        """A pywinrm client: sealed NTLM over HTTP unless ``scheme="https"`` says otherwise."""
        scheme = settings.pop("scheme", "http")
        port = 5985 if scheme == "http" else 5986
        settings = {"username": self.user, "password": self.password, **settings}
        if scheme == "https":
            settings.setdefault("ca_trust_path", str(self.ca))
        settings.setdefault("ca_trust_path", None)  # unsaid, pywinrm looks into the environment and warns
        endpoint = f"{scheme}://{self.host.address}:{port}/wsman"
        return winrm.Protocol(endpoint, transport=transport, proxy=None, **settings)

    def session(self, transport: str = "ntlm", **settings: Any) -> Session:
        """A shell of its own, on a connection of its own."""
        return Session(self.protocol(transport, **settings))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The audit trail's events of that name."""
        path = self.host.audit.path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def fault(self, name: str, times: int | None = 1, **settings: Any) -> None:
        self.host.faults.declare(Fault(name, self.host.name, times, settings))


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Poll a condition until it holds, or fail at a deadline."""
    return _wait_until


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The lab's certificate authority."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def machine_with(tmp_path: Path, authority: Authority) -> Iterator[Callable[..., Machine]]:
    """Build a machine with quotas of one's own; it is shut down at the end of the test."""
    built: list[Machine] = []

    def build(
        quotas: Quotas | None = None, speed: float = SPEED, newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> Machine:
        clock = Clock(speed)
        for _ in range(50):
            address = f"127.{64 + secrets.randbelow(190)}.{1 + secrets.randbelow(254)}.{100 + secrets.randbelow(150)}"
            host = Host(
                "sql01", tmp_path / "sql01", address, frozenset(), Audit(tmp_path / "audit.jsonl"), clock, Faults()
            )
            password = awkward_secret() + ":"  # the colon is what pyspnego's plain user file stumbles over
            mapping = CertificateMapping("svc@lab", thumbprint(authority.der), "svc-patching")
            users = {"svc-patching": password, "other": password}
            accounts = Accounts("sql01", tmp_path / "accounts", users, certificates=[mapping])
            tls = authority.tls("sql01", address, newest=newest_tls)
            server = WinRM(host, accounts, CommandShell(host), tls=tls, quotas=quotas, tap=WireTap())
            try:
                server.boot()
            except OSError:
                server.shutdown()
                continue
            host.parts["winrm"] = server
            built.append(Machine(host, server, authority.file, password))
            return built[-1]
        raise AssertionError("no free loopback address")

    yield build
    for machine in built:
        machine.host.clock.stopping.set()
        machine.winrm.shutdown()


@pytest.fixture
def machine(machine_with: Callable[..., Machine]) -> Machine:
    """A machine with Windows' own quotas."""
    return machine_with()


@pytest.fixture
def session(machine: Machine) -> Session:
    """A shell over sealed NTLM."""
    return machine.session()

"""A lab machine with WinRM and nothing else, whose 'PowerShell' is a function of the test."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kdc import REALM, Kdc

from blocks.credentials import WinRMCredentials
from blocks.windows_host import WindowsHost
from lab.audit import Audit
from lab.clock import Clock
from lab.faults import Fault, Faults
from lab.host import Host
from lab.winrm import Accounts, CertificateMapping, Domain, Process, Quotas, WinRM, WireTap
from lab.winrm.certificates import Authority, thumbprint

USER = "svc-patching"
_addresses = (
    f"127.{61 + os.getpid() % 100}.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255))
)

Script = Callable[[dict[str, Any], Process], dict[str, Any] | bytes]


class Machine:
    """The lab's side of the wire; ``script`` is what a call runs, and what it returns is the answer's value."""

    def __init__(
        self,
        folder: Path,
        quotas: Quotas | None = None,
        speed: float = 100,
        domain: Domain | None = None,
        newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    ) -> None:
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
        self.accounts = Accounts("sql01", folder / "accounts", {USER: self.password}, domain=domain)
        self._booting = threading.Lock()
        self.winrm = WinRM(
            self.host,
            self.accounts,
            self._powershell,
            tls=self.ca.tls("sql01", self.address, newest=newest_tls),
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
        name = changes.pop("kerberos_name", None)
        return WindowsHost("sql01", self.address, self.credentials(**changes), kerberos_name=name)

    def certificate(self, upn: str = "svc@lab", *, mapped: bool = True, **about: Any) -> dict[str, Any]:
        """Credentials of a client's certificate that this machine's authority has signed, mapped to our user or not."""
        certificate, key = self.ca.issue_client(upn, **about)
        if mapped:
            self.accounts.certificates.append(CertificateMapping(upn, thumbprint(self.ca.der), USER))
        return {
            "transport": "certificate",
            "scheme": "https",
            "password": None,
            "certificate": certificate,
            "certificate_key": key,
        }


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


class Realm:
    """A KDC with our user and the service of machines that are members of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.kdc = Kdc(folder, **settings)
        self.password = f"k-{secrets.token_hex(6)}"
        self.user, self.host = f"{USER}@{REALM}", "sql01.acme.test"
        self.kdc.principal(USER, self.password)
        self.kdc.principal(f"HTTP/{self.host}")
        self.domain = Domain(self.kdc.keytab("host.keytab", f"HTTP/{self.host}"), {self.user: USER})
        self.kdc.start()

    def login(self, **changes: Any) -> dict[str, Any]:
        """What the credentials of our user are, and what its machines are called."""
        known = {"transport": "kerberos", "username": self.user, "password": self.password, "kerberos_name": self.host}
        return {**known, "krb5_config": str(self.kdc.config), **changes}


@pytest.fixture
def make_realm(tmp_path: Path, kerberos: None) -> Iterator[Callable[..., Realm]]:
    """Build realms of a test's own; their KDCs end with it."""
    del kerberos  # only that there is one
    made: list[Realm] = []

    def make(**settings: Any) -> Realm:
        made.append(Realm(tmp_path / f"realm{len(made)}", **settings))
        return made[-1]

    yield make
    for realm in made:
        realm.kdc.stop()


@pytest.fixture
def realm(make_realm: Callable[..., Realm]) -> Realm:
    """One realm."""
    return make_realm()


@pytest.fixture
def member(make_machine: Callable[..., Machine], realm: Realm) -> Machine:
    """A machine that is a member of ``realm``."""
    return make_machine(domain=realm.domain)

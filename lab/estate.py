"""The estate in a box: builds the hosts of a LabSpec, starts everything that serves on them, and stops it again."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import paper
from lab.audit import Audit
from lab.clock import Clock
from lab.control import Control
from lab.faults import Fault, Faults
from lab.host import Host
from lab.machine import furnish
from lab.scripts.transfer import write_access
from lab.shell import CommandShell
from lab.spec import PRESETS, HostSpec, LabSpec
from lab.winrm import Accounts, CertificateMapping, Domain, Quotas, WinRM, WireTap
from lab.winrm.certificates import Authority, thumbprint
from lab.wiring import Wiring

__all__ = ["PRESETS", "Lab", "LabSpec"]


class Lab:
    """A running estate. Use it as a context manager, or call ``start`` and ``stop``.

    ``folder`` receives everything, laid out as the module's file names say: ``estate.yaml``, ``credentials.json``,
    ``audit.jsonl``, ``lab.json``, ``hosts/<name>``, ``nas01/billing``. ``tap`` records what the WinRM HTTP ports
    receive, in ``wire/<host>.bin``; ``ca/client.pem`` and ``ca/client.key`` are a certificate that every host maps to the
    WinRM user; with a ``domain`` the hosts are members of a Kerberos realm, whose KDC somebody else runs. Each lab has a block of loopback addresses of its own, with the usual ports.
    """

    def __init__(
        self,
        spec: LabSpec,
        folder: Path,
        *,
        speed: float = 1.0,
        seed: int = 0,
        tap: bool = False,
        domain: Domain | None = None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.clock = Clock(speed)
        self.faults = Faults(seed)
        self.secrets = paper.Secrets()
        folder.mkdir(parents=True, exist_ok=True)
        self.audit = Audit(folder / "audit.jsonl")
        self.estate_file = folder / "estate.yaml"
        self.credentials_file = folder / "credentials.json"
        self.share = folder / "nas01" / "billing"
        self.hosts: dict[str, Host] = {}
        self.stop_requested = threading.Event()
        self._seed = seed
        self._tap = tap
        self._domain = domain
        self._wiring: Wiring | None = None

    # Start and stop --------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Build and start everything; returns when every server answers."""
        self.control, self.block = self._take_addresses()
        try:
            self._build()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every server; safe to call twice."""
        self.clock.stopping.set()
        for host in self.hosts.values():
            for part in host.parts.values():
                shutdown = getattr(part, "shutdown", None)
                if shutdown is not None:
                    shutdown()
        if self._wiring is not None:
            self._wiring.stop()
        self.control.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_addresses(self) -> tuple[Control, str]:
        """A block 127.a.b.* that no other lab of this machine has: whoever binds its control port owns it."""
        chance = random.SystemRandom()
        for _ in range(100):
            block = f"127.{chance.randrange(64, 255)}.{chance.randrange(1, 255)}"
            try:
                return Control(f"{block}.1", self), block
            except OSError:
                continue
        raise RuntimeError("no free block of loopback addresses for the lab: are a hundred labs running?")

    def _build(self) -> None:
        self.share.mkdir(parents=True, exist_ok=True)
        write_access(self.share, paper.SHARE_USER, self.secrets.share)
        paper.write_packages(self.spec, self.share)
        authority = Authority(self.folder / "ca")
        authority.write_client(paper.WINRM_UPN)
        addresses = {machine.name: f"{self.block}.{number}" for number, machine in enumerate(self.spec.hosts, 11)}
        for machine in self.spec.hosts:
            self.hosts[machine.name] = self._host(machine, addresses[machine.name])
        sql = self.spec.sql_host.name
        certificate = authority.issue(f"{sql}-sql", addresses[sql])
        services = f"{self.block}.9"
        self._wiring = Wiring(self.spec, self.secrets, self.hosts, services, certificate)
        if any(file.at == "web" for file in self.spec.files):
            self._wiring.serve_downloads(self.folder / "downloads", authority.issue("downloads", services))
        self._wiring.start()
        for host in self.hosts.values():
            (host.folder / "trusted.pem").write_bytes(authority.file.read_bytes())
            winrm = self._winrm(host, authority)
            host.parts["winrm"] = winrm
            winrm.boot()
        known = paper.credentials(
            self.spec, self.secrets, authority.file, self._wiring.s3_endpoint, self._wiring.pager_url
        )
        paper.write_private(self.credentials_file, known)
        told = paper.estate(
            self.spec,
            addresses,
            self.share,
            downloads=self._wiring.downloads_url,
            operations=self._wiring.operations_url,
        )
        paper.write_yaml(self.estate_file, told)
        paper.write_private(self.folder / "lab.json", self.state())

    def _host(self, machine: HostSpec, address: str) -> Host:
        folder = self.folder / "hosts" / machine.name
        host = Host(machine.name, folder, address, frozenset(machine.roles), self.audit, self.clock, self.faults)
        furnish(host, machine, self.spec, random.Random(f"{self._seed}:{machine.name}"))
        (folder / "unc" / "nas01").mkdir(parents=True)
        (folder / "unc" / "nas01" / "billing").symlink_to(os.path.relpath(self.share, folder / "unc" / "nas01"))
        return host

    def _winrm(self, host: Host, authority: Authority) -> WinRM:
        mapping = CertificateMapping(paper.WINRM_UPN, thumbprint(authority.der), paper.WINRM_USER)
        accounts = Accounts(
            host.name,
            self.folder / "accounts" / host.name,
            {paper.WINRM_USER: self.secrets.winrm},
            certificates=[mapping],
            domain=self._domain,
        )
        return WinRM(
            host,
            accounts,
            CommandShell(host),
            tls=authority.tls(host.name, host.address),
            quotas=Quotas(envelope=self.spec.envelope),
            tap=WireTap(self.folder / "wire" / f"{host.name}.bin") if self._tap else None,
        )

    # What the control API acts on ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Where everything is, and which hosts are up."""
        return {
            "pid": os.getpid(),
            "control": self.control.url,
            "estate": str(self.estate_file),
            "credentials": str(self.credentials_file),
            "audit": str(self.audit.path),
            "speed": self.clock.speed,
            "s3": self._wiring.s3_endpoint if self._wiring else None,
            "hosts": {
                name: {
                    "address": host.address,
                    "up": host.up.is_set(),
                    "boot": host.boot_number,
                    "parts": sorted(host.parts),
                }
                for name, host in self.hosts.items()
            },
        }

    def declare(self, fault: Fault) -> None:
        self.faults.declare(fault)

    def clear_faults(self, name: str | None = None) -> None:
        self.faults.clear(name)

    def restart(self, host: str, seconds_down: float = 20.0) -> None:
        """Restart a host, in the background; KeyError for one that is not here."""
        self.hosts[host].restart(seconds_down)

    def work(self, host: str, kind: str, seconds: float) -> int | None:
        """Begin a billing run (``billing``) or an eCheck batch (``payments``); None where its Agent job is held.

        ``finish`` lets all that runs come to its end.
        """
        work = self.hosts[host].parts["sql"].work
        if kind == "finish":
            work.finish()
            return None
        begin = {"billing": work.billing_run, "payments": work.payment_batch}[kind]
        number: int | None = begin(seconds)
        return number

    def request_stop(self) -> None:
        """Ask whoever runs the lab to end it."""
        self.stop_requested.set()

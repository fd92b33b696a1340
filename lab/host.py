"""One Windows machine of the lab: a folder with drives and state files, services, boots.

The folder's layout is that of a host of the PowerShell engine used in the tests: ``C/…`` is drive C:, ``unc/…`` are
shares, ``registry.json``, ``services.json``, ``cim.json``, ``tasks.json``, ``updates.json``, ``drives.json`` hold the
rest, and ``iis.json`` the web server's configuration. Both start from the same bytes.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.audit import Audit
from lab.boot import DELAY_SECONDS, drop_volatile, start_services
from lab.clock import Clock
from lab.disk import Disk
from lab.faults import Faults
from lab.servicing import commit


@dataclass
class Host:
    """A machine: ``name``, its ``folder``, where its servers listen (``address``), and what it shares with the lab."""

    name: str
    folder: Path
    address: str
    roles: frozenset[str]
    audit: Audit
    clock: Clock
    faults: Faults
    lock: threading.RLock = field(default_factory=threading.RLock)
    parts: dict[str, Any] = field(default_factory=dict)
    """The servers on this machine by role: ``winrm``, ``tasks``, ``sql``, ``iis``. Each may have
    ``shutdown()``, ``boot()`` and ``service(name, started: bool)``, which the host calls. ``operations`` is not on it:
    the function by which its scripts ask the systems around the estate."""
    held: set[str] = field(default_factory=set)
    """Files that something which runs has open, and lets nobody else open."""
    up: threading.Event = field(default_factory=threading.Event)
    boot_number: int = 1
    _restarts: int = 0
    _power: threading.Lock = field(default_factory=threading.Lock)
    """Held while the machine goes down, and while it comes up."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = Disk(self.folder)
        self.up.set()

    # State files -----------------------------------------------------------------------------------------------------

    def read(self, file: str) -> dict[str, Any]:
        """A state file (``services.json``), or ``{}`` where there is none."""
        with self.lock:
            path = self.folder / file
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @contextmanager
    def edit(self, file: str) -> Iterator[dict[str, Any]]:
        """A state file to change in place; written atomically at the end of the block."""
        with self.lock:
            state = self.read(file)
            yield state
            fresh = self.folder / f"{file}.{uuid.uuid4().hex}"
            fresh.write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")
            fresh.replace(self.folder / file)

    def event(self, event: str, *, effect: bool = True, **fields: Any) -> None:
        """Write to the audit trail in this host's name."""
        self.audit.write(self.name, event, effect=effect, **fields)

    # Services --------------------------------------------------------------------------------------------------------

    def service(self, name: str, *, started: bool) -> None:
        """Start or stop a service as the service manager would, and tell the part that lives in it."""
        status = "Running" if started else "Stopped"
        with self.lock, self.edit("services.json") as services:
            known = next((k for k in services if k.casefold() == name.casefold()), None)
            if known is None or services[known].get("status", "Stopped") == status:
                return
            services[known]["status"] = status
            services[known].pop("exit", None)
        self.event(f"service.{'start' if started else 'stop'}", service=known)
        self._tell("service", known, started)

    # Boots -----------------------------------------------------------------------------------------------------------

    def restart(self, seconds_down: float = 20.0) -> None:
        """Go down and come up again, in the background of the caller; see ``facts``: sockets die, volatile keys go.

        A host that is down already comes up as this one says.
        """
        threading.Thread(target=self._restart, args=(seconds_down,), name=f"{self.name}-restart", daemon=True).start()

    def _restart(self, seconds_down: float) -> None:
        with self._power:
            self._restarts += 1
            mine = self._restarts
            self.event("host.shutdown")
            self.up.clear()
            self._tell("shutdown")
        if self.clock.sleep(seconds_down):
            return
        with self._power:
            if mine != self._restarts or self.clock.stopping.is_set():
                return
            later = self._boot()
        self._start_delayed(later, self.boot_number)

    def _boot(self) -> list[str]:
        """Come up; the names of the services that start later."""
        self.boot_number += 1
        with self.edit("registry.json") as registry:
            drop_volatile(registry)
        commit(self)
        with self.edit("cim.json") as cim:
            for system in cim.get("Win32_OperatingSystem", []):
                system["LastBootUpTime"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            cim.pop("Win32_Process", None)
        with self.edit("services.json") as services:
            later = start_services(
                services,
                self.read("registry.json"),
                lambda name: self.faults.strike("service.down_after_boot", name) is not None,
            )
        self.event("host.boot", number=self.boot_number)
        self.up.set()
        self._tell("boot")
        return later

    def _start_delayed(self, names: list[str], boot: int) -> None:
        if names and not self.clock.sleep(DELAY_SECONDS) and self.up.is_set() and self.boot_number == boot:
            for name in names:
                self.service(name, started=True)

    def _tell(self, what: str, *arguments: Any) -> None:
        for part in list(self.parts.values()):
            handler: Callable[..., None] | None = getattr(part, what, None)
            if handler is not None:
                handler(*arguments)

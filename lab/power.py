"""The power of a lab host: its shutdown.exe, and what the registry tells while it boots. The host's part ``power``.

``shutdown.json`` holds where a shutdown stands: ``{"phase": null | "scheduled" | "in_progress" | "denied"}``. Faults:
``power.slow_boot`` {seconds} is a boot that takes longer (or never ends: null), ``power.servicing`` {seconds} one whose
updates still configure while WinRM answers already, ``power.double_boot`` {seconds} one that is followed by another, so
many seconds after WinRM first answered.
"""

from __future__ import annotations

import threading
from typing import Any

from lab.host import Host

SECONDS_DOWN = 20.0
LOGON_SECONDS = 3.0
"""From WinRM's first answer after a boot to the logon screen, in lab time."""
FOREVER = 1e9

SAYS = {
    5: "Access is denied.(5)",
    1115: "A system shutdown is in progress.(1115)",
    1190: "A system shutdown has already been scheduled.(1190)",
}


def power(host: Host) -> Power:
    """The host's power, fitted when it is first asked for."""
    with host.lock:
        fitted: Power = host.parts.setdefault("power", Power(host))
        return fitted


class Power:
    """Takes requests to restart, and tells of the boot in the registry."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._abort = threading.Event()

    def shutdown_exe(self, arguments: list[str]) -> tuple[int, str]:
        """Exit code and text of ``shutdown.exe`` with these arguments (/r with /t, or /a)."""
        with self.host.lock:
            phase = self.host.read("shutdown.json").get("phase")
            code = {"in_progress": 1115, "denied": 5}.get(str(phase), 0)
            if code == 0 and arguments[0] == "/a":
                self._abort.set()
                self._phase(None)
            elif code == 0 and phase == "scheduled":
                code = 1190
            elif code == 0:
                self._phase("scheduled")
                self._abort = threading.Event()
                delay = float(arguments[arguments.index("/t") + 1])
                thread = threading.Thread(
                    target=self._go_down, args=(delay, self._abort), name=f"{self.host.name}-power", daemon=True
                )
                thread.start()
        return code, SAYS.get(code, "")

    def _go_down(self, delay: float, abort: threading.Event) -> None:
        if self.host.clock.sleep(delay, abort) or self.host.clock.stopping.is_set():
            return
        self._phase("in_progress")
        slow = self.host.faults.strike("power.slow_boot", self.host.name)
        seconds = SECONDS_DOWN if slow is None else slow.get("seconds", None)
        self.host.restart(FOREVER if seconds is None else float(seconds))

    def boot(self) -> None:
        """The host is up: nothing is scheduled any more; servicing, then the logon screen."""
        self._phase(None)
        threading.Thread(target=self._come_up, name=f"{self.host.name}-logon", daemon=True).start()
        double = self.host.faults.strike("power.double_boot", self.host.name)
        if double is not None:
            again = threading.Thread(target=self._again, args=(float(double.get("seconds", 30)),), daemon=True)
            again.start()

    def _again(self, seconds: float) -> None:
        if not self.host.clock.sleep(seconds):
            self.host.restart(SECONDS_DOWN)

    def _come_up(self) -> None:
        servicing = self.host.faults.strike("power.servicing", self.host.name)
        if servicing is not None:
            self._servicing(2)
            if self.host.clock.sleep(float(servicing.get("seconds", 30))):
                return
            self._servicing(0)
        if not self.host.clock.sleep(LOGON_SECONDS):
            show_logon(self.host)

    def _phase(self, phase: str | None) -> None:
        with self.host.edit("shutdown.json") as state:
            state["phase"] = phase

    def _servicing(self, value: int) -> None:
        path = ("Windows", "CurrentVersion", "Component Based Servicing", "Interface")
        with self.host.edit("registry.json") as registry:
            _at(registry, path).setdefault("@", {})["ServicingInProgress"] = value


def show_logon(host: Host) -> None:
    """Leave the mark of a logon screen that is up; a lab calls it once for a host that is meant to run already."""
    with host.edit("registry.json") as registry:
        _at(registry, ("Windows NT", "CurrentVersion", "Winlogon", "AutoLogonChecked"))["@volatile"] = True


def _at(registry: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    here = registry
    for part in ("HKLM", "SOFTWARE", "Microsoft", *path):
        here = here.setdefault(part, {})
    return here

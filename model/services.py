"""The services of a host after a restart: which of those that ran before it must run again, and what to do about each.

'Every automatic service runs' never holds: trigger-start services wait for their trigger, others end by themselves when
they are done. What a service's last run ended with tells the difference (Win32_Service.ExitCode).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model.records import Answer

RAN = "services-that-ran"
"""The section of ``quiesce.json`` with the names of the services that must run again after a restart."""

_ENDED_IN_PEACE = 0
_NOT_STARTED_YET = 1077
"""ERROR_SERVICE_NEVER_STARTED: no attempt has been made since the last boot."""
_SOON, _LATER = 120, 600
"""Seconds after a boot by which Windows has come to every service, and to the delayed ones (they begin after 120)."""


class AutoService(Answer):
    """A service that Windows starts by itself, as Get-AutoServices tells."""

    name: str
    status: str
    exit_code: int | None = None
    delayed: bool = False
    triggered: bool = False


def auto_services(answer: dict[str, Any]) -> tuple[AutoService, ...]:
    """The services in the answer of Get-AutoServices."""
    return tuple(AutoService.model_validate(each) for each in answer["services"] or ())


def that_ran(services: Iterable[AutoService]) -> tuple[str, ...]:
    """The names of those that must run again after a restart: what starts with the machine, and runs now."""
    return tuple(one.name for one in services if one.status == "Running" and not one.triggered)


@dataclass(frozen=True)
class Absent:
    """A service that ran before the restart and does not run now; ``why``, and whether to wait, start it, or say so."""

    name: str
    why: str
    do: Literal["wait", "start", "tell"]

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def absent(
    before: Iterable[str], now: Sequence[AutoService], uptime: float, held: Collection[str] = ()
) -> tuple[Absent, ...]:
    """Which of the services that ran ``before`` are missing ``uptime`` seconds after the boot.

    ``held`` are those that are down on purpose. One that has run since the boot and ended in peace is not missing.
    """
    known = {one.name.casefold(): one for one in now}
    down = {name.casefold() for name in held}
    judged = (_judge(name, known.get(name.casefold()), uptime) for name in before if name.casefold() not in down)
    return tuple(one for one in judged if one is not None)


def _judge(name: str, service: AutoService | None, uptime: float) -> Absent | None:
    if service is None:
        return Absent(name, "does not start by itself any more", "tell")
    if service.status == "Running" or service.triggered:
        return None
    if service.status != "Stopped":
        return Absent(name, service.status, "wait")
    if service.exit_code == _ENDED_IN_PEACE:
        return None
    if service.exit_code != _NOT_STARTED_YET:
        return Absent(name, f"failed to start, exit code {service.exit_code}", "start")
    by_now = uptime > (_LATER if service.delayed else _SOON)
    return Absent(name, "was not started by Windows" if by_now else "not started yet", "start" if by_now else "wait")

"""What a boot does to a host's services and registry, as values: who starts by itself, and what a volatile key is.

A service's ``exit`` is the exit code of its last run: absent or 0 ended in peace, 1077 has not been started since the
boot. ``DelayedAutostart`` and ``TriggerInfo`` are read where Windows keeps them, below ``Services`` in the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DELAY_SECONDS = 120.0
"""From the boot to the start of delayed services, in lab time."""
NOT_STARTED, TIMED_OUT = 1077, 1053


def start_services(services: dict[str, Any], registry: dict[str, Any], fails: Callable[[str], bool]) -> list[str]:
    """Set the status of every service as it is right after a boot; returns the names of those that start later.

    ``fails`` says whether a service does not come up this time.
    """
    wanted = _started_at_boot(services)
    later = []
    for name, service in services.items():
        settings = key(registry, "SYSTEM", "CurrentControlSet", "Services", name)
        delayed = settings.get("@", {}).get("DelayedAutostart") == 1
        starts = name.casefold() in wanted and "TriggerInfo" not in settings and not delayed
        failed = starts and fails(name)
        service["status"] = "Running" if starts and not failed else "Stopped"
        service.pop("exit", None)
        if service["status"] == "Stopped":
            service["exit"] = TIMED_OUT if failed else NOT_STARTED
        if delayed and name.casefold() in wanted:
            later.append(name)
    return later


def _started_at_boot(services: dict[str, Any]) -> set[str]:
    """The automatic services and those that they depend on (WAS is manual, and starts for W3SVC); names fold case."""
    by_name = {name.casefold(): service for name, service in services.items()}
    wanted: set[str] = set()
    waiting = [name for name, service in by_name.items() if service.get("start", "Automatic").startswith("Auto")]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in wanted:
            wanted.add(name)
            waiting += [needed.casefold() for needed in by_name[name].get("depends", [])]
    return wanted


def key(keys: dict[str, Any], *path: str) -> dict[str, Any]:
    """The key at that path below ``keys`` (HKLM where it is the whole registry), or one that is nowhere."""
    here = keys.get("HKLM", keys)
    for part in path:
        here = here.get(part, {})
    found: dict[str, Any] = here
    return found


def drop_volatile(keys: dict[str, Any]) -> None:
    """Remove what a boot removes."""
    for name in [k for k, v in keys.items() if isinstance(v, dict) and k != "@" and v.get("@volatile")]:
        del keys[name]
    for name, value in keys.items():
        if isinstance(value, dict) and name != "@":
            drop_volatile(value)

"""How a lab's estate stands, read from the lab's own state files: what must be the same before a night that failed and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATCHING = Path("C/ProgramData/EngageIPPatching")
TOUCHES = (
    "service.stop",
    "site.bindings",
    "quiesce.open",
    "lease.enter",
    "job.disabled",
    "job.start",
    "snapshot.create",
    "store.write",
)
"""What a run does to an estate before it installs anything."""
INSTALLS = ("update.install", "sqlpatch.start", "sqlpatch.install", "host.restart_requested", "host.shutdown")


def standing(lab: Any) -> dict[str, Any]:
    """Services, sites with their bindings, pools and Agent schedules, as they stand now."""
    hosts = {path.name: path for path in sorted((lab.folder / "hosts").iterdir())}
    return {
        "services": {name: _read(path / "services.json") for name, path in hosts.items()},
        "sites": {name: _sites(_read(path / "iis.json")) for name, path in hosts.items()},
        "schedules": _schedules(lab),
    }


def snapshots(lab: Any) -> list[str]:
    """The ids of the snapshots of volumes that there are; a job that makes an archive has one."""
    hosts = sorted((lab.folder / "hosts").iterdir())
    return [each["ID"] for host in hosts for each in _read(host / "cim.json").get("Win32_ShadowCopy", [])]


def assert_released(lab: Any) -> None:
    """No host has a quiesce that is open, or a lease that somebody holds."""
    for host in sorted((lab.folder / "hosts").iterdir()):
        quiesce, lease = (_read(host / PATCHING / file) for file in ("quiesce.json", "lease.json"))
        assert quiesce.get("state", "closed") == "closed", f"{host.name}: {quiesce}"
        assert lease.get("released", True), f"{host.name}: {lease}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
    return found


def _sites(iis: dict[str, Any]) -> dict[str, Any]:
    """Sites and pools without what counts recycling, bindings in any order."""
    sites = {
        name: {**site, "bindings": sorted(binding["bindingInformation"] for binding in site["bindings"])}
        for name, site in iis.get("sites", {}).items()
    }
    return {"sites": sites, "pools": {name: pool["state"] for name, pool in iis.get("pools", {}).items()}}


def _schedules(lab: Any) -> dict[str, bool]:
    """Agent jobs that anybody has switched, and how they are now; none at first is as good as all of them on."""
    switched = {e["job"]: e["event"] == "job.enabled" for e in lab.audit("job.enabled", "job.disabled")}
    return {job: on for job, on in switched.items() if not on}

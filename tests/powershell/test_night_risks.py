"""Get-NightRisks, told twice: what the engine answers for a state of a host is what the lab answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Get-NightRisks")]

AU = ("SOFTWARE", "Policies", "Microsoft", "Windows", "WindowsUpdate", "AU")
QUIET = {
    "automatic_updates": None,
    "config_manager": False,
    "azure_update_manager": False,
    "system_volume": None,
    "sessions": [],
}


def au_options(registry: dict[str, Any]) -> None:
    """Group policy: download, and install on a schedule."""
    here = registry["HKLM"]
    for part in AU:
        here = here.setdefault(part, {})
    here.setdefault("@", {})["AUOptions"] = 4


def client(start: str) -> Callable[[dict[str, Any]], None]:
    """Configuration Manager's client, with this start type."""
    return lambda services: services.update(CcmExec={"status": "Stopped", "start": start})


def volumes(*found: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """What BitLocker may encrypt."""
    return lambda cim: cim.update(Win32_EncryptableVolume=list(found))


C = {"DriveLetter": "C:", "ProtectionStatus": 1, "KeyProtectors": {"3": ["{r}"], "4": ["{p}"], "9": []}}
DATA = {"DriveLetter": "D:", "ProtectionStatus": 1, "KeyProtectors": {"8": ["{p}"]}}
LINES = [
    ">jdoe                  rdp-tcp#2           2  Active          .  11/25/2026 1:02 AM",
    " anna   console  1  Active",
]

STATES: dict[str, tuple[str, Callable[[dict[str, Any]], object], dict[str, Any]]] = {
    "a policy that installs": ("registry.json", au_options, {"automatic_updates": 4}),
    "Configuration Manager": ("services.json", client("Automatic"), {"config_manager": True}),
    "Configuration Manager, disabled": ("services.json", client("Disabled"), {}),
    "a PIN": ("cim.json", volumes(DATA, C), {"system_volume": {"protection": 1, "protectors": [4]}}),
    "no protector": (
        "cim.json",
        volumes({**C, "ProtectionStatus": 0, "KeyProtectors": {}}),
        {"system_volume": {"protection": 0, "protectors": []}},
    ),
    "a password for data alone": ("cim.json", volumes(DATA), {}),
    "people": (
        "sessions.json",
        lambda sessions: sessions.update(lines=LINES),
        {"sessions": [x.strip() for x in LINES]},
    ),
}


def test_a_quiet_host(twin: Callable[..., Any]) -> None:
    """Nothing speaks."""
    assert twin().run("Get-NightRisks").agree() == QUIET


@pytest.mark.parametrize("state", STATES)
def test_each_risk_is_seen(twin: Callable[..., Any], state: str) -> None:
    """By both, and nothing else with it."""
    file, change, seen = STATES[state]
    hosts = twin()
    hosts.state(file, change)
    assert hosts.run("Get-NightRisks").agree() == {**QUIET, **seen}


@pytest.mark.parametrize(
    "extension",
    ["Microsoft.CPlat.Core.WindowsPatchExtension", "Microsoft.SoftwareUpdateManagement.WindowsOsUpdateExtension"],
)
def test_azure_update_manager(twin: Callable[..., Any], extension: str) -> None:
    """Of a virtual machine in Azure, and of a server that Azure Arc manages."""
    hosts = twin()
    hosts.put(f"C/Packages/Plugins/{extension}/1.5.67/HandlerManifest.json", b"{}")
    assert hosts.run("Get-NightRisks").agree() == {**QUIET, "azure_update_manager": True}

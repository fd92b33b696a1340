"""Get-HostFacts, told twice: for every state of a host the engine's answer is the lab's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Get-HostFacts")]

ASKED = ["W3SVC", "EngageIP Job Service", "wuauserv", "Spooler", "No Such Service"]
CBS = ("HKLM", "SOFTWARE", "Microsoft", "Windows", "CurrentVersion", "Component Based Servicing")
AUTO_UPDATE = ("HKLM", "SOFTWARE", "Microsoft", "Windows", "CurrentVersion", "WindowsUpdate", "Auto Update")
MANAGER = ("HKLM", "SYSTEM", "CurrentControlSet", "Control", "Session Manager")
ROOT = "C/ProgramData/EngageIPPatching"


def key(path: tuple[str, ...], **values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the registry: a key with values."""

    def change(tree: dict[str, Any]) -> None:
        here = tree
        for part in path:
            here = here.setdefault(part, {})
        here.setdefault("@", {}).update(values)

    return change


def service(name: str, **state: Any) -> Callable[[dict[str, Any]], None]:
    """A change of a service."""
    return lambda services: services.setdefault(name, {}).update(state)


def system(**values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of Win32_OperatingSystem."""
    return lambda cim: cim["Win32_OperatingSystem"][0].update(values)


def role(number: int) -> Callable[[dict[str, Any]], None]:
    """A change of the domain role."""
    return lambda cim: cim["Win32_ComputerSystem"][0].update(DomainRole=number)


RENAMES = [r"\??\C:\Temp\a.dll", "", r"\??\C:\Windows\b.dll", r"\??\C:\Windows\c.dll", "", ""]

STATES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "a service stopped": ("services.json", service("W3SVC", status="Stopped")),
    "a service stopping": ("services.json", service("W3SVC", status="StopPending")),
    "a service disabled": ("services.json", service("W3SVC", start="Disabled")),
    "a cluster node": ("services.json", service("ClusSvc", status="Running", start="Automatic")),
    "a service more": ("services.json", service("No Such Service", status="Running")),
    "a domain controller": ("cim.json", role(5)),
    "another boot": ("cim.json", system(LastBootUpTime="2026-02-01T00:00:00Z")),
    "another build": ("cim.json", system(BuildNumber="20348", Version="10.0.20348")),
    "an update's revision": (
        "registry.json",
        key(("HKLM", "SOFTWARE", "Microsoft", "Windows NT", "CurrentVersion"), UBR=9),
    ),
    "servicing wants a reboot": ("registry.json", key((*CBS, "RebootPending"))),
    "packages pending": ("registry.json", key((*CBS, "PackagesPending"))),
    "Windows Update wants a reboot": ("registry.json", key((*AUTO_UPDATE, "RebootRequired"))),
    "files to rename": ("registry.json", key(MANAGER, PendingFileRenameOperations=RENAMES)),
    "many files to rename": (
        "registry.json",
        key(MANAGER, PendingFileRenameOperations=[text for n in range(30) for text in (rf"\??\C:\Temp\{n}", "")]),
    ),
    "a boot id": (
        "registry.json",
        key(("HKLM", "SOFTWARE", "EngageIPPatching", "Boot"), Id="5e5a0b3c-0000-4000-8000-000000000001"),
    ),
    "a full drive": ("drives.json", lambda drives: drives["C"].update(free=0)),
}


def test_an_ordinary_host(twin: Callable[..., Any]) -> None:
    """The baseline, in full: what each field is called and what it holds."""
    facts = twin().run("Get-HostFacts", {"services": ASKED}).agree("now")
    assert facts == {
        "computer": "WEB01",
        "os": {
            "caption": "Microsoft Windows Server 2019 Standard",
            "version": "10.0.17763",
            "build": "17763",
            "ubr": 6414,
            "domain_role": 3,
        },
        "powershell": "5.1.17763.6414",
        "now": facts["now"],
        "last_boot": "2026-01-10T02:03:04.567Z",
        "boot_id": None,
        "drives": [{"letter": "C", "size": 128_000_000_000, "free": 64_000_000_000}],
        "pending_reboot": {
            "cbs_reboot_pending": False,
            "windows_update": False,
            "packages_pending": False,
            "file_renames": [],
        },
        "services": [
            {"name": "W3SVC", "status": "Running", "start_mode": "Auto", "exists": True},
            {"name": "EngageIP Job Service", "status": "Running", "start_mode": "Auto", "exists": True},
            {"name": "wuauserv", "status": "Stopped", "start_mode": "Manual", "exists": True},
            {"name": "Spooler", "status": "Stopped", "start_mode": "Disabled", "exists": True},
            {"name": "No Such Service", "status": None, "start_mode": None, "exists": False},
        ],
        "cluster": False,
        "lease": None,
        "quiesce": None,
    }


@pytest.mark.parametrize("state", STATES)
def test_a_changed_state_changes_both_answers_alike(twin: Callable[..., Any], state: str) -> None:
    """Whatever is different on the host is different in the answer, and the same in both tellings."""
    hosts = twin()
    before = hosts.run("Get-HostFacts", {"services": ASKED}).agree("now")
    hosts.state(*STATES[state])
    after = hosts.run("Get-HostFacts", {"services": ASKED}).agree("now")
    assert {**after, "now": ""} != {**before, "now": ""}


def test_drives_are_those_that_are_there(twin: Callable[..., Any]) -> None:
    """Every fixed drive is listed by letter; one without declared sizes has the engine's."""
    hosts = twin()
    hosts.put("E/Data/x.bin", b"x")
    hosts.put("D/x.bin", b"x")
    facts = hosts.run("Get-HostFacts").agree("now")
    assert [drive["letter"] for drive in facts["drives"]] == ["C", "D", "E"]
    assert facts["services"] == []


def test_lease_and_quiesce_are_shown_as_they_are(twin: Callable[..., Any]) -> None:
    """Both files come through untouched, unknown fields included."""
    hosts = twin()
    hosts.put(f"{ROOT}/quiesce.json", '{"number": 3, "services": [{"name": "W3SVC", "was": "Running"}]}')
    hosts.put(f"{ROOT}/lease.json", '{"fence": 7, "holder": "é‹", "released": true, "later": [1]}')
    facts = hosts.run("Get-HostFacts").agree("now")
    assert facts["quiesce"] == {"number": 3, "services": [{"name": "W3SVC", "was": "Running"}]}
    assert facts["lease"]["later"] == [1]


def test_facts_touch_nothing(twin: Callable[..., Any]) -> None:
    """Reading leaves no file and no key behind, and nothing in the audit trail that is an effect."""
    hosts = twin()
    before = hosts.json("registry.json")
    hosts.run("Get-HostFacts", {"services": ASKED})
    assert hosts.json("registry.json") == before
    assert hosts.files("C/ProgramData") == ([], [])
    audit = hosts.lab.audit.path
    assert not audit.exists() or '"effect": true' not in audit.read_text()


@pytest.mark.parametrize("parameters", [{"nonsense": 1}, {"services": ["W3SVC"], "Extra": None}])
def test_an_unknown_parameter_is_refused(twin: Callable[..., Any], parameters: dict[str, Any]) -> None:
    """A misspelt parameter is an error on both sides, not a default."""
    both = twin().run("Get-HostFacts", parameters)
    assert both.engine["error"]["type"] == both.lab["error"]["type"]
    assert both.engine["error"]["message"] == both.lab["error"]["message"]

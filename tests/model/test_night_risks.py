"""What could disturb a night: refused where it would end it, named where people should know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from model.night_risks import NightRisks, cautions, refused
from model.records import HostFacts

NOW = datetime(2026, 11, 25, 1, tzinfo=UTC)


def facts(**pending: Any) -> HostFacts:
    """A host with these signals of a restart."""
    system = {"caption": "", "version": "10.0.17763", "build": "17763", "domain_role": 3}
    return HostFacts.of(
        "web01",
        {
            "computer": "WEB01",
            "os": system,
            "powershell": "5.1",
            "now": NOW,
            "last_boot": NOW,
            "pending_reboot": pending,
        },
    )


def volume(protection: int, *protectors: int) -> NightRisks:
    """A host whose system volume has these protectors."""
    return NightRisks.of({"system_volume": {"protection": protection, "protectors": [*protectors]}})


@pytest.mark.parametrize("protectors", [(4,), (6,), (8,)])
def test_a_start_that_waits_for_a_person_is_refused(protectors: tuple[int, ...]) -> None:
    """TPM and PIN, with a startup key too, and a password: the fix is in the message."""
    (told,) = refused("web01", volume(1, *protectors))
    assert told.startswith("web01: BitLocker asks for a PIN or a password at each start")
    assert "Suspend-BitLocker -MountPoint C: -RebootCount 0" in told


@pytest.mark.parametrize(
    "risks", [volume(1, 1), volume(1, 4, 9), volume(0, 4), volume(1), NightRisks()], ids=lambda risks: str(risks)[-40:]
)
def test_a_start_that_waits_for_nobody_is_not(risks: NightRisks) -> None:
    """The TPM alone, network unlock beside the PIN, suspended protection, no BitLocker."""
    assert [*refused("web01", risks)] == []


def test_an_ordinary_host_has_no_cautions() -> None:
    """Nor one whose policy downloads alone (AUOptions 3), or renames files at its next start."""
    assert [*cautions(facts(file_renames=["C:/a"]), NightRisks(automatic_updates=3))] == []


def test_others_that_patch_it() -> None:
    """All of them in one line."""
    risks = NightRisks(automatic_updates=4, config_manager=True, azure_update_manager=True)
    (told,) = cautions(facts(), risks)
    assert told == (
        "Windows Update installs by itself (policy AUOptions 4) and Configuration Manager's client is installed and "
        "Azure Update Manager's extension is installed: see that nothing else patches this host in the window."
    )


def test_a_restart_that_is_pending() -> None:
    """By the signals that say so."""
    (told,) = cautions(facts(cbs_reboot_pending=True), NightRisks())
    assert told == (
        "a restart is pending (Component Based Servicing: RebootPending): it restarts before anything is installed."
    )


def test_who_is_logged_on_in_any_language() -> None:
    """Quser's columns stand where the language of Windows puts them; a name comes first, once."""
    lines = [
        ">administrator         rdp-tcp#1           1  Aktiv           .  25.11.2026 01:02",
        "svc backup                                 2  Getr.        1:10  24.11.2026 22:14",
        "svc backup            console             3  Aktiv       none  24.11.2026 22:14",
    ]
    risks = NightRisks(sessions=tuple(lines))
    assert risks.logged_on == ("administrator", "svc backup")
    assert [*cautions(facts(), risks)] == ["administrator, svc backup are logged on: a restart ends the session."]

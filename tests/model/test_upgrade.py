"""An upgrade of EngageIP: programs and database are of one version, or the portals stay closed."""

from __future__ import annotations

import json

import pytest

from model.estate import EngageIPUpgrade
from model.reopen import begun_on
from model.upgrade import Upgrade, Versions, half_upgraded, upgrade_section, upgrade_way_back

OLD, NEW = "8.5.23", "8.6.0"
BACKUPS = {"installation folder": r"\\nas01\billing\x.zip", "database EngageIP": r"\\nas01\billing\x.bak"}


def upgrade(**before: str | None) -> Upgrade:
    package = EngageIPUpgrade.model_validate(
        {
            "kind": "engageip-upgrade", "name": "EngageIP 8.6.0", "on": "web01", "source": r"\\nas01\billing\e.exe",
            "sha256": "ab" * 32, "publisher": "LogiSense", "version": NEW,
            "probe": {"file": r"C:\EngageIP\Version.txt", "pattern": "([0-9.]+)"},
            "schema_version": {
                "on": "sql01", "database": "EngageIP", "sql": "SELECT 1",
                "script": {"source": r"\\nas01\billing\schema.sql", "sha256": "cd" * 32},
            },
        }
    )  # fmt: skip
    return Upgrade.beginning(package, Versions(**{"application": OLD, "schema": OLD, **before}), BACKUPS)


@pytest.mark.parametrize(
    ("application", "schema", "whole"),
    [
        (OLD, OLD, True),  # it failed before it changed anything
        (NEW, NEW, True),
        ("8.6.1", "8.6.1", True),
        (NEW, OLD, False),
        (OLD, NEW, False),
        (NEW, None, False),
        (None, NEW, False),
        (None, None, False),
        ("8.5.99", "8.5.99", False),  # neither before nor after
    ],
)
def test_programs_and_database_agree(application: str | None, schema: str | None, whole: bool) -> None:
    """Both as before, or both as after: anything else is half an upgrade, told with all four versions."""
    why = half_upgraded(upgrade(), Versions(application, schema))
    assert (why is None) is whole
    if why is not None:
        assert (
            f"before it was application {OLD}, schema {OLD}, after EngageIP 8.6.0 it must be application {NEW}" in why
        )


def test_what_was_unknown_before_vouches_for_nothing() -> None:
    """A version that could not be read before and cannot be read now is not 'as before'."""
    assert half_upgraded(upgrade(application=None), Versions(None, OLD)) is not None


def test_the_note_survives_the_host() -> None:
    """Whoever reads quiesce.json, on any host, knows how to judge the upgrade."""
    begun = upgrade()
    held = json.loads(json.dumps({upgrade_section(begun.name): begun.note()}))
    found = begun_on({"web01": {"held": held}, "sql01": {"held": held}})
    assert found.anything
    assert found.upgrades == {"EngageIP 8.6.0": begun}


def test_the_way_back_says_what_to_run_and_what_to_restore() -> None:
    """Forward first; back only with programs and database together."""
    finish, restore = upgrade_way_back("acme", upgrade(), "it stands at ...")
    assert r"run \\nas01\billing\e.exe on web01, then \\nas01\billing\schema.sql in EngageIP on sql01" in finish
    assert "billpatch recover acme" in finish
    assert "together, never one of them" in restore
    assert all(path in restore for path in BACKUPS.values())

"""Records say what was seen, and refuse what makes no sense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from model.records import CheckRecord, HostFacts, RestartRecord, RunOutcome

AT = datetime(2026, 3, 8, 8, 0, tzinfo=UTC)
ANSWER: dict[str, Any] = {
    "computer": "WEB01",
    "os": {"caption": "Microsoft Windows Server 2019 Standard", "version": "10.0.17763", "build": "17763", "ubr": 5576, "domain_role": 3},
    "powershell": "5.1.17763.5576",
    "now": "2026-03-08T08:00:00.123Z",
    "last_boot": "2026-02-08T08:00:00Z",
    "boot_id": None,
    "drives": [{"letter": "C", "size": 100, "free": 40}],
    "pending_reboot": {"cbs_reboot_pending": True, "windows_update": False, "packages_pending": False, "file_renames": None},
    "services": [{"name": "W3SVC", "status": "Running", "start_mode": "Auto", "exists": True}, {"name": "x", "status": None, "start_mode": None, "exists": False}],
    "cluster": False,
    "lease": None,
    "quiesce": None,
    "something_newer": 1,
}  # fmt: skip


def test_host_facts_are_read_from_the_scripts_answer() -> None:
    """Services are found as Windows finds them, without regard to case; what is newer than we are is kept."""
    facts = HostFacts.of("web01", ANSWER)
    assert facts.host == "web01"
    assert facts.os.full_build == "10.0.17763.5576"
    assert not facts.os.is_domain_controller
    assert facts.pending_reboot.cbs_reboot_pending
    found = facts.service("w3svc")
    assert found is not None
    assert found.status == "Running"
    assert facts.service("nothing") is None
    assert facts.model_extra == {"something_newer": 1}


def test_a_fact_of_another_form_is_an_error() -> None:
    with pytest.raises(ValidationError):
        HostFacts.of("web01", {**ANSWER, "last_boot": "yesterday"})


def test_seconds_down_are_counted_from_when_it_was_seen_going() -> None:
    restart = RestartRecord(host="web01", asked=AT, ready=AT + timedelta(seconds=90))
    assert restart.seconds_down == 90
    assert restart.model_copy(update={"down": AT + timedelta(seconds=30)}).seconds_down == 60
    assert restart.model_copy(update={"ready": None}).seconds_down is None


@pytest.mark.parametrize(
    ("severity", "status", "blocks"),
    [("must", "passed", False), ("must", "failed", True), ("must", "not-run", True), ("should", "failed", False)],
)
def test_a_must_check_that_has_not_passed_keeps_portals_closed(severity: Any, status: Any, blocks: bool) -> None:
    assert CheckRecord(name="x", host="web01", severity=severity, status=status).blocks_reopening == blocks


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        RestartRecord(host="web01", asked=AT.replace(tzinfo=None))


def test_an_outcome_knows_whether_somebody_must_look() -> None:
    assert RunOutcome(verdict="nothing-to-do", headline="x").succeeded
    assert not RunOutcome(verdict="half-open", headline="x").succeeded

"""A restart is proved by what only a boot can do, and a host is up when Windows has finished, not when a port answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.reboot import RebootBefore, pending_verdict, reboot_verdict, restart_due, windows_asks
from model.records import PendingReboot, UpdateRecord

BOOTED = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
OLD, NEW = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
INTENT = "acme-billing.CHG1.1.1.restart.web01"
BEFORE = RebootBefore(OLD, BOOTED)


def answer(**told: Any) -> dict[str, Any]:
    """What Get-RebootState answers some minutes after a good restart."""
    asked = {
        "intent": INTENT,
        "boot_id": OLD,
        "last_boot": BOOTED.isoformat(),
        "asked": "2026-03-08T08:00:00Z",
        "fence": 3,
    }
    good = {
        "asked": asked,
        "marker_present": False,
        "boot_id": None,
        "now": "2026-03-08T08:05:00Z",
        "uptime_seconds": 200,
    }
    good |= {"last_boot": "2026-03-08T08:01:30Z", "servicing_in_progress": None, "logon_ready": True}
    return {**good, **told}


@pytest.mark.parametrize("before", [BEFORE, None])
def test_mark_gone_and_another_boot_is_up(before: RebootBefore | None) -> None:
    """With what the orchestrator wrote down, and after a lost orchestrator with the host's own restart.json."""
    assert reboot_verdict(answer(), INTENT, before).state == "up"
    assert reboot_verdict(answer(boot_id=NEW), INTENT, before).state == "up"


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"marker_present": True}, "going"),  # the port is still up right after the request
        ({"boot_id": OLD}, "going"),
        ({"servicing_in_progress": 2}, "configuring"),  # WinRM answers while updates configure
        ({"servicing_in_progress": 1}, "up"),
        ({"logon_ready": False}, "configuring"),
        ({"asked": None}, "unknown"),
        ({"asked": {"intent": "another", "boot_id": OLD, "last_boot": BOOTED.isoformat()}}, "unknown"),
    ],
)
def test_what_is_not_up_says_why(told: dict[str, Any], state: str) -> None:
    verdict = reboot_verdict(answer(**told), INTENT)
    assert verdict.state == state
    assert verdict.why


@pytest.mark.parametrize(
    ("asked", "state"),
    [
        ("acme.CHG1.1.2", "up"),
        ("acme.CHG1.1.10", "up"),
        ("acme.CHG1.1.1", "up"),
        ("acme.CHG1.1.0", "unknown"),
        ("acme.CHG1.2.2", "unknown"),
        ("acme.CHG1.1.later", "unknown"),
        ("ACME.CHG1.1.2", "unknown"),
        ("2", "unknown"),
    ],
)
def test_a_later_restart_of_the_same_run_proves_the_earlier(asked: str, state: str) -> None:
    """Only the last one stands in restart.json; a run that is gone on with asks for none anew that had been proven."""
    file = {"intent": asked, "boot_id": OLD, "last_boot": BOOTED.isoformat()}
    assert reboot_verdict(answer(asked=file), "acme.CHG1.1.1").state == state
    still = "going" if state == "up" else "unknown"
    assert reboot_verdict(answer(asked=file, boot_id=OLD), "acme.CHG1.1.1").state == still


def test_a_boot_time_that_drifts_is_no_restart() -> None:
    """Without a boot id from before, LastBootUpTime must have moved by more than a minute."""
    before = RebootBefore(None, BOOTED)
    for moved, state in ((0, "unknown"), (59, "unknown"), (-600, "unknown"), (61, "up")):
        told = answer(last_boot=(BOOTED + timedelta(seconds=moved)).isoformat())
        assert reboot_verdict(told, INTENT, before).state == state


def test_a_clock_set_back_does_not_hide_a_restart() -> None:
    """The volatile mark and the boot id prove it whatever the clock says."""
    told = answer(last_boot=(BOOTED - timedelta(hours=1)).isoformat(), boot_id=NEW)
    assert reboot_verdict(told, INTENT, BEFORE).state == "up"


@pytest.mark.parametrize("signal", ["cbs_reboot_pending", "windows_update", "packages_pending"])
def test_each_signal_alone_makes_a_restart_due(signal: str) -> None:
    verdict = pending_verdict(PendingReboot.model_validate({signal: True}))
    assert verdict.due
    assert len(verdict.signals) == 1


def test_file_renames_count_before_sql_setup_only() -> None:
    """Antivirus leaves them behind all day; SQL Server's RebootRequiredCheck fails on them."""
    pending = PendingReboot(file_renames=(r"C:\Windows\Temp\av.tmp",))
    assert not pending_verdict(pending).due
    assert pending_verdict(pending).advisory == (r"PendingFileRenameOperations: C:\Windows\Temp\av.tmp",)
    assert pending_verdict(pending, before_sql_setup=True).due


def update(result: Any, hresult: str | None = None, **more: Any) -> UpdateRecord:
    return UpdateRecord(
        host="web01",
        update="u",
        title="KB1",
        kind="windows-update",
        result=result,
        hresult=hresult,
        started=BOOTED,
        **more,
    )


@pytest.mark.parametrize(
    ("records", "pending", "due"),
    [
        ([], PendingReboot(), False),
        ([update("not-needed")], PendingReboot(), False),
        ([update("failed", "0x80070643")], PendingReboot(), False),
        ([update("failed", "0x80242007")], PendingReboot(), True),  # hung past its limit: restart once, try once more
        (
            [update("failed", "0x80242007", tries=("0x80242007", "0x80242007"))],
            PendingReboot(),
            False,
        ),  # it was no help
        ([update("failed", "0x80240034")], PendingReboot(), False),  # a download: no restart mends it
        ([update("not-tried")], PendingReboot(), False),
        ([update("not-needed"), update("installed")], PendingReboot(), True),
        ([update("unknown")], PendingReboot(), True),
        ([update("not-needed")], PendingReboot(windows_update=True), True),
        ([], PendingReboot(file_renames=("av.tmp",)), False),
    ],
)
def test_a_host_restarts_for_a_reason(records: list[UpdateRecord], pending: PendingReboot, due: bool) -> None:
    """What went in or may have, or what waits for a restart; not what was there already."""
    assert restart_due(records, pending) is due


def test_no_signal_is_no_restart() -> None:
    assert not pending_verdict(PendingReboot()).due
    assert not pending_verdict(PendingReboot(), before_sql_setup=True).due


def installed(**changed: Any) -> UpdateRecord:
    """An update that went in."""
    told = {"host": "sql01", "update": "u", "title": "An update", "kind": "windows-update", "result": "installed"}
    return UpdateRecord.model_validate({**told, "started": "2026-01-01T00:00:00Z", **changed})


@pytest.mark.parametrize(
    ("record", "pending", "asks"),
    [
        (installed(), {}, False),
        (installed(kind="mssql-patch", hresult="0x00000000"), {}, False),
        (installed(kind="mssql-patch", hresult="0x00000BC2"), {}, True),
        (installed(result="reboot-pending"), {}, True),
        (installed(result="unknown"), {}, True),
        (installed(result="failed", hresult="0x80240016"), {}, True),
        (installed(result="failed", hresult="0x80070643"), {}, False),
        (installed(), {"windows_update": True}, True),
        (installed(), {"file_renames": ["C:\\av.tmp"]}, False),
    ],
)
def test_whether_windows_itself_must_restart(record: UpdateRecord, pending: dict[str, Any], asks: bool) -> None:
    """A signal, an update, or a setup asks for it, or nobody knows; else services are enough, where policy allows that."""
    assert windows_asks([record], PendingReboot.model_validate(pending)) is asks

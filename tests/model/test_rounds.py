"""After each restart a rescan tells what went in; what it offers again is tried again only where that can help."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from model.policy import FoundUpdate
from model.reboot import restart_due, windows_asks
from model.records import PendingReboot, UpdateRecord
from model.rounds import CUT, judged, when_again
from model.scan import Build, HistoryEntry, Scan

PENDING = "0x80240016"
NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)
CUMULATIVE = "2026-02 Cumulative Update for Windows Server 2019 for x64-based Systems (KB5077181)"
OLD, NEW = Build(number=17763, ubr=5206), Build(number=17763, ubr=5329)
OFFERED = Scan(updates=(FoundUpdate(id="U", revision=1),), installed=frozenset(), build=NEW)
IN = Scan(installed=frozenset({("u", 1)}), build=NEW)
FILES = Scan(installed=frozenset({("u", 0)}), build=NEW, of_files=True)
GONE = Scan(installed=frozenset(), build=NEW)


def record(result: Any, hresult: str | None = None, **more: Any) -> UpdateRecord:
    given = {"kind": "windows-update", "host": "web01", "update": "u", "revision": 1, "title": "KB1", "started": NOW}
    tries = (hresult,) if result == "failed" and hresult else ()
    return UpdateRecord(result=result, hresult=hresult, **{**given, "tries": tries, **more})


@pytest.mark.parametrize("result", ["installed", "reboot-pending", "unknown", "not-tried"])
def test_what_the_rescan_has_among_the_installed_is_in(result: str) -> None:
    """Whatever the agent said: the rescan is the proof."""
    after = judged(record(result), IN)
    assert (after.result, after.verified_by) == ("installed", "rescan")


def test_what_was_there_already_stays_that() -> None:
    """It was not installed tonight."""
    assert judged(record("not-needed"), IN).result == "not-needed"


@pytest.mark.parametrize("result", ["unknown", "not-tried"])
def test_what_vanished_without_going_in_was_not_installed(result: str) -> None:
    """Superseded ids vanish in round 2, and an update may be withdrawn: nobody may read 'installed' then."""
    after = judged(record(result), GONE)
    assert after.result == "not-needed"
    assert "superseded or withdrawn" in (after.remark or "")


def test_an_agent_that_does_not_tell_what_is_in() -> None:
    """It throws there: what was never tried did not go in by itself; of the rest its offers are all that can be asked."""
    silent = Scan(installed=None)
    assert judged(record("not-tried"), silent).result == "not-needed"
    after = judged(record("reboot-pending"), silent)
    assert (after.result, after.verified_by) == ("installed", "offered no more; what is in, Windows does not tell")


@pytest.mark.parametrize("result", ["installed", "reboot-pending"])
def test_what_is_neither_offered_nor_in_is_not_called_installed(result: str) -> None:
    """Superseded, withdrawn, or rolled back and then withdrawn: nobody can tell, and it is not installed once more."""
    after = judged(record(result), GONE)
    assert after.result == "unknown"
    assert "neither offered any more nor among what is installed" in (after.remark or "")
    assert judged(after, OFFERED) == after
    assert when_again(after) is None


def test_what_an_installed_update_supersedes_is_in_with_it() -> None:
    """Windows does not list it then: a servicing stack, and the cumulative update of the same night that brings a newer one."""
    after = judged(record("reboot-pending"), GONE.model_copy(update={"superseded": frozenset({"u"})}))
    assert (after.result, after.verified_by) == ("installed", "superseded by an update that is installed")


def test_another_revision_of_it_that_is_in() -> None:
    """Microsoft may revise an update between the scan and the rescan: it is the same update."""
    after = judged(record("installed"), Scan(installed=frozenset({("u", 2)})))
    assert (after.result, after.verified_by) == ("installed", "rescan, as revision 2")


@pytest.mark.parametrize("result", ["installed", "reboot-pending", "not-needed"])
def test_what_went_in_and_is_offered_again_was_rolled_back(result: str) -> None:
    """Named as failed, and never installed a second time: an update loop would restart the estate for ever."""
    after = judged(record(result), OFFERED)
    assert after.result == "failed"
    assert "rolled back" in (after.remark or "")
    assert when_again(after) is None


def test_a_history_that_says_installed_proves_nothing() -> None:
    """It says so while IsInstalled is false."""
    history = (HistoryEntry(id="U", revision=1, result_code=2, hresult="00000000"),)
    after = judged(record("installed"), OFFERED.model_copy(update={"history": history}))
    assert after.result == "failed"
    assert "its history goes on saying that it succeeded" in (after.remark or "")


def test_what_the_history_says_of_a_job_that_was_cut_off_is_told() -> None:
    """Nobody else knows how it ended."""
    history = (HistoryEntry(id="U", revision=1, result_code=4, hresult="80070643"),)
    cut = record("unknown", tries=(CUT,), remark="the job was cut off")
    after = judged(cut, OFFERED.model_copy(update={"history": history}))
    assert "the agent's history says 0x80070643" in (after.remark or "")


@pytest.mark.parametrize(
    ("title", "before", "after", "result"),
    [
        (CUMULATIVE, OLD, NEW, "installed"),
        (CUMULATIVE, NEW, NEW, "failed"),  # succeeds, is offered no more, and the build is what it was
        ("2026-02 Kumulatives Update für Windows Server 2019 (KB5077181)", NEW, NEW, "failed"),
        ("2026-02 Cumulative Update for .NET Framework 4.8 for Windows Server 2019 (KB5033904)", NEW, NEW, "installed"),
        (CUMULATIVE, None, NEW, "installed"),  # nobody looked before: the rescan is all there is
        (CUMULATIVE, Build(number=17763), NEW, "installed"),
        (CUMULATIVE, OLD, Build(number=9600, ubr=21000), "installed"),  # Windows Server 2012 R2
    ],
)
def test_a_cumulative_update_must_raise_the_build(title: str, before: Build, after: Build, result: str) -> None:
    """A success that did not stick may be offered no more: the UBR tells, where Windows has one."""
    told = judged(record("reboot-pending", title=title), IN.model_copy(update={"build": after}), before)
    assert told.result == result
    if result == "failed":
        assert "the build is still 10.0.17763.5329" in (told.remark or "")
    elif before == OLD and after == NEW:
        assert told.verified_by == "rescan, build 10.0.17763.5329"


@pytest.mark.parametrize(
    ("before", "proof"),
    [
        (OLD, "list of hotfixes; Windows went from 10.0.17763.5206 to 10.0.17763.5329"),
        (NEW, "list of hotfixes; Windows is still at 10.0.17763.5329"),
        (None, "list of hotfixes"),
        (Build(number=9600, ubr=20000), "list of hotfixes"),
    ],
)
def test_of_a_file_the_build_is_told_and_not_judged(before: Build | None, proof: str) -> None:
    """A file's name does not say whether it is a cumulative update: that the build has not risen proves nothing, and is read."""
    after = judged(record("reboot-pending", title="windows10.0-kb5034127-x64.msu", revision=0), FILES, before)
    assert (after.result, after.verified_by) == ("installed", proof)


@pytest.mark.parametrize(
    ("hresult", "when", "most"),
    [
        ("0x80240009", "after-restart", 2),  # another operation: waited for, then restart once
        ("0x80240016", "after-restart", 2),
        ("0x80240022", None, 1),  # all failed
        ("0x80240034", "now", 3),  # the download failed
        ("0x80240438", "now", 3),  # no route
        ("0x8024402C", "now", 3),
        ("0x8024401C", "now", 3),
        ("0x80072EE2", "now", 3),
        ("0x80072EFD", "now", 3),
        ("0x80240044", None, 1),  # not an administrator
        ("0x80242007", "after-restart", 2),  # hung: restart once, retry once
        ("0x80242014", "now", 3),  # work after the restart: keep waiting
        ("0x8024001E", "after-restart", 2),  # the service is stopping
        ("0x8024A007", "after-restart", 2),
        ("0x8007045B", "after-restart", 2),
        ("0x8024201D", "after-restart", 2),  # the handler is disabled until a restart
        ("0x80248001", "now", 3),  # datastore in use
        ("0x80070643", None, 1),  # the package's own installer fails: it will again
        ("0x80240019", "now", 2),  # wants to be alone
        ("0x80242017", "next-round", 2),  # wants the servicing stack that goes in meanwhile
        ("0x8024DEAD", "next-round", 2),  # nobody knows
    ],
)
def test_each_failure_has_its_number_of_tries(hresult: str, when: str | None, most: int) -> None:
    """Every row of the table of HRESULTs: when it is tried again, and after how many tries it is over."""
    tries: tuple[str, ...] = ()
    for number in range(1, most + 1):
        tries += (hresult,)
        expected = when if number < most else None
        assert when_again(record("failed", hresult, tries=tries)) == expected, f"try {number}"


def test_tries_of_one_kind_do_not_use_up_those_of_another() -> None:
    """A download that failed once may still wait for a restart."""
    assert when_again(record("failed", "0x80242007", tries=("0x80240034", "0x80242007"))) == "after-restart"
    assert when_again(record("failed", "0x8024402C", tries=("0x80240034", "0x80248001", "0x8024402C"))) is None


def test_what_was_never_tried_is_tried() -> None:
    """A round may leave one out: another update wants a restart first."""
    assert when_again(None) == when_again(record("not-tried")) == "next-round"


def test_an_agent_that_wants_a_restart_first_has_one() -> None:
    """Its own word is a reason, whatever the registry says; where it says so again, nobody was at fault but it."""
    once = record("not-tried", PENDING, tries=(PENDING,), remark="it wants a restart")
    assert restart_due([once], PendingReboot())
    assert windows_asks([once], PendingReboot()), "services alone are none"
    assert judged(once, OFFERED) == once
    twice = once.model_copy(update={"tries": (PENDING, PENDING)})
    assert not restart_due([twice], PendingReboot())
    told = judged(twice, OFFERED)
    assert (told.result, told.remark) == (
        "failed",
        "was not tried: it wants a restart, also after one. Look at the Windows Update log of web01",
    )
    assert when_again(told) is None
    assert judged(twice, GONE).result == "not-needed"


def test_a_job_that_is_cut_off_again_and_again_comes_to_an_end() -> None:
    assert when_again(record("unknown", tries=(CUT,))) == "next-round"
    assert when_again(record("unknown", tries=(CUT, CUT))) is None


def test_a_patch_of_sql_server_is_judged_by_its_build_not_by_a_rescan() -> None:
    """Windows Update knows nothing of it."""
    patch = record("installed", kind="mssql-patch")
    assert judged(patch, GONE) == patch

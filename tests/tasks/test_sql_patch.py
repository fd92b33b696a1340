"""One SQL Server patch on a lab host, from setup's first second to the engine's last script, and what may go wrong there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sql_bench import CU, NEW, OLD, SERVICES, Bench

from lab.estate import PRESETS
from lab.faults import Fault
from lab.scripts.library import set_value
from lab.scripts.setup_files import write_build
from lab.spec import PackageSpec
from lab.sql.phases import STEPS
from model.outcome import Stopped
from model.plan import plan_of
from model.records import UpdateRecord
from model.scan import Scan
from tasks import install
from tasks.readiness import await_others
from tasks.sql_aftermath import must_be_whole, start_what_ran
from tasks.sql_patch import install_sql_patch, proof, wants_restart_first


def test_scripts_are_watched_to_their_end(bench: Callable[..., Bench]) -> None:
    """An administrator is let in while they run, and sees every database ONLINE: only the ERRORLOG tells their end."""
    night = bench()
    night.tell_each_script()
    record = night.install()
    assert [each["build"] for each in night.audit("sql.script_upgraded")] == [NEW], (
        "returned before the scripts had ended"
    )
    assert (record.result, record.remark, proof(night.run, record)) == ("installed", None, f"build {NEW}")
    assert night.scripts_told() == list(STEPS)
    assert night.staged() == []


def test_what_ran_before_runs_again_and_what_does_not_is_named(bench: Callable[..., Bench]) -> None:
    """Agent first, then the others; Reporting Services do not come up, and keep nobody else down."""
    night = bench()
    night.fault("sqlpatch.leaves_services", times=1)
    night.lab.declare(Fault("service.broken", on="SQLServerReportingServices"))
    assert night.install().result == "installed"
    assert "Stopped" in night.services().values()
    down = start_what_ran(night.run, "sql01")
    assert list(down) == ["SQLServerReportingServices"]
    assert "cannot be started" in down["SQLServerReportingServices"]
    assert night.services() == {**dict.fromkeys(SERVICES, "Running"), "SQLServerReportingServices": "Stopped"}
    started = [each["service"] for each in night.audit("service.start")]
    assert [name for name in started if name in SERVICES][-2:] == ["MsDtsServer150", "SQLWriter"]


def test_after_3010_no_restart_may_cut_the_scripts_either(bench: Callable[..., Bench]) -> None:
    """Setup asks for a restart, and has started the engine, which is at its scripts."""
    night = bench()
    night.fault("sqlpatch.exit_code", code=3010)
    night.fault("sqlpatch.slow_upgrade", seconds=100)
    assert (night.install().result, night.record.hresult) == ("installed", "0x00000BC2")
    assert len(night.audit("sql.script_upgraded")) == 1


def test_a_script_upgrade_that_outlasts_its_budget_is_named(bench: Callable[..., Bench]) -> None:
    """Thirty minutes unless the estate says otherwise; nobody restarts it meanwhile."""
    night = bench(sql={"script_upgrade": "1s"})
    night.fault("sqlpatch.slow_upgrade", seconds=4000)
    told = night.refused()
    assert "SQL Server is not ready, it still waits for its script upgrade (" in told
    assert night.record.result == "unknown"


def test_a_restart_before_setup_is_granted_once(bench: Callable[..., Bench]) -> None:
    """The next round tries again; a second wish is told with what asks for it, and nothing was installed."""
    night = bench()
    night.fault("sqlpatch.reboot_first", times=2)
    first = night.install()
    assert (wants_restart_first(first), first.hresult, first.result) == (True, "0x84BE0BC2", "failed")
    night.restart("acme-billing.CHG1.1.1")
    told = night.refused(2)
    assert "setup wants a restart although the host has just been restarted" in told
    assert "rule RebootRequiredCheck: Failed" in told
    assert "What asks for it: none of the usual signals" in told
    assert night.audit("sqlpatch.install") == []
    assert night.install(3).result == "installed"
    assert (night.record.result, len(night.audit("sqlpatch.start"))) == ("installed", 3)


def test_what_asks_for_the_restart_is_named(bench: Callable[..., Bench]) -> None:
    """Files that wait to be renamed keep setup from beginning; an antivirus that puts them there again is found so."""
    night = bench()
    night.restart("acme-billing.CHG1.1.0")
    manager = r"SYSTEM\CurrentControlSet\Control\Session Manager"
    set_value(night.lab.hosts["sql01"], manager, "PendingFileRenameOperations", [r"\??\C:\AV\engine.dll", ""])
    assert r"What asks for it: PendingFileRenameOperations: C:\AV\engine.dll. Mend that" in night.refused()


def test_a_setup_that_hangs_after_its_last_word_is_judged_by_the_evidence(bench: Callable[..., Bench]) -> None:
    """Summary.txt says that it passed, both builds say so too."""
    night = bench()
    night.fault("sqlpatch.hangs", said=True)
    assert (night.install().result, night.record.hresult) == ("installed", "0x00000000")


def test_a_job_that_loses_sight_of_setup_says_nothing_of_the_patch(bench: Callable[..., Bench]) -> None:
    """Setup goes on: it is waited for, and its builds and Summary.txt tell what it has done."""
    night = bench()
    night.fault("sqlpatch.unwatched", times=1)
    record = night.install()
    assert (record.result, record.hresult) == ("installed", "0x00000000")
    assert any("lost sight of setup: No more handles" in each.message for each in night.told)
    assert len(night.audit("sqlpatch.install")) == 1


def test_what_needs_a_patch_waits_for_it_where_setup_wants_a_restart_first(bench: Callable[..., Bench]) -> None:
    """The package is left for the round in which the patch goes in, and goes in there."""
    night = bench(viewer=True)
    night.fault("sqlpatch.reboot_first", times=1)
    plan = plan_of(night.run.estate, {})
    step: Any = install.install_on
    first = step._task.fn(night.run, "sql01", 1, plan.of("install", "sql01"))
    assert ([each.update for each in first.records], first.restart) == ([CU], True)
    todo = install.verify(night.run, plan, 1, {"sql01": Scan()})
    assert [each.update for each in todo["sql01"]] == [CU, "Report Viewer"]
    night.restart("acme-billing.CHG1.1.1")
    second = step._task.fn(night.run, "sql01", 2, todo["sql01"])
    assert [(each.update, each.result) for each in second.records] == [
        (CU, "installed"),
        ("Report Viewer", "installed"),
    ]
    assert install.verify(night.run, plan, 2, {"sql01": Scan()}) == {}


def test_a_setup_that_does_not_end_is_left_alone_and_keeps_the_estate_closed(bench: Callable[..., Bench]) -> None:
    """Both builds are those of before: only that it still runs tells that the estate must not open."""
    night = bench(package={"deadline": "30s"})
    night.fault("sqlpatch.hangs", said=False)
    told = night.refused()
    assert "has not ended within 30s, and still runs. It is left alone" in told
    assert "billpatch recover" in told
    assert night.record.result == "unknown"
    quiesce = night.run.hosts["sql01"].run("Get-QuiesceState")["quiesce"]
    with pytest.raises(Stopped, match=r"setup.exe of SQL Server setup still runs on MSSQLSERVER"):
        must_be_whole(night.run, "sql01", quiesce, OLD)
    with night.lab.hosts["sql01"].edit("cim.json") as cim:
        cim["Win32_Process"] = []
    must_be_whole(night.run, "sql01", quiesce, OLD)


def test_what_was_fetched_ahead_is_what_runs(bench: Callable[..., Bench]) -> None:
    """Each patch that the instance needs, with the one before it counted as there; the share is not asked again."""
    newer = "15.0.4440.1"
    night = bench(later=(newer, OLD))
    assert night.fetch() == (CU, f"the patch to {newer}")
    for file in (night.lab.share / "packages").iterdir():
        file.unlink()
    first, second, _ = night.run.estate.updates.packages
    assert install_sql_patch(night.run, first, 1).result == "installed"
    assert night.fetch() == (f"the patch to {newer}",)
    assert install_sql_patch(night.run, second, 1).result == "installed"
    assert (night.fetch(), night.staged()) == ((), [])


WRONG = (
    ("package.flip_byte", {}, "is not the file that was approved: its SHA-256 is "),
    (
        "package.signer",
        {"signer": "CN=Contoso, O=Microsoft Corporation"},
        "its signature is Valid, its signer 'Contoso'",
    ),
)


AWAY = ("store.unreachable", {}, "cannot be fetched: The network path was not found. Can sql01 reach it, and may")


@pytest.mark.parametrize(("fault", "settings", "words"), [*WRONG, AWAY])
def test_a_wrong_package_is_found_before_anything_is_stopped(
    bench: Callable[..., Bench], fault: str, settings: dict[str, Any], words: str
) -> None:
    """It does not lie there for the install; the right one is fetched by the same run once it is there."""
    night = bench()
    night.fault(fault, **settings)
    refused = night.fetch().message
    assert refused.startswith(f"fetch: sql01: {CU}: ")
    assert words in refused
    assert night.staged() == []
    night.lab.clear_faults()
    assert night.fetch() == (CU,)


@pytest.mark.parametrize(("fault", "settings", "words"), WRONG)
def test_a_package_that_is_not_what_was_approved_never_runs(
    bench: Callable[..., Bench], fault: str, settings: dict[str, Any], words: str
) -> None:
    """One byte, or another publisher: nothing was run, nothing is left, and the instance is whole."""
    night = bench()
    night.fault(fault, **settings)
    told = night.refused()
    assert f"install: sql01: {CU} was not installed: " in told
    assert words in told
    assert night.audit("sqlpatch.start", "sqlpatch.install") == []
    assert (night.record.result, night.staged()) == ("failed", [])
    must_be_whole(night.run, "sql01", night.run.hosts["sql01"].run("Get-QuiesceState")["quiesce"], OLD)


def test_a_setup_that_says_applied_already_and_has_left_the_old_build_has_failed(bench: Callable[..., Bench]) -> None:
    """-2042429437 is what setup says; PatchLevel is what is so."""
    night = bench()
    night.fault("sqlpatch.already")
    told = night.refused()
    assert f"{CU} failed, setup answered 0x86430003: is applied already (" in told
    assert f"MSSQLSERVER is still at {OLD}" in told


def test_a_host_that_restarts_under_setup_is_asked_what_became_of_it(bench: Callable[..., Bench]) -> None:
    """The job was cut: neither a success nor a failure, until the builds have told."""
    night = bench(speed=100)
    night.when("sqlpatch.start", lambda: night.lab.restart("sql01", seconds_down=5))
    told = night.refused()
    assert f"{CU} failed, setup was cut off. MSSQLSERVER is still at {OLD}" in told
    assert any("builds and Summary.txt will tell" in each.message for each in night.told)
    assert night.lab.hosts["sql01"].parts["sql"].wait_until_ready(600)
    assert night.install(2).result == "installed"


def test_an_instance_that_is_there_already_is_left_alone(bench: Callable[..., Bench]) -> None:
    """Told with its build; setup is not started."""
    night = bench(package={"build": OLD})
    assert (night.install().result, night.record.remark) == ("not-needed", f"MSSQLSERVER is at {OLD} already")
    assert night.audit("sqlpatch.start") == []


ON_A_SERVICE_PACK = (
    ("13.0.6300.2", "13.0.6441.1", "13.3.6441.1"),
    ("12.0.5687.1", "12.0.6024.0", "12.3.6024.0"),
    ("11.0.7001.0", "11.0.7507.2", "11.4.7507.2"),
)


@pytest.mark.parametrize(("old", "new", "written"), ON_A_SERVICE_PACK)
def test_setup_writes_the_service_pack_into_its_builds_and_the_engine_does_not(
    bench: Callable[..., Bench], old: str, new: str, written: str
) -> None:
    """Up to 2016 the second number of PatchLevel is the service pack, that of ProductVersion never: one build all the same."""
    spec = replace(PRESETS["acme"], sql_version=old, package=PackageSpec("GDR", "KB5040946", new))
    night = bench(spec)
    record = night.install()
    assert (record.result, record.hresult, record.remark) == ("installed", "0x00000000", None)
    assert written in json.dumps(night.lab.hosts["sql01"].read("registry.json"))
    quiesce = night.run.hosts["sql01"].run("Get-QuiesceState")["quiesce"]
    must_be_whole(night.run, "sql01", quiesce, new)
    assert proof(night.run, record) == f"build {new}"


def test_a_restart_before_setup_is_granted_on_a_service_pack(bench: Callable[..., Bench]) -> None:
    """13.2.5026.0 is not above 13.0.6300.2: nothing was installed, and setup is tried again."""
    spec = replace(PRESETS["acme"], sql_version="13.0.5026.0", package=PackageSpec("SP3", "KB5003279", "13.0.6300.2"))
    night = bench(spec)
    night.fault("sqlpatch.reboot_first", times=1)
    assert wants_restart_first(night.install())


def test_all_instances_of_the_host(bench: Callable[..., Bench]) -> None:
    """On the estate's word: the one beside is patched too, and its build is looked at as well."""
    night = bench("gdr", package={"branch": "leave-gdr", "all_instances": True})
    assert night.install().result == "installed"
    assert sorted(each["instance"] for each in night.audit("sqlpatch.install")) == ["MSSQLSERVER", "REPORTS"]


def test_a_restart_before_setup_is_granted_where_another_instance_is_behind(bench: Callable[..., Bench]) -> None:
    """The host's own has the build already: setup has refused to begin all the same, and nothing is half-done."""
    spec = replace(PRESETS["acme"], sql_version=NEW, other_instances={"REPORTS": "15.0.4123.1"})
    night = bench(spec, package={"all_instances": True})
    night.fault("sqlpatch.reboot_first", times=1)
    assert wants_restart_first(night.install())


def test_a_patch_of_all_instances_is_proven_on_all_of_them(bench: Callable[..., Bench]) -> None:
    """Before the portals open again the one beside must be at the build too, and through with its scripts."""
    night = bench("gdr", package={"branch": "leave-gdr", "all_instances": True})
    record = night.install()
    assert proof(night.run, record) == f"build {NEW}"
    quiesce = night.run.hosts["sql01"].run("Get-QuiesceState")["quiesce"]
    must_be_whole(night.run, "sql01", quiesce, NEW)
    log = night.lab.hosts["sql01"].disk.path(
        r"C:\Program Files\Microsoft SQL Server\MSSQL15.REPORTS\MSSQL\Log\ERRORLOG"
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    failed = "2026-01-10 03:14:24.10 spid9s      Error: 3417, Severity: 21, State: 3.\n"
    log.write_text(f"{failed}2026-01-10 03:14:24.10 spid9s      Cannot recover the master database.\n", "utf-16")
    with pytest.raises(Stopped, match="the upgrade scripts of REPORTS failed: Cannot recover the master database"):
        must_be_whole(night.run, "sql01", quiesce, NEW)
    assert proof(night.run, record) == f"build {NEW}"
    write_build(night.lab.hosts["sql01"], "REPORTS", "15.0.4123.1")
    assert proof(night.run, record) is None


def test_the_scripts_of_every_instance_are_watched_to_their_end(bench: Callable[..., Bench]) -> None:
    """The one beside is at its scripts when the declared one is ready: no restart may cut it; one that fails is told."""
    night = bench("gdr", package={"branch": "leave-gdr", "all_instances": True})
    host = night.lab.hosts["sql01"]
    log = host.disk.path(r"C:\Program Files\Microsoft SQL Server\MSSQL15.REPORTS\MSSQL\Log\ERRORLOG")
    log.parent.mkdir(parents=True, exist_ok=True)
    step = "2026-01-10 03:12:24.10 spid9s      Database 'master' is upgrading script 'u_tables.sql' from level 251660389 to level 251661000.\n"
    over = "2026-01-10 03:14:24.10 spid9s      Recovery is complete. This is an informational message only. No user action is required.\n"
    log.write_text(step, encoding="utf-16")

    def end_it() -> None:
        waits = "waiting for the script upgrade of REPORTS (u_tables.sql)"
        while not any(each.message == waits for each in night.told):
            threading.Event().wait(0.01)
        log.write_text(step + over, encoding="utf-16")

    beside = threading.Thread(target=end_it, daemon=True)
    beside.start()
    assert night.install().result == "installed"
    beside.join(10)
    assert not beside.is_alive(), "its scripts were not waited for"

    failed = (
        "2026-01-10 03:14:24.10 spid9s      Error: 912, Severity: 21, State: 2.\n"
        "2026-01-10 03:14:24.10 spid9s      Script level upgrade for database 'master' failed because of 3602.\n"
    )
    log.write_text(step + failed, encoding="utf-16")
    with pytest.raises(
        Stopped, match=r"the upgrade scripts of REPORTS failed: Script level upgrade for database 'master'"
    ):
        await_others(night.run, "sql01", ("REPORTS",), time.monotonic() + 30)


def test_the_second_of_two_patches_waits_for_the_restart_that_the_first_one_asks_for(
    bench: Callable[..., Bench],
) -> None:
    """Setup would refuse it: it is left for the next round, and is not forgotten."""
    newer = "15.0.4440.1"
    night = bench(later=(newer,))
    manager = r"SYSTEM\CurrentControlSet\Control\Session Manager"
    left = ("PendingFileRenameOperations", [r"\??\C:\old.dll", ""])
    night.when("sqlpatch.install", lambda: set_value(night.lab.hosts["sql01"], manager, *left))
    plan = plan_of(night.run.estate, {})
    step: Any = install.install_on
    first = step._task.fn(night.run, "sql01", 1, plan.of("install", "sql01"))
    assert [record.update for record in first.records] == [CU]
    assert first.restart
    todo = install.verify(night.run, plan, 1, {"sql01": Scan()})
    assert [each.build for each in todo["sql01"]] == [newer]
    night.restart("acme-billing.CHG1.1.1")
    second = step._task.fn(night.run, "sql01", 2, todo["sql01"])
    assert [(record.update, record.result) for record in second.records] == [(f"the patch to {newer}", "installed")]
    assert install.verify(night.run, plan, 1, {"sql01": Scan()}) == {}
    proofs = {record.update: record.verified_by for record in night.run.journal.of(UpdateRecord)}
    assert proofs == {CU: f"build {NEW}", f"the patch to {newer}": f"build {newer}"}

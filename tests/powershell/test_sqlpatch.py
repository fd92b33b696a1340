"""A SQL Server patch: nothing runs that was not approved, and what setup said is evidence, not a verdict."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab.faults import Fault
from lab.scripts.setup_files import summary_text
from model.sql.errorlog import TELLING

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Get-SqlSetup", "Get-SqlErrorLog", "Install-SqlPatch")]

OLD, NEW = "15.0.4355.3", "15.0.4430.1"
HERE, SHARE = r"C:\Staging\cu32.exe", r"\\nas01\billing\packages\cu32.exe"
LOG = "C/Program Files/Microsoft SQL Server/MSSQL15.MSSQLSERVER/MSSQL/Log/ERRORLOG"
REBOOT_FIRST = -2067919934


def package(**more: Any) -> bytes:
    return b"MZ" + bytes(range(256)) + b"\n" + json.dumps({"build": NEW, "kb": "KB5054833", **more}).encode() + b"\n"


def registry(state: dict[str, Any]) -> None:
    """Instances as setup leaves them in the registry."""
    server = state["HKLM"]["SOFTWARE"]["Microsoft"].setdefault("Microsoft SQL Server", {})
    server["Instance Names"] = {
        "SQL": {"@": {"MSSQLSERVER": "MSSQL15.MSSQLSERVER", "BILLING": "MSSQL13.BILLING"}},
        "OLAP": {"@": {"MSSQLSERVER": "MSAS15.MSSQLSERVER"}},
    }
    parameters = {"SQLArg0": r"-dC:\master.mdf", "SQLArg1": "-e" + LOG.replace("C/", "C:\\", 1).replace("/", "\\")}
    setup = {"Setup": {"@": {"PatchLevel": OLD, "Edition": "Standard Edition"}}}
    server["MSSQL15.MSSQLSERVER"] = {**setup, "MSSQLServer": {"Parameters": {"@": parameters}}}
    server["MSSQL13.BILLING"] = {"Setup": {"@": {"PatchLevel": "13.3.6300.2"}}}


def services(state: dict[str, Any]) -> None:
    """SQL Server's beside others."""
    state["MSSQLSERVER"] = {"status": "Running", "start": "Automatic"}
    state["MsDtsServer150"] = {"status": "Stop Pending", "start": "Automatic"}
    state["ReportServer$BILLING"] = {"status": "Stopped", "start": "Disabled"}


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a SQL Server host with the package on its disk and on the share."""
    made = twin(name="sql01", speed=2000)
    made.state("registry.json", registry)
    made.state("services.json", services)
    made.state("cim.json", lambda state: state.update(Win32_Process=[]))
    put(made, package())
    said(made, 0)
    return made


def put(hosts: Any, data: bytes) -> None:
    hosts.put("C/Staging/cu32.exe", data)
    hosts.put("unc/nas01/billing/packages/cu32.exe", data)


def said(hosts: Any, code: int, **more: Any) -> None:
    """What setup will end with in the engine: code and Summary.txt; the lab's own setup finds both by itself."""
    told = {"build": NEW, "kb": "KB5054833"}
    text = summary_text({"MSSQLSERVER": code}, told, {"MSSQLSERVER": OLD}, datetime(2026, 1, 10, tzinfo=UTC), code)
    hosts.state("setup.json", lambda state: state.update({"exit_code": code, "summary": text, **more}))


def patch(path: str = HERE, data: bytes | None = None, **more: Any) -> dict[str, Any]:
    wanted = hashlib.sha256(package() if data is None else data).hexdigest()
    given = {"source": path, "sha256": wanted, "instance": "MSSQLSERVER", "publisher": "Microsoft Corporation"}
    return {**given, "deadline_seconds": 60, "grace_seconds": 20, **more}


def agree(both: Any, *volatile: str) -> dict[str, Any]:
    """Both tellings, but for how long it took, when it began, and fields of these names."""
    for side in (both.engine, both.lab):
        for summary in side["value"]["summaries"]:
            summary["text"] = re.sub(r"Start time:.*", "", summary["text"])
            summary["path"] = re.sub(r"\d{8}_\d{6}", "STAMP", summary["path"])
        side["value"]["summaries"].sort(key=lambda each: each["path"])  # both were written in one tick of the clock
    found: dict[str, Any] = both.agree("seconds", "written", *volatile)
    return found


def started(hosts: Any) -> list[str]:
    log: Path = hosts.engine / "setup.log"
    return log.read_text().splitlines() if log.exists() else []


def left(hosts: Any) -> tuple[list[str], list[str]]:
    """What lies in the staging folder on both sides."""
    hosts.put("C/ProgramData/EngageIPPatching/staging/keep", "")
    first, second = hosts.files("C/ProgramData/EngageIPPatching/staging")
    return first, second


@pytest.mark.parametrize("path", [HERE, SHARE])
def test_a_patch_is_copied_checked_unpacked_and_run(hosts: Any, path: str) -> None:
    """From the protected folder, whence nothing remains; code, builds, signer and summaries are the answer."""
    sha = hashlib.sha256(package()).hexdigest()
    answer = agree(hosts.call_job("Install-SqlPatch", patch(path), secrets=None))
    assert (answer["ended"], answer["exit_code"], answer["build_before"], answer["build_after"]) == (
        "exited",
        0,
        OLD,
        NEW,
    )
    assert answer["signer"] == "Microsoft Corporation"
    names = [summary["path"].rsplit("\\", 1)[1] for summary in answer["summaries"]]
    assert names == ["Summary_SQL01_STAMP.txt", "Summary.txt"]
    assert "Final result:                  Passed" in answer["summaries"][0]["text"]
    work = rf"C:\ProgramData\EngageIPPatching\staging\sql-{sha[:16]}"
    assert started(hosts) == [
        rf"C:\ProgramData\EngageIPPatching\staging\packages\{sha}\cu32.exe /x:{work}\x /quiet",
        rf"{work}\x\setup.exe /quiet /IAcceptSQLServerLicenseTerms /Action=Patch /InstanceName=MSSQLSERVER",
    ]
    first, second = hosts.json("registry.json")
    assert first == second
    assert left(hosts) == (["keep"], ["keep"])


@pytest.mark.parametrize(
    ("fault", "settings", "code", "after"),
    [
        ("sqlpatch.exit_code", {"code": 3010}, 3010, NEW),
        ("sqlpatch.reboot_first", {}, REBOOT_FIRST, OLD),
        ("sqlpatch.already", {}, -2042429437, OLD),
        ("sqlpatch.exit_code", {"code": -2068643838, "patches": True}, -2068643838, NEW),
        ("sqlpatch.exit_code", {"code": 1513770790, "summary": False}, 1513770790, OLD),
    ],
)
def test_codes_of_setup(hosts: Any, fault: str, settings: dict[str, Any], code: int, after: str) -> None:
    """Signed decimals, as Summary.txt writes them; the build tells what the code does not."""
    more = {"summary": None} if settings.get("summary") is False else {}
    said(hosts, code, patches=bool(settings.get("patches")), **more)
    hosts.lab.faults.declare(Fault(fault, on="MSSQLSERVER", with_=settings))
    answer = agree(hosts.call_job("Install-SqlPatch", patch()))
    assert (answer["exit_code"], answer["build_after"]) == (code, after)
    assert (answer["summaries"] == []) == (settings.get("summary") is False)


def test_a_setup_that_has_said_its_last_word_and_hangs_is_ended(hosts: Any) -> None:
    """Summary.txt is written, the process stays: after the grace it is ended, and the evidence is the answer."""
    said(hosts, 0, hangs="said")
    hosts.lab.faults.declare(Fault("sqlpatch.hangs", with_={"said": True}))
    answer = agree(hosts.call_job("Install-SqlPatch", patch()))
    assert (answer["ended"], answer["exit_code"], answer["build_after"]) == ("said", None, NEW)
    assert started(hosts)[-1] == "Stop-Process 4242 True"
    assert hosts.run("Get-SqlSetup").agree()["running"] == []
    assert left(hosts) == (["keep"], ["keep"])


def test_a_setup_that_is_late_is_left_alone(hosts: Any) -> None:
    """It may be at work: it is not killed, its files stay, it can be seen, and no second one is started beside it."""
    said(hosts, 0, hangs="silent")
    hosts.lab.faults.declare(Fault("sqlpatch.hangs"))
    answer = agree(hosts.call_job("Install-SqlPatch", patch(deadline_seconds=15)))
    assert (answer["ended"], answer["exit_code"], answer["build_after"], answer["summaries"]) == ("late", None, OLD, [])
    assert "Stop-Process" not in " ".join(started(hosts))
    (running,) = hosts.run("Get-SqlSetup").agree()["running"]
    assert (running["id"], running["name"]) == (4242, "setup.exe")
    assert len(left(hosts)[0]) == 3
    again = hosts.call_job("Install-SqlPatch", patch()).agree("line")
    assert again["id"] == "SetupRuns"
    assert len(started(hosts)) == 2


def test_a_setup_that_has_begun_while_the_package_was_unpacked(hosts: Any) -> None:
    """Two would be at the same files: ours does not begin, and what the other may run from stays."""
    said(hosts, 0, another=True)
    hosts.lab.faults.declare(Fault("sqlpatch.another"))
    failure = hosts.call_job("Install-SqlPatch", patch()).agree("line")
    assert failure["id"] == "SetupRuns"
    assert len(started(hosts)) == 1
    assert len(left(hosts)[0]) == 3


def test_a_setup_that_nobody_could_watch_may_go_on(hosts: Any) -> None:
    """That the job has failed says nothing of the patch: setup's files stay, and what it does is asked for."""
    said(hosts, 0, unwatched=True)
    hosts.lab.faults.declare(Fault("sqlpatch.unwatched"))
    answer = agree(hosts.call_job("Install-SqlPatch", patch()), "trouble")
    assert (answer["ended"], answer["exit_code"]) == ("lost", None)
    assert "nobody knows" in answer["trouble"]
    assert len(left(hosts)[0]) == 3


def test_what_setup_has_left_behind(hosts: Any) -> None:
    """From the registry, whatever runs: engines and others, services by name, no summary unless asked for."""
    answer = hosts.run("Get-SqlSetup").agree()
    assert [(each["name"], each["kind"], each["build"]) for each in answer["instances"]] == [
        ("BILLING", "SQL", "13.3.6300.2"),
        ("MSSQLSERVER", "SQL", OLD),
        ("MSSQLSERVER", "OLAP", None),
    ]
    assert answer["services"] == [
        {"name": "MsDtsServer150", "status": "StopPending", "start_mode": "Auto"},
        {"name": "MSSQLSERVER", "status": "Running", "start_mode": "Auto"},
        {"name": "ReportServer$BILLING", "status": "Stopped", "start_mode": "Disabled"},
    ]
    assert (answer["running"], answer["summaries"]) == ([], [])
    hosts.state("registry.json", lambda state: state["HKLM"]["SOFTWARE"]["Microsoft"].pop("Microsoft SQL Server"))
    assert hosts.run("Get-SqlSetup").agree()["instances"] == []


def test_summaries_since_a_moment(hosts: Any) -> None:
    """An earlier patch says nothing about this one; two blanks of time are allowed for clocks that differ in grain."""
    name = "C/Program Files/Microsoft SQL Server/150/Setup Bootstrap/Log/Summary.txt"
    hosts.put(name, "\ufeffFinal result: Passed\u20ac".encode("utf-16-le"))
    for side in (hosts.engine, hosts.lab.folder):
        os.utime(side / name, (1_700_000_000, 1_700_000_000))
    found = hosts.run("Get-SqlSetup", {"since": "2023-11-14T22:13:21.500Z"}).agree()["summaries"]
    assert [(each["written"], each["text"]) for each in found] == [
        ("2023-11-14T22:13:20.000Z", "Final result: Passed\u20ac")
    ]
    assert hosts.run("Get-SqlSetup", {"since": "2023-11-14T22:13:21.500123+00:00"}).agree()["summaries"] == found
    assert hosts.run("Get-SqlSetup", {"since": "2023-11-14T22:13:30Z"}).agree()["summaries"] == []


def test_an_old_summary_is_not_this_runs(hosts: Any) -> None:
    """One that lay there before does not count."""
    name = "C/Program Files/Microsoft SQL Server/150/Setup Bootstrap/Log/Summary.txt"
    hosts.put(name, "\ufeffFinal result: Passed".encode("utf-16-le"))
    for side in (hosts.engine, hosts.lab.folder):
        os.utime(side / name, (1, 1))
    said(hosts, 1, summary=None)
    hosts.lab.faults.declare(Fault("sqlpatch.exit_code", with_={"code": 1, "summary": False}))
    assert agree(hosts.call_job("Install-SqlPatch", patch()))["summaries"] == []


@pytest.mark.parametrize("path", [HERE, SHARE])
def test_a_package_with_another_byte_is_not_run(hosts: Any, path: str) -> None:
    """What was approved is a hash."""
    put(hosts, package().replace(b"MZ", b"MX"))
    assert hosts.call_job("Install-SqlPatch", patch(path)).agree("line")["id"] == "PackageChanged"
    assert started(hosts) == []
    assert left(hosts) == (["keep"], ["keep"])


@pytest.mark.parametrize(
    "data",
    [
        package(signer="CN=Contoso, O=Contoso"),
        package(signer="CN=Not Microsoft Corporation Ltd, O=Somebody"),
        package(signer="CN=Somebody, O=Microsoft Corporation"),
        b"no package at all",
    ],
)
def test_a_package_of_another_publisher_is_not_run(hosts: Any, data: bytes) -> None:
    """Signed by somebody else, by somebody whose name holds it, or not signed."""
    put(hosts, data)
    failure = hosts.call_job("Install-SqlPatch", patch(data=data)).agree("line")
    assert failure["id"] == "PackageSignature"
    assert started(hosts) == []


def test_a_publisher_is_the_common_name(hosts: Any) -> None:
    """Exactly; quotes stand around one with a comma."""
    data = package(signer='CN="Contoso, Inc.", O=Contoso, C=CA')
    put(hosts, data)
    answer = agree(hosts.call_job("Install-SqlPatch", patch(data=data, publisher="Contoso, Inc.")))
    assert (answer["exit_code"], answer["signer"]) == (0, "Contoso, Inc.")


def test_what_was_fetched_ahead_is_not_fetched_again(hosts: Any) -> None:
    """Nobody needs its share any more at night; it is checked again all the same."""
    given = patch(SHARE)
    fetched = {name: given[name] for name in ("source", "sha256", "publisher")}
    hosts.call_job("Save-Package", fetched).agree()
    put(hosts, b"gone")
    assert agree(hosts.call_job("Install-SqlPatch", given))["build_after"] == NEW
    assert left(hosts) == (["keep"], ["keep"])
    put(hosts, package())
    hosts.call_job("Save-Package", fetched).agree()
    hosts.put(f"C/ProgramData/EngageIPPatching/staging/packages/{given['sha256']}/cu32.exe", b"another")
    put(hosts, b"gone")
    assert hosts.call_job("Install-SqlPatch", given).agree("line")["id"] == "PackageChanged"
    assert left(hosts) == (["keep"], ["keep"])


def test_a_package_that_is_gone(hosts: Any) -> None:
    """Named, with where it was looked for."""
    failure = hosts.call_job("Install-SqlPatch", patch(r"C:\Staging\gone.exe")).agree("line")
    assert failure["id"] == "PackageMissing"


def test_further_arguments_and_all_instances(hosts: Any) -> None:
    """An estate may say more to setup, and may mean every instance of the host."""
    hosts.call_job("Install-SqlPatch", patch(arguments=["/SkipRules=RebootRequiredCheck"], all_instances=True))
    assert started(hosts)[1].endswith(
        r"\x\setup.exe /quiet /IAcceptSQLServerLicenseTerms /Action=Patch /AllInstances /SkipRules=RebootRequiredCheck"
    )


def test_a_log_of_a_start_is_cut_down_to_what_tells(hosts: Any) -> None:
    """UTF-16 with its mark; each telling line with the next that is not blank; no such instance, no log: nothing."""
    lines = [
        "2026-01-10 03:12:22.24 spid6s      Database 'master' is upgrading script 'u_tables.sql' from level 251662339 to level 251662414.",
        "",
        "2026-01-10 03:12:22.25 spid6s      Starting u_Tables.SQL at  10 Jan 2026",
        "2026-01-10 03:12:22.30 spid6s      \u0441\u0442\u0440\u043e\u043a\u0430",
        "2026-01-10 03:12:22.91 Logon       Error: 18401, Severity: 14, State: 1.",
        "2026-01-10 03:12:22.91 Logon       Login failed for user 'engageip'.",
        "2026-01-10 03:12:23.00 spid6s      Recovery is complete. This is an informational message only.",
    ]
    question = {"instance": "mssqlserver", "pattern": TELLING}
    assert hosts.run("Get-SqlErrorLog", question).agree() == {"path": None, "lines": [], "last": []}
    hosts.put(LOG, ("\ufeff" + "\r\n".join(lines) + "\r\n").encode("utf-16-le"))
    answer = hosts.run("Get-SqlErrorLog", question).agree()
    assert answer["path"].endswith(r"\Log\ERRORLOG")
    assert answer["lines"] == [lines[0], lines[2], lines[4], lines[5], lines[6]]
    assert answer["last"] == lines[4:]
    assert hosts.run("Get-SqlErrorLog", question | {"instance": "BILLING"}).agree()["path"] is None
    assert hosts.run("Get-SqlErrorLog", question | {"instance": "NOBODY"}).agree()["path"] is None


def test_as_a_task(hosts: Any) -> None:
    """From start to job.json on both sides, and the lab's trail counts the patch."""
    done = hosts.run_job("Install-SqlPatch", patch())
    first, second = (side["job"]["result"] for side in (done.engine, done.lab))
    for one in (first, second):
        one |= {"seconds": 0, "summaries": len(one["summaries"])}
    assert first == second
    trail = [json.loads(line) for line in hosts.lab.audit.path.read_text().splitlines()]
    assert [event["build"] for event in trail if event["event"] == "sqlpatch.install"] == [NEW]

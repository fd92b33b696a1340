"""The plan is what will happen, in order; the same plan has the same hash, another one another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model.estate import Estate, load_estate
from model.plan import Plan, plan_of
from model.policy import FoundUpdate

SAMPLE = Path(__file__).parents[2] / "deployments" / "estates" / "acme-billing.yaml"
PACKAGE = r"""
updates:
  classifications: [security]
  packages:
    - {kind: mssql-patch, name: SQL Server 2019 CU32, on: sql01, source: '\\nas01\billing\cu32.exe', sha256: %s, build: 15.0.4430.1, kb: KB5054833}
""" % ("ab" * 32)
TEXT = SAMPLE.read_text(encoding="utf-8")
WITH_PACKAGE = TEXT.replace(TEXT[TEXT.index("updates:") : TEXT.index("quiet:")], PACKAGE + "\n")


@pytest.fixture
def estate() -> Estate:
    return load_estate(WITH_PACKAGE, "acme.yaml")


def update(identity: str, title: str, **told: Any) -> FoundUpdate:
    return FoundUpdate.model_validate(
        {"id": identity, "revision": 200, "title": title, "categories": [{"name": "Security Updates"}], **told}
    )


CUMULATIVE = update("u-cu", "2026-02 Cumulative Update (KB5077181)")
DOTNET = update("u-net", "2026-02 .NET Framework (KB5077999)")
SQL = update("u-sql", "Security Update for SQL Server 2019 (KB5054833)")


def test_the_stages_follow_the_runbook(estate: Estate) -> None:
    """Quiet, backups, installs, restarts in waves, checks, and everything back in reverse."""
    plan = plan_of(estate, {"sql01": [CUMULATIVE], "web01": []})
    stages = list(dict.fromkeys(step.stage for step in plan.steps))
    assert stages == ["quiesce", "backup", "snapshot", "install", "restart", "check", "reopen"]
    assert [step.host for step in plan.of("restart")] == ["sql01", "web01"]
    assert plan.of("restart")[1].detail == "after sql01 is ready"
    assert len(plan.of("backup")) == len(estate.backup_items())
    stopped = [
        step.subject.removeprefix("stop service ") for step in plan.of("quiesce") if step.subject.startswith("stop")
    ]
    started = [
        step.subject.removeprefix("start service ") for step in plan.of("reopen") if step.subject.startswith("start")
    ]
    assert started == stopped[::-1]
    assert plan.steps[-1].subject.startswith("start service")


def test_installs_are_told_by_identity(estate: Estate) -> None:
    plan = plan_of(estate, {"sql01": [CUMULATIVE], "web01": [CUMULATIVE, DOTNET]})
    assert [(s.host, s.update, s.revision) for s in plan.of("install")] == [
        ("sql01", "SQL Server 2019 CU32", None),
        ("sql01", "u-cu", 200),
        ("web01", "u-net", 200),
        ("web01", "u-cu", 200),
    ]
    package = plan.of("install", "sql01")[0]
    assert (package.sha256, package.build, package.kb) == ("ab" * 32, "15.0.4430.1", ("KB5054833",))
    assert plan.admits("web01", "U-CU", 200)
    assert not plan.admits("web01", "u-cu", 201)
    assert not plan.admits("sql01", "u-net", 200)


def test_what_is_to_be_known_of_a_package_stands_beside_it(estate: Estate) -> None:
    """That it is not needed, or what else it touches: whoever reviews the plan reads it there."""
    note = "also updates what MSSQLSERVER shares with REPORTS"
    plan = plan_of(estate, {}, {"SQL Server 2019 CU32": note, "another": "x"})
    assert str(plan.of("install", "sql01")[0]) == f"sql01: SQL Server 2019 CU32 (build 15.0.4430.1; {note})"
    assert plan.hash == plan_of(estate, {}).hash, "what is approved stays the same"


def test_what_is_refused_is_listed_with_its_reason(estate: Estate) -> None:
    plan = plan_of(estate, {"sql01": [SQL]})
    assert not plan.admits("sql01", "u-sql", 200)
    assert plan.refused[0].host == "sql01"
    assert any("SQL Server is never patched through Windows Update" in line for line in plan.lines())


def test_the_hash_is_that_of_what_is_done(estate: Estate) -> None:
    """The order in which a scan tells its findings does not matter; what is found, and what the estate says, does."""
    plan = plan_of(estate, {"web01": [CUMULATIVE, DOTNET]})
    assert plan.hash == plan_of(estate, {"web01": [DOTNET, CUMULATIVE], "sql01": []}).hash
    assert plan.hash == Plan.model_validate_json(plan.model_dump_json()).hash
    assert plan.hash != plan_of(estate, {"web01": [CUMULATIVE]}).hash
    assert plan.hash != plan_of(estate, {"web01": [CUMULATIVE.model_copy(update={"revision": 201}), DOTNET]}).hash
    other = load_estate(WITH_PACKAGE.replace("ab" * 32, "cd" * 32), "acme.yaml")
    assert plan.hash != plan_of(other, {"web01": [CUMULATIVE, DOTNET]}).hash
    assert len(plan.hash) == 64


def test_a_refused_update_more_or_less_is_the_same_plan(estate: Estate) -> None:
    """Defender's definitions come and go between review and night; what is done stays what was approved."""
    daily = update("u-def", "Definitions", kb=["KB2267602"])
    assert plan_of(estate, {"web01": [CUMULATIVE, daily]}).hash == plan_of(estate, {"web01": [CUMULATIVE]}).hash


def test_the_plan_says_where_updates_come_from_and_what_may_be_unlocked() -> None:
    """Both are part of what is approved, and of its hash."""
    unlocked = WITH_PACKAGE.replace(
        "classifications: [security]", "classifications: [security]\n  unlocked: [KB5034119]"
    )
    wsus = WITH_PACKAGE.replace("classifications: [security]", "classifications: [security]\n  source: wsus")
    found = {"web01": [CUMULATIVE]}
    plain, of_wsus, more = (plan_of(load_estate(text, "a"), found) for text in (WITH_PACKAGE, wsus, unlocked))
    assert plain.lines()[1] == "Windows updates come from windows-update"
    assert of_wsus.lines()[1] == "Windows updates come from wsus"
    assert more.lines()[2] == "Also, once a servicing stack of this night unlocks them: KB5034119"
    assert len({plain.hash, of_wsus.hash, more.hash}) == 3


def test_what_installs_alone_is_told_to_the_host(estate: Estate) -> None:
    """A servicing stack need not say so itself: its impact may be normal."""
    stack = update("u-ssu", "2026-02 Servicing Stack Update for Windows Server 2016 (KB5075902)")
    plan = plan_of(estate, {"web01": [CUMULATIVE, stack]})
    assert [(step.update, step.alone) for step in plan.of("install", "web01")] == [("u-ssu", True), ("u-cu", False)]


def test_a_plan_does_not_change(estate: Estate) -> None:
    plan = plan_of(estate, None)
    with pytest.raises(ValidationError, match="frozen"):
        plan.estate = "other"  # type: ignore[misc]


def test_without_a_scan_the_plan_says_so(estate: Estate) -> None:
    plan = plan_of(estate, None)
    assert not plan.scanned
    assert plan.installs
    assert [line for line in plan.lines() if "not scanned yet: security" in line]
    assert plan.hash != plan_of(estate, {}).hash


def test_nothing_to_install_is_known_as_such() -> None:
    text = TEXT.replace(TEXT[TEXT.index("updates:") : TEXT.index("quiet:")], "updates: {classifications: [security]}\n")
    estate = load_estate(text, "acme.yaml")
    assert not plan_of(estate, {}).installs
    assert plan_of(estate, {"web01": [CUMULATIVE]}).installs


def test_the_plan_reads_as_lines(estate: Estate) -> None:
    """Headings, numbered steps, one line each."""
    plan = plan_of(estate, {"sql01": [CUMULATIVE]})
    lines = plan.lines()
    assert lines[0] == f"Plan for acme-billing ({plan.hash[:12]})"
    assert [line.split(".")[0].strip() for line in lines if line[:1] == " "] == [
        str(n + 1) for n in range(len(plan.steps))
    ]
    assert any(line.endswith("sql01: SQL Server 2019 CU32 (build 15.0.4430.1)") for line in lines)
    assert "Restart, each host once those it depends on are ready" in lines


FILES = r"""
updates:
  packages:
    - kind: engageip-upgrade
      name: EngageIP 8.6.0
      on: web01
      source: '\\nas01\billing\EngageIP-8.6.0.exe'
      sha256: <ab>
      publisher: LogiSense Corporation
      probe: {product: EngageIP}
      version: 8.6.0
      schema_version:
        {on: sql01, database: EngageIP, sql: SELECT 1, script: {source: '\\nas01\billing\schema.sql', sha256: <bc>}}
    - kind: msi
      name: Agent 4.2
      on: web01
      source: '\\nas01\billing\agent.msi'
      sha256: <cd>
      unsigned: the vendor signs nothing
      arguments: [ADDLOCAL=All]
      probe: {product: Agent}
      version: '4.2'
    - {kind: msu, name: WinRE, on: sql01, source: 'C:\f.msu', sha256: <de>, publisher: Microsoft Corporation, kb: KB5034439}
"""
FILES = re.sub(r"<(..)>", lambda found: found[1] * 32, FILES)
WITH_FILES = TEXT.replace(TEXT[TEXT.index("updates:") : TEXT.index("quiet:")], FILES + "\n")


def test_packages_say_what_they_bring_and_whose_they_are() -> None:
    """What a person approves: kind, proof, signer or why there is none, arguments, hash; the upgrade after everything."""
    plan = plan_of(load_estate(WITH_FILES, "acme.yaml"), {})
    stages = list(dict.fromkeys(step.stage for step in plan.steps))
    assert stages.index("restart") < stages.index("upgrade") < stages.index("check")
    assert [str(step) for step in (*plan.of("install"), *plan.of("upgrade"))] == [
        "sql01: WinRE (msu, brings KB5034439, signed by Microsoft Corporation)",
        "web01: Agent 4.2 (msi, brings version 4.2, unsigned: the vendor signs nothing, arguments ADDLOCAL=All)",
        "web01: EngageIP 8.6.0 (engageip-upgrade, brings version 8.6.0, signed by LogiSense Corporation)",
        "sql01: T-SQL script schema.sql in EngageIP (brings schema 8.6.0)",
    ]
    assert [step.sha256 for step in plan.of("upgrade")] == ["ab" * 32, "bc" * 32]
    assert plan.admits("web01", "engageip 8.6.0")
    assert plan.installs


@pytest.mark.parametrize("changed", ["ab", "bc", "cd", "de"])
def test_another_file_is_another_plan(changed: str) -> None:
    """The script's bytes as well as the installers'."""
    plan = plan_of(load_estate(WITH_FILES, "acme.yaml"), {})
    other = plan_of(load_estate(WITH_FILES.replace(changed * 32, "ef" * 32), "acme.yaml"), {})
    assert plan.hash != other.hash


def test_an_upgrade_alone_is_something_to_install() -> None:
    """A plan that only upgrades EngageIP is not one that does nothing."""
    estate = load_estate(WITH_FILES, "acme.yaml")
    alone = estate.model_copy(update={"updates": estate.updates.model_copy(update={"packages": estate.upgrades()})})
    assert plan_of(alone, {}).installs

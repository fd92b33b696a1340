"""Nights with packages: each goes in once, what was not approved never runs, and half an upgrade stays closed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from night import Nights

from flows.patch import patch_estate
from tasks.rescue import recover_directly
from tasks.run import read_estate
from tests.test_invariants import (
    assert_closed_while_patching,
    assert_nothing_installed_twice,
    assert_promise_2,
    assert_promise_7,
)

AGENT, VIEWER, ENGAGEIP = "Acme Provisioning Agent 4.2.0", "Acme Invoice Viewer 2.1", "EngageIP 8.6.0"
ALL = ["Acme Provisioning Agent", "Acme Invoice Viewer", "EngageIP"]


def version_shown(lab: Any) -> str:
    """What the AdminPortal tells customers and staff of itself."""
    address = lab.state()["hosts"]["web01"]["address"]
    return httpx.get(f"http://{address}:8080/AdminPortal/", follow_redirects=True).text


def runs(lab: Any) -> list[str]:
    return [each["product"] for each in lab.audit("package.start")]


def installs(lab: Any) -> list[str]:
    return [each["product"] for each in lab.audit("package.install")]


def records(ran: Any) -> dict[str, dict[str, Any]]:
    return {
        update["title"]: update
        for update in ran.report["updates"]
        if update["kind"] in {"msi", "exe", "engageip-upgrade"}
    }


KILLED_AT: tuple[dict[str, str], ...] = (
    {"event": "package.start", "product": ALL[0]},
    {"event": "package.start", "product": ALL[2]},
    {"event": "job.start", "script": "Invoke-SqlScript"},
)


@pytest.mark.night
def test_a_night_with_packages_that_is_killed_three_times(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any], prefect_harness: dict[str, str], tmp_path: Path
) -> None:
    """An MSI out of the bucket that is busy twice, an EXE by HTTPS whose child outlives it, EngageIP last: each once.

    The process dies in the middle of the MSI, of EngageIP's installer, and of its schema's script; the next goes on.
    """
    lab = start_lab("packages")
    lab.declare("package.exit_code", AGENT, times=3, codes=[1618, 1618, 3010])
    lab.declare("package.forks", VIEWER, seconds=40)
    nights = Nights(lab, tmp_path, change="CHG1")
    try:
        for at in KILLED_AT:
            # A server of its own would outlive it.
            night = nights.command("patch", lab.estate, "--change", "CHG1", PREFECT_API_URL=prefect_harness["url"])
            night.until(lambda _, now, at=at: at.items() <= now.items(), str(at))
            night.process.kill()
            night.process.wait(10)
    finally:
        nights.close()
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "COMPLETED", ran.message

    assert runs(lab) == [ALL[0]] * 3 + ALL[1:]
    assert installs(lab) == ALL
    found = records(ran)
    assert {name: (each["result"], each["verified_by"]) for name, each in found.items()} == {
        AGENT: ("installed", "version 4.2.0"),
        VIEWER: ("installed", "version 2.1.0"),
        ENGAGEIP: ("installed", "application 8.6.0, schema 8.6.0"),
    }
    assert "EngageIP 8.6.0" in version_shown(lab)
    # The agent's service was stopped for it and for EngageIP, and runs; EngageIP went in after every restart, and asked for none.
    assert lab.host_json("web01", "services.json")["Acme Agent"]["status"] == "Running"
    stopped = [each["service"] for each in lab.audit("service.stop") if each["host"] == "web01"]
    assert stopped.count("Acme Agent") == 2
    sequence = [
        each["event"] for each in lab.audit("host.boot", "pool.stop", "package.install") if each["host"] == "web01"
    ]
    # Its pools were stopped while SQL Server restarted, too.
    last = sequence[len(sequence) - sequence[::-1].index("host.boot") :]
    assert list(dict.fromkeys(last)) == ["pool.stop", "package.install"]
    assert len(lab.audit("host.boot")) == 2
    scripts = [each["verb"] for each in lab.audit("sql.statement") if each["database"] == "EngageIP"]
    assert scripts[-2:] == ["-- ENGAGEIP", "UPDATE DBO.ENGAGEIPOPTION"]

    trail, estate = lab.audit(effects_only=False), read_estate(lab.estate)
    assert_nothing_installed_twice(trail)
    assert_promise_2(trail, estate)
    assert_promise_7(trail, estate)
    assert_closed_while_patching(trail, estate)


@pytest.mark.night
def test_half_an_upgrade_stays_closed_until_it_is_whole(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """The programs are new, the schema's script fails: closed, a person paged with both ways; the next attempt goes on."""
    lab = start_lab("packages")
    script = lab.folder / "nas01" / "billing" / "packages" / "schema-8.6.0.sql"
    broken = script.read_bytes()
    script.write_bytes(broken.replace(b"dbo.EngageIPOption", b"dbo.EngageIPOptions"))
    approve(lab, script)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        "acme-packages: NOT reopened, a person is needed. (1) web01: EngageIP 8.6.0 is not whole: it stands at application "
        "8.6.0, schema 8.5.23, and must be application 8.6.0, schema 8.6.0; batch 2 of 2 failed: error 208: "
    )
    assert ran.report["down"]
    assert "AdminPortal on web01" in ran.report["down"]
    finish, restore = ran.report["way_back"]
    assert r"run \\nas01\billing\packages\EngageIP-8.6.0.exe on web01, then" in finish
    assert "programs and database together, never one of them" in restore
    (page,) = lab.audit("pager.page")
    assert "EngageIP is half-upgraded: it stands at application 8.6.0, schema 8.5.23" in page["text"]
    assert 'id="version"' not in version_shown(lab)
    assert lab.host_json("web01", "services.json")["EngageIP Job Service"]["status"] == "Stopped"

    assert recover_directly(lab.estate).report.outcome.verdict == "half-open"
    script.write_bytes(broken)
    approve(lab, script)
    again = run_flow(patch_estate, estate=lab.estate, change="CHG1", attempt=2)
    assert again.type == "COMPLETED", again.message
    assert installs(lab) == ALL
    assert "EngageIP 8.6.0" in version_shown(lab)
    assert records(again)[ENGAGEIP]["verified_by"] == "application 8.6.0, schema 8.6.0"
    assert_promise_7(lab.audit(effects_only=False), read_estate(lab.estate))


def approve(lab: Any, script: Path) -> None:
    """Write the script's hash into the estate, as somebody does who has looked at it."""
    estate = Path(lab.estate)
    text = estate.read_text(encoding="utf-8")
    fresh = hashlib.sha256(script.read_bytes()).hexdigest()
    changed, count = re.subn(r"(schema-8\.6\.0\.sql\s+sha256: )[0-9a-f]{64}", rf"\g<1>{fresh}", text)
    assert count == 1
    estate.write_text(changed, encoding="utf-8")


@pytest.mark.night
def test_files_that_were_not_approved_cost_nobody_a_minute(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """A flipped byte, another publisher: told together before anything is stopped; once they are right, the same run goes on."""
    lab = start_lab("packages")
    lab.declare("package.flip_byte", "agent-4.2.0.msi")
    lab.declare("package.signer", "EngageIP-8.6.0.exe", signer="CN=LogiSense, O=Contoso")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        "acme-packages: stopped at fetch, nothing was installed, everything is up. (1) web01: "
    )
    flipped, foreign = ran.report["problems"]
    assert flipped.startswith(
        f"web01: {AGENT}: s3://acme-backups/packages/agent-4.2.0.msi is not the file that was approved: its SHA-256 is "
    )
    assert (
        rf"web01: {ENGAGEIP}: \\nas01\billing\packages\EngageIP-8.6.0.exe is not signed by 'LogiSense Corporation'"
        in foreign
    )
    assert "its signature is Valid, its signer 'LogiSense'. Nothing was run." in foreign
    assert lab.audit("package.start", "service.stop", "quiesce.open") == []

    lab.clear()
    lab.declare("package.lies", AGENT)
    again = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert again.type == "FAILED"
    assert "failed, 4 updates were installed, everything is up." in again.message
    assert (
        f"web01: {AGENT} was not installed: the installer answered 0: succeeded, and no version is there"
        in again.message
    )
    found = records(again)
    assert found[VIEWER]["remark"] == f"not begun: {AGENT} is not in"
    assert (found[ENGAGEIP]["result"], found[ENGAGEIP]["remark"]) == ("failed", f"not begun: {AGENT} is not in")
    assert runs(lab) == [ALL[0]], "an upgrade waits for what it needs like any other"

"""A half-patched system is not reopened; one that only looks like it is (DESIGN.md, promise 7)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from flows.patch import patch_estate
from lab.spec import CUMULATIVE
from tasks.rescue import recover_directly
from tasks.run import read_estate
from tests.test_invariants import assert_promise_2, assert_promise_7

CU = "SQL Server 2019 CU32"
OLD, NEW = "15.0.4355.3", "15.0.4430.1"
SITES = ("AdminPortal", "Portal")


def statuses(lab: Any, host: str) -> list[int]:
    """What customers are answered by the sites of a host."""
    address = lab.state()["hosts"][host]["address"]
    return [
        httpx.get(f"http://{address}:{port}/{site}/", follow_redirects=True).status_code
        for site, port in zip(SITES, (8080, 8090), strict=True)
    ]


def service(lab: Any, host: str, name: str) -> str:
    return str(lab.host_json(host, "services.json")[name]["status"])


def break_once_installed(lab: Any) -> None:
    """Have a portal of web02 fail from its first update on: preflight has seen it work."""
    lab.until(lambda: [each for each in lab.audit("update.install") if each["host"] == "web02"], "an update of web02")
    lab.declare("web.error", "web02/AdminPortal", status=500)


@pytest.mark.night
def test_a_setup_that_replaced_nothing_leaves_the_estate_open(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Both builds are those of before, every check passes: the portals open; the next attempt patches."""
    lab = start_lab()
    lab.declare("sqlpatch.exit_code", "MSSQLSERVER", times=1, code=-2068643838)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert (ran.type, ran.message) == (
        "FAILED",
        (
            "acme-billing: failed at install, 2 updates were installed, everything is up. "
            f"(1) sql01: {CU} failed, setup answered 0x84B30002 (The patch installer has failed to update the following "
            "instance: MSSQLSERVER; Database Engine Services: Failed (An error occurred during the setup process of the "
            f"feature)). MSSQLSERVER is still at {OLD}. See Summary.txt of setup on sql01. "
            "(2) web01: not restarted, for it depends on sql01, where the install has not ended well. "
            f"(3) web01: {CUMULATIVE.title} ({CUMULATIVE.kb}) waits for its restart"
        ),
    )
    assert ran.report["next_command"] == "billpatch patch acme-billing --change CHG1 --attempt 2"
    assert ran.report["way_back"] == []
    assert statuses(lab, "web01") == [200, 200]
    assert service(lab, "web01", "EngageIP Job Service") == "Running"
    assert lab.audit("sqlpatch.install", "host.shutdown") == []

    again = run_flow(patch_estate, estate=lab.estate, change="CHG1", attempt=2)
    assert again.type == "COMPLETED", again.message
    assert [each["build"] for each in lab.audit("sqlpatch.install")] == [NEW]
    installs = [(each["host"], each["id"], each["revision"]) for each in lab.audit("update.install")]
    assert len(installs) == len(set(installs))
    assert_promise_2(lab.audit(effects_only=False), read_estate(lab.estate))
    assert_promise_7(lab.audit(effects_only=False), read_estate(lab.estate))


@pytest.mark.night
def test_a_failed_script_upgrade_keeps_the_portals_closed(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """912, 3417, the service stops: a person is paged, `recover` exits with 3 and prints the way back, until it is mended."""
    lab = start_lab()
    lab.declare("sql.upgrade_fails", "sql01")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    died = (
        "sql01: SQL Server has ended by itself: There is already an object named 'DatabaseMailUserRole' in the database "
        "(2714); Script level upgrade for database 'master' failed because upgrade step "
        "'msdb110_upgrade.sql' encountered error 2714, state 6, severity 25 (912); Cannot recover the master database "
        "(3417). See its ERRORLOG on sql01."
    )
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        f"acme-billing: NOT reopened, a person is needed. (1) {died} (2) web01: not restarted, for it depends on sql01, "
        "where the install has not ended well. (3) AdminPortal on web01"
    )
    assert ran.report["next_command"] == "billpatch recover acme-billing"
    assert f"{CU} on sql01" in ran.report["changed"]
    assert statuses(lab, "web01") == [503, 503]
    assert service(lab, "web01", "EngageIP Job Service") == "Stopped"
    assert lab.audit("host.shutdown") == []
    (page,) = lab.audit("pager.page")
    assert page["verdict"] == "half-open"
    assert died in page["text"]
    assert "/Action=RemovePatch /InstanceName=MSSQLSERVER" in page["text"]
    assert f"master, model and msdb restore onto build {OLD} only (error 3168)" in page["text"]
    assert r"master: \\nas01\billing" in page["text"]
    assert "billpatch recover acme-billing" in page["text"]
    customers = httpx.get(f"http://{lab.state()['hosts']['web01']['address']}:8080/AdminPortal/")
    assert (customers.status_code, "maintenance" in customers.text.casefold()) == (503, True)

    recovered = subprocess.run(
        [sys.executable, "-m", "billpatch", "recover", lab.estate],
        env={**os.environ, "COLUMNS": "400", "PREFECT_API_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert recovered.returncode == 3, recovered.stderr
    assert "/Action=RemovePatch /InstanceName=MSSQLSERVER" in recovered.stdout
    assert r"master: \\nas01\billing" in " ".join(recovered.stdout.split()), (
        "whatever the order, and so the line breaks"
    )
    assert statuses(lab, "web01") == [503, 503]

    lab.clear()
    outcome = recover_directly(lab.estate).report.outcome
    assert (outcome.verdict, outcome.down, outcome.way_back) == ("succeeded", (), ())
    assert statuses(lab, "web01") == [200, 200]
    assert service(lab, "web01", "EngageIP Job Service") == service(lab, "sql01", "SQLSERVERAGENT") == "Running"
    assert_promise_7(lab.audit(effects_only=False), read_estate(lab.estate))


@pytest.mark.night
def test_binaries_and_registry_that_differ_are_half_a_patch(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """Every page works and every check passes; the builds tell that it must not open."""
    lab = start_lab()
    lab.declare("sqlpatch.exit_code", "MSSQLSERVER", code=-2068643838, patches="registry")
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        f"acme-billing: NOT reopened, a person is needed. (1) sql01: {CU} is half-done, setup answered 0x84B30002 ("
    )
    problem = f"sql01: MSSQLSERVER is half-patched: setup has left build {NEW}, the engine runs {OLD}. See Summary.txt of setup on sql01."
    assert any(problem in each for each in ran.report["problems"])
    assert statuses(lab, "web01") == [503, 503]
    assert len(ran.report["way_back"]) == 3
    assert OLD in ran.report["way_back"][2]


@pytest.mark.night
def test_a_must_check_that_fails_closes_its_site_on_its_node(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """After the installs, behind the page: the other node and the other site serve, billing runs, and goes on running."""
    lab = start_lab("farm")
    with ThreadPoolExecutor(1) as beside:
        beside.submit(break_once_installed, lab)
        ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    assert ran.type == "FAILED"
    assert ran.message.startswith(
        "acme-farm: AdminPortal on web02 NOT reopened, a person is needed. "
        "(1) web02: check 'site AdminPortal answers' failed: answers 500"
    )
    assert ran.report["down"] == ["AdminPortal on web02"]
    assert (statuses(lab, "web01"), statuses(lab, "web02")) == ([200, 200], [503, 200])
    assert service(lab, "web01", "EngageIP Job Service") == "Running"
    assert_promise_7(lab.audit(effects_only=False), read_estate(lab.estate))

    lab.clear()
    before = len(lab.audit())
    outcome = recover_directly(lab.estate).report.outcome
    assert (outcome.verdict, outcome.down) == ("succeeded", ())
    assert statuses(lab, "web02") == [200, 200]
    assert [each for each in lab.audit()[before:] if each["event"] == "service.stop"] == []

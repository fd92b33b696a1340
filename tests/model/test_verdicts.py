"""What facts mean: pages, services, rows and event logs, as values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from model.maintenance import MAINTENANCE_MARKER
from model.records import Service
from model.verdicts import events_of, judge_events, judge_http, judge_service, judge_sql
from model.web import WebAnswer

BROKEN = "<title>The type initializer for 'X' threw an exception.</title> TypeInitializationException SqlException"
HTTPSYS = {"server": "Microsoft-HTTPAPI/2.0"}


def answer(status: int = 200, text: str = "<title>Login</title>", **more: Any) -> WebAnswer:
    return WebAnswer(url="http://web01:8081/AdminPortal/", status=status, seconds=0.25, text=text, **more)


def test_page_with_its_text_passes() -> None:
    """200 and the expected text pass, and say how long it took."""
    assert judge_http(answer(), "Login") == ("passed", "200 in 0.2 s")


@pytest.mark.parametrize("status", [200, 503])
def test_maintenance_page_never_passes(status: int) -> None:
    """By its marker, whatever its status, and though it holds the expected text."""
    verdict = judge_http(answer(status, f"{MAINTENANCE_MARKER} Login"), "Login")
    assert (verdict.status, "maintenance page" in verdict.detail) == ("failed", True)


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (answer(500, BROKEN), "recycle its application pool"),
        (answer(500, "<title>Invalid object name\n 'dbo.X'.</title>"), "answers 500: Invalid object name 'dbo.X'."),
        (answer(503, "", headers=HTTPSYS), "application pool is stopped"),
        (answer(400, "", headers=HTTPSYS), "no site has this host name"),
        (answer(404, ""), "answers 404"),
        (answer(204, ""), "answers 204"),
        (answer(302, "", elsewhere="sso.acme.example"), "redirects to another host (sso.acme.example)"),
        (answer(text="other"), "answers 200, without 'Login' in its page"),
        (answer(text="other", cut=True), "without 'Login' in its first 5 characters"),
    ],
)
def test_page_that_is_not_well_says_why(page: WebAnswer, says: str) -> None:
    """Every other answer fails, with its likely cause."""
    verdict = judge_http(page, "Login")
    assert verdict.status == "failed"
    assert says in verdict.detail


@pytest.mark.parametrize(
    ("service", "status", "says"),
    [
        (Service(name="W3SVC", status="Running", start_mode="Auto"), "passed", "Running"),
        (Service(name="W3SVC", status="Stopped", start_mode="Disabled"), "failed", "is Stopped (starts: Disabled)"),
        (Service(name="W3SVC", status="StartPending"), "failed", "is StartPending"),
        (Service(name="W3SVC", exists=False), "failed", "there is no service 'W3SVC'"),
        (None, "failed", "there is no service 'W3SVC'"),
    ],
)
def test_service_passes_only_when_it_runs(service: Service | None, status: str, says: str) -> None:
    """Pending states do not pass."""
    verdict = judge_service("W3SVC", service)
    assert verdict.status == status
    assert says in verdict.detail


@pytest.mark.parametrize(
    ("rows", "expect", "passes"),
    [
        ([[0]], 0, True),
        ([[Decimal("0.00")]], 0, True),
        ([["0"]], 0, True),
        ([[True]], 1, True),
        ([["ok  "]], "ok", True),
        ([["OK"]], "ok", False),
        ([[3]], 0, False),
        ([[None]], 0, False),
        ([[None]], "None", False),
        ([["x"]], 0, False),
        ([], 0, False),
        ([], None, False),
        ([[]], None, False),
        ([[None]], None, True),
        ([[7], [8]], 7, True),
    ],
)
def test_query_is_judged_by_its_first_value(rows: list[list[Any]], expect: str | int | None, passes: bool) -> None:
    """Numbers compare as numbers, text as text, NULL equals nothing, and no row never passes."""
    assert judge_sql(rows, expect).status == ("passed" if passes else "failed")


# Event logs ----------------------------------------------------------------------------------------------------------


def event(provider: str, number: int, level: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "provider": provider, "id": number, "level": level, "time": "2026-11-23T08:00:00Z", "record": 1,
        "message": f"{provider} said {number}", "names": [], "data": [], **more,
    }  # fmt: skip


def judge(before: list[dict[str, Any]], since: list[dict[str, Any]], **more: Any) -> tuple[str, str]:
    return judge_events(events_of({"events": before}), events_of({"events": since}), **more)


DCOM = event("Microsoft-Windows-DistributedCOM", 10016)
NEW = event("MSSQLSERVER", 912)
ASPNET = event("ASP.NET 4.0.30319.0", 1309, level=3)


def test_errors_known_from_before_do_not_fail() -> None:
    """61 of 84 errors of a real log were one harmless kind: only new kinds count."""
    assert judge([DCOM], [DCOM] * 61) == ("passed", "no new kind of error; 1 known from before came again")


def test_new_kind_fails_and_is_told_with_its_count() -> None:
    """The message names provider, id, how often, and what the first one said."""
    status, detail = judge([DCOM], [DCOM, NEW, NEW, ASPNET])
    assert status == "failed"
    assert detail.startswith(
        "2 new kinds of error: MSSQLSERVER 912 (2x): MSSQLSERVER said 912; ASP.NET 4.0.30319.0 1309"
    )


@pytest.mark.parametrize(
    ("since", "more", "status"),
    [
        ([event("X", 1, level=3), event("X", 2, level=4), event("X", 3, level=0)], {}, "passed"),
        ([ASPNET], {}, "failed"),
        ([event("Microsoft-Windows-WAS", 5010, level=3)], {}, "failed"),
        ([NEW], {"ignore": [912]}, "passed"),
        ([NEW], {"providers": ["EngageIP"]}, "passed"),
        ([NEW], {"providers": ["mssqlserver"]}, "failed"),
        ([], {"complete": False}, "not-run"),
        ([NEW], {"complete": False}, "failed"),
        ([event("X", 1, message=None)], {}, "failed"),
    ],
)
def test_what_counts(since: list[dict[str, Any]], more: dict[str, Any], status: str) -> None:
    """Errors and the serious warnings of a web server count; an incomplete read proves nothing."""
    assert judge([], since, **more)[0] == status


def test_a_warning_of_before_does_not_excuse_an_error_of_the_same_kind() -> None:
    """A kind is known only where it was an error before."""
    assert judge([event("X", 7, level=3)], [event("X", 7)])[0] == "failed"

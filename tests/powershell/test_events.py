"""Event logs: data by position and name, levels by number, nothing that depends on the language of the host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Get-EventRecords")]

SINCE = "2026-01-10T02:00:00.000Z"


def event(record: int, minute: int, **more: Any) -> dict[str, Any]:
    return {
        "log": "System",
        "provider": "Service Control Manager",
        "id": 7036,
        "level": 4,
        "time": f"2026-01-10T02:{minute:02d}:00.123Z",
        "record": record,
        "data": {"param1": "W3SVC", "param2": "running"},
        "message": 'Der Dienst "W3SVC" befindet sich jetzt im Status "Ausgeführt" & €.',
        **more,
    }


EVENTS = [
    event(7, 30, id=5011, level=3, provider="Microsoft-Windows-WAS", binary="80070005"),
    event(5, 10),
    event(6, 20, id=1033, level=4, provider="MsiInstaller", data=["EngageIP <8>", "8.5.1", "1033", "1603", "a & b"]),
    event(4, 0, time="2026-01-10T01:59:59.999Z"),
    event(8, 40, level=2, id=6008, data={"text": "\u200e10.\u200e01.\u200e2026 \u0003"}, message=None),
    event(1, 41, log="Application", provider="MSSQLSERVER", id=17806, level=0, data=[]),
]


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a host whose logs hold these."""
    made = twin()
    made.put("events.json", json.dumps(EVENTS))
    return made


@pytest.mark.parametrize(
    ("query", "records"),
    [
        ({}, [5, 6, 7, 8]),
        ({"since": "2026-01-10T01:00:00.000Z"}, [4, 5, 6, 7, 8]),
        ({"since": "2026-01-10T03:20:00.123+01:00"}, [6, 7, 8]),
        ({"levels": [1, 2, 3]}, [7, 8]),
        ({"ids": [7036, 6008]}, [5, 8]),
        ({"ids": [7036, 6008], "levels": [2]}, [8]),
        ({"log": "application"}, [1]),
        ({"ids": [42]}, []),
        ({"log": "Security"}, []),
    ],
)
def test_what_a_query_finds(hosts: Any, query: dict[str, Any], records: list[int]) -> None:
    """Since a moment, by ids, by levels; oldest first; nothing found is an empty answer, not an error."""
    answer = hosts.run("Get-EventRecords", {"log": "System", "since": SINCE, **query}).agree()
    assert [found["record"] for found in answer["events"]] == records
    assert answer["complete"]


def test_data_keeps_its_order_and_its_names(hosts: Any) -> None:
    """Unnamed data counts by position; binary, control characters and absent messages come through."""
    found = {e["record"]: e for e in hosts.run("Get-EventRecords", {"log": "System", "since": SINCE}).agree()["events"]}
    assert (found[5]["names"], found[5]["data"]) == (["param1", "param2"], ["W3SVC", "running"])
    assert found[6]["names"] == [None] * 5
    assert found[6]["data"] == ["EngageIP <8>", "8.5.1", "1033", "1603", "a & b"]
    assert (found[7]["binary"], found[6]["binary"]) == ("80070005", None)
    assert found[8]["data"] == ["\u200e10.\u200e01.\u200e2026 \u0003"]
    assert found[8]["message"] is None
    assert found[5]["time"] == "2026-01-10T02:10:00.123Z"


def test_more_than_asked_for_is_said(hosts: Any) -> None:
    """The oldest come first, so that the next question can go on from the last."""
    answer = hosts.run("Get-EventRecords", {"log": "System", "since": SINCE, "max": 2}).agree()
    assert [found["record"] for found in answer["events"]] == [5, 6]
    assert not answer["complete"]


def test_a_log_that_is_not_there(hosts: Any) -> None:
    """A misspelt log is an error, not silence."""
    failure = hosts.run("Get-EventRecords", {"log": "Sistem", "since": SINCE}).agree("line", "id")
    assert "matches" in failure["message"]
    assert failure["id"].startswith("NoMatchingLogsFound")


def test_too_many_ids(hosts: Any) -> None:
    """Windows answers a long query with 'invalid': it is told before."""
    query = {"log": "System", "since": SINCE, "ids": list(range(21))}
    assert hosts.run("Get-EventRecords", query).agree("line")["id"] == "TooManyIds"

"""T-SQL scripts of an upgrade: batch by batch up to the first that fails, and only what was approved and can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Invoke-SqlScript")]

UPGRADE = "UPDATE dbo.EngageIPOption SET Value = N'8.6.0'\r\nGO\r\nPRINT N'€'\n go ;\n"


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """A host with a folder for scripts."""
    return twin(speed=2000)


def put(hosts: Any, data: bytes) -> str:
    """Put the script where hosts find it; its hash."""
    hosts.put("C/Downloads/schema.sql", data)
    return hashlib.sha256(data).hexdigest()


def script(hosts: Any, data: bytes) -> dict[str, Any]:
    where = {"source": r"C:\Downloads\schema.sql", "sha256": put(hosts, data)}
    return {**where, "server": "localhost", "database": "EngageIP"}


class _Instance:
    """A SQL Server that answers as the engine's script says."""

    def __init__(self, fails: bool = False) -> None:
        self.asked: list[str] = []
        self._fails = fails

    def run(self, batch: str, *_: Any, **__: Any) -> Any:
        self.asked.append(batch)
        failed = self._fails and "UPDATE" in batch
        errors = [(208, 16, 1, "Invalid object name 'dbo.EngageIPOption'.")] if failed else []
        return type("Result", (), {"messages": [], "errors": errors, "cancelled": False})()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_script_runs_batch_by_batch(hosts: Any, coding: str, fails: bool) -> None:
    """In one session, up to the first batch that fails; umlauts and euros arrive whole."""
    first, second = "UPDATE dbo.EngageIPOption SET Value = N'8.6.0'", "PRINT N'€'"
    error = [[208, 16, 1, "Invalid object name 'dbo.EngageIPOption'."]] if fails else []
    statements = {first: {"messages": error, "fatal": []}, second: {"messages": [], "fatal": []}}
    hosts.state_of_engine("sqlclient.json", {"logins": {}, "statements": statements})
    instance = hosts.lab.parts["sql"] = _Instance(fails)
    answer = hosts.call_job("Invoke-SqlScript", script(hosts, UPGRADE.encode(coding))).agree("seconds")
    assert (answer["batches"], answer["done"], len(answer["errors"])) == (2, 0 if fails else 2, int(fails))
    assert instance.asked == ([first] if fails else [first, second])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b":setvar X 1\nSELECT 1", "ScriptNeedsSqlcmd"),
        (b"SELECT $(Name)", "ScriptNeedsSqlcmd"),
        (b"SELECT 1\nGO 5\n", "ScriptNeedsSqlcmd"),
        ("PRINT 'für'".encode("cp1252"), "ScriptEncoding"),
        (b"\r\nGO\r\n", "ScriptEmpty"),
    ],
)
def test_scripts_that_are_not_run(hosts: Any, data: bytes, error: str) -> None:
    """What sqlcmd alone reads, what would arrive garbled, and nothing at all."""
    instance = hosts.lab.parts["sql"] = _Instance()
    assert hosts.call_job("Invoke-SqlScript", script(hosts, data)).agree("line")["id"] == error
    assert instance.asked == []


def test_a_script_with_another_byte_is_not_run(hosts: Any) -> None:
    """What was approved is a hash."""
    parameters = script(hosts, b"SELECT 1")
    put(hosts, b"SELECT 2")
    assert hosts.call_job("Invoke-SqlScript", parameters).agree("line")["id"] == "PackageChanged"

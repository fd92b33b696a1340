"""Builds, quiet and statements of SQL Server, as values."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.sql import statements
from model.sql.builds import Build, at_least, engine_build
from model.sql.facts import RegistryInstance
from model.sql.quiet import counted, running

PROJECT = Path(__file__).resolve().parents[2]


def test_builds_are_compared_as_numbers() -> None:
    """15.0.4430.1 is newer than 15.0.900.1, which as text it would not be."""
    assert at_least("15.0.4430.1", "15.0.900.1")
    assert not at_least("15.0.4123.1", "15.0.4430.1")
    assert at_least("15.0.4430.1", "15.0.4430.1")
    assert Build.parse("10.00.1600.22") == Build(10, 0, 1600, 22)
    assert str(Build.parse(" 15.0.4430.1 ")) == "15.0.4430.1"


@pytest.mark.parametrize("text", ["", "15", "15.0.4430", "15.0.4430.1.2", "15.0.x.1", "15.0.-1.1", "15.0.²3.1"])
def test_what_is_no_build_is_an_error(text: str) -> None:
    """Nothing is guessed from half a build."""
    with pytest.raises(ValueError, match="not a SQL Server build"):
        Build.parse(text)


@pytest.mark.parametrize(
    ("setup", "engine"),
    [
        ("12.3.6024.0", "12.0.6024.0"),
        ("13.3.6441.1", "13.0.6441.1"),
        ("11.4.7001.0", "11.0.7001.0"),
        ("13.0.1742.0", "13.0.1742.0"),
        ("15.0.4430.1", "15.0.4430.1"),
        ("10.50.6000.34", "10.50.6000.34"),
        ("", ""),
    ],
)
def test_a_build_as_setup_writes_it(setup: str, engine: str) -> None:
    """Its second number is the service pack, up to 2016."""
    assert engine_build(setup) == engine
    assert RegistryInstance(name="X", kind="SQL", id="x", build=setup).build == engine


def test_quiet_is_empty() -> None:
    """Nothing running is the empty tuple, also where a declared query counted nothing."""
    assert running() == ()
    assert running(busy={"billing run": 0}) == ()


def test_running_work_is_named() -> None:
    """Every kind of work in words that fit a progress line."""
    named = running(
        jobs=[{"name": "nightly rating", "seconds": 12}],
        maintenance=[
            {"command": "BACKUP DATABASE", "database_name": "EngageIP", "percent_complete": 41.6},
            {"command": "DBCC TABLE CHECK", "database_name": "Reporting", "percent_complete": 7.2},
        ],
        transactions=[{"login_name": "engageip", "session_id": 61, "seconds": 300}],
        busy={"billing run": 2},
    )
    assert named == (
        "billing run (2)",
        "Agent job nightly rating (since 12 s)",
        "BACKUP DATABASE of EngageIP (42 %)",
        "DBCC TABLE CHECK of Reporting (7 %)",
        "transaction of engageip in session 61 (open for 300 s)",
    )
    for command in ("BACKUP", "RESTORE", "DBCC"):
        assert f"r.command LIKE N'{command}%'" in statements.RUNNING_MAINTENANCE


@pytest.mark.parametrize(("rows", "count"), [([], 0), ([{"n": None}], 0), ([{"n": 3, "x": 9}], 3), ([{"n": "4"}], 4)])
def test_busy_queries_count(rows: list[dict[str, object]], count: int) -> None:
    """The first column of the first row."""
    assert counted(rows) == count


def test_busy_query_without_a_number_is_an_error() -> None:
    """Quiet is never guessed."""
    with pytest.raises(ValueError, match="no number"):
        counted([{"x": "Running"}])


def test_statements_are_quoted() -> None:
    """A bracket in a name and a quote in a path stay inside."""
    assert statements.backup_statement("a]b", r"E:\o'clock.bak") == (
        r"BACKUP DATABASE [a]]b] TO DISK = N'E:\o''clock.bak' WITH COPY_ONLY, CHECKSUM, FORMAT, INIT, STATS = 5"
    )
    assert " COMPRESSION" in statements.backup_statement("a", "b", compression=True)
    assert statements.verify_statement("E:\\x.bak") == "RESTORE VERIFYONLY FROM DISK = N'E:\\x.bak' WITH CHECKSUM"


def test_a_backup_is_one_plain_file_and_never_of_the_log() -> None:
    """No tail-log backup, no URL whose key lies in SQL Server, no stripes, no buffers of our own, no compression asked for."""
    for folder in ("tasks", "flows", "blocks", "model", "powershell"):
        for path in (PROJECT / folder).rglob("*.p[sy]*"):
            if path.suffix in {".py", ".ps1"}:
                text = path.read_text(encoding="utf-8")
                assert not re.search(r"BACKUP\s+LOG|TO\s+URL|BUFFERCOUNT|MAXTRANSFERSIZE|compression=True", text), path
    made = statements.backup_statement("EngageIP", r"E:\x.bak")
    assert made.startswith("BACKUP DATABASE ")
    assert made.count("DISK = ") == 1
    assert "COMPRESSION" not in made


@given(st.text(max_size=40), st.text(max_size=40))
def test_quoting_can_be_undone(identifier: str, value: str) -> None:
    """Whatever is quoted is one token, and its content is what was given."""
    assert statements.name(identifier)[1:-1].replace("]]", "]") == identifier
    assert statements.text(value)[2:-1].replace("''", "'") == value
    assert statements.text(value)[2:-1].count("'") % 2 == 0


def test_every_text_is_tsql_since_2012(sqlcheck: Path) -> None:
    """Microsoft's own grammar reads every constant and every built statement, from 2012 to 2025."""
    texts = [value for name, value in vars(statements).items() if name.isupper() and isinstance(value, str)]
    for database in ("EngageIP", "a]b'c", "SELECT", "x y"):
        for path in (r"E:\a b\o'clock.bak", r"\\nas01\billing\x.bak"):
            texts += [
                statements.backup_statement(database, path),
                statements.backup_statement(database, path, compression=True),
            ]
            texts.append(statements.verify_statement(path))
    assert len(texts) > 20
    asked = "".join(json.dumps({"sql": text}) + "\n" for text in texts)
    told = subprocess.run([sqlcheck, "--serve"], input=asked, capture_output=True, text=True, check=True, timeout=100)
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(text, answer["errors"]) for text, answer in zip(texts, answers, strict=True) if answer["errors"]] == []

"""The check of every batch that the suite sends is itself checked: it finds what it is there for, and cannot sleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tsql import PRODUCT, collect, faults

SUPPORT = Path(__file__).parent / "support"


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that the check of this very session does not look into: what is planted there is meant to be wrong."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def write(folder: Path, *batches: tuple[str, str, int | None]) -> None:
    """A lab's folder with these batches: text, program, the error by which the lab refused to read it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"sql": sql, "program": program, **({"refused": refused} if refused else {})})
        for sql, program, refused in batches
    ]
    (folder / "sql-batches.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.lookalike
def test_what_sql_server_would_refuse_is_found(outside: Path, sqlcheck: Path) -> None:
    """Bad syntax, columns that system views do not have, what is newer than 2012; not what a lab refused on purpose."""
    write(
        outside / "one",
        ("SELECT name FROM sys.databases", PRODUCT, None),
        ("SELECT nosuch FROM sys.databases", PRODUCT, None),
        ("DROP TABLE IF EXISTS dbo.x", PRODUCT, None),
        ("SELECT 1 FROM", "python", 102),
        ("SELECT 1 bla bla", PRODUCT, 102),
    )
    write(outside / "two" / "lab0", ("SELECT name FROM sys.databases", "other", None))
    batches = collect(outside)
    assert len(batches.sent) == 4
    told = faults(sqlcheck, batches)
    assert ["nosuch" in told[0], "IF EXISTS" in told[1], "bla bla" in told[2]] == [True] * 3
    assert len(told) == 3


def test_a_lab_that_writes_nothing_down_is_found(outside: Path) -> None:
    """Otherwise a rename in the lab would check nothing, for ever."""
    (outside / "audit.jsonl").write_text('{"n": 1, "event": "sql.batch"}\n', encoding="utf-8")
    assert collect(outside).silent == [outside]


def test_the_check_is_on(request: pytest.FixtureRequest) -> None:
    """This very session ends with it."""
    assert request.config.pluginmanager.hasplugin("tsql-check")


@pytest.mark.lookalike
@pytest.mark.parametrize(
    ("sql", "code", "workers"),
    [
        ("SELECT name FROM sys.databases", 0, []),
        ("SELECT 1 FROM", 1, []),
        ("SELECT 1 FROM", 1, ["-n", "1"]),
    ],
)
def test_a_session_fails_by_one_bad_batch(
    outside: Path, sqlcheck: Path, sql: str, code: int, workers: list[str]
) -> None:
    """All of its tests pass, and the session does not: alone and with workers."""
    line = json.dumps({"sql": sql, "program": PRODUCT})
    (outside / "conftest.py").write_text(
        "from pathlib import Path\nfrom tsql import TsqlCheck\n"
        "def pytest_configure(config):\n"
        f"    config.pluginmanager.register(TsqlCheck(Path({str(sqlcheck)!r})), 'tsql-check')\n"
    )
    (outside / "test_it.py").write_text(
        f"def test_it(tmp_path):\n    (tmp_path / 'sql-batches.jsonl').write_text({line!r})\n"
    )
    (outside / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", "made", *workers],
        cwd=outside,
        env=os.environ | {"PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert ("SQL Server would refuse" in done.stdout) == bool(code)

"""The table of facts names tests that exist: one that is renamed or removed takes its line with it."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TABLE = (PROJECT / "docs" / "facts-table.md").read_text(encoding="utf-8")


def rows() -> list[tuple[str, list[str]]]:
    """Each fact with the tests that it names."""
    lines = [line for line in TABLE.splitlines() if line.startswith("|")]
    # A pipe within backticks belongs to what is quoted.
    cells = [re.findall(r"(?:`[^`]*`|[^|`])+", line.strip("|")) for line in lines]
    found = [(cell[0].strip(), re.findall(r"`(tests/[^`]+)`", cell[-1])) for cell in cells if len(cell) == 2]
    return [(fact, tests) for fact, tests in found if fact != "fact" and set(fact) - {"-"}]


@functools.lru_cache
def defined_in(path: str) -> frozenset[str]:
    """The test functions that a file defines."""
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("fact", "tests"), rows(), ids=[fact for fact, _ in rows()])
def test_every_fact_has_a_test_that_exists(fact: str, tests: list[str]) -> None:
    """At least one, each by file and name."""
    assert tests, f"{fact}: no test is named"
    for test in tests:
        path, _, name = test.partition("::")
        assert (PROJECT / path).is_file(), test
        assert name in defined_in(path), test


def test_every_line_of_the_table_is_read() -> None:
    """A line of another form would be a fact that nobody holds."""
    lines = [line for line in TABLE.splitlines() if line.startswith("|")]
    headings = sum(line.startswith(("| fact |", "|---")) for line in lines)
    assert len(rows()) == len(lines) - headings
    assert len({fact for fact, _ in rows()}) == len(rows()), "a fact stands there twice"

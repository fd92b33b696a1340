"""The table of facts names tests that exist: one that is renamed or removed takes its line with it."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TABLE = (PROJECT / "docs" / "facts-table.md").read_text(encoding="utf-8")
HELD, _, NOT_HELD = TABLE.partition("\n## Not held yet\n")


def cells(text: str) -> list[tuple[str, str]]:
    """Each fact with what stands beside it."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # A pipe within backticks belongs to what is quoted.
    found = [re.findall(r"(?:`[^`]*`|[^|`])+", line.strip("|")) for line in lines]
    pairs = [(cell[0].strip(), cell[1].strip()) for cell in found if len(cell) == 2]
    return [(fact, beside) for fact, beside in pairs if fact != "fact" and set(fact) - {"-"}]


def rows() -> list[tuple[str, list[str]]]:
    """Each fact that is held, with the tests that it names."""
    return [(fact, re.findall(r"`(tests/[^`]+)`", beside)) for fact, beside in cells(HELD)]


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


@pytest.mark.parametrize(("fact", "why"), cells(NOT_HELD), ids=[fact for fact, _ in cells(NOT_HELD)])
def test_what_is_not_held_says_why(fact: str, why: str) -> None:
    """In words, and without a test: one that has a test is held, and moves up."""
    assert len(why.split()) >= 5, fact
    assert "tests/" not in why


def test_every_line_of_the_table_is_read() -> None:
    """A line of another form would be a fact that nobody holds."""
    lines = [line for line in TABLE.splitlines() if line.startswith("|")]
    headings = sum(line.startswith(("| fact |", "|---")) for line in lines)
    facts = [fact for fact, _ in cells(HELD) + cells(NOT_HELD)]
    assert len(facts) == len(lines) - headings
    assert len(set(facts)) == len(facts), "a fact stands there twice"
    assert "\n## " not in NOT_HELD, "what is not held stands at the end"

"""Title patterns, sizes and sources of an estate file: what is wrong is told at its place, and no pattern can hang."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from model.estate import EstateFaults, load_estate
from model.update_words import parse_size, size_text

SAMPLE = (Path(__file__).parents[2] / "deployments" / "estates" / "acme-billing.yaml").read_text(encoding="utf-8")


def fault(line: str) -> str:
    """What is said of an estate whose updates have this line."""
    head, tail = SAMPLE[: SAMPLE.index("updates:")], SAMPLE[SAMPLE.index("quiet:") :]
    with pytest.raises(EstateFaults) as caught:
        load_estate(f"{head}updates:\n  {line}\n{tail}", "acme.yaml")
    (found,) = caught.value.faults
    assert found.place.line == head.count("\n") + 2
    return f"{found.path}: {found.message}"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("KB(123", "is not a regular expression: missing ), unterminated subpattern at character 3"),
        ("*Preview", "is not a regular expression: nothing to repeat at character 1"),
        ("(a+)+$", "repeats a group"),
        ("(?:ab|a){9}x", "repeats a group"),
        (".*.*.*.*x", "has more than 3 repeats"),
        (r"(a)\1", "refers back to a group"),
        (".*", "matches every title"),
        ("x" * 201, "is longer than 200 characters"),
    ],
)
@pytest.mark.parametrize("where", ["title_accept", "title_reject"])
def test_a_bad_pattern_is_a_fault_of_the_file(where: str, pattern: str, said: str) -> None:
    """With its place, in words; never a traceback at night."""
    assert f"updates.{where}[1]: {said}" in fault(f"{where}: [Rollup, '{pattern}']")


@pytest.mark.parametrize("pattern", [r"\.NET (Framework )?[34]\.", r"[*+(]+x", r"\(KB\d{7}\)", "a.*b.*c.*d"])
def test_a_good_pattern_answers_at_once(pattern: str) -> None:
    """Also on the longest title that is looked at, made of what it half matches."""
    head, tail = SAMPLE[: SAMPLE.index("updates:")], SAMPLE[SAMPLE.index("quiet:") :]
    load_estate(f"{head}updates:\n  title_reject: ['{pattern}']\n{tail}", "acme.yaml")
    began = time.process_time()
    re.search(pattern, ("a" * 100 + "b" * 100 + "c" * 100)[:300], re.IGNORECASE)
    assert time.process_time() - began < 5


def test_a_misspelt_source_is_told_with_the_one_that_was_meant() -> None:
    assert "did you mean 'windows-update'?" in fault("source: windows_updates")
    assert "known: wsus, windows-update, microsoft-update" in fault("source: configured")


@pytest.mark.parametrize(("text", "size"), [("500MB", 500 << 20), ("2GB", 2 << 30), ("1 kb", 1024)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(size_text(size)) == size
    assert "is not a size; write a number with its unit" in fault("maximum_size: 500")

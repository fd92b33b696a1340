"""The summary in a terminal fits its screen and keeps what people copy whole."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from model.records import Caution, LaterUpdate
from report.screen import summary
from report.summary import Report

PATH = ".state/reports/acme-billing.CHG0031001.1/report.html"


def shown(report: Report, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="\n")
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    console.print(summary(report, PATH), end="")
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("width", [80, 91, 100])
@pytest.mark.parametrize("height", [24, 31, 40])
def test_it_fits(any_report: Report, width: int, height: int) -> None:
    """From 80x24 to 100x40, with whatever names: no line too long, and a line left for the prompt."""
    lines = shown(any_report, width, height)
    assert len(lines) <= height - 1
    assert all(cell_len(line) <= width for line in lines)


def test_many_hosts_fit_too(good: Report) -> None:
    """Thirty updates and restarts: the rest is in the report, and the screen says how many."""
    update, restart = good.updates[0].updates[0], good.restarts[0]
    many = dataclasses.replace(
        good,
        updates=tuple(
            dataclasses.replace(good.updates[0], host=f"h{n}", updates=(update.model_copy(update={"host": f"h{n}"}),))
            for n in range(30)
        ),
        restarts=tuple(restart.model_copy(update={"host": f"h{n}"}) for n in range(30)),
    )
    lines = shown(many, 80, 24)
    assert len(lines) <= 23
    assert any("more in the report" in line for line in lines)
    assert any(line.startswith("Checks") for line in lines)


def test_a_good_night_is_told_whole_on_the_smallest_screen(good: Report) -> None:
    """What was backed up where, installed where, in what order restarted and how long down, checked, and where it lies."""
    text = "\n".join(shown(good, 80, 24))
    for part in (
        "Succeeded",
        "9 of 9 whole and verified, 45.4 GB",
        r"\\nas01\billing",
        "s3://acme-backups/billing/",
        "sql01 EngageIP, Reporting, master, model, msdb",
        "KB5054833 SQL Server 2019 CU32 (build 15.0.4430.1)",
        "1. sql01 down 4 min 12 s",
        "2. web01 down 2 min 30 s, after sql01 was ready",
        "3 passed, 1 failed",
    ):
        assert part in text
    assert "more in the report" not in text


def test_what_people_copy_is_never_cut(bad: Report) -> None:
    """The path, the address of the run and the next command stand whole on one line."""
    lines = shown(bad, 80, 24)
    for value in (PATH, bad.flow_run_url, "billpatch recover acme-billing"):
        assert value is not None
        assert any(line.rstrip().endswith(value) for line in lines)


def test_a_terminal_without_unicode_gets_letters(bad: Report) -> None:
    """The mark of the verdict is a letter where the encoding has no sign for it."""
    assert shown(bad, 80, 24, encoding="ascii")[0].startswith("X Half-open")


def test_no_colour_where_none_is_wanted(good: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR keeps colours out; a file gets no control character at all."""
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    terminal.print(summary(good))
    assert "\x1b[3" not in terminal.file.getvalue()  # type: ignore[attr-defined]
    pipe = Console(file=io.StringIO(), width=80, height=24, force_terminal=False)
    pipe.print(summary(good))
    assert "\x1b" not in pipe.file.getvalue()  # type: ignore[attr-defined]


def test_what_was_seen_beforehand_has_a_line(good: Report) -> None:
    """Where there is room for it: it asks nobody for anything tonight."""
    caution = Caution(host="web01", text="jdoe is logged on: a restart ends the session.")
    lines = shown(dataclasses.replace(good, cautions=(caution,)), 100, 40)
    assert any("Take care" in line and "web01: jdoe is logged on" in line for line in lines)


def test_what_appeared_later_stands_below_what_was_installed(good: Report) -> None:
    """By KB and host, in one line."""
    later = LaterUpdate(host="web01", update="u", revision=1, kb="KB5036899", title="Rollup", round=2)
    lines = shown(dataclasses.replace(good, later=(later,)), 100, 40)
    assert any("appeared later, left to the next review: KB5036899 on web01" in line for line in lines)

"""A night that is watched: stages tick off, what runs is shown, and a pipe gets plain lines."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass

import pytest
from rich.console import Console

from report.live import LiveNight
from report.stages import STAGES, stage_of


@dataclass(frozen=True)
class Sign:
    stage: str
    subject: str = "sql01"
    message: str = "works"
    percent: float | None = None


def picture(night: LiveNight, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, height=24, color_system=None)
    console.print(night._picture())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def watched(*stages: str | Sign) -> LiveNight:
    night = LiveNight(Console(file=io.StringIO(), width=80, height=24))
    for stage in stages:
        night.see(stage if isinstance(stage, Sign) else Sign(stage))
    return night


def marks(night: LiveNight) -> dict[str, str]:
    return {stage.name: stage.mark for stage in night._stages}


def test_steps_are_known_by_their_stage() -> None:
    """Every step that tasks tell belongs to a stage of the runbook; an unknown one is shown by its own name."""
    steps = "scan archive measure send clear fetch sql-patch validate bring_back lease backup-database reboot"
    assert [stage_of(step) for step in steps.split()] == [
        "review", "backup", "backup", "backup", "backup", "review", "install", "check", "bring back", "preflight",
        "backup", "restart",
    ]  # fmt: skip
    assert stage_of("something-new") == "something new"


def test_a_stage_is_ticked_when_the_run_goes_on_to_the_next() -> None:
    """Preflight and review are done, quiesce runs, the others wait."""
    night = watched("preflight", "review", "quiesce")
    assert list(marks(night).values())[:4] == ["done", "done", "running", "waiting"]


def test_a_stage_that_was_left_for_the_way_back_is_not_ticked() -> None:
    """A run that stops in its backups brings the estate back: nobody here knows that the backups are done."""
    night = watched("preflight", "review", "quiesce", "backup", "bring_back")
    assert marks(night)["backup"] == "left"
    assert marks(night)["install"] == "waiting"


def test_waves_come_back_to_a_stage() -> None:
    """Install, restart, install again: install runs, and restart is done so far."""
    night = watched("preflight", "review", "quiesce", "backup", "install", "restart", "install")
    assert (marks(night)["install"], marks(night)["restart"]) == ("running", "done")


def test_a_look_back_does_not_turn_the_stages_back() -> None:
    """A lease renewed or a rescan after the installs is shown where the run is."""
    night = watched("preflight", "review", "quiesce", "backup", "install", "scan", "lease")
    assert marks(night)["install"] == "running"


def test_the_picture_shows_bars_for_what_knows_how_far_it_is() -> None:
    """Subject, percent and message stand in the picture; nothing of them is read as markup or steers the terminal."""
    text = picture(
        watched(
            Sign("archive", r"web01 D:\Work", "packing [red]x[/red]\x1b[2J", 41.6),
            Sign("backup", "sql01 EngageIP", "waiting"),
            Sign("backup", "sql01 Reporting", "odd", 250),
        )
    )
    assert r"web01 D:\Work" in text
    assert "42 %" in text
    assert "packing [red]x[/red]" in text
    assert "100 %" in text
    assert "\x1b" not in text


def test_the_picture_fits_its_terminal() -> None:
    """Sixty databases at once show as many as there is room for."""
    night = watched(*(Sign("backup", f"sql01 database number {n} with a long name", "x" * 90, n) for n in range(60)))
    lines = picture(night).splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)


def test_a_pipe_gets_a_line_for_each_change_and_no_control_characters() -> None:
    """The same message again is no news; a bar tells every quarter."""
    night = watched(
        Sign("quiesce", "sql01", "waiting for billing run"),
        Sign("quiesce", "sql01", "waiting for billing run"),
        *(Sign("archive", "web01", "packing", percent) for percent in range(0, 101, 5)),
        Sign("backup", "we\x1bb01", "done\nnow"),
    )
    assert night._console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "quiesce     sql01: waiting for billing run",
        "backup      web01: packing (0 %)",
        "backup      web01: packing (25 %)",
        "backup      web01: packing (50 %)",
        "backup      web01: packing (75 %)",
        "backup      web01: packing (100 %)",
        "backup      we\ufffdb01: done now",
    ]


def test_a_terminal_is_restored_after_an_error() -> None:
    """The cursor comes back, the display's thread is gone, and the stage it happened in is marked."""
    file = io.StringIO()
    known = set(threading.enumerate())
    night = LiveNight(Console(file=file, width=80, height=24, force_terminal=True))

    def fail() -> None:
        with night:
            night.see(Sign("preflight"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")
    deadline = time.monotonic() + 5
    while not set(threading.enumerate()) <= known and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= known
    assert marks(night)["preflight"] == "ended here"


def test_threads_may_tell_at_the_same_time() -> None:
    """Eight tasks telling at once lose nothing: every subject is there."""
    night = LiveNight(Console(file=io.StringIO(), width=80, height=200), stages=STAGES)
    threads = [
        threading.Thread(target=lambda n=n: [night.see(Sign("backup", f"s{n}-{i}")) for i in range(50)])  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(night._subjects) == 400

"""A run while it goes on, in a terminal: the stages, what is running in the present one, and how far it is.

Without a terminal (a pipe, a log) every change is one plain line, without control characters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from report.stages import REPEATED, STAGES, stage_of
from report.text import one_line, seconds_text

_FRAMES_A_SECOND = 8
_PERCENT_STEP = 25
_LEAST_SUBJECTS = 3
_BAR = 16
_LONGEST_SUBJECT = 30


class Sign(Protocol):
    """One sign of life of a run: the stage it is in, its subject (a host, a database), what it does."""

    @property
    def stage(self) -> str:
        """A stage or a step of the runbook."""
        ...

    @property
    def subject(self) -> str:
        """A host, a database, a folder."""
        ...

    @property
    def message(self) -> str:
        """What is being done or has been done."""
        ...

    @property
    def percent(self) -> float | None:
        """How far it is, 0 to 100; None where that is unknown."""
        ...


@dataclass
class _Stage:
    name: str
    mark: str = "waiting"
    since: float = 0.0
    seconds: float = 0.0


class LiveNight:
    """A display to be fed by ``see``, from any thread; a context manager that restores the terminal.

    ``stages`` are those that the run will go through. A stage that the run has left for the next is ticked; one that it
    left for another (a run that stops brings the estate back at once) is not, for nobody knows here how it ended.
    """

    def __init__(
        self, console: Console, *, stages: Sequence[str] = STAGES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._stages = [_Stage(name) for name in stages]
        self._now: _Stage | None = None
        self._subjects: dict[str, tuple[str, float | None]] = {}
        self._told: dict[tuple[str, str], tuple[str, int]] = {}
        self._lock = threading.RLock()
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._live = (
            Live(console=console, get_renderable=self._picture, refresh_per_second=_FRAMES_A_SECOND, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(good=kind is None)

    def end(self, *, good: bool = True) -> None:
        """Stop the display; ``good`` False marks the present stage as the one where it ended."""
        with self._lock:
            self._leave("done" if good else "ended here")
            self._now = None
        if self._live:
            self._live.stop()

    def see(self, sign: Sign) -> None:
        """Show a sign of life; never raises for what it says."""
        stage, subject, message = stage_of(one_line(sign.stage)), one_line(sign.subject), one_line(sign.message)
        percent = None if sign.percent is None else min(100.0, max(0.0, sign.percent))
        with self._lock:
            self._enter(stage)
            self._subjects.pop(subject, None)
            self._subjects[subject] = (message, percent)
            if self._live is None:
                self._write(stage, subject, message, percent)

    # The stages ------------------------------------------------------------------------------------------------------

    def _enter(self, name: str) -> None:
        stage = next((s for s in self._stages if s.name == name), None)
        if stage is None:
            stage = _Stage(name)
            self._stages.insert(self._stages.index(self._now) + 1 if self._now else 0, stage)
        if stage is self._now or self._is_aside(stage):
            return
        self._leave("done" if self._follows(stage) else "left")
        stage.mark, stage.since = "running", self._clock()
        self._now = stage
        self._subjects.clear()

    def _is_aside(self, stage: _Stage) -> bool:
        """A look back (a lease renewed, a scan after an install) is shown within the present stage."""
        if self._now is None or stage.name in REPEATED:
            return False
        return self._stages.index(stage) < self._stages.index(self._now)

    def _follows(self, stage: _Stage) -> bool:
        """Nothing was passed over on the way to ``stage``, or it is one that a run comes back to."""
        if self._now is None:
            return True
        here, there = self._stages.index(self._now), self._stages.index(stage)
        return there < here or all(s.mark != "waiting" for s in self._stages[here + 1 : there])

    def _leave(self, mark: str) -> None:
        if self._now is not None:
            self._now.mark = mark
            self._now.seconds += self._clock() - self._now.since

    # The picture -----------------------------------------------------------------------------------------------------

    def _picture(self) -> RenderableType:
        with self._lock:
            table = Table.grid(padding=(0, 1))
            table.add_column(width=2)
            table.add_column(width=12, no_wrap=True)
            table.add_column(no_wrap=True, overflow="ellipsis")
            for stage in self._stages:
                table.add_row(*self._line(stage))
                if stage is self._now:
                    table.add_row("", "", self._running())
            return table

    def _line(self, stage: _Stage) -> tuple[RenderableType, RenderableType, RenderableType]:
        ascii_only = self._console.options.ascii_only
        if stage is self._now:
            took = seconds_text(stage.seconds + self._clock() - stage.since)
            return self._spinner, Text(stage.name, style="bold"), Text(took, style="dim")
        signs: dict[str, tuple[str, str]] = {
            "done": ("ok" if ascii_only else "✓", "green"),
            "left": ("-" if ascii_only else "•", "yellow"),
            "ended here": ("x" if ascii_only else "✗", "red"),
        }
        sign, style = signs.get(stage.mark, ("", "dim"))
        took = seconds_text(stage.seconds) if sign else ""
        return Text(sign, style=style), Text(stage.name, style="" if sign else "dim"), Text(took, style="dim")

    def _running(self) -> RenderableType:
        """The latest subjects of the present stage, as many as the screen holds, bars below each other."""
        room = max(_LEAST_SUBJECTS, self._console.height - len(self._stages) - 2)
        shown = [*self._subjects.items()][-room:]
        bars = any(percent is not None for _, (_, percent) in shown)
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=_LONGEST_SUBJECT)
        if bars:
            table.add_column(width=_BAR)
            table.add_column(width=5, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for subject, (message, percent) in shown:
            far: list[RenderableType] = ["", ""] if bars else []
            if percent is not None:
                far = [ProgressBar(total=100, completed=percent, width=_BAR), f"{percent:.0f} %"]
            table.add_row(Text(subject), *far, Text(message, "dim"))
        return table

    # Plain lines -----------------------------------------------------------------------------------------------------

    def _write(self, stage: str, subject: str, message: str, percent: float | None) -> None:
        """A line for what is new: another message, or a quarter more."""
        quarter = -1 if percent is None else int(percent // _PERCENT_STEP)
        if self._told.get((stage, subject)) == (message, quarter):
            return
        self._told[stage, subject] = (message, quarter)
        far = "" if percent is None else f" ({percent:.0f} %)"
        self._console.print(Text(f"{stage:<11} {subject}: {message}{far}"), soft_wrap=True, highlight=False)

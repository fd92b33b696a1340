"""The picture of the night as numbers: when each stage ran, each host was down, each backup was written.

Places along the time axis are percent of the picture's width, so that the text keeps its size on a phone; places down
the page are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from model.records import StepRecord
from report.stages import STAGES, stage_of
from report.summary import HostUpdates, Report, Saved
from report.text import clock_text, seconds_text, size_text

Tone = Literal["stage", "backup", "install", "asked", "down", "bad"]

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_MOST_TICKS = 5
_LEAST_WIDTH = 0.8
_LETTER = 1.65
"""Percent of the width that a letter takes on a phone, the narrowest that a label must fit."""
_AXIS, _HEADING, _ROW, _TALL_ROW, _BAR, _GAP = 26, 26, 22, 38, 14, 8


@dataclass(frozen=True)
class Bar:
    """Something that took time; ``tip`` says what and how long."""

    tone: Tone
    x: float
    width: float
    tip: str


@dataclass(frozen=True)
class Label:
    """The words at a row's bars."""

    text: str
    x: float
    side: Literal["after", "before", "inside", "above"]


@dataclass(frozen=True)
class Row:
    """One line of the picture: its bars and what stands at them; higher where that stands above them."""

    y: int
    bars: tuple[Bar, ...]
    label: Label

    @property
    def height(self) -> int:
        """In pixels."""
        return _TALL_ROW if self.label.side == "above" else _ROW

    @property
    def bar_y(self) -> int:
        """Where the bars begin."""
        return self.y + self.height - _ROW

    @property
    def label_y(self) -> int:
        """The base line of the label."""
        return self.y + 14


@dataclass(frozen=True)
class Group:
    """Rows under a heading."""

    heading: str
    y: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Tick:
    """A time on the axis."""

    x: float
    text: str
    anchor: Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Timeline:
    """The whole picture; ``height`` in pixels."""

    ticks: tuple[Tick, ...]
    groups: tuple[Group, ...]
    height: int
    bar: int = _BAR


@dataclass
class _Line:
    """A row before it has its place."""

    spans: list[tuple[Tone, datetime, datetime, str]]
    label: str


@dataclass
class _Scale:
    first: datetime
    last: datetime
    width: float = field(init=False)

    def __post_init__(self) -> None:
        self.width = max((self.last - self.first).total_seconds(), 0.001)

    def x(self, at: datetime) -> float:
        return min(100.0, max(0.0, 100 * (at - self.first).total_seconds() / self.width))

    def bar(self, tone: Tone, start: datetime, end: datetime, tip: str) -> Bar:
        x = min(self.x(start), 100 - _LEAST_WIDTH)
        return Bar(tone, round(x, 2), round(max(self.x(end) - x, _LEAST_WIDTH), 2), tip)


def timeline(report: Report) -> Timeline | None:
    """The picture of a run; None where nothing of it has a time."""
    parts = {
        "Stages": list(_stages(report)),
        "Hosts": list(_hosts(report)),
        "Backups, in parallel": [_backup(report, saved) for saved in report.backups if saved.copies],
    }
    spans = [span for lines in parts.values() for line in lines for span in line.spans]
    if not spans:
        return None
    scale = _Scale(min(report.started, *(s[1] for s in spans)), max(report.ended, *(s[2] for s in spans)))
    groups: list[Group] = []
    y = _AXIS
    for heading, lines in parts.items():
        if not lines:
            continue
        top, y = y, y + _HEADING
        rows: list[Row] = []
        for line in lines:
            bars = tuple(scale.bar(*span) for span in line.spans)
            rows.append(Row(y, bars, _place(line.label, bars)))
            y += rows[-1].height
        groups.append(Group(heading, top, tuple(rows)))
        y += _GAP
    return Timeline(tuple(_ticks(report, scale)), tuple(groups), y)


def _place(text: str, bars: tuple[Bar, ...]) -> Label:
    """Beside the bars where it fits on a phone, else inside the widest, else above them."""
    first, last = min(bar.x for bar in bars), max(bar.x + bar.width for bar in bars)
    need = len(text) * _LETTER
    if need <= 100 - last:
        return Label(text, round(last, 2), "after")
    if need <= first:
        return Label(text, first, "before")
    plain = [bar for bar in bars if bar.tone in {"stage", "backup", "install"}]
    widest = max(plain, key=lambda bar: bar.width, default=None)
    if widest is not None and need <= widest.width:
        return Label(text, widest.x, "inside")
    return Label(text, 0, "above")


def _ticks(report: Report, scale: _Scale) -> Iterator[Tick]:
    every = next((s for s in _STEPS if scale.width / s <= _MOST_TICKS), _STEPS[-1])
    offset = scale.first.astimezone(report.zone).utcoffset() or timedelta()
    first = scale.first.timestamp() + offset.total_seconds()
    behind = -first % every
    while behind <= scale.width:
        at = scale.first + timedelta(seconds=behind)
        x = scale.x(at)
        local = at.astimezone(report.zone)
        text = f"{local:%H:%M:%S}" if every % 60 else f"{local:%H:%M}"
        yield Tick(round(x, 2), text, "start" if x < 6 else "end" if x > 94 else "middle")
        behind += every


# Stages --------------------------------------------------------------------------------------------------------------


def _stages(report: Report) -> Iterator[_Line]:
    """A row for each stage: what its steps say, else what its records say."""
    spans: dict[str, list[tuple[datetime, datetime, bool]]] = {}
    for step in report.steps:
        if step.status != "skipped":
            spans.setdefault(stage_of(step.step), []).append(_of_step(step, report.ended))
    derived: dict[str, Iterable[tuple[datetime, datetime, bool]]] = {
        "quiesce": ((q.started, q.quiet_at, True) for q in report.quiesces),
        "backup": ((c.started, c.ended or report.ended, c.verified) for s in report.backups for c in s.copies),
        "install": ((u.started, u.ended or u.started, u.result != "failed") for u in report.all_updates),
        "restart": ((r.asked, r.ready or report.ended, r.ready is not None) for r in report.restarts),
    }
    for stage, of_records in derived.items():
        if stage not in spans and (found := list(of_records)):
            spans[stage] = found
    known = [stage for stage in STAGES if stage in spans]
    for stage in [*known, *(s for s in spans if s not in STAGES)]:
        merged = _merged(spans[stage])
        took = seconds_text(sum((end - start).total_seconds() for start, end, _ in merged))
        yield _Line(
            [("stage" if good else "bad", start, end, _tip(report, stage, start, end)) for start, end, good in merged],
            f"{stage} {took}",
        )


def _of_step(step: StepRecord, ended: datetime) -> tuple[datetime, datetime, bool]:
    return step.started, step.ended or ended, step.status != "failed"


def _merged(spans: list[tuple[datetime, datetime, bool]]) -> list[tuple[datetime, datetime, bool]]:
    """Spans that overlap become one; a failed part makes it a failed one."""
    merged: list[tuple[datetime, datetime, bool]] = []
    for start, end, good in sorted(spans):
        if merged and start <= merged[-1][1]:
            before = merged.pop()
            merged.append((before[0], max(before[1], end), before[2] and good))
        else:
            merged.append((start, max(start, end), good))
    return merged


# Hosts ---------------------------------------------------------------------------------------------------------------


def _hosts(report: Report) -> Iterator[_Line]:
    """A row for each host on which something was installed or that restarted."""
    updates = {of_host.host: of_host for of_host in report.updates}
    for host in dict.fromkeys([*updates, *(restart.host for restart in report.restarts)]):
        restarts = [restart for restart in report.restarts if restart.host == host]
        spans = [*_installing(report, updates.get(host))]
        down = 0.0
        for restart in restarts:
            gone = restart.down or restart.asked
            back = restart.ready or max(report.ended, gone)
            if restart.down:
                spans.append(("asked", restart.asked, gone, _tip(report, "going down", restart.asked, gone)))
            spans.append(("down" if restart.ready else "bad", gone, back, _tip(report, "down", gone, back)))
            down += restart.seconds_down or 0
        says = f"down {seconds_text(down)}" if restarts else "not restarted"
        if any(restart.ready is None for restart in restarts):
            says = "not back"
        if spans:  # where all was there already nothing has taken any time
            yield _Line(spans, f"{host} {says}")


def _installing(report: Report, of_host: HostUpdates | None) -> Iterator[tuple[Tone, datetime, datetime, str]]:
    for update in of_host.updates if of_host else ():
        if update.result in {"not-needed", "not-tried"}:
            continue
        end = update.ended or update.started
        tone: Tone = "bad" if update.result in {"failed", "unknown"} else "install"
        yield tone, update.started, end, _tip(report, f"{update.title}: {update.result}", update.started, end)


# Backups -------------------------------------------------------------------------------------------------------------


def _backup(report: Report, saved: Saved) -> _Line:
    start = min(copy.started for copy in saved.copies)
    end = max(copy.ended or report.ended for copy in saved.copies)
    text = f"{saved.host} {saved.item.subject} {size_text(saved.size)}"
    return _Line([("backup" if saved.whole else "bad", start, end, _tip(report, text, start, end))], text)


def _tip(report: Report, what: str, start: datetime, end: datetime) -> str:
    took = seconds_text((end - start).total_seconds())
    return f"{what}: {clock_text(start, report.zone)} to {clock_text(end, report.zone)}, {took}"

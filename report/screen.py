"""The report for a terminal: one screen, without a scroll, from 80 columns and 24 lines on.

Every line is a ``Text`` of its own: nothing that a host has told is read as markup, and control characters are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from model.records import UpdateRecord
from report.live import LiveNight
from report.summary import Report
from report.text import list_text, one_line, seconds_text, size_text, span_text

__all__ = ["LiveNight", "Summary", "summary"]

_NAMES = 11
_LONGEST_HOST = 15
_MOST_LINES = 40
_COLOURS = {"good": "green", "warn": "yellow", "bad": "red"}


def summary(report: Report, report_path: str | None = None) -> Summary:
    """The report as rich prints it; ``report_path`` is where the page lies."""
    return Summary(report, report_path)


@dataclass
class _Section:
    """Lines about one thing: as many as there is room for, at least one.

    ``aside``: what the other sections tell in more detail. It gets its room last, and says by an ellipsis instead of a
    line that something is left out.
    """

    name: str
    lines: list[Text]
    shown: int = 1
    aside: bool = False

    @property
    def height(self) -> int:
        """Lines on the screen, with the word on what is left out."""
        return self.shown + (self.shown < len(self.lines) and not self.aside)

    def can_grow(self, room: int) -> bool:
        """Whether one line more fits; the last costs nothing where it takes the place of the word on what is left."""
        left = len(self.lines) - self.shown
        return left > 0 and (room > 0 or (left == 1 and not self.aside))

    def grow(self) -> int:
        """Show one line more; answers what that costs."""
        before = self.height
        self.shown += 1
        return self.height - before

    def rows(self) -> Iterator[Text]:
        """The lines, with the section's name before the first."""
        lines = self.lines[: self.shown]
        if hidden := len(self.lines) - self.shown:
            if self.aside:
                lines[-1] = Text.assemble(lines[-1], "...")
            else:
                lines.append(Text(f"({hidden} more in the report)", style="dim"))
        for number, line in enumerate(lines):
            yield Text.assemble((f"{'' if number else self.name:<{_NAMES}}", "bold"), line) if self.name else line


def _fit(sections: list[_Section], room: int) -> None:
    """Give out what is left of ``room`` lines, one for each section in turn."""
    left = room - sum(section.height for section in sections)
    for aside in (False, True):
        turn = [section for section in sections if section.aside == aside]
        while turn := [section for section in turn if section.can_grow(left)]:
            for section in turn:
                if section.can_grow(left):
                    left -= section.grow()


@dataclass(frozen=True)
class Summary:
    """What ``summary`` returns: a renderable that knows the size of its screen."""

    report: Report
    report_path: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Every line that fits; the last line of the screen stays free for the prompt."""
        writer = _Writer(self.report, console, options)
        room = min(console.height, _MOST_LINES) - 1 if console.is_terminal else _MOST_LINES
        sections = list(writer.sections())
        end = list(writer.end(self.report_path))
        _fit(sections, room - sum(writer.height(line) for line in end))
        for section in sections:
            for row in section.rows():
                row.truncate(options.max_width, overflow="ellipsis")
                row.no_wrap = True
                yield row
        yield from end


@dataclass(frozen=True)
class _Writer:
    """Writes the sections for one width."""

    report: Report
    console: Console
    options: ConsoleOptions

    def height(self, line: Text) -> int:
        """Lines that a line takes which is not cut."""
        return max(1, -(-line.cell_len // self.options.max_width))

    def sections(self) -> Iterator[_Section]:
        """From the verdict to the checks."""
        outcome = self.report.outcome
        title = self._title()
        yield _Section("", title, shown=len(title))
        if outcome.problems:
            yield self._section("Problems", (Text(one_line(problem), "red") for problem in outcome.problems))
        if self.report.touched:
            yield self._section("Up", self._names(outcome.up, "green"), aside=True)
            yield self._section("Down", self._names(outcome.down, "red"))
        yield self._section("Changed", self._names(outcome.changed, ""), aside=True)
        yield self._section("Backed up", self._backups())
        yield self._section("Installed", self._updates())
        yield self._section("Restarted", self._restarts())
        yield self._section("Checks", self._checks())
        if self.report.cautions:
            seen = (Text(one_line(str(each)), "yellow") for each in self.report.cautions)
            yield self._section("Take care", seen, aside=True)
        if self.report.hooks:
            yield self._section("Hooks", self._hooks())

    def end(self, report_path: str | None) -> Iterator[Text]:
        """What people copy is never cut: it stands on a line of its own, or goes on in the next."""
        url, command = self.report.flow_run_url, self.report.outcome.next_command
        ways = (("Way back", line, "") for line in self.report.outcome.way_back)
        for name, value, style in (*ways, ("Report", report_path, ""), ("Prefect", url, ""), ("Next", command, "bold")):
            if not value:
                continue
            text = one_line(value)
            roomy, narrow = f"{name:<{_NAMES}}", f"{name} "
            label = next((label for label in (roomy, narrow) if len(label + text) <= self.options.max_width), "")
            yield Text.assemble((label, "bold"), (text, style), overflow="fold")

    def _section(self, name: str, texts: Iterable[Text], *, aside: bool = False) -> _Section:
        width = max(20, self.options.max_width - _NAMES)
        lines = [line for text in texts for line in text.wrap(self.console, width, overflow="fold")]
        return _Section(name, lines, aside=aside)

    def _title(self) -> list[Text]:
        report = self.report
        ascii_only = self.options.ascii_only
        marks = {"good": "OK", "warn": "!", "bad": "X"} if ascii_only else {"good": "✓", "warn": "!", "bad": "✗"}
        title = Text.assemble((f"{marks[report.tone]} {report.verdict}", f"bold {_COLOURS[report.tone]}"), "  ")
        title.append(str(report.key))
        headline = Text(one_line(report.outcome.headline)).wrap(self.console, self.options.max_width)[:2]
        when = f"{span_text(report.started, report.ended, report.zone)} ({seconds_text(report.seconds)})"
        return [title, *headline, Text(when, "dim")]

    @staticmethod
    def _names(values: tuple[str, ...], style: str) -> Iterator[Text]:
        yield Text("; ".join(one_line(value) for value in values) or "nothing", style if values else "")

    def _backups(self) -> Iterator[Text]:
        report = self.report
        if not report.backups:
            yield Text("nothing")
            return
        whole, of = report.whole_backups, len(report.backups)
        places = list_text([one_line(store) for store in report.stores])
        yield Text.assemble(
            (f"{whole} of {of} whole and verified", "green" if whole == of else "red"),
            f", {size_text(report.backup_size)}, in {places}",
        )
        by_host: dict[str, Text] = {}
        for saved in report.backups:
            text = by_host.setdefault(saved.host, Text())
            text.append(", " if text else "").append(_last_part(saved.item.subject), "" if saved.whole else "red")
            text.append("" if saved.whole else " (not whole)", "red")
        yield from self._by_host(by_host.items())

    def _updates(self) -> Iterator[Text]:
        updates = self.report.all_updates
        if not updates:
            yield Text("nothing")
        unsettled = self.report.unsettled
        for update in sorted(updates, key=lambda u: u not in unsettled):
            room = self.options.max_width - _NAMES - self._host_width - 1
            text = Text(_update_text(update, room), "red" if update in unsettled else "")
            yield from self._by_host([(update.host, text)])
        if self.report.later:
            names = list_text([f"{one_line(each.kb or each.title)} on {each.host}" for each in self.report.later])
            yield Text(f"appeared later, left to the next review: {names}", "yellow")

    def _restarts(self) -> Iterator[Text]:
        if not self.report.restarts:
            yield Text("no host")
        for number, restart in enumerate(self.report.restarts, 1):
            down = restart.seconds_down
            text = Text(f"down {seconds_text(down)}") if down is not None else Text("not back", "red")
            if restart.waited_for:
                text.append(f", after {list_text([one_line(name) for name in restart.waited_for])} was ready", "dim")
            for line in self._by_host([(restart.host, text)]):
                yield Text.assemble(f"{number}. ", line)

    def _checks(self) -> Iterator[Text]:
        report = self.report
        if not report.checks:
            yield Text("none ran")
            return
        text = Text(f"{len(report.checks_with('passed'))} passed", "green")
        for status, style in (("failed", "red"), ("not-run", "yellow")):
            if number := sum(check.status == status for check in report.checks):
                text.append(f", {number} {status.replace('-', ' ')}", style)
        yield text
        for check in report.checks:
            if check.status != "passed":
                said = f"{check.severity} {check.status.replace('-', ' ')}: {check.name}: {check.detail}"
                yield Text(one_line(said), "red" if check.blocks_reopening else "yellow")

    def _hooks(self) -> Iterator[Text]:
        """What failed, and the snapshots that somebody has to delete; the rest is a number."""
        report = self.report
        failed = [hook for hook in report.hooks if hook.status == "failed"]
        yield Text(f"{len(report.hooks) - len(failed)} done{f', {len(failed)} failed' if failed else ''}")
        for hook in failed:
            yield Text(one_line(f"failed: {hook}: {hook.detail}"), "red" if hook.severity == "must" else "yellow")
        days: dict[str, list[str]] = {}
        for hook in report.snapshots:
            days.setdefault(report.day(hook.until), []).append(
                one_line(f"{hook.id or 'that'} of {hook.host} ({hook.hook})")
            )
        for day, names in days.items():
            yield Text(f"delete by {day}: snapshot {list_text(names)}", "yellow")

    @property
    def _host_width(self) -> int:
        hosts = {saved.host for saved in self.report.backups} | {update.host for update in self.report.all_updates}
        hosts |= {restart.host for restart in self.report.restarts}
        return min(_LONGEST_HOST, max((len(host) for host in hosts), default=0))

    def _by_host(self, texts: Iterable[tuple[str, Text]]) -> Iterator[Text]:
        for host, text in texts:
            yield Text.assemble((f"{_cut(one_line(host), self._host_width):<{self._host_width}} ", "bold"), text)


def _update_text(update: UpdateRecord, room: int) -> str:
    """KB, title and evidence; where they do not fit the title gives way."""
    kb = one_line(update.kb or "")
    title = one_line(update.title)
    if kb:
        title = f"{kb} {title.replace(f'({kb})', '').replace(kb, '').strip()}"
    proof = update.verified_by if update.result == "installed" and update.verified_by else update.result
    proof = one_line(proof)
    return f"{_cut(title, max(room - len(proof) - 3, 20))} ({proof})"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _last_part(subject: str) -> str:
    """The name of a folder without the folders above it; a drive's root as it is."""
    return one_line(subject).rstrip("\\").rpartition("\\")[2]

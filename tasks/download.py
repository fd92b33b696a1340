"""Downloading ahead: what the next night will install is fetched before it, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.hresults import windows_update_meaning
from model.outcome import Problem, Stopped
from model.plan import PlanStep
from model.scan import Scan
from tasks import review
from tasks.jobs import Job, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step
from tasks.update_source import asked_for, nth
from tasks.windows_updates import let_rest

_TRIES = 3


@dataclass(frozen=True)
class Downloads:
    """What lies on a host now (titles), and what could not be fetched, one line each."""

    host: str
    ready: tuple[str, ...]
    problems: tuple[str, ...]


def must_be_of_use(run: Run) -> None:
    """Raise Stopped where the estate's updates are files in a folder: the night copies them, there is nothing to fetch."""
    folder = run.estate.updates.folder
    if folder is not None:
        raise Stopped.because(
            "download", f"{run.estate.name}: its updates are files in {folder}; there is nothing to download ahead."
        )


def admitted(run: Run, scans: Mapping[str, Scan]) -> dict[str, tuple[PlanStep, ...]]:
    """The Windows updates that the policy admits of these scans, by host."""
    plan = review.plan_now(run, scans)
    steps = {host: tuple(s for s in plan.of("install", host) if s.is_windows_update) for host in run.hosts}
    return {host: its for host, its in steps.items() if its}


@step("download updates on {host}")
def download_on(run: Run, host: str, steps: Sequence[PlanStep]) -> Downloads:
    """Fetch exactly these updates, from the source that was scanned; each is tried a bounded number of times."""
    todo, number = list(steps), 0
    ready: list[str] = []
    problems: dict[PlanStep, tuple[str, bool]] = {}
    while todo:
        number += 1
        answer = run_job(run, 0, _job(run, host, todo, number))
        told = {(each["id"].casefold(), each["revision"]): each for each in answer["updates"]}
        said = {each: _problem(told[(each.update or "").casefold(), each.revision]) for each in todo}
        ready += [each.subject for each, problem in said.items() if problem is None]
        problems = {**problems, **{each: problem for each, problem in said.items() if problem is not None}}
        for each in todo:
            if said[each] is None:
                problems.pop(each, None)
        todo = [each for each, problem in said.items() if problem is not None and problem[1]]
        if number == _TRIES or not todo:
            break
        let_rest(run, number)
    for title in ready:
        tell("download", host, f"{title}: downloaded")
    return Downloads(host, tuple(ready), tuple(f"{host}: {s.subject}: {why}" for s, (why, _) in problems.items()))


def _job(run: Run, host: str, steps: Sequence[PlanStep], number: int) -> Job:
    seconds = run.estate.updates.download_deadline.total_seconds()
    subject = nth("windows-update", number)
    return Job(host, "download", subject, "Save-WindowsUpdate", asked_for(run, steps), deadline=seconds)


def _problem(told: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Why an update does not lie there, and whether time may mend it; None where it does, or is in."""
    if told["skipped"] in {"installed already", "waits for a reboot"}:
        return None
    if told["skipped"]:
        return str(told["skipped"]), False
    if told["download"]["result_code"] in {2, 3}:
        return None
    meaning = windows_update_meaning(told["download"]["hresult"])
    return str(meaning), meaning.do == "retry"


def problems_of(done: Sequence[Downloads], others: Sequence[Problem]) -> list[Problem]:
    """Everything that could not be fetched, and every host that did not do it."""
    return [*(Problem(text) for each in done for text in each.problems), *others]

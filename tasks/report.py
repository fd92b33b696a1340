"""The report: written beside the run, shown in Prefect, handed to whoever asked for it."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL

from model.records import RunOutcome
from report import render
from report.summary import Report
from tasks import artifacts
from tasks.progress import publish
from tasks.run import Run

FOLDER_VARIABLE = "BILLPATCH_REPORTS"


@dataclass(frozen=True)
class Written:
    """A report and the files that hold it; ``folder`` is None where they could not be written."""

    report: Report
    folder: Path | None


_readers: list[Callable[[Written], None]] = []


def on_report(reader: Callable[[Written], None]) -> None:
    """Have ``reader`` called with every report that this process writes."""
    _readers.append(reader)


def write(run: Run, outcome: RunOutcome) -> Written:
    """Render the report of ``run`` to files and to an artifact; a full disk or an absent Prefect loses only its half."""
    report = Report.of(
        estate=run.estate,
        key=run.key,
        records=run.journal,
        outcome=outcome,
        started=run.started,
        ended=datetime.now(UTC),
        flow_run_url=page(),
    )
    artifacts.the_rest(run)
    publish(f"{run.estate.name.lower()}-report", render.markdown(report), outcome.headline)
    written = Written(report, _files(report, Path(os.environ.get(FOLDER_VARIABLE, "reports"))))
    for reader in _readers:
        reader(written)
    return written


def page() -> str | None:
    """The address of this flow run in Prefect's UI; None where it has none: Prefect would write None into it."""
    url: str | None = flow_run.ui_url if PREFECT_UI_URL.value() else None
    return url


def _files(report: Report, reports: Path) -> Path | None:
    try:
        folder = _fresh(reports, str(report.key))
        (folder / "report.html").write_text(render.html(report), encoding="utf-8")
        (folder / "report.md").write_text(render.markdown(report), encoding="utf-8")
        (folder / "report.json").write_text(json.dumps(render.as_json(report), indent=1), encoding="utf-8")
    except OSError:
        return None
    return folder


def _fresh(reports: Path, name: str) -> Path:
    """A folder of its own: the same run again, and its rescue, leave the report of what went before."""
    for number in itertools.count(1):
        folder = reports / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("there are numbers enough")

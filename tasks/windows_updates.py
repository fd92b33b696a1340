"""Windows updates: one job installs those of a round, and each is judged by what the agent said, then by a rescan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from model.hresults import windows_update_meaning
from model.plan import PlanStep
from model.records import UpdateRecord
from model.reopen import INSTALLING
from tasks.jobs import Job, OutcomeUnknown, run_job
from tasks.progress import tell
from tasks.run import Run

_HOUR = 3600.0
_SUCCEEDED = {2, 3}


def windows_update_job(host: str, steps: Sequence[PlanStep]) -> Job:
    """The job that installs these updates on ``host``."""
    parameters = {"updates": [{"id": each.update, "revision": each.revision} for each in steps]}
    return Job(host, "install", "windows-update", "Install-WindowsUpdate", parameters, deadline=4 * _HOUR)


def install_windows_updates(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> list[UpdateRecord]:
    """One job installs them; what the agent says is written down, and believed only after the rescan."""
    started = datetime.now(UTC)
    run.hosts[host].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={INSTALLING: {"round": round_number}}
    )
    try:
        answer = run_job(run, round_number, windows_update_job(host, steps))
    except OutcomeUnknown as unknown:
        tell("install", host, f"{unknown}; the rescan will tell")
        answer = {"updates": []}
    told = {(each["id"].casefold(), each["revision"]): each for each in answer["updates"]}
    records = []
    for each in steps:
        result, code, remark = _said(told.get(((each.update or "").casefold(), each.revision)))
        record = UpdateRecord(
            host=host,
            update=each.update or "",
            revision=each.revision,
            kb=each.kb[0] if each.kb else None,
            title=each.subject,
            kind="windows-update",
            result=result,
            hresult=code,
            remark=remark,
            started=started,
            ended=datetime.now(UTC),
        )
        records.append(_write(run, record))
        tell("install", host, f"{each.subject}: {result}{f' ({remark})' if remark else ''}")
    return records


Result = Literal["installed", "reboot-pending", "not-needed", "failed", "unknown"]


def _said(each: Mapping[str, Any] | None) -> tuple[Result, str | None, str | None]:
    """What the agent said of one update: result, HRESULT, remark."""
    if each is None:
        return "unknown", None, "the job was cut off"
    if each["skipped"]:
        return ("not-needed" if each["skipped"] == "installed already" else "unknown"), None, each["skipped"]
    last = each["install"] or each["download"]
    meaning = windows_update_meaning(last["hresult"])
    if each["install"] is not None and each["install"]["result_code"] in _SUCCEEDED:
        return ("reboot-pending" if each["install"]["reboot_required"] else "installed"), None, None
    known: dict[str, Result] = {"done-reboot": "reboot-pending", "not-needed": "not-needed"}
    return known.get(meaning.do, "failed"), meaning.hex, str(meaning)


def _write(run: Run, record: UpdateRecord) -> UpdateRecord:
    """Write the record in the place of one that tells of an earlier round."""
    earlier = last_record(run, record.host, record.update, record.revision)
    if earlier is None:
        return run.journal.write(record)
    run.journal.replace(earlier, record)
    return record


def last_record(run: Run, host: str, update: str | None, revision: int | None) -> UpdateRecord | None:
    """The newest record of an update on a host; None where it was not tried."""
    same = [r for r in run.journal.of(UpdateRecord) if (r.host, r.update, r.revision) == (host, update, revision)]
    return same[-1] if same else None

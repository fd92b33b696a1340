"""Windows updates: jobs scan for, download and install them, and each is judged by what a rescan and the build say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from model.hresults import Meaning, kb_advice, unsigned, windows_update_meaning
from model.outcome import Stopped
from model.plan import PlanStep
from model.records import UpdateRecord
from model.reopen import INSTALLING
from model.rounds import CUT, when_again
from model.scan import Scan
from tasks.jobs import Job, JobFailed, OutcomeUnknown, run_job
from tasks.progress import tell
from tasks.run import Run

_HOUR = 3600.0
_SUCCEEDED = {2, 3}
_SCANS = 3
_PAUSE = 12
"""Looks at something that is waited for, in whose time a first failed try is let rest; a second one twice as long."""
_ALONE = 0x80240019


# Scanning ------------------------------------------------------------------------------------------------------------


def scan_host(run: Run, host: str, round_number: int) -> Scan:
    """What the host's source of updates offers it; raises Stopped, saying where to look, where that does not answer.

    After a restart (``round_number`` above 0) updates may still be at work: they are let come to an end.
    """
    scan = Scan()
    for number in range(1, _SCANS + 1):
        last = number == _SCANS
        try:
            scan = Scan.model_validate(run_job(run, round_number, _scan_job(run, host, number)))
        except OutcomeUnknown:
            if last:
                raise
            tell("review", host, "the scan was cut off, and is begun anew")
            continue
        except JobFailed as failed:
            meaning = _passing(failed)
            if last or meaning is None:
                raise _no_scan(run, host, failed, number) from None
            tell("review", host, f"the scan failed ({meaning}), and is tried again")
        else:
            working = [each for each in scan.updates if each.reboot_required] if round_number else []
            if last or not working:
                break
            tell("review", host, f"still at work after the restart: {', '.join(map(str, working))}")
        let_rest(run, number)
    return scan


def _scan_job(run: Run, host: str, number: int) -> Job:
    parameters = {"source": run.estate.updates.asked}
    return Job(host, "scan", nth("windows-update", number), "Find-WindowsUpdate", parameters, deadline=_HOUR)


def _passing(failed: JobFailed) -> Meaning | None:
    """What the job failed by, where time may mend it; else None."""
    if failed.hresult is None:
        return None
    meaning = windows_update_meaning(failed.hresult)
    return meaning if meaning.do in {"retry", "wait", "wait-for-boot"} else None


def _no_scan(run: Run, host: str, failed: JobFailed, tries: int) -> Stopped:
    source = run.estate.updates.asked
    meaning = None if failed.hresult is None else windows_update_meaning(failed.hresult)
    if meaning is None or meaning.do == "unknown":
        why = failed.message
    else:
        why = f"{meaning}{f', {tries} times' if tries > 1 else ''}"
    return Stopped.because("review", f"{host}: the scan for updates failed, asking {source}: {why}")


def let_rest(run: Run, number: int) -> None:
    """Wait before the next try; raises Stopped when the run is told to end meanwhile."""
    if run.stop.wait(_PAUSE * run.poll * number):
        raise Stopped.because("interruption", "the run was told to end before a next try")


def nth(subject: str, number: int) -> str:
    """The subject of a job's ``number``-th try: each try has an id of its own, whoever resumes the run."""
    return subject if number == 1 else f"{subject}-try{number}"


# Installing ----------------------------------------------------------------------------------------------------------


def windows_update_job(run: Run, host: str, steps: Sequence[PlanStep], number: int = 1) -> Job:
    """The job that installs these updates on ``host``; ``number`` counts the tries of one round."""
    parameters = asked_for(run, steps)
    return Job(host, "install", nth("windows-update", number), "Install-WindowsUpdate", parameters, deadline=4 * _HOUR)


def asked_for(run: Run, steps: Sequence[PlanStep]) -> dict[str, Any]:
    """The parameters by which a job is told which updates: exactly these, from the source that was scanned."""
    updates = [
        {"id": each.update, "revision": each.revision, "alone": each.alone or _was_refused_beside_others(run, each)}
        for each in steps
    ]
    policy = run.estate.updates
    return {"updates": updates, "source": policy.asked, "accept_eulas": policy.accept_eulas}


def _was_refused_beside_others(run: Run, step: PlanStep) -> bool:
    record = last_record(run, step.host or "", step.update, step.revision)
    return record is not None and any(code != CUT and unsigned(code) == _ALONE for code in record.tries)


def install_windows_updates(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> list[UpdateRecord]:
    """Jobs install them; what the agent says is written down, and believed only after the rescan.

    What a moment may mend (a download, a busy datastore) is tried again here, a bounded number of times, unless something
    that is in already waits for a restart: then nothing more goes in.
    """
    run.hosts[host].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={INSTALLING: {"round": round_number}}
    )
    records: dict[tuple[str | None, int | None], UpdateRecord] = {}
    todo, number = list(steps), 1
    while True:
        records |= _try(run, round_number, windows_update_job(run, host, todo, number), todo)
        if any(record.result == "reboot-pending" for record in records.values()):
            break
        todo = [each for each in todo if when_again(records[each.update, each.revision]) == "now"]
        if not todo:
            break
        tell("install", host, f"tried again in a moment: {', '.join(each.subject for each in todo)}")
        let_rest(run, number)
        number += 1
    return list(records.values())


def _try(
    run: Run, round_number: int, job: Job, steps: Sequence[PlanStep]
) -> dict[tuple[str | None, int | None], UpdateRecord]:
    """One job, and a record of each update that it was told to install."""
    started = datetime.now(UTC)
    failed: Meaning | None = None
    try:
        answer = run_job(run, round_number, job)
    except OutcomeUnknown as unknown:
        tell("install", job.host, f"{unknown}; the rescan will tell")
        answer = {"updates": []}
    except JobFailed as error:
        failed = _passing(error)
        if failed is None:
            raise
        answer = {"updates": []}
    told = {(each["id"].casefold(), each["revision"]): each for each in answer["updates"]}
    records = {}
    for each in steps:
        said = (
            _said(told.get(((each.update or "").casefold(), each.revision)))
            if failed is None
            else ("failed", failed.hex, str(failed))
        )
        records[each.update, each.revision] = _write(run, each, said, started)
    return records


Result = Literal["installed", "reboot-pending", "not-needed", "not-tried", "failed", "unknown"]
Said = tuple[Result, str | None, str | None]
"""Result, HRESULT, remark."""

_SKIPPED: dict[str, Said] = {
    "installed already": ("not-needed", None, "installed already"),
    "not offered": ("not-tried", None, "not offered"),
    "waits for a reboot": ("reboot-pending", None, "waits for a reboot"),
    "reboot first": ("not-tried", None, "a restart comes first"),
    "license terms": (
        "failed",
        None,
        "its license terms are not accepted; read them, then say updates.accept_eulas: true",
    ),
}


def _said(each: Mapping[str, Any] | None) -> Said:
    """What the agent said of one update."""
    if each is None:
        return "unknown", None, "the job was cut off"
    if each["skipped"]:
        return _SKIPPED[each["skipped"]]
    last = each["install"] or each["download"]
    meaning = windows_update_meaning(last["hresult"])
    if each["install"] is not None and each["install"]["result_code"] in _SUCCEEDED:
        return ("reboot-pending" if each["install"]["reboot_required"] else "installed"), None, None
    known: dict[str, Result] = {"done-reboot": "reboot-pending", "not-needed": "not-needed"}
    return known.get(meaning.do, "failed"), meaning.hex, str(meaning)


def _write(run: Run, step: PlanStep, said: Said, started: datetime) -> UpdateRecord:
    """Write the record of a try in the place of the one that tells of the try before."""
    host = step.host or ""
    result, code, remark = said
    earlier = last_record(run, host, step.update, step.revision)
    kb = step.kb[0] if step.kb else None
    tries = earlier.tries if earlier else ()
    if result == "failed" and code is not None:
        tries += (code,)
        advice = kb_advice(kb)
        remark = f"{remark}{f'; {advice}' if advice else ''}{f' ({len(tries)} tries)' if len(tries) > 1 else ''}"
    elif result == "unknown":
        tries += (CUT,)
    record = UpdateRecord(
        host=host,
        update=step.update or "",
        revision=step.revision,
        kb=kb,
        title=step.subject,
        kind="windows-update",
        result=result,
        hresult=code,
        tries=tries,
        remark=remark,
        started=earlier.started if earlier else started,
        ended=datetime.now(UTC),
    )
    if earlier is None:
        run.journal.write(record)
    else:
        run.journal.replace(earlier, record)
    tell("install", host, f"{step.subject}: {result}{f' ({remark})' if remark else ''}")
    return record


def last_record(run: Run, host: str, update: str | None, revision: int | None) -> UpdateRecord | None:
    """The newest record of an update on a host; None where it was not tried."""
    same = [r for r in run.journal.of(UpdateRecord) if (r.host, r.update, r.revision) == (host, update, revision)]
    return same[-1] if same else None

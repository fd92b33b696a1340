"""Windows updates: jobs scan for, download and install them, and each is judged by what a rescan and the build say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from model.hresults import Meaning, kb_advice, of_agent, unsigned, windows_update_meaning
from model.outcome import Stopped
from model.plan import PlanStep
from model.records import UpdateRecord
from model.reopen import INSTALLING
from model.rounds import CUT, when_again
from model.scan import Scan
from tasks import update_source as source
from tasks.jobs import Job, JobFailed, OutcomeUnknown, run_job
from tasks.progress import tell
from tasks.run import Run

_SCANS = 3
_PAUSE = 12
"""Looks at something that is waited for, in whose time a first failed try is let rest; a second one twice as long."""
_ALONE = 0x80240019


# Scanning ------------------------------------------------------------------------------------------------------------


def scan_host(run: Run, host: str, round_number: int) -> Scan:
    """What the host's source of updates offers it; raises Stopped, saying where to look, where that does not answer.

    After a restart (``round_number`` above 0) updates may still be at work: they are let come to an end.
    """
    scan = Scan(result_code=0)
    for number in range(1, _SCANS + 1):
        last = number == _SCANS
        found = _scan(run, host, round_number, number, last=last)
        if found is not None:
            scan = found
            working = [each for each in scan.updates if each.reboot_required] if round_number else []
            if last or not (working or scan.doubts()):
                break
            if working:
                tell("review", host, f"still at work after the restart: {', '.join(map(str, working))}")
        let_rest(run, number)
    return _trusted(host, scan)


def _trusted(host: str, scan: Scan) -> Scan:
    """The scan, its doubts told; raises Stopped where it has seen nothing that counts."""
    doubts = scan.doubts()
    if scan.failed:
        raise Stopped.because("review", f"{host}: {'; '.join(doubts)}. Look at the Windows Update log of {host}.")
    for doubt in doubts:
        tell("review", host, f"may not have seen everything: {doubt}")
    return scan


def _scan(run: Run, host: str, round_number: int, number: int, *, last: bool) -> Scan | None:
    """One scan; None where it failed in a way that time may mend, and that it was not the last."""
    try:
        return source.scan_of(run, run_job(run, round_number, source.scan_job(run, host, round_number, number)))
    except OutcomeUnknown:
        if last:
            raise
        tell("review", host, "the scan was cut off, and is begun anew")
    except JobFailed as failed:
        meaning = _passing(failed)
        if last or meaning is None:
            raise _no_scan(run, host, failed, number) from None
        tell("review", host, f"the scan failed ({meaning}), and is tried again")
    return None


def _passing(failed: JobFailed) -> Meaning | None:
    """What the agent has thrown, where time may mend it; else None."""
    meaning = _thrown(failed)
    return meaning if meaning is not None and meaning.do in {"retry", "wait", "wait-for-boot"} else None


def _thrown(failed: JobFailed) -> Meaning | None:
    """The meaning of what the agent has thrown; None where the job failed by something else, in its own words."""
    if failed.hresult is None or not of_agent(failed.hresult):
        return None
    return windows_update_meaning(failed.hresult)


def _no_scan(run: Run, host: str, failed: JobFailed, tries: int) -> Stopped | JobFailed:
    meaning = _thrown(failed)
    if meaning is None:
        return failed
    times = f", {tries} times" if tries > 1 else ""
    return Stopped.because(
        "review", f"{host}: the scan for updates failed, asking {run.estate.updates.asked}: {meaning}{times}"
    )


def let_rest(run: Run, number: int) -> None:
    """Wait before the next try; raises Stopped when the run is told to end meanwhile."""
    if run.stop.wait(_PAUSE * run.poll * number):
        raise Stopped.because("interruption", "the run was told to end before a next try")


# Installing ----------------------------------------------------------------------------------------------------------


def windows_update_job(run: Run, host: str, steps: Sequence[PlanStep], number: int = 1) -> Job:
    """The job that installs these updates on ``host``; ``number`` counts the tries of one round."""
    steps = [each.model_copy(update={"alone": each.alone or _was_refused_beside_others(run, each)}) for each in steps]
    return source.install_job(run, host, steps, number)


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
        answer = {}
    except JobFailed as error:
        failed = _passing(error)
        if failed is None:
            raise
        answer = {}
    told = source.said_of(answer)
    records = {}
    for each in steps:
        said = told.get(((each.update or "").casefold(), each.revision or 0), source.CUT_OFF)
        if failed is not None:
            said = "failed", failed.hex, str(failed)
        records[each.update, each.revision] = _write(run, each, said, started)
    return records


def _write(run: Run, step: PlanStep, said: source.Said, started: datetime) -> UpdateRecord:
    """Write the record of a try in the place of the one that tells of the try before."""
    host = step.host or ""
    result, code, remark = said
    earlier = last_record(run, host, step.update, step.revision)
    kb = step.kb[0] if step.kb else None
    tries = earlier.tries if earlier else ()
    if result == "not-tried" and code is not None:
        tries += (code,)
    elif result == "failed" and code is not None:
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

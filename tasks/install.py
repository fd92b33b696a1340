"""Installing: each update as a detached job on its host, judged by what the host says afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from blocks.sql_errors import SqlServerError
from model.hresults import windows_update_meaning
from model.plan import Plan, PlanStep
from model.policy import FoundUpdate
from model.reboot import pending_verdict, restart_due
from model.records import HostFacts, UpdateRecord
from model.reopen import INSTALLING
from model.rounds import judged, once_more
from tasks.jobs import Job, OutcomeUnknown, is_begun, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_patch import install_sql_patch, sql_patch_job
from tasks.step import step

MOST_ROUNDS = 4
_HOUR = 3600.0
_SUCCEEDED = {2, 3}

Todo = dict[str, tuple[PlanStep, ...]]
"""What is still to be installed, by host."""


@dataclass(frozen=True)
class Installed:
    """What was installed on one host in one round, and whether the host must restart for it."""

    records: tuple[UpdateRecord, ...]
    restart: bool


def first_round(run: Run, plan: Plan) -> Todo:
    """Everything that the plan installs, by host."""
    todo = {host: tuple(s for s in plan.of("install", host) if s.update is not None) for host in run.hosts}
    return {host: steps for host, steps in todo.items() if steps}


@step("look whether {host} waits for a restart")
def waits_for_restart(run: Run, host: str, steps: Sequence[PlanStep]) -> bool:
    """Whether ``host`` must restart before anything is installed: Windows Update and SQL Server setup refuse otherwise.

    Not where an earlier run of the same key has begun to install: what waits there is what it installed.
    """
    jobs = [sql_patch_job(run, package) for package in _packages(run, host).values()]
    if any(is_begun(run, 1, job) for job in [*jobs, _windows_update_job(host, ())]):
        return False
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    setup = any(step.update in _packages(run, host) for step in steps)
    verdict = pending_verdict(facts.pending_reboot, before_sql_setup=setup)
    for signal in verdict.signals:
        tell("install", host, f"waits for a restart: {signal}")
    return verdict.due


@step("install on {host}, round {round_number}")
def install_on(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> Installed:
    """Install exactly these updates of the plan on ``host``: packages first, then Windows updates.

    Raises Stopped where a SQL Server patch has failed; a Windows update that fails is a record, and the rescan decides.
    """
    packages = _packages(run, host)
    records = [install_sql_patch(run, packages[s.update], round_number) for s in steps if s.update in packages]
    windows = [s for s in steps if s.update not in packages]
    if windows:
        records += install_windows_updates(run, host, round_number, windows)
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    return Installed(tuple(records), restart_due(records, facts.pending_reboot))


def _packages(run: Run, host: str) -> dict[str | None, Any]:
    return {package.name: package for package in run.estate.updates.packages if package.on == host}


def _windows_update_job(host: str, steps: Sequence[PlanStep]) -> Job:
    parameters = {"updates": [{"id": each.update, "revision": each.revision} for each in steps]}
    return Job(host, "install", "windows-update", "Install-WindowsUpdate", parameters, deadline=4 * _HOUR)


def install_windows_updates(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> list[UpdateRecord]:
    """One job installs them; what the agent says is written down, and believed only after the rescan."""
    started = datetime.now(UTC)
    run.hosts[host].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={INSTALLING: {"round": round_number}}
    )
    try:
        answer = run_job(run, round_number, _windows_update_job(host, steps))
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
    earlier = _last(run, record.host, record.update, record.revision)
    if earlier is None:
        return run.journal.write(record)
    run.journal.replace(earlier, record)
    return record


def _last(run: Run, host: str, update: str | None, revision: int | None) -> UpdateRecord | None:
    same = [r for r in run.journal.of(UpdateRecord) if (r.host, r.update, r.revision) == (host, update, revision)]
    return same[-1] if same else None


def verify(run: Run, plan: Plan, rescans: Mapping[str, Sequence[FoundUpdate]]) -> Todo:
    """What the plan wanted, a rescan still offers, and another round can bring.

    What is no longer offered is written down as verified; what was rolled back or cannot go in, as failed.
    """
    todo: Todo = {}
    packages = {package.name for package in run.estate.updates.packages}
    for host, found in rescans.items():
        offered = {(update.id.casefold(), update.revision) for update in found}
        again = []
        for wanted in plan.of("install", host):
            if wanted.update is None or wanted.update in packages:
                continue
            still = (wanted.update.casefold(), wanted.revision) in offered
            record = _last(run, host, wanted.update, wanted.revision)
            if record is not None:
                after = judged(record, offered=still)
                run.journal.replace(record, after)
                record = after
            if still and once_more(record):
                again.append(wanted)
        if again:
            todo[host] = tuple(again)
        _verify_packages(run, host)
    return todo


def _verify_packages(run: Run, host: str) -> None:
    for record in run.journal.of(UpdateRecord):
        if record.host == host and record.kind == "mssql-patch" and record.verified_by is None:
            # Ready with at least the build of the patch: its restart was waited for until then.
            with suppress(SqlServerError):
                proof = f"build {run.sql[host].facts().build}"
                run.journal.replace(record, record.model_copy(update={"verified_by": proof}))


def loops(todo: Todo) -> list[str]:
    """What to say of updates that go on being offered, by KB."""
    return [
        f"{host}: {step.subject} was tried {MOST_ROUNDS} times and is still offered. "
        f"Put {step.kb[0] if step.kb else 'its KB'} under updates.kb_reject, and look at CBS.log on {host}."
        for host, steps in todo.items()
        for step in steps
    ]

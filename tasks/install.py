"""Installing: each update as a detached job on its host, judged by what the host says afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from model.estate import MssqlPatch
from model.hresults import sql_setup_meaning, windows_update_meaning
from model.outcome import Stopped
from model.plan import Plan, PlanStep
from model.policy import FoundUpdate
from model.records import UpdateRecord
from model.reopen import INSTALLING, sql_patch_section
from model.sql.builds import at_least
from tasks.jobs import Job, OutcomeUnknown, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step

MOST_ROUNDS = 4
_HOUR = 3600.0
_SUCCEEDED = {2, 3}

Todo = dict[str, tuple[PlanStep, ...]]
"""What is still to be installed, by host."""


def first_round(run: Run, plan: Plan) -> Todo:
    """Everything that the plan installs, by host."""
    todo = {host: tuple(s for s in plan.of("install", host) if s.update is not None) for host in run.hosts}
    return {host: steps for host, steps in todo.items() if steps}


@step("install on {host}, round {round_number}")
def install_on(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> list[UpdateRecord]:
    """Install exactly these updates of the plan on ``host``: packages first, then Windows updates.

    Raises Stopped where a SQL Server patch has failed; a Windows update that fails is a record, and the rescan decides.
    """
    packages = {package.name: package for package in run.estate.updates.packages if package.on == host}
    records = [install_sql_patch(run, packages[s.update], round_number) for s in steps if s.update in packages]
    windows = [s for s in steps if s.update not in packages]
    return records + (install_windows_updates(run, host, round_number, windows) if windows else [])


def install_windows_updates(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> list[UpdateRecord]:
    """One job installs them; what the agent says is written down, and believed only after the rescan."""
    started = datetime.now(UTC)
    _mark(run, host, INSTALLING, {"round": round_number})
    parameters = {"updates": [{"id": each.update, "revision": each.revision} for each in steps]}
    job = Job(host, "install", "windows-update", "Install-WindowsUpdate", parameters, deadline=4 * _HOUR)
    try:
        answer = run_job(run, round_number, job)
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
        records.append(run.journal.write(record))
        tell("install", host, f"{each.subject}: {result}{f' ({remark})' if remark else ''}")
    return records


Result = Literal["installed", "reboot-pending", "not-needed", "failed", "unknown"]


def _said(each: Mapping[str, Any] | None) -> tuple[Result, str | None, str | None]:
    """What the agent said of one update: result, HRESULT, remark."""
    if each is None:
        return "unknown", None, "the job was cut off"
    if each["skipped"] == "installed already":
        return "not-needed", None, each["skipped"]
    if each["skipped"]:
        return "unknown", None, each["skipped"]
    last = each["install"] or each["download"]
    meaning = windows_update_meaning(last["hresult"])
    if each["install"] is not None and each["install"]["result_code"] in _SUCCEEDED:
        return ("reboot-pending" if each["install"]["reboot_required"] else "installed"), None, None
    if meaning.do == "done-reboot":
        return "reboot-pending", meaning.hex, None
    return "failed", meaning.hex, meaning.text


def install_sql_patch(run: Run, package: MssqlPatch, round_number: int) -> UpdateRecord:
    """Patch an instance, unless its build says that it is patched already.

    The host pulls the package and checks its hash before it runs it. Setup's exit code is a hint, the build the proof. Raises Stopped
    where setup gave an error and the build has not changed.
    """
    host, instance = package.on, run.estate.sql[package.on].instance
    started = datetime.now(UTC)
    if at_least(run.sql[host].facts().build, package.build):
        return _sql_record(run, package, started, "not-needed", None)
    # From here on the instance may be half-patched: bring_back reads this on the host, whoever calls it.
    _mark(run, host, sql_patch_section(package.build), {"name": package.name})
    parameters: dict[str, Any] = {"path": package.source, "sha256": package.sha256, "instance": instance}
    if package.arguments:
        usual = ["/quiet", "/IAcceptSQLServerLicenseTerms", "/Action=Patch", f"/InstanceName={instance}"]
        parameters["arguments"] = [*usual, *package.arguments]
    job = Job(
        host, "sql-patch", package.name, "Install-SqlPatch", parameters, run.package_login(package), deadline=3 * _HOUR
    )
    try:
        answer = run_job(run, round_number, job)
    except OutcomeUnknown as unknown:
        tell("install", host, f"{unknown}; the build will tell")
        return _sql_record(run, package, started, "unknown", None)
    meaning = sql_setup_meaning(answer["exit_code"])
    after = answer["build_after"]
    if after is None or not at_least(after, package.build):
        raise Stopped.because(
            "install",
            f"{host}: {package.name} failed, setup answered {meaning}. {instance} is still at {after}. "
            f"See Summary.txt of setup on {host}.",
        )
    return _sql_record(run, package, started, "installed", meaning.hex)


def verify(run: Run, plan: Plan, rescans: Mapping[str, Sequence[FoundUpdate]]) -> Todo:
    """What the plan wanted and a rescan still offers: that is to be installed again, whatever the agent said before.

    What is no longer offered is written down as verified.
    """
    todo: Todo = {}
    for host, found in rescans.items():
        offered = {(update.id.casefold(), update.revision) for update in found}
        packages = {package.name for package in run.estate.updates.packages}
        wanted = [s for s in plan.of("install", host) if s.update is not None and s.update not in packages]
        again = tuple(s for s in wanted if ((s.update or "").casefold(), s.revision) in offered)
        if again:
            todo[host] = again
        _write_verified(run, host, {s.update for s in again})
    return todo


def loops(todo: Todo) -> list[str]:
    """What to say of updates that come back after every round, by KB."""
    return [
        f"{host}: {step.subject} was installed {MOST_ROUNDS} times and is offered again. "
        f"Put {step.kb[0] if step.kb else 'its KB'} under updates.kb_reject, and look at CBS.log on {host}."
        for host, steps in todo.items()
        for step in steps
    ]


def _write_verified(run: Run, host: str, again: set[str | None]) -> None:
    for record in run.journal.of(UpdateRecord):
        if record.host != host or record.verified_by is not None:
            continue
        if record.kind == "mssql-patch":
            proof = f"build {run.sql[host].facts().build}"
        elif record.update in again or record.result == "failed":
            continue
        else:
            proof = "rescan"
        result = record.result if record.result == "not-needed" else "installed"
        run.journal.replace(record, record.model_copy(update={"verified_by": proof, "result": result}))


def _mark(run: Run, host: str, section: str, value: dict[str, Any]) -> None:
    run.hosts[host].run("Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={section: value})


def _sql_record(run: Run, package: MssqlPatch, started: datetime, result: Result, code: str | None) -> UpdateRecord:
    tell("install", package.on, f"{package.name}: {result}")
    record = UpdateRecord(
        host=package.on,
        update=package.name,
        kb=package.kb,
        title=package.name,
        kind="mssql-patch",
        result=result,
        hresult=code,
        started=started,
        ended=datetime.now(UTC),
    )
    return run.journal.write(record)

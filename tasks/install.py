"""Installing: each update as a detached job on its host, judged by what the host says afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from blocks.sql_errors import SqlServerError
from blocks.winrm.errors import HostError
from model.estate import MssqlPatch, Package
from model.hresults import sql_setup_meaning
from model.installers import Ran, installed_version, judged_package
from model.jobs import JobFacts, Succeeded, job_state
from model.keys import is_of
from model.outcome import Problem, Stopped
from model.plan import Plan, PlanStep
from model.policy import FoundUpdate
from model.reboot import pending_verdict, restart_due
from model.records import HostFacts, LaterUpdate, UpdateRecord
from model.rounds import judged, newcomers, when_again
from model.scan import Scan
from tasks.jobs import is_begun
from tasks.packages import install_package, package_job, verify_packages
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_patch import install_sql_patch, proof, sql_patch_job, wants_restart_first
from tasks.step import step
from tasks.still_installing import must_not_meet_another, still_installing
from tasks.windows_updates import install_windows_updates, last_record, windows_update_job

MOST_ROUNDS = 6
_STEPS = ("package", "sql-patch")
"""The steps of the jobs that install packages."""

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

    Not where an earlier run of the same key has begun to install: what waits there is what it installed. Where one of
    another key has, and the restart that its installer asked for has not come, no signal of Windows may tell of it: what
    is not there yet would be installed a second time.
    """
    packages = _packages(run, host)
    jobs = [sql_patch_job(run, p) if isinstance(p, MssqlPatch) else package_job(p) for p in packages.values()]
    if any(is_begun(run, 1, job) for job in [*jobs, windows_update_job(run, host, ())]):
        return False
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    setup = any(isinstance(packages.get(step.update), MssqlPatch) for step in steps)
    verdict = pending_verdict(facts.pending_reboot, before_sql_setup=setup)
    for signal in verdict.signals:
        tell("install", host, f"waits for a restart: {signal}")
    owed = _owed(run, host, tuple(packages.values()))
    if owed:
        tell("install", host, f"waits for a restart: {', '.join(owed)} asked for it in an earlier run")
    return verdict.due or bool(owed)


def _owed(run: Run, host: str, packages: Sequence[Package]) -> list[str]:
    """The packages that an earlier run has installed in the boot that answers, and that asked for a restart."""
    known = run.hosts[host].run("Get-PatchJob")["jobs"] if packages else ()
    jobs = [JobFacts.model_validate(each) for each in known]
    ended = [each for each in jobs if each.boot_id is not None and each.job and each.job.boot == each.boot_id]
    return [
        package.name
        for package in packages
        for facts in ended
        if isinstance(state := job_state(facts), Succeeded)
        and is_of(facts.id, _STEPS, f"{host}-{package.name}")
        and _asked_restart(package, state.result)
    ]


def _asked_restart(package: Package, answer: Mapping[str, Any]) -> bool:
    """Whether the answer of a package's job says that its host must restart for it."""
    code = answer["exit_code"]
    if code is None:
        return False
    if not isinstance(package, MssqlPatch):
        return judged_package(package, Ran.of(answer, installed_version(package, answer["versions_after"]))).restart
    return sql_setup_meaning(code).do in {"done-reboot", "done-rebooting", "reboot"}


@step("install on {host}, round {round_number}")
def install_on(run: Run, host: str, round_number: int, steps: Sequence[PlanStep]) -> Installed:
    """Install exactly these updates of the plan on ``host``: packages first, then Windows updates.

    What setup of SQL Server would refuse before a restart is left for the next round, and with it what must come after
    it; so is all the rest once an installer has set its host to restart. Raises Stopped where a SQL Server patch has
    failed or an installer still runs, JobFailed where a package is not what was approved; any other that fails is a
    record, and of Windows' own the rescan decides.
    """
    packages = _packages(run, host)
    records: list[UpdateRecord] = []
    later: set[str] = set()
    held = False
    for package in (packages[s.update] for s in steps if s.update in packages):
        if _comes_later(package, later, held=held):
            later.add(package.name)
            continue
        records.append(_install(run, package, round_number))
        if records[-1].restarting:
            return Installed(tuple(records), restart=True)
        if isinstance(package, MssqlPatch):
            held = wants_restart_first(records[-1]) or _waits_before_setup(run, host)
            later |= {package.name} if wants_restart_first(records[-1]) else set()
    windows = [s for s in steps if s.update not in packages]
    if windows and not any(map(wants_restart_first, records)):
        must_not_meet_another(run, round_number, windows_update_job(run, host, windows))
        records += install_windows_updates(run, host, round_number, windows)
    if any(record.restart for record in records):
        return Installed(tuple(records), restart=True)  # it may be going down by itself: nothing more is asked
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    due = restart_due(records, facts.pending_reboot) or any(map(wants_restart_first, records))
    return Installed(tuple(records), due)


def kept_up(run: Run, due: Collection[str], failed: Collection[str], problems: Sequence[Problem]) -> dict[str, Problem]:
    """Of the hosts whose restart is ``due``, those that stay up since the install has ``failed`` on others; and why.

    No host restarts after one that it depends on and that is not as the plan wants it, nor under an installer that is
    at work on one that depends on it. Raises Stopped with the ``problems`` where the run is to end: none restarts then.
    """
    if run.stop.is_set():
        raise Stopped("install", list(problems))
    at_work = {host: why for host in sorted(failed) if (why := _at_work(run, host))}
    kept: dict[str, Problem] = {}
    for host in sorted(due):
        needed = [other for other in run.estate.dependencies_of(host) if other in failed]
        under = [f"{why} on {other}" for other, why in at_work.items() if host in run.estate.dependencies_of(other)]
        why = f"it depends on {needed[0]}, where the install has not ended well" if needed else next(iter(under), "")
        if why:
            kept[host] = Problem(f"{host}: not restarted, for {why}.", host)
    return kept


def _at_work(run: Run, host: str) -> str:
    """What may still be at work on a host whose install has not ended well; empty where nothing is."""
    try:
        going = still_installing(run, host, run.hosts[host].run("Get-QuiesceState")["quiesce"] or {})
    except HostError as error:
        run.heed(error)
        return f"nobody knows what goes on ({error.cause})"
    return f"{going} still goes on" if going else ""


def _comes_later(package: Package, later: set[str], *, held: bool) -> bool:
    """Whether a package waits for the next round: setup would refuse it now, or one that it needs waits itself."""
    return held if isinstance(package, MssqlPatch) else not later.isdisjoint(package.after)


def _waits_before_setup(run: Run, host: str) -> bool:
    """Whether SQL Server setup would refuse to begin now."""
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts"))
    return pending_verdict(facts.pending_reboot, before_sql_setup=True).due


def _install(run: Run, package: Package, round_number: int) -> UpdateRecord:
    if isinstance(package, MssqlPatch):
        must_not_meet_another(run, round_number, sql_patch_job(run, package))
        return install_sql_patch(run, package, round_number)
    return install_package(run, package)


def _packages(run: Run, host: str) -> dict[str | None, Package]:
    """The packages of a host; EngageIP's upgrades come once the rounds are over."""
    upgrades = run.estate.upgrades()
    return {p.name: p for p in run.estate.updates.packages if p.on == host and p not in upgrades}


def verify(run: Run, plan: Plan, round_number: int, rescans: Mapping[str, Scan]) -> Todo:
    """What the plan wanted, a rescan still offers, and another round can bring.

    What is no longer offered is written down as verified; what was rolled back or cannot go in, as failed. What appeared
    since the list was frozen waits for the next review, but for a KB that the plan names as unlocked.
    """
    todo: Todo = {}
    for host, rescan in rescans.items():
        for record in run.journal.of(UpdateRecord):
            if record.host == host:
                run.journal.replace(record, judged(record, rescan, run.builds.get(host)))
        run.builds[host] = rescan.build
        unlocked, later = newcomers(plan, host, rescan, run.estate.updates)
        _note_later(run, host, round_number, [each.update for each in later])
        windows = [wanted for wanted in plan.of("install", host) if wanted.is_windows_update]
        packages = [each for each in plan.of("install", host) if each.update in _packages(run, host)]
        again = tuple(wanted for wanted in packages if _package_again(run, host, wanted)) + tuple(
            wanted
            for wanted in (*windows, *unlocked)
            if rescan.offers(wanted.update or "", wanted.revision)
            and when_again(last_record(run, host, wanted.update, wanted.revision)) is not None
        )
        if again:
            todo[host] = again
        _verify_packages(run, host)
    return todo


def _package_again(run: Run, host: str, wanted: PlanStep) -> bool:
    """Whether a package has not been tried yet, or waits for the restart that setup of SQL Server wanted first."""
    tried = [r for r in run.journal.of(UpdateRecord) if (r.host, r.update) == (host, wanted.update)]
    return not tried or wants_restart_first(tried[-1])


def _note_later(run: Run, host: str, round_number: int, updates: Sequence[FoundUpdate]) -> None:
    known = {(each.host, each.update, each.revision) for each in run.journal.of(LaterUpdate)}
    for update in updates:
        if (host, update.id, update.revision) not in known:
            tell("review", host, f"appeared later, not reviewed, waits for the next review: {update}")
            kb = update.kb[0] if update.kb else None
            run.journal.write(
                LaterUpdate(
                    host=host, update=update.id, revision=update.revision, kb=kb, title=str(update), round=round_number
                )
            )


def _verify_packages(run: Run, host: str) -> None:
    for record in run.journal.of(UpdateRecord):
        if (
            record.host == host
            and record.kind == "mssql-patch"
            and record.result != "failed"
            and not record.verified_by
        ):
            # Ready with at least the build of the patch: its restart was waited for until then.
            with suppress(SqlServerError):
                run.journal.replace(record, record.model_copy(update={"verified_by": proof(run, record)}))
    packages = _packages(run, host).values()
    verify_packages(run, host, {p.name: p for p in packages if not isinstance(p, MssqlPatch)})


def loops(todo: Todo) -> list[str]:
    """What to say of updates that go on being offered, by KB."""
    return [
        f"{host}: {step.subject} is still offered after {MOST_ROUNDS} rounds. "
        f"Put {step.kb[0] if step.kb else 'its KB'} under updates.kb_reject, and look at CBS.log on {host}."
        for host, steps in todo.items()
        for step in steps
    ]

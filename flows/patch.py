"""The runbook: patch one EngageIP estate, from the first look to the last word."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from flows.form import EstateName, shown
from flows.plan import foresee
from flows.rescue import call_for_rescue
from model.interruption import CUT_OFF, cut_off
from model.outcome import Problem, Stopped
from model.plan import Plan
from model.records import QuiesceRecord, RestartRecord, RunOutcome
from tasks import (
    backup,
    balancers,
    canary,
    checks,
    engageip_upgrade,
    files,
    install,
    lease,
    preflight,
    quiesce,
    report,
    restart,
    review,
    silence,
    snapshots,
    switch,
    validate,
)
from tasks.bring_back import bring_back
from tasks.housekeeping import remove_old_jobs
from tasks.outcome import conclude
from tasks.progress import await_prefect
from tasks.run import Run, open_run
from tasks.step import After, besides, by_host, gather, settle


@flow(
    name="patch-estate",
    flow_run_name="patch {estate}",
    on_cancellation=[call_for_rescue],
    on_crashed=[call_for_rescue],
    persist_result=False,
    retries=0,
)
def patch_estate(
    estate: EstateName,
    change: Annotated[str | None, shown("Change", "CHG0031001")] = None,
    attempt: Annotated[int, shown("Attempt", 1, ge=1, le=999)] = 1,
    dry_run: Annotated[bool, shown("Dry run", False)] = False,
) -> State[RunOutcome]:
    """Back up, patch, restart in order and validate the servers of one EngageIP estate, and bring everything back.

    Args:
        estate: Name of the estate in the estate store, or the path of its file: what to patch, and how.
        change: Number of the approved change. Runs of the same estate, change and attempt are the same run: what an
            earlier one began on the hosts is adopted, never done twice.
        attempt: Raise it to try again what failed under this change; what succeeded stays done.
        dry_run: Look, and show the plan that the last scans make: nothing is scanned, stopped or installed.
    """
    try:
        run = open_run(estate, change=change, attempt=attempt)
    except Stopped as stopped:
        return Failed(message=str(stopped), data=stopped)
    with run:
        stopped_by: Stopped | None = None
        finished = False
        try:
            look(run)
            if dry_run:
                foresee(run)
            else:
                take_hold(run)
                plan = decide(run)
                preflight.must_be_in_window(run)
                if plan.installs:
                    fetch(run)
                    preflight.must_be_in_window(run)  # files may have taken hours to come
                    back_up(run, make_quiet(run))
                    take_snapshots(run)
                    patch(run, plan)
                    upgrade(run, plan)
                check(run)
            finished = True
        except Stopped as stopped:
            stopped_by = stopped
        except BaseException as cut:  # Cancel, Pause, Ctrl-C, or a bug of ours: it goes on once the last word is said
            stopped_by = cut_off(cut)
            raise
        finally:
            # Plain functions, not tasks: after Cancel or Pause Prefect starts no task any more.
            back = bring_back(run, finished=finished, stopped=stopped_by is not None and stopped_by.stage != CUT_OFF)
            if finished and not back.left_to:
                validate.billing(run)
            outcome = conclude(run, stopped_by, back, looked_only=dry_run)
            report.write(run, outcome)
            if outcome.succeeded and not dry_run:
                remove_old_jobs(run)
    await_prefect()
    return (Completed if outcome.succeeded else Failed)(message=outcome.headline)


def look(run: Run, *, prove: bool = False) -> None:
    """Preflight: everything that the night needs is looked at, nothing is touched, all that is wrong is told at once.

    A host whose canary is old, or was not well, is refused; ``prove`` runs the canaries instead of looking at the last.
    """
    hosts = [preflight.look_at_host.submit(run, host) for host in run.hosts]
    sql = [preflight.look_at_sql.submit(run, host) for host in run.sql]
    stores = [preflight.look_at_bucket.submit(run, store) for store in run.buckets]
    sizes = [preflight.look_at_size.submit(run, item) for item in preflight.large_items(run)]
    nodes = [balancers.look.submit(run, host) for host in run.hosts if run.estate.balancers_of(host)]
    sites = [preflight.look_at_site.submit(run, site, node) for site, node in preflight.site_nodes(run)]
    facts, unanswered = gather(hosts)
    canaries = [(canary.prove if prove else canary.must_be_fresh).submit(run, each) for each in facts]
    instances, sql_unanswered = gather(sql)
    # Of a host that refuses our password nothing more is asked: every try counts towards locking the account.
    ways = [preflight.look_at_way.submit(run, *way) for way in preflight.ways(run, facts, instances)]
    _, others = gather([*stores, *sizes, *sites, *nodes, *ways, *canaries])
    preflight.judge(run, facts, instances, [*unanswered, *sql_unanswered, *others])
    if run.estate.snapshots():
        settle("preflight", [snapshots.remind.submit(run, strict=prove)])


def take_hold(run: Run) -> None:
    """One run per estate: from here on the hosts refuse every other."""
    settle("lease", [lease.take.submit(run)])
    lease.keep_alive(run)


def decide(run: Run) -> Plan:
    """Scan, apply the policy, freeze the list: what is not on it is not installed tonight."""
    scans = {host: review.scan.submit(run, host, 0) for host in run.hosts}
    settle("review", scans.values())
    plan = review.freeze.submit(run, {host: scan.result() for host, scan in scans.items()})
    return settle("review", [plan])[0]


def fetch(run: Run) -> None:
    """What comes as a file lies checked on its host before anything is stopped: a wrong file costs no customer a minute."""
    settle("fetch", [files.fetch.submit(run, host) for host in files.hosts(run)])


def make_quiet(run: Run) -> QuiesceRecord:
    """Hold schedules, wait for running work, put the page up, look again, stop services: in this order."""
    started = datetime.now(UTC)
    following = quiesce.number(run, settle("quiesce", [quiesce.look.submit(run, host) for host in run.hosts]))
    opened = [quiesce.open_quiesce.submit(run, host, following) for host in run.hosts]
    settle("quiesce", opened)
    settle("quiesce", [silence.begin.submit(run, hook) for hook in run.estate.silences])
    held = {host: After(opened).submit(quiesce.hold_schedules, run, host) for host in run.sql}
    settle("quiesce", held.values())
    waits = [After(held.values()).submit(quiesce.wait_until_quiet, run, host) for host in run.sql]
    waited = settle("quiesce", waits)
    pages = [After(waits).submit(quiesce.put_page_up, run, host) for host in run.estate.hosts_with("iis")]
    settle("quiesce", pages)
    again = [After(pages).submit(quiesce.wait_until_quiet, run, host) for host in run.sql]
    waited += settle("quiesce", again)
    quiet = settle("quiesce", [After(again).submit(quiesce.stop_services, run, run.estate.engageip.host)])[0]
    return quiesce.record(run, started, quiet, waited, {host: future.result() for host, future in held.items()})


def back_up(run: Run, quiet: QuiesceRecord) -> None:
    """All backups in parallel, off the servers; then the gate, which only lets complete and verified ones through."""
    made = [
        (backup.back_up_database if item.kind == "database" else backup.back_up_folder).submit(run, item)
        for item in run.estate.backup_items()
    ]
    records = [record for each in settle("backup", made) for record in each]
    settle("backup", [After(made).submit(backup.gate, run, quiet, records)])


def take_snapshots(run: Run) -> None:
    """What the hypervisor can give back in minutes, once the backups are whole: they stay the way back that counts."""
    settle("snapshot", [snapshots.take.submit(run, hook, host) for hook, host in run.estate.snapshots()])


def patch(run: Run, plan: Plan) -> None:
    """Rounds of install, restart and rescan, until nothing is left that the plan admits."""
    preflight.must_be_in_window(run)  # backups may have taken hours, and hosts that wait for a restart get theirs first
    settle("install", [switch.stand_down.submit(run, host) for host in run.hosts])
    todo = install.first_round(run, plan)
    waits = {host: install.waits_for_restart.submit(run, host, steps) for host, steps in todo.items()}
    settle("install", waits.values())
    restart_in_order(run, 0, {host for host, wait in waits.items() if wait.result()})
    todo = {host: steps for host, steps in todo.items() if host not in run.lost}
    if not todo:
        return
    for round_number in range(1, install.MOST_ROUNDS + 1):
        preflight.must_be_in_window(run)
        installs = {host: install.install_on.submit(run, host, round_number, steps) for host, steps in todo.items()}
        done, problems = by_host(installs)
        kept = restart_what_is_due(run, round_number, done, set(installs) - set(done), problems)
        ready = [host for host in todo if host in done and host not in {*kept, *run.lost}]
        found, unscanned = by_host({host: review.scan.submit(run, host, round_number) for host in ready})
        todo = install.verify(run, plan, round_number, found)
        if problems or unscanned:
            lost = [Problem(text) for text in run.lost.values()]
            raise Stopped("install" if problems else "review", [*problems, *unscanned, *lost])
        if not todo:
            return
    raise Stopped.because("install", *install.loops(todo))


def restart_what_is_due(
    run: Run, round_number: int, done: Mapping[str, install.Installed], failed: set[str], problems: list[Problem]
) -> set[str]:
    """Restart the hosts that have a reason; those that stay up although they have one, once the install failed on others.

    Why they do is added to the ``problems``. What went in on a host is not left half-way because of another.
    """
    due = {host for host, each in done.items() if each.restart}
    if not failed:
        restart_in_order(run, round_number, restart.due(run, round_number, due))
        return set()
    kept = install.kept_up(run, due, failed, problems)
    problems += kept.values()
    with besides("install", problems):
        restart_in_order(run, round_number, due - set(kept))
    return set(kept)


def upgrade(run: Run, plan: Plan) -> None:
    """EngageIP itself, last of all: on machines and a SQL Server that are as they will stay, one host after the other."""
    for number, package in enumerate(engageip_upgrade.wanted(run, plan)):
        preflight.must_be_in_window(run)
        begun = settle("upgrade", [engageip_upgrade.begin.submit(run, package)])[0]
        if begun.record.restart:
            restart_in_order(run, engageip_upgrade.FIRST_RESTART + number, {package.on})
        settle("upgrade", [engageip_upgrade.complete.submit(run, package, begun)])


def restart_in_order(run: Run, round_number: int, hosts: set[str]) -> None:
    """SQL Servers first; a host restarts only once every host that it depends on is ready.

    A host that does not come back stops those that depend on it, and others once too many are down. Web servers that
    have no reason of their own to restart start their applications anew after the SQL Server that they ask.
    """
    before: list[PrefectFuture[RestartRecord]] = []
    for wave in run.estate.restart_order():
        restart.stop_if_blocked(run, wave)
        for batch in restart.batches(run, [host for host in wave if host in hosts]):
            going = {host: After(before).submit(restart.restart_host, run, host, round_number) for host in batch}
            for host, restarted in going.items():
                _, problems = gather([restarted])
                if problems:
                    run.lose(host, problems)
            before = [future for host, future in going.items() if host not in run.lost]
        settle(
            "restart", [After(before).submit(restart.recycle, run, host) for host in restart.left_up(run, wave, hosts)]
        )


def check(run: Run) -> None:
    """Every declared check, in parallel, behind the maintenance page; what must pass is asked again before reopening.

    Those of the billing services are asked after it: they are started last.
    """
    asked = [(one, node) for one, node in checks.declared(run) if not run.estate.waits_for_billing(one)]
    done = [validate.check.submit(run, one, node) for one, node in asked]
    settle("validate", done)

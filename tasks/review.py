"""Review: what is there to install, which of it does the policy admit, and the list frozen under a hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from model.jobs import JobFacts
from model.outcome import Problem, Stopped
from model.outlook import Outlook
from model.plan import Plan, plan_of
from model.scan import Scan, source_problems
from tasks import artifacts
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step
from tasks.update_source import SCANS
from tasks.windows_updates import scan_host


@step("scan {host} for updates")
def scan(run: Run, host: str, round_number: int) -> Scan:
    """What Windows Update offers the host, undecided.

    A job: over a network logon Windows Update refuses to search, on Windows Server 2025 as a whole.
    """
    found = scan_host(run, host, round_number)
    tell("review", host, f"{len(found.updates)} updates offered by {run.estate.updates.asked}")
    return found


@step("read the last scan of {host}")
def last_scan(run: Run, host: str) -> tuple[datetime, Scan] | None:
    """When the newest scan on the host ended, and what it found; None where none has. Touches nothing."""
    scans = []
    for known in run.hosts[host].run("Get-PatchJob")["jobs"]:
        job = JobFacts.model_validate(known).job
        if job is not None and job.script in SCANS and job.state == "succeeded" and job.ended is not None:
            scans.append((job.ended, SCANS[job.script](job.result)))
    return max(scans, key=lambda scan: scan[0], default=None)


def foresee(run: Run, scans: Mapping[str, tuple[datetime, Scan] | None]) -> Outlook:
    """The plan that the last scans make; where a host was never scanned, nobody knows which updates it wants."""
    plan = plan_of(run.estate, {host: scan[1].updates if scan else None for host, scan in scans.items()}, run.notes)
    outlook = Outlook(plan, {host: scan[0] if scan else None for host, scan in scans.items()}, datetime.now(UTC))
    artifacts.plan(run, plan, outlook)
    run.journal.write(plan)
    return outlook


def plan_now(run: Run, found: Mapping[str, Scan]) -> Plan:
    """The plan that these scans make; raises Stopped where the estate does not say whether a WSUS server is asked."""
    problems = list(source_problems(run.estate.updates, found))
    if problems:
        raise Stopped("review", [Problem(text) for text in problems])
    return plan_of(run.estate, {host: scan.updates for host, scan in found.items()}, run.notes)


@step("freeze the plan")
def freeze(run: Run, found: Mapping[str, Scan]) -> Plan:
    """The plan that will be carried out and nothing else; raises Stopped as ``plan_now`` does."""
    plan = plan_now(run, found)
    run.builds = {host: scan.build for host, scan in found.items()}
    artifacts.plan(run, plan)
    run.journal.write(plan)
    return plan

"""Review: what is there to install, which of it does the policy admit, and the list frozen under a hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from model.jobs import JobFacts
from model.outlook import Outlook
from model.plan import Plan, plan_of
from model.policy import FoundUpdate
from tasks import artifacts
from tasks.jobs import Job, run_job
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step


@step("scan {host} for updates")
def scan(run: Run, host: str, round_number: int) -> tuple[FoundUpdate, ...]:
    """The updates that Windows Update offers the host, undecided.

    A job: over a network logon Windows Update refuses to search, on Windows Server 2025 as a whole.
    """
    found = run_job(run, round_number, Job(host, "scan", "windows-update", "Find-WindowsUpdate", {}, deadline=3600))
    updates = tuple(FoundUpdate.model_validate(update) for update in found["updates"])
    tell("review", host, f"{len(updates)} updates offered")
    return updates


@step("read the last scan of {host}")
def last_scan(run: Run, host: str) -> tuple[datetime, tuple[FoundUpdate, ...]] | None:
    """When the newest scan on the host ended, and what it found; None where none has. Touches nothing."""
    scans = []
    for known in run.hosts[host].run("Get-PatchJob")["jobs"]:
        job = JobFacts.model_validate(known).job
        if (
            job is not None
            and job.script == "Find-WindowsUpdate"
            and job.state == "succeeded"
            and job.ended is not None
        ):
            scans.append((job.ended, tuple(FoundUpdate.model_validate(each) for each in job.result["updates"])))
    return max(scans, key=lambda scan: scan[0], default=None)


def foresee(run: Run, scans: Mapping[str, tuple[datetime, tuple[FoundUpdate, ...]] | None]) -> Outlook:
    """The plan that the last scans make; where a host was never scanned, nobody knows which updates it wants."""
    plan = plan_of(run.estate, {host: scan[1] if scan else None for host, scan in scans.items()})
    outlook = Outlook(plan, {host: scan[0] if scan else None for host, scan in scans.items()}, datetime.now(UTC))
    artifacts.plan(run, plan, outlook)
    run.journal.write(plan)
    return outlook


@step("freeze the plan")
def freeze(run: Run, found: Mapping[str, tuple[FoundUpdate, ...]]) -> Plan:
    """The plan that will be carried out and nothing else."""
    plan = plan_of(run.estate, found)
    artifacts.plan(run, plan)
    run.journal.write(plan)
    return plan

"""SQL Server Agent: its sessions and running jobs in msdb. Rows of a session that a reboot cut stay as they were."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lab.sql import msdb
from lab.sql.values import store

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance


class Agent:
    """The Agent service of an instance (Express has none)."""

    def __init__(self, instance: SqlInstance) -> None:
        self._instance = instance
        self.running = False

    def declare(self, jobs: Iterable[str]) -> None:
        """Add the jobs that msdb does not have yet."""
        for job in jobs:
            if not self._instance.msdb("SELECT 1 FROM sysjobs WHERE name = ?", job):
                at = self._now()
                self._instance.msdb(msdb.NEW_JOB, str(uuid.uuid4()).upper(), job, at, at)

    def start(self) -> None:
        """Open an Agent session: one row in syssessions, one idle row for each job in sysjobactivity."""
        instance = self._instance
        instance.msdb("INSERT INTO syssessions (agent_start_date) VALUES (?)", self._now())
        instance.msdb(
            "INSERT INTO sysjobactivity (session_id, job_id) SELECT (SELECT MAX(session_id) FROM syssessions), job_id FROM sysjobs"
        )
        self.running = True
        instance.log("SQLServerAgent starting under Windows NT service control")
        instance.host.event("sql.agent_started")

    def stop(self) -> None:
        """The service has gone; running jobs are cut, and their rows stay without an end."""
        if self.running:
            self.running = False
            self._instance.host.event("sql.agent_stopped")

    def may_run(self, job: str) -> bool:
        """Whether a schedule would start the job now."""
        return self.running and bool(self._instance.msdb("SELECT 1 FROM sysjobs WHERE name = ? AND enabled = 1", job))

    def start_job(self, job: str) -> None:
        """Mark the job as running."""
        change = "run_requested_date = ?, start_execution_date = ?, stop_execution_date = NULL"
        self._change(job, change, self._now(), self._now())

    def stop_job(self, job: str) -> None:
        """Mark the job as ended."""
        self._change(
            job,
            "stop_execution_date = ?, last_executed_step_id = 1, last_executed_step_date = ?",
            self._now(),
            self._now(),
        )

    def _change(self, job: str, change: str, *values: str) -> None:
        where = "session_id = (SELECT MAX(session_id) FROM syssessions) AND job_id = (SELECT job_id FROM sysjobs WHERE name = ?)"
        self._instance.msdb(f"UPDATE sysjobactivity SET {change} WHERE {where}", *values, job)

    def _now(self) -> str:
        return str(store(self._instance.now().replace(tzinfo=None)))

"""One check on one node: ask, and let ``model.verdicts`` say what the answer means.

Plain functions: rescue needs them where Prefect starts no task any more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from blocks.sql_server import SqlServerError
from blocks.web import WebError
from blocks.winrm.errors import HostError
from model.estate import Check, EventLogCheck, HttpCheck, ServiceCheck, SqlCheck
from model.records import CheckRecord, HostFacts, RestartRecord
from model.verdicts import (
    EVENT_LEVELS,
    Verdict,
    events_of,
    judge_events,
    judge_http,
    judge_service,
    judge_sql,
)
from tasks.run import Run

_BASELINE = timedelta(days=7)


def declared(run: Run) -> list[tuple[Check, str]]:
    """Every check of the estate with each node that it concerns."""
    return [
        (check, node)
        for check in run.estate.checks
        for node in (run.estate.nodes_of(check.http) if isinstance(check, HttpCheck) else (check.on,))
    ]


def evaluate(run: Run, check: Check, node: str, lost: Mapping[str, str] | None = None) -> CheckRecord:
    """Carry out one check on one node. Never raises for what a server does; on a ``lost`` host it does not run."""
    started = time.monotonic()
    if lost and node in lost:
        verdict = Verdict("not-run", "the host does not answer")
    else:
        try:
            verdict = _ask(run, check, node)
        except (HostError, WebError, SqlServerError) as error:
            verdict = Verdict("failed", str(error))
    return CheckRecord(
        name=check.title,
        host=node,
        severity=check.severity,
        status=verdict.status,
        detail=verdict.detail,
        seconds=round(time.monotonic() - started, 3),
        site=check.http if isinstance(check, HttpCheck) else None,
    )


def _ask(run: Run, check: Check, node: str) -> Verdict:
    match check:
        case HttpCheck():
            return judge_http(run.web.get(run.estate.check_url(check.http, node) + (check.path or "")), check.expect)
        case ServiceCheck():
            facts = HostFacts.of(node, run.hosts[node].run("Get-HostFacts", services=[check.service]))
            return judge_service(check.service, facts.service(check.service))
        case SqlCheck():
            rows = run.sql[node].query(check.sql, database=check.database)
            return judge_sql([list(row.values()) for row in rows], check.expect)
        case EventLogCheck():
            return _events(run, check, node)


def _events(run: Run, check: EventLogCheck, node: str) -> Verdict:
    """Events since the host was ready again, against those of the week before it was made quiet.

    Who goes on with the work of a run that was cut off, or recovers from it, has not seen the host become ready: then
    since its boot. What has been told since the host was made quiet is news, whoever has begun.
    """
    facts = HostFacts.of(node, run.hosts[node].run("Get-HostFacts"))
    began = _made_quiet(facts) or run.started
    ready = [r.ready for r in run.journal.of(RestartRecord) if r.host == node and r.ready is not None]
    since = max(ready, default=max(began, facts.last_boot))
    answer = run.hosts[node].run(
        "Get-EventRecords", log=check.event_log, since=(began - _BASELINE).isoformat(), levels=list(EVENT_LEVELS)
    )
    events = events_of(answer)
    return judge_events(
        [event for event in events if event.time < began],
        [event for event in events if event.time >= since],
        complete=answer["complete"],
        providers=check.providers,
        ignore=check.ignore,
    )


def _made_quiet(facts: HostFacts) -> datetime | None:
    """When the quiesce of the host was opened, by its clock; None where it is not open."""
    quiesce = facts.quiesce
    return datetime.fromisoformat(quiesce["opened"]) if quiesce and quiesce["state"] == "open" else None

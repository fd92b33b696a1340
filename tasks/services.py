"""Services of a host: stopped, started, and those that ran before a restart run again after it, or are named."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from model.estate import Estate
from model.outcome import Stopped
from model.packages import FileBorne
from model.records import CheckRecord
from model.services import RAN, Absent, absent, auto_services, that_ran
from tasks import readiness
from tasks.progress import tell
from tasks.run import Run

SECONDS = 300
"""For all the services of one call together."""
_CHECK = "services that ran before the restart run again"


def that_run(run: Run, host: str) -> dict[str, list[str]]:
    """The section of ``quiesce.json`` that says which services must run again after a restart of ``host``."""
    return {RAN: list(that_ran(auto_services(run.hosts[host].run("Get-AutoServices"))))}


def await_back(
    run: Run, host: str, quiesce: Mapping[str, Any], deadline: float, *, stop: threading.Event
) -> CheckRecord:
    """Wait until what ran before the restart runs again; what does not come up by itself is started, once.

    ``deadline`` is a moment of ``time.monotonic``. What stays down is told by the record, a ``should`` check: it keeps
    nothing closed. Raises Stopped when ``stop`` is set, HostError when the host goes away.
    """
    before = tuple((quiesce.get("held") or {}).get(RAN) or ())
    held = [*run.estate.restart.ignore_services, *(service["name"] for service in quiesce.get("services") or ())]
    tried: dict[str, str] = {}
    said = ""
    began = time.monotonic()
    while True:
        facts = run.hosts[host].run("Get-RebootState", intent="")
        services = auto_services(run.hosts[host].run("Get-AutoServices"))
        missing = absent(before, services, facts["uptime_seconds"] or 0, held)
        over = time.monotonic() > deadline
        fresh = [one.name for one in missing if one.do == "start" and one.name not in tried]
        waited = [one for one in missing if one.do == "wait" and not over]
        if fresh:
            tell("readiness", host, f"starting what has not come up by itself: {', '.join(fresh)}")
            tried |= dict.fromkeys(fresh, "") | start(run, host, fresh)
            continue
        if not waited:
            return _record(run, host, missing, tried, time.monotonic() - began)
        waiting_for = ", ".join(map(str, waited))
        if waiting_for != said:
            said = waiting_for
            tell("readiness", host, f"waiting for services: {said}")
        if run.pause(stop):
            raise Stopped.because("readiness", f"{host}: asked to stop while waiting for services: {said}")


def stopped_for(estate: Estate, host: str) -> tuple[str, ...]:
    """The services of a host that a night stops for a restart of SQL Server, or for a package."""
    sql = readiness.sql_services(estate.sql[host].instance) if host in estate.sql else ()
    packages = [each for each in estate.updates.packages if isinstance(each, FileBorne) and each.on == host]
    return (*sql, *(name for package in packages for name in package.services_to_stop))


def stop(run: Run, host: str, names: Sequence[str]) -> str:
    """Stop these services, and say which of them does not stop; their state of before is on the host already, or is now."""
    if not names:
        return ""
    answer = run.hosts[host].run(
        "Stop-HostServices",
        names=list(names),
        number=run.number,
        fence=run.fence,
        timeout_seconds=SECONDS,
        deadline=SECONDS + 30,
    )
    still = [f"{each['name']} is {each['status']}" for each in answer["services"] if each["status"] != "Stopped"]
    if still:
        tell("restart", host, ", ".join(still))
    return ", ".join(still)


def start(run: Run, host: str, names: Sequence[str]) -> dict[str, str]:
    """Start these services, in this order; the error of each, empty for one that runs."""
    if not names:  # to the script, none are all that the quiesce holds
        return {}
    answer = run.hosts[host].run(
        "Start-HostServices", names=list(names), fence=run.fence, timeout_seconds=SECONDS, deadline=SECONDS + 30
    )
    return {each["name"]: each["error"] or "" for each in answer["services"]}


def _record(run: Run, host: str, missing: Sequence[Absent], tried: Mapping[str, str], seconds: float) -> CheckRecord:
    down = [f"{one.name} ({tried.get(one.name) or one.why})" for one in missing]
    record = CheckRecord(
        name=_CHECK,
        host=host,
        severity="should",
        status="failed" if down else "passed",
        detail=f"down: {', '.join(down)}. Start them, or find out why they do not" if down else "",
        seconds=round(seconds, 3),
    )
    earlier = [each for each in run.journal.of(CheckRecord) if (each.name, each.host) == (_CHECK, host)]
    if earlier:
        run.journal.replace(earlier[-1], record)
        return record
    return run.journal.write(record)

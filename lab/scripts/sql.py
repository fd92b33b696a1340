"""Invoke-SqlStatement: a statement in the host's own SQL Server (its part ``sql``)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from typing import Any

from lab.host import Host
from lab.scripts import JobCut, job
from lab.scripts.transfer import Progress
from lab.sql.errors import Message, SqlError

MOST_MESSAGES = 2000
PROGRESS = 3211
NO_SERVER = (
    "A network-related or instance-specific error occurred while establishing a connection to SQL Server. "
    "The server was not found or was not accessible."
)
Told = Sequence[tuple[int, int, int, str]]


def _facts(told: Told) -> list[dict[str, Any]]:
    return [{"number": n, "class": severity, "state": state, "message": text} for n, severity, state, text in told]


@job("Invoke-SqlStatement")
def invoke_sql_statement(
    host: Host, parameters: dict[str, Any], secrets: dict[str, str], progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    server, database = parameters["server"], parameters.get("database") or "master"
    told = invoke_sql_batches(host, server, database, [parameters["statement"]], secrets, progress, stop)
    return {name: told[name] for name in ("messages", "errors", "seconds")}


def invoke_sql_batches(
    host: Host,
    server: str,
    database: str,
    batches: Sequence[str],
    secrets: dict[str, str],
    progress: Progress,
    stop: threading.Event,
) -> dict[str, Any]:
    """Run batches up to the first that fails; what they said, and how many ended well."""
    progress(0, f"asking {server}")

    def tell(message: Message) -> None:
        if message.number == PROGRESS and (found := re.search(r"\d+", message.text)):
            progress(int(found[0]), message.text)

    began = time.monotonic()
    messages: list[tuple[int, int, int, str]] = []
    errors: list[tuple[int, int, int, str]] = []
    done = 0
    instance = host.parts.get("sql")
    if instance is None:
        errors = [(2, 20, 0, NO_SERVER)]
        batches = ()
    for batch in batches:
        assert instance is not None
        user, password = secrets.get("username"), secrets.get("password")
        try:
            result = instance.run(batch, database, user, password, on_message=tell, stop=stop)
        except SqlError as failure:
            result = getattr(failure, "result", None)
            messages += result.messages if result else []
            errors += (result.errors if result else []) or failure.messages
        else:
            if result.cancelled:
                raise JobCut
            messages += result.messages
            errors += result.errors
        verb = " ".join(batch.split()[:2]).upper()
        host.event("sql.statement", server=server, database=database, verb=verb, errors=[error[0] for error in errors])
        if errors:
            break
        done += 1
        if len(batches) > 1:
            progress(100 * done // len(batches), f"batch {done} of {len(batches)}")
    return {
        "messages": _facts(messages[:MOST_MESSAGES]),
        "errors": _facts(errors),
        "done": done,
        "seconds": round((time.monotonic() - began) * host.clock.speed),
    }

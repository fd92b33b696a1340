"""A Windows host, driven over WinRM: run a script, start a detached job, look after it.

Errors are those of ``blocks.winrm.errors`` (``HostError`` and below), drawn there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from pydantic import SecretStr

from blocks.credentials import WinRMCredentials
from blocks.winrm import clixml, jobs
from blocks.winrm.deadline import Deadline
from blocks.winrm.envelope import answer, question, redacted, secrets_in
from blocks.winrm.errors import ConnectionDropped, HostError, HostUnreachable, SessionLost
from blocks.winrm.pool import Pool
from blocks.winrm.scripts import bootstrap_command
from blocks.winrm.session import Output
from blocks.winrm.transports import Target

log = logging.getLogger("billpatch.hosts")

_TRIES = 10
"""How often a script that has not begun is sent; connections may be dropped at any moment."""


class WindowsHost:
    """One host of the estate: ``name`` is what people call it, ``address`` where it is found.

    Safe to use from several threads; at most three conversations go on at once. ``close`` it in a ``finally``, or use
    it as a context manager; a closed host opens new sessions when it is used again.
    """

    def __init__(
        self,
        name: str,
        address: str,
        credentials: WinRMCredentials,
        *,
        port: int | None = None,
        transport: str | None = None,
        kerberos_name: str | None = None,
    ) -> None:
        """``port`` and ``transport`` override the credentials'; ValueError where they do not go together.

        ``kerberos_name`` is the name that the domain knows the host by, where it is not ``address``.
        """
        credentials = credentials.adapted(port=port, transport=transport)
        self.name, self.address = name, address
        self._secrets = credentials.secrets
        bracketed = f"[{address}]" if ":" in address else address
        self._pool = Pool(
            Target(
                host=name,
                endpoint=f"{credentials.scheme}://{bracketed}:{credentials.listener_port}/wsman",
                credentials=credentials,
                kerberos_name=kerberos_name or address,
            )
        )

    def __repr__(self) -> str:
        return f"WindowsHost({self.name!r}, {self.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, script: str, /, *, deadline: float = 60, **parameters: Any) -> dict[str, Any]:
        """Run a shipped script on the host and return the one object that it answers with.

        ``deadline`` is in seconds, for everything from the login on. A parameter may be a SecretStr, which travels
        sealed and is struck out of errors. Raises HostError; after one with ``outcome_unknown`` the script may have
        done its work. Raises LookupError for a script that is not shipped.
        """
        stdin = question(script, parameters)
        secrets = (*self._secrets, *secrets_in(parameters))
        output = self._exchange(stdin, Deadline(deadline, script))
        said = clixml.parse(output.stderr)
        if said.warnings or said.verbose:
            log.debug("%s: %s said: %s", self.name, script, redacted(said.warnings + said.verbose, secrets).strip())
        return answer(self.name, script, output, secrets)

    def _exchange(self, stdin: bytes, deadline: Deadline) -> Output:
        command, arguments = bootstrap_command()
        tries = 0
        while True:
            tries += 1
            used = False
            try:
                with self._pool.session(deadline, fresh=tries > 1) as session:
                    used = session.used
                    return session.execute(command, arguments, stdin, deadline)
            except HostError as error:
                # Any connection may break, noticed or, while nothing was sent over it, not: then the host refuses what
                # was sealed for it (SessionLost). And an idle session does not know that the host was restarted.
                # Nothing was done by this call then, so it is made once more on a new session.
                dropped = isinstance(error, ConnectionDropped | SessionLost)
                dropped = dropped or (used and isinstance(error, HostUnreachable))
                if error.outcome_unknown or not dropped or tries == _TRIES:
                    raise

    def start_job(
        self,
        id: str,  # noqa: A002 - the job's own word for it
        script: str,
        parameters: Mapping[str, Any],
        *,
        secrets: Mapping[str, str | SecretStr] | None = None,
        deadline_seconds: float,
        fence: int,
        again: bool = False,
        patience: float = 300,
        every: float = 5.0,
        stop: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Start ``script`` as a detached job on the host, or adopt the one of that id; what Start-PatchJob answers.

        ``deadline_seconds`` is how long the job may take on the host; with ``again`` one that has ended is done anew.
        Starting is idempotent, so it is repeated for
        up to ``patience`` seconds, ``every`` so often, when the host is out of reach or the outcome unknown.
        Raises HostError; WaitStopped when ``stop`` is set in between.
        """
        return jobs.start(
            self.run,
            jobs.Order(id, script, dict(parameters), dict(secrets or {}), deadline_seconds, fence, again),
            jobs.Patience(self.name, Deadline(patience, f"the start of job {id}"), every, stop or threading.Event()),
        )

    def arm_switch(self, parameters: Mapping[str, Any], *, every_seconds: float, fence: int) -> None:
        """Arm the dead man's switch of the host: Restore-Service looks every ``every_seconds``. Raises HostError."""
        jobs.arm(self.run, dict(parameters), every_seconds, fence)

    def job(self, ids: Iterable[str] | None = None, *, deadline: float = 60) -> list[dict[str, Any]]:
        """What the host knows of these jobs, in the order of ``ids``, or of all its jobs (Get-PatchJob).

        An unknown id has facts too, with ``exists`` false. Raises HostError.
        """
        return jobs.look(self.run, ids, deadline)

    def wait_job(
        self,
        id: str,  # noqa: A002 - the job's own word for it
        *,
        deadline: float,
        start_within: float = 300.0,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        stop: threading.Event | None = None,
        every: float = 5.0,
    ) -> dict[str, Any]:
        """Wait until the job is over and return what the host knows of it then.

        Looks every ``every`` seconds, for at most ``deadline`` seconds; a host out of reach (it may be restarting) is
        waited for, too. Over is what ``model.jobs`` says of the facts: ended, interrupted, or nothing runs it.
        ``on_progress`` is given the facts whenever they changed. Raises JobNotBegun when the host's task scheduler
        has not begun it within ``start_within`` seconds, DeadlineExceeded, WaitStopped when ``stop`` is set, and every
        HostError that time does not mend.
        """
        patience = jobs.Patience(self.name, Deadline(deadline, f"job {id}"), every, stop or threading.Event())
        return jobs.wait(self.run, id, patience, on_progress, start_within)

    def stop_job(self, id: str, *, fence: int, begun: bool, deadline: float = 45) -> bool:  # noqa: A002 - as above
        """Withdraw a job that has not begun, with ``begun`` also end one that has; whether it was ended by this.

        Only what may safely be done again may be ended so. Raises HostError.
        """
        return bool(self.run("Stop-PatchJob", id=id, fence=fence, begun=begun, deadline=deadline)["stopped"])

    def close(self) -> None:
        """Delete the shells on the host and hang up: best effort, in a few seconds, never raises."""
        started = time.monotonic()
        self._pool.close()
        log.debug("%s: sessions closed in %.1f s", self.name, time.monotonic() - started)

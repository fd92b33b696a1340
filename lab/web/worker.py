"""An ASP.NET application inside its worker process: it starts once, and stays as it started.

The database is opened when the application starts, in a static constructor. .NET remembers the failure of such a
constructor for the life of the application domain (TypeInitializationException), which is why an IIS that came up
before SQL Server was ready stays broken until somebody recycles the pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from lab.host import Host
from lab.web.config import ConfigurationError
from lab.web.database import SqlException
from lab.web.events import WARNING, log_event
from lab.web.messages import Answer, Request, detailed_error, unavailable, yellow_page

START_SECONDS = 4.0
"""Lab seconds that an application needs to be compiled and started."""
PING_SECONDS = 90.0
"""Lab seconds after which WAS gives up on a worker that does not answer its ping."""


class Application(Protocol):
    """The code of a site."""

    mount: str

    def open(self) -> None:
        """Start: raises SqlException or ConfigurationError."""

    def answer(self, request: Request) -> Answer:
        """Serve one request; raises SqlException or ConfigurationError."""


class Worker:
    """The worker process of ``pool`` for one application; ``replace`` is what WAS does with one that hangs."""

    def __init__(
        self, host: Host, site: str, pool: str, application: Application, replace: Callable[[Worker], None]
    ) -> None:
        self._host = host
        self._site = site
        self.pool = pool
        self._application = application
        self._replace = replace
        self._starting = threading.Lock()
        self._started = False
        self._broken: SqlException | ConfigurationError | None = None
        self._stuck: float | None = None
        self.ended = threading.Event()

    def start(self) -> None:
        """Start the application if it has not been; never raises: a broken one answers 500 until it is replaced."""
        with self._starting:
            if self._started or self.ended.is_set():
                return
            self._host.event("iis.worker_start", effect=False, site=self._site, pool=self.pool)
            stuck = self._host.faults.strike("pool.stuck", self.pool)
            if stuck is not None:
                self._stuck = float(stuck.get("seconds", PING_SECONDS))
            self._host.clock.sleep(START_SECONDS, self.ended)
            try:
                self._application.open()
            except (SqlException, ConfigurationError) as error:
                self._broken = error
                if not self.ended.is_set():
                    self._host.event("iis.worker_broken", site=self._site, pool=self.pool, error=str(error)[:200])
            self._started = True

    def answer(self, request: Request) -> Answer:
        """Serve one request, starting the application if this is its first."""
        self.start()
        if self._stuck is not None:
            self._hang(self._stuck)
        if self._stuck is not None or self.ended.is_set():
            return unavailable()
        try:
            if self._broken is not None:
                raise self._broken
            return self._application.answer(request)
        except SqlException as error:
            return self._failed(request, error)
        except ConfigurationError as error:
            return detailed_error(500, 19, str(error))

    def _hang(self, seconds: float) -> None:
        if self._host.clock.sleep(seconds, self.ended):
            return
        log_event(
            self._host,
            "System",
            ("Microsoft-Windows-WAS", 5010),
            WARNING,
            f"A process serving application pool '{self.pool}' failed to respond to a ping. The process id was '{id(self) % 65536}'.",
            AppPoolID=self.pool,
        )
        self._replace(self)

    def _failed(self, request: Request, cause: SqlException) -> Answer:
        kind, headline = "SqlException", str(cause)
        if self._broken is not None:
            kind = "TypeInitializationException"
            headline = "The type initializer for 'LogiSense.EngageIP.DataAccess' threw an exception."
        message = f"Exception type: {kind}\n    Exception message: {headline}"
        trace = f"[SqlException (0x80131904): {cause}]\n   System.Data.SqlClient.SqlConnection.Open() +102"
        if kind != "SqlException":
            trace += f"\n\n[{kind}: {headline}]\n   LogiSense.EngageIP.DataAccess.Open() +0"
        log_event(
            self._host,
            "Application",
            ("ASP.NET 4.0.30319.0", 1309),
            WARNING,
            "Event code: 3005\nEvent message: An unhandled exception has occurred.\n\nException information:\n"
            f"    {message}\n{trace}\n\nRequest information:\n    Request path: {request.path}",
            site=self._site,
        )
        return yellow_page(self._application.mount, headline, trace)

"""What an estate declares about being quiet and being well: busy queries and checks."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, Tag

from model.parts import Part, by_first_field
from model.words import Duration, HostName, Label, Number, Query

Severity = Literal["must", "should"]
"""``must``: portals stay closed until it passes. ``should``: it is reported."""
_SEVERITY = "must: portals stay closed until it passes; should: it is only reported."

_NAME = Field(default=None, title="Name", description="How the report names it.", examples=["invoices can be counted"])
_ON = Field(title="Host", description="The host to ask.", examples=["web01"])


class HttpCheck(Part):
    """A page of a site answers, on every node, by the private check URL."""

    http: Label = Field(title="Site", description="Name of the site under engageip.sites.", examples=["AdminPortal"])
    path: Label | None = Field(
        default=None,
        title="Path",
        description="A page below the check URL.",
        examples=["/login.aspx"],
    )
    expect: Label | None = Field(
        default=None, title="Expected text", description="Text that the page must contain.", examples=["Sign in"]
    )
    severity: Severity = Field(default="must", title="Severity", description=_SEVERITY, examples=["must"])
    name: Label | None = _NAME

    @property
    def title(self) -> str:
        """The check as people read it."""
        return self.name or f"site {self.http}{self.path or ''} answers"


class ServiceCheck(Part):
    """A Windows service runs."""

    service: Label = Field(title="Service", description="Name of the Windows service.", examples=["W3SVC"])
    on: HostName = _ON
    severity: Severity = Field(default="must", title="Severity", description=_SEVERITY, examples=["must"])
    name: Label | None = _NAME

    @property
    def title(self) -> str:
        """The check as people read it."""
        return self.name or f"service {self.service} runs"


class SqlCheck(Part):
    """A query answers, and with the expected value where one is given."""

    sql: Query = Field(
        title="Query",
        description="A SELECT; the first column of its first row is compared.",
        examples=["SELECT COUNT(*) FROM dbo.Invoice WHERE Total IS NULL"],
    )
    on: HostName = _ON
    database: Label = Field(title="Database", description="The database to ask.", examples=["EngageIP"])
    expect: Label | Number | None = Field(
        default=None,
        title="Expected value",
        description="What the first column of the first row must be. Unsaid: any row will do.",
        examples=[0],
    )
    severity: Severity = Field(default="must", title="Severity", description=_SEVERITY, examples=["must"])
    name: Label | None = _NAME

    @property
    def title(self) -> str:
        """The check as people read it."""
        return self.name or f"query of {self.database} answers: {self.sql[:40]}"


class EventLogCheck(Part):
    """No new kinds of errors in an event log since before the patch."""

    event_log: Label = Field(
        title="Event log", description="Channel of the Windows event log.", examples=["Application"]
    )
    on: HostName = _ON
    providers: tuple[Label, ...] = Field(
        default=(),
        title="Providers",
        description="Only events of these providers count. Unsaid: all.",
        examples=[["EngageIP", "MSSQLSERVER"]],
    )
    ignore: tuple[Number, ...] = Field(
        default=(), title="Ignored event ids", description="Event ids that never count.", examples=[[10016]]
    )
    severity: Severity = Field(
        default="should",
        title="Severity",
        description=_SEVERITY,
        examples=["should"],
    )
    name: Label | None = _NAME

    @property
    def title(self) -> str:
        """The check as people read it."""
        return self.name or f"no new errors in event log {self.event_log}"


CHECKS: tuple[type[HttpCheck | ServiceCheck | SqlCheck | EventLogCheck], ...] = (
    HttpCheck,
    ServiceCheck,
    SqlCheck,
    EventLogCheck,
)


Check = Annotated[
    Annotated[HttpCheck, Tag("HttpCheck")]
    | Annotated[ServiceCheck, Tag("ServiceCheck")]
    | Annotated[SqlCheck, Tag("SqlCheck")]
    | Annotated[EventLogCheck, Tag("EventLogCheck")],
    by_first_field(*CHECKS),
]


class BusyQuery(Part):
    """A query that tells whether work is running that must not be cut."""

    name: Label = Field(title="Name", description="What is running.", examples=["billing run"])
    on: HostName = Field(title="Host", description="The mssql host to ask.", examples=["sql01"])
    database: Label = Field(title="Database", description="The database to ask.", examples=["EngageIP"])
    sql: Query = Field(
        title="Query",
        description="A SELECT whose first column of the first row counts what is running; 0 or no row is quiet.",
        examples=["SELECT COUNT(*) FROM dbo.BillingRun WHERE Status = 'Running'"],
    )


class Quiet(Part):
    """How long to wait for running work, and how to see it."""

    deadline: Duration = Field(
        default=timedelta(minutes=30),
        title="Deadline",
        description="How long to wait for running work; past it the run stops with everything up.",
        examples=["30m"],
    )
    poll: Duration = Field(
        default=timedelta(seconds=15), title="Poll", description="Time between two looks.", examples=["15s"]
    )
    restore_after: Duration = Field(
        default=timedelta(hours=2),
        title="Restore service after",
        description="Dead man's switch: when no run has looked after a quiet host for this long, the host opens its sites "
        "and starts its services by itself, unless installs had begun. Longer than your worker may be away.",
        examples=["2h"],
    )
    busy: tuple[BusyQuery, ...] = Field(
        default=(),
        title="Busy queries",
        description="Queries that see billing runs and payment batches in progress.",
        examples=[
            [
                {
                    "name": "billing run",
                    "on": "sql01",
                    "database": "EngageIP",
                    "sql": "SELECT COUNT(*) FROM dbo.BillingRun WHERE Status = 'Running'",
                }
            ]
        ],
    )

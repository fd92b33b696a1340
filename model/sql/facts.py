"""What an instance of SQL Server says about itself."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, field_validator

from model.records import Answer
from model.sql.builds import engine_build

AgentState = Literal["running", "stopped", "absent"]
"""``absent``: Express has no Agent."""


class DatabaseFacts(Answer):
    """A database, as sys.databases tells; ``snapshot`` is true for a database snapshot, which nobody backs up."""

    name: str
    state: str
    recovery_model: str
    user_access: str
    read_only: bool
    standby: bool
    snapshot: bool
    encrypted: bool


class RegistryInstance(Answer):
    """An instance as setup has written it into the registry of its host, whether it runs or not.

    ``kind`` is the list that it stands in: SQL (the engine), OLAP (Analysis Services), RS (Reporting Services).
    """

    name: str
    kind: Literal["SQL", "OLAP", "RS"]
    id: str
    build: str | None = None
    """PatchLevel, in the engine's numbers (``model.sql.builds.engine_build``)."""
    edition: str | None = None

    @field_validator("build")
    @classmethod
    def _as_the_engine_says(cls, build: str | None) -> str | None:
        return None if build is None else engine_build(build)


class SqlService(Answer):
    """A service of SQL Server on a host."""

    name: str
    status: str
    start_mode: str | None = None


class SetupProcess(Answer):
    """A process of SQL Server setup that runs just now."""

    id: int
    name: str
    path: str


class SummaryText(Answer):
    """A Summary.txt that setup has written, from its beginning."""

    path: str
    written: AwareDatetime
    text: str


class SetupFacts(Answer):
    """What SQL Server setup has left on a host: the answer of Get-SqlSetup."""

    instances: tuple[RegistryInstance, ...] = ()
    services: tuple[SqlService, ...] = ()
    running: tuple[SetupProcess, ...] = ()
    summaries: tuple[SummaryText, ...] = ()

    def engine(self, instance: str) -> RegistryInstance | None:
        """The engine of that name, case folded as Windows does; None where the host has none."""
        found = (each for each in self.instances if each.kind == "SQL" and each.name.casefold() == instance.casefold())
        return next(found, None)


class SqlFacts(Answer):
    """An instance.

    ``start`` is sqlserver_start_time as the server writes it: in its own local time, so only ever compared for being
    another one; ``started`` is the same moment in UTC, for people.
    """

    build: str
    edition: str
    express: bool
    level: str
    start: str
    started: AwareDatetime
    agent: AgentState
    sysadmin: bool
    databases: tuple[DatabaseFacts, ...]
    clustered: bool
    availability_groups: tuple[str, ...] = ()
    replication: tuple[str, ...] = ()
    """Databases that publish, subscribe or distribute."""
    mirroring: tuple[str, ...] = ()
    tde_certificates_without_backup: tuple[str, ...] = ()
    """Without them a backup of an encrypted database can be restored nowhere else."""

    def state_of(self, database: str) -> str | None:
        """The state of a database by its name in any case; None where there is none of that name."""
        return next((d.state for d in self.databases if d.name.casefold() == database.casefold()), None)

"""What an instance of SQL Server says about itself."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from model.records import Answer

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

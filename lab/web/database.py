"""The way from a page to SQL Server: the site's own connection string, and errors as .NET words them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lab.host import Host
from lab.web.config import site_connection


class SqlAnswer(Protocol):
    """What a batch came back with."""

    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...


class SqlServer(Protocol):
    """The lab's SQL Server as the pages use it: one call, a login each time; raises where it cannot answer."""

    def run(self, statement: str, database: str, user: str, password: str) -> SqlAnswer: ...


class SqlException(Exception):  # noqa: N818 - the .NET name
    """System.Data.SqlClient.SqlException."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


NO_ROUTE = (
    "A network-related or instance-specific error occurred while establishing a connection to SQL Server. The server "
    "was not found or was not accessible. Verify that the instance name is correct and that SQL Server is configured "
    "to allow remote connections. (provider: TCP Provider, error: 0 - No connection could be made because the target "
    "machine actively refused it.)"
)


class Database:
    """The database of the site in ``folder``; ``sql`` gives the instance it depends on, None while that is away."""

    def __init__(self, host: Host, folder: str, sql: Callable[[], SqlServer | None]) -> None:
        self._host = host
        self._folder = folder
        self._sql = sql

    def query(self, statement: str) -> list[list[Any]]:
        """The rows of one batch; raises SqlException, or ConfigurationError without a connection string."""
        settings = site_connection(self._host, self._folder)
        instance = self._sql()
        if instance is None:
            raise SqlException(53, NO_ROUTE)
        try:
            answer = instance.run(
                statement, settings.get("database", ""), settings.get("user", ""), settings.get("password", "")
            )
        except Exception as error:  # whatever keeps the instance from answering is the page's SqlException
            raise SqlException(int(getattr(error, "number", 0) or 0), str(error) or NO_ROUTE) from error
        return [list(row) for row in answer.rows]


def literal(value: str) -> str:
    """A T-SQL string literal."""
    return "N'" + value.replace("'", "''") + "'"

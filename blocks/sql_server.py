"""SQL Server over ODBC: fresh connections, every result drained, every call with a deadline of our own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from blocks import sql_errors
from blocks.sql_driver import choose, connection_string, load_pyodbc
from blocks.sql_errors import (
    SqlCertificateRejected,
    SqlDeadlineExceeded,
    SqlDriverMissing,
    SqlLoginRefused,
    SqlNotReady,
    SqlServerError,
    SqlSessionLost,
    SqlStatementFailed,
    SqlUnreachable,
)
from model.sql import quiet, statements
from model.sql.facts import AgentState, DatabaseFacts, SqlFacts
from model.sql.readiness import Sample

__all__ = [
    "Answer",
    "SqlCertificateRejected",
    "SqlDeadlineExceeded",
    "SqlDriverMissing",
    "SqlLoginRefused",
    "SqlNotReady",
    "SqlServer",
    "SqlServerCredentials",
    "SqlServerError",
    "SqlSessionLost",
    "SqlStatementFailed",
    "SqlUnreachable",
]

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds for a call that names no deadline."""
_LOGIN_SECONDS = 15
_TCP_SECONDS = 5.0
_GRACE_SECONDS = 5.0
_EXPRESS, _SERVICE_RUNNING = 4, 4


class SqlServerCredentials(Block):
    """The login with which SQL Server is asked, backed up and watched.

    Example:
        ```python
        from blocks.sql_server import SqlServerCredentials

        credentials = SqlServerCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "SQL Server Credentials"
    _block_type_slug = "sql-server-credentials"
    _logo_url = HttpUrl("https://learn.microsoft.com/favicon.ico")
    _documentation_url = HttpUrl("https://learn.microsoft.com/sql/connect/odbc/dsn-connection-string-attribute")
    _description = "The login with which SQL Server is asked, backed up and watched."

    username: str = Field(
        title="Login",
        min_length=1,
        description="A SQL Server login, best a member of sysadmin: backups and Agent jobs need it.",
        examples=["billpatch"],
    )
    password: SecretStr = Field(title="Password", description="The login's password.", examples=["(kept secret)"])
    driver: str | None = Field(
        default=None,
        title="ODBC driver",
        description="Name of an installed ODBC driver, or a library's path; empty: the best one that is there.",
        examples=["ODBC Driver 18 for SQL Server"],
    )
    encrypt: Literal["yes", "strict", "no"] = Field(
        default="yes",
        title="Encryption",
        description="yes: TLS. strict: TLS from the first byte, SQL Server 2022 and later. no: the login alone.",
        examples=["yes"],
    )
    trust_server_certificate: bool = Field(
        default=False,
        title="Trust any certificate",
        description="Accept the self-signed certificate that SQL Server makes for itself: on networks of your own only.",
        examples=[False],
    )


class BusyQuery(Protocol):
    """A query whose first column of the first row counts work that must not be cut."""

    @property
    def name(self) -> str: ...
    @property
    def database(self) -> str: ...
    @property
    def sql(self) -> str: ...


@dataclass
class Answer:
    """What a batch answered: every result set by column name, and every message as (number, text)."""

    sets: list[list[dict[str, Any]]] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)


class SqlServer:
    """One instance; ``host`` is its name in messages. Holds no connection: each call opens a fresh one and closes it."""

    def __init__(
        self, host: str, address: str, port: int = 1433, instance: str = "MSSQLSERVER", credentials: Any = None
    ) -> None:
        self.host, self.address, self.port, self.instance = host, address, port, instance
        self._credentials: SqlServerCredentials = credentials

    # Calls -----------------------------------------------------------------------------------------------------------

    def query(
        self, sql: str, *params: Any, database: str = "master", deadline: float = DEADLINE
    ) -> list[dict[str, Any]]:
        """The rows of the first result set by column name; raises SqlServerError."""
        answer = self.execute(sql, *params, database=database, deadline=deadline)
        return answer.sets[0] if answer.sets else []

    def execute(self, sql: str, *params: Any, database: str = "master", deadline: float = DEADLINE) -> Answer:
        """Run a batch to its end and return all that it answered; raises SqlServerError.

        ``deadline`` is in seconds, for connecting and running together; past it the statement is cancelled.
        """
        return self._within(deadline, lambda running: self._run(running, sql, params, database, deadline))

    def probe(self) -> Sample:
        """One look for readiness, over a fresh connection to master; never raises for an instance that is not ready.

        A missing driver and a certificate that is not trusted do raise: waiting mends neither.
        """
        try:
            self._sets(statements.MSDB_IS_READABLE, deadline=20)
            return Sample.of(self.facts())
        except (SqlDriverMissing, SqlCertificateRejected):
            raise
        except SqlServerError as error:
            return Sample(waiting=error.cause, refused=isinstance(error, SqlLoginRefused))

    def facts(self) -> SqlFacts:
        """What the instance is and how its databases stand; raises SqlServerError."""
        (row,), databases, agent, groups, mirrored, certificates = self._sets(
            statements.INSTANCE,
            statements.DATABASES,
            statements.AGENT,
            statements.AVAILABILITY_GROUPS,
            statements.MIRRORED,
            statements.TDE_CERTIFICATES_WITHOUT_BACKUP,
        )
        level = " ".join(str(row[key]) for key in ("product_level", "update_level") if row[key])
        return SqlFacts(
            build=row["build"],
            edition=row["edition"],
            express=row["engine_edition"] == _EXPRESS,
            level=level,
            start=row["start"],
            started=row["started"].isoformat() + "+00:00",
            agent=_agent(agent),
            sysadmin=bool(row["is_sysadmin"]),
            databases=tuple(_database(one) for one in databases),
            clustered=bool(row["is_clustered"]),
            availability_groups=_names(groups),
            replication=tuple(one["name"] for one in databases if _replicated(one)),
            mirroring=_names(mirrored),
            tde_certificates_without_backup=_names(certificates),
        )

    def running_work(self, busy: Iterable[BusyQuery] = ()) -> tuple[str, ...]:
        """What runs that must not be cut, in words (see ``model.sql.quiet``); raises SqlServerError."""
        counts = {}
        for one in busy:
            try:
                counts[one.name] = quiet.counted(self.query(one.sql, database=one.database))
            except ValueError as odd:
                raise SqlStatementFailed(
                    self.host, f"busy query '{one.name}': {odd}", "Let it SELECT COUNT(*)."
                ) from None
        agent, jobs = self._sets(statements.AGENT, statements.RUNNING_JOBS)
        return quiet.running(
            jobs=jobs if _agent(agent) == "running" else (),  # what a dead Agent left there runs no more
            maintenance=self.progress(),
            transactions=self.query(statements.LONG_TRANSACTIONS, statements.NOT_LONGER_THAN),
            busy=counts,
        )

    def progress(self) -> list[dict[str, Any]]:
        """The backups, restores and checks that other sessions run, with ``percent_complete``."""
        return self.query(statements.RUNNING_MAINTENANCE)

    def backup_rows(self, device: str) -> list[dict[str, Any]]:
        """The rows of msdb's backup history for one backup file, oldest first; times are naive and in UTC."""
        return self.query(statements.BACKUP_ROWS, device)

    def data_bytes(self, database: str) -> int | None:
        """Bytes that the data files of a database take; None where there is none of that name."""
        (row,) = self.query(statements.DATA_BYTES, database)
        return None if row["bytes"] is None else int(row["bytes"])

    def backup_bytes(self, database: str) -> int | None:
        """Bytes that a backup of a database takes at least; None where the server compresses: nobody knows before."""
        if any(row["compresses"] for row in self.query(statements.BACKUP_COMPRESSION)):
            return None
        (row,) = self.query(statements.USED_BYTES, database=database)
        return None if row["bytes"] is None else int(row["bytes"])

    def enabled_jobs(self) -> tuple[str, ...]:
        """The Agent jobs that are enabled, by name."""
        return _names(self.query(statements.ENABLED_JOBS))

    def set_job_enabled(self, name: str, enabled: bool) -> None:
        """Enable or disable an Agent job; raises SqlStatementFailed (14262) where there is none of that name."""
        self.execute(statements.SET_JOB_ENABLED, name, int(enabled))

    def _sets(self, *batch: str, deadline: float = DEADLINE) -> list[list[dict[str, Any]]]:
        """The result sets of several SELECTs, over one connection."""
        return self.execute(";\n".join(batch), deadline=deadline).sets

    # The connection --------------------------------------------------------------------------------------------------

    def _run(self, running: _Running, sql: str, params: Sequence[Any], database: str, deadline: float) -> Answer:
        pyodbc = load_pyodbc(self.host)
        connection = self._connect(pyodbc, database, deadline)
        try:
            with running.lock:
                running.cursor = cursor = connection.cursor()
            return _drained(cursor, sql, params)
        except _FailedError as failed:
            error = sql_errors.running(self.host, failed.state, failed.text)
            if isinstance(error, SqlStatementFailed):
                error.messages = tuple(failed.messages)
            raise error from None
        except pyodbc.Error as failure:
            raise sql_errors.running(self.host, *_told(failure)) from None
        finally:
            # Closed under a cancel() that is still at work in the other thread, the driver would crash the process.
            with running.lock, contextlib.suppress(pyodbc.Error):
                running.cursor = None
                connection.close()

    def _connect(self, pyodbc: Any, database: str, deadline: float) -> Any:
        self._knock(deadline)
        try:
            text = self._connection_string(pyodbc, database)
            seconds = max(1, min(_LOGIN_SECONDS, int(deadline)))
            connection = pyodbc.connect(text, autocommit=True, timeout=seconds)
        except pyodbc.Error as failure:
            raise sql_errors.connecting(self.host, f"{self.address}:{self.port}", *_told(failure)) from None
        connection.timeout = 0  # per call of the driver, not in all: the deadline is ours
        return connection

    def _knock(self, deadline: float) -> None:
        """Try TCP first: msodbcsql spends its whole login timeout on a refused port."""
        where = f"{self.address}:{self.port}"
        try:
            socket.create_connection((self.address, self.port), timeout=min(_TCP_SECONDS, deadline)).close()
        except TimeoutError:
            cause, fix = f"{where} does not answer", "Is the host up, and does a firewall let us through?"
        except ConnectionRefusedError:
            cause, fix = f"nothing listens on {where}", "Is the service running, with TCP/IP enabled on that port?"
        except OSError as error:
            cause, fix = f"{where} cannot be reached ({error.strerror or error})", "Check address and port."
        else:
            return
        raise SqlUnreachable(self.host, cause, fix)

    def _connection_string(self, pyodbc: Any, database: str) -> str:
        login = self._credentials
        driver = choose(self.host, login.driver, pyodbc.drivers())
        fields = {
            "UID": login.username,
            "PWD": login.password.get_secret_value(),
            "DATABASE": database,
            "APP": "billpatch",
        }
        if driver.is_freetds:
            if not login.trust_server_certificate:
                fix = "Install Microsoft's ODBC driver 18, or set trust_server_certificate in the credentials block."
                raise SqlDriverMissing(self.host, "the driver FreeTDS cannot validate certificates", fix)
            encryption = "off" if login.encrypt == "no" else "require"
            fields |= {"SERVER": self.address, "PORT": str(self.port), "TDS_Version": "7.4", "Encryption": encryption}
        else:
            trust = "yes" if login.trust_server_certificate else "no"
            fields |= {
                "SERVER": f"tcp:{self.address},{self.port}",
                "Encrypt": login.encrypt,
                "TrustServerCertificate": trust,
            }
            fields["ConnectRetryCount"] = "0"  # a broken session is for us to notice, not for the driver to mend
        return connection_string(driver, fields)

    def _within(self, seconds: float, work: Callable[[_Running], T]) -> T:
        """Do ``work`` in a thread of its own; past the deadline its statement is cancelled, and it is waited for no more."""
        running: _Running = _Running()
        result: list[T] = []
        failure: list[BaseException] = []

        def call() -> None:
            try:
                result.append(work(running))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
                failure.append(error)
            finally:
                running.ended.set()

        threading.Thread(target=call, name=f"{self.host}-sql", daemon=True).start()
        if not running.ended.wait(seconds):
            running.cancel()
            running.ended.wait(_GRACE_SECONDS)
            raise SqlDeadlineExceeded(
                self.host, f"no answer within {seconds:g} s, the statement was cancelled", outcome_unknown=True
            )
        if failure:
            raise failure[0]
        return result[0]


@dataclass
class _Running:
    """A call in progress: what its deadline needs to cancel it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    cursor: Any = None

    def cancel(self) -> None:
        with self.lock, contextlib.suppress(Exception):  # a cursor that has gone needs no cancelling
            if self.cursor is not None:
                self.cursor.cancel()


class _FailedError(Exception):
    """A driver's error as strings, with the messages before it."""

    def __init__(self, state: str, text: str, messages: list[tuple[int, str]]) -> None:
        super().__init__(text)
        self.state, self.text, self.messages = state, text, messages


def _drained(cursor: Any, sql: str, params: Sequence[Any]) -> Answer:
    """Every result to the end: a cursor that is closed early cancels a backup without an exception."""
    answer = Answer()
    try:
        cursor.execute(sql, *params)
        while True:
            answer.messages += [sql_errors.informed(*told) for told in cursor.messages or ()]
            if cursor.description:
                names = [column[0] for column in cursor.description]
                answer.sets.append([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])
            if not cursor.nextset():
                return answer
    except Exception as failure:
        if not hasattr(failure, "args") or type(failure).__module__ != "pyodbc":
            raise
        raise _FailedError(*_told(failure), answer.messages) from None


def _told(failure: BaseException) -> tuple[str, str]:
    """SQLSTATE and text of a pyodbc error."""
    arguments = [str(argument) for argument in failure.args]
    return (arguments[0], arguments[1]) if len(arguments) > 1 else ("", " ".join(arguments))


def _database(row: dict[str, Any]) -> DatabaseFacts:
    return DatabaseFacts(
        name=row["name"],
        state=row["state_desc"],
        recovery_model=row["recovery_model_desc"],
        user_access=row["user_access_desc"],
        read_only=bool(row["is_read_only"]),
        standby=bool(row["is_in_standby"]),
        snapshot=row["source_database_id"] is not None,
        encrypted=bool(row["is_encrypted"]),
    )


def _agent(rows: list[dict[str, Any]]) -> AgentState:
    if not rows:
        return "absent"
    return "running" if rows[0]["status"] == _SERVICE_RUNNING else "stopped"


def _names(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(row["name"] for row in rows)


def _replicated(row: dict[str, Any]) -> bool:
    return any(row[key] for key in ("is_published", "is_subscribed", "is_merge_published", "is_distributor"))

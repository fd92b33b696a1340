"""Runs the statements of a batch in a session."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from sqlglot import exp

from lab.sql import administration, backup, ddl, restore
from lab.sql import statements as st
from lab.sql.errors import Message, SqlError, error
from lab.sql.functions import convert
from lab.sql.output import Output
from lab.sql.parser import parse
from lab.sql.query import Compiled, compile_query
from lab.sql.session import Request, Session
from lab.sql.values import Column, Type, parse_type, present, store, type_of

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance

_COMMANDS = {
    st.Backup: "BACKUP DATABASE", st.Restore: "RESTORE DATABASE", st.CheckDb: "DBCC TABLE CHECK", st.WaitFor: "WAITFOR",
    st.AlterDatabase: "ALTER DATABASE", st.Execute: "EXECUTE",
}  # fmt: skip


class Engine:
    """One per session; ``batch`` is the only way in."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.instance: SqlInstance = session.instance
        self.variables: dict[str, tuple[Type, Any]] = {}

    def batch(self, text: str, parameters: dict[str, Any], out: Output, types: Mapping[str, str] | None = None) -> None:
        """Run ``text``; SqlError ends it, Cancelled when the client sent ATTENTION.

        A parameter is of the type that ``types`` declares for it; without one, its value tells.
        """
        self.instance.record(self.session, text)
        self.variables = {}
        for name, value in parameters.items():
            declared = (types or {}).get(name)
            self._variable(name, declared or type_of(value))
            self._assign(name, store(value))
        session = self.session
        session.last_start = self.instance.now()
        try:
            for statement in self._read(text):
                self._run(statement, out)
        except SqlError as failure:
            session.error_number = failure.number
            if session.xact_abort and session.transactions:
                self.transaction("ROLLBACK")
            raise
        finally:
            session.request = None
            session.last_end = self.instance.now()

    def _read(self, text: str) -> list[Any]:
        try:
            return parse(text)
        except SqlError as failure:
            self.instance.record(self.session, text, refused=failure.number)
            raise

    def _run(self, statement: Any, out: Output) -> None:
        if isinstance(statement, list):
            for part in statement:
                self._run(part, out)
            return
        command = (
            statement.text.split(None, 1)[0].upper().strip("(")
            if isinstance(statement, st.Query)
            else _COMMANDS.get(type(statement), "SELECT")
        )
        self.session.request = Request(command, self.instance.now(), self.session.database)
        self._handlers[type(statement)](self, statement, out)
        self.session.error_number = 0

    # Values ----------------------------------------------------------------------------------------------------------

    def value(self, of: st.Value | None) -> Any:
        """A literal, or what the variable holds."""
        if not isinstance(of, st.Variable):
            return of
        if of.name not in self.variables:
            raise error(137, f'Must declare the scalar variable "@{of.name}".', 15, 2)
        return self.variables[of.name][1]

    def scalar(self, expression: st.Expression) -> Any:
        """What a scalar expression comes to, as SQLite keeps it."""
        rows, _ = self._execute(self._compile(expression.tree))
        return rows[0][0] if rows else None

    # Queries -----------------------------------------------------------------------------------------------------------

    def _compile(self, tree: Any) -> Compiled:
        compiled = compile_query(tree, self.session.find, {name: kind for name, (kind, _) in self.variables.items()})
        missing = next((name for name in sorted(compiled.binds) if name not in self.variables), None)
        if missing:
            raise error(137, f'Must declare the scalar variable "@{missing}".', 15, 2)
        return compiled

    def _execute(self, compiled: Compiled) -> tuple[list[tuple[Any, ...]], sqlite3.Cursor]:
        self.session.failures.clear()
        try:
            cursor = self.session.sqlite.execute(
                compiled.sql, {name: self.variables[name][1] for name in compiled.binds}
            )
            return cursor.fetchall(), cursor
        except sqlite3.Error as failure:
            raise self._translated(failure) from None
        finally:
            self.session.drop_views()

    def _translated(self, failure: sqlite3.Error) -> SqlError:
        if self.session.failures:
            return self.session.failures[0]
        text = str(failure)
        for pattern, make in _SQLITE_ERRORS:
            found = re.search(pattern, text)
            if found:
                return make(found)
        return error(102, f"Incorrect syntax near the statement: the lab cannot run it ({text}).", 15)

    def _query(self, statement: st.Query, out: Output) -> None:
        if isinstance(statement.tree, exp.Create):
            self._create(statement.tree, out)
            return
        if self.session.implicit and not self.session.transactions:
            self.transaction("BEGIN")
        compiled = self._compile(statement.tree)
        self._may_write(compiled)
        rows, cursor = self._execute(compiled)
        if isinstance(statement.tree, exp.Insert) and cursor.lastrowid:
            self.session.identity = cursor.lastrowid
        if compiled.assigns:
            for position, name in enumerate(compiled.assigns):
                if rows:
                    self._assign(name, rows[-1][position])
            self.session.rowcount = len(rows)
            out.affected(None)
        elif compiled.columns is not None and cursor.description:
            columns = self._typed(compiled, rows)
            out.rows(columns, [[present(v, c.type) for v, c in zip(row, columns, strict=True)] for row in rows])
            self.session.rowcount = len(rows)
        else:
            self.session.rowcount = max(cursor.rowcount, 0)
            out.affected(None if self.session.nocount else self.session.rowcount)

    def _typed(self, compiled: Compiled, rows: list[tuple[Any, ...]]) -> list[Column]:
        columns = []
        for position, (name, kind) in enumerate(compiled.columns or []):
            values = [row[position] for row in rows if row[position] is not None]
            known = kind or max(
                (type_of(v) for v in values),
                key=lambda t: (t.name in ("bigint", "float"), t.is_text, t.size),
                default=Type("int"),
            )
            if known.is_text and any(len(str(v)) > min(known.size, 4000) for v in values):
                known = Type("nvarchar", 1 << 31)
            columns.append(Column(name, known))
        return columns

    def _may_write(self, compiled: Compiled) -> None:
        if compiled.writes:
            for entry in self.instance.databases:
                if entry.read_only and f"`db{entry.number}`" in compiled.sql:
                    raise error(3906, f'Failed to update database "{entry.name}" because the database is read-only.')

    def _create(self, tree: Any, out: Output) -> None:
        parts, columns = ddl.definition(tree)
        temporary = parts[-1].startswith("#")
        database = self.instance.databases.usable(parts[0] if len(parts) == 3 else self.session.database)
        schema = "main" if temporary else self.session.attach(database)
        try:
            ddl.create(self.session.sqlite, schema, parts[-1], columns)
        except sqlite3.OperationalError:
            raise error(2714, f"There is already an object named '{parts[-1]}' in the database.", 16, 6) from None
        out.affected(None)

    # Variables, flow, settings -------------------------------------------------------------------------------------------

    def _assign(self, name: str, value: Any) -> None:
        if name not in self.variables:
            raise error(137, f'Must declare the scalar variable "@{name}".', 15, 2)
        kind = self.variables[name][0]
        self.variables[name] = (kind, convert(value, kind))

    def _variable(self, name: str, kind: Type | str) -> None:
        if isinstance(kind, str):
            try:
                kind = parse_type(kind)
            except KeyError:
                raise error(2715, f"Column, parameter, or variable #1: Cannot find data type {kind}.") from None
        self.variables[name] = (kind, None)

    def _declare(self, statement: st.Declare, _: Output) -> None:
        self._variable(statement.name, statement.type)
        if statement.value:
            self._assign(statement.name, self.scalar(statement.value))

    def _if(self, statement: st.If, out: Output) -> None:
        for part in statement.then if self.scalar(statement.condition) else statement.otherwise:
            self._run(part, out)

    def _print(self, statement: st.Print, out: Output) -> None:
        out.message(Message(0, 0, 1, str(self.scalar(statement.value) or "")))
        out.affected(None)

    def _raise(self, statement: st.RaiseError, out: Output) -> None:
        what = Message(50000, statement.severity, statement.state, str(self.value(statement.text)))
        if statement.severity > 10:
            raise SqlError(what)
        out.message(what)
        out.affected(None)

    def _use(self, statement: st.Use, out: Output) -> None:
        old = self.session.database
        self.session.use(statement.database)
        out.database(self.session.database, old)
        out.affected(None)

    def _set(self, statement: st.SetOption, out: Output) -> None:
        on = statement.value == "ON"
        for name in statement.name.split(","):
            if name == "NOCOUNT":
                self.session.nocount = on
            elif name == "IMPLICIT_TRANSACTIONS":
                self.session.implicit = on
            elif name == "XACT_ABORT":
                self.session.xact_abort = on
        out.affected(None)

    def _transaction(self, statement: st.Transaction, out: Output) -> None:
        self.transaction(statement.action)
        out.affected(None)

    def transaction(self, action: str) -> None:
        """BEGIN, COMMIT or ROLLBACK, nested as T-SQL counts them."""
        session = self.session
        if action == "BEGIN":
            if not session.transactions:
                for name in (session.database, "msdb"):  # SQLite opens no file within a transaction
                    session.attach(self.instance.databases.usable(name))
                session.sqlite.execute("BEGIN")
                session.transaction_began = self.instance.now()
            session.transactions += 1
            return
        if not session.transactions:
            raise error(
                3902 if action == "COMMIT" else 3903,
                f"The {action} TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            )
        session.transactions = 0 if action == "ROLLBACK" else session.transactions - 1
        if not session.transactions:
            session.transaction_began = None
            if session.sqlite.in_transaction:
                session.sqlite.execute(action)

    def _wait_for(self, statement: st.WaitFor, out: Output) -> None:
        written = str(self.value(statement.seconds))
        try:
            at = datetime.strptime(written.split(".", maxsplit=1)[0], "%H:%M:%S")  # noqa: DTZ007 - a duration
        except ValueError:
            raise error(148, f"Incorrect time syntax in time string '{written}' used with WAITFOR.", 15) from None
        out.wait(timedelta(hours=at.hour, minutes=at.minute, seconds=at.second).total_seconds())
        out.affected(None)

    _handlers: ClassVar[dict[type, Callable[[Engine, Any, Output], None]]] = {
        st.Query: _query, st.Declare: _declare, st.If: _if, st.Print: _print, st.RaiseError: _raise, st.Use: _use, st.SetOption: _set,
        st.Transaction: _transaction, st.WaitFor: _wait_for,
        st.Assign: lambda self, s, _: self._assign(s.name, self.scalar(s.value)),
        st.Backup: backup.run, st.Restore: restore.run, st.AlterDatabase: administration.alter, st.Execute: administration.execute,
        st.CheckDb: administration.check, st.Kill: administration.kill,
    }  # fmt: skip


def _count_mismatch(values: int, columns: int) -> SqlError:
    number, more, fewer = (109, "columns", "values") if values < columns else (110, "values", "columns")
    kinds = {"columns": "columns in the INSERT statement", "values": "values specified in the VALUES clause"}
    return error(number, f"There are more {kinds[more]} than {kinds[fewer]}.", 15)


_SQLITE_ERRORS: list[tuple[str, Callable[[re.Match[str]], SqlError]]] = [
    (r"no such column: (?:\w+\.)?(.*)", lambda m: error(207, f"Invalid column name '{m[1]}'.")),
    (r"table .* has no column named (.*)", lambda m: error(207, f"Invalid column name '{m[1]}'.")),
    (r"no such table: (.*)", lambda m: error(208, f"Invalid object name '{m[1]}'.")),
    (r"ambiguous column name: (.*)", lambda m: error(209, f"Ambiguous column name '{m[1]}'.")),
    (
        r"UNIQUE constraint failed: (.*)",
        lambda m: error(2627, f"Violation of UNIQUE KEY constraint on '{m[1]}'. Cannot insert duplicate key.", 14),
    ),
    (
        r"NOT NULL constraint failed: .*?(\w+)$",
        lambda m: error(515, f"Cannot insert the value NULL into column '{m[1]}'; column does not allow nulls."),
    ),
    (r"FOREIGN KEY constraint failed", lambda _: error(547, "The statement conflicted with a FOREIGN KEY constraint.")),
    (r"database (?:table )?is locked", lambda _: error(1222, "Lock request time out period exceeded.", 16, 51)),
    (
        r"malformed|not a database",
        lambda _: error(824, "SQL Server detected a logical consistency-based I/O error: incorrect checksum.", 24, 2),
    ),
    (
        r"(\d+) values for (\d+) columns",
        lambda m: _count_mismatch(int(m[1]), int(m[2])),
    ),
]

"""Cuts a batch into statements. The whole batch is read before any of it runs, as the server compiles first."""

from __future__ import annotations

from typing import Any

from lab.sql import statements as st
from lab.sql.errors import error
from lab.sql.lexer import Token
from lab.sql.query import tree
from lab.sql.words import Words

_QUERIES = {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "WITH", "("}
_STARTS = {
    "BACKUP",
    "RESTORE",
    "DBCC",
    "WAITFOR",
    "KILL",
    "PRINT",
    "RAISERROR",
    "USE",
    "EXEC",
    "EXECUTE",
    "DECLARE",
    "IF",
}
_STARTS |= {
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "ELSE",
    "END",
    "SET",
}
_DATABASE_ACTIONS = {"ONLINE", "OFFLINE", "SINGLE_USER", "MULTI_USER", "RESTRICTED_USER", "READ_ONLY", "READ_WRITE"}
_FLAGS = {
    "COPY_ONLY",
    "CHECKSUM",
    "NO_CHECKSUM",
    "FORMAT",
    "NOFORMAT",
    "INIT",
    "NOINIT",
    "COMPRESSION",
    "NO_COMPRESSION",
}
_FLAGS |= {"SKIP", "NOSKIP", "STOP_ON_ERROR", "CONTINUE_AFTER_ERROR", "RECOVERY", "NORECOVERY", "REPLACE", "NOUNLOAD"}
_VALUED = {"STATS", "NAME", "DESCRIPTION", "MEDIANAME", "BUFFERCOUNT", "MAXTRANSFERSIZE", "BLOCKSIZE", "FILE"}
_SETTINGS = {"NOCOUNT", "XACT_ABORT", "ANSI_NULLS", "ANSI_WARNINGS", "ANSI_PADDING", "ARITHABORT", "QUOTED_IDENTIFIER"}
_SETTINGS |= {"CONCAT_NULL_YIELDS_NULL", "IMPLICIT_TRANSACTIONS", "LOCK_TIMEOUT", "TEXTSIZE", "LANGUAGE", "DATEFORMAT"}
_SETTINGS |= {"DEADLOCK_PRIORITY", "NUMERIC_ROUNDABORT", "CURSOR_CLOSE_ON_COMMIT", "ANSI_DEFAULTS", "ANSI_NULL_DFLT_ON"}


def parse(batch: str) -> list[Any]:
    """The statements of ``batch`` in order; SqlError where the lab does not know one of them."""
    return _Parser(batch).batch()


class _Parser(Words):
    # Queries and expressions: found by their ends, read by sqlglot ----------------------------------------------------

    def until(self, *stops: str, first: str = "SELECT") -> list[Token]:
        """The words up to ``;``, one of ``stops``, or the word that begins the next statement."""
        start, depth, cases, bodies = self.at, 0, 0, 0
        while self.at < len(self.tokens):
            word, before = self.peek().upper, self.peek(-1).upper
            if self.at > start and not depth and not cases:
                joined = before in ("UNION", "ALL", "EXCEPT", "INTERSECT")
                body = word in ("SELECT", "INSERT", "UPDATE", "DELETE") and not bodies and first in ("INSERT", "WITH")
                own = body or (word == "SET" and first == "UPDATE") or before == "ON"
                if word == ";" or word in stops:
                    break
                if (word in _STARTS or word == "SELECT") and not joined and not own:
                    break
                bodies += body
            bodies += word == "VALUES" and not depth
            cases += (word == "CASE") - (word == "END" and cases > 0)
            depth += (word == "(") - (word == ")")
            if depth < 0:
                raise self.wrong()
            self.at += 1
        return self.tokens[start : self.at]

    def query(self) -> st.Query:
        words = self.until(first=self.peek().upper)
        return st.Query(self.text[words[0].start : words[-1].end], tree(words))

    def expression(self, *stops: str) -> st.Expression:
        words = self.until(*stops)
        if not words:
            raise self.wrong()
        return st.Expression(tree(words, "SELECT"))

    # Statements ------------------------------------------------------------------------------------------------------

    def batch(self) -> list[Any]:
        found = []
        while self.at < len(self.tokens):
            if not self.accept(";"):
                found.append(self.statement())
        return found

    def statement(self) -> Any:
        word = self.peek().upper
        if word in _QUERIES:
            return self.query()
        methods = {
            "BACKUP": self.backup, "RESTORE": self.restore, "ALTER": self.alter, "EXEC": self.execute, "EXECUTE": self.execute,
            "SET": self.set, "DECLARE": self.declare, "IF": self.condition, "BEGIN": self.transaction, "COMMIT": self.transaction,
            "ROLLBACK": self.transaction, "USE": self.use, "PRINT": self.print, "KILL": self.kill, "DBCC": self.dbcc,
            "WAITFOR": self.waitfor, "RAISERROR": self.raiserror,
        }  # fmt: skip
        if word in methods:
            self.at += 1
            return methods[word]()
        if self.at == 0 and self.peek().kind in ("word", "quoted"):
            return self.execute()  # the first word of a batch may be a procedure's name
        raise self.wrong()

    def use(self) -> st.Use:
        return st.Use(self.name())

    def print(self) -> st.Print:
        return st.Print(self.expression())

    def kill(self) -> st.Kill:
        return st.Kill(self.number())

    def waitfor(self) -> st.WaitFor:
        self.expect("DELAY")
        return st.WaitFor(self.value())

    def raiserror(self) -> st.RaiseError:
        self.expect("(")
        text = self.value()
        self.expect(",")
        severity = self.number()
        self.expect(",")
        state = self.number()
        self.expect(")")
        if self.accept("WITH"):
            self.expect("NOWAIT")
        return st.RaiseError(text, severity, state)

    def dbcc(self) -> st.CheckDb:
        self.expect("CHECKDB")
        database = None
        if self.accept("("):
            database = self.value() if self.peek().kind in ("string", "variable") else self.name()
            self.expect(")")
        if self.accept("WITH"):
            while self.next().upper in ("NO_INFOMSGS", "ALL_ERRORMSGS", "PHYSICAL_ONLY"):
                if not self.accept(","):
                    return st.CheckDb(database)
            self.at -= 1
            raise self.wrong()
        return st.CheckDb(database)

    def transaction(self) -> st.Transaction:
        action = self.peek(-1).upper
        if not (self.accept("TRANSACTION") or self.accept("TRAN")) and action == "BEGIN":
            raise self.wrong()
        return st.Transaction(action)

    def set(self) -> Any:
        if self.peek().kind == "variable":
            name = self.next().text[1:].lower()
            self.expect("=")
            return st.Assign(name, self.expression())
        if self.accept("TRANSACTION", "ISOLATION", "LEVEL"):
            level = self.next().upper
            return st.SetOption(
                "TRANSACTION ISOLATION LEVEL",
                level + (f" {self.next().upper}" if level in ("READ", "REPEATABLE") else ""),
            )
        name = self.peek().upper
        if name not in _SETTINGS:
            raise self.wrong()
        self.at += 1
        names = [name]
        while self.accept(","):
            names.append(self.name().upper())
        return st.SetOption(",".join(names), ("-" if self.accept("-") else "") + self.next().text.upper())

    def declare(self) -> list[Any]:
        found = []
        while True:
            if self.peek().kind != "variable":
                raise self.wrong()
            name = self.next().text[1:].lower()
            self.accept("AS")
            kind = self.type()
            found.append(st.Declare(name, kind, self.expression(",") if self.accept("=") else None))
            if not self.accept(","):
                return found

    def type(self) -> str:
        kind = self.name()
        if self.accept("("):
            inner = []
            while not self.accept(")"):
                inner.append(self.next().text)
                if self.peek().kind == "end":
                    raise self.wrong()
            kind += f"({''.join(inner)})"
        return kind

    def condition(self) -> st.If:
        start = self.at
        words = self.until("SELECT")
        if not words:
            self.at = start
            raise self.wrong()
        condition = st.Expression(tree(words, "SELECT CASE WHEN", "THEN 1 ELSE 0 END"))
        then = self.block()
        while self.peek().upper == ";" and self.peek(1).upper == "ELSE":
            self.at += 1
        return st.If(condition, then, self.block() if self.accept("ELSE") else [])

    def block(self) -> list[Any]:
        if self.peek().upper != "BEGIN" or self.peek(1).upper in ("TRAN", "TRANSACTION"):
            return [self.statement()]
        self.at += 1
        found = []
        while not self.accept("END"):
            if self.peek().kind == "end":
                raise self.wrong()
            if not self.accept(";"):
                found.append(self.statement())
        return found

    def execute(self) -> st.Execute:
        parts = [self.name()]
        while self.accept("."):
            parts.append("" if self.peek().upper == "." else self.name())
        arguments: list[tuple[str, st.Value | None]] = []
        while self.peek().kind in ("variable", "string", "number") or self.peek().upper in ("NULL", "-"):
            name = ""
            if self.peek().kind == "variable" and self.peek(1).upper == "=":
                name = self.next().text[1:].lower()
                self.at += 1
            arguments.append(
                (name, None if self.accept("NULL") else self.number() if self.peek().upper == "-" else self.value())
            )
            if not self.accept(","):
                break
        return st.Execute(".".join(parts), arguments)

    def alter(self) -> st.AlterDatabase:
        self.expect("DATABASE")
        name = self.name()
        self.expect("SET")
        action = self.next().upper
        if action not in _DATABASE_ACTIONS:
            self.at -= 1
            raise self.wrong()
        rollback = self.accept("WITH")
        if rollback:
            self.expect("ROLLBACK")
            if self.accept("AFTER"):
                self.number()
                self.accept("SECONDS")
            else:
                self.expect("IMMEDIATE")
        return st.AlterDatabase(name, action, rollback)

    # Backup and restore ------------------------------------------------------------------------------------------------

    def backup(self) -> st.Backup:
        self.expect("DATABASE")
        database = self.database()
        self.expect("TO")
        disks = self.disks()
        options, _ = self.options()
        return st.Backup(database, disks, options)

    def restore(self) -> st.Restore:
        verb = self.next().upper
        if verb not in ("DATABASE", "VERIFYONLY", "HEADERONLY", "FILELISTONLY", "LABELONLY"):
            self.at -= 1
            raise self.wrong()
        database = self.database() if verb == "DATABASE" else None
        disks = self.disks() if self.accept("FROM") else []
        if not disks and verb != "DATABASE":
            raise self.wrong()
        options, moves = self.options()
        return st.Restore(verb, database, disks, options, moves)

    def disks(self) -> list[st.Value]:
        found = []
        while True:
            self.expect("DISK", "=")
            found.append(self.value())
            if not self.accept(","):
                return found

    def options(self) -> tuple[dict[str, Any], dict[str, st.Value]]:
        options: dict[str, Any] = {}
        moves: dict[str, st.Value] = {}
        if not self.accept("WITH"):
            return options, moves
        while True:
            word = self.next().upper
            if word == "MOVE":
                logical = str(self.value())
                self.expect("TO")
                moves[logical] = self.value()
            elif word in _FLAGS:
                options[word] = True
            elif word in _VALUED:
                if word != "STATS" or self.peek().upper == "=":
                    self.expect("=")
                    options[word] = self.value()
                else:
                    options[word] = 10
            else:
                self.at -= 1
                raise error(155, f"'{self.peek().text}' is not a recognized BACKUP or RESTORE option.", 15)
            if not self.accept(","):
                return options, moves

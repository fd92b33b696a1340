"""The statements that the lab knows, as data. Anything else in a batch is error 102."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variable:
    """``@name``, to be looked up when the statement runs."""

    name: str


Value = str | int | Variable


@dataclass(frozen=True)
class Query:
    """SELECT, INSERT, UPDATE, DELETE, CREATE TABLE, DROP TABLE: ``tree`` is sqlglot's."""

    text: str
    tree: Any


@dataclass(frozen=True)
class Expression:
    """A scalar expression, parsed as ``SELECT expression``."""

    tree: Any


@dataclass(frozen=True)
class Backup:
    database: Value
    disks: list[Value]
    options: dict[str, Any]


@dataclass(frozen=True)
class Restore:
    """``verb``: DATABASE, VERIFYONLY, HEADERONLY, FILELISTONLY or LABELONLY."""

    verb: str
    database: Value | None
    disks: list[Value]
    options: dict[str, Any]
    moves: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class AlterDatabase:
    """``action``: ONLINE, OFFLINE, SINGLE_USER, MULTI_USER, RESTRICTED_USER, READ_ONLY, READ_WRITE."""

    database: str
    action: str
    rollback: bool


@dataclass(frozen=True)
class Execute:
    """``EXEC procedure @name = value, ...``; arguments without a name have an empty one."""

    procedure: str
    arguments: list[tuple[str, Value | None]]


@dataclass(frozen=True)
class CheckDb:
    database: Value | None


@dataclass(frozen=True)
class WaitFor:
    seconds: Value


@dataclass(frozen=True)
class Kill:
    spid: int


@dataclass(frozen=True)
class Print:
    value: Expression


@dataclass(frozen=True)
class RaiseError:
    text: Value
    severity: int
    state: int


@dataclass(frozen=True)
class Use:
    database: str


@dataclass(frozen=True)
class SetOption:
    name: str
    value: str


@dataclass(frozen=True)
class Declare:
    """``name`` is lower case without the @."""

    name: str
    type: str
    value: Expression | None


@dataclass(frozen=True)
class Assign:
    name: str
    value: Expression


@dataclass(frozen=True)
class Transaction:
    """``action``: BEGIN, COMMIT, ROLLBACK."""

    action: str


@dataclass(frozen=True)
class If:
    condition: Expression
    then: list[Any]
    otherwise: list[Any]

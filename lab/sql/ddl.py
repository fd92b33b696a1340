"""Tables in SQLite that remember their T-SQL types: the declared type is an affinity, then the type (``TEXT datetime``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from lab.sql.errors import error, syntax
from lab.sql.values import Type, parse_type

_AFFINITIES = ("TEXT", "NUMERIC", "REAL", "BLOB", "INTEGER")


def quoted(name: str) -> str:
    """A name for SQLite; in backticks, since it takes a wrong name in double quotes for a string."""
    return "`" + name.replace("`", "``") + "`"


def declaration(declared: str) -> str:
    """SQLite's column declaration for ``nvarchar(50) not null``, ``int identity``, ``decimal(12, 2) default 0``."""
    words = declared.replace(", ", ",").split(" ")
    kind, rest = parse_type(words[0]), " ".join(words[1:])
    if rest.startswith("identity"):
        return "INTEGER PRIMARY KEY AUTOINCREMENT"
    if kind.is_text:
        return f"TEXT {words[0]} COLLATE NOCASE {rest}"
    # Numbers of more than 15 digits (LSNs) would become floats under any other affinity than TEXT.
    wide = kind.name == "decimal" and kind.size > 15
    numeric = kind.name in ("tinyint", "smallint", "int", "bigint", "bit", "decimal", "money")
    affinity = (
        "TEXT"
        if wide
        else "NUMERIC"
        if numeric
        else "REAL"
        if kind.name in ("float", "real")
        else "BLOB"
        if "binary" in kind.name
        else "TEXT"
    )
    return f"{affinity} {words[0]} {rest}"


def create(
    connection: sqlite3.Connection, schema: str, table: str, columns: Mapping[str, str], *, extra: str = ""
) -> None:
    """Create a table from T-SQL column declarations."""
    body = ", ".join(f"{quoted(name)} {declaration(kind)}" for name, kind in columns.items())
    connection.execute(f"CREATE TABLE {quoted(schema)}.{quoted(table)} ({body}{extra})")


def columns_of(connection: sqlite3.Connection, schema: str, table: str) -> dict[str, Type]:
    """The columns of a table with their T-SQL types; empty where there is no such table."""
    found = {}
    for _, name, declared, *_rest in connection.execute(f"PRAGMA {quoted(schema)}.table_info({quoted(table)})"):
        words = str(declared).split(" ")
        kind = (
            " ".join(words[1:])
            if words[0].upper() in _AFFINITIES and len(words) > 1
            else "int"
            if words[0] == "INTEGER"
            else declared
        )
        found[str(name)] = parse_type(kind)
    return found


def definition(tree: exp.Expression) -> tuple[list[str], dict[str, str]]:
    """Name parts and column declarations of a CREATE TABLE; anything fancier is error 102."""
    schema = tree.this
    if tree.args.get("kind") != "TABLE" or not isinstance(schema, exp.Schema) or not isinstance(schema.this, exp.Table):
        raise syntax(str(tree.args.get("kind") or "CREATE"))
    table = schema.this
    parts = [p.name for p in (table.args.get("catalog"), table.args.get("db")) if p]
    name = ("#" if table.this.args.get("temporary") else "") + table.name
    columns = {}
    for column in schema.expressions:
        if not isinstance(column, exp.ColumnDef):
            raise syntax(column.sql(dialect="tsql").split(" ")[0])
        columns[column.name] = _declared(column)
    return [*parts, name], columns


def _declared(column: exp.ColumnDef) -> str:
    kind = column.args["kind"].sql(dialect="tsql").lower()
    try:
        parse_type(kind)
    except KeyError:
        raise error(2715, f"Column, parameter, or variable: Cannot find data type {kind}.") from None
    words = [kind.replace(" ", "")]
    for constraint in column.args.get("constraints") or []:
        match constraint.kind:
            case exp.GeneratedAsIdentityColumnConstraint():
                return f"{kind} identity"
            case exp.NotNullColumnConstraint() as rule:
                words += [] if rule.args.get("allow_null") else ["NOT NULL"]
            case exp.PrimaryKeyColumnConstraint():
                words.append("PRIMARY KEY")
            case exp.UniqueColumnConstraint():
                words.append("UNIQUE")
            case exp.DefaultColumnConstraint() as default:
                value: Any = default.this
                while isinstance(value, exp.Paren):
                    value = value.this
                if not isinstance(value, exp.Literal | exp.Null):
                    raise syntax(value.sql(dialect="tsql"))
                words.append(f"DEFAULT {value.sql(dialect='sqlite')}")
            case other:
                raise syntax(other.sql(dialect="tsql").split(" ")[0])
    return " ".join(words)

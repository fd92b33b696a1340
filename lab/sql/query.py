"""T-SQL queries into SQLite: read by sqlglot, with functions, names and literals put in terms of the lab's database."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel, SqlglotError, UnsupportedError

from lab.sql.errors import error, syntax
from lab.sql.functions import DATE_PARTS, FUNCTIONS, GLOBALS
from lab.sql.inference import EXACT, FRACTIONS, TYPE, Source, infer, written_type
from lab.sql.lexer import Token
from lab.sql.values import Type

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it warns of what is refused here anyway

_STATEMENTS = (exp.Select, exp.SetOperation, exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Subquery)
# The functions that SQLite has with T-SQL's meaning. All others are ours (``t_...``), or error 195.
_SAME: tuple[Any, ...] = (
    *(exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.GroupConcat, exp.Coalesce, exp.Nullif, exp.If, exp.Case),
    *(exp.Cast, exp.TryCast, exp.Convert, exp.Exists, exp.RowNumber, exp.And, exp.Or),
)

_WHOLE = Type("int")
_PARTS: dict[type, set[str]] = {
    exp.Select: {
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "distinct",
        "with_",
    },
    exp.Table: {"this", "db", "catalog", "alias", "hints"},
    exp.Insert: {"this", "expression", "default", "returning", "with_"},
    exp.Update: {"this", "expressions", "where", "returning"},
    exp.Delete: {"this", "where", "returning"},
    exp.Group: {"expressions"},
}


class Backticked(SQLite):  # type: ignore[misc]
    """SQLite with names in backticks: it takes a wrong name in double quotes for a string, and answers."""

    class Tokenizer(SQLite.Tokenizer):  # type: ignore[misc]
        """What the generator takes the quotes from."""

        IDENTIFIERS = ("`",)


_READING = threading.Lock()
"""sqlglot finishes its dialects when they are first used: two sessions at once were told that '[' is wrong syntax."""


def tree(words: list[Token], before: str = "", after: str = "") -> exp.Expression:
    """The syntax tree of these words; errors 102, 137 and 195 for what the lab does not know."""
    text = f"{before} {' '.join(_spelled(words))} {after}"
    try:
        with _READING:
            found = sqlglot.parse_one(text, read="tsql")
    except (SqlglotError, RecursionError, ValueError) as refusal:
        details = getattr(refusal, "errors", None) or [{}]
        near = re.sub(r"\bt_(\w+)", r"\1", str(details[0].get("highlight") or (words[-1].text if words else "")))
        raise syntax(near) from None
    if not isinstance(found, _STATEMENTS):
        raise syntax(words[0].text)
    _only_known_parts(found, words)
    for node in found.find_all(exp.Func):
        known = node.name.lower().startswith("t_") if isinstance(node, exp.Anonymous) else isinstance(node, _SAME)
        if not known and not isinstance(node.parent, exp.Dot):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
            raise error(195, f"'{name}' is not a recognized built-in function name.", 15, 10)
    return found


def _only_known_parts(found: exp.Expression, words: list[Token]) -> None:
    """FOR XML, PIVOT, TOP PERCENT and the like: sqlglot reads them, and SQLite would quietly do without."""
    for node in found.walk():
        if isinstance(node, exp.Command):
            raise syntax(words[0].text)
        known = _PARTS.get(type(node))
        extra = {part for part, value in node.args.items() if value and part not in known} if known else set()
        if isinstance(node, exp.LimitOptions):
            extra = {part for part in ("percent", "with_ties") if node.args.get(part)}
        if extra:
            raise syntax(min(extra).strip("_").upper())


def _spelled(words: list[Token]) -> Iterator[str]:
    date_part = False
    for number, word in enumerate(words):
        following = words[number + 1].text if number + 1 < len(words) else ""
        preceding = words[number - 1].text if number else ""
        lower = word.text.lower()
        if word.kind == "word" and lower in FUNCTIONS and following == "(" and preceding != ".":
            date_part = lower in DATE_PARTS
            yield f"t_{lower}"
        elif word.kind == "word" and lower == "current_timestamp":
            yield "t_getdate()"
        elif word.kind == "string":
            yield "'" + word.value.replace("'", "''") + "'"
        elif word.kind == "variable" and lower.startswith("@@"):
            if lower[2:] not in GLOBALS:
                raise error(137, f'Must declare the scalar variable "{word.text}".', 15, 2)
            yield f"t_global('{lower[2:]}')"
        elif date_part and word.kind == "word":
            date_part = False
            yield f"'{lower}'"
        else:
            yield word.text


Find = Callable[[list[str]], Source]
"""Finds a table by the parts of its name (database, schema, table; fewer where fewer were written); SqlError 208."""


@dataclass
class Compiled:
    """A query in SQLite's words; ``columns`` are (name, type) with None where only the values will tell."""

    sql: str
    binds: set[str]
    columns: list[tuple[str, Type | None]] | None
    assigns: list[str] = field(default_factory=list)
    writes: bool = False


def compile_query(original: exp.Expression, find: Find, variables: Mapping[str, Type] | None = None) -> Compiled:
    """Put one tree into SQLite's words; ``variables`` are the types of those that are declared."""
    root = original.copy()
    for node in root.find_all(exp.Parameter):
        node.meta[TYPE] = (variables or {}).get(node.name.lower())
    sources = _place_tables(root, find)
    for node in root.find_all(exp.Div):
        node.meta[EXACT] = any(
            (infer(side, sources) or _WHOLE).name in FRACTIONS for side in (node.this, node.expression)
        )
    assigns = _take_assignments(root)
    columns = _columns(root, sources)
    binds: set[str] = set()
    for node in reversed(list(root.walk(bfs=False))):  # leaves first: what is put in place is not walked again
        new = _rewrite(node, binds)
        if new is not node:
            root = new if node is root else root
            node.replace(new)
    try:
        sql = root.sql(dialect=Backticked, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as refusal:
        raise syntax(str(refusal).strip()) from None
    return Compiled(
        sql,
        binds,
        columns,
        assigns,
        isinstance(root, exp.Insert | exp.Update | exp.Delete | exp.Drop),
    )


def _place_tables(root: exp.Expression, find: Find) -> dict[str, Source]:
    common = {cte.alias_or_name.casefold() for cte in root.find_all(exp.CTE)}
    found: dict[str, Source] = {}
    for lateral in root.find_all(exp.Lateral):
        raise syntax(lateral.alias or "APPLY")
    for node in list(root.find_all(exp.Table)):
        if isinstance(node.this, exp.Dot):
            find([node.catalog, node.db, *node.this.sql(dialect="tsql").split(".")])  # 7202: a linked server
        if not isinstance(node.this, exp.Identifier):
            raise syntax(node.sql(dialect="tsql"))
        parts = [("#" if node.this.args.get("temporary") else "") + node.name]
        parts = [
            p.name if isinstance(p, exp.Expression) else ""
            for p in (node.args.get("catalog"), node.args.get("db"))
            if p is not None
        ] + parts
        if len(parts) == 1 and parts[0].casefold() in common:
            continue
        source = find(parts)
        alias = node.alias or node.name
        node.set("this", exp.to_identifier(source.table, quoted=True))
        node.set("db", exp.to_identifier(source.schema, quoted=True))
        node.set("catalog", None)
        node.set("hints", None)
        target = isinstance(node.parent, exp.Insert | exp.Delete | exp.Update | exp.Drop | exp.Schema)
        if not target and not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
        found[alias.casefold()] = source
    return found


def _take_assignments(root: exp.Expression) -> list[str]:
    """``SELECT @x = 1``: the names, with the projections left as plain expressions."""
    if not isinstance(root, exp.Select):
        return []
    pairs = [p for p in root.expressions if isinstance(p, exp.EQ) and isinstance(p.this, exp.Parameter)]
    if not pairs:
        return []
    if len(pairs) != len(root.expressions):
        raise error(
            141,
            "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
            15,
        )
    root.set("expressions", [p.expression for p in pairs])
    return [p.this.name.lower() for p in pairs]


def _columns(root: exp.Expression, sources: dict[str, Source]) -> list[tuple[str, Type | None]] | None:
    if isinstance(root, exp.Insert | exp.Delete | exp.Update):
        returning = root.args.get("returning")
        projections = returning.expressions if returning else None
    else:
        top: Any = root
        while isinstance(top, exp.SetOperation | exp.Subquery):
            top = top.this
        projections = top.expressions if isinstance(top, exp.Select) else None
    if projections is None:
        return None
    found: list[tuple[str, Type | None]] = []
    for projection in projections:
        if projection.is_star:
            wanted = projection.table.casefold() if isinstance(projection, exp.Column) else ""
            for alias, source in sources.items():
                if not wanted or alias == wanted:
                    found += list(source.columns.items())
        else:
            found.append(
                (
                    projection.alias_or_name if isinstance(projection, exp.Alias | exp.Column) else "",
                    infer(projection, sources),
                )
            )
    return found


def _rewrite(node: exp.Expression, binds: set[str]) -> exp.Expression:
    rewrite = _REWRITES.get(type(node))
    return rewrite(node, binds) if rewrite else node


def _parameter(node: exp.Expression, binds: set[str]) -> exp.Expression:
    binds.add(node.name.lower())
    return exp.Placeholder(this=node.name.lower())


def _column(node: exp.Expression, _: set[str]) -> exp.Expression:
    if node.table.casefold() in ("inserted", "deleted"):
        return exp.column(node.name, quoted=True)
    return exp.Column(this=node.this, table=node.args["table"]) if node.args.get("db") else node


def _cast(value: exp.Expression, kind: exp.Expression, style: exp.Expression | None, safe: bool) -> exp.Expression:
    written_type(kind)
    arguments = [
        value,
        exp.Literal.string(kind.sql(dialect="tsql").lower()),
        style or exp.Literal.number(0),
        exp.Literal.number(int(safe)),
    ]
    return exp.Anonymous(this="t_cast", expressions=arguments)


_REWRITES: dict[type, Callable[[Any, set[str]], exp.Expression]] = {
    exp.Parameter: _parameter,
    exp.Column: _column,
    exp.Add: lambda node, _: exp.Anonymous(this="t_add", expressions=[node.this, node.expression]),
    exp.Div: lambda node, _: exp.Anonymous(
        this="t_divide", expressions=[node.this, node.expression, exp.Literal.number(int(node.meta[EXACT]))]
    ),
    exp.Mod: lambda node, _: exp.Anonymous(this="t_remainder", expressions=[node.this, node.expression]),
    exp.Cast: lambda node, _: _cast(node.this, node.to, None, safe=False),
    exp.TryCast: lambda node, _: _cast(node.this, node.to, None, safe=True),
    exp.Convert: lambda node, _: _cast(node.expression, node.this, node.args.get("style"), bool(node.args.get("safe"))),
    exp.Collate: lambda node, _: node.this,
}

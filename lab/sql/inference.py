"""What type a projection has, as far as its shape tells; the driver's Python type depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from lab.sql.errors import error
from lab.sql.functions import FUNCTIONS
from lab.sql.values import Type, parse_type, type_of


@dataclass(frozen=True)
class Source:
    """A table of a query: where it lies in SQLite, and its columns with their types."""

    schema: str
    table: str
    columns: dict[str, Type]


TYPE = "type"
"""Where a variable's node keeps its declared type, in sqlglot's ``meta``."""

EXACT = "exact"
"""Where a division's node keeps whether one of its sides may have a fraction."""
FRACTIONS = ("decimal", "money", "float", "real")

Sources = dict[str, Source]
Rule = Callable[[Any, Sources], Type | None]


def infer(node: Any, sources: Sources) -> Type | None:
    """The type of an expression; None where only the values can tell."""
    rule = _RULES.get(type(node))
    return rule(node, sources) if rule else None


def written_type(node: Any) -> Type:
    """The type of a CAST or CONVERT as it is written; error 243 for one that there is not."""
    written = node.sql(dialect="tsql").lower()
    try:
        return parse_type(written)
    except KeyError:
        raise error(243, f"Type {written} is not a defined system type.") from None


def _first(nodes: list[Any], sources: Sources) -> Type | None:
    return next((kind for kind in (infer(node, sources) for node in nodes) if kind), None)


def _inner(node: Any, sources: Sources) -> Type | None:
    return infer(node.this, sources)


def _column(node: Any, sources: Sources) -> Type | None:
    named = sources.get(node.table.casefold())
    for source in [named] if named else sources.values():
        for name, kind in source.columns.items():
            if name.casefold() == node.name.casefold():
                return kind
    return None


def _sum(node: Any, sources: Sources) -> Type | None:
    inner = infer(node.this, sources)
    return Type("decimal", 38, inner.scale) if inner and inner.name in ("decimal", "money") else inner


def _subquery(node: Any, sources: Sources) -> Type | None:
    return infer(node.this.expressions[0], sources) if isinstance(node.this, exp.Select) else None


def _function(node: Any, sources: Sources) -> Type | None:
    name = node.name.lower().removeprefix("t_")
    if name == "isnull":
        return _first(node.expressions, sources)
    return FUNCTIONS[name].type if name in FUNCTIONS else None


_RULES: dict[type, Rule] = {
    **dict.fromkeys((exp.Alias, exp.Paren, exp.Min, exp.Max, exp.Collate, exp.Neg, exp.Nullif), _inner),
    exp.Column: _column,
    exp.Parameter: lambda node, _: node.meta.get(TYPE),
    exp.Cast: lambda node, _: written_type(node.to),
    exp.TryCast: lambda node, _: written_type(node.to),
    exp.Convert: lambda node, _: written_type(node.this),
    exp.Count: lambda node, _: Type("bigint" if node.args.get("big_int") else "int"),
    exp.Sum: _sum,
    exp.Avg: _sum,
    exp.Coalesce: lambda node, sources: _first([node.this, *node.expressions], sources),
    exp.If: lambda node, sources: _first([node.args["true"], node.args.get("false")], sources),
    exp.Case: lambda node, sources: _first(
        [*(i.args["true"] for i in node.args["ifs"]), node.args.get("default")], sources
    ),
    exp.Subquery: _subquery,
    exp.Anonymous: _function,
    exp.Literal: lambda node, _: type_of(node.name) if node.is_string else None,
}

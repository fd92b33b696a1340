"""The report as a page, as Markdown, and as a document for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from report.document import as_json
from report.summary import NOT_IN_BACKUP, Report
from report.text import (
    clean,
    clock_text,
    list_text,
    one_line,
    seconds_text,
    short_hash,
    size_text,
    span_text,
)
from report.timeline import timeline

__all__ = ["as_json", "html", "markdown", "table"]


def html(report: Report) -> str:
    """One self-contained page: no script, nothing loaded from elsewhere; also well-formed XML after its doctype."""
    return _render("report.html.j2", report, timeline=timeline(report))


def markdown(report: Report) -> str:
    """GitHub's Markdown with tables, for Prefect's artifact and for tickets; ends with one line feed."""
    text = _render("report.md.j2", report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def table(name: str, *values: Any) -> str:
    """One table of ``tables.md.j2`` by itself, as Markdown."""
    module: Any = _environment().get_template("tables.md.j2").module
    return re.sub(r"\n{3,}", "\n\n", str(getattr(module, name)(*values))).strip() + "\n"


def _render(name: str, report: Report, **more: Any) -> str:
    def clock(at: datetime) -> str:
        return clock_text(at, report.zone)

    return (
        _environment()
        .get_template(name)
        .render(
            report=report,
            clock=clock,
            span=span_text(report.started, report.ended, report.zone),
            not_in_backup=NOT_IN_BACKUP,
            **more,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=select_autoescape(("html.j2",)),
        loader=FunctionLoader(_template),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {
        "cell": _cell,
        "code": _code,
        "items": _items,
        "listed": list_text,
        "seconds": seconds_text,
        "short": short_hash,
        "size": size_text,
        "text": _text,
        "url": _url,
    }
    return environment


def _template(name: str) -> str | None:
    try:
        return resources.files("report").joinpath("templates", name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _printable(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# Markdown ------------------------------------------------------------------------------------------------------------

# Letters that mean something in the middle of a line. An underscore between letters is only itself; '#', '-', '+' and
# '1.' mean something at the start of a line, and no value stands there.
_MEANING = re.compile(r"[\\`*\[\]<>|~$]|&|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def _text(value: str) -> str:
    """Prose: one line, every letter only itself."""
    return _MEANING.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), one_line(value))


def _cell(value: str) -> str:
    """Prose in a table; a cell is never empty, which some renderers drop."""
    return _text(value) or "-"


def _code(value: str) -> str:
    """Code, also in a table: backslashes stay single, pipes do not end the cell, back quotes do not end the code."""
    text = one_line(value)
    if not text:
        return "-"
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{space}{text.replace('|', chr(92) + '|')}{space}{fence}"


def _items(values: Iterable[str], nothing: str) -> str:
    """Several values in one cell."""
    return "<br>".join(_cell(value) for value in values) or nothing


def _url(value: str) -> str:
    """An address inside angle brackets."""
    return re.sub(r"[<>\s\\]", lambda found: f"%{ord(found[0]):02X}", one_line(value))

"""The system views of the lab have the columns and types that Microsoft documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.sql.catalog import VIEWS
from lab.sql.msdb import TABLES
from lab.sql.values import parse_type

_SERVED = {
    **{name: view.columns for name, view in VIEWS.items()},
    **{f"msdb.dbo.{name}": columns for name, columns in TABLES.items()},
}

_PAGES: dict[str, dict[str, str]] = {
    "sys.dm_db_file_space_usage": {
        "database_id": "smallint", "file_id": "smallint", "filegroup_id": "smallint", "total_page_count": "bigint",
        "allocated_extent_page_count": "bigint",
    },
}  # fmt: skip
"""Of views that the catalogue lacks: what their pages list for SQL Server 2012 and later."""


@pytest.mark.parametrize("name", sorted(_SERVED))
def test_columns_are_the_documented_ones(captures: Path, name: str) -> None:
    """No column that SQL Server lacks, and none of another type."""
    catalog = json.loads((captures.parent / "sqlserver-catalog.json").read_text(encoding="utf-8"))
    pages = {
        view: {"columns": [{"name": column, "type": kind} for column, kind in columns.items()]}
        for view, columns in _PAGES.items()
    }
    assert not pages.keys() & catalog.keys()
    known = {key.casefold(): value for key, value in (catalog | pages).items()}
    documented = {column["name"].casefold(): column for column in known[name.casefold()]["columns"]}
    for column, declared in _SERVED[name].items():
        assert column.casefold() in documented, column
        theirs = documented[column.casefold()]
        assert theirs.get("only") is None
        if "sql_variant" not in theirs["type"]:
            assert _kind(declared) == _kind(theirs["type"].replace("sysname(nvarchar(128))", "sysname")), column


def _kind(declared: str) -> Any:
    words = declared.replace(", ", ",").split(" ")
    return parse_type("int" if words[0] == "int" else words[0]).name


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_every_view_answers(machine: Any, view: str) -> None:
    """Each view can be selected whole."""
    assert machine.sql.run(f"SELECT * FROM {view}")  # noqa: S608 - the lab's own names.columns == list(VIEWS[view].columns)

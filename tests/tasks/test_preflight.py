"""What preflight sees before anything is touched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from model.estate import BackupItem
from model.outcome import Stopped
from tasks import preflight

GIB = 1024**3
ITEM = BackupItem("database", "sql01", "EngageIP")


def look(size: int | None) -> None:
    run: Any = SimpleNamespace(sql={"sql01": SimpleNamespace(backup_bytes=lambda _: size)})
    preflight.look_at_size._task.fn.__wrapped__(run, ITEM)  # type: ignore[attr-defined]


def test_a_database_that_no_put_carries_is_refused_by_name() -> None:
    """At the desk: at night the portals would be closed for a backup that nobody can send."""
    with pytest.raises(
        Stopped, match=r"sql01: database EngageIP takes 6\.0 GB, and one PUT to S3 carries at most 5 GB"
    ):
        look(6 * GIB)


@pytest.mark.parametrize("size", [5 * GIB, None])
def test_what_may_fit_is_let_through(size: int | None) -> None:
    """Where the server compresses, nobody knows before."""
    look(size)


@pytest.mark.parametrize(("buckets", "asked"), [({}, False), ({"s3://b/": object()}, True)])
def test_only_what_goes_to_a_bucket_is_asked_for(buckets: dict[str, Any], asked: bool) -> None:
    """A share takes files of any size."""
    items = (ITEM, BackupItem("files", "web01", r"D:\Work"))
    run: Any = SimpleNamespace(buckets=buckets, estate=SimpleNamespace(backup_items=lambda: items))
    assert preflight.large_items(run) == ([ITEM] if asked else [])

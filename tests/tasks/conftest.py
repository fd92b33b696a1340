"""What tests of tasks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sql_bench import Bench, benches


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Start a lab whose estate file is changed: ``bench("gdr", package={"branch": "leave-gdr"}, sql={...})``."""
    yield from benches(tmp_path, monkeypatch)

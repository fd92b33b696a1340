"""The lab's pager: who has its whole address pages a person, and the audit trail shows the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lab.audit import Audit
from lab.faults import Fault, Faults
from lab.pager import Pager
from lab.paper import awkward_secret


@pytest.fixture
def pager(tmp_path: Path) -> Iterator[Pager]:
    """A pager that answers."""
    pager = Pager("127.231.7.9", awkward_secret(), audit=Audit(tmp_path / "audit.jsonl"), faults=Faults())
    pager.start()
    yield pager
    pager.stop()


def pages(pager: Pager) -> list[str]:
    trail = pager.audit.path
    lines = trail.read_text(encoding="utf-8").splitlines() if trail.exists() else []
    return [json.loads(line)["text"] for line in lines]


def test_a_page_reaches_the_trail_and_nothing_else_does(pager: Pager) -> None:
    """One page for one post; a wrong address, a body that is none and a pager that is down leave no page."""
    answers = [
        httpx.post(pager.url, json={"text": "sql01 is half-patched", "outcome": {"verdict": "half-open"}}),
        httpx.post(pager.url.rpartition("/")[0] + "/guess", json={"text": "spam"}),
        httpx.post(pager.url, content=b"text=spam"),
    ]
    pager.faults.declare(Fault("pager.down"))
    answers.append(httpx.post(pager.url, json={"text": "nobody hears this"}))
    assert [answer.status_code for answer in answers] == [200, 404, 400, 503]
    assert pages(pager) == ["sql01 is half-patched"]

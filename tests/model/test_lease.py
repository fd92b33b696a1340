"""Who holds an estate, as the leases of its hosts tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from host_facts import host_facts

from model.lease import holding, owner_in
from model.records import HostFacts

NOW = datetime(2026, 3, 15, 3, 0, tzinfo=UTC)


def facts(host: str, lease: dict[str, Any] | None) -> HostFacts:
    return HostFacts.of(host, host_facts(host, NOW, lease=lease))


def lease(fence: int, holder: str, *, left: int = 180, released: bool = False) -> dict[str, Any]:
    """A lease that ends in so many seconds."""
    ends = NOW + timedelta(seconds=left)
    return {
        "fence": fence, "holder": holder, "key": "acme.CHG1.1", "taken": NOW, "expires": ends, "released": released
    }  # fmt: skip


@pytest.mark.parametrize(
    ("leases", "holder"),
    [
        ({}, None),
        ({"sql01": None, "web01": None}, None),
        ({"sql01": lease(3, "run"), "web01": lease(3, "run")}, "run"),
        ({"sql01": lease(3, "run", left=1200), "web01": lease(4, "rescue")}, "rescue"),
        ({"sql01": lease(3, "run", left=1200), "web01": lease(4, "rescue", released=True)}, None),
        ({"sql01": lease(3, "run", left=-1), "web01": lease(3, "run", left=-1)}, None),
        ({"sql01": lease(3, "run", left=-1), "web01": lease(3, "run", left=1)}, "run"),
    ],
    ids=["none", "never taken", "held", "away while it was taken over", "and given back", "over", "one over"],
)
def test_the_newest_lease_counts(leases: dict[str, dict[str, Any] | None], holder: str | None) -> None:
    """A host that was away while the estate changed hands names somebody who holds nothing any more."""
    for hosts in (list(leases), list(reversed(leases))):
        found = holding(facts(host, leases[host]) for host in hosts)
        assert (found.holder if found else None) == holder


@pytest.mark.parametrize("owner", ["vm process 17 flow run 5b1e", "dead man's switch of WEB01"])
def test_who_has_it_stands_in_a_refusal(owner: str) -> None:
    """What a person is told is who, not how the host said it; what cannot be read is told as it is."""
    refusal = (
        f"Refused: this act carries fence 1, and the host's lease is at 2, held by {owner} for acme.CHG1.1. Another run has "
        "taken over this estate: stop this one."
    )
    assert owner_in(refusal) == f"{owner} for acme.CHG1.1"
    assert owner_in("Refused.") == "Refused."

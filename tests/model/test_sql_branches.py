"""Builds of SQL Server and their line of servicing, by the ranges that Microsoft publishes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.sql.branches import level_of, newest_service_pack, product


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ("11.0.7507.2", "SQL Server 2012 SP4, GDR branch"),
        ("12.0.6024.0", "SQL Server 2014 SP3"),
        ("12.0.6329.1", "SQL Server 2014 SP3, CU branch"),
        ("13.0.5026.0", "SQL Server 2016 SP2"),
        ("13.0.5101.9", "SQL Server 2016 SP2, GDR branch"),
        ("13.0.5888.11", "SQL Server 2016 SP2, CU branch"),
        ("13.0.6485.1", "SQL Server 2016 SP3, GDR branch"),
        ("13.0.7016.1", "SQL Server 2016 SP3, CU branch"),
        ("14.0.2095.1", "SQL Server 2017 RTM, GDR branch"),
        ("14.0.3460.9", "SQL Server 2017 RTM, CU branch"),
        ("15.0.2000.5", "SQL Server 2019 RTM"),
        ("15.0.2155.2", "SQL Server 2019 RTM, GDR branch"),
        ("15.0.4430.1", "SQL Server 2019 RTM, CU branch"),
        ("16.0.1050.5", "SQL Server 2022 RTM, GDR branch"),
        ("17.0.4035.5", "SQL Server 2025 RTM, CU branch"),
    ],
)
def test_the_line_of_a_build(build: str, said: str) -> None:
    """Baseline and line, by the third number."""
    assert str(level_of(build)) == said


@pytest.mark.parametrize("build", ["15.0.1900.25", "15.0.5001.1", "18.0.1000.1", "10.50.6000.34"])
def test_what_the_table_does_not_know_is_not_guessed(build: str) -> None:
    """Previews, ranges to come, versions to come or long gone."""
    assert level_of(build) is None


def test_versions_by_their_first_number() -> None:
    """Service packs ended with 2016."""
    assert (product("14.0.1000.169"), product("18.0.1.1")) == ("SQL Server 2017", "SQL Server (version 18)")
    assert [newest_service_pack(f"{major}.0.0.0") for major in range(11, 18)] == [4, 3, 3, 0, 0, 0, 0]


def test_every_build_that_is_published_as_a_cu_or_a_service_pack_is_one(captures: Path) -> None:
    """Held against the list of builds that lies beside the captures: no CU outside of its range, no SP beside its baseline."""
    listed = json.loads((captures.parent / "dbatools-buildref-index.json").read_text(encoding="utf-8-sig"))["Data"]
    known = [each for each in listed if 11 <= int(each["Version"].split(".")[0]) <= 17]
    cus = [each["Version"] for each in known if "CU" in each]
    packs = [(each["Version"], each["SP"]) for each in known if each.get("SP") in {"RTM", "SP1", "SP2", "SP3", "SP4"}]
    assert len(cus) > 200
    assert len(packs) == 17
    assert [cu for cu in cus if (level := level_of(f"{cu}.0")) is None or level.branch != "cu"] == []
    for version, name in packs:
        level = level_of(f"{version}.0")
        assert level is not None
        assert (level.baseline, level.branch) == (name, "base")

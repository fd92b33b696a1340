"""Promise 7 with values: what may open again, and what stays behind the maintenance page."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from model.estate import Estate, load_estate
from model.records import CheckRecord
from model.reopen import INSTALLING, Begun, begun_on, patches_begun, reopening, sql_patch_section

ESTATE = """
estate: acme
timezone: America/Toronto
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
  web02: {address: web02, roles: [iis], credentials: winrm}
sql: {sql01: {credentials: sql, databases: [EngageIP]}}
engageip:
  host: web01
  folder: 'C:\\EngageIP'
  services: ['EngageIP Job Service']
  sites:
    - {name: AdminPortal, url: 'https://a.example/AdminPortal', check_url: 'http://{host}:8081/AdminPortal', hosts: [web01, web02]}
backup: {stores: [{share: '\\\\nas\\b', credentials: nas}]}
checks: [{http: AdminPortal}]
"""
BEGUN = Begun(frozenset({"web01"}), {})


@pytest.fixture(scope="module")
def estate() -> Estate:
    return load_estate(ESTATE, "acme.yaml")


def check(
    host: str, status: Literal["passed", "failed", "not-run"], *, site: str | None = "AdminPortal", **more: Any
) -> CheckRecord:
    return CheckRecord(
        name="it works", host=host, severity=more.pop("severity", "must"), status=status, site=site, **more
    )


def test_before_anything_was_installed_everything_goes_back(estate: Estate) -> None:
    """A failed backup leaves the estate as it was: nothing has to be proven to open it."""
    verdict = reopening(estate, Begun(), {"sql01": "sql01: not ready"}, [check("web01", "failed")])
    assert verdict.closed() == {}
    assert verdict.services is None


def test_a_site_opens_when_all_is_proven(estate: Estate) -> None:
    """SQL Server as it must be, and every must check passed."""
    verdict = reopening(estate, BEGUN, {}, [check("web01", "passed"), check("web02", "passed")])
    assert verdict.closed() == {}


def test_a_failed_check_closes_its_site_on_its_node_only(estate: Estate) -> None:
    """The other node serves; the billing services run."""
    verdict = reopening(estate, BEGUN, {}, [check("web01", "passed"), check("web02", "failed", detail="answers 500")])
    assert verdict.closed() == {"AdminPortal on web02": "must check 'it works' on web02: failed (answers 500)"}
    assert verdict.services is None


def test_a_check_that_did_not_run_proves_nothing(estate: Estate) -> None:
    """On a host that answers, 'not run' keeps the site closed."""
    verdict = reopening(estate, BEGUN, {}, [check("web01", "not-run"), check("web02", "passed")])
    assert list(verdict.closed()) == ["AdminPortal on web01"]


def test_a_lost_node_does_not_close_the_others(estate: Estate) -> None:
    """Its checks have not run; the sites of the rest open."""
    verdict = reopening(estate, BEGUN, {}, [check("web01", "passed"), check("web02", "not-run")], lost=["web02"])
    assert verdict.closed() == {"AdminPortal on web02": "the host does not answer"}
    assert verdict.services is None


@pytest.mark.parametrize("status", ["failed", "not-run"])
def test_a_must_check_of_the_estate_closes_everything(estate: Estate, status: Literal["failed", "not-run"]) -> None:
    """A query or a service concerns every site, and the billing services."""
    records = [check("web01", "passed"), check("web02", "passed"), check("sql01", status, site=None)]
    verdict = reopening(estate, BEGUN, {}, records)
    assert len(verdict.closed()) == 2
    assert verdict.services is not None


def test_a_service_of_a_web_node_closes_that_node(estate: Estate) -> None:
    """web02 only serves: what fails there closes its sites, and neither web01's nor billing."""
    records = [check("web01", "passed"), check("web02", "passed"), check("web02", "failed", site=None)]
    verdict = reopening(estate, BEGUN, {}, records)
    assert list(verdict.closed()) == ["AdminPortal on web02"]
    assert verdict.services is None


def test_a_should_check_closes_nothing(estate: Estate) -> None:
    """It is reported."""
    records = [check("web01", "failed", severity="should"), check("web02", "passed")]
    assert reopening(estate, BEGUN, {}, records).closed() == {}


def test_a_sql_server_that_is_not_as_it_must_be_closes_everything(estate: Estate) -> None:
    """Half-patched: the portals stay closed, whatever the checks say."""
    verdict = reopening(
        estate, BEGUN, {"sql01": "sql01: build 15.0.1.1"}, [check("web01", "passed"), check("web02", "passed")]
    )
    assert set(verdict.closed().values()) == {"sql01: build 15.0.1.1"}
    assert verdict.services == "sql01: build 15.0.1.1"


def test_what_was_begun_is_read_from_the_hosts() -> None:
    """A fresh process that knows nothing of the run finds it in quiesce.json; of two patches the higher build counts."""
    held = {
        "sql01": {
            "held": {"agent_jobs": [], sql_patch_section("15.0.900.1"): {}, sql_patch_section("15.0.4430.1"): {}}
        },
        "web01": {"held": {INSTALLING: {"round": 1}}},
        "web02": {"held": {}},
    }
    begun = begun_on(held)
    assert begun.installs == {"web01"}
    assert begun.builds == {"sql01": "15.0.4430.1"}
    assert begun.anything
    assert not begun_on({"web02": {"held": {}}}).anything


def test_patches_of_a_night_are_told_in_their_order() -> None:
    """As four numbers, whatever the order of the sections in the file."""
    held = {sql_patch_section("15.0.4430.1"): {}, INSTALLING: {}, sql_patch_section("15.0.900.1"): {}}
    assert patches_begun({"held": held}) == ("15.0.900.1", "15.0.4430.1")
    assert patches_begun({"held": None}) == patches_begun({}) == ()

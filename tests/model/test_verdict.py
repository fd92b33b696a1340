"""The last word of a run, in the words of a pager."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.estate import Estate, load_estate
from model.keys import RunKey
from model.outcome import Problem, Stopped
from model.records import CheckRecord, RestartRecord, UpdateRecord
from model.verdict import Aftermath, outcome_of

ESTATE = """
estate: acme
timezone: UTC
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
sql: {sql01: {credentials: sql, databases: [EngageIP]}}
engageip:
  host: web01
  folder: 'C:\\EngageIP'
  services: []
  sites: [{name: Portal, url: 'https://a.example/Portal', check_url: 'http://{host}:8081/Portal'}]
backup: {stores: [{share: '\\\\nas\\b', credentials: nas}]}
checks: [{http: Portal}]
"""
CHANGE = RunKey.for_change("acme", "CHG0031001")
BY_HAND = RunKey.for_start("acme", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def estate() -> Estate:
    return load_estate(ESTATE, "acme.yaml")


def update(result: Any = "installed", **more: Any) -> UpdateRecord:
    return UpdateRecord(
        host="web01", update="u", title="Cumulative", kind="windows-update", result=result, started=NOW, **more
    )


def test_a_host_that_has_looked_after_itself(estate: Estate) -> None:
    """Its dead man's switch pages nobody and releases no Agent job: this run says so, and what to type."""
    left = Aftermath(left_to="Refused: the host's lease is at 5, held by dead man's switch of WEB01 for acme.CHG1.1.")
    outcome = outcome_of(estate, CHANGE, None, left, [], [], called="acme")
    assert (outcome.verdict, outcome.next_command) == ("failed", "billpatch recover acme")
    assert "did not hear from this run for 2h has restored its service by itself" in outcome.headline


def test_a_good_night(estate: Estate) -> None:
    """Nobody needs to look, and nothing is to be typed."""
    outcome = outcome_of(estate, CHANGE, None, Aftermath(), [update()], [])
    assert outcome.verdict == "succeeded"
    assert outcome.headline == "acme: patched: 1 update installed, every check passed, everything is up."
    assert outcome.next_command is None
    assert outcome.down == ()
    assert outcome.up == ("sql01", "web01", "Portal on web01")


def test_stopped_before_anything(estate: Estate) -> None:
    """One line says: where, that nothing happened, why; the next command carries the change and the next attempt."""
    stopped = Stopped("backup", [Problem("sql01: no space on E:.")])
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [], [])
    assert outcome.verdict == "stopped"
    assert (
        outcome.headline == "acme: stopped at backup, nothing was installed, everything is up. sql01: no space on E:."
    )
    assert outcome.next_command == "billpatch patch acme --change CHG0031001 --attempt 2"


def test_a_run_by_hand_has_no_change_to_name(estate: Estate) -> None:
    """Without a change the key is the start; it is resumed by itself."""
    outcome = outcome_of(estate, BY_HAND, Stopped.because("backup", "no"), Aftermath(), [], [])
    assert outcome.next_command is not None
    assert "--change" not in outcome.next_command


def test_portals_that_stay_closed_need_a_person(estate: Estate) -> None:
    """Half-open is its own verdict: exit code 3, a page, and the command that tries again."""
    aftermath = Aftermath(closed={"Portal on web01": "must check failed"})
    outcome = outcome_of(estate, CHANGE, None, aftermath, [update()], [])
    assert outcome.verdict == "half-open"
    assert outcome.headline.startswith("acme: NOT reopened, a person is needed.")
    assert outcome.next_command == "billpatch recover acme"
    assert outcome.down == ("Portal on web01",)


def test_one_site_of_two_that_stays_closed_is_named_first(estate: Estate) -> None:
    """The rest serves: the line does not say that all of it is closed."""
    shop = {"name": "Shop", "url": "https://a.example/Shop", "check_url": "http://{host}:8082/Shop"}
    document = estate.model_dump()
    document["engageip"]["sites"] = (*document["engageip"]["sites"], shop)
    two = Estate.model_validate(document)
    outcome = outcome_of(two, CHANGE, None, Aftermath(closed={"Shop on web01": "it fails"}), [update()], [])
    assert outcome.headline.startswith("acme: Shop on web01 NOT reopened, a person is needed.")
    assert "Portal on web01" in outcome.up


def test_what_waits_for_its_restart_is_told(estate: Estate) -> None:
    """Portals are open, and the next who restarts the machine completes it: nobody shall be surprised by that."""
    stopped = Stopped.because("install", "sql01: CU failed.")
    waiting = update("reboot-pending")
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [waiting], [])
    assert outcome.problems == ("sql01: CU failed.", "web01: Cumulative waits for its restart")
    closed = outcome_of(estate, CHANGE, stopped, Aftermath(closed={"Portal on web01": "x"}), [waiting], [])
    assert closed.problems[1:] == ("Portal on web01: closed, x", "web01: Cumulative waits for its restart"), (
        "last of all"
    )
    another = waiting.model_copy(update={"title": "Rollup"})
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [waiting, another], [])
    assert outcome.problems[1] == "web01: Cumulative, Rollup wait for its restart"
    later, earlier = NOW + timedelta(minutes=5), NOW - timedelta(minutes=5)
    came = RestartRecord(host="web01", asked=later, ready=later)
    others = [RestartRecord(host="web01", asked=earlier, ready=earlier), RestartRecord(host="web01", asked=later)]
    for restarts, told in (([came], False), (others, True), ([came.model_copy(update={"host": "sql01"})], True)):
        outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [waiting], [], restarts=restarts)
        assert ("web01: Cumulative waits for its restart" in outcome.problems) is told
    away = outcome_of(
        estate, CHANGE, stopped, Aftermath(unreachable={"web01": "web01: nothing answers."}), [waiting], []
    )
    assert away.problems == ("sql01: CU failed.", "web01: nothing answers."), "nobody knows whether it has restarted"
    cu = UpdateRecord(
        host="sql01", update="CU", title="CU", kind="mssql-patch", result="installed", hresult="0x00000BC2", started=NOW
    )
    assert outcome_of(estate, CHANGE, stopped, Aftermath(), [cu], []).problems[1] == "sql01: CU waits for its restart"
    settled = [update("reboot-pending", restart=False), update(), cu.model_copy(update={"hresult": None})]
    assert outcome_of(estate, CHANGE, stopped, Aftermath(), settled, []).problems == ("sql01: CU failed.",)


def test_an_update_that_was_told_by_what_stopped_the_run_is_told_once(estate: Estate) -> None:
    """The reason names the update and its host: 'was not installed' would only repeat it."""
    stopped = Stopped.because("install", "web01: Cumulative failed, setup answered 5.")
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [update("failed")], [])
    assert outcome.problems == ("web01: Cumulative failed, setup answered 5.",)


def test_a_lost_host_is_a_failure_that_names_it(estate: Estate) -> None:
    """What could be brought back is up; the run failed."""
    aftermath = Aftermath(unreachable={"web01": "web01: nothing answers."})
    outcome = outcome_of(estate, CHANGE, None, aftermath, [update()], [])
    assert outcome.verdict == "failed"
    assert "down: web01" in outcome.headline
    assert outcome.problems == ("web01: nothing answers.",)


def test_an_update_that_failed_is_a_failure(estate: Estate) -> None:
    """Named with its cause, although everything is up."""
    outcome = outcome_of(estate, CHANGE, None, Aftermath(), [update("failed", remark="0x80070643")], [])
    assert outcome.verdict == "failed"
    assert "web01: Cumulative was not installed: 0x80070643" in outcome.headline


def test_an_update_that_nobody_knows_of_is_no_success(estate: Estate) -> None:
    """Nor a failure of its own: it is not counted as installed, and a person reads what to look at."""
    updates = [update(), update("unknown", remark="look at its KB")]
    outcome = outcome_of(estate, CHANGE, None, Aftermath(), updates, [])
    assert outcome.verdict == "failed"
    assert outcome.headline == (
        "acme: failed, 1 update was installed, 1 may be, everything is up. "
        "web01: nobody knows whether Cumulative is installed: look at its KB"
    )
    stopped = Stopped.because("install", "web01: setup has not ended.")
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), updates, [])
    assert outcome.problems == ("web01: setup has not ended.",)


def test_a_should_check_that_failed_is_told(estate: Estate) -> None:
    """It closes nothing, and the run is not called a success."""
    check = CheckRecord(name="log", host="web01", severity="should", status="failed", detail="3 errors")
    outcome = outcome_of(estate, CHANGE, None, Aftermath(), [update()], [check])
    assert outcome.verdict == "failed"
    assert "web01: check 'log' failed: 3 errors" in outcome.problems


def test_nothing_to_do(estate: Estate) -> None:
    """A month without updates is a success of its own."""
    outcome = outcome_of(estate, CHANGE, None, Aftermath(), [], [])
    assert outcome.verdict == "nothing-to-do"
    assert outcome.succeeded


def test_a_long_list_is_cut_in_the_headline_and_whole_in_the_record(estate: Estate) -> None:
    """A pager has one line; the report has them all."""
    stopped = Stopped("backup", [Problem(f"problem {n}.") for n in range(8)])
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [], [])
    assert outcome.headline.endswith("(and 5 more)")
    assert len(outcome.problems) == 8


def test_what_shares_its_cause_is_told_once(estate: Estate) -> None:
    """Eight backups that do not reach one store are one problem: the pager counts them, the record names them all."""
    things = [f"folder {letter}" for letter in "abc"]
    problems = [Problem(f"{thing} did not reach the store: it is away.", thing) for thing in things]
    stopped = Stopped("backup", [*problems, Problem("sql01: no space on E:.")])
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(), [], [])
    assert outcome.headline == (
        "acme: stopped at backup, nothing was installed, everything is up. "
        "(1) folder a and 2 more did not reach the store: it is away. (2) sql01: no space on E:."
    )
    assert outcome.problems == (
        "folder a, folder b and folder c did not reach the store: it is away.",
        "sql01: no space on E:.",
    )


def test_two_things_are_both_named(estate: Estate) -> None:
    """'and 1 more' would take as much room as its name."""
    problems = [Problem(f"{thing} did not answer.", thing) for thing in ("sql01", "web01")]
    headline = outcome_of(estate, CHANGE, Stopped("backup", problems), Aftermath(), [], []).headline
    assert headline.endswith("up. sql01 and web01 did not answer.")


def test_preflight_tells_everything_at_once(estate: Estate) -> None:
    """Nothing is down and nobody was woken: whoever mends it wants the whole list."""
    stopped = Stopped("preflight", [Problem(f"problem {n}.") for n in range(8)])
    assert outcome_of(estate, CHANGE, stopped, Aftermath(), [], []).headline.endswith("(8) problem 7.")


def test_a_run_that_touched_nothing_vouches_for_nothing(estate: Estate) -> None:
    """Stopped before it took hold: hosts that did not answer are not called up, and the same attempt is tried again."""
    stopped = Stopped.because("preflight", "sql01: the connection is refused.")
    outcome = outcome_of(estate, CHANGE, stopped, Aftermath(touched=False), [], [])
    assert outcome.headline == "acme: stopped at preflight, nothing was touched. sql01: the connection is refused."
    assert (outcome.up, outcome.down) == ((), ())
    assert outcome.next_command == "billpatch patch acme --change CHG0031001"


def test_a_site_is_not_up_where_its_host_is_away(estate: Estate) -> None:
    """What a host served cannot be used while it does not answer."""
    outcome = outcome_of(estate, CHANGE, None, Aftermath(unreachable={"web01": "web01: nothing answers."}), [], [])
    assert not [name for name in outcome.up if "web01" in name]


def test_the_next_command_names_the_estate_as_the_person_did(estate: Estate) -> None:
    """Who patched a file outside of the store recovers it by that file."""
    aftermath = Aftermath(unreachable={"web01": "web01: nothing answers."})
    outcome = outcome_of(estate, CHANGE, None, aftermath, [], [], called="'my estates/acme.yaml'")
    assert outcome.next_command == "billpatch recover 'my estates/acme.yaml'"


def test_billing_that_runs_where_it_must_not(estate: Estate) -> None:
    """Nobody may read that it is stopped: it bills on a half-patched SQL Server until somebody stops it."""
    aftermath = Aftermath(running={"Billing on web01": "it is StopPending (it hangs)"}, left=True)
    outcome = outcome_of(estate, CHANGE, None, aftermath, [update()], [], called="acme")
    assert outcome.verdict == "half-open"
    assert "Billing on web01 RUNS and may bill, although it was to stay stopped: it is StopPending (it hangs)." in (
        outcome.headline
    )
    assert outcome.next_command == "billpatch recover acme"


def test_what_is_still_on_record_is_for_recover(estate: Estate) -> None:
    """A balancer has not taken its node back: all is up, and a next attempt would patch what needs no patching."""
    failed = CheckRecord(name="f5 sends it customers", host="web01", severity="should", status="failed", detail="503")
    outcome = outcome_of(estate, CHANGE, None, Aftermath(left=True), [update()], [failed], called="acme")
    assert (outcome.verdict, outcome.next_command) == ("failed", "billpatch recover acme")

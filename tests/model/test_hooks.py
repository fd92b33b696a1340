"""Hooks: what a file may say of them, how their calls are filled in, and when an answer proves something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model.estate import Estate, EstateFaults, load_estate
from model.hooks import (
    CommandCall,
    HttpCall,
    filled,
    filled_body,
    id_in,
    misses,
    picked,
    silence_words,
)
from tests.model.test_estate_schema import EVERYTHING

HEAD, _, _ = EVERYTHING.partition("hooks:\n")
SNAPSHOT = "    take: {command: [x]}\n    proof: {command: [x]}\n"
BALANCER = "".join(f"    {call}: {{command: [x]}}\n" for call in ("drain", "drained", "undrain", "undrained"))
PROOF = "proof: {http: 'https://ops.example/{id}'}"


def estate_with(hooks: str) -> Estate:
    return load_estate(f"{HEAD}hooks:\n{hooks}", "x.yaml")


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        (
            "  - snapshot: v\n    take: {http: 'http://ops.example/x', credentials: ops, id_at: id}\n    " + PROOF,
            "hooks[0].take.http: would send the secret of its credentials in clear text; write https://",
        ),
        (
            "  - snapshot: v\n    take: {http: 'https://ops.example/x'}\n    " + PROOF,
            "hooks[0].proof.http: {id} is not known here: say id_at in take, which answers it",
        ),
        (
            "  - snapshot: v\n    take: {http: 'https://ops.example/{hots}', id_at: id}\n    " + PROOF,
            "hooks[0].take.http: there is no word '{hots}' here; did you mean 'host'?",
        ),
        (
            "  - snapshot: v\n    take: {command: [snap, '{until}'], id_at: id}\n    " + PROOF,
            "hooks[0].take.command[1]: {until} is not known here: only a silence has an end",
        ),
        (
            "  - silence: z\n    begin: {http: 'https://ops.example/', body: {a: [{b: '{host}'}]}}\n    proof: {command: [x]}",
            "hooks[0].begin.body.a[0].b: {host} is not known here: a silence is made once for the estate",
        ),
        (
            "  - balancer: f\n    hosts: [sql01]\n" + BALANCER,
            "hooks[0].hosts[0]: sql01 has not the role iis; a node behind a balancer serves portals",
        ),
        (
            "  - snapshot: v\n    hosts: [sql02]\n    take: {command: [x], id_at: '.'}\n    proof: {command: [x]}",
            "hooks[0].hosts[0]: 'sql02' is not a host of this estate; did you mean 'sql01'?",
        ),
        (
            f"  - snapshot: v\n{SNAPSHOT}  - snapshot: V\n{SNAPSHOT}",
            "hooks[1].snapshot: 'V' stands here twice; remove or rename one",
        ),
        (
            "  - snapshot: v\n    take: {htp: 'https://ops.example/'}\n    proof: {command: [x]}",
            "hooks[0].take.htp: there is no field 'htp' here; did you mean 'http'?",
        ),
        (
            "  - snapshot: v\n    take: {http: 'https://me:secret@ops.example/'}\n    proof: {command: [x]}",
            "hooks[0].take.http: a URL holds no user name or password; remove what stands before the '@'",
        ),
        (
            "  - snapshot: v\n    take: {http: 'https://ops.example/', credentials: pager}\n    proof: {command: [x]}",
            "hooks[0].take.credentials: this block is used for webhook elsewhere, here for api; each kind has a block of its own",
        ),
    ],
)
def test_what_is_wrong_has_its_place(hooks: str, told: str) -> None:
    """A field, the cause, the fix."""
    with pytest.raises(EstateFaults) as caught:
        estate_with(hooks)
    found = [str(fault) for fault in caught.value.faults]
    assert any(told in fault for fault in found), found


def test_the_lab_and_whoever_lives_on_this_machine_need_no_tls() -> None:
    """A secret does not leave the machine."""
    estate = estate_with(
        "  - snapshot: v\n    take: {http: 'http://127.0.0.1:9/x', credentials: ops, id_at: id}\n    proof: {command: [x]}"
    )
    assert estate.credentials_names()["ops"] == "api"


def test_unsaid_a_snapshot_is_of_every_host_and_a_balancer_of_every_web_server() -> None:
    """And severities are those that a night needs."""
    estate = estate_with(
        f"  - snapshot: v\n{SNAPSHOT}  - silence: z\n{SNAPSHOT.replace('take', 'begin')}  - balancer: f\n{BALANCER}"
    )
    assert [host for _, host in estate.snapshots()] == ["sql01", "web01"]
    assert [len(estate.balancers_of(host)) for host in estate.hosts] == [0, 1]
    assert [hook.severity for hook in estate.hooks] == ["must", "should", "should"]


def test_words_are_put_in_and_a_url_stays_one() -> None:
    """Percent-encoded in a URL, as they are elsewhere; numbers where a body wants numbers."""
    words = {"host": "web 01/a", "minutes": "240", "run": "acme.1"}
    assert filled("https://ops/{host}?x={run}", words, url=True) == "https://ops/web%2001%2Fa?x=acme.1"
    assert filled("{host}: {id}", words) == "web 01/a: {id}"
    body: Any = {"for": "{minutes}", "text": "{minutes} min", "list": ["{run}", 1, True, None]}
    assert filled_body(body, words) == {"for": 240, "text": "240 min", "list": ["acme.1", 1, True, None]}


def test_a_silence_ends_in_utc() -> None:
    """Whatever the estate's zone is."""
    now = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
    words = silence_words(now + timedelta(hours=4), now)
    assert words == {"until": "2026-11-25T12:00:00Z", "until_epoch": "1795608000", "minutes": "240"}


@pytest.mark.parametrize(
    ("answer", "at", "found"),
    [
        ('{"value": {"state": "ready"}}', "value.state", "ready"),
        ('{"value": [{"id": 17}]}', "value.0.id", "17"),
        ('{"on": true}', "on", "true"),
        ('{"id": null}', "id", None),
        ('{"id": "x"}', "name", None),
        ("snapshot-17\n", ".", "snapshot-17"),
        ("not json", "id", None),
        ("", ".", None),
    ],
)
def test_a_place_in_an_answer(answer: str, at: str, found: str | None) -> None:
    """Levels parted by dots, entries of lists by number."""
    assert picked(answer, at) == found


def test_what_proves_and_what_does_not() -> None:
    """Equal at a place, or contained; the expected text has its words too."""
    call = HttpCall(http="https://ops.example/", at="state", expect="ready")
    assert misses(call, '{"state": "ready"}', {}) is None
    assert misses(call, '{"state": "not ready"}', {}) == "state is 'not ready', not 'ready'"
    assert misses(call, "{}", {}) == "state is not in its answer, not 'ready'"
    listed = CommandCall(command=("x",), expect="{id}")
    assert misses(listed, "a\nb17\n", {"id": "b17"}) is None
    assert misses(listed, "a\n", {"id": "b17"}) == "its answer does not contain 'b17'"
    assert misses(CommandCall(command=("x",)), "", {}) is None


def test_an_id_is_one_line_of_bounded_length() -> None:
    """A page of HTML is none."""
    call = CommandCall(command=("x",), id_at=".")
    assert id_in(call, " 17 ") == "17"
    assert id_in(call, "a\nb") is None
    assert id_in(call, "x" * 201) is None
    assert id_in(CommandCall(command=("x",)), "17") is None

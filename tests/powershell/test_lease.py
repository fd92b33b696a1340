"""The lease: one run per estate, with a number that only grows; told twice, state files included."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import lab.scripts

pytestmark = [pytest.mark.lookalike, pytest.mark.telling("Enter-Lease", "Update-Lease", "Exit-Lease")]

ROOT = "C/ProgramData/EngageIPPatching"
LEASE = f"{ROOT}/lease.json"
FOLDER = r"C:\ProgramData\EngageIPPatching"
OURS_ALONE = "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
TIMES = ("taken", "renewed", "expires")


def held(
    fence: int = 4, holder: str = "other", *, key: str = "their-run", expires: int = 86_400, released: bool = False
) -> str:
    """A lease.json; ``expires`` is in seconds from now."""
    at = (datetime.now(UTC) + timedelta(seconds=expires)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    lease = {"fence": fence, "holder": holder, "key": key, "taken": "2026-01-01T00:00:00.000Z", "expires": at}
    return json.dumps(lease | {"released": released})


MINE = {"holder": "me", "key": "my-run", "seconds": 60}

STATES: dict[str, tuple[str | None, dict[str, Any], bool, int]] = {
    "nobody has it": (None, MINE, True, 1),
    "nobody has it, a number is asked for": (None, MINE | {"fence": 9}, True, 9),
    "another holds it": (held(), MINE, False, 4),
    "another holds it, a higher number does not help": (held(), MINE | {"fence": 99}, False, 4),
    "another holds it and is pushed out": (held(), MINE | {"force": True}, True, 5),
    "pushed out with a higher number": (held(), MINE | {"force": True, "fence": 8}, True, 8),
    "another's has run out": (held(expires=-1), MINE, True, 5),
    "another gave it back": (held(released=True), MINE, True, 5),
    "it is ours": (held(holder="me", key="my-run"), MINE, True, 4),
    "it is ours, and is raised": (held(holder="me", key="my-run"), MINE | {"fence": 6}, True, 6),
    "it is ours, a lower number does not lower it": (held(holder="me", key="my-run"), MINE | {"fence": 2}, True, 4),
    "ours has run out": (held(holder="me", key="my-run", expires=-1), MINE, True, 5),
    "names do not fold case": (held(holder="ME", key="my-run"), MINE, False, 4),
    "the same process for another run": (held(holder="me"), MINE, False, 4),
}


@pytest.mark.parametrize("state", STATES)
def test_entering(twin: Callable[..., Any], state: str) -> None:
    """Who gets the lease with which number, and what the file says then."""
    lease, parameters, granted, fence = STATES[state]
    hosts = twin()
    if lease is not None:
        hosts.put(LEASE, lease)
    answer = hosts.run("Enter-Lease", parameters).agree(*TIMES)
    assert (answer["granted"], answer["fence"]) == (granted, fence)
    first, second = hosts.json(LEASE)
    assert {**first, **dict.fromkeys(TIMES)} == {**second, **dict.fromkeys(TIMES)}
    assert ("renewed" in first) is granted
    assert first["holder"] == parameters["holder"] if granted else json.loads(lease)["holder"]
    assert {name: first[name] for name in ("fence", "holder", "key")} == {
        name: answer[name] for name in ("fence", "holder", "key")
    }


def test_a_lease_lasts_as_long_as_asked(twin: Callable[..., Any]) -> None:
    """'expires' is this host's clock plus the seconds; entering again keeps 'taken' and prolongs."""
    hosts = twin()
    first = hosts.run("Enter-Lease", MINE)
    again = hosts.run("Enter-Lease", MINE | {"seconds": 3600})
    for side in ("engine", "lab"):
        one, two = getattr(first, side)["value"], getattr(again, side)["value"]
        took = datetime.fromisoformat(one["expires"]) - datetime.fromisoformat(one["taken"])
        assert took == timedelta(seconds=60)
        assert two["taken"] == one["taken"]
        assert two["expires"] > one["expires"]


@pytest.mark.parametrize(
    ("lease", "fence", "granted"),
    [
        (None, 1, False),
        (held(), 4, True),
        (held(), 3, False),
        (held(), 5, False),
        (held(released=True), 4, False),
        (held(expires=-5), 4, True),
    ],
    ids=["none", "ours", "an older number", "a number of nobody", "given back", "run out but not taken"],
)
def test_renewing(twin: Callable[..., Any], lease: str | None, fence: int, granted: bool) -> None:
    """Only the number on the host is renewed, and nothing changes for any other."""
    hosts = twin()
    if lease is not None:
        hosts.put(LEASE, lease)
    before = hosts.json(LEASE)
    answer = hosts.run("Update-Lease", {"fence": fence, "seconds": 900}).agree(*TIMES)
    assert answer["granted"] is granted
    if granted:
        for each in hosts.json(LEASE):
            assert datetime.fromisoformat(each["expires"]) > datetime.now(UTC) + timedelta(seconds=800)
    else:
        assert hosts.json(LEASE) == before


@pytest.mark.parametrize(
    ("lease", "fence", "released"),
    [(None, 1, False), (held(), 4, True), (held(), 3, False), (held(released=True), 4, True)],
    ids=["none", "ours", "an older number", "given back before"],
)
def test_giving_back(twin: Callable[..., Any], lease: str | None, fence: int, released: bool) -> None:
    """Giving back keeps the number, so that the next run's is higher; it can be done twice."""
    hosts = twin()
    if lease is not None:
        hosts.put(LEASE, lease)
    answer = hosts.run("Exit-Lease", {"fence": fence}).agree()
    assert answer["released"] is released
    first, second = hosts.json(LEASE)
    assert first == second
    if lease is not None:
        assert (first["fence"], first["released"]) == (4, released)
        assert hosts.run("Enter-Lease", MINE).agree(*TIMES)["fence"] == (5 if released else 4)


def test_the_folder_is_protected_when_it_is_made(twin: Callable[..., Any]) -> None:
    """SYSTEM and Administrators alone may write where SYSTEM runs scripts from."""
    hosts = twin()
    hosts.run("Enter-Lease", MINE)
    first, second = hosts.json("acl.json")
    assert first == second == {FOLDER: {"owner": "BA", "dacl": OURS_ALONE}}
    assert hosts.files() == (["lease.json"], ["lease.json"])


@pytest.mark.parametrize(
    "dacl",
    [
        "AI",
        "AI(A;OICI;0x1301bf;;;BU)",
        OURS_ALONE + "(A;OICI;0x1301bf;;;BU)",
        OURS_ALONE + "(A;;FA;;;S-1-5-21-1-2-3-1001)",
        "PAI(A;OICI;FA;;;BA)",
        "NO_ACCESS_CONTROL",
    ],
    ids=["inherited", "Users explicitly", "protected, with Users", "with one user", "without SYSTEM", "no list at all"],
)
@pytest.mark.parametrize("owner", ["SY", "BA"])
def test_a_folder_of_an_administrator_lets_nobody_else_in_afterwards(
    twin: Callable[..., Any], owner: str, dacl: str
) -> None:
    """Whatever rights it had: SYSTEM runs scripts from it, and whoever may write there would be SYSTEM."""
    hosts = twin()
    hosts.state("acl.json", lambda acl: acl.update({FOLDER: {"owner": owner, "dacl": dacl}}))
    for folder in (hosts.engine, hosts.lab.folder):
        (folder / ROOT).mkdir(parents=True)
    assert hosts.run("Enter-Lease", MINE).agree(*TIMES)["granted"] is True
    first, second = hosts.json("acl.json")
    assert first == second == {FOLDER: {"owner": "BA", "dacl": OURS_ALONE}}


def test_a_folder_that_is_right_is_left_alone(twin: Callable[..., Any]) -> None:
    """Each act looks at it, and none of them writes what is there already."""
    hosts = twin()
    mine = {FOLDER: {"owner": "SY", "dacl": "P(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)"}, "@denied": True}
    hosts.state("acl.json", lambda acl: acl.update(mine))
    for folder in (hosts.engine, hosts.lab.folder):
        (folder / ROOT).mkdir(parents=True)
    assert hosts.run("Enter-Lease", MINE).agree(*TIMES)["granted"] is True
    assert hosts.json("acl.json") == (mine, mine)


@pytest.mark.parametrize(
    ("acl", "error"),
    [
        ({FOLDER: {"owner": "S-1-5-21-1-2-3-1001"}}, "FolderOwner"),
        ({FOLDER: {"owner": "BU", "dacl": OURS_ALONE}}, "FolderOwner"),
        ({"@denied": True}, "FolderProtection"),
    ],
    ids=["a user's", "a user's, protected", "Windows refuses"],
)
def test_a_folder_that_another_made_is_refused(twin: Callable[..., Any], acl: dict[str, Any], error: str) -> None:
    """A plain user can make this folder before us (CVE-2024-34474 is one such): nothing is written into it."""
    hosts = twin()
    hosts.state("acl.json", lambda state: state.update(acl))
    for folder in (hosts.engine, hosts.lab.folder):
        (folder / ROOT).mkdir(parents=True)
    refused = hosts.run("Enter-Lease", MINE).agree("line")
    assert refused["id"] == error
    assert hosts.files() == ([], [])


def test_a_folder_that_leads_elsewhere_is_refused(twin: Callable[..., Any]) -> None:
    """A junction in place of the folder would have SYSTEM write where somebody else wants."""
    hosts = twin()
    for folder in (hosts.engine, hosts.lab.folder):
        (folder / "C" / "Elsewhere").mkdir()
        (folder / ROOT).symlink_to(folder / "C" / "Elsewhere")
    assert hosts.run("Enter-Lease", MINE).agree("line")["id"] == "FolderIsLink"
    assert hosts.files("C/Elsewhere") == ([], [])


def test_only_one_of_two_gets_it(twin: Callable[..., Any], engine: Any) -> None:
    """Two runs ask at the same moment, from processes of their own: the file is read, judged and written as one act."""
    hosts = twin()
    second = type(engine)(engine.program)
    try:
        for number in range(5):
            ask = {"holder": f"a{number}", "key": "k", "seconds": 600}
            with ThreadPoolExecutor(2) as pool:
                one = pool.submit(engine.call, hosts.engine, "Enter-Lease", ask)
                two = pool.submit(second.call, hosts.engine, "Enter-Lease", ask | {"holder": f"b{number}"})
            answers = [one.result()["value"], two.result()["value"]]
            assert sorted(answer["granted"] for answer in answers) == [False, True]
            assert {answer["fence"] for answer in answers} == {number + 1}
            engine.call(hosts.engine, "Exit-Lease", {"fence": number + 1})
    finally:
        second.close()


def test_a_lab_that_tells_otherwise_is_caught(twin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests would be worth nothing if a wrong telling passed."""
    monkeypatch.setitem(lab.scripts.SCRIPTS, "Exit-Lease", lambda _host, _: {"released": True, "fence": 0})
    with pytest.raises(AssertionError):
        twin().run("Exit-Lease", {"fence": 1}).agree()


def test_the_audit_trail_shows_who_took_the_lease(twin: Callable[..., Any]) -> None:
    """Taking and giving back are effects; a heartbeat and a refusal are not."""
    hosts = twin()
    hosts.run("Enter-Lease", MINE)
    hosts.run("Enter-Lease", MINE | {"holder": "you"})
    hosts.run("Update-Lease", {"fence": 1, "seconds": 60})
    hosts.run("Exit-Lease", {"fence": 1})
    events = [json.loads(line) for line in hosts.lab.audit.path.read_text().splitlines()]
    effects = [(e["event"], e.get("fence")) for e in events if e["effect"]]
    assert effects == [("lease.enter", 1), ("lease.exit", 1)]

"""The promises of DESIGN.md, judged by the lab's own audit trail.

Each ``assert_promise_…`` takes the trail (``lab.audit(effects_only=False)``) and the estate; the flow tests call them
after every night, good or bad: ``start_lab`` asks them of every lab that it has started, at its end, whatever the test
was about. The tests here show that each of them fails on a trail that breaks it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from secret_search import SecretSearch, secrets_of

from model.estate import BackupItem, Estate, ShareStore, Store, load_estate

Event = dict[str, Any]
Trail = Sequence[Event]

# Promise 1: every backup lies in every store before anything changes -------------------------------------------------

_CHANGES = {
    "update.install",
    "sqlpatch.start",
    "sqlpatch.install",
    "package.start",
    "package.install",
    "host.restart_requested",
}
_IIS_CONFIGURATION = r"C:\Windows\System32\inetsrv\config"


def assert_promise_1(trail: Trail, estate: Estate) -> None:
    """Before anything is installed or restarted, every declared backup lies whole in every store, made under this quiesce."""
    asked: set[str] = set()
    for number, event in enumerate(trail):
        if event["event"] == "host.restart_requested":
            asked.add(event["host"])
        # A machine that goes down unasked is the lab's doing.
        if event["event"] in _CHANGES or (event["event"] == "host.shutdown" and event["host"] in asked):
            missing = not_backed_up(trail[:number], estate)
            assert not missing, f"{event['event']} on {event['host']} without {missing}"


def not_backed_up(before: Trail, estate: Estate) -> list[str]:
    """What has not been made since the quiesce was opened, or sent, or was damaged where it lies, by the end of ``before``."""
    opened = _last(before, "quiesce.open")
    if opened is None:
        return ["a quiesce"]
    number = opened["number"]
    first = next(n for n, each in enumerate(before) if each["event"] == "quiesce.open" and each["number"] == number)
    since = before[first:]
    damaged = {each["path"].casefold() for each in since if each["event"] == "backup.damaged"}
    sent = [each for each in since if each["event"] == "store.write" and each["path"].casefold() not in damaged]
    missing = []
    for item in estate.backup_items():
        made = {each["sha256"] for each in since if each["host"] == item.host and _backs_up(each, item)}
        own = [each for each in sent if each["host"] == item.host and each["sha256"] in made]
        missing += [
            f"{item} in {store.name}" for store in estate.backup.stores if not any(_went(e, store) for e in own)
        ]
    return missing


def _backs_up(event: Event, item: BackupItem) -> bool:
    if item.kind == "database":
        return event["event"] == "backup.database" and bool(event["database"].casefold() == item.subject.casefold())
    source = _IIS_CONFIGURATION if item.kind == "iis" else item.subject
    return event["event"] == "backup.archive" and bool(event["source"].casefold() == source.casefold())


def _went(event: Event, store: Store) -> bool:
    name = store.share if isinstance(store, ShareStore) else store.s3
    return bool(event["store"].casefold() == name.casefold())


# Promise 2: SQL Server is ready before IIS restarts ------------------------------------------------------------------

_SQL_STATES = {"host.shutdown", "host.boot", "sql.down", "sql.starting", "sql.script_upgrade_failed", "sql.ready"}


def _last(trail: Iterable[Event], *names: str) -> Event | None:
    return next((each for each in reversed(list(trail)) if each["event"] in names), None)


def sql_is_ready(before: Trail, host: str) -> bool:
    """Whether the SQL Server of ``host`` was ready at the end of ``before``, with the newest build that it was given."""
    own = [each for each in before if each["host"] == host]
    state, patched = _last(own, *_SQL_STATES), _last(own, "sqlpatch.install")
    if state is None:
        return patched is None  # it has run since before the trail began
    return state["event"] == "sql.ready" and (patched is None or state["build"] == patched["build"])


def assert_promise_2(trail: Trail, estate: Estate) -> None:
    """No IIS host goes down before every SQL Server that it depends on is ready after its own restart."""
    for number, event in enumerate(trail):
        if event["event"] != "host.shutdown" or event["host"] not in estate.hosts_with("iis"):
            continue
        before = trail[:number]
        for needed in set(estate.dependencies_of(event["host"])) & set(estate.sql):
            own = [each for each in before if each["host"] == needed]
            assert sql_is_ready(before, needed), f"{event['host']} went down while {needed} was not ready"
            changed, booted = _last(own, "sqlpatch.install", "update.install"), _last(own, "host.boot")
            assert changed is None or (booted is not None and booted["n"] > changed["n"]), (
                f"{event['host']} went down before {needed} was restarted for what was installed there"
            )


# Promise 3: nothing is installed twice --------------------------------------------------------------------------------


def installed(trail: Trail) -> Counter[tuple[str, ...]]:
    """How often each thing was installed: by host and UpdateID and revision, build of SQL Server, or product and version."""
    found: Counter[tuple[str, ...]] = Counter()
    for event in trail:
        if event["event"] == "update.install":
            found[event["host"], event["id"], str(event["revision"])] += 1
        elif event["event"] == "sqlpatch.install":
            found[event["host"], "SQL Server", event["build"]] += 1
        elif event["event"] == "package.install":
            found[event["host"], event["product"], str(event["version"])] += 1
    return found


def assert_nothing_installed_twice(trail: Trail) -> None:
    """Whoever was killed, and however often it was tried again, nothing is installed a second time."""
    twice = {what: times for what, times in installed(trail).items() if times > 1}
    assert not twice, f"installed more than once: {twice}"


# Promise 7: what is half-patched is not reopened ---------------------------------------------------------------------

_BEGUN = {"sqlpatch.start", "update.install", "package.start", "host.restart_requested"}


def assert_promise_7(trail: Trail, estate: Estate) -> None:
    """Once an install has begun, sites open and billing services start only behind what proves that they may.

    Every SQL Server is ready with the build that setup gave it; and the last answer of each site that opens, asked behind
    the maintenance page since then, was 200.
    """
    begun = next((each["n"] for each in trail if each["event"] in _BEGUN), None)
    if begun is None:
        return
    billing = {name.casefold() for name in estate.engageip.services}
    private = {site.iis_name: site.check_binding for site in estate.engageip.sites}
    for number, event in enumerate(trail):
        if event["n"] < begun:
            continue
        before = trail[:number]
        opens = event["event"] == "site.bindings" and set(event["bindings"]) - {private.get(event["site"])}
        opens = opens and event["site"] in private
        starts = event["event"] == "service.start" and event["service"].casefold() in billing
        if not opens and not starts:
            continue
        what = f"{event.get('site') or event.get('service')} on {event['host']}"
        for host in estate.sql:
            assert sql_is_ready(before, host), f"{what} came back while {host} was not ready"
        if opens:
            ready = _last([each for each in before if each["host"] in estate.sql], "sql.ready")
            proven = [
                each["status"]
                for each in before
                if each["event"] == "web.request"
                and (each["host"], each["site"]) == (event["host"], event["site"])
                and each["n"] > max(begun, ready["n"] if ready else 0)
            ]
            assert proven[-1:] == [200], f"{what} was reopened without proof that it works ({proven[-1:]})"


_INSTALLERS = {"Install-WindowsUpdate", "Install-UpdateFile", "Install-SqlPatch", "Install-Package", "Invoke-SqlScript"}


def assert_closed_while_patching(trail: Trail, estate: Estate) -> None:
    """Customers are out when an install or a restart begins, and are not let in while one goes on."""
    private = {site.iis_name: site.check_binding for site in estate.engageip.sites}
    public = {(host, site.iis_name) for host in estate.hosts for site in estate.sites_on(host)}
    busy: dict[tuple[str, str], str] = {}
    for event in trail:
        host, name = event["host"], event["event"]
        if name == "site.bindings" and event["site"] in private:
            opens = bool(set(event["bindings"]) - {private[event["site"]]})
            assert not (opens and busy), f"{event['site']} on {host} opened while {busy} (event {event['n']})"
            public = public | {(host, event["site"])} if opens else public - {(host, event["site"])}
        elif name in _BEGUN:
            assert not public, f"{name} on {host} while {public} are open (event {event['n']})"
        _follow(busy, event)


def _follow(busy: dict[tuple[str, str], str], event: Event) -> None:
    """What goes on on which host after one more event: installers by their job, restarts."""
    host, name = event["host"], event["event"]
    if name == "job.start" and event["script"] in _INSTALLERS:
        busy[host, "job"] = event["script"]
    elif name in {"job.end", "job.stop"} and event["script"] in _INSTALLERS:
        busy.pop((host, "job"), None)
    elif name == "host.shutdown":
        busy.pop((host, "job"), None)
        busy[host, "power"] = name
    elif name == "host.boot":
        busy.pop((host, "power"), None)


# Promise 7, if nobody comes back: nothing is held that the host would not let go by itself --------------------------------


def assert_armed_while_held(trail: Trail, estate: Estate) -> None:
    """Whatever is held on a host, its dead man's switch is armed before, and is still."""
    private = {site.iis_name: site.check_binding for site in estate.engageip.sites}
    armed: dict[str, bool] = {}
    for event in trail:
        host, name = event["host"], event["event"]
        if name in {"switch.armed", "switch.disarmed"}:
            armed[host] = name == "switch.armed"
        closes = (
            name == "site.bindings" and event["site"] in private and set(event["bindings"]) <= {private[event["site"]]}
        )
        if closes or name in {"service.stop", "job.disabled"}:
            assert armed.get(host), f"{name} on {host} while its switch was not armed (event {event['n']})"


# Promise 8: no secret leaves its block -----------------------------------------------------------------------------------

KNOWN_THERE = ("credentials.json", "accounts/*", "accounts/**/*", "ca/*", "web.config", "access.json")
"""Files of the lab's own: what its servers check log-ins against."""


def assert_promise_8(folder: Path, *, known_in: Iterable[str] = KNOWN_THERE) -> None:
    """No secret of the labs below ``folder`` lies in any file there, but where the other side must know it.

    Not on the hosts' disks, in no report, no log and no job's file.
    """
    search = SecretSearch(
        {
            f"{name} of {papers.parent.name}": text
            for papers in folder.glob("*/credentials.json")
            for name, text in secrets_of(json.loads(papers.read_text(encoding="utf-8"))).items()
        }
    )
    assert search.in_folder(folder, except_for=known_in) == []


# The test of the tests -----------------------------------------------------------------------------------------------

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
  services: [Billing]
  sites: [{name: Portal, url: 'http://a.example:8080/Portal', check_url: 'http://{host}:8081/Portal'}]
backup: {stores: [{share: '\\\\nas\\b', credentials: nas}]}
checks: [{http: Portal}]
"""
OLD, NEW = "15.0.4355.3", "15.0.4430.1"


@pytest.fixture(scope="module")
def estate() -> Estate:
    return load_estate(ESTATE, "acme.yaml")


def trail_of(*events: tuple[str, str] | tuple[str, str, dict[str, Any]]) -> list[Event]:
    return [{"n": n, "host": e[0], "event": e[1], **(e[2] if len(e) > 2 else {})} for n, e in enumerate(events, 1)]


def backed_up(estate: Estate) -> list[Any]:
    """Everything made, and sent to every store."""
    events: list[Any] = []
    for item in estate.backup_items():
        fields: dict[str, Any] = {"sha256": str(item)}
        if item.kind == "database":
            events.append((item.host, "backup.database", fields | {"database": item.subject}))
        else:
            source = _IIS_CONFIGURATION if item.kind == "iis" else item.subject
            events.append((item.host, "backup.archive", fields | {"source": source}))
        for store in estate.backup.stores:
            name = store.share if isinstance(store, ShareStore) else store.s3
            events.append((item.host, "store.write", fields | {"store": name, "path": f"{name}/{item}"}))
    return events


OPENED = ("sql01", "quiesce.open", {"number": 1})
REOPENED = ("sql01", "quiesce.close", {"number": 1}), ("sql01", "quiesce.open", {"number": 2})
CHANGE = ("web01", "update.install")


def test_promise_1_holds_for_a_good_order(estate: Estate) -> None:
    """Quiesce, backups, change; and a machine that falls over by itself is nobody's broken promise."""
    restart = ("sql01", "host.restart_requested"), ("sql01", "host.shutdown")
    assert_promise_1(trail_of(("web01", "host.shutdown"), OPENED, *backed_up(estate), CHANGE, *restart), estate)


@pytest.mark.parametrize("change", sorted(_CHANGES))
def test_promise_1_is_broken_by_any_change_without_backups(estate: Estate, change: str) -> None:
    """Whatever the first change is; backups from before the quiesce, or of an earlier one, are none."""
    for before in ([OPENED], backed_up(estate), [*backed_up(estate), OPENED], [OPENED, *backed_up(estate), *REOPENED]):
        with pytest.raises(AssertionError, match=f"{change} on web01 without"):
            assert_promise_1(trail_of(*before, ("web01", change)), estate)


def test_promise_1_is_broken_by_any_single_backup(estate: Estate) -> None:
    """Not made, not sent, sent too late, damaged where it lies, or sent as something else: each is caught and named."""
    good = backed_up(estate)
    for number, (host, event, fields) in enumerate(good):
        less = [*good[:number], *good[number + 1 :]]
        other = [*good[:number], (host, event, fields | {"sha256": "other"}), *good[number + 1 :]]
        trails = [[OPENED, *less, CHANGE], [OPENED, *less, CHANGE, good[number]], [OPENED, *other, CHANGE]]
        if event == "store.write":
            trails.append([OPENED, *good, (host, "backup.damaged", {"path": fields["path"]}), CHANGE])
        for events in trails:
            with pytest.raises(AssertionError) as caught:
                assert_promise_1(trail_of(*events), estate)
            assert f"without ['{fields['sha256']} in " in str(caught.value).replace("\\\\", "\\")


def ready(build: str = NEW) -> tuple[str, str, dict[str, Any]]:
    return "sql01", "sql.ready", {"build": build}


PATCHED = ("sql01", "sqlpatch.install", {"build": NEW})
RESTARTED = (("sql01", "host.shutdown"), ("sql01", "host.boot"), ("sql01", "sql.starting", {"build": NEW}))
WEB_GOES = ("web01", "host.shutdown")


def test_promise_2_holds_for_a_good_order(estate: Estate) -> None:
    """Patched, restarted, ready; then the web server. Or nothing at all happened to SQL Server."""
    assert_promise_2(trail_of(PATCHED, ready(), *RESTARTED, ready(), WEB_GOES), estate)
    assert_promise_2(trail_of(WEB_GOES), estate)


@pytest.mark.parametrize(
    "events",
    [
        (PATCHED, *RESTARTED, WEB_GOES),  # still starting
        (*RESTARTED[:1], WEB_GOES),  # still down
        (PATCHED, *RESTARTED, ready(OLD), WEB_GOES),  # ready with another build
        (PATCHED, ready(), WEB_GOES),  # patched and ready, never restarted
        (("sql01", "update.install"), WEB_GOES),
        (PATCHED, *RESTARTED, ready(), ("sql01", "sql.down"), WEB_GOES),
    ],
)
def test_promise_2_is_broken_by_any_other(estate: Estate, events: Any) -> None:
    """Each of these trails is caught."""
    with pytest.raises(AssertionError, match="web01 went down"):
        assert_promise_2(trail_of(*events), estate)


BEGUN = ("sql01", "sqlpatch.start")
OPENS = ("web01", "site.bindings", {"site": "Portal", "bindings": ["*:8080:", "*:8081:"]})
STARTS = ("web01", "service.start", {"service": "Billing"})


def answered(status: int) -> tuple[str, str, dict[str, Any]]:
    return "web01", "web.request", {"site": "Portal", "status": status}


@pytest.mark.parametrize(
    "events",
    [
        (OPENS, STARTS),  # nothing had begun
        (BEGUN, PATCHED, ready(), answered(500), answered(200), OPENS, STARTS),
        (BEGUN, answered(200), OPENS, STARTS),  # setup failed and replaced nothing
        (BEGUN, PATCHED, ("web01", "site.bindings", {"site": "Portal", "bindings": ["*:8081:"]})),  # closes
    ],
)
def test_promise_7_lets_open_what_is_proven(estate: Estate, events: Any) -> None:
    """Ready with the right build, and the page answers."""
    assert_promise_7(trail_of(*events), estate)


@pytest.mark.parametrize(
    "events",
    [
        (BEGUN, PATCHED, answered(200), OPENS),  # nothing proves the new build
        (BEGUN, PATCHED, ready(OLD), answered(200), OPENS),
        (BEGUN, PATCHED, ("sql01", "sql.script_upgrade_failed"), answered(200), OPENS),
        (BEGUN, PATCHED, ready(), OPENS),  # never asked
        (BEGUN, PATCHED, answered(200), ready(), OPENS),  # asked too early
        (BEGUN, PATCHED, ready(), answered(200), answered(500), OPENS),
        (BEGUN, PATCHED, ("sql01", "sql.starting"), STARTS),
    ],
)
def test_promise_7_is_broken_by_the_rest(estate: Estate, events: Any) -> None:
    """Each of these trails is caught."""
    with pytest.raises(AssertionError):
        assert_promise_7(trail_of(*events), estate)


UPDATE = ("web01", "update.install", {"id": "a", "revision": 200})


def test_promise_3_counts_by_host_update_and_revision() -> None:
    """The same update on two hosts, and two revisions of one, are different things."""
    others = (("web02", UPDATE[1], UPDATE[2]), ("web01", "update.install", {"id": "a", "revision": 201}))
    assert_nothing_installed_twice(trail_of(UPDATE, *others, PATCHED))


@pytest.mark.parametrize("event", [UPDATE, PATCHED])
def test_promise_3_is_broken_by_a_second_time(event: Any) -> None:
    """Of an update as of a build of SQL Server."""
    with pytest.raises(AssertionError, match="more than once"):
        assert_nothing_installed_twice(trail_of(event, *RESTARTED, event))


CLOSES = ("web01", "site.bindings", {"site": "Portal", "bindings": ["*:8081:"]})
SETUP = (("sql01", "job.start", {"script": "Install-SqlPatch"}), ("sql01", "job.end", {"script": "Install-SqlPatch"}))


def test_promise_7_closes_before_it_patches(estate: Estate) -> None:
    """Closed, patched, restarted, open: that order is the good one."""
    assert_closed_while_patching(trail_of(CLOSES, SETUP[0], BEGUN, SETUP[1], *RESTARTED, UPDATE, OPENS), estate)


@pytest.mark.parametrize(
    "events",
    [
        (UPDATE,),  # never closed
        (CLOSES, OPENS, BEGUN),
        (CLOSES, SETUP[0], OPENS),
        (CLOSES, RESTARTED[0], OPENS),  # opened while a host is down
    ],
)
def test_promise_7_is_broken_by_customers_in_between(estate: Estate, events: Any) -> None:
    """Each of these trails is caught."""
    with pytest.raises(AssertionError):
        assert_closed_while_patching(trail_of(*events), estate)


@pytest.mark.parametrize("where", ["job.json", "lab0/hosts/web01/C/report.txt", "reports/report.html"])
def test_promise_8_is_broken_by_one_file(tmp_path: Path, where: str) -> None:
    """A password anywhere but in the lab's own papers is caught, escaped as it may be."""
    (tmp_path / "lab0").mkdir()
    papers = {"sql-acme": {"kind": "sql", "username": "svc", "password": 'a1b2c3d4"‹&€e5f6a7b8c9d0'}}
    (tmp_path / "lab0" / "credentials.json").write_text(json.dumps(papers), encoding="utf-8")
    assert_promise_8(tmp_path)
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(papers["sql-acme"]["password"]), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"sql-acme\.password of lab0"):
        assert_promise_8(tmp_path)


ARMED = ("web01", "switch.armed")
HOLDS = (CLOSES, ("web01", "service.stop", {"service": "Billing"}), ("web01", "job.disabled", {"job": "Billing Run"}))


@pytest.mark.parametrize("holds", HOLDS)
def test_what_is_held_has_its_switch_armed_first(estate: Estate, holds: Any) -> None:
    """Too late, on another host, or disarmed before: each is caught. What lets go needs none."""
    assert_armed_while_held(trail_of(OPENED, ARMED, holds, OPENS, ("web01", "switch.disarmed"), OPENS, STARTS), estate)
    for events in ([holds, ARMED], [("sql01", "switch.armed"), holds], [ARMED, ("web01", "switch.disarmed"), holds]):
        with pytest.raises(AssertionError, match=f"{holds[1]} on web01 while its switch was not armed"):
            assert_armed_while_held(trail_of(*events), estate)

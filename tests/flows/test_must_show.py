"""Whole nights that hold much at once: everything that can be installed, and connections that do not live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from flows.patch import patch_estate
from lab.files import AGENT, ENGAGEIP, VIEWER
from lab.spec import (
    APPEARS_LATER,
    EXCLUSIVE,
    LACKING,
    NEEDS_STACK,
    SERVICING_STACK,
    UNLOCKED,
    UNLOCKED_BY_CUMULATIVE,
    PackageSpec,
    UpdateSpec,
)
from tasks.run import read_estate
from tests.test_invariants import assert_closed_while_patching, assert_promise_2, installed

pytestmark = [pytest.mark.night, pytest.mark.timeout(300)]

Flow = Callable[..., Any]
Event = dict[str, Any]

# A night with everything ---------------------------------------------------------------------------------------------

CU = PackageSpec()
WAVES = ("sql01", "web01", "web02")
"""The order of restarts: SQL Server first, then one web server after the other."""
ROUNDS: tuple[dict[str, list[str]], ...] = (
    {
        "sql01": [CU.build, SERVICING_STACK.kb, NEEDS_STACK.kb],
        "web01": ["Acme Provisioning Agent", "Acme Invoice Viewer", SERVICING_STACK.kb, EXCLUSIVE.kb],
        "web02": [SERVICING_STACK.kb],
    },
    {"sql01": [UNLOCKED.kb], "web01": [LACKING.kb, UNLOCKED.kb]},
    {"web01": [UNLOCKED_BY_CUMULATIVE.kb]},
)
"""What can go in when: a servicing stack unlocks a cumulative update, which unlocks another.

In round 1 the restart that the exclusive update wants keeps what is to go in with others out.
"""
_INSTALLS = ("update.install", "sqlpatch.install", "package.install")


def what(event: Event) -> str:
    """What an event tells the installation of: a KB, a build of SQL Server, a product."""
    return str(event.get("product") or event.get("build") or f"KB{event['kb'][0]}")


def rounds_of(trail: Sequence[Event]) -> list[dict[str, list[str]]]:
    """What went in in each round, by host, in order: an installation's round is the number in the id of its job.

    A package's job has number 1 whenever it runs; that of an upgrade of EngageIP is none of a round's.
    """
    found: dict[int, dict[str, list[str]]] = {}
    now: dict[str, int] = {}
    for event in trail:
        if event["event"] == "job.start" and event["script"].startswith("Install-"):
            now[event["host"]] = int(event["id"].split(".")[3])
        elif event["event"] in _INSTALLS and what(event) != "EngageIP":
            found.setdefault(now[event["host"]], {}).setdefault(event["host"], []).append(what(event))
    assert sorted(found) == list(range(1, len(found) + 1))
    return [found[number] for number in sorted(found)]


def position(trail: Sequence[Event], **fields: Any) -> int:
    """Where the one event of that kind stands."""
    (found,) = [n for n, each in enumerate(trail) if fields.items() <= each.items()]
    return found


def test_a_night_with_everything(start_lab: Flow, run_flow: Flow) -> None:
    """Three rounds, an exclusive update, a servicing stack, a CU with its scripts, an MSI that is busy twice, EngageIP.

    Everything goes in once and in order. A host restarts once for each round in which something went in on it, and not
    otherwise: not for EngageIP, which asks for none, and not because another host does.
    """
    lab = start_lab("everything")
    lab.declare("package.exit_code", AGENT.name, times=3, codes=[1618, 1618, 3010])
    lab.declare("sqlpatch.slow_upgrade", "sql01", seconds=90)
    lab.declare("vss.unavailable", r"D:\Work", code=6)
    ran = run_flow(patch_estate, estate=lab.estate, change="CHG1")
    trail, estate = lab.audit(effects_only=False), read_estate(lab.estate)

    number = sum(len(each) for went_in in ROUNDS for each in went_in.values()) + 1
    message = f"acme-everything: patched: {number} updates installed, every check passed, everything is up."
    assert (ran.type, ran.message) == ("COMPLETED", message)

    # Once, in three rounds, in order: the stack before what needs it and what it unlocks, the exclusive one by itself
    # (the agent refuses either otherwise), packages before Windows' own.
    rounds = rounds_of(trail)
    rounds[1]["web01"].sort()  # these two go in together, in any order
    assert rounds == [{host: sorted(kbs) if n == 1 else kbs for host, kbs in r.items()} for n, r in enumerate(ROUNDS)]
    once = installed(trail)
    assert (len(once), set(once.values())) == (number, {1})
    assert lab.audit("update.install_failed") == []
    tries = [each["product"] for each in lab.audit("package.start")]
    assert tries == ["Acme Provisioning Agent"] * 3 + ["Acme Invoice Viewer", "EngageIP"]
    assert [e["exit_code"] for e in lab.audit("package.install")] == [3010, 0, 0]

    # No restart without a reason, none left out, each after what it depends on.
    wanted = [(host, n) for n, went_in in enumerate(ROUNDS, 1) for host in WAVES if host in went_in]
    asked = [(e["host"], int(e["intent"].rsplit(".", 1)[1])) for e in lab.audit("host.restart_requested")]
    assert asked == wanted
    assert [e["host"] for e in lab.audit("host.shutdown")] == [host for host, _ in wanted]
    assert_promise_2(trail, estate)

    # SQL Server's own scripts had their time.
    scripts_began, scripts_ended = (position(trail, event=f"sql.script_{end}") for end in ("upgrade", "upgraded"))
    meanwhile = [e for e in trail[scripts_began:scripts_ended] if e["host"] == "sql01"]
    assert not [e for e in meanwhile if e["event"] in {"service.stop", "host.restart_requested", "sql.down"}]
    first_restart = next(n for n, e in enumerate(trail) if e["event"] == "host.restart_requested")
    assert position(trail, event="sqlpatch.install") < scripts_began < scripts_ended < first_restart

    engageip_goes_in_last(trail)
    assert_closed_while_patching(trail, estate)
    portals = [httpx.get(f"http://{estate.hosts[host].address}:8080/AdminPortal/") for host in ("web01", "web02")]
    assert [each.status_code for each in portals] == [200, 200]
    assert "EngageIP 8.6.0" in portals[0].text
    everything_is_reported(ran.report)


def engageip_goes_in_last(trail: Sequence[Event]) -> None:
    """After every other installation and every restart; no pool of it runs on any node until its schema is new, too."""
    begins = position(trail, event="package.start", product="EngageIP")
    others = [n for n, e in enumerate(trail) if e["event"] in {"host.shutdown", "host.boot"}]
    others += [n for n, e in enumerate(trail) if e["event"] in _INSTALLS and what(e) != "EngageIP"]
    assert max(others) < begins
    schema = position(trail, event="sql.statement", verb="UPDATE DBO.ENGAGEIPOPTION")
    ends = next(n for n, e in enumerate(trail) if n > schema and e["event"] == "job.end" and e["host"] == "sql01")
    for node in ("web01", "web02"):
        for pool in ("AdminPortal", "Portal"):
            own = [
                (n, e["event"])
                for n, e in enumerate(trail)
                if e["event"].startswith("pool.") and (e["host"], e["pool"]) == (node, pool)
            ]
            assert [event for n, event in own if n < begins][-1] == "pool.stop", (node, pool)
            assert {event for n, event in own if begins < n < ends} <= {"pool.stop"}, (node, pool)
            assert any(n > ends for n, _ in own), (node, pool)


def everything_is_reported(report: dict[str, Any]) -> None:
    """Each by its name and its proof, in the order of the hosts; what appeared later waits for the next review."""

    def proof(update: UpdateSpec) -> str:
        return f"rescan, build 10.0.17763.{update.ubr}" if update is UNLOCKED else "rescan"

    windows = {"sql01": (SERVICING_STACK, NEEDS_STACK, UNLOCKED), "web02": (SERVICING_STACK,)}
    windows["web01"] = (SERVICING_STACK, EXCLUSIVE, UNLOCKED, LACKING, UNLOCKED_BY_CUMULATIVE)
    expected = {(host, one.kb): proof(one) for host, updates in windows.items() for one in updates}
    expected |= {
        ("sql01", CU.name): f"build {CU.build}",
        ("web01", AGENT.name): "version 4.2.0",
        ("web01", VIEWER.name): "version 2.1.0",
        ("web01", ENGAGEIP.name): "application 8.6.0, schema 8.6.0",
    }
    remarks = {each["subject"]: {copy["remark"] for copy in each["copies"]} for each in report["backups"]}
    no_snapshot = "Windows makes no snapshot of D: (insufficient storage): open files were read as they are"
    assert remarks == {what: {no_snapshot if what == r"D:\Work" else None} for what in remarks}
    assert r"D:\Work" in remarks
    told = {
        (each["host"], each["kb"] if each["kind"] == "windows-update" else each["title"]): each["verified_by"]
        for each in report["updates"]
        if each["result"] == "installed"
    }
    assert told == expected
    assert {(each["host"], each["kb"]) for each in report["updates_later"]} == {
        ("sql01", APPEARS_LATER.kb),
        ("web01", APPEARS_LATER.kb),
    }
    restarts = [each["host"] for each in report["restarts"]]
    assert restarts == [host for went_in in ROUNDS for host in WAVES if host in went_in]


# A night whose connections do not live ---------------------------------------------------------------------------------

EVERY = 0.3
"""Seconds between two cuts, real ones: a night lasts about ten here, and fewer on a faster machine."""
SELDOM = 0.8
"""Seconds in which a host is cut off at least once: somebody must be there to be cut off, too."""
ENOUGH = 3
"""Cuts that are enough for a part of the night, however long it lasts; a fast machine may leave time for fewer."""
ACTS = (
    *_INSTALLS,
    "sqlpatch.start",
    "package.start",
    "host.restart_requested",
    "host.shutdown",
    "host.boot",
    "backup.database",
    "backup.archive",
    "store.write",
    "store.put",
    "service.stop",
    "service.start",
    "site.bindings",
    "job.disabled",
    "job.enabled",
    "sql.statement",
    "update.install_failed",
    "backup.damaged",
    "pager.page",
)


def outcome(lab: Any, ran: Any) -> dict[str, Any]:
    """What a night came to, by its verdict, its report and what it did in the lab; nothing of it depends on the time."""
    trail = lab.audit(*ACTS)
    report = ran.report
    return {
        "end": (ran.type, ran.message),
        "installed": installed(trail),
        "restarts": [e["host"] for e in trail if e["event"] == "host.shutdown"],
        "backups": sorted(
            (each["host"], each["subject"], copy["store"], copy["complete"], copy["verified"])
            for each in report["backups"]
            for copy in each["copies"]
        ),
        "updates": sorted((u["host"], u["title"], u["result"], u["verified_by"]) for u in report["updates"]),
        "checks": sorted((each["host"] or "", each["name"], each["status"]) for each in report["checks"]),
        "up and down": (sorted(report["up"]), report["down"], report["problems"]),
        "acts": Counter((e["event"], e["host"]) for e in trail),
    }


def parts(trail: Sequence[Event]) -> dict[str, list[Event]]:
    """The trail, cut where backups begin, where installing begins, and where the last restarted host is up again."""
    backups = next(n for n, e in enumerate(trail) if e["event"] == "backup.archive")
    installs = next(n for n, e in enumerate(trail) if e["event"] == "sqlpatch.start")
    last_boot = max(n for n, e in enumerate(trail) if e["event"] == "host.boot")
    return {
        "look, scan, quiesce": list(trail[:backups]),
        "back up": list(trail[backups:installs]),
        "install, restart": list(trail[installs:last_boot]),
        "rescan, check, reopen": list(trail[last_boot:]),
    }


def test_connections_that_are_cut_again_and_again_change_nothing(start_lab: Flow, run_flow: Flow) -> None:
    """Every WinRM connection to every host ends, whatever goes on over it, from the first look to the last word.

    The night comes to what it comes to without: installed, restarted, backed up, stopped and started as often.
    """
    calm = start_lab("acme")
    calm.work("billing", 100)
    good = outcome(calm, run_flow(patch_estate, estate=calm.estate, change="CHG1"))
    assert good["end"][0] == "COMPLETED", good["end"]
    lab = start_lab("acme")
    lab.work("billing", 100)  # something to wait for, before anything is stopped
    lab.declare("winrm.kill_connections", every=EVERY)
    assert outcome(lab, run_flow(patch_estate, estate=lab.estate, change="CHG1")) == good
    night = lab.audit(effects_only=False)
    cut = parts(night)
    for part, trail, enough in (*((*each, ENOUGH) for each in cut.items()), ("all of it", night, ENOUGH * len(cut))):
        at_least = min(enough, int((trail[-1]["t"] - trail[0]["t"]) / SELDOM))
        for host in ("sql01", "web01"):
            cuts = [e for e in trail if (e["host"], e["event"]) == (host, "winrm.connections_killed")]
            assert len(cuts) >= at_least, (part, host)

"""The lease scripts: Enter-Lease, Update-Lease, Exit-Lease."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lab.host import Host
from lab.scripts import script
from lab.scripts.library import ROOT, initialize_root, iso, lease, write_json

FILE = rf"{ROOT}\lease.json"


def _shown(granted: bool, held: dict[str, Any]) -> dict[str, Any]:
    return {"granted": granted, **{name: held[name] for name in ("fence", "holder", "key", "taken", "expires")}}


@script("Enter-Lease")
def enter_lease(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    holder, key = parameters["holder"], parameters["key"]
    with host.lock:
        moment = datetime.now(UTC)
        held = lease(host)
        fence, taken = (held["fence"] + 1 if held else 1), iso(moment)
        if held and not held["released"] and datetime.fromisoformat(held["expires"]) > moment:
            if (held["holder"], held["key"]) == (holder, key):
                fence, taken = held["fence"], held["taken"]
            elif not parameters.get("force"):
                return _shown(False, held)
        fresh = {
            "fence": max(fence, parameters.get("fence") or 0),
            "holder": holder,
            "key": key,
            "taken": taken,
            "renewed": iso(moment),
            "expires": iso(moment + timedelta(seconds=parameters["seconds"])),
            "released": False,
            "finished": False,
        }
        write_json(host, FILE, fresh)
    host.event("lease.enter", fence=fresh["fence"], holder=holder, key=key, force=bool(parameters.get("force")))
    return _shown(True, fresh)


@script("Update-Lease")
def update_lease(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    with host.lock:
        held = lease(host)
        if held is None:
            return {"granted": False, "fence": 0, "holder": None, "key": None, "taken": None, "expires": None}
        granted = held["fence"] == parameters["fence"] and not held["released"]
        if granted:
            moment = datetime.now(UTC)
            held |= {"expires": iso(moment + timedelta(seconds=parameters["seconds"])), "renewed": iso(moment)}
            write_json(host, FILE, held)
    # A heartbeat: nothing changes hands.
    host.event("lease.update", effect=False, fence=held["fence"], granted=granted)
    return _shown(granted, held)


@script("Exit-Lease")
def exit_lease(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    with host.lock:
        held = lease(host)
        if held is None:
            return {"released": False, "fence": 0}
        own = held["fence"] == parameters["fence"]
        if own and not held["released"]:
            finished = bool(parameters.get("finished"))
            write_json(host, FILE, {**held, "released": True, "finished": finished})
            host.event("lease.exit", fence=held["fence"], holder=held["holder"], key=held["key"])
    return {"released": own, "fence": held["fence"]}

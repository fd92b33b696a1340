"""IIS: Get-IisState, Enter-Maintenance, Exit-Maintenance, Restart-AppPools, Stop-AppPools, over iis.json.

Whoever serves the sites (the host's part ``iis``) is told by ``reload()`` and ``recycle(pool)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, script
from lab.scripts.library import ROOT, assert_fence, initialize_root, write_file
from lab.scripts.services import quiesce, update_quiesce

MAINTENANCE = "EngageIPMaintenance"
FOLDER = rf"{ROOT}\maintenance"
PLACEHOLDER = "maintenance.engageip.invalid"
LARGEST_PAGE = 1 << 20
SERVICE_DOWN = -2147023834
"""HRESULT 0x80070426: the service has not been started."""

CONFIG = """<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <system.webServer>
    <modules runAllManagedModulesForAllRequests="true" />
    <httpErrors existingResponse="PassThrough" />
    <httpProtocol>
      <customHeaders>
        <add name="Retry-After" value="{seconds}" />
        <add name="Cache-Control" value="no-store" />
      </customHeaders>
    </httpProtocol>
  </system.webServer>
</configuration>"""


# What there is --------------------------------------------------------------------------------------------------------


def _web_server_runs(host: Host) -> bool:
    services = {name.casefold(): state for name, state in host.read("services.json").items()}
    return bool(services.get("was", {"status": "Running"}).get("status") == "Running")


def _find(entries: dict[str, Any], name: str) -> tuple[str, dict[str, Any]] | None:
    return next(((key, value) for key, value in entries.items() if key.casefold() == name.casefold()), None)


def _binding(entry: dict[str, Any]) -> dict[str, Any]:
    web = entry["protocol"] in ("http", "https")
    return {
        "protocol": entry["protocol"],
        "information": entry["bindingInformation"],
        "host": entry["bindingInformation"].rsplit(":", 1)[1] if web else "",
        "certificate_hash": entry.get("certificateHash", ""),
        "certificate_store": entry.get("certificateStoreName", ""),
        "ssl_flags": entry.get("sslFlags", 0),
    }


def _pool_state(host: Host, state: dict[str, Any], name: str) -> str | None:
    found = _find(state.get("pools", {}), name)
    if found is None:
        return None
    return str(found[1]["state"]) if _web_server_runs(host) else "Unknown"


def _site(host: Host, state: dict[str, Any], name: str) -> dict[str, Any]:
    found = _find(state.get("sites", {}), name)
    if found is None:
        empty = dict.fromkeys(("id", "state", "path", "pool", "pool_state"))
        return {"name": name, "exists": False, **empty, "bindings": []}
    known, site = found
    return {
        "name": known,
        "exists": True,
        "id": site["id"],
        "state": site["state"] if _web_server_runs(host) else "Unknown",
        "path": site["path"],
        "pool": site["pool"],
        "pool_state": _pool_state(host, state, site["pool"]),
        "bindings": [_binding(entry) for entry in site["bindings"]],
    }


def _facts(host: Host, names: list[str]) -> dict[str, Any]:
    state = host.read("iis.json")
    page = _site(host, state, MAINTENANCE)
    return {
        "sites": [_site(host, state, name) for name in names],
        "maintenance": {key: page[key] for key in ("exists", "state", "bindings")},
    }


@script("Get-IisState")
def get_iis_state(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    return _facts(host, parameters["sites"])


# Changes --------------------------------------------------------------------------------------------------------------


@contextmanager
def _changing(host: Host) -> Iterator[dict[str, Any]]:
    """iis.json to change; the web server follows, and the audit trail shows whose bindings are others now."""
    with host.lock:
        before = host.read("iis.json").get("sites", {})
        with host.edit("iis.json") as state:
            yield state
        after = host.read("iis.json").get("sites", {})
    for name in sorted({*before, *after}):
        old, new = (
            [entry["bindingInformation"] for entry in sites[name]["bindings"]] if name in sites else None
            for sites in (before, after)
        )
        if old != new:
            host.event("site.bindings", site=name, bindings=new or [])
    if "iis" in host.parts:
        host.parts["iis"].reload()


def _same(one: dict[str, Any], entry: dict[str, Any]) -> bool:
    return bool(one["protocol"] == entry["protocol"] and one["information"] == entry["bindingInformation"])


def _move(state: dict[str, Any], source: str, target: str, binding: dict[str, Any]) -> None:
    """Take a binding from one site and give it to another; either half may be done already."""
    giver = _find(state["sites"], source)
    if giver is not None:
        giver[1]["bindings"] = [entry for entry in giver[1]["bindings"] if not _same(binding, entry)]
    bindings = state["sites"][target]["bindings"]
    if not any(_same(binding, entry) for entry in bindings):
        secure = binding["protocol"] == "https"
        bindings.append(
            {
                "protocol": binding["protocol"],
                "bindingInformation": binding["information"],
                "certificateHash": binding["certificate_hash"] if secure else "",
                "certificateStoreName": binding["certificate_store"] if secure and binding["certificate_hash"] else "",
                "sslFlags": binding["ssl_flags"],
            }
        )


def _start(host: Host, site: str | None, pool: str | None) -> None:
    """Start what is not started; ScriptFailure while the web server's services are down."""
    state = host.read("iis.json")
    names = [(kind, name) for kind, name in (("pools", pool), ("sites", site)) if name and _find(state[kind], name)]
    if names and not _web_server_runs(host):
        message = "The service has not been started. (Exception from HRESULT: 0x80070426)"
        raise ScriptFailure(message, "COMException", "System.Runtime.InteropServices.COMException", SERVICE_DOWN)
    with _changing(host) as state:
        for kind, name in names:
            found = _find(state[kind], name)
            assert found is not None
            found[1]["state"] = "Started"


def _public(site: dict[str, Any], check_binding: str) -> list[dict[str, Any]]:
    web = (entry for entry in site["bindings"] if entry["protocol"] in ("http", "https"))
    return [entry for entry in web if entry["information"] != check_binding]


def _some(sites: list[Any]) -> list[Any]:
    """A mandatory parameter of PowerShell takes no empty list."""
    if not sites:
        message = "Cannot bind argument to parameter 'sites' because it is an empty array."
        kind = "System.Management.Automation.ParameterBindingValidationException"
        raise ScriptFailure(message, "ParameterArgumentValidationErrorEmptyArrayNotAllowed", kind, -2146233087)
    return sites


@script("Enter-Maintenance")
def enter_maintenance(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    wanted = _some(parameters["sites"])
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    page = parameters["html"].encode()
    if len(page) > LARGEST_PAGE:
        message = "The maintenance page is larger than 1 MB, which ASP.NET ignores. Make it smaller."
        raise ScriptFailure(message, "PageTooLarge")
    seen = [_site(host, host.read("iis.json"), each["name"]) for each in wanted]
    for each, site in zip(wanted, seen, strict=True):
        _check(each, site)

    def note(record: dict[str, Any]) -> None:
        for each, site in zip(wanted, seen, strict=True):
            _note_site(record, site, each["check_binding"])

    record = update_quiesce(host, parameters["number"], parameters["fence"], note)
    known = [next(one for one in record["sites"] if one["name"] == site["name"]) for site in seen]
    _write_page(host, page, parameters.get("retry_after_seconds", 1800))
    _let_last_customers_in(host)
    with _changing(host) as state:
        if _find(state["pools"], MAINTENANCE) is None:
            state["pools"][MAINTENANCE] = {"state": "Started"}
        if MAINTENANCE not in state["sites"]:
            state["sites"][MAINTENANCE] = _fresh_site(state, record)
        for site in known:
            for binding in site["bindings"]:
                _move(state, site["name"], MAINTENANCE, binding)
        bindings = state["sites"][MAINTENANCE]["bindings"]
        if len(bindings) > 1:
            kept = [entry for entry in bindings if _binding(entry)["host"] != PLACEHOLDER]
            state["sites"][MAINTENANCE]["bindings"] = kept
    _start(host, MAINTENANCE, MAINTENANCE)
    return _facts(host, [each["name"] for each in wanted])


def _let_last_customers_in(host: Host) -> None:
    if "iis" in host.parts:
        host.parts["iis"].last_customers()


def _check(wanted: dict[str, Any], site: dict[str, Any]) -> None:
    name, private = wanted["name"], wanted["check_binding"]
    if not site["exists"]:
        message = f"IIS has no site '{name}'. Correct engageip.sites in the estate file."
        raise ScriptFailure(message, "SiteMissing")
    if not any(entry["information"] == private for entry in site["bindings"]):
        message = (
            f"Site '{name}' has no binding '{private}': behind the maintenance page the checks would not see it. "
            "Add that binding, or correct check_url."
        )
        raise ScriptFailure(message, "CheckBindingMissing")


def _note_site(record: dict[str, Any], site: dict[str, Any], check_binding: str) -> None:
    public = _public(site, check_binding)
    known = next((one for one in record["sites"] if one["name"] == site["name"]), None)
    if known is None:
        state = {key: site[key] for key in ("name", "state", "pool", "pool_state")}
        record["sites"].append({**state, "check_binding": check_binding, "bindings": public})
        return
    claimed = [(one["protocol"], one["information"]) for one in known["bindings"]]
    known["bindings"] += [one for one in public if (one["protocol"], one["information"]) not in claimed]


def _write_page(host: Host, page: bytes, seconds: int) -> None:
    host.disk.path(FOLDER).mkdir(parents=True, exist_ok=True)
    with host.edit("acl.json") as acl:
        if (code := acl.get("@icacls")) is not None:
            message = (
                f"IIS could not be let into {FOLDER}: icacls.exe answered {code}. "
                "Check that the account is an administrator."
            )
            raise ScriptFailure(message, "FolderProtection")
        known = acl.get(FOLDER, {}).get("dacl", "AI")
        readers = [f"(A;OICI;0x1200a9;;;{who})" for who in ("IS", "S-1-5-17")]
        acl[FOLDER] = {"owner": "BA", "dacl": known + "".join(ace for ace in readers if ace not in known)}
    write_file(host, rf"{FOLDER}\web.config", CONFIG.format(seconds=seconds).encode())
    write_file(host, rf"{FOLDER}\index.html", page)
    write_file(host, rf"{FOLDER}\app_offline.htm", page)


def _fresh_site(state: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    plain = [one for site in record["sites"] for one in site["bindings"] if one["protocol"] == "http"]
    port = plain[0]["information"].rsplit(":", 2)[1] if plain else "80"
    return {
        "id": 1 + max((site["id"] for site in state["sites"].values()), default=0),
        "state": "Started",
        "path": FOLDER,
        "pool": MAINTENANCE,
        "bindings": [
            {
                "protocol": "http",
                "bindingInformation": f"*:{port}:{PLACEHOLDER}",
                "certificateHash": "",
                "certificateStoreName": "",
                "sslFlags": 0,
            }
        ],
    }


def open_sites(host: Host, names: list[str], recorded: list[dict[str, Any]]) -> list[str]:
    """Give sites their recorded bindings back and start them; a line for each that does not start."""
    if not recorded:
        return []
    asked = [name.casefold() for name in names]
    with _changing(host) as state:
        sites = state.setdefault("sites", {})
        present = [site for site in recorded if site["name"].casefold() in asked and site["name"] in sites]
        for known in present:
            for binding in known["bindings"]:
                _move(state, MAINTENANCE, known["name"], binding)
        page = sites.get(MAINTENANCE)
        if page is not None and all(re.search(rf":{PLACEHOLDER}$", b["bindingInformation"]) for b in page["bindings"]):
            del sites[MAINTENANCE]
            state["pools"].pop(MAINTENANCE, None)
    failed = []
    for known in present:
        try:
            site = known["name"] if known["state"] == "Started" else None
            _start(host, site, known["pool"] if known["pool_state"] == "Started" else None)
        except ScriptFailure as failure:
            failed.append(f"{known['name']}: {failure.message}")
    return failed


@script("Exit-Maintenance")
def exit_maintenance(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    recorded = (quiesce(host) or {"sites": []})["sites"]
    names = parameters.get("sites") or [site["name"] for site in recorded]
    failed = open_sites(host, names, recorded)
    if failed:
        message = (
            f"Sites have their bindings back and do not start: {'; '.join(failed)}. "
            "Look at the services W3SVC and WAS, then call again."
        )
        raise ScriptFailure(message, "SiteNotStarted")
    return _facts(host, names)


@script("Restart-AppPools")
def restart_app_pools(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    facts = _facts(host, parameters["sites"])["sites"]
    answers = []
    for pool in dict.fromkeys(site["pool"] for site in facts if site["exists"]):
        before = _pool_state(host, host.read("iis.json"), pool)
        _start(host, None, pool)
        if before == "Started":
            with host.edit("iis.json") as state:
                state["pools"][pool]["recycled"] = state["pools"][pool].get("recycled", 0) + 1
        host.event("pool.recycle", pool=pool, before=before)
        if "iis" in host.parts:
            host.parts["iis"].recycle(pool)
        answers.append({"name": pool, "before": before, "after": _pool_state(host, host.read("iis.json"), pool)})
    return {"pools": answers, "missing": [site["name"] for site in facts if not site["exists"]]}


@script("Stop-AppPools")
def stop_app_pools(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    facts = _facts(host, parameters["sites"])["sites"]
    answers = []
    for pool in dict.fromkeys(site["pool"] for site in facts if site["exists"]):
        before = _pool_state(host, host.read("iis.json"), pool)
        if before == "Started":
            with host.edit("iis.json") as state:
                state["pools"][pool]["state"] = "Stopped"
            host.event("pool.stop", pool=pool)
            if "iis" in host.parts:
                host.parts["iis"].reload()
        answers.append({"name": pool, "before": before, "after": _pool_state(host, host.read("iis.json"), pool)})
    missing = [site["name"] for site in facts if not site["exists"]]
    return {
        "pools": answers,
        "missing": missing,
        "complete": all(a["after"] in ("Stopped", "Unknown") for a in answers),
    }

"""IIS: no binding is ever lost on the way to the maintenance page and back, whoever dies in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.lookalike,
    pytest.mark.telling("Get-IisState", "Enter-Maintenance", "Exit-Maintenance", "Restart-AppPools", "Stop-AppPools"),
]

ROOT = "C/ProgramData/EngageIPPatching"
QUIESCE = f"{ROOT}/quiesce.json"
HTML = "<h1>Zurück um 4 Uhr — bald & €</h1>"
MAINTENANCE = "EngageIPMaintenance"
TIMES = {"opened": 0, "closed": 0}


def binding(information: str, protocol: str = "http", certificate: str = "", flags: int = 0) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "bindingInformation": information,
        "certificateHash": certificate,
        "certificateStoreName": "My" if certificate else "",
        "sslFlags": flags,
    }


def iis() -> dict[str, Any]:
    """Two sites of EngageIP, one of somebody else's, certificates of every kind, a pool that is stopped."""
    return {
        "sites": {
            "Default Web Site": {
                "id": 1, "state": "Started", "path": r"C:\inetpub", "pool": "DefaultAppPool",
                "bindings": [binding("*:80:")],
            },
            "AdminPortal": {
                "id": 2, "state": "Started", "path": r"C:\EngageIP\AdminPortal", "pool": "AdminPortal",
                "bindings": [
                    binding("*:8080:"),
                    binding("*:8081:"),
                    binding("*:443:billing.acme.example", "https", "A1B2", 1),
                    binding("[2001:db8::5]:443:", "https", "C3D4"),
                    binding("*:444:", "https", "", 2),
                    binding("808:*", "net.tcp"),
                ],
            },
            "Portal": {
                "id": 5, "state": "Stopped", "path": r"C:\EngageIP\Portal", "pool": "Portal",
                "bindings": [binding("*:8090:"), binding("127.0.0.1:8091:")],
            },
        },
        "pools": {
            "DefaultAppPool": {"state": "Started"},
            "AdminPortal": {"state": "Started", "startMode": "AlwaysRunning"},
            "Portal": {"state": "Stopped"},
        },
    }  # fmt: skip


@pytest.fixture
def hosts(twin: Callable[..., Any]) -> Any:
    """Make a web server with these sites."""
    made = twin()
    made.state("iis.json", lambda state: state.update(iis()))
    return made


def enter(*sites: tuple[str, str], number: int = 1, fence: int = 1) -> dict[str, Any]:
    wanted = [{"name": name, "check_binding": private} for name, private in sites]
    return {"sites": wanted, "html": HTML, "number": number, "fence": fence}


BOTH = (("AdminPortal", "*:8081:"), ("Portal", "127.0.0.1:8091:"))


def test_no_site_is_nothing_to_close(hosts: Any) -> None:
    """A web server without a site of EngageIP is not asked: its PowerShell refuses an empty list before the script begins."""
    refused = hosts.run("Enter-Maintenance", enter()).agree("line", "script")
    assert "empty array" in refused["message"]


def claimed(state: dict[str, Any]) -> dict[str, set[str]]:
    return {name: {b["bindingInformation"] for b in site["bindings"]} for name, site in state["sites"].items()}


def same_iis(hosts: Any) -> dict[str, Any]:
    """iis.json and quiesce.json are the same on both sides; returns the former."""
    first, second = hosts.json(QUIESCE)
    if first is not None:
        assert first | TIMES == second | TIMES
    first, second = hosts.json("iis.json")
    assert first == second
    found: dict[str, Any] = first
    return found


def test_state_of_sites_and_pools(hosts: Any) -> None:
    """What there is, in the order asked, whatever the case of the names; an absent site is one that does not exist."""
    answer = hosts.run("Get-IisState", {"sites": ["portal", "No such", "AdminPortal"]}).agree()
    portal, nothing, admin = answer["sites"]
    assert (portal["name"], portal["state"], portal["pool_state"]) == ("Portal", "Stopped", "Stopped")
    assert (nothing["exists"], nothing["bindings"]) == (False, [])
    assert [b["host"] for b in admin["bindings"]] == ["", "", "billing.acme.example", "", "", ""]
    assert answer["maintenance"] == {"exists": False, "state": None, "bindings": []}


def test_state_while_the_web_server_is_down(hosts: Any) -> None:
    """Configuration can be read without the services; states cannot, and are not guessed."""
    hosts.state("services.json", lambda services: services.update(WAS={"status": "Stopped", "start": "Manual"}))
    admin = hosts.run("Get-IisState", {"sites": ["AdminPortal"]}).agree()["sites"][0]
    assert (admin["state"], admin["pool_state"], len(admin["bindings"])) == ("Unknown", "Unknown", 6)


def test_no_iis_configuration_is_no_sites(twin: Callable[..., Any]) -> None:
    """A host without sites answers, rather than failing."""
    answer = twin().run("Get-IisState", {"sites": ["AdminPortal"]}).agree()
    assert not answer["sites"][0]["exists"]


def test_into_maintenance_and_back(hosts: Any) -> None:
    """The public bindings move, with their certificates; the private ones stay; coming back leaves no trace."""
    answer = hosts.run("Enter-Maintenance", enter(*BOTH)).agree()
    assert answer["maintenance"]["state"] == "Started"
    state = same_iis(hosts)
    assert claimed(state) == {
        "Default Web Site": {"*:80:"},
        "AdminPortal": {"*:8081:", "808:*"},
        "Portal": {"127.0.0.1:8091:"},
        MAINTENANCE: {"*:8080:", "*:443:billing.acme.example", "[2001:db8::5]:443:", "*:444:", "*:8090:"},
    }
    certificates = {b["bindingInformation"]: b["certificateHash"] for b in state["sites"][MAINTENANCE]["bindings"]}
    assert certificates["*:443:billing.acme.example"] == "A1B2"
    assert certificates["[2001:db8::5]:443:"] == "C3D4"
    hosts.run("Exit-Maintenance", {"fence": 1}).agree()
    after, before = same_iis(hosts), iis()
    assert claimed(after) == claimed(before)
    assert after["pools"] == before["pools"]
    for name, site in before["sites"].items():
        assert sorted(after["sites"][name]["bindings"], key=str) == sorted(site["bindings"], key=str)
        assert after["sites"][name]["state"] == site["state"]


def test_the_page_is_written_before_anybody_sees_it(hosts: Any) -> None:
    """The same files on both sides; the page is UTF-8 as it was sent, and answers 503 through app_offline.htm."""
    hosts.run("Enter-Maintenance", enter(BOTH[0])).agree()
    for name in ("index.html", "app_offline.htm", "web.config"):
        first, second = ((side / ROOT / "maintenance" / name).read_bytes() for side in (hosts.engine, hosts.lab.folder))
        assert first == second
        assert name == "web.config" or first == HTML.encode()
    assert b'name="Retry-After" value="1800"' in first


def test_entering_twice_is_entering_once(hosts: Any) -> None:
    """The record keeps what was there before the first call."""
    hosts.run("Enter-Maintenance", enter(*BOTH)).agree()
    before, record = same_iis(hosts), hosts.json(QUIESCE)[0]
    hosts.run("Enter-Maintenance", enter(*BOTH)).agree()
    assert same_iis(hosts) == before
    assert hosts.json(QUIESCE)[0]["sites"] == record["sites"]


@pytest.mark.parametrize("moved", range(7))
def test_a_call_that_died_half_way_is_completed(hosts: Any, moved: int) -> None:
    """After each number of steps (a binding taken away, not given yet) the next call ends where the first would have."""
    hosts.run("Enter-Maintenance", enter(BOTH[0])).agree()
    goal = claimed(same_iis(hosts))

    def half(state: dict[str, Any]) -> None:
        sites = state["sites"]
        public = sites[MAINTENANCE]["bindings"]
        if moved == 0:
            del sites[MAINTENANCE], state["pools"][MAINTENANCE]
        else:
            # One binding is nowhere, those after it are still with their site.
            sites[MAINTENANCE]["bindings"] = public[: (moved - 1) // 2]
        rest = public if moved == 0 else public[(moved - 1) // 2 + moved % 2 :]
        sites["AdminPortal"]["bindings"] += rest

    hosts.state("iis.json", half)
    hosts.run("Enter-Maintenance", enter(BOTH[0])).agree()
    assert claimed(same_iis(hosts)) == goal
    hosts.state("iis.json", half)
    hosts.run("Exit-Maintenance", {"fence": 1}).agree()
    assert claimed(same_iis(hosts)) == claimed(iis())


def test_a_binding_that_somebody_adds_is_recorded_too(hosts: Any) -> None:
    """A public binding that appears between two calls moves with the others, and comes back."""
    hosts.run("Enter-Maintenance", enter(BOTH[0])).agree()
    hosts.state("iis.json", lambda state: state["sites"]["AdminPortal"]["bindings"].append(binding("*:8085:")))
    hosts.run("Enter-Maintenance", enter(BOTH[0])).agree()
    assert "*:8085:" in claimed(same_iis(hosts))[MAINTENANCE]
    hosts.run("Exit-Maintenance", {"fence": 1}).agree()
    assert "*:8085:" in claimed(same_iis(hosts))["AdminPortal"]


def test_sites_open_one_by_one(hosts: Any) -> None:
    """The page stays for those that are still closed."""
    hosts.run("Enter-Maintenance", enter(*BOTH)).agree()
    hosts.run("Exit-Maintenance", {"sites": ["AdminPortal"], "fence": 1}).agree()
    state = claimed(same_iis(hosts))
    assert state["AdminPortal"] == claimed(iis())["AdminPortal"]
    assert state[MAINTENANCE] == {"*:8090:"}
    hosts.run("Exit-Maintenance", {"fence": 1}).agree()
    assert MAINTENANCE not in claimed(same_iis(hosts))


def test_a_site_that_is_gone_keeps_its_bindings_on_the_page(hosts: Any) -> None:
    """An upgrade that lost a site does not lose its addresses; the other site opens."""
    hosts.run("Enter-Maintenance", enter(*BOTH)).agree()
    hosts.state("iis.json", lambda state: state["sites"].pop("Portal"))
    answer = hosts.run("Exit-Maintenance", {"fence": 1}).agree()
    assert [site["exists"] for site in answer["sites"]] == [True, False]
    assert claimed(same_iis(hosts))[MAINTENANCE] == {"*:8090:"}


def test_sites_start_again_only_if_they_ran(hosts: Any) -> None:
    """A reboot in between stops nothing for good, and starts nothing that was stopped before."""
    hosts.run("Enter-Maintenance", enter(*BOTH)).agree()

    def stop(state: dict[str, Any]) -> None:
        state["sites"]["AdminPortal"]["state"] = state["pools"]["AdminPortal"]["state"] = "Stopped"

    hosts.state("iis.json", stop)
    answer = hosts.run("Exit-Maintenance", {"fence": 1}).agree()
    assert [(s["state"], s["pool_state"]) for s in answer["sites"]] == [("Started", "Started"), ("Stopped", "Stopped")]
    same_iis(hosts)


@pytest.mark.parametrize("parameters", [{"sites": [], "fence": 1}, {"sites": ["AdminPortal"], "fence": 1}])
def test_coming_back_while_the_web_server_is_down(hosts: Any, parameters: dict[str, Any]) -> None:
    """The addresses go back, which is configuration; that nothing starts is an error; the next call ends the work."""
    hosts.run("Enter-Maintenance", enter(*BOTH)).agree()
    hosts.state("services.json", lambda services: services.update(WAS={"status": "Stopped", "start": "Manual"}))
    failure = hosts.run("Exit-Maintenance", parameters).agree("line")
    assert (failure["id"], "AdminPortal: The service has not been started" in failure["message"]) == (
        "SiteNotStarted",
        True,
    )
    assert claimed(same_iis(hosts))["AdminPortal"] == claimed(iis())["AdminPortal"]
    hosts.state("services.json", lambda services: services.update(WAS={"status": "Running", "start": "Manual"}))
    assert hosts.run("Exit-Maintenance", parameters).agree()["sites"][0]["state"] == "Started"


def test_closing_while_the_web_server_is_down(hosts: Any) -> None:
    """The bindings are moved and recorded, and that the page is not served is an error."""
    hosts.state("services.json", lambda services: services.update(WAS={"status": "Stopped", "start": "Manual"}))
    failure = hosts.run("Enter-Maintenance", enter(BOTH[0])).agree("line", "id")
    assert failure["hresult"] & 0xFFFFFFFF == 0x80070426
    assert claimed(same_iis(hosts))["AdminPortal"] == {"*:8081:", "808:*"}


@pytest.mark.parametrize(
    ("sites", "refusal"),
    [((("No such", "*:8081:"),), "SiteMissing"), ((BOTH[0], ("Portal", "*:9999:")), "CheckBindingMissing")],
)
def test_what_cannot_be_closed_well_is_not_closed(hosts: Any, sites: Any, refusal: str) -> None:
    """An unknown site, or one that the checks could not see: refused before anything is recorded or moved."""
    assert hosts.run("Enter-Maintenance", enter(*sites)).agree("line")["id"] == refusal
    assert same_iis(hosts) == iis()
    assert hosts.json(QUIESCE) == (None, None)


def test_a_page_that_aspnet_would_ignore_is_refused(hosts: Any) -> None:
    """app_offline.htm of more than 1 MB is not used: customers would see the portal."""
    parameters = enter(BOTH[0]) | {"html": "x" * ((1 << 20) + 1)}
    assert hosts.run("Enter-Maintenance", parameters).agree("line")["id"] == "PageTooLarge"


def test_leaving_without_having_entered(hosts: Any) -> None:
    """Nothing recorded is nothing to do."""
    assert hosts.run("Exit-Maintenance", {"fence": 1}).agree()["sites"] == []
    assert same_iis(hosts) == iis()


def test_a_lower_fence_moves_nothing(hosts: Any) -> None:
    """A run that lost its lease neither closes nor opens."""
    lease = {"fence": 5, "holder": "other", "key": "k", "taken": "", "expires": "", "released": False}
    hosts.put(f"{ROOT}/lease.json", json.dumps(lease))
    for name, parameters in (
        ("Enter-Maintenance", enter(BOTH[0])),
        ("Exit-Maintenance", {"fence": 1}),
        ("Stop-AppPools", {"sites": [], "fence": 1}),
        ("Restart-AppPools", {"sites": [], "fence": 1}),
    ):
        assert hosts.run(name, parameters).agree("line")["id"] == "FenceTooLow"
    assert same_iis(hosts) == iis()


def test_pools_are_recycled_or_started(hosts: Any) -> None:
    """A running pool is recycled, a stopped one started, each once however many sites it serves."""
    hosts.state("iis.json", lambda state: state["sites"]["Default Web Site"].update(pool="AdminPortal"))
    parameters = {"sites": ["AdminPortal", "Default Web Site", "Portal", "No such"], "fence": 1}
    answer = hosts.run("Restart-AppPools", parameters).agree()
    assert answer == {
        "pools": [
            {"name": "AdminPortal", "before": "Started", "after": "Started"},
            {"name": "Portal", "before": "Stopped", "after": "Started"},
        ],
        "missing": ["No such"],
    }
    assert same_iis(hosts)["pools"]["AdminPortal"]["recycled"] == 1


def test_pools_are_stopped_and_started_again(hosts: Any) -> None:
    """No worker holds a file of a stopped pool; one that is stopped already stays so, each is asked once."""
    hosts.state("iis.json", lambda state: state["sites"]["Default Web Site"].update(pool="AdminPortal"))
    sites = ["AdminPortal", "Default Web Site", "Portal", "No such"]
    answer = hosts.run("Stop-AppPools", {"sites": sites, "fence": 1}).agree()
    assert answer == {
        "pools": [
            {"name": "AdminPortal", "before": "Started", "after": "Stopped"},
            {"name": "Portal", "before": "Stopped", "after": "Stopped"},
        ],
        "missing": ["No such"],
        "complete": True,
    }
    assert {name: pool["state"] for name, pool in same_iis(hosts)["pools"].items()}["AdminPortal"] == "Stopped"
    again = hosts.run("Restart-AppPools", {"sites": ["AdminPortal"], "fence": 1}).agree()
    assert again["pools"] == [{"name": "AdminPortal", "before": "Stopped", "after": "Started"}]


def test_nothing_is_stopped_while_the_web_server_is_down(hosts: Any) -> None:
    """Its pools are down with it, and the answer says that nobody knows."""
    hosts.state("services.json", lambda services: services.update(WAS={"status": "Stopped", "start": "Manual"}))
    answer = hosts.run("Stop-AppPools", {"sites": ["AdminPortal"], "fence": 1}).agree()
    assert answer["pools"] == [{"name": "AdminPortal", "before": "Unknown", "after": "Unknown"}]

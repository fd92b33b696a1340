"""A whole lab: the presets, the papers, the boots that finish updates, and its separate estates."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import winrm
from ruamel.yaml import YAML

from blocks.winrm.scripts import bootstrap_command, library, script_text
from lab import paper
from lab.estate import PRESETS, Lab
from lab.spec import CUMULATIVE, DOTNET
from model.estate import load_estate
from model.parts import Window
from model.window import may_start


@pytest.fixture
def lab_of(tmp_path: Path) -> Iterator[Callable[[str], Lab]]:
    """Start a preset; it is stopped at the end of the test."""
    labs: list[Lab] = []

    def start(preset: str) -> Lab:
        labs.append(Lab(PRESETS[preset], tmp_path / f"{preset}{len(labs)}", speed=200).start())
        return labs[-1]

    yield start
    for lab in labs:
        lab.stop()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_an_estate_that_serves(lab_of: Callable[[str], Lab], preset: str) -> None:
    """The estate file loads, its credentials are there by name and kind, and each node answers at its check URLs."""
    lab = lab_of(preset)
    estate = load_estate(lab.estate_file.read_text(encoding="utf-8"), lab.estate_file.name)
    known = json.loads(lab.credentials_file.read_text(encoding="utf-8"))
    assert {name: known[name]["kind"] for name in estate.credentials_names()} == estate.credentials_names()
    for site in estate.engageip.sites:
        for node in estate.nodes_of(site.name):
            with urllib.request.urlopen(estate.check_url(site.name, node) + "/", timeout=10) as page:  # noqa: S310
                assert page.status == 200
    for name in estate.hosts:
        declared = {service.casefold() for service in estate.services_on(name)}
        assert declared <= {service.casefold() for service in lab.hosts[name].read("services.json")}


@pytest.mark.parametrize("day", ["2026-03-08", "2026-07-01", "2026-11-01"])
def test_a_lab_is_open_for_most_of_a_day_whenever_it_starts(day: str, tmp_path: Path) -> None:
    """Past midnight too, and on the days of 23 and of 25 hours."""
    for minutes in range(0, 36 * 60, 10):
        now = datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(minutes=minutes)
        paper.write_yaml(tmp_path / "window.yaml", paper.all_day(now))
        window = Window.model_validate(YAML(typ="safe", pure=True).load(tmp_path / "window.yaml"))
        for hours in (0, 20):
            verdict = may_start(window, paper.ZONE, now + timedelta(hours=hours))
            assert verdict.allowed, (now, hours)
            assert hours or verdict.closes == may_start(window, paper.ZONE, now + timedelta(hours=20)).closes


def test_two_labs_live_side_by_side(lab_of: Callable[[str], Lab]) -> None:
    """Each has its own addresses, with the same ports."""
    first, second = lab_of("single"), lab_of("single")
    assert first.hosts["all01"].address != second.hosts["all01"].address


def test_a_boot_finishes_what_updates_began(lab_of: Callable[[str], Lab], wait_until: Callable[..., None]) -> None:
    """A pending update sticks and raises the revision of Windows, or is rolled back; nothing waits for a reboot then."""
    lab = lab_of("acme")
    host = lab.hosts["web01"]

    def version() -> Any:
        return host.read("registry.json")["HKLM"]["SOFTWARE"]["Microsoft"]["Windows NT"]["CurrentVersion"]["@"]["UBR"]

    with host.edit("updates.json") as state:
        by_id = {update["id"]: update for update in state["updates"]}
        by_id[CUMULATIVE.id]["pending"] = True
        by_id[DOTNET.id] |= {"pending": True, "sticks": False}
        state["reboot_pending"] = True
    before = version()
    lab.restart("web01", 1)
    wait_until(lambda: host.boot_number == 2 and host.up.is_set(), what="the boot")
    state = host.read("updates.json")
    installed = {update["id"]: update["installed"] for update in state["updates"]}
    assert (installed[CUMULATIVE.id], installed[DOTNET.id], state["reboot_pending"]) == (True, False, False)
    assert (before, version()) == (5206, CUMULATIVE.ubr)
    events = [json.loads(line)["event"] for line in lab.audit.path.read_text(encoding="utf-8").splitlines()]
    assert events.count("update.committed") == events.count("update.rolled_back") == 1


def test_a_host_that_is_down_comes_up_once(lab_of: Callable[[str], Lab], wait_until: Callable[..., None]) -> None:
    """As the last one who pressed its button said: whatever else was to start it does not start it again."""
    lab = lab_of("acme")
    host = lab.hosts["web01"]
    lab.restart("web01", 500)
    wait_until(lambda: not host.up.is_set(), what="the shutdown")
    lab.restart("web01", 1)
    wait_until(host.up.is_set, what="the boot")
    host.clock.sleep(600)  # the first boot would have come
    assert host.boot_number == 2


def test_web_pages_need_the_database(lab_of: Callable[[str], Lab], wait_until: Callable[..., None]) -> None:
    """The parts are wired to each other: SQL Server gone, the page that asks it is broken."""
    lab = lab_of("acme")
    url = f"http://{lab.hosts['web01'].address}:8081/AdminPortal/"
    lab.restart("sql01", 10_000)
    wait_until(lambda: not lab.hosts["sql01"].up.is_set(), what="the shutdown")

    def status() -> int:
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                return int(page.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status() == 500


def test_hosts_tell_their_facts_over_the_wire(lab_of: Callable[[str], Lab]) -> None:
    """A shipped script, sent as a client sends it, finds the host as it was furnished."""
    lab = lab_of("acme")
    known = json.loads(lab.credentials_file.read_text(encoding="utf-8"))["winrm-acme"]
    endpoint = f"http://{lab.hosts['sql01'].address}:5985/wsman"
    client = winrm.Protocol(endpoint, "ntlm", known["username"], known["password"], proxy=None, ca_trust_path=None)
    shell = client.open_shell(codepage=65001)
    program, arguments = bootstrap_command()
    command = client.run_command(shell, program, arguments, console_mode_stdin=False)
    sent = {"name": "Get-HostFacts", "library": library(), "script": script_text("Get-HostFacts")}
    document = json.dumps({**sent, "parameters": {"services": ["mssqlserver", "nosuch"]}}).encode()
    client.send_command_input(shell, command, document, end=True)
    out, _, code = client.get_command_output(shell, command)
    answer = json.loads(out)
    assert (code, answer["ok"]) == (0, True), answer
    facts = answer["value"]
    assert (facts["computer"], facts["os"]["ubr"], facts["cluster"]) == ("SQL01", 5206, False)
    assert [drive["letter"] for drive in facts["drives"]] == ["C", "D", "E"]
    assert [service["exists"] for service in facts["services"]] == [True, False]


def test_shares_are_one_folder(lab_of: Callable[[str], Lab]) -> None:
    """What one host writes to the share, the others read there."""
    lab = lab_of("acme")
    lab.hosts["sql01"].disk.write(r"\\nas01\billing\proof.txt", b"one")
    assert lab.hosts["web01"].disk.path(r"\\NAS01\Billing\PROOF.TXT").read_bytes() == b"one"

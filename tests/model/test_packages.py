"""Packages: their versions, what exit codes mean, and what became of one, told by its version."""

from __future__ import annotations

from typing import Any

import pytest

from model.estate import EstateFaults, load_estate
from model.installers import (
    Ran,
    after_restart,
    codes_to_wait_for,
    installed_version,
    judged_package,
    package_meaning,
)
from model.packages import EngageIPUpgrade, ExePackage, FileBorne, MsiPackage, MsuPackage, PowerShellStep, probe_of
from model.versions import reached, same_version
from model.words import exit_code

COMMON: dict[str, Any] = {"on": "web01", "sha256": "ab" * 32, "publisher": "Acme"}
PROBE = {"probe": {"product": "Agent"}, "version": "4.2.0"}


def msi(**more: Any) -> MsiPackage:
    return MsiPackage(**{"kind": "msi", "name": "Agent", "source": r"C:\agent.msi", **COMMON, **PROBE, **more})


def exe(**more: Any) -> ExePackage:
    return ExePackage(**{"kind": "exe", "name": "Agent", "source": r"C:\agent.exe", **COMMON, **PROBE, **more})


def msu(**more: Any) -> MsuPackage:
    return MsuPackage(**{"kind": "msu", "name": "Fix", "source": r"C:\fix.msu", "kb": "KB5034439", **COMMON, **more})


def step(**more: Any) -> PowerShellStep:
    return PowerShellStep(**{"kind": "powershell", "name": "Step", "source": r"C:\s.ps1", **COMMON, **PROBE, **more})


def upgrade(**more: Any) -> EngageIPUpgrade:
    schema = {"on": "sql01", "database": "EngageIP", "sql": "SELECT 1"}
    given = {"kind": "engageip-upgrade", "name": "EngageIP 8.6", "source": r"C:\e.exe", "schema_version": schema}
    return EngageIPUpgrade(**{**given, **COMMON, **PROBE, **more})


@pytest.mark.parametrize(
    ("found", "wanted", "answer"),
    [
        ("4.2.0", "4.2", True),
        ("4.10", "4.9.9", True),
        ("4.1.99", "4.2", False),
        ("4, 2, 0, 1", "4.2", True),
        ("v4.2", "4.2.0.0", True),
        ("2024b", "2024b", True),
        ("2024c", "2024b", False),  # whether it is newer nobody can tell
        (None, "4.2", False),
        ("", "4.2", False),
    ],
)
def test_versions_are_numbers_where_they_can_be(found: str | None, wanted: str, answer: bool) -> None:
    """4.10 is newer than 4.9; what is no row of numbers must be the same text."""
    assert reached(found, wanted) is answer


def test_the_same_version() -> None:
    """Trailing zeros say nothing, and nothing is the same as none."""
    assert same_version("8.5.23", "8.5.23.0")
    assert not same_version("8.5.23", "8.5.2")
    assert not same_version(None, "8.5.23")
    assert same_version(None, None)


@pytest.mark.parametrize(
    ("package", "code", "do"),
    [
        (msi(), 0, "done"),
        (msi(), 3010, "done-reboot"),
        (msi(), 1641, "done-rebooting"),
        (msi(), 1618, "wait"),
        (msi(), 1603, "fail-update"),
        (msi(), 1605, "not-needed"),
        (msi(), 1612, "fail-update"),
        (msi(), 1619, "fail-update"),
        (msi(), 1638, "fail-update"),
        (msi(), 1642, "fail-update"),
        (exe(), 3010, "done-reboot"),
        (exe(), 1618, "wait"),
        (exe(), 5, "unknown"),
        (exe(exit_codes={"5": "reboot"}), 5, "done-reboot"),
        (msi(exit_codes={"1605": "failed"}), 1605, "fail-update"),
        (msu(), 0x240006, "not-needed"),
        (msu(), 0x240005, "done-reboot"),
        (msu(), 3010, "done-reboot"),
        (msu(), -2145124329, "not-needed"),
        (msu(), 0x240001, "retry"),
        (msu(source=r"C:\fix.cab"), -2146498530, "not-needed"),
        (msu(exit_codes={"0x80240017": "failed"}), -2145124329, "fail-update"),
        (step(), 0, "done"),
        (step(), 1, "fail-update"),
    ],
)
def test_what_exit_codes_mean(package: FileBorne, code: int, do: str) -> None:
    """Those of the package's kind; the estate's own come first, however they are written there."""
    assert package_meaning(package, code).do == do


def test_codes_that_are_waited_for() -> None:
    """1618 of Windows Installer, and what the estate says; also where it says that 1618 is something else."""
    assert codes_to_wait_for(msi()) == (1618,)
    assert codes_to_wait_for(exe(exit_codes={"0x80070652": "wait"})) == (-2147023278, 1618)
    assert codes_to_wait_for(msi(exit_codes={1618: "failed"})) == ()
    assert codes_to_wait_for(step()) == codes_to_wait_for(msu()) == ()


def test_exit_codes_are_read_however_they_are_written() -> None:
    """As a process answers them: signed, 32 bits."""
    assert [exit_code(text) for text in ("3010", "-5", "0x80070643", 4294967295)] == [3010, -5, -2147023293, -1]
    for wrong in ("x", "0x1FFFFFFFF", "4294967296", True, 1.5):
        with pytest.raises(ValueError, match="exit code"):
            exit_code(wrong)


@pytest.mark.parametrize(
    ("code", "found", "result", "restart", "said"),
    [
        (0, "4.2.0", "installed", False, None),
        (3010, "4.2.0", "reboot-pending", True, None),
        (1641, None, "reboot-pending", True, None),
        (0, "4.1.0", "failed", False, "answered 0: succeeded, and version 4.1.0 is there instead of 4.2.0"),
        (0, None, "failed", False, "no version is there instead of 4.2.0"),
        (1603, "4.2.0", "installed", False, "answered 1603: fatal error"),
        (1603, "4.1.0", "failed", False, "answered 1603: fatal error"),
        (1618, None, "failed", False, "answered 1618: another installation is running"),
        (1638, None, "failed", False, "another version of this product"),
        (None, "4.2.0", "installed", True, "its job was cut off"),  # by a restart that nobody has waited for
        (None, None, "failed", True, "its job was cut off"),
    ],
)
def test_the_version_decides(code: int | None, found: str | None, result: str, restart: bool, said: str | None) -> None:
    """Not the code: one that lies is a failure, one that failed and is there is not; a restart is asked for by the code."""
    judged = judged_package(msi(), Ran(code, found))
    assert (judged.result, judged.restart) == (result, restart)
    assert (said in (judged.remark or "")) if said else judged.remark is None
    assert judged.proof == ("version 4.2.0" if found == "4.2.0" else None)


@pytest.mark.parametrize(
    ("package", "code", "result", "said"),
    [
        (msu(), -2145124329, "not-needed", "answered 0x80240017: is not for this host, or superseded, and KB5034439 is not among"),
        (msu(source=r"C:\fix.cab"), -2146498530, "not-needed", "answered 0x800F081E: is not for this host"),
        (msu(), 0x240006, "not-needed", "is installed already, and KB5034439 is not among"),
        (msi(source=r"C:\agent.msp"), 1605, "not-needed", "the product it changes is not installed, and no version is there"),
        (exe(exit_codes={"7": "not-needed"}), 7, "not-needed", "answered 7: not needed, as the estate says"),
        (msu(exit_codes={"0x80240017": "failed"}), -2145124329, "failed", "failed, as the estate says"),
        (msi(), 1605, "failed", "the product it changes is not installed"),  # it was to bring that product
        (exe(), 1605, "failed", "the product it changes is not installed"),  # whose code this is nobody knows
        (upgrade(exit_codes={"7": "not-needed"}), 7, "failed", "not needed, as the estate says"),
    ],
)  # fmt: skip
def test_what_is_not_for_its_host_is_no_failure(package: FileBorne, code: int, result: str, said: str) -> None:
    """A patch of what is not installed, an update that does not apply: said with its code, without a proof or a restart."""
    judged = judged_package(package, Ran(code, None))
    assert (judged.result, judged.restart, judged.proof) == (result, False, None)
    assert said in (judged.remark or "")


def test_what_says_that_it_is_not_needed_and_is_not_over_has_failed() -> None:
    """It still runs, or nobody watched it to its end: who knows what it will have done."""
    for ran in (Ran(-2145124329, None, running=({"name": "wusa.exe"},)), Ran(-2145124329, None, trouble="no WMI")):
        assert judged_package(msu(), ran).result == "failed"


def test_what_says_that_it_is_not_needed_and_is_there_is_in() -> None:
    """The version decides: it was not there before."""
    assert judged_package(exe(exit_codes={"7": "not-needed"}), Ran(7, "4.2.0")).result == "installed"


def test_restarts_as_the_estate_says() -> None:
    """Auto goes by the code; always and never do not, and never says what was asked for."""
    assert judged_package(msi(restart="always"), Ran(0, "4.2.0")).restart is True
    never = judged_package(msi(restart="never"), Ran(3010, "4.2.0"))
    assert (never.result, never.restart) == ("reboot-pending", False)
    assert "restart: never" in (never.remark or "")
    assert judged_package(msi(restart="never"), Ran(3010, None)).result == "failed"
    assert not any(judged_package(msi(restart="never"), Ran(None, found)).restart for found in ("4.2.0", None))
    # What restarts by itself is waited for, whatever the estate says.
    going = judged_package(msi(restart="never"), Ran(1641, "4.2.0"))
    assert (going.restart, going.restarting, going.remark) == (True, True, None)
    assert not judged_package(msi(), Ran(3010, "4.2.0")).restarting


def test_what_still_runs_is_judged_by_the_version() -> None:
    """Past the deadline nothing was killed. Once the installer has ended it is in, or it is not; before that nobody knows."""
    running = Ran(0, "4.2.0", running=({"name": "setup.tmp"},))
    assert judged_package(exe(), running).result == "installed"
    for found, said in (("4.2.0", "version 4.2.0 is there"), (None, "no version is there instead of 4.2.0")):
        for open_ in (Ran(None, found, running=({"name": "setup"},)), Ran(None, found, trouble="no WMI")):
            judged = judged_package(exe(), open_)
            assert (judged.result, judged.restart, judged.proof) == ("unknown", False, None)
            assert (judged.remark or "").endswith(f", and {said}")
    # A restart would cut its child, whatever the parent has asked for.
    asks = judged_package(exe(), Ran(3010, None, running=({"name": "setup.tmp"},)))
    assert (asks.result, asks.restart) == ("failed", False)
    late = judged_package(exe(), Ran(0, None, running=({"name": "setup.tmp"},)))
    assert (late.result, "setup.tmp still ran, and was left alone" in (late.remark or "")) == ("failed", True)


def test_the_log_says_why() -> None:
    """The lines of msiexec's log with 'return value 3' stand in the remark, with where it lies."""
    ran = Ran(1603, None, log=r"C:\jobs\x\msiexec.log", log_errors=("Error 1306.", "Return value 3."))
    remark = judged_package(msi(), ran).remark or ""
    assert remark.endswith(r"Its log says: Error 1306 / Return value 3. See C:\jobs\x\msiexec.log")


def test_after_its_restart() -> None:
    """What went in and is not there after the restart was rolled back."""
    assert after_restart(msi(), "4.2.0").proof == "version 4.2.0"
    gone = after_restart(msu(), None)
    assert (gone.result, "KB5034439 is not among the installed updates" in (gone.remark or "")) == ("failed", True)


def test_of_two_versions_the_wanted_one_counts() -> None:
    """A product that is there twice (32 and 64 bits) is there when one of them is what is wanted."""
    assert installed_version(msi(), ["3.9", "4.2.1"]) == "4.2.1"
    assert installed_version(msi(), ["3.9", "4.0"]) == "3.9"
    assert installed_version(msi(), []) is None


def test_probes_as_scripts_take_them() -> None:
    """One shape for each place where a version can stand."""
    assert probe_of(msi()) == {"kind": "product", "name": "Agent"}
    assert probe_of(msi(probe={"file": r"C:\a.txt", "pattern": "v([0-9.]+)"}))["pattern"] == "v([0-9.]+)"
    assert probe_of(msi(probe={"registry": r"HKLM\SOFTWARE\Acme", "value": "Version"})) == {
        "kind": "registry", "name": r"SOFTWARE\Acme", "value": "Version",
    }  # fmt: skip
    assert probe_of(msu()) == {"kind": "hotfix", "name": "KB5034439"}


# The estate file ------------------------------------------------------------------------------------------------------

ESTATE = r"""
estate: acme
timezone: UTC
hosts:
  sql01: {address: sql01, roles: [mssql], credentials: winrm}
  web01: {address: web01, roles: [iis, app], credentials: winrm}
  web02: {address: web02, roles: [iis], credentials: winrm}
sql: {sql01: {credentials: sql, databases: [EngageIP]}}
engageip:
  host: web01
  folder: 'C:\EngageIP'
  services: [Billing]
  sites: [{name: Portal, url: 'http://a.example:8080/Portal', check_url: 'http://{host}:8081/Portal'}]
backup: {stores: [{share: '\\nas\b', credentials: nas}, {s3: acme-backups, credentials: s3}]}
checks: [{http: Portal}]
updates:
  packages:
"""
GOOD = {
    "kind": "msi", "name": "Agent", "on": "web01", "source": r"'\\nas\b\agent.msi'", "sha256": "ab" * 32,
    "publisher": "Acme", "probe": "{product: Agent}", "version": "'4.2.0'",
}  # fmt: skip
SCHEMA = "{on: sql01, database: EngageIP, sql: SELECT 1}"
UPGRADE = {**GOOD, "kind": "engageip-upgrade", "name": "EngageIP 8.6", "schema_version": SCHEMA}


def faults(*packages: dict[str, Any]) -> list[str]:
    lines = [
        f"    {'- ' if number == 0 else '  '}{name}: {value}"
        for package in packages
        for number, (name, value) in enumerate((n, v) for n, v in package.items() if v is not None)
    ]
    try:
        load_estate(ESTATE + "\n".join(lines), "x.yaml")
    except EstateFaults as told:
        return [f"{fault.path}: {fault.message}" for fault in told.faults]
    return []


@pytest.mark.parametrize(
    "package",
    [
        GOOD,
        UPGRADE,
        {**GOOD, "source": "s3://acme-backups/p/agent.msi"},
        {**GOOD, "source": "https://dl.acme.example/agent.msi"},
    ],
)
def test_good_packages(package: dict[str, Any]) -> None:
    """A share or bucket that is a store needs no credentials of its own, a web server none at all."""
    assert faults(package) == []


@pytest.mark.parametrize(
    ("changes", "path", "said"),
    [
        ({"kind": "mis"}, ".kind", "'mis' is not a kind of package; did you mean 'msi'?"),
        ({"kind": "deb"}, ".kind", "is not a kind of package; known: mssql-patch, msi, exe, msu, powershell, engageip-upgrade"),
        ({"publisher": None}, "", "names no publisher; add publisher:"),
        ({"unsigned": "because"}, ".unsigned", "stands beside a publisher"),
        ({"source": r"'\\tools\p\agent.msi'"}, ".source", "lies on a share without credentials"),
        ({"source": "s3://other/agent.msi"}, ".source", "lies in a bucket without credentials"),
        ({"source": "https://dl.example/a.msi?sig=1"}, ".source", "a URL here has no '?'"),
        ({"source": "http://dl.example/a.msi"}, ".source", "comes by https://server/file"),
        ({"source": "https://dl.example/a.msi", "credentials": "nas"}, ".credentials", "https takes no credentials"),
        ({"source": r"'\\nas\b\agent.exe'"}, ".source", "is no .msi or .msp, as kind msi needs; name such a file, or say kind: exe"),
        ({"credentials": "winrm"}, ".credentials", "this block is used for winrm elsewhere, here for share"),
        ({"on": "web03"}, ".on", "is not a host of this estate; did you mean 'web01'?"),
        ({"arguments": "[APIKEY=x]"}, ".arguments[0]", "looks like a secret"),
        ({"after": "[Runtime]"}, ".after[0]", "is not a package of this estate"),
        ({"after": "[Agent]"}, ".after[0]", "does not stand above this package"),
        ({"exit_codes": "{x: reboot}"}, ".exit_codes.x", "an exit code is a whole number"),
        ({"exit_codes": "{17: rebot}"}, ".exit_codes.17", "did you mean 'reboot'?"),
        ({"version": "4.2"}, ".version", "write it in quotes: '4.2'"),
        ({"version": None}, ".version", "is missing"),
        ({"probe": "{prodct: Agent}"}, ".probe.prodct", "did you mean 'product'?"),
        ({"probe": r"{file: 'C:\a', pattern: 'v[0-9]+'}"}, ".probe.pattern", "holds the version in its one group"),
        ({"probe": r"{registry: 'HKCU\a', value: v}"}, ".probe.registry", "a registry key is HKLM"),
        ({"restart": "allways"}, ".restart", "did you mean 'always'?"),
    ],
)  # fmt: skip
def test_faults_of_packages(changes: dict[str, Any], path: str, said: str) -> None:
    """Each at its place, with what to write instead."""
    found = faults({**GOOD, **changes})
    assert [one for one in found if one.startswith(f"updates.packages[0]{path}: ") and said in one], found
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("changes", "path", "said"),
    [
        ({"on": "sql01"}, ".on", "has not the role iis or app"),
        ({"on": "web02"}, ".on", r"web02's EngageIP is not backed up; add under backup.folders: web02: ['C:\EngageIP']"),
        ({"schema_version": None}, ".schema_version", "is missing"),
        ({"schema_version": "{on: sql02, database: EngageIP, sql: SELECT 1}"}, ".schema_version.on", "is not a host of this estate"),
        ({"schema_version": "{on: web01, database: EngageIP, sql: SELECT 1}"}, ".schema_version.on", "has no entry under sql"),
        ({"schema_version": "{on: sql01, database: EngagIP, sql: SELECT 1}"}, ".schema_version.database", "did you mean 'EngageIP'?"),
        ({"schema_version": "{on: sql01, database: EngageIP, sql: DROP TABLE x}"}, ".schema_version.sql", "a query here only reads"),
        (
            {"schema_version": r"{on: sql01, database: EngageIP, sql: SELECT 1, script: {source: '\\nas\b\x.txt', sha256: " + "ab" * 32 + "}}"},
            ".schema_version.script.source",
            "is no .sql",
        ),
    ],
)  # fmt: skip
def test_faults_of_upgrades(changes: dict[str, Any], path: str, said: str) -> None:
    """An upgrade goes where EngageIP is; what it changes has a backup, and its database is one of the estate."""
    found = faults({**UPGRADE, **changes})
    assert [one for one in found if one.startswith(f"updates.packages[0]{path}: ") and said in one], found
    assert len(found) == 1, found


def test_packages_wait_for_those_above_on_their_host() -> None:
    """Not for one further down, and not for one of another host."""
    runtime = {**GOOD, "name": "Runtime"}
    assert faults(runtime, {**GOOD, "after": "[Runtime]"}) == []
    assert "does not stand above" in faults({**GOOD, "after": "[Runtime]"}, runtime)[0]
    assert "is a package of web02" in faults({**runtime, "on": "web02"}, {**GOOD, "after": "[Runtime]"})[0]

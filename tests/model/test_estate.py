"""An estate file is read whole, and everything wrong with it is told at once."""

from __future__ import annotations

import re
import textwrap
from datetime import time, timedelta
from pathlib import Path

import pytest

from model.estate import BackupItem, Estate, EstateFaults, MssqlPatch, load_estate

SAMPLES = Path(__file__).parents[2] / "deployments" / "estates"

MINIMAL = r"""
estate: acme-billing
timezone: America/Toronto
hosts: {bill01: {address: bill01.acme.example, roles: [mssql, iis, app], credentials: winrm-acme}}
sql: {bill01: {credentials: sql-acme, databases: [EngageIP]}}
engageip:
  {host: bill01, folder: 'C:\Program Files\LogiSense\EngageIP', services: ['EngageIP Job Service'],
   sites: [{name: AdminPortal, url: 'https://billing.acme.example/AdminPortal', check_url: 'http://bill01:8081/AdminPortal'}]}
backup: {stores: [{share: '\\nas01\billing', credentials: nas-acme}]}
checks: [{http: AdminPortal}]
"""


@pytest.fixture(scope="module")
def acme() -> Estate:
    return load_estate((SAMPLES / "acme-billing.yaml").read_bytes(), "acme-billing.yaml")


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_sample_loads_and_bears_its_files_name(sample: Path) -> None:
    assert load_estate(sample.read_bytes(), sample.name).name == sample.stem


def test_the_package_that_the_sample_shows_is_one() -> None:
    """It stands there as a comment; whoever takes the marks away has every setting of a SQL Server patch."""
    text = (SAMPLES / "acme-billing.yaml").read_text(encoding="utf-8")
    shown = re.sub(r"(?m)^    # (?=- kind: mssql|  )", "    ", text)
    (package,) = (each for each in load_estate(shown, "x.yaml").updates.packages if isinstance(each, MssqlPatch))
    assert (package.build, package.branch, package.all_instances) == ("15.0.4430.1", "leave-gdr", True)
    assert package.model_fields_set >= set(MssqlPatch.model_fields) - {"arguments", "credentials"}


@pytest.mark.parametrize(
    ("build", "branch", "fault"),
    [
        ("15.0.4430.1", "gdr", "15.0.4430.1 is SQL Server 2019 RTM, CU branch, so gdr is not true of it"),
        ("15.0.2155.2", "leave-gdr", "15.0.2155.2 is SQL Server 2019 RTM, GDR branch, so leave-gdr is not true of it"),
        ("15.0.4430.1", "leave-gdr", None),
        ("18.0.4100.1", "cu", None),
    ],
)
def test_a_branch_that_the_build_contradicts_is_a_fault(build: str, branch: str, fault: str | None) -> None:
    """What the build tells is not for the estate to say; what it does not tell is."""
    package = f"{{kind: mssql-patch, name: P, on: bill01, source: 'C:\\p.exe', sha256: {'ab' * 32}, build: {build}, branch: {branch}}}"
    text = MINIMAL + f"updates: {{packages: [{package}]}}\n"
    if fault is None:
        assert load_estate(text, "x.yaml").updates.packages[0].branch == branch
        return
    with pytest.raises(EstateFaults, match=r"updates\.packages") as caught:
        load_estate(text, "x.yaml")
    assert fault in str(caught.value)


@pytest.mark.parametrize("server", ["bill01", "bill01.acme.example", "localhost", "127.0.0.1"])
def test_a_share_of_a_patched_server_is_a_fault_in_its_file(server: str) -> None:
    """By whichever of its names: told at the desk, not by the gate at night."""
    with pytest.raises(EstateFaults, match=r"backup\.stores.*off the servers"):
        load_estate(MINIMAL.replace(r"\\nas01\billing", rf"\\{server}\billing"), "x.yaml")


def test_a_build_as_setup_writes_it_is_told_with_the_right_one() -> None:
    """Up to 2016 setup writes the service pack into it: no engine ever says that it runs 13.3.6441.1."""
    package = (
        f"{{kind: mssql-patch, name: P, on: bill01, source: 'C:\\p.exe', sha256: {'ab' * 32}, build: 13.3.6441.1}}"
    )
    with pytest.raises(EstateFaults, match=r"ProductVersion has 0 as its second number \(13\.0\.6441\.1\)"):
        load_estate(MINIMAL + f"updates: {{packages: [{package}]}}\n", "x.yaml")


def test_ten_lines_are_an_estate() -> None:
    """The smallest estate: one machine with everything on it, the defaults for the rest."""
    assert len(MINIMAL.strip().splitlines()) <= 10
    estate = load_estate(MINIMAL, "minimal.yaml")
    assert estate.restart_order() == (("bill01",),)
    assert estate.updates.classifications == ("security", "critical")
    assert estate.quiet.deadline == timedelta(minutes=30)
    assert estate.restart.deadline == timedelta(hours=1), "after patches ten minutes are too short"
    assert estate.backup.max_age is None
    assert estate.backup.snapshots is True
    assert estate.window is None


def test_the_first_estate_of_the_design_loads() -> None:
    """The estate as the design shows it, flow mappings and comments as they stand there."""
    text = r"""
estate: acme-billing
timezone: America/Toronto
hosts:
  sql01: {address: sql01.acme.example, roles: [mssql], credentials: winrm-acme}
  web01: {address: web01.acme.example, roles: [iis, app], credentials: winrm-acme}   # depends_on: every mssql host, unless said
sql: {sql01: {instance: MSSQLSERVER, credentials: sql-acme, databases: [EngageIP, Reporting]}}
engageip: {host: web01, folder: 'C:\Program Files\LogiSense\EngageIP', services: ['EngageIP Job Service'], sites: [{name: AdminPortal, url: 'https://billing.acme.example/AdminPortal', check_url: 'http://web01:8081/AdminPortal'}]}
backup: {folders: {web01: ['D:\Work']}, stores: [{share: '\\nas01\billing', credentials: nas-acme}, {s3: acme-backups, prefix: billing/, credentials: s3-acme}], max_age: 2h}
updates: {classifications: [security, critical], packages: []}
checks: [{http: AdminPortal, severity: must}, {service: W3SVC, on: web01}]
window: {start: '03:00', hours: 4}
"""
    estate = load_estate(text, "design.yaml")
    assert estate.window is not None
    assert estate.window.start == time(3, 0)
    assert estate.backup.max_age == timedelta(hours=2)
    assert estate.dependencies_of("web01") == ("sql01",)


def test_what_the_estate_knows(acme: Estate) -> None:
    """The questions that the runbook asks an estate."""
    assert acme.hosts_with("iis") == ("web01",)
    assert acme.restart_order() == (("sql01",), ("web01",))
    assert acme.dependencies_of("sql01") == ()
    assert [site.name for site in acme.sites_on("web01")] == ["AdminPortal"]
    assert acme.sites_on("sql01") == ()
    assert acme.site("AdminPortal").check_binding == "*:8081:"
    assert acme.check_url("AdminPortal", "web01") == "http://web01.acme.example:8081/AdminPortal"
    assert acme.services_on("web01") == ("EngageIP Event Manager", "EngageIP Job Service")
    stores = {"nas-acme": "share", "s3-acme": "s3"}
    around = {"vcenter-acme": "api", "zabbix-acme": "api"}
    assert acme.credentials_names() == {"winrm-acme": "winrm", "sql-acme": "sql"} | stores | around
    assert [store.name for store in acme.backup.stores] == [r"\\nas01\billing", "s3://acme-backups/billing/"]


def test_everything_that_must_be_backed_up(acme: Estate) -> None:
    """Working folders, the installation folder, the IIS configuration, the databases and always the system ones."""
    assert acme.backup_items() == (
        BackupItem("files", "web01", r"D:\Work"),
        BackupItem("installation", "web01", r"C:\Program Files\LogiSense\EngageIP"),
        BackupItem("iis", "web01", "IIS configuration"),
        *(BackupItem("database", "sql01", name) for name in ("EngageIP", "Reporting", "master", "model", "msdb")),
    )


def test_an_estate_survives_json(acme: Estate) -> None:
    """What a form or a store writes as JSON reads back as the same estate."""
    assert Estate.model_validate_json(acme.model_dump_json()) == acme


def test_an_estate_holds_no_secret_that_could_be_shown(acme: Estate) -> None:
    """Credentials are names of blocks, in every place that has them."""
    assert all(name.islower() for name in acme.credentials_names())


@pytest.mark.parametrize(
    ("check_url", "expected"),
    [
        ("http://{host}:8081/AdminPortal", "http://10.0.0.7:8081/AdminPortal"),
        ("http://web01:8081/AdminPortal", "http://10.0.0.7:8081/AdminPortal"),
        ("https://{host}/x?a={b}", "https://10.0.0.7/x?a={b}"),
        ("http://check.acme.example:8081/", "http://check.acme.example:8081/"),
    ],
)
def test_check_url_speaks_to_the_node(acme: Estate, check_url: str, expected: str) -> None:
    """``{host}``, or the node's own name, becomes its address; any other name stays."""
    site = acme.site("AdminPortal").model_copy(update={"check_url": check_url})
    assert site.check_url_on("web01", "10.0.0.7") == expected


def test_hosts_restart_in_waves() -> None:
    """SQL Server first, every web server after it, and what depends on a web server last."""
    text = MINIMAL.replace(
        "hosts: {bill01:",
        "hosts: {web02: {address: w2, roles: [iis], credentials: winrm-acme}, "
        "job01: {address: j1, roles: [app], depends_on: [web02], credentials: winrm-acme}, bill01:",
    )
    assert load_estate(text, "x.yaml").restart_order() == (("bill01",), ("web02",), ("job01",))


def test_two_machines_with_everything_are_not_a_circle_where_one_is_said_to_be_first() -> None:
    """By default both would wait for each other; the fault says how to break the circle, and doing so works."""
    both = MINIMAL.replace(
        "credentials: winrm-acme}}",
        "credentials: winrm-acme}, bill02: {address: b2, roles: [mssql, iis], credentials: winrm-acme}}",
    ).replace(
        "databases: [EngageIP]}}", "databases: [EngageIP]}, bill02: {credentials: sql-acme, databases: [Reporting]}}"
    )
    with pytest.raises(EstateFaults, match=r"bill01 waits for bill02 waits for bill01: say depends_on"):
        load_estate(both, "x.yaml")
    said = both.replace("roles: [mssql, iis, app],", "roles: [mssql, iis, app], depends_on: [],")
    assert load_estate(said, "x.yaml").restart_order() == (("bill01",), ("bill02",))


def test_six_faults_give_six_messages_with_their_places() -> None:
    """A misspelt field, a wrong word, a wrong type, a missing field, an unknown host, a key twice: all at once."""
    text = textwrap.dedent(r"""
        estate: acme-billing
        timezone: America/Toronto
        hosts:
          sql01: {adress: sql01.acme.example, roles: [mssql], credentials: winrm-acme}
          web01:
            address: web01.acme.example
            roles: [isis, app]
            credentials: winrm-acme
        sql:
          sql01: {credentials: sql-acme, databases: EngageIP}
        engageip:
          host: web1
          folder: 'C:\EngageIP'
          services: []
          sites: [{name: AdminPortal, url: 'https://b.acme.example/', check_url: 'http://{host}:8081/'}]
        backup:
          stores: [{share: '\\nas01\billing'}]
        checks: [{http: AdminPortal}]
        timezone: Europe/Berlin
    """).lstrip()
    with pytest.raises(EstateFaults) as caught:
        load_estate(text, "acme.yaml")
    assert str(caught.value).splitlines() == [
        "acme.yaml:4:11: hosts.sql01.adress: there is no field 'adress' here; did you mean 'address'?",
        "acme.yaml:7:13: hosts.web01.roles[0]: 'isis' is not a role; did you mean 'iis'?",
        "acme.yaml:10:45: sql.sql01.databases: is text, expected a list, for example [EngageIP, Reporting]",
        "acme.yaml:12:9: engageip.host: 'web1' is not a host of this estate; did you mean 'web01'?",
        "acme.yaml:17:12: backup.stores[0].credentials: is missing; write for example credentials: nas-acme",
        "acme.yaml:19:1: timezone: stands here twice, first on line 2; remove one",
    ]


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("address: 10.0.0.7, transport: kerberos", ["hosts.web01.transport"]),
        ("address: 10.0.0.7, transport: kerberos, kerberos_name: 10.0.0.7", ["hosts.web01.transport"]),
        ("address: 10.0.0.7, transport: kerberos, kerberos_name: web01.acme.example", []),
        ("address: web01.acme.example, transport: kerberos", []),
        ("address: 10.0.0.7, transport: ntlm", []),
    ],
)
def test_kerberos_knows_hosts_by_name(host: str, told: list[str]) -> None:
    """A domain has no tickets for an IP address: told with the file, not by a domain controller at night."""
    text = (SAMPLES / "acme-billing.yaml").read_text(encoding="utf-8").replace("address: web01.acme.example", host)
    try:
        load_estate(text, "acme.yaml")
        faults = []
    except EstateFaults as error:
        faults = [str(fault) for fault in error.faults]
    assert len(faults) == len(told)
    for fault, place in zip(faults, told, strict=True):
        assert place in fault
        assert "kerberos_name, for example web01.acme.example" in fault

"""What a run is opened with fits together, or everything that does not is told at once, before anything is connected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.outcome import Stopped
from tasks.run import open_run

ESTATE = """
estate: acme
timezone: America/Toronto
hosts:
  sql01: {address: sql01.acme.test, roles: [mssql], credentials: winrm-acme, transport: kerberos}
  web01: {address: 127.0.0.2, roles: [iis, app], credentials: winrm-acme, transport: certificate}
  web02: {address: 127.0.0.3, roles: [iis], credentials: winrm-acme}
sql: {sql01: {credentials: sql-acme, databases: [EngageIP]}}
engageip:
  {host: web01, folder: 'C:\\E', services: [S], sites: [{name: A, url: 'http://a/A', check_url: 'http://{host}:8081/A'}]}
backup: {stores: [{share: '\\\\nas01\\b', credentials: nas-acme}], staging: {sql01: 'E:\\S'}}
checks: [{http: A}]
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Open a run of the estate above with a WinRM login of these fields."""
    monkeypatch.delenv("BILLPATCH_CREDENTIALS", raising=False)
    estate = tmp_path / "acme.yaml"
    estate.write_text(ESTATE, encoding="utf-8")

    def open_with(**fields: Any) -> Any:
        login = {"kind": "winrm", "username": "svc", "password": "p-w-d", **fields}
        monkeypatch.setenv("BILLPATCH_CREDENTIAL_WINRM_ACME", json.dumps(login))
        for name in ("sql", "share"):
            other = json.dumps({"kind": name, "username": "u", "password": "p-w-d"})
            monkeypatch.setenv(f"BILLPATCH_CREDENTIAL_{'NAS' if name == 'share' else 'SQL'}_ACME", other)
        return open_run(str(estate))

    return open_with


def test_transports_that_the_credentials_cannot_do_are_told_for_every_host(opened: Any) -> None:
    """The estate asks for what the block has not: each host is named, with what is missing and where it goes."""
    with pytest.raises(Stopped) as stopped:
        opened()
    fix = "Save it in the block winrm-acme, or correct hosts.{} in the estate file."
    assert [problem.message for problem in stopped.value.problems] == [
        f"sql01: WinRM with transport kerberos: kerberos needs a user name of the form name@DOMAIN. {fix.format('sql01')}",
        f"web01: WinRM with transport certificate: certificate needs both certificate and certificate_key. {fix.format('web01')}",
    ]


def test_each_host_goes_its_own_way(opened: Any) -> None:
    """One block may serve several transports; the name that a domain knows a host by is its address unless said."""
    pem = {"certificate": "-----BEGIN CERTIFICATE-----", "certificate_key": "-----BEGIN PRIVATE KEY-----"}
    with opened(username="svc@ACME.TEST", **pem) as run:
        targets = [run.hosts[name]._pool._target for name in ("sql01", "web01", "web02")]
    assert [target.transport for target in targets] == ["kerberos", "certificate", "ntlm"]
    assert targets[0].kerberos_name == "sql01.acme.test"

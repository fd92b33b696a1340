"""An estate whose hosts are reached in different ways: each is logged in to as the estate says, or it is told why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.check import check_estate


@pytest.mark.slow
def test_each_host_is_reached_as_the_estate_says(start_lab: Callable[..., Any], run_flow: Callable[..., Any]) -> None:
    """CredSSP here, a certificate there, with one block; what a host lacks for it is named, with the command."""
    lab = start_lab()
    papers, estate, ca = Path(lab.papers["credentials"]), Path(lab.estate), Path(lab.estate).parent / "ca"
    known = json.loads(papers.read_text(encoding="utf-8"))
    known["winrm-acme"] |= {
        "scheme": "https",
        "ca": str(ca / "ca.pem"),
        "certificate": (ca / "client.pem").read_text(),
        "certificate_key": (ca / "client.key").read_text(),
    }
    papers.write_text(json.dumps(known), encoding="utf-8")
    first, second, rest = estate.read_text(encoding="utf-8").partition("credentials: winrm-acme")
    way = "credentials: winrm-acme\n    transport: {}".format
    text = first + way("credssp") + rest.replace(second, way("certificate"), 1)
    estate.write_text(text, encoding="utf-8")

    ran = run_flow(check_estate, estate=str(estate))
    assert (ran.type, ran.message[:20]) == ("COMPLETED", "acme-billing: 2 host"), ran.message
    logons = {each["host"]: each["transport"] for each in lab.audit("winrm.logon", effects_only=False)}
    assert logons == {"sql01": "credssp", "web01": "certificate"}

    lab.declare("winrm.credssp_disabled", "sql01")
    lab.declare("winrm.certificate_revoked", "web01")
    ran = run_flow(check_estate, estate=str(estate))
    assert ran.type == "FAILED"
    assert "sql01: CredSSP is not enabled on the host. Enable it on the host: Enable-WSManCredSSP" in ran.message
    assert "web01: the host does not trust our certificate, or it is revoked." in ran.message

"""The maintenance page as customers, payment gateways and checks see it: over HTTP, on a lab's web server."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from lab.estate import PRESETS, Lab
from lab.scripts import SCRIPTS

HTML = "<h1>Back at 4 & a bit — €</h1>"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the estate on one host."""
    with Lab(PRESETS["single"], tmp_path_factory.mktemp("lab"), speed=200) as running:
        yield running


def ask(lab: Lab, port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Status, headers and body of a request to the host."""
    url = f"http://{lab.hosts['all01'].address}:{port}{path}"
    request = urllib.request.Request(url, method=method, data=b"x" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read().decode()


def test_closed_to_the_public_and_open_to_the_checks(lab: Lab) -> None:
    """Every address and verb is 503 with the page: a gateway that is answered 200 would think its notice delivered."""
    host = lab.hosts["all01"]
    sites = [{"name": "AdminPortal", "check_binding": "*:8081:"}, {"name": "Portal", "check_binding": "*:8091:"}]
    parameters: dict[str, Any] = {"sites": sites, "html": HTML, "number": 1, "fence": 1}
    SCRIPTS["Enter-Maintenance"](host, parameters)
    for port, path, method in (
        (8080, "/AdminPortal/Login.aspx", "GET"),
        (8090, "/", "GET"),
        (8090, "/Portal/payment-notification", "POST"),
        (8080, "/AdminPortal/webservice.asmx", "POST"),
    ):
        status, headers, body = ask(lab, port, path, method)
        assert (status, headers["Retry-After"], body) == (503, "1800", HTML)
    assert ask(lab, 8081, "/AdminPortal/")[0] == 200
    assert ask(lab, 8091, "/Portal/")[0] == 200
    SCRIPTS["Exit-Maintenance"](host, {"fence": 1})
    assert ask(lab, 8080, "/AdminPortal/")[0] == 200
    assert ask(lab, 8090, "/Portal/")[0] == 200
    changes = [line for line in lab.audit.path.read_text().splitlines() if '"site.bindings"' in line]
    assert len(changes) == 6  # two portals and the page, there and back

"""Which services must run again after a restart: by what their last run ended with, not by 'all automatic ones'."""

from __future__ import annotations

from typing import Any

import pytest

from model.services import AutoService, absent, auto_services, that_ran


def service(name: str = "Agent", status: str = "Stopped", exit_code: int = 1077, **more: Any) -> AutoService:
    return AutoService(name=name, status=status, exit_code=exit_code, **more)


def test_what_must_run_again() -> None:
    """What runs now and starts with the machine; a trigger-start service may be done by then."""
    answer = {
        "services": [
            {"name": "Agent", "status": "Running", "exit_code": 0, "delayed": False, "triggered": False},
            {"name": "Late", "status": "Running", "exit_code": 0, "delayed": True, "triggered": False},
            {"name": "Triggered", "status": "Running", "exit_code": 0, "delayed": False, "triggered": True},
            {"name": "Off", "status": "Stopped", "exit_code": 0, "delayed": False, "triggered": False},
        ]
    }
    assert that_ran(auto_services(answer)) == ("Agent", "Late")


@pytest.mark.parametrize(
    ("found", "uptime", "said"),
    [
        (service(status="Running", exit_code=0), 30, None),
        (service(exit_code=0), 30, None),  # it has run since the boot, and ended in peace
        (service(triggered=True), 3000, None),
        (service(status="StartPending"), 3000, ("wait", "Agent (StartPending)")),
        (service(), 30, ("wait", "Agent (not started yet)")),
        (service(), 121, ("start", "Agent (was not started by Windows)")),
        (service(delayed=True), 121, ("wait", "Agent (not started yet)")),
        (service(delayed=True), 601, ("start", "Agent (was not started by Windows)")),
        (service(exit_code=1053), 5, ("start", "Agent (failed to start, exit code 1053)")),
        (None, 5, ("tell", "Agent (does not start by itself any more)")),
    ],
)
def test_what_to_do_about_a_service(found: AutoService | None, uptime: float, said: tuple[str, str] | None) -> None:
    """Waited for while Windows may still come to it, started where it did not, named where nothing can be done."""
    missing = absent(["Agent"], [found] if found else [], uptime)
    assert [(one.do, str(one)) for one in missing] == ([said] if said else [])


def test_what_is_down_on_purpose_is_not_missing() -> None:
    """Names fold case, as Windows' do."""
    now = [service("AGENT"), service("EngageIP Job Service")]
    missing = absent(["Agent", "EngageIP Job Service"], now, 500, held=["engageip job service"])
    assert [one.name for one in missing] == ["Agent"]

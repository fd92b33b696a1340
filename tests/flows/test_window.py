"""Promise 5: nothing that customers notice begins outside of the window."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flows import patch as runbook
from flows.patch import patch_estate
from model.outcome import Stopped


def test_outside_of_the_window_nothing_is_stopped_or_installed(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any]
) -> None:
    """The plan is made, nothing is held, backed up or installed; the message says when the window opens."""
    lab = start_lab()
    # Six hours on any clock: one on the wall is put forward or back in between on two nights of a year.
    opens = (datetime.now(UTC) + timedelta(hours=6)).astimezone(ZoneInfo("America/Toronto"))
    estate = lab.estate_with(lambda document: document.update(window={"start": f"{opens:%H:%M}", "hours": 1}))
    ran = run_flow(patch_estate, estate=estate, change="CHG0031002")
    assert ran.type == "FAILED"
    assert ran.message == (
        "acme-billing: stopped at window, nothing was installed, everything is up. acme-billing: the window is closed; "
        f"it opens {opens:%Y-%m-%d at %H:%M} (America/Toronto). Nothing is begun outside of it."
    )
    assert lab.audit("job.start") != []  # it did scan
    assert lab.audit("service.stop", "site.bindings", "job.disabled", "store.write", "update.install") == []


class Night:
    """The steps of the runbook, each doing nothing; the window closes during one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, closes_in: str) -> None:
        self.steps: list[str] = []
        self.closes_in = closes_in
        for name in (
            "look",
            "take_hold",
            "decide",
            "fetch",
            "make_quiet",
            "back_up",
            "take_snapshots",
            "upgrade",
            "check",
        ):
            monkeypatch.setattr(runbook, name, self._step(name, SimpleNamespace(installs=["KB1"])))
        for name in ("bring_back", "await_prefect", "restart_in_order", "settle"):
            monkeypatch.setattr(runbook, name, self._step(name, []))
        monkeypatch.setattr(runbook, "open_run", lambda *_, **__: self)
        monkeypatch.setattr(
            runbook, "conclude", lambda _, stopped, *__, **___: SimpleNamespace(succeeded=False, headline=str(stopped))
        )
        monkeypatch.setattr(runbook.report, "write", lambda *_: None)
        monkeypatch.setattr(runbook.install, "first_round", lambda *_: {})
        monkeypatch.setattr(runbook.preflight, "must_be_in_window", self._asked)
        self.hosts: dict[str, Any] = {}

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _step(self, name: str, answer: Any) -> Callable[..., Any]:
        def step(*_: Any, **__: Any) -> Any:
            self.steps.append(name)
            return answer

        return step

    def _asked(self, _: Any) -> None:
        if self.closes_in in self.steps:
            raise Stopped.because("window", "the window is closed")


@pytest.mark.parametrize(
    ("closes_in", "never"), [("decide", "fetch"), ("fetch", "make_quiet"), ("back_up", "restart_in_order")]
)
def test_the_window_is_asked_after_each_step_that_may_take_hours(
    monkeypatch: pytest.MonkeyPatch, closes_in: str, never: str
) -> None:
    """Scans, downloads and backups: customers are closed, and hosts restarted, in the window only."""
    night = Night(monkeypatch, closes_in)
    runbook.patch_estate.fn("acme")
    assert closes_in in night.steps
    assert never not in night.steps
    assert night.steps[-2:] == ["bring_back", "await_prefect"]

"""Promise 5: nothing that customers notice begins outside of the window."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flows.patch import patch_estate


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

"""Promise 5: nothing that customers notice begins outside of the window."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flows.patch import patch_estate


def test_outside_of_the_window_nothing_is_stopped_or_installed(
    start_lab: Callable[..., Any], run_flow: Callable[..., Any], tmp_path: Path
) -> None:
    """The plan is made, nothing is held, backed up or installed; the message says when the window opens."""
    lab = start_lab()
    opens = datetime.now(UTC).astimezone(ZoneInfo("America/Toronto")) + timedelta(hours=6)
    text = Path(lab.estate).read_text(encoding="utf-8")
    estate = tmp_path / "acme-billing.yaml"
    estate.write_text(
        text.replace("start: 00:00", f"start: '{opens:%H:%M}'").replace("hours: 24", "hours: 1"), encoding="utf-8"
    )
    ran = run_flow(patch_estate, estate=str(estate), change="CHG0031002")
    assert ran.type == "FAILED"
    assert ran.message == (
        "acme-billing: stopped at window, nothing was installed, everything is up. acme-billing: the window is closed; "
        f"it opens {opens:%Y-%m-%d at %H:%M} (America/Toronto). Nothing is begun outside of it."
    )
    assert lab.audit("job.start") != []  # it did scan
    assert lab.audit("service.stop", "site.bindings", "job.disabled", "store.write", "update.install") == []

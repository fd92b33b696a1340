"""What a report says of its own run."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from tasks.report import page

RUN = "dfd0569d-b326-45fd-9c29-920a718d9e97"


def test_a_run_has_a_page_where_prefect_has_a_ui(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server there is none, and nothing is made up."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", RUN)
    with temporary_settings({PREFECT_UI_URL: "http://127.0.0.1:4200"}):
        assert page() == f"http://127.0.0.1:4200/flow-runs/flow-run/{RUN}"
    with temporary_settings(restore_defaults={PREFECT_UI_URL, PREFECT_API_URL}):
        assert page() is None

"""The templates travel with the package: a page that is missing on the night is found here."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

PROJECT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_every_template(tmp_path: Path) -> None:
    """Whoever installs the wheel has the pages."""
    (wheel,) = WheelBuilder(str(PROJECT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("report/templates/")}
    assert packed == {f"report/templates/{path.name}" for path in (PROJECT / "report" / "templates").iterdir()}

"""What several test folders need: where the outside tools are, and Prefect kept away from the user's own profile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("BILLPATCH_SHARED", PROJECT.parent / "shared"))  # ../shared: the tools and captures beside the project

# A laptop's Prefect Cloud profile must never see a test's flow run.
os.environ["PREFECT_API_URL"] = ""
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"


def _beside(path: Path, what: str) -> Path:
    if path.exists():
        return path
    message = f"{what} is not beside the project"
    if os.environ.get("BILLPATCH_REQUIRE_SHARED"):
        pytest.fail(f"{message}, and BILLPATCH_REQUIRE_SHARED is set")
    pytest.skip(message)


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of what real machines wrote; the test is skipped where it is absent."""
    return _beside(SHARED / "data" / "captures", "the folder of captures")


@pytest.fixture(scope="session")
def lookalike() -> Path:
    """The program that runs a script as Windows PowerShell 5.1 would; the test is skipped where it is absent."""
    named = os.environ.get("POWERSHELL_LOOKALIKE")
    return _beside(Path(named) if named else SHARED / "tools" / "pwsh" / "pwsh", "the PowerShell engine")


@pytest.fixture(scope="session")
def pslint() -> Path:
    """The linter for Windows PowerShell 5.1; the test is skipped where it is absent."""
    return _beside(SHARED / "tools" / "pslint", "the PowerShell linter")


@pytest.fixture(scope="session")
def sqlcheck() -> Path:
    """The T-SQL checker; the test is skipped where it is absent."""
    return _beside(SHARED / "tools" / "sqlcheck", "the T-SQL checker")


@pytest.fixture(scope="session")
def prefect_harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server of this test session's own, with an empty database."""
    from prefect.testing.utilities import prefect_test_harness

    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    with prefect_test_harness(server_startup_timeout=90):
        yield

"""A patch that was begun left an instance whole or half-patched: two builds tell, an exit code does not."""

from __future__ import annotations

import pytest

from model.sql.patched import SqlBefore, half_patched, way_back

OLD, NEW, NEWER = "15.0.4355.3", "15.0.4430.1", "15.0.4440.1"


@pytest.mark.parametrize(
    ("setup", "engine", "said"),
    [
        (NEW, NEW, None),
        (NEWER, NEWER, None),
        (OLD, OLD, None),  # setup failed and replaced nothing: as good as it was
        (NEW, OLD, f"setup has left build {NEW}, the engine runs {OLD}"),
        (OLD, NEW, f"setup has left build {OLD}, the engine runs {NEW}"),
        ("15.0.4400.1", "15.0.4400.1", f"build 15.0.4400.1 is neither {NEW} nor {OLD}, the one before"),
        (None, OLD, f"setup has left no build in the registry; the engine runs {OLD}"),
    ],
)
def test_whole_or_half_patched(setup: str | None, engine: str, said: str | None) -> None:
    """Whole is: both places agree, on the build of before or on the one that was wanted."""
    assert half_patched(OLD, [NEW], setup, engine) == said


def test_without_a_build_of_before_only_the_new_one_is_whole() -> None:
    """Nobody wrote down what it was: nothing proves that nothing was replaced."""
    assert half_patched(None, [NEW], OLD, OLD) is not None
    assert half_patched(None, [NEW], NEW, NEW) is None


def test_what_an_earlier_patch_of_the_night_has_brought_is_whole() -> None:
    """The service pack went in, the security fix upon it failed before it replaced anything."""
    assert half_patched(OLD, [NEW, NEWER], NEW, NEW) is None
    assert half_patched(OLD, [NEW, NEWER], NEWER, NEW) is not None
    assert half_patched(OLD, [NEW, NEWER], "15.0.4432.1", "15.0.4432.1") == (
        f"build 15.0.4432.1 is neither {NEWER} nor {NEW} nor {OLD}, the one before"
    )


def test_what_was_before_is_read_from_the_record() -> None:
    """An instance without a record ran no Agent that we know of."""
    assert SqlBefore.of({"build": OLD, "agent": "running"}) == SqlBefore(OLD, agent=True)
    assert SqlBefore.of({"build": OLD, "agent": "absent"}) == SqlBefore(OLD)
    assert SqlBefore.of(None) == SqlBefore()


def test_the_way_back_names_the_package_the_build_and_the_backups() -> None:
    """A person at night copies these lines."""
    patch = {"name": "CU32", "source": r"\\nas01\cu32.exe", "backups": {"master": r"\\nas01\master.bak"}}
    lines = way_back("acme", "sql01", "MSSQLSERVER", patch, OLD, "it has stopped")
    assert lines[0].endswith("start MSSQLSERVER, then run: billpatch recover acme")
    assert r"\\nas01\cu32.exe" in lines[1]
    assert "/Action=RemovePatch /InstanceName=MSSQLSERVER" in lines[1]
    assert OLD in lines[2]
    assert r"master: \\nas01\master.bak" in lines[2]

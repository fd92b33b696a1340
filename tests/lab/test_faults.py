"""Faults: written as people write them, refused where there is none, striking as often as declared, by chance with a seed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lab import faults
from lab.faults import FAULTS, Fault, Faults, written

LAB = Path(faults.__file__).parent


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("package.flip_byte", Fault("package.flip_byte")),
        ("backup.disk_full on EngageIP", Fault("backup.disk_full", "EngageIP")),
        (r"file.locked on D:\Work\a b.txt times 2", Fault("file.locked", r"D:\Work\a b.txt", 2)),
        ("update.busy times 3", Fault("update.busy", times=3)),
        ('power.slow_boot on web02 with {"seconds": null}', Fault("power.slow_boot", "web02", None, {"seconds": None})),
        ("winrm.drop chance .2", Fault("winrm.drop", chance=0.2)),
        (
            'package.exit_code on Acme Provisioning Agent times 3 chance 0.5 with {"codes": [1618, 1618, 3010]}',
            Fault("package.exit_code", "Acme Provisioning Agent", 3, {"codes": [1618, 1618, 3010]}, 0.5),
        ),
    ],
)  # fmt: skip
def test_a_fault_is_read_as_it_is_written(text: str, fault: Fault) -> None:
    """A subject may have blanks and colons, settings are JSON."""
    assert written(text) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("backup.disk_ful", "there is no fault backup.disk_ful; did you mean backup.disk_full"),
        ("pagr.down", "did you mean pager.down"),
        ("balancer.explodes", "did you mean balancer.down, balancer.stuck?"),
        ("nonsense", "lab/faults.py has all of them"),
        ("backup.slow:EngageIP:3", "write NAME [on SUBJECT] [times N]"),
        ("backup.slow on EngageIP times often", "write NAME [on SUBJECT] [times N]"),
        ("update.busy on web01 with {} times 3", "in this order"),
        ("update.busy on web01 chance 2", "chance 0.P"),
        ("power.slow_boot with {seconds: 3}", "its settings are no JSON"),
        ('power.slow_boot with {"second": 3}', "power.slow_boot has no setting second; it has seconds"),
        ('update.busy with {"seconds": 3}', "it has none"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, says: str) -> None:
    """A fault that never strikes would show that all is well."""
    with pytest.raises(ValueError, match=re.escape(says)):
        written(text)


def test_one_that_there_is_not_can_neither_be_declared_nor_asked_for() -> None:
    """By whichever way it comes."""
    with pytest.raises(ValueError, match=r"no fault backup\.disk_ful"):
        Faults().declare(Fault("backup.disk_ful"))
    with pytest.raises(ValueError, match=r"no fault backup\.disk_ful"):
        Faults().strike("backup.disk_ful", "EngageIP")


def test_every_fault_that_the_lab_asks_for_is_in_the_list_and_no_other() -> None:
    """By their names in its code; one that is put together there would be caught when it strikes."""
    texts, asked = set(), set()
    for path in LAB.rglob("*.py"):
        if path == Path(faults.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].lstrip("_") == "strike":
                named = [each.value for each in node.args if isinstance(each, ast.Constant)]
                asked |= {each for each in named if isinstance(each, str) and "." in each}
                texts |= {each.arg for each in node.keywords}
    assert asked - set(FAULTS) == set(), "struck, and not in the list"
    assert set(FAULTS) - texts == set(), "in the list, and never struck"
    assert {setting for kind in FAULTS.values() for setting in kind.settings} - texts == set(), "and never read"


def test_it_strikes_where_and_as_often_as_declared() -> None:
    """Another subject and another occasion use nothing up."""
    made = Faults()
    made.declare(Fault("winrm.drop", "web01", 2, {"action": "Receive", "seconds": 1}))
    struck = {"action": "Receive", "seconds": 1}
    assert made.strike("winrm.drop", "sql01", action="Receive") is None
    assert made.strike("winrm.drop", "web01", action="Send") is None
    assert [made.strike("winrm.drop", "web01", action="Receive") for _ in range(3)] == [struck, struck, None]


def test_chance_is_decided_by_the_seed() -> None:
    """About as often as said, the same with the same seed; what it spares is not used up."""

    def struck(seed: int, times: int | None = None) -> list[bool]:
        made = Faults(seed)
        made.declare(Fault("winrm.drop", times=times, chance=0.2))
        return [made.strike("winrm.drop", "web01") is not None for _ in range(200)]

    assert 20 < sum(struck(1)) < 60
    assert struck(1) == struck(1) != struck(2)
    assert sum(struck(1, times=5)) == 5

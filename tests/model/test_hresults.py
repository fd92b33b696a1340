"""A code means the same however it was told, and says what to do next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.hresults import (
    OPERATION_RESULTS,
    hresult_text,
    kb_advice,
    msi_meaning,
    msu_meaning,
    of_agent,
    sql_setup_meaning,
    task_result_meaning,
    unsigned,
    windows_update_meaning,
)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (-2145124329, 0x80240017),  # what Chef printed of a .msu
        ("-2145124329", 0x80240017),
        (2149842967, 0x80240017),
        ("2149842967", 0x80240017),
        ("0x80240017", 0x80240017),
        ("80240017", 0x80240017),  # hexadecimal without 0x, as WindowsUpdateClient events have it
        ("8024200d", 0x8024200D),
        ("00240006", 0x00240006),
        (2359302, 0x00240006),
        ("2359302", 0x00240006),
        ("3010", 3010),
        (1513770790, 1513770790),  # a positive exit code of SQL Server setup
        ("1513770790", 1513770790),
        (-2068643838, 2226323458),  # the same code, as it arrived over WinRM
        (0, 0),
        ("10000000", 10000000),
    ],
)
def test_signed_unsigned_and_bare_hex_are_one_code(told: int | str, code: int) -> None:
    assert unsigned(told) == code


@pytest.mark.parametrize(
    "told", ["", "x", "0x", "0x123456789", "8024001g", "-1-1", "1e3", 2**32, -(2**31) - 1, "99999999999"]
)
def test_what_is_no_code_is_refused(told: int | str) -> None:
    with pytest.raises(ValueError, match=r"not a (32-bit )?result code"):
        unsigned(told)


@given(st.integers(-(2**31), 2**32 - 1))
def test_every_code_reads_back_from_its_text(code: int) -> None:
    assert unsigned(hresult_text(code)) == code & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("code", "do"),
    [
        (0x80240009, "wait"),
        (0x80240016, "wait"),
        (0x80240019, "install-alone"),
        (0x80240022, "fail"),
        (0x80240034, "retry"),
        (0x80240438, "retry"),
        (0x8024402C, "retry"),
        (0x8024401C, "retry"),
        (0x80072EE2, "retry"),
        (0x80072EFD, "retry"),
        (0x80248014, "fail"),
        (0x8024002E, "fail"),
        (0x80240044, "fail"),
        (0x80070005, "fail"),
        (0x80242007, "reboot"),
        (0x80242017, "install-ssu-first"),
        (0x8024001E, "wait-for-boot"),
        (0x8024A007, "wait-for-boot"),
        (0x8007045B, "wait-for-boot"),
        (0x8024201D, "reboot"),
        (0x80248001, "retry"),
        (0x80070643, "fail-update"),
        (0x8024DEAD, "unknown"),
    ],
)
def test_what_to_do_about_windows_updates_codes(code: int, do: str) -> None:
    for told in (code, code - 2**32, f"{code:08x}", hresult_text(code)):
        assert windows_update_meaning(told).do == do
    assert windows_update_meaning(code).hex in str(windows_update_meaning(code))


@pytest.mark.parametrize("code", [0x80240438, 0x8024402C, 0x8024401C, 0x80072EE2, 0x80072EE7, 0x80072EFD, 0x80244022])
def test_a_source_that_does_not_answer_says_where_to_look(code: int) -> None:
    """What a person does first at night is in the sentence."""
    assert "check WSUS" in windows_update_meaning(code).text


def test_codes_of_the_agent_are_told_from_those_of_the_task_that_runs_it() -> None:
    """0x80070005 of a scheduled task is not Windows Update's: each is told in its own words."""
    assert all(map(of_agent, (0x80240438, "8024402C", -2145123272, 0x80072EFD, 0x8007045B)))
    assert not any(map(of_agent, (0x80070005, 0x80070569, 0x80131509, 1)))


def test_a_kb_that_cannot_succeed_is_known_by_name() -> None:
    """KB5034439 fails with 0x80070643 wherever the recovery partition is too small."""
    assert "recovery partition" in (kb_advice("KB5034439") or "")
    assert kb_advice("KB5077181") is None is kb_advice(None)


def test_work_after_the_restart_means_two_things() -> None:
    """0x80242014 before our restart: installed, restart pending; after it: keep waiting."""
    assert windows_update_meaning(0x80242014).do == "done-reboot"
    assert windows_update_meaning(0x80242014, after_reboot=True).do == "keep-waiting"


@pytest.mark.parametrize(
    ("code", "do"),
    [
        (0, "done"),
        (3010, "done-reboot"),
        (1641, "done-rebooting"),
        (1618, "wait"),
        (1603, "fail-update"),
        (1605, "not-needed"),
        (1612, "fail-update"),
        (1619, "fail-update"),
        (1638, "fail-update"),
        (1642, "fail-update"),
        (0x80070643, "fail-update"),
        (-2147023293, "fail-update"),
        (4711, "unknown"),
    ],
)
def test_windows_installers_codes(code: int, do: str) -> None:
    assert msi_meaning(code).do == do


@pytest.mark.parametrize(
    ("code", "do"),
    [
        (0, "done"),
        (3010, "done-reboot"),
        (0x240006, "not-needed"),
        (0x240005, "done-reboot"),
        (0x240001, "retry"),
        (-2145124329, "not-needed"),
        (0x800700A1, "fail-update"),
        (1, "unknown"),
    ],
)
def test_wusas_codes(code: int, do: str) -> None:
    """0x240006 is success-class although callers took it for an error; 0x240001 is no success."""
    assert msu_meaning(code).do == do


@pytest.mark.parametrize(
    ("code", "do"),
    [
        (0, "done"),
        (3010, "done-reboot"),
        (-2067919934, "reboot"),
        (0x84BE0BC2, "reboot"),
        (0x851A0BC2, "reboot"),
        (-2042429437, "not-needed"),
        (-2061893606, "fail"),
        (1513770790, "unknown"),
        # The same, as a client reads them that takes them for unsigned, or as text.
        ("2227047362", "reboot"),
        (2252537859, "not-needed"),
        ("2233073690", "fail"),
        ("2226323458", "unknown"),
        ("-2067919934", "reboot"),
    ],
)
def test_sql_server_setups_codes(code: int | str, do: str) -> None:
    """Any code whose low word is 0x0BC2 speaks of a restart; 3010 alone says that setup is done."""
    assert sql_setup_meaning(code).do == do


def test_scheduled_tasks_results() -> None:
    assert "queued" in task_result_meaning(0x41325)
    assert "SYSTEM" in task_result_meaning(-2147023511)
    assert "history" in task_result_meaning(0x12345)


def test_operation_results_have_their_numbers() -> None:
    assert OPERATION_RESULTS[2] == "Succeeded"
    assert len(OPERATION_RESULTS) == 6

"""What Kerberos' numbers mean, and that nothing of it is needed by who does not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blocks.kerberos import errors
from blocks.kerberos.errors import BASE, FINAL, UNREACHABLE, KerberosAbsent, KerberosError, meaning
from blocks.kerberos.library import _load
from blocks.kerberos.tickets import Login, margin, tickets

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (-1765328360, 24),
        (2529638936, 24),  # the same from GSS-API, whose numbers are unsigned
        (BASE + 156, 156),
        (2, 2),  # errno
        (100001, 100001),
    ],
)
def test_a_number_is_the_same_from_both_libraries(code: int, number: int) -> None:
    """Offsets in krb5's error table; other tables' numbers as they are."""
    assert KerberosError("logging in", code, "words").number == number


@pytest.mark.parametrize("number", [1, 6, 7, 14, 18, 23, 24, 31, 32, 33, 37, 41, 154, 156, 181, 220, 224, 2, 13])
def test_every_known_number_has_a_cause_and_a_fix(number: int) -> None:
    """None of them falls back on the library's words alone."""
    code = number if number in (2, 13) else BASE + number
    told = meaning(KerberosError("logging in", code, "the library's words"), user="svc@ACME.TEST", service="HTTP/web01")
    assert told.fix.endswith(".")
    assert not told.cause.startswith("Kerberos fails")


def test_an_unknown_number_keeps_the_librarys_words() -> None:
    """And says with what to try it by hand."""
    told = meaning(KerberosError("logging in", BASE + 60, "Generic error"), user="svc@ACME.TEST", service="HTTP/web01")
    assert told.cause == "Kerberos fails: Generic error"
    assert "kinit svc@ACME.TEST" in told.fix


def test_what_is_final_is_not_what_passes() -> None:
    """What is remembered as the KDC's word on a password is never a KDC that was out of reach, nor a clock."""
    assert not FINAL & UNREACHABLE
    assert errors.SKEW not in FINAL
    assert errors.SERVICE_UNKNOWN not in FINAL


def test_each_login_has_tickets_of_its_own() -> None:
    """Another password is another login: a corrected one is not held against its predecessor."""
    one, same, other = (Login("svc@ACME.TEST", f"pw-{which}") for which in "112")
    assert tickets(one) is tickets(same)
    assert tickets(one) is not tickets(other)
    assert "pw-1" not in repr(one)


@pytest.mark.parametrize(("lifetime", "seconds"), [(36_000, 600), (2400, 600), (60, 15)])
def test_a_ticket_is_replaced_well_before_its_end(lifetime: float, seconds: float) -> None:
    """Ten minutes before, or in its last quarter where it is that short."""
    assert margin(lifetime) == seconds


def test_a_library_that_is_not_there_is_told() -> None:
    """Not an AttributeError somewhere in the middle of a login."""
    with pytest.raises(KerberosAbsent, match=r"libnowhere\.so\.9"):
        _load("libnowhere.so.9", {}, None)
    with pytest.raises(KerberosAbsent, match="krb5_no_such_function"):
        _load("libkrb5.so.3", {"krb5_no_such_function": ()}, None)


def test_nobody_needs_kerberos_who_does_not_use_it() -> None:
    """The libraries are loaded at the first login, not before: every block can be imported without them."""
    look = (
        "import blocks, blocks.windows_host; from blocks.kerberos import library as l; "
        "print(l.krb5.cache_info().currsize, l.gss.cache_info().currsize)"
    )
    ended = subprocess.run([sys.executable, "-c", look], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["0", "0"]

"""What a host says when it refuses a login over CredSSP, by its numbers and by its silence."""

from __future__ import annotations

import pytest
from requests_credssp.exceptions import AuthenticationException, NTStatusException

from blocks.winrm.errors import AuthenticationFailed, SessionLost
from blocks.winrm.refusals import refusal


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xC000006D, "user name or password is wrong"),
        (0xC0000234, "locked"),
        (0xC0000071, "password has expired"),
        (0xC0000072, "disabled"),
        (0xC000ABCD, "0xC000ABCD"),
    ],
)
def test_what_a_host_says_over_credssp(status: int, words: str) -> None:
    """An NTSTATUS has its meaning; an unknown one keeps its number."""
    error = refusal("sql01", NTStatusException(status, ""), "credssp")
    assert isinstance(error, AuthenticationFailed)
    assert words in error.cause
    assert error.codes == (status,)


def test_an_older_host_says_nothing_over_credssp() -> None:
    """Protocol versions without an error code just stop answering: that is a refusal, not CredSSP switched off."""
    silent = AuthenticationException(
        "Server did not response with a CredSSP token after step Authentication 2 - actual ''"
    )
    error = refusal("sql01", silent, "credssp")
    assert isinstance(error, AuthenticationFailed)
    assert "refuses these credentials" in error.cause


def test_a_login_over_credssp_that_breaks_off_early_is_no_refusal() -> None:
    """Before any credentials were shown, a missing answer is a host that restarts: worth another try."""
    early = AuthenticationException("Server did not response with a CredSSP token after step TLS Handshake - actual ''")
    error = refusal("sql01", early, "credssp")
    assert isinstance(error, SessionLost)
    assert error.retryable

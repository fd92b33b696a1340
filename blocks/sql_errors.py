"""What can go wrong between us and SQL Server.

SqlServerError
  SqlDriverMissing       no ODBC driver manager, or no driver, on this machine
  SqlUnreachable         nothing answers: refused, silent, no such name
  SqlCertificateRejected we do not trust the certificate of who answers
  SqlLoginRefused        the login is refused (18456 and its like)
  SqlNotReady            it answers that it is starting, upgrading, paused, or that a database is recovering
  SqlSessionLost         the connection broke while a statement ran
  SqlStatementFailed     the statement ended with an error of the server
  SqlDeadlineExceeded    it took longer than we were willing to wait

Every error names the host, the cause and the fix, holds strings and numbers only, and can be pickled.
"""

# ruff: noqa: N818 - the names say what happened; 'Error' on each would only repeat the base class
from __future__ import annotations

import re
from typing import Any


class SqlServerError(Exception):
    """An error of one instance.

    ``number`` is the server's error number (0 where the driver speaks), ``state`` the SQLSTATE. ``outcome_unknown`` is
    true when the statement may have done its work without our hearing of it.
    """

    retryable = False
    """Whether the same call may succeed a little later without anybody's doing anything."""

    def __init__(
        self, host: str, cause: str, fix: str = "", *, number: int = 0, state: str = "", outcome_unknown: bool = False
    ) -> None:
        self.host, self.cause, self.fix = host, cause, fix
        self.number, self.state, self.outcome_unknown = number, state, outcome_unknown
        super().__init__(str(self))

    def __str__(self) -> str:
        unknown = " (the outcome is not known)" if self.outcome_unknown else ""
        return f"{self.host}: {self.cause}{unknown}.{' ' + self.fix if self.fix else ''}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.__dict__.copy())


def _revive(kind: type[SqlServerError], state: dict[str, Any]) -> SqlServerError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (str(error),)
    return error


class SqlDriverMissing(SqlServerError):
    """This machine lacks what it takes to speak to SQL Server."""


class SqlUnreachable(SqlServerError):
    """Nothing answers at the instance's address."""

    retryable = True


class SqlCertificateRejected(SqlServerError):
    """The instance's certificate is not one that we trust for this name."""


class SqlLoginRefused(SqlServerError):
    """The instance refused the login. While it starts this can pass; if it persists it is final."""


class SqlNotReady(SqlServerError):
    """The instance says itself that it, or the database, cannot be used yet."""

    retryable = True


class SqlSessionLost(SqlServerError):
    """The connection broke while a statement ran; a new one may work at once."""

    retryable = True


class SqlStatementFailed(SqlServerError):
    """The statement ended with an error; ``messages`` is what the server had said until then."""

    messages: tuple[tuple[int, str], ...] = ()


class SqlDeadlineExceeded(SqlServerError):
    """It took longer than we were willing to wait; the statement was cancelled."""


# From the driver's words ---------------------------------------------------------------------------------------------

_NOT_READY = {
    904: "the database cannot be started",
    921: "the database is not recovered yet",
    922: "the database is being recovered",
    924: "the database is in single-user mode, and somebody else is in it",
    942: "the database is offline",
    4060: "the database cannot be opened",
    6005: "the server is shutting down",
    17142: "the service is paused",
    17187: "the server is not ready for new connections",
    17188: "the server is shutting down",
    18401: "the server is in script upgrade mode",
    18451: "only administrators may connect now",
}
_LOGIN = {
    18456: "the login is refused",
    18452: "the login is from an untrusted domain",
    18470: "the login is disabled",
    18486: "the login is locked out",
    18487: "the password has expired",
    18488: "the password must be changed",
}
_WHOSE_TURN = {4060: "Wait for its recovery, or correct the database's name.", 942: "Bring it online."}
_BROKEN = ("08S01", "08001", "08003", "08007", "01002")


def message_of(text: str) -> tuple[int, str]:
    """Number and text of a driver's message: ``[42000] [Microsoft][...][SQL Server]Text. (911) (SQLExecDirectW)``.

    The number is 0 where the driver itself speaks.
    """
    one = re.split(r"; \[\w{5}\] ", text)[0]
    found = re.search(r"\s*\((-?\d+)\)(?: \(SQL\w+\))?\s*$", one)
    words = re.sub(r"^(?:\[[^\]]*\]\s*)+", "", one[: found.start()] if found else one)
    return (int(found[1]) if found else 0), " ".join(words.split()).rstrip(".")


def informed(code: str, text: str) -> tuple[int, str]:
    """Number and text of a message on the way: the driver gives ``[01000] (3211)`` and the text."""
    found = re.search(r"\((-?\d+)\)", code)
    return (int(found[1]) if found else 0), message_of(text)[1]


def connecting(host: str, where: str, state: str, text: str) -> SqlServerError:
    """The error for a connection that did not come about; ``where`` is ``address:port``."""
    number, words = message_of(text)
    lower = text.lower()
    if number in _NOT_READY:
        return SqlNotReady(
            host, f"{_NOT_READY[number]} ({number}): {words}", _WHOSE_TURN.get(number, ""), number=number
        )
    if number in _LOGIN:
        fix = "Correct the user name and password of the credentials block."
        return SqlLoginRefused(host, f"{_LOGIN[number]} ({number})", fix, number=number, state=state)
    if state == "IM002" or "can't open lib" in lower:
        fix = "Install Microsoft's ODBC driver 18, or: pip install mssql-python-odbc"
        return SqlDriverMissing(host, f"the ODBC driver cannot be loaded ({words})", fix, state=state)
    if "certificate" in lower or "self-signed" in lower or "self signed" in lower:
        fix = (
            "Give SQL Server a certificate that this machine trusts for that name, or, where the network is yours, set "
            "trust_server_certificate in the credentials block."
        )
        return SqlCertificateRejected(host, f"the certificate of {where} is not trusted ({words})", fix, state=state)
    if state == "HYT00":
        return SqlUnreachable(
            host, f"{where} accepts connections but no login in time", "It may be starting.", state=state
        )
    return SqlUnreachable(host, f"no connection to {where}: {words}", "", number=number, state=state)


def running(host: str, state: str, text: str) -> SqlServerError:
    """The error for a statement that did not end well."""
    number, words = message_of(text)
    if number in _NOT_READY:
        return SqlNotReady(
            host, f"{_NOT_READY[number]} ({number}): {words}", _WHOSE_TURN.get(number, ""), number=number
        )
    if state in _BROKEN and "[SQL Server]" not in text:  # the driver speaks, not the server
        return SqlSessionLost(
            host, f"the connection broke while a statement ran ({words})", state=state, outcome_unknown=True
        )
    return SqlStatementFailed(host, f"{words} ({number})" if number else words, number=number, state=state)

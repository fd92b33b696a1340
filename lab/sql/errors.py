"""What SQL Server answers when it refuses: numbers, severities and texts as sys.messages has them."""

from __future__ import annotations

from typing import Any, NamedTuple


class Message(NamedTuple):
    """One message or error as it goes over the wire."""

    number: int
    severity: int
    state: int
    text: str


class SqlError(Exception):
    """The batch ends with these errors, in this order (the first is the cause)."""

    def __init__(self, *messages: Message) -> None:
        super().__init__("; ".join(f"{m.number}: {m.text}" for m in messages))
        self.messages = messages
        self.result: Any = None
        """For callers within the lab: the ``Result`` up to the failure."""

    @property
    def number(self) -> int:
        """The number of the first error."""
        return self.messages[0].number


class ConnectionClosed(Exception):  # noqa: N818 - what happened, not a mistake of anybody
    """The client hung up, or the server reset the connection."""


class Cancelled(Exception):  # noqa: N818 - what happened, not a mistake of anybody
    """The client sent ATTENTION (or hung up, or was killed) while a statement ran."""


def error(number: int, text: str, severity: int = 16, state: int = 1) -> SqlError:
    """One error, ready to raise."""
    return SqlError(Message(number, severity, state, text))


def syntax(near: str) -> SqlError:
    """Error 102: what the lab does not know it refuses, so that nothing succeeds in silence."""
    return error(102, f"Incorrect syntax near '{near}'.", 15)


def terminating(verb: str, *causes: Message) -> SqlError:
    """What every failed BACKUP and RESTORE ends with: the causes, then 3013."""
    return SqlError(*causes, Message(3013, 16, 1, f"{verb} is terminating abnormally."))


def no_login(user: str) -> Message:
    """Error 18456: the state says nothing to the client, by design."""
    return Message(18456, 14, 1, f"Login failed for user '{user}'.")


def no_database(name: str) -> Message:
    """Error 4060: the login is right and the database cannot be opened."""
    return Message(4060, 11, 1, f'Cannot open database "{name}" requested by the login. The login failed.')

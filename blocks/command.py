"""Programs of the operators on this machine: run without a shell, within a deadline, with a secret in their environment."""

# ruff: noqa: N818 - as it is told: the command failed
from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SECRET_VARIABLE = "BILLPATCH_SECRET"  # noqa: S105 - the name of a variable
MOST_TEXT = 256 * 1024
"""Characters of an answer that are kept."""
_LONGEST_SAID = 300
_OURS = ("PREFECT_", "BILLPATCH_", "AWS_")
"""Variables that hold what is ours alone: addresses with keys, files with passwords."""


class CommandFailed(Exception):
    """A program could not be started, ended with another code than 0, or was ended at its deadline.

    ``begun`` tells whether it may have done something.
    """

    def __init__(self, message: str, *, begun: bool = True) -> None:
        super().__init__(message)
        self.begun = begun


def run_command(command: Sequence[str], *, secret: str | None, deadline: float) -> str:
    """What the program prints; it gets no input, and is ended after ``deadline`` seconds with all that it has started.

    Raises CommandFailed, which holds the end of what it said on its standard error, and never ``secret``.
    """
    program = Path(command[0]).name
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    if secret is not None:
        environment[SECRET_VARIABLE] = secret
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its arguments are not such"
    else:
        return _answer(process, program, secret, deadline)
    raise CommandFailed(f"{program} cannot be started ({reason}). Correct its path, or its rights.", begun=False)


def _answer(process: subprocess.Popen[bytes], program: str, secret: str | None, deadline: float) -> str:
    try:
        out, err = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    else:
        if process.returncode == 0:
            return out.decode("utf-8", "replace")[:MOST_TEXT]
        said = _without(secret, (err.strip() or out.strip()).decode("utf-8", "replace"))[-_LONGEST_SAID:]
        raise CommandFailed(f"{program} ended with {process.returncode}{f': {said}' if said else ''}")
    raise CommandFailed(f"{program} was ended: it had not answered within {deadline:.0f} s. Run it by hand, and look.")


def _without(secret: str | None, text: str) -> str:
    return " ".join((text.replace(secret, "***") if secret else text).split())

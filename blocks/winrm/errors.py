"""What can go wrong between us and a Windows host.

HostError
  HostUnreachable        nothing answers: refused, silent, no such name
    ConnectionDropped    somebody answered, and the connection broke; a new one may work at once
  AuthenticationFailed   the host knows us and refuses, or does not know us
  CertificateRejected    we do not trust who answers
  QuotaExceeded          the host's WinRM quotas are used up
  HostBusy               the host answers 'busy' or cannot finish the operation in time
  ProtocolBroken         something answers, and it is not the conversation we know
    SessionLost          the connection or the shell that we had is gone, the host may be fine
  ScriptRefused          PowerShell did not run our script: policy, language mode, no JSON
  ScriptFailed           our script ran and answered with an error
  DeadlineExceeded       it took longer than we were willing to wait
  JobNotBegun            the host's task scheduler has taken a job and does not begin it
  WaitStopped            we were asked to stop waiting

Every error names the host, the cause and the fix, holds strings and numbers only (never a request, a response or a
secret), and can be pickled: Prefect stores what a task raises.
"""

# ruff: noqa: N818 - the names say what happened; 'Error' on each would only repeat the base class
from __future__ import annotations

from typing import Any


class HostError(Exception):
    """An error of one host.

    ``codes`` are the numbers that the host gave (WS-Management fault codes, Win32 codes, HTTP status), for searching.
    ``outcome_unknown`` is true when the script may have run to its end without our hearing of it: ask the host again
    before acting (an unknown outcome is neither failure nor success).
    """

    retryable = False
    """Whether the same call may succeed a little later without anybody's doing anything."""

    def __init__(
        self,
        host: str,
        cause: str,
        fix: str = "",
        *,
        codes: tuple[int, ...] = (),
        outcome_unknown: bool = False,
    ) -> None:
        self._host, self._cause, self._fix = host, cause, fix
        self._codes, self._outcome_unknown = codes, outcome_unknown
        super().__init__(str(self))

    @property
    def host(self) -> str:
        """The host's name in the estate."""
        return self._host

    @property
    def cause(self) -> str:
        """What happened, in one sentence without a full stop."""
        return self._cause

    @property
    def fix(self) -> str:
        """What a person can do about it; may be empty."""
        return self._fix

    @property
    def codes(self) -> tuple[int, ...]:
        """The numbers the host gave, most specific first."""
        return self._codes

    @property
    def outcome_unknown(self) -> bool:
        """Whether the script may have done its work although we did not hear of it."""
        return self._outcome_unknown

    def __str__(self) -> str:
        unknown = " (the outcome is not known)" if self._outcome_unknown else ""
        return f"{self._host}: {self._cause}{unknown}.{' ' + self._fix if self._fix else ''}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.__dict__.copy())


def _revive(kind: type[HostError], state: dict[str, Any]) -> HostError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (str(error),)
    return error


class HostUnreachable(HostError):
    """Nothing answers at the host's address: refused, dropped, silent, or no such name."""

    retryable = True


class ConnectionDropped(HostUnreachable):
    """The connection broke while it was in use. What runs in the host's shell goes on without it."""


class AuthenticationFailed(HostError):
    """The host refused these credentials. Never retried: a few more tries lock the account."""


class CertificateRejected(HostError):
    """The host's certificate is not one that we trust for this name."""


class QuotaExceeded(HostError):
    """Too many shells, operations or users on the host's WinRM service (they end by themselves when idle)."""

    retryable = True


class HostBusy(HostError):
    """The host answers 'busy' (Win32 error 170), or did not finish an operation within its timeout."""

    retryable = True


class ProtocolBroken(HostError):
    """Something answers that does not speak WS-Management as we know it."""


class SessionLost(ProtocolBroken):
    """The connection or shell that we had is gone (a reboot, an idle timeout); a new one may work at once."""

    retryable = True


class ScriptRefused(HostError):
    """PowerShell on the host did not run the script, so nothing was done by it."""


_OURS = "System.InvalidOperationException"
"""What New-Failure of the scripts throws; of Windows' own errors the id names the command too, after a comma."""


COMMITMENT_LIMIT = 0x800705AF
"""'The paging file is too small for this operation to complete': what a shell that has used up its memory is told."""
MEMORY = (
    "The shell's memory is used up, not the disk: raise MaxMemoryPerShellMB (winrm get winrm/config/winrs; 1024 unless "
    "set), or see what else fills this host's memory."
)


class ScriptFailed(HostError):
    """The script ran and ended with an error of its own.

    ``type`` is the .NET type of the exception, ``hresult`` its HResult (signed, as .NET gives it), ``id`` the
    FullyQualifiedErrorId, ``line`` the line in ``script``.
    """

    def __init__(
        self,
        host: str,
        script: str,
        message: str,
        *,
        type: str = "",  # noqa: A002 - the field's own name in the answer
        hresult: int | None = None,
        line: int | None = None,
        id: str = "",  # noqa: A002 - the field's own name in the answer
    ) -> None:
        self.script, self.message, self.type = script, message, type
        self.hresult, self.line, self.id = hresult, line, id
        if type == _OURS and id.isalpha():
            # Worded by the script itself, for people: where it stood and the code of its class tell them nothing.
            super().__init__(host, message.rstrip(". "))
            return
        fix = MEMORY if hresult is not None and hresult & 0xFFFFFFFF == COMMITMENT_LIMIT else ""
        place = f" at line {line}" if line else ""
        code = f" (0x{hresult & 0xFFFFFFFF:08X})" if hresult else ""
        super().__init__(host, f"{script} failed{place}: {message.rstrip('. ')}{code}", fix)


class DeadlineExceeded(HostError):
    """We waited as long as we were willing to; ``waited_for`` says what for, ``last`` what went wrong last."""

    def __init__(
        self, host: str, waited_for: str, seconds: float, *, last: str = "", outcome_unknown: bool = False
    ) -> None:
        self.waited_for, self.seconds = waited_for, seconds
        super().__init__(
            host,
            f"no end of {waited_for} within {seconds:g} s{': ' + last if last else ''}",
            "Look at the host, then run again: what it has finished is found there.",
            outcome_unknown=outcome_unknown,
        )


class JobNotBegun(HostError):
    """The host's task scheduler has a job and did not begin it in time; nothing of it has run, and it may still begin."""

    def __init__(self, host: str, job: str, seconds: float, why: str) -> None:
        self.job = job
        super().__init__(
            host,
            f"job {job} was not begun within {seconds:g} s: {why}",
            "Look at EngageIPPatching in the host's Task Scheduler, and at what keeps that busy, then run again.",
        )


class WaitStopped(HostError):
    """We were asked to stop waiting; what we waited for goes on, on the host."""

    def __init__(self, host: str, waited_for: str) -> None:
        self.waited_for = waited_for
        super().__init__(host, f"stopped waiting for {waited_for}", "It goes on, on the host; the next run adopts it.")

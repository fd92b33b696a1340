"""What ends a run from outside, in words: Cancel, Pause, Ctrl-C, or a bug."""

from __future__ import annotations

from model.outcome import Stopped

CUT_OFF = "an interruption"
"""The stage at which such a run stops."""
_CUTS = {
    "KeyboardInterrupt": "Ctrl-C ended the run",
    "TerminationSignal": "the run's process was told to end (Cancel, or SIGTERM)",
    "Pause": "the run was paused in Prefect, and a night does not pause",
}
"""By the name of the exception: Prefect's stay out of this package."""


def cut_off(by: BaseException) -> Stopped:
    """Why the runbook stopped, where ``by`` is none of its steps.

    Only the kind of it is told: what an unknown error says may hold what nobody may read.
    """
    kind = type(by).__name__
    return Stopped.because(CUT_OFF, _CUTS.get(kind, f"billpatch failed ({kind}), see the log of the run"))

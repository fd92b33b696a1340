"""Rescue: take the estate over from a run that does not bring it back itself."""

from __future__ import annotations

from tasks import lease
from tasks.bring_back import BroughtBack, bring_back
from tasks.outcome import conclude
from tasks.progress import tell
from tasks.report import Written, write
from tasks.run import Run, open_run


def rescue(run: Run, why: str) -> BroughtBack:
    """Take the lease over by force, then bring back. The run that held it is refused at its next act."""
    tell("rescue", run.estate.name, f"taking over: {why}")
    # The key stays that of the run that was cut off, so that it can be resumed.
    run.key = lease.unfinished(run) or run.key
    lost = lease.take_over(run)
    back = bring_back(run)
    back.unreachable |= lost
    return back


def recover_directly(estate: str) -> Written:
    """The same for `billpatch recover`, where there may be no Prefect at all; raises Stopped for a bad estate."""
    with open_run(estate) as run:
        back = rescue(run, "billpatch recover")
        return write(run, conclude(run, None, back, looked_only=True))

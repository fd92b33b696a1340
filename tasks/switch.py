"""The dead man's switch: each host restores service by itself when no run looks after it, until installs begin.

It is armed before anything of a host is held, is kept still by the renewals of the lease, and ends with the quiesce.
What it does is in ``powershell/jobs/Restore-Service.ps1``: it has nobody to ask.
"""

from __future__ import annotations

from model.reopen import PATCHING
from model.words import duration_text
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step

_MOST_SECONDS, _LEAST_SECONDS = 300.0, 60.0
"""Between two looks of the switch; the task scheduler takes no shorter repetition."""


def arm(run: Run, host: str) -> None:
    """Arm it; raises HostError, and then the host must not be made quiet."""
    after = run.estate.quiet.restore_after
    seconds = after.total_seconds()
    run.hosts[host].arm_switch(
        {
            "after_seconds": int(seconds),
            "after": duration_text(after),
            "recover": f"billpatch recover {run.called}",
        },
        every_seconds=max(_LEAST_SECONDS, min(_MOST_SECONDS, seconds / 4)),
        fence=run.fence,
    )


@step("let installs begin on {host}")
def stand_down(run: Run, host: str) -> None:
    """Write down that installs may begin on any host of the estate: from here on none opens by itself.

    A web server cannot know what is half done on the SQL Server that it asks, so every host is told, and before the
    first install: one that cannot be told, or whose switch has acted, stops the run.
    """
    run.hosts[host].run(
        "Set-QuiesceState", number=run.number, fence=run.fence, state="open", held={PATCHING: {"run": str(run.key)}}
    )


def disarm(run: Run, host: str) -> None:
    """Disarm it, and tell what it had to say; raises HostError."""
    said = run.hosts[host].run("Disable-DeadMansSwitch", fence=run.fence)["said"]
    if said:
        tell("bring back", host, f"the dead man's switch had said: {said}")

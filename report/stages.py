"""The stages of the runbook as people know them, and which of them a step belongs to."""

from __future__ import annotations

STAGES = ("preflight", "review", "quiesce", "backup", "install", "restart", "check", "bring back")
"""In the order of the runbook; install, restart and check come once for each wave of hosts or round of updates."""

REPEATED = frozenset({"install", "restart", "check"})
"""The stages that a run comes back to."""

_STEPS = {
    "preflight": ("preflight", "look", "facts", "canary", "lease", "estate", "credentials"),
    "review": ("review", "scan", "plan", "freeze", "fetch"),
    "quiesce": ("quiesce", "hold", "wait", "maintenance", "silence"),
    "backup": ("backup", "archive", "measure", "send", "clear", "verify", "gate", "snapshot"),
    "install": ("install", "stage", "patch", "sql patch", "update", "rescan", "package", "upgrade", "schema"),
    "restart": ("restart", "reboot", "ready", "readiness"),
    "check": ("check", "checks", "validate", "validation"),
    "bring back": ("bring back", "reopen", "recover", "recycle"),
}
_STAGE_OF = {step: stage for stage, steps in _STEPS.items() for step in steps}


def stage_of(step: str) -> str:
    """The stage that a step belongs to: ``sql-patch`` is part of ``install``; a step that we do not know is its own."""
    words = step.strip().casefold().replace("_", " ").replace("-", " ")
    return _STAGE_OF.get(words) or _STAGE_OF.get(words.partition(" ")[0]) or words

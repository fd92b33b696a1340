"""Policies of a lab host that keep a job's PowerShell from its work.

They are state (``registry.json``, ``policies.json`` {language}), or faults on a host: ``policy.execution`` {policy}, by
group policy, AllSigned unless said; ``policy.language`` {mode}, ConstrainedLanguage unless said, for scripts of SYSTEM.
"""

from __future__ import annotations

from lab.host import Host
from lab.scripts.library import machine_value

POWERSHELL = r"SOFTWARE\Policies\Microsoft\Windows\PowerShell"
FULL = "FullLanguage"


def execution_policy(host: Host) -> str | None:
    """What group policy sets, which no command line overrides; None where it sets nothing."""
    struck = host.faults.strike("policy.execution", host.name)
    if struck is not None:
        return str(struck.get("policy", "AllSigned"))
    policy: str | None = machine_value(host, POWERSHELL, "ExecutionPolicy")
    return policy


def runs_scripts(host: Host) -> bool:
    """Whether powershell.exe runs a script that nobody has signed."""
    if machine_value(host, POWERSHELL, "EnableScripts") == 0:
        return False
    return execution_policy(host) not in ("AllSigned", "Restricted")


def language(host: Host) -> str:
    """The language mode of scripts that SYSTEM's tasks run."""
    struck = host.faults.strike("policy.language", host.name)
    if struck is not None:
        return str(struck.get("mode", "ConstrainedLanguage"))
    return str(host.read("policies.json").get("language", FULL))

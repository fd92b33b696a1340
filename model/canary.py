"""The canary: a job that has run on a host days before says whether jobs can do their work there, or what is in the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PureWindowsPath

from pydantic import ValidationError

from model.hresults import task_result_meaning, windows_update_meaning
from model.jobs import Failed, JobFacts, JobFile, Succeeded, job_state, waits_to_begin
from model.outlook import age_text
from model.preflight import powershell_problem
from model.records import Answer

SCRIPT = "Test-PatchHost"
NO_BATCH_LOGON = {0x80070569, 0x0004131C}
GUARDS = {
    "CbDefense": "VMware Carbon Black",
    "CSFalconService": "CrowdStrike Falcon",
    "CylanceSvc": "Cylance",
    "cyserver": "Palo Alto Cortex XDR",
    "ekrn": "ESET",
    "mfetp": "Trellix",
    "SentinelAgent": "SentinelOne",
    "Sense": "Microsoft Defender for Endpoint",
    "Sophos Endpoint Defense Service": "Sophos",
    "xagt": "Trellix HX",
}
"""Services of endpoint protection that is known to end PowerShell which SYSTEM's tasks start, and whose they are."""
_FOLDER = r"C:\ProgramData\EngageIPPatching\jobs"
_SIGNED_ONLY = {"allsigned", "restricted"}
_NO_ANSWER = {
    "SecureChannelFailure": "TLS fails: enable TLS 1.2 for .NET on this host (SchUseStrongCrypto), or look what breaks it open on the way",
    "TrustFailure": "the certificate is not trusted by the machine: import the authority that signed it, or that of the proxy that opens TLS",
    "NameResolutionFailure": "the name is not found: jobs use no proxy, so DNS and a direct way out are needed",
    "ProxyNameResolutionFailure": "a proxy is set for the machine and not found: jobs use none",
}


class UpdateAgentTried(Answer):
    """A search that asks nobody."""

    error: str | None = None
    hresult: str | None = None


class StagingTried(Answer):
    """A file that was written where backups are made."""

    path: str
    free: int | None = None
    error: str | None = None


class StoreTried(Answer):
    """A probe that was sent to a store, read back from shares, and removed."""

    kind: str
    path: str
    error: str | None = None


class CanaryResult(Answer):
    """What Test-PatchHost answers."""

    language_mode: str
    powershell: str
    system: bool
    elevated: bool
    sleep_seconds: int | None = None
    update_agent: UpdateAgentTried
    staging: StagingTried
    sha256: str | None = None
    """Of the probe: whoever started this canary knows it by that."""
    targets: tuple[StoreTried, ...]


class Policies(Answer):
    """What Get-PolicyFacts answers."""

    language_mode: str
    execution_policy: str | None = None
    scripts_enabled: int | None = None
    app_locker: int | None = None
    code_integrity: int | None = None


@dataclass(frozen=True)
class Shipped:
    """The SHA-256 of what every job is made of, and of the canary's own script."""

    launcher: str
    library: str
    script: str

    def made(self, job: JobFile) -> bool:
        """Whether ``job`` was made of these."""
        return (job.launcher_sha256, job.library_sha256, job.sha256) == (self.launcher, self.library, self.script)


def canary_id(estate: str) -> str:
    """The id of the job on each host of the estate: the last one is kept, and no other."""
    return f"canary.{estate}"


def probe_name(estate: str, host: str) -> str:
    """Where the probe goes below a store's root: the same place each time, so that none piles up where none may be deleted."""
    return f"{estate}/canary-{host}.txt"


# What is asked before a night -----------------------------------------------------------------------------------------


def stale(
    facts: JobFacts, shipped: Shipped, stores: Iterable[str], staging: str, max_age: timedelta, now: datetime
) -> str | None:
    """Why the last canary of a host says nothing about tonight; None where it does. ``now`` is by the host's clock.

    ``stores`` are the paths of the probes that the estate wants to be sent, ``staging`` where backups are made there.
    """
    job = facts.job
    if job is None:
        return "no canary has run here, so nobody knows whether its policies let a job do its work"
    if job.ended is None:
        return "its canary has not come to an end"
    age = now - job.ended
    if age > max_age:
        return f"its canary ran {age_text(age)} ago, and canary.max_age is {age_text(max_age)}"
    if not shipped.made(job):
        return "its canary ran with other scripts than these: billpatch was changed since"
    state = job_state(facts)
    if isinstance(state, Succeeded):
        return _untried(_result(state), stores, staging)
    return None


def _untried(result: CanaryResult, stores: Iterable[str], staging: str) -> str | None:
    tried = {store.path.casefold() for store in result.targets}
    missing = [path for path in stores if path.casefold() not in tried]
    if missing:
        return f"its canary did not try {missing[0]}"
    if PureWindowsPath(result.staging.path) != PureWindowsPath(staging):
        return f"its canary tried to write to {result.staging.path}, and backups are made in {staging} now"
    return None


def problems(facts: JobFacts) -> list[str]:
    """What the canary found to be in the way, each with its fix; what kept it from running is one problem."""
    state = job_state(facts)
    if isinstance(state, Succeeded):
        return list(_found(_result(state)))
    return [not_run(facts)]


def probed(state: Succeeded) -> str | None:
    """The SHA-256 of the probe that a canary has sent: tells whether it is the one that was asked for, or another check's."""
    return _result(state).sha256


def _result(state: Succeeded) -> CanaryResult:
    try:
        return CanaryResult.model_validate(state.result)
    except ValidationError as error:
        raise ValueError(f"{SCRIPT} answers what nobody understands ({error.error_count()} fields)") from None


def _found(result: CanaryResult) -> Iterator[str]:
    if result.language_mode != "FullLanguage":
        yield _constrained("AppLocker or App Control", result.language_mode)
    if problem := powershell_problem(result.powershell):
        yield problem
    if not (result.system and result.elevated):
        yield "jobs do not run as SYSTEM with all its rights. Look who changes the tasks under EngageIPPatching."
    agent = result.update_agent
    if agent.error is not None:
        why = str(windows_update_meaning(agent.hresult)) if agent.hresult else agent.error
        yield f"Windows Update refuses SYSTEM a search: {why}."
    if result.sleep_seconds:
        yield (
            f"it goes to sleep after {age_text(timedelta(seconds=result.sleep_seconds))} without input, in the middle of "
            "an installation too. Run: powercfg /change standby-timeout-ac 0 (or change the group policy that sets it)."
        )
    if result.staging.error is not None:
        yield (
            f"a job cannot write to {result.staging.path}: {result.staging.error.rstrip('.')}. "
            "Mend it, or set backup.staging to another folder."
        )
    for store in result.targets:
        if store.error is not None:
            yield f"a job cannot store at {store.path}: {_store_fault(store)}."


def _store_fault(store: StoreTried) -> str:
    error = (store.error or "").rstrip(". ")
    status = re.search(r"does not answer \((\w+)\)", error)
    hint = _NO_ANSWER.get(status[1]) if status else None
    return f"{error}; {hint}" if hint else error


# What kept a job from running -----------------------------------------------------------------------------------------


def not_run(
    facts: JobFacts, policies: Policies | None = None, guards: Iterable[str] = (), powershell: str | None = None
) -> str:
    """Why the canary's job did not do its work, with the fix; ``guards`` are services of ``GUARDS`` that run there.

    Without ``policies`` only what the job itself tells.
    """
    state = job_state(facts)
    waiting = waits_to_begin(facts)
    if waiting is not None:
        return f"its Task Scheduler did not begin the canary: {waiting}. Look at EngageIPPatching there."
    if isinstance(state, Failed) and state.error.id == "LanguageMode":
        return _constrained(_application_control(policies) or "AppLocker or App Control", "ConstrainedLanguage")
    code = state.error.hresult if isinstance(state, Failed) and state.error.type == "ScheduledTask" else None
    if code in NO_BATCH_LOGON:
        return f"its Task Scheduler refuses the canary (0x{code or 0:08X}): {task_result_meaning(code or 0)}."
    if isinstance(state, Failed) and code is None:
        return f"the canary failed: {state.error.message.rstrip('.')}."
    told = state.error.message if isinstance(state, Failed) else str(getattr(state, "why", "nobody has begun it"))
    known = _known_policy(policies, guards, powershell) if policies is not None else None
    return known or (
        f"the canary's PowerShell was ended before it could do its work ({told.rstrip('.')}). Look at what the antivirus "
        "and the log Microsoft-Windows-TaskScheduler/Operational say of it."
    )


def _known_policy(policies: Policies, guards: Iterable[str], powershell: str | None) -> str | None:
    policy = policies.execution_policy or ""
    if policies.scripts_enabled == 0 or policy.casefold() in _SIGNED_ONLY:
        said = "disabled" if policies.scripts_enabled == 0 else policy
        return (
            f"group policy sets PowerShell's script execution to {said} for this machine, which overrides the Bypass that "
            "jobs are started with. Set 'Turn on Script Execution' to 'Allow local scripts and remote signed scripts'."
        )
    if powershell and (problem := powershell_problem(powershell)):
        return problem
    if control := _application_control(policies):
        return _constrained(control, "ConstrainedLanguage or not at all")
    products = sorted({GUARDS[guard] for guard in guards if guard in GUARDS})
    if products:
        return (
            f"endpoint protection ends PowerShell that SYSTEM's tasks start: {' and '.join(products)} runs here. "
            rf"Have it allow powershell.exe with {_FOLDER}\*\launcher.ps1."
        )
    return None


def _application_control(policies: Policies | None) -> str | None:
    if policies is None:
        return None
    if policies.app_locker == 1:
        return "AppLocker"
    return "App Control (Device Guard)" if policies.code_integrity == 2 else None


def _constrained(who: str, mode: str) -> str:
    return (
        f"{who} runs scripts of SYSTEM's tasks in {mode}, and jobs need FullLanguage. Allow scripts below "
        f"{_FOLDER}, where only SYSTEM and Administrators may write."
    )

"""The canary of each host: run by a check, days before; asked for before a night, which refuses a host without a fresh one."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from blocks.s3_errors import ObjectDiffers, ObjectMissing, StoreAccessDenied, StoreError
from blocks.winrm.errors import HostError, JobNotBegun
from blocks.winrm.scripts import library, script_text, sha256
from model.canary import GUARDS, SCRIPT, Policies, Shipped, canary_id, not_run, probe_name, probed, problems, stale
from model.estate import S3Store
from model.jobs import JobFacts, Succeeded, is_unbegun, job_state
from model.lease import lease_of
from model.outcome import Problem, Stopped
from model.records import HostFacts
from model.stores import windows_path
from tasks.progress import tell
from tasks.run import Run
from tasks.step import step
from tasks.together import said, together

_SECONDS = 300.0
_START_SECONDS = 120.0
_TRIES = 3
_URL_LIFETIME = timedelta(hours=1)


def shipped() -> Shipped:
    """What the jobs of this billpatch are made of."""
    return Shipped(sha256(script_text("Invoke-PatchJob")), sha256(library()), sha256(script_text(SCRIPT)))


@step("look at the canary of {facts.host}")
def must_be_fresh(run: Run, facts: HostFacts) -> None:
    """Raise Stopped where no canary of the last ``canary.max_age`` proves that jobs can do their work on the host."""
    found = refusals(run, facts)
    if found:
        raise _stopped(facts.host, [f"{each.rstrip('.')}. Run: billpatch check {run.called}" for each in found])


def refusals(run: Run, facts: HostFacts) -> list[str]:
    """Why the host may not be patched as its last canary tells.

    An unfinished run goes on without: what it has begun there must come to its end.
    """
    host = facts.host
    known = JobFacts.model_validate(run.hosts[host].job([canary_id(run.estate.name)])[0])
    why = _stale(run, known, facts)
    found = [why] if why else problems(known)
    if found and facts.quiesce and facts.quiesce["state"] == "open":
        tell("preflight", host, f"going on with an unfinished run, although {'; '.join(found)}")
        return []
    return found


def _stale(run: Run, known: JobFacts, facts: HostFacts) -> str | None:
    paths, staging = _paths(run, facts.host), _staging(run, facts.host)
    return stale(known, shipped(), paths, staging, run.estate.canary.max_age, facts.now)


@step("run the canary of {facts.host}")
def prove(run: Run, facts: HostFacts) -> None:
    """Run a canary on the host, beside whatever it does; raises Stopped with all that is in its way, each with its fix."""
    prove_on(run, facts)


def prove_on(run: Run, facts: HostFacts) -> None:
    """What ``prove`` does, for whoever has no flow."""
    for left in reversed(range(_TRIES)):
        found, disturbed = _attempt(run, facts)
        if not disturbed or not left:
            break
        tell("preflight", facts.host, f"the canary runs once more, as another check may be at work: {found[0]}")
    if found:
        raise _stopped(facts.host, found)
    tell("preflight", facts.host, "the canary has done all that jobs do")


def _attempt(run: Run, facts: HostFacts) -> tuple[list[str], bool]:
    """What is in the way, and whether another check of this estate may be the cause: canaries of a host have one id.

    One of another check that is at work is taken as it is; who started it reads its probe back from the buckets.
    """
    host = facts.host
    held = lease_of(facts)
    probe = f"canary of {host}, {uuid.uuid4()}"
    targets, secrets = _targets(run, host, probe)
    known = _run(run, host, held.fence if held else 0, {"probe": probe, "targets": targets}, secrets)
    state = job_state(known)
    if not isinstance(state, Succeeded):
        return [_explained(run, host, known)], False
    found = problems(known)
    if probed(state) != hashlib.sha256(probe.encode()).hexdigest():
        why = _stale(run, known, facts)
        return ([why], True) if why else (found, False)
    return (found, False) if found else _stored(run, host, probe)


def _stopped(host: str, found: Iterable[str]) -> Stopped:
    return Stopped("canary", [Problem(f"{host}: {each}", host) for each in found])


def _run(run: Run, host: str, fence: int, parameters: dict[str, Any], secrets: dict[str, Any]) -> JobFacts:
    """The facts of the canary once it is over, or as it stands where it did not begin."""
    name = canary_id(run.estate.name)
    run.hosts[host].start_job(
        name,
        SCRIPT,
        parameters | {"staging": _staging(run, host)},
        secrets=secrets,
        deadline_seconds=_SECONDS,
        fence=fence,
        again=True,
        stop=run.stop,
    )
    try:
        facts = run.hosts[host].wait_job(
            name, deadline=_SECONDS, start_within=_START_SECONDS, stop=run.stop, every=min(run.poll, 1.0)
        )
    except JobNotBegun:
        facts = run.hosts[host].job([name])[0]
        run.hosts[host].stop_job(name, fence=fence, begun=True)
    else:
        if is_unbegun(facts):
            # Its secrets go with it; what has kept it is told in any case.
            with suppress(HostError):
                run.hosts[host].stop_job(name, fence=fence, begun=False)
    return JobFacts.model_validate(facts)


def _targets(run: Run, host: str, probe: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Where the probe is sent, and the secrets for it: as backups are, by the same job library."""
    data = probe.encode()
    name = probe_name(run.estate.name, host)
    targets: list[dict[str, Any]] = []
    secrets: dict[str, Any] = {}
    for number, (store, path) in enumerate(zip(run.estate.backup.stores, _paths(run, host), strict=True)):
        label = f"store{number}"
        target: dict[str, Any] = {"name": label, "kind": "share", "path": path}
        if isinstance(store, S3Store):
            digest = hashlib.sha256(data).hexdigest()
            signed = run.buckets[store.name].presign_put(name, sha256=digest, size=len(data), expires=_URL_LIFETIME)
            target |= {"kind": "s3", "headers": signed.headers}
            secrets[f"{label}.url"] = signed.url
        else:
            secrets |= run.share_login(store.credentials, label)
        targets.append(target)
    return targets, secrets


def _staging(run: Run, host: str) -> str:
    return run.estate.backup.staging.get(host, r"C:\ProgramData\EngageIPPatching\staging")


def _paths(run: Run, host: str) -> list[str]:
    name = probe_name(run.estate.name, host)
    return [
        f"{store.name}{name}" if isinstance(store, S3Store) else windows_path(store.share, name)
        for store in run.estate.backup.stores
    ]


def _stored(run: Run, host: str, probe: str) -> tuple[list[str], bool]:
    """What is wrong with the probe in the buckets; removed from where it may be, else the next one takes its place.

    Also whether that of another check may have taken its place by now, or gone with it.
    """
    data = probe.encode()
    name = probe_name(run.estate.name, host)
    found: list[str] = []
    disturbed = False
    for bucket in run.buckets.values():
        try:
            bucket.verify(name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        except StoreError as error:
            found.append(str(error))
            disturbed = disturbed or isinstance(error, ObjectDiffers | ObjectMissing)
            continue
        try:
            bucket.remove(name)
        except StoreAccessDenied:
            tell(
                "preflight",
                host,
                f"{bucket.name}{name} stays there, as nothing may be deleted; the next takes its place",
            )
        except StoreError as error:
            tell("preflight", host, f"{bucket.name}{name} stays there: {error}")
    return found, disturbed


def _explained(run: Run, host: str, known: JobFacts) -> str:
    """Why the canary did not do its work: the host is asked which policies it has."""
    policies = Policies.model_validate(run.hosts[host].run("Get-PolicyFacts"))
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=list(GUARDS)))
    guards = [service.name for service in facts.services if service.status == "Running"]
    return not_run(known, policies, guards, facts.powershell)


def rehearse(run: Run) -> list[str]:
    """Run the canary of every host, without Prefect; all that is in the way."""

    def act(host: str) -> None:
        prove_on(run, HostFacts.of(host, run.hosts[host].run("Get-HostFacts")))

    _, troubles = together(run, run.hosts, act)
    return [said(trouble) for trouble in troubles.values()]

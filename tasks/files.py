"""Files that hosts will run: fetched and checked before anything is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from model.estate import MssqlPatch
from model.installers import is_there
from model.outcome import Problem, Stopped
from model.packages import EngageIPUpgrade, FileBorne, FilePackage, SchemaScript
from tasks.jobs import Job, JobFailed, OutcomeUnknown, is_begun, is_over, run_job
from tasks.packages import FETCHING, ROUND, SCHEMA_STEP, package_job, source_secrets, version_of
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_patch import fits, sql_patch_job
from tasks.step import step

_File = FileBorne | MssqlPatch | SchemaScript


def hosts(run: Run) -> tuple[str, ...]:
    """The hosts that pull files, in the order of the estate."""
    pulling = {package.on for package in run.estate.updates.packages}
    pulling |= {p.schema_version.on for p in run.estate.upgrades() if p.schema_version.script}
    return tuple(host for host in run.hosts if host in pulling)


@step("fetch the packages of {host}")
def fetch(run: Run, host: str) -> tuple[str, ...]:
    """Have a host pull and check what it will run, before anything is stopped; the names of what lies ready.

    Raises Stopped with every file that cannot be fetched, or is not what was approved: nothing has been touched yet.
    """
    ready: list[str] = []
    problems: list[Problem] = []
    for name, file, publisher in _files_of(run, host):
        try:
            _save(run, host, name, file, publisher)
        except JobFailed as failed:
            problems.append(Problem(f"{host}: {name}: {_why(host, file, failed)}"))
        except OutcomeUnknown as unknown:
            # The install fetches and checks it in any case.
            tell("fetch", host, str(unknown))
        else:
            ready.append(name)
            tell("fetch", host, f"{name} is fetched and checked")
    if problems:
        raise Stopped("fetch", problems)
    return tuple(ready)


def _why(host: str, file: _File, failed: JobFailed) -> str:
    """What a job says of a file; Windows does not name the one that it could not reach."""
    if file.source in failed.message:
        return failed.message
    why = failed.message.rstrip(".")
    return f"{file.source} cannot be fetched: {why}. Can {host} reach it, and may its login read there?"


def _files_of(run: Run, host: str) -> Iterator[tuple[str, _File, str]]:
    """What a host has yet to pull: name, where it is, and its publisher."""
    packages = run.estate.updates.packages
    yield from _patches_of(run, [p for p in packages if isinstance(p, MssqlPatch) and p.on == host])
    for package in packages:
        if isinstance(package, MssqlPatch):
            continue
        wanted = package.on == host and not is_begun(run, ROUND, package_job(package))
        if wanted and not is_there(package, version_of(run, package)):
            yield package.name, package, package.publisher or ""
        schema = package.schema_version if isinstance(package, EngageIPUpgrade) else None
        if schema is None or schema.script is None or schema.on != host:
            continue
        if not is_begun(run, ROUND, Job(host, SCHEMA_STEP, package.name, "Invoke-SqlScript", {})):
            yield f"schema of {package.name}", schema.script, ""


def _patches_of(run: Run, patches: list[MssqlPatch]) -> Iterator[tuple[str, _File, str]]:
    """The SQL Server patches of a host that its instance needs: one may need another first, whose build counts as there."""
    begun = [patch for patch in patches if is_begun(run, 1, sql_patch_job(run, patch))]
    if len(begun) == len(patches):
        return
    fit = fits(run, patches)
    for patch in patches:
        if patch not in begun and fit[patch.name].state != "not-needed":
            yield patch.name, patch, patch.publisher


def _save(run: Run, host: str, name: str, file: _File, publisher: str) -> None:
    parameters: dict[str, Any] = {"source": file.source, "sha256": file.sha256, "publisher": publisher}
    if isinstance(file, FilePackage):
        parameters |= {"largest": file.largest_mb << 20, "proxy": file.proxy or ""}
    job = Job(host, "fetch", name, "Save-Package", parameters, deadline=FETCHING.total_seconds())
    number = 1
    # What failed is made anew, unlike an install: it has touched nothing, and the file may be there by now.
    while is_begun(run, number, job) and is_over(run, number, job):
        number += 1
    run_job(run, number, replace(job, secrets=source_secrets(run, file)))

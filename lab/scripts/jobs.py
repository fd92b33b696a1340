"""Jobs: Start-PatchJob, Get-PatchJob, Stop-PatchJob, Remove-PatchJob; what they fetched and left: Remove-StagedPackage.

The task scheduler is the host's part ``tasks`` (``lab.tasks``); what it runs is told in ``lab.launcher``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, script
from lab.scripts.library import (
    ROOT,
    assert_fence,
    boot_id,
    folder_fault,
    initialize_folder,
    initialize_root,
    now,
    protect,
    read_json,
    write_file,
    write_json,
)
from lab.scripts.snapshots import clear

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TASKS = "\\EngageIPPatching\\"
WAITING = ("Running", "Queued")
NOT_STARTED = "The task is disabled."
STAGING = rf"{ROOT}\staging"
STAGED = ((rf"{STAGING}\packages", "[0-9a-f]{64}"), (STAGING, "sql-[0-9a-f]{16}"))
"""Where folders lie that packages are fetched or unpacked to, and what they are called."""


def job_folder(job_id: str) -> str:
    """Where a job keeps its files."""
    if not JOB_ID.fullmatch(job_id):
        raise ScriptFailure(f"'{job_id}' is no job id: letters, digits, '.', '_' and '-', at most 100.", "JobId")
    return rf"{ROOT}\jobs\{job_id}"


def job_facts(host: Host, job_id: str) -> dict[str, Any]:
    """What is known of a job, undecided; what somebody else has put there is refused."""
    folder = job_folder(job_id)
    if host.disk.path(folder).exists() and (fault := folder_fault(host, folder)) is not None:
        raise fault
    state, result = host.parts["tasks"].info(TASKS + job_id) or (None, None)
    job = read_json(host, rf"{folder}\job.json")
    return {
        "id": job_id,
        "exists": job is not None,
        "logged": host.disk.path(rf"{folder}\job.log").exists(),
        "job": job,
        "progress": read_json(host, rf"{folder}\progress.json"),
        "installer": read_json(host, rf"{folder}\installer.json"),
        "task_state": state,
        "task_result": result,
        "boot_id": boot_id(host),
    }


@script("Get-PatchJob")
def get_patch_job(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    ids = parameters.get("ids")
    if ids is None:
        folder = host.disk.path(rf"{ROOT}\jobs")
        found = filter(JOB_ID.fullmatch, (file.parent.name for file in folder.glob("*/job.json")))
        ids = sorted((name for name in found if folder_fault(host, job_folder(name)) is None), key=str.upper)
    return {"boot_id": boot_id(host), "jobs": [job_facts(host, job_id) for job_id in ids]}


@script("Start-PatchJob")
def start_patch_job(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    job_id, secrets = parameters["id"], parameters.get("secrets")
    folder = job_folder(job_id)
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    texts = {
        "script.ps1": (parameters["script_text"], parameters["sha256"]),
        "library.ps1": (parameters["library_text"], parameters["library_sha256"]),
        "launcher.ps1": (parameters["launcher_text"], parameters["launcher_sha256"]),
    }
    for file, (text, wanted) in texts.items():
        if hashlib.sha256(text.encode()).hexdigest() != wanted:
            message = f"{file} of job {job_id} did not arrive as it was sent (SHA-256 differs). Nothing was started."
            raise ScriptFailure(message, "JobHash")
    if secrets is not None and not all(isinstance(value, str) for value in secrets.values()):
        message = f"The secrets of job {job_id} must be one flat object of texts. Nothing was started."
        raise ScriptFailure(message, "JobSecrets")
    with host.lock:
        initialize_folder(host, folder)
        facts = job_facts(host, job_id)
        fresh = _is_to_be_made(facts, again=parameters.get("again", False))
        if fresh:
            for told in ("progress.json", "installer.json"):
                host.disk.path(rf"{folder}\{told}").unlink(missing_ok=True)
            for file, (text, _) in texts.items():
                write_file(host, rf"{folder}\{file}", text.encode())
            write_json(host, rf"{folder}\parameters.json", parameters["parameters"])
            remove_secrets(host, folder)
            if secrets is not None:
                write_file(host, rf"{folder}\secrets.bin", protect(host, secrets))
            write_json(host, rf"{folder}\job.json", _created(parameters))
            tasks = host.parts["tasks"]
            tasks.register(
                TASKS + job_id,
                argument=(
                    "-NoProfile -NonInteractive -ExecutionPolicy Bypass "
                    rf'-File "{folder}\launcher.ps1" -Folder "{folder}"'
                ),
                limit=parameters["deadline_seconds"],
                description=f"EngageIP patching: {parameters['script']}",
            )
            try:
                _start_task(host, job_id, parameters["fence"])
            except ScriptFailure:
                remove_secrets(host, folder)
                raise
    return {"adopted": not fresh, "started": fresh, "job": job_facts(host, job_id)}


def _start_task(host: Host, job_id: str, fence: int) -> None:
    assert_fence(host, fence)
    if (refused := host.faults.strike("task.unstartable", host.name)) is not None:
        raise ScriptFailure(refused.get("message", NOT_STARTED), "HRESULT 0x80041326,Start-ScheduledTask")
    host.parts["tasks"].start(TASKS + job_id)


def remove_secrets(host: Host, folder: str) -> None:
    """Delete the secrets of a job, also those of a call that was cut off while it wrote them."""
    for file in host.disk.path(folder).glob("secrets.bin*"):
        file.unlink()


def _is_to_be_made(facts: dict[str, Any], *, again: bool) -> bool:
    """Whether the job is made, or made anew: nothing has begun it, it was stopped, or has ended and is asked for again."""
    job = facts["job"]
    begun = facts["logged"] if job is None else job["state"] != "created"
    undone = (
        job is not None
        and job["state"] == "failed"
        and (job["error"] or {}).get("id") in ("JobStopped", "JobWithdrawn")
    )
    return facts["task_state"] not in WAITING and (not begun or undone or again)


def _created(parameters: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "script", "sha256", "library_sha256", "launcher_sha256")
    empty = dict.fromkeys(("started", "ended", "boot"))
    head = {name: parameters[name] for name in names} | {"state": "created", "created": now()} | empty
    return head | {"fence": parameters["fence"], "result": None, "error": None}


@script("Stop-PatchJob")
def stop_patch_job(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    job_id = parameters["id"]
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    job_facts(host, job_id)
    stopped = _end_job(host, job_id, "created", "JobWithdrawn", f"Job {job_id} was withdrawn before it began.")
    if stopped:
        host.parts["tasks"].stop(TASKS + job_id)
    elif parameters.get("begun") and (job_facts(host, job_id)["job"] or {}).get("state") == "running":
        host.parts["tasks"].stop(TASKS + job_id)
        stopped = _end_job(host, job_id, "running", "JobStopped", f"Job {job_id} was stopped.")
        if stopped:
            clear(host)
    return {"stopped": stopped, "job": job_facts(host, job_id)}


def _end_job(host: Host, job_id: str, state: str, error_id: str, message: str) -> bool:
    """End the job in job.json where it is still in that state; whether it was."""
    folder = job_folder(job_id)
    with host.lock:
        job = read_json(host, rf"{folder}\job.json")
        if job is None or job["state"] != state:
            return False
        failure = ScriptFailure(message, error_id, "System.OperationCanceledException", -2146233029)
        job |= {"state": "failed", "ended": now(), "error": failure.error(job["script"], line=0)}
        write_json(host, rf"{folder}\job.json", job)
        remove_secrets(host, folder)
        host.event("job.stop" if error_id == "JobStopped" else "job.withdraw", id=job_id, script=job["script"])
        return True


def _remove_job(host: Host, job_id: str) -> None:
    with host.lock:
        if job_facts(host, job_id)["task_state"] in WAITING:
            raise ScriptFailure("it has not ended", "JobRuns")
        host.parts["tasks"].unregister(TASKS + job_id)
        shutil.rmtree(host.disk.path(job_folder(job_id)), ignore_errors=True)
    host.event("job.remove", id=job_id)


@script("Remove-PatchJob")
def remove_patch_job(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    removed: list[str] = []
    failed: list[dict[str, str]] = []
    for job_id in parameters["ids"]:
        try:
            _remove_job(host, job_id)
            removed.append(job_id)
        except ScriptFailure as failure:
            failed.append({"id": job_id, "error": failure.message})
    return {"removed": removed, "failed": failed}


@script("Remove-StagedPackage")
def remove_staged_package(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    removed: list[str] = []
    failed: list[dict[str, str]] = []
    with host.lock:
        names = sorted(name for name in host.read("tasks.json") if name.startswith(TASKS))
        busy = [name.removeprefix(TASKS) for name in names if (host.parts["tasks"].info(name) or ("",))[0] in WAITING]
        for place, pattern in STAGED if not busy else ():
            if not host.disk.path(place).exists():
                continue
            for level in (STAGING, place):
                if (fault := folder_fault(host, level)) is not None:
                    raise fault
            before = time.time() - parameters["older_than_days"] * 86400
            for folder in sorted(host.disk.path(place).iterdir()):
                if not re.fullmatch(pattern, folder.name) or folder.lstat().st_mtime >= before:
                    continue
                if (fault := folder_fault(host, rf"{place}\{folder.name}")) is not None:
                    failed.append({"name": folder.name, "error": fault.message})
                    continue
                shutil.rmtree(folder)
                removed.append(folder.name)
                host.event("package.remove", name=folder.name)
    return {"removed": removed, "failed": failed, "busy": busy}

"""Jobs: Start-PatchJob, Get-PatchJob, Stop-PatchJob.

The task scheduler is the host's part ``tasks`` (``lab.tasks``); what it runs is told in ``lab.launcher``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from lab.host import Host
from lab.scripts import ScriptFailure, script
from lab.scripts.library import (
    ROOT,
    assert_fence,
    boot_id,
    initialize_root,
    now,
    protect,
    read_json,
    write_file,
    write_json,
)

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TASKS = "\\EngageIPPatching\\"
NEVER_RAN = 267011


def job_folder(job_id: str) -> str:
    """Where a job keeps its files."""
    if not JOB_ID.fullmatch(job_id):
        raise ScriptFailure(f"'{job_id}' is no job id: letters, digits, '.', '_' and '-', at most 100.", "JobId")
    return rf"{ROOT}\jobs\{job_id}"


def job_facts(host: Host, job_id: str) -> dict[str, Any]:
    """What is known of a job, undecided."""
    folder = job_folder(job_id)
    state, result = host.parts["tasks"].info(TASKS + job_id) or (None, None)
    job = read_json(host, rf"{folder}\job.json")
    return {
        "id": job_id,
        "exists": job is not None,
        "job": job,
        "progress": read_json(host, rf"{folder}\progress.json"),
        "task_state": state,
        "task_result": result,
        "boot_id": boot_id(host),
    }


@script("Get-PatchJob")
def get_patch_job(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    ids = parameters.get("ids")
    if ids is None:
        folder = host.disk.path(rf"{ROOT}\jobs")
        found = (file.parent.name for file in folder.glob("*/job.json"))
        ids = sorted(filter(JOB_ID.fullmatch, found), key=str.upper)
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
        facts = job_facts(host, job_id)
        adopted = facts["exists"]
        started = not adopted or (
            facts["job"]["state"] == "created"
            and facts["task_result"] in (None, NEVER_RAN)
            and facts["task_state"] not in ("Running", "Queued")
        )
        if not adopted:
            host.disk.path(folder).mkdir(parents=True, exist_ok=True)
            for file, (text, _) in texts.items():
                write_file(host, rf"{folder}\{file}", text.encode())
            write_json(host, rf"{folder}\parameters.json", parameters["parameters"])
            if secrets is not None:
                write_file(host, rf"{folder}\secrets.bin", protect(host, secrets))
            write_json(host, rf"{folder}\job.json", _created(parameters))
        if started:
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
            tasks.start(TASKS + job_id)
    return {"adopted": adopted, "started": started, "job": job_facts(host, job_id)}


def _created(parameters: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "script", "sha256", "library_sha256")
    empty = dict.fromkeys(("started", "ended", "boot"))
    head = {name: parameters[name] for name in names} | {"state": "created", "created": now()} | empty
    return head | {"fence": parameters["fence"], "result": None, "error": None}


@script("Stop-PatchJob")
def stop_patch_job(host: Host, parameters: dict[str, Any]) -> dict[str, Any]:
    job_id = parameters["id"]
    folder = job_folder(job_id)
    initialize_root(host)
    assert_fence(host, parameters["fence"])
    stopped = False
    facts = job_facts(host, job_id)
    if facts["exists"] and facts["job"]["state"] in ("created", "running"):
        if facts["task_state"] is not None:
            host.parts["tasks"].stop(TASKS + job_id)
        with host.lock:
            job = read_json(host, rf"{folder}\job.json")
            if job["state"] in ("created", "running"):
                failure = ScriptFailure(
                    f"Job {job_id} was stopped.", "JobStopped", "System.OperationCanceledException", -2146233029
                )
                job |= {"state": "failed", "ended": now(), "error": failure.error(job["script"], line=0)}
                write_json(host, rf"{folder}\job.json", job)
                stopped = True
                host.event("job.stop", id=job_id, script=job["script"])
        host.disk.path(rf"{folder}\secrets.bin").unlink(missing_ok=True)
    return {"stopped": stopped, "job": job_facts(host, job_id)}

"""The launcher of a job (``powershell/Invoke-PatchJob.ps1``), as the lab tells it: what a job's task runs."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from typing import Any

from lab.disk import DiskFull
from lab.host import Host
from lab.scripts import JOB_FOLDER, JOBS, Job, JobCut, ScriptFailure
from lab.scripts.jobs import remove_secrets
from lab.scripts.library import initialize_boot_id, now, read_json, unprotect, write_json
from lab.scripts.policies import FULL, language
from lab.shell import bind
from lab.shipped import Shipped

SHIPPED = Shipped()
LOG_BYTES = 1 << 20
NOT_BEGUN = 2
"""Exit code for a job that was withdrawn, or has begun before: a job begins once, whoever starts its task."""


class Log:
    """``job.log``: not what it said last, and up to 1 MB, but for the beginning and the end."""

    def __init__(self, host: Host, folder: str) -> None:
        self._host, self._folder = host, folder
        self._last = ""

    def add(self, text: str, *, begin: bool = False, end: bool = False) -> None:
        """Add a line; the first begins the file anew."""
        if text == self._last:
            return
        self._last = text
        line = f"{now()} {text}\r\n".encode()
        file = self._host.disk.path(rf"{self._folder}\job.log")
        # No job fails for its log: its folder may be gone.
        with suppress(OSError), self._host.lock, file.open("wb" if begin else "ab") as out:
            if begin or end or out.tell() + len(line) <= LOG_BYTES:
                out.write(line)

    def failed(self, failure: ScriptFailure, script: str) -> dict[str, Any]:
        """Add the error that ended the job; as job.json has it."""
        error = failure.error(script)
        self.add(f"failed: {failure.message[:4000]} ({error['id']})", end=True)
        return error


def launch(host: Host, folder: str, stop: threading.Event, *, repeats: bool = False) -> int:
    """Run the job in ``folder`` to its end; returns the exit code. Writes nothing any more once ``stop`` is set."""
    job = read_json(host, rf"{folder}\job.json")
    # What looks every so often whether there is anything to do has no effect by being started.
    effect = not repeats
    secrets_file = host.disk.path(rf"{folder}\secrets.bin")
    log = Log(host, folder)
    JOB_FOLDER.set(folder)

    def save(file: str, value: dict[str, Any]) -> None:
        with host.lock:
            if stop.is_set():
                raise JobCut
            write_json(host, rf"{folder}\{file}", value)

    def progress(percent: int, message: str) -> None:
        save("progress.json", {"percent": percent, "message": message, "at": now()})
        log.add(message)

    if job["state"] != "created" and not repeats:
        return NOT_BEGUN
    code = 1
    try:
        _need_full_language(host)
        _read_checked(host, folder, job, "library.ps1", job["library_sha256"])
        text = _read_checked(host, folder, job, "script.ps1", job["sha256"])
        with host.lock:
            if read_json(host, rf"{folder}\job.json")["state"] != "created" and not repeats:
                return NOT_BEGUN
            job |= {"boot": initialize_boot_id(host), "started": now(), "state": "running"}
            job |= dict.fromkeys(("ended", "result", "error"))
            save("job.json", job)
            log.add(f"started: {job['script']}", begin=True)
        host.event("job.start", effect=effect, id=job["id"], script=job["script"])
        parameters = read_json(host, rf"{folder}\parameters.json")
        secrets = unprotect(host, secrets_file.read_bytes()) if secrets_file.exists() else None
        secrets_file.unlink(missing_ok=True)
        given = parameters if secrets is None else parameters | {"secrets": secrets}
        work, bound = _recognise(job, text, given)
        bound.pop("secrets", None)
        job |= {"result": work(host, bound, secrets or {}, progress, stop), "state": "succeeded"}
        log.add("succeeded", end=True)
        code = 0
    except ScriptFailure as failure:
        # Without full language the launcher has no methods to write its log with.
        mute = failure.id == "LanguageMode"
        error = failure.error(job["script"]) if mute else log.failed(failure, job["script"])
        job |= {"error": error, "state": "failed"}
    except DiskFull as full:
        no_room = ScriptFailure(str(full.strerror), "IOException", "System.IO.IOException", -2147024784)
        job |= {"error": log.failed(no_room, job["script"]), "state": "failed"}
    finally:
        remove_secrets(host, folder)
    save("job.json", job | {"ended": now()})
    host.event("job.end", effect=effect, id=job["id"], script=job["script"], state=job["state"])
    return code


def _need_full_language(host: Host) -> None:
    mode = language(host)
    if mode != FULL:
        message = f"PowerShell runs in {mode} here, and needs FullLanguage. Nothing was run."
        raise ScriptFailure(message, "LanguageMode", "LanguageMode", 0)


def _recognise(job: dict[str, Any], text: str, parameters: dict[str, Any]) -> tuple[Job, dict[str, Any]]:
    shipped = SHIPPED.script(text)
    if shipped is None or not shipped.job or shipped.name != job["script"] or shipped.name not in JOBS:
        message = f"The lab runs only shipped jobs; the text of {job['script']} is not one of them."
        raise ScriptFailure(message, "NotShipped")
    return JOBS[shipped.name], bind(shipped, parameters)


def _read_checked(host: Host, folder: str, job: dict[str, Any], name: str, wanted: str) -> str:
    data = host.disk.path(rf"{folder}\{name}").read_bytes()
    have = hashlib.sha256(data).hexdigest()
    if have != wanted:
        message = (
            f"{name} of job {job['id']} is not the file that the job was made with "
            f"(SHA-256 {have}, not {wanted}). Nothing was run."
        )
        raise ScriptFailure(message, "JobTampered")
    return data.decode()

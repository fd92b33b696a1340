"""Declared faults: what goes wrong, where, how often, or by chance, which a seed decides.

``FAULTS`` has all that there are. One of them as people write it, for ``billpatch lab --fault``:
``NAME [on SUBJECT] [times N] [chance P] [with {JSON}]``, for instance
``package.exit_code on Acme Provisioning Agent times 3 with {"codes": [1618, 1618, 3010]}``.
"""

from __future__ import annotations

import difflib
import json
import random
import re
import threading
from dataclasses import dataclass, field
from typing import Any

_WRITTEN = re.compile(
    r"(?P<name>\S+)(?: on (?P<on>.+?))?(?: times (?P<times>\d+))?(?: chance (?P<chance>0?\.\d+))?(?: with (?P<with>\{.*\}))?"
)

_MISPLACED = re.compile(r" (?:on|times|chance|with)(?: |$)")
"""No subject has such words: what follows them was meant otherwise."""


class Kind:
    """A fault that the lab knows: what it strikes, what happens then, and the names of its settings."""

    def __init__(self, on: str, what: str, *settings: str) -> None:
        self.on, self.what, self.settings = on, what, settings


FAULTS = {
    # The servers as machines
    "power.double_boot": Kind("host", "it restarts once more, so many seconds after it first answered", "seconds"),
    "power.servicing": Kind("host", "after a boot updates still configure for so many seconds", "seconds"),
    "power.slow_boot": Kind("host", "a boot takes so many seconds (null: it never ends)", "seconds"),
    "file.locked": Kind("path of a file", "another program has it open"),
    "policy.execution": Kind("host", "group policy sets PowerShell's execution policy", "policy"),
    "policy.language": Kind("host", "App Control leaves scripts another language mode", "mode"),
    "service.broken": Kind("service", "it cannot be started"),
    "service.down_after_boot": Kind("service", "a boot does not start it"),
    "service.stuck": Kind("service", "it does not stop in time"),
    "task.blocked": Kind("host", "endpoint protection ends the PowerShell of a task"),
    "task.queued": Kind("host", "a task stays queued for so many seconds (unsaid: for ever)", "seconds"),
    "task.refused": Kind("host", "a task ends at once with this result", "result"),
    "task.unstartable": Kind("host", "Windows does not start a task that was made", "message"),
    "task.start_delay": Kind("host", "the scheduler queues a task so many seconds after it was started", "seconds"),
    "vss.lost": Kind("folder", "Windows drops its snapshot while it is read"),
    "vss.stays": Kind("host", "a snapshot cannot be deleted"),
    "vss.unavailable": Kind("folder", "Windows makes no snapshot, and answers this code", "code"),
    # WinRM
    "winrm.certificate_revoked": Kind("host", "a client's certificate is refused"),
    "winrm.clock_skew": Kind("host", "Kerberos tickets come from another time"),
    "winrm.close_connections": Kind("host", "the connection ends after an answer", "action"),
    "winrm.credssp_disabled": Kind("host", "CredSSP is not offered"),
    "winrm.cut_logon": Kind("host", "the connection ends in the middle of a login"),
    "winrm.drop": Kind("host", "what was asked is done, and its answer lost", "action"),
    "winrm.fault": Kind("host", "WS-Management answers with this fault", "action", "code", "text", "wmi"),
    "winrm.kill_connections": Kind("host", "all connections are cut, every so many seconds", "every"),
    "winrm.out_of_memory": Kind("host", "a shell has used up its memory"),
    "winrm.refuse_logon": Kind("host", "the login is refused"),
    "winrm.stall": Kind("host", "a request is answered after so many seconds", "action", "seconds"),
    # Backups, and where they go
    "backup.disk_full": Kind("database or folder", "the disk is full on the way", "room", "free"),
    "backup.flip_byte": Kind("database", "a byte of its backup is another one", "at"),
    "backup.flip_source": Kind("folder", "a byte of its archive is another one once it is hashed"),
    "backup.flip_target": Kind(
        "share or path", "a byte changes where it lies (when: later, after it was read back)", "when"
    ),
    "backup.flip_transit": Kind("share, path or bucket", "a byte changes on the way"),
    "backup.slow": Kind("database or folder", "it takes so many seconds", "seconds"),
    "store.access_denied": Kind("share", "its rights do not let us in"),
    "store.denied": Kind("share, drive or bucket", "it denies access (a bucket: to these actions)", "actions"),
    "store.error": Kind("bucket", "it answers with an error (status 503: slow down)", "status"),
    "store.flip_byte": Kind("bucket", "it receives another byte than was sent"),
    "store.slow": Kind("bucket", "it answers after so many seconds", "seconds"),
    "store.unreachable": Kind("share, drive or bucket", "it does not answer"),
    # SQL Server
    "billing.run": Kind("host", "a billing run is at work for so many seconds when the lab starts", "seconds"),
    "sql.agent_fails": Kind("host", "Agent does not start"),
    "sql.feature": Kind("host", "it is part of something that preflight refuses", "feature"),
    "sql.login_refused": Kind("login", "18456"),
    "sql.no_route": Kind("web host", "SQL Server is out of its reach", "error"),
    "sql.recovery_fails": Kind("database", "it comes up in this state", "state"),
    "sql.slow_recovery": Kind("database", "it recovers for so many seconds", "seconds"),
    "sql.slow_start": Kind("host", "it listens so many seconds later", "seconds"),
    "sql.upgrade_fails": Kind("host", "the scripts of a new build fail, and the service stops"),
    "sqlpatch.already": Kind("instance", "setup says that it is applied already", "code", "patches", "summary"),
    "sqlpatch.another": Kind("instance", "another setup begins while the package is unpacked"),
    "sqlpatch.exit_code": Kind("instance", "setup ends with this code", "code", "patches", "summary"),
    "sqlpatch.hangs": Kind("instance", "setup does not end (said: after its last word)", "said"),
    "sqlpatch.leaves_services": Kind("instance", "setup leaves the other services of SQL Server stopped"),
    "sqlpatch.reboot_first": Kind("instance", "setup wants a restart first", "code", "patches", "summary"),
    "sqlpatch.script_upgrade_fails": Kind("host", "the scripts of a new build fail, and the service stops"),
    "sqlpatch.slow_upgrade": Kind("host", "the scripts of a new build take so many seconds", "seconds"),
    "sqlpatch.unwatched": Kind("instance", "the job loses sight of setup, which goes on"),
    # Updates and packages
    "download.cut": Kind("file", "the download ends half way"),
    "download.flip_byte": Kind("file", "the download has another byte"),
    "download.status": Kind("file", "the download is answered with this status", "status"),
    "package.exit_code": Kind(
        "package",
        "its installer ends with these codes, one after the other (installs: and is there all the same)",
        "codes",
        "installs",
    ),
    "package.flip_byte": Kind("package", "the file on the host is another one"),
    "package.forks": Kind(
        "package",
        "its installer ends before its child, which has so many seconds to go, and may go unseen",
        "seconds",
        "watched",
    ),
    "package.hangs": Kind(
        "package", "its installer does not end (or so many seconds later, or nobody sees it)", "seconds", "watched"
    ),
    "package.lies": Kind("package", "its installer says 0 and brings nothing"),
    "package.orphaned": Kind(
        "package", "its job is ended under its installer, which has so many seconds to go (unsaid: for ever)", "seconds"
    ),
    "package.signer": Kind("package", "the file has this signer, or none", "signer"),
    "update.busy": Kind("host", "another installation runs"),
    "update.fail": Kind("update or KB", "its installation fails", "hresult"),
    "update.fail_download": Kind("update or KB", "its download fails", "hresult"),
    "update.forgets": Kind("host", "the agent does not know what is installed"),
    "update.hollow": Kind("update or KB", "it goes in and does not raise the build"),
    "update.partial": Kind("source or host", "a search does not see everything", "hresult", "result_code"),
    "update.restarts": Kind("update or KB", "it restarts the host in the middle of its installation"),
    "update.rolls_back": Kind("update or KB", "the boot takes it out again"),
    "update.search": Kind("source or host", "the search fails", "hresult"),
    "update.still_at_work": Kind("update or KB", "after the boot it is at work still, for so many scans", "scans"),
    "update.throws": Kind("update or KB", "the installer of Windows Update throws", "hresult"),
    "update.wants_alone": Kind("update or KB", "it installs beside no other"),
    "updatefile.exit_code": Kind("file or KB", "wusa.exe or dism.exe ends with this code", "code"),
    # The portals
    "gateway.declines": Kind("host", "payments are declined"),
    "payments.late": Kind("host", "an eCheck batch comes in just before the maintenance page", "seconds"),
    "pool.stuck": Kind("pool", "its worker does not end for so many seconds", "seconds"),
    "web.error": Kind("site, or HOST/SITE", "it answers with this status", "status"),
    "web.slow": Kind("site, or HOST/SITE", "it answers after so many seconds", "seconds"),
    # What stands around the estate
    "balancer.down": Kind("node", "the balancer's API does not answer"),
    "balancer.stuck": Kind("node", "it is never drained"),
    "hypervisor.hollow": Kind("host", "the snapshot that it answers is not there"),
    "hypervisor.lost_answer": Kind("host", "a snapshot is taken, and its answer lost"),
    "hypervisor.refuses": Kind("host", "no snapshot is taken, looked up or deleted", "method"),
    "hypervisor.slow": Kind("host", "a snapshot takes so many seconds", "seconds"),
    "monitoring.down": Kind("monitoring", "it does not answer"),
    "pager.down": Kind("pager", "it does not answer"),
}
"""Every fault there is. Where nothing else is said, its subject may also be the host that it strikes; ``*`` is any."""


@dataclass
class Fault:
    """One declared fault.

    ``name`` is one of ``FAULTS``, which is what the code of the lab asks for; ``on`` restricts it to a subject (``*`` is
    every one); ``times`` is how often it strikes (None: always); ``with_`` carries its settings; ``chance`` is how likely
    it strikes each time that it could.
    """

    name: str
    on: str = "*"
    times: int | None = None
    with_: dict[str, Any] = field(default_factory=dict)
    chance: float = 1.0


def written(text: str) -> Fault:
    """The fault that somebody has written; ValueError says what is wrong with it."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or ":" in found["name"] or _MISPLACED.search(found["on"] or ""):
        raise ValueError(f"{text}: write NAME [on SUBJECT] [times N] [chance 0.P] [with {{JSON}}], in this order")
    kind = kind_of(found["name"])
    times, chance = found["times"], float(found["chance"] or 1)
    try:
        settings = json.loads(found["with"] or "{}")
    except ValueError as error:
        raise ValueError(f"{text}: its settings are no JSON ({error})") from None
    odd = [name for name in settings if name not in kind.settings]
    if odd:
        known = f"it has {', '.join(kind.settings)}" if kind.settings else "it has none"
        raise ValueError(f"{found['name']} has no setting {', '.join(odd)}; {known}")
    return Fault(found["name"], found["on"] or "*", int(times) if times else None, settings, chance)


def kind_of(name: str) -> Kind:
    """What is known of the fault of that name; ValueError where there is none, with those that it may have been meant for."""
    if name in FAULTS:
        return FAULTS[name]
    family = [known for known in FAULTS if known.split(".")[0] == name.split(".", maxsplit=1)[0]]
    near = difflib.get_close_matches(name, FAULTS, n=3) or family
    meant = f"did you mean {', '.join(near)}?" if near else "lab/faults.py has all of them"
    raise ValueError(f"there is no fault {name}; {meant}")


class Faults:
    """The faults in force; tests and ``billpatch lab --fault`` declare them, the lab's parts ask for them."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._declared: list[Fault] = []

    def declare(self, fault: Fault) -> None:
        """Put ``fault`` into force; ValueError for one that there is not."""
        kind_of(fault.name)
        with self._lock:
            self._declared.append(fault)

    def clear(self, name: str | None = None) -> None:
        """Withdraw every fault of that name, or all of them."""
        with self._lock:
            self._declared = [f for f in self._declared if name is not None and f.name != name]

    def lasts(self, name: str, on: str) -> bool:
        """Whether a fault of that name is still declared for ``on``, used up or not."""
        with self._lock:
            return any(f.name == name and f.on in ("*", on) for f in self._declared)

    def strike(self, name: str, on: str, **about: Any) -> dict[str, Any] | None:
        """The settings of a fault in force for ``on``, used up once; None where there is none.

        ``about`` tells more of the occasion (``action="Receive"``): a fault whose settings name something else under
        the same key does not strike, and is not used up; nor is one that chance has spared.
        """
        kind_of(name)
        with self._lock:
            for fault in self._declared:
                if fault.name != name or fault.on not in ("*", on) or fault.times == 0:
                    continue
                if any(fault.with_.get(key, value) != value for key, value in about.items()):
                    continue
                if fault.chance < 1 and self._random.random() >= fault.chance:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return dict(fault.with_)
        return None

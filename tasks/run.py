"""One run over one estate: what it is called, whom it talks to, and what has happened so far.

Everything that comes from Prefect (blocks, the estate's file) is loaded here, before anything is touched: from then on
a run needs the hosts, not Prefect.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from prefect.runtime import flow_run

from blocks.credential_lookup import CredentialsError, resolve
from blocks.credentials import ShareCredentials
from blocks.estate_store import EstateNotFound, EstateStore
from blocks.hooks import HookCaller
from blocks.prefect_api import prefect_api, prefect_url
from blocks.s3_store import S3BackupStore
from blocks.sql_server import SqlServer
from blocks.web import WebClient
from blocks.windows_host import WindowsHost
from blocks.winrm.errors import ScriptFailed
from model.estate import Estate, EstateFaults, S3Store, ShareStore, load_estate
from model.journal import Journal
from model.keys import RunKey
from model.lease import Holder, owner_in
from model.night_risks import NightRisks
from model.outcome import Problem, Stopped
from model.records import HostFacts
from model.scan import Build
from model.sql.facts import SetupFacts

ESTATE_STORE_BLOCK = "estates"
ESTATES_VARIABLE = "BILLPATCH_ESTATES"
POLL_VARIABLE = "BILLPATCH_POLL_SECONDS"

_FENCE_TOO_LOW = "FenceTooLow"
_LONGEST_ACT = 400.0
"""Seconds that an act of a task can take on a host at most: the services that it stops have 300."""


class Run:
    """What the steps of a runbook share. Not a record: it holds connections, and ends with ``close``."""

    def __init__(
        self, estate: Estate, key: RunKey, credentials: Mapping[str, Any], *, named: bool = True, called: str = ""
    ) -> None:
        self.estate = estate
        self.called = called or estate.name
        """What a person types to name this estate."""
        self.key = key
        self.named = named
        """Whether the key is that of a change; one that is not gives way to that of an unfinished run on the hosts."""
        self.holder = Holder(this_machine(), os.getpid(), str(flow_run.id or ""))
        self.started = datetime.now(UTC)
        self.credentials = dict(credentials)
        self.fence = 0
        self.joined: tuple[str, ...] = ()
        """Hosts whose lease is ours."""
        self.number = 0
        """Number of the quiesce that backups belong to; 0 before there is one."""
        self.stop = threading.Event()
        """Set when the run's own work must end: every wait of a task watches it."""
        self.over = threading.Event()
        """Set when the estate is not ours any more, or the run has hung up: waits of ``bring_back`` watch it."""
        self.lease_lost = ""
        """Who has taken the estate over from this run; empty while it is ours."""
        self.restarting: set[str] = set()
        """Hosts that are asked to restart: their leases are prolonged for that, and not renewed meanwhile."""
        self.renewal = threading.Lock()
        """Held around each renewal of a lease."""
        self.lost: dict[str, str] = {}
        """Hosts that did not come back, and how far they came."""
        self.facts: dict[str, HostFacts] = {}
        """Each host as preflight found it."""
        self.builds: dict[str, Build] = {}
        """The build of Windows that each host had when it was last judged: what a cumulative update must raise."""
        self.setup: dict[str, SetupFacts] = {}
        """What SQL Server's setup has left on each host of it, as preflight found it."""
        self.risks: dict[str, NightRisks] = {}
        """What could disturb the night on each host, as preflight found it."""
        self.notes: dict[str, str] = {}
        """What the plan tells of a package besides itself, by its name."""
        self.poll = float(os.environ.get(POLL_VARIABLE, "5"))
        """Seconds between two looks at something that is waited for."""
        self.journal = Journal()
        self.shown: set[str] = set()
        """Artifacts of this run that people can see already."""
        self.hosts = {
            name: WindowsHost(
                name,
                host.address,
                credentials[host.credentials],
                port=host.port,
                transport=host.transport,
                kerberos_name=host.kerberos_name,
            )
            for name, host in estate.hosts.items()
        }
        self.sql = {
            name: SqlServer(
                name, estate.hosts[name].address, instance.port, instance.instance, credentials[instance.credentials]
            )
            for name, instance in estate.sql.items()
        }
        self.buckets = {
            store.name: S3BackupStore(store.s3, store.prefix, credentials[store.credentials])
            for store in estate.backup.stores
            if isinstance(store, S3Store)
        }
        self.web = WebClient()
        self.hooks = HookCaller(credentials, self.hosts)
        self.in_use: set[tuple[str, str]] = set()
        """Nodes that this run has given back, each with the load balancer."""
        self._turn = threading.Condition()
        self._acting = 0

    @property
    def shares(self) -> tuple[ShareStore, ...]:
        """The stores of the estate that are shares."""
        return tuple(store for store in self.estate.backup.stores if isinstance(store, ShareStore))

    @property
    def buckets_of_estate(self) -> tuple[S3Store, ...]:
        """The stores of the estate that are buckets."""
        return tuple(store for store in self.estate.backup.stores if isinstance(store, S3Store))

    def login_of(self, path: str, block: str | None, name: str = "share") -> dict[str, Any]:
        """The login of the share that ``path`` lies on: that ``block``, else that of the backup store it is below."""
        below = (s.credentials for s in self.shares if path.casefold().startswith(f"{s.share}\\".casefold()))
        credentials = block or next(below, None)
        return self.share_login(credentials, name) if credentials else {}

    def share_login(self, block: str, name: str = "share") -> dict[str, Any]:
        """The secrets with which a job on a host reaches the share that it calls ``name``.

        They travel sealed and lie on the host as a DPAPI file until the job has read them.
        """
        login: ShareCredentials = self.credentials[block]
        return {f"{name}.username": login.username, f"{name}.password": login.password}

    def lose(self, host: str, problems: Iterable[Problem]) -> None:
        """Note that ``host`` did not come back."""
        self.lost[host] = "; ".join(problem.message for problem in problems)

    def lose_lease(self, to: str) -> None:
        """Another run has taken over: this one stops, and leaves the estate to it."""
        self.lease_lost = to
        self.stop.set()
        self.over.set()

    def heed(self, error: BaseException) -> None:
        """Note it where ``error`` says that another run has taken the estate over: a host has refused our fence."""
        if isinstance(error, ScriptFailed) and error.id.startswith(_FENCE_TOO_LOW) and not self.lease_lost:
            self.lose_lease(owner_in(error.message))

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Around what a task does: ``end_work`` waits for it. Raises Stopped once the run's own work is to end."""
        with self._turn:
            if self.stop.is_set():
                why = f"{self.lease_lost} has taken over" if self.lease_lost else "the run was told to end"
                raise Stopped.because("interruption", f"not begun: {why}")
            self._acting += 1
        try:
            yield
        finally:
            with self._turn:
                self._acting -= 1
                self._turn.notify_all()

    def end_work(self) -> bool:
        """Have the tasks that still run end, and wait until they have; False if one outlasts its own deadlines.

        What they do on the hosts must have come to its end before it is undone: a script that still stops services
        would stop them again.
        """
        self.stop.set()
        with self._turn:
            return self._turn.wait_for(lambda: not self._acting, _LONGEST_ACT)

    def pause(self, stop: threading.Event | None = None) -> bool:
        """Wait a moment between two looks; True when ``stop``, or the end of all, says not to look again."""
        return (stop or self.over).wait(self.poll)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up everywhere; never raises."""
        self.stop.set()
        self.over.set()
        for host in self.hosts.values():
            host.close()
        self.web.close()


def this_machine() -> str:
    """What this machine calls itself, in one word."""
    return re.sub(r"\s+", "-", socket.gethostname()) or "unnamed"


def read_estate(name: str) -> Estate:
    """The estate of that name or file; raises Stopped with every fault of it at once."""
    try:
        text, source = _find_estate(name)
        return load_estate(text, source)
    except EstateFaults as faults:
        problems = [Problem(str(fault)) for fault in faults.faults]
    except EstateNotFound as missing:
        problems = [Problem(str(missing))]
    raise Stopped("estate", problems)


def open_run(name: str, *, change: str | None = None, attempt: int = 1) -> Run:
    """Load the estate and its credentials and connect nothing yet; raises Stopped with all that is missing."""
    estate = read_estate(name)
    try:
        credentials = resolve(estate.credentials_names())
    except CredentialsError as error:
        problems = [Problem(f"credentials {block}: {problem}") for block, problem in error.problems.items()]
    else:
        problems = _misfits(estate, credentials)
    if not problems:
        key = (
            RunKey.for_change(estate.name, change, attempt)
            if change
            else RunKey.for_start(estate.name, datetime.now(UTC), attempt)
        )
        return Run(estate, key, credentials, named=bool(change), called=_called(name, estate))
    raise Stopped("credentials", problems)


def _misfits(estate: Estate, credentials: Mapping[str, Any]) -> list[Problem]:
    """Hosts for which the estate asks a transport that their credentials have not what it needs for."""
    found = []
    for name, host in estate.hosts.items():
        try:
            credentials[host.credentials].adapted(port=host.port, transport=host.transport)
        except ValueError as error:
            fix = f"Save it in the block {host.credentials}, or correct hosts.{name} in the estate file."
            found.append(Problem(f"{name}: {error}. {fix}"))
    return found


def _called(name: str, estate: Estate) -> str:
    """What a person types to name the estate again: its name where that is found, else the file."""
    folder = os.environ.get(ESTATES_VARIABLE)
    known = EstateStore(folder=Path(folder)).estates() if folder else []
    return estate.name if estate.name in {name, *known} else shlex.quote(name)


def _find_estate(name: str) -> tuple[str, str]:
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise EstateNotFound(
            name, f"the file cannot be read: {reason}. Name an estate's file, or an estate in the store."
        )
    folder = os.environ.get(ESTATES_VARIABLE)
    store = EstateStore(folder=Path(folder)) if folder else _stored(name)
    found = store.read_estate(name)
    return found.text, found.source


def _stored(name: str) -> EstateStore:
    api = prefect_api()
    missing = {"none": "no Prefect API is set", "silent": f"Prefect's API at {prefect_url()} does not answer"}.get(api)
    if missing is None:
        try:
            load: Any = EstateStore.load
            store: EstateStore = load(ESTATE_STORE_BLOCK, _sync=True)
        except ValueError:
            missing = f"Prefect has no Estate Store block called {ESTATE_STORE_BLOCK}"
        else:
            return store
    raise EstateNotFound(
        name,
        f"there is no such file, {ESTATES_VARIABLE} names no folder, and {missing}. Name the estate's file, or set one.",
    )


def prefect_problem() -> str | None:
    """Why flows cannot be run, where they cannot: the API that is set does not answer."""
    if prefect_api() != "silent":
        return None
    return (
        f"Prefect's API at {prefect_url()} does not answer. Start its server, or unset PREFECT_API_URL to run with a "
        "server of this run's own. `billpatch recover` needs none."
    )

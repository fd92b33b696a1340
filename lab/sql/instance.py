"""A SQL Server instance on a lab host: its life (starts, stops, patches) and the way into it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from lab.host import Host
from lab.sql import billing, facts
from lab.sql.agent import Agent
from lab.sql.databases import Database, Databases, Login
from lab.sql.doors import Doors
from lab.sql.engine import Engine
from lab.sql.errorlog import ErrorLog
from lab.sql.errors import Cancelled, Message, SqlError
from lab.sql.history import History
from lab.sql.output import Collector, Result
from lab.sql.phases import Durations, Gate, Phase, Start
from lab.sql.session import Session
from lab.web.events import ERROR, log_event

_SEEDS = {"engageip": billing.seeder(), "reporting": billing.reporting}


class SqlInstance:
    """The host's part ``sql``.

    ``start()`` makes it ONLINE at once; ``shutdown()``, ``boot()`` and ``service()`` are the host's hooks and go through the
    phases of a real start. ``jobs`` are Agent jobs besides the usual ones. ``features`` may name what preflight must refuse: ``availability_groups``, ``cluster``,
    ``replication``, ``mirroring``.
    """

    def __init__(
        self,
        host: Host,
        databases: Sequence[Database | str] = ("EngageIP", "Reporting"),
        *,
        build: str = "15.0.4123.1",
        instance: str = "MSSQLSERVER",
        edition: str = "Standard Edition (64-bit)",
        logins: Iterable[Login] = (),
        jobs: Iterable[str] = (),
        port: int = 1433,
        zone: str = "America/Toronto",
        durations: Durations | None = None,
        features: Iterable[str] = (),
        tls: tuple[str, str] | None = None,
    ) -> None:
        self.host, self.name, self.edition, self.port = host, instance, edition, port
        self.logins = {login.name: login for login in logins}
        self.durations = durations or Durations()
        self.service_account = f"NT SERVICE\\{'MSSQLSERVER' if instance == 'MSSQLSERVER' else f'MSSQL${instance}'}"
        self.engine_service = "MSSQLSERVER" if instance == "MSSQLSERVER" else f"MSSQL${instance}"
        self.agent_service = "SQLSERVERAGENT" if instance == "MSSQLSERVER" else f"SQLAgent${instance}"
        self._zone, self._features = ZoneInfo(zone), frozenset(features)
        self._lock = threading.RLock()
        self.phase = Phase.DOWN
        self.epoch = 0
        self._cut = threading.Event()
        self.backups: set[str] = set()
        saved = host.read("sql.json")
        self.build = str(saved.get("build", build))
        self.update = dict(saved.get("update", {}))
        self.scripts_pending = bool(saved.get("scripts_pending", False))
        self.folder = facts.data_folder(self.build, instance)
        self.started_at = self.now()
        specs = [d if isinstance(d, Database) else Database(d, seed=_SEEDS.get(d.casefold())) for d in databases]
        self.databases = Databases(host, specs, rf"{self.folder}\DATA", self.now)
        self._errorlog = ErrorLog(host.disk, rf"{self.folder}\Log")
        self.gate, self.doors, self.history = Gate(self), Doors(self, tls), History(host, self.databases)
        self.agent, self.work = Agent(self), billing.Work(self)
        self.agent_wanted = not self.is_express
        self.agent.declare(jobs)
        self._save()
        self._declare_services()

    # What it is --------------------------------------------------------------------------------------------------------

    @property
    def is_express(self) -> bool:
        return self.edition.startswith("Express")

    @property
    def agent_running(self) -> bool:
        return self.agent.running

    @property
    def server_name(self) -> str:
        r"""``HOST``, or ``HOST\INSTANCE`` for a named instance."""
        host = self.host.name.upper()
        return host if self.name == "MSSQLSERVER" else f"{host}\\{self.name}"

    @property
    def build_numbers(self) -> tuple[int, int, int]:
        major, minor, build, _ = (int(part) for part in self.build.split("."))
        return major, minor, build

    @property
    def major(self) -> int:
        return self.build_numbers[0]

    @property
    def compatibility(self) -> int:
        return self.major * 10

    @property
    def version_text(self) -> str:
        return facts.version_text(self.build, self.update, self.edition)

    def property(self, name: str) -> Any:
        """SERVERPROPERTY; NULL for names that nobody knows, as the server answers."""
        return facts.server_properties(self).get(name.casefold())

    def feature(self, name: str) -> bool:
        """Whether it has what preflight refuses; the fault ``sql.feature`` (``feature``) gives it that later."""
        return (
            name in self._features or self.host.faults.strike("sql.feature", self.host.name, feature=name) is not None
        )

    def now(self) -> datetime:
        """Local time of the server, with its offset; T-SQL's GETDATE() loses the offset, as in life."""
        return datetime.now(UTC).astimezone(self._zone)

    def sessions(self) -> list[Session]:
        """Everybody who is logged in."""
        return self.doors.sessions()

    def msdb(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement of SQLite's own on msdb, for what the server itself keeps there."""
        return self.history.msdb(statement, *values)

    def _save(self) -> None:
        with self.host.edit("sql.json") as state:
            state |= {
                "build": self.build,
                "update": self.update,
                "scripts_pending": self.scripts_pending,
            }

    def _declare_services(self) -> None:
        with self.host.edit("services.json") as services:
            services.setdefault(
                self.engine_service,
                {"status": "Running", "start": "Automatic", "depends": [], "display": f"SQL Server ({self.name})"},
            )
            if not self.is_express:
                display = f"SQL Server Agent ({self.name})"
                services.setdefault(
                    self.agent_service,
                    {"status": "Running", "start": "Automatic", "depends": [self.engine_service], "display": display},
                )

    # Life ----------------------------------------------------------------------------------------------------------------

    def start(self) -> SqlInstance:
        """Be ONLINE now, as found on a first day: for building a lab, not a boot."""
        self.started_at = self.now()
        self.enter(Phase.ONLINE)
        if not self.is_express:
            self.agent.start()
        run = self.host.faults.strike("billing.run", self.host.name)
        if run is not None:
            self.work.billing_run(float(run.get("seconds", 60)))
        return self

    def stop(self) -> None:
        """End with the lab: nothing listens, nothing runs."""
        self._go_down()

    def shutdown(self) -> None:
        """The host goes down: sockets are reset, what runs is cut."""
        self._go_down()
        self.host.event("sql.down", reason="host")

    def boot(self) -> None:
        """The host has come up: start what starts automatically."""
        services = self.host.read("services.json")
        automatic = {
            name for name, service in services.items() if str(service.get("start", "Automatic")).startswith("Auto")
        }
        self.agent_wanted = self.agent_service in automatic and not self.is_express
        if self.engine_service in automatic:
            self._come_up()

    def service(self, name: str, started: bool) -> None:
        """The service manager has started or stopped one of our services."""
        if name.casefold() == self.engine_service.casefold():
            if started:
                self.agent_wanted = False  # starting the engine does not start the Agent
                self._come_up()
            else:
                self._go_down()
                self.mark(self.agent_service, "Stopped")
                self.host.event("sql.down", reason="service")
        elif name.casefold() == self.agent_service.casefold():
            self.agent_wanted = started
            if not started:
                self.agent.stop()
            elif self.phase is Phase.DOWN:
                self._come_up()
            elif self.phase is Phase.ONLINE and not self.agent.running:
                threading.Thread(target=Start(self, self.epoch).start_agent, daemon=True).start()

    def patch(self, build: str, *, level: str = "", kb: str = "", start: bool = True) -> None:
        """Replace the binaries, as setup does: services stop, and the first start runs the upgrade scripts."""
        agent = self.agent.running or self.agent_wanted
        before, running = self.build, self.phase is not Phase.DOWN
        self._go_down()
        for service in (self.agent_service, self.engine_service):
            self.mark(service, "Stopped")
        self.build, self.scripts_pending, self.update = build, True, {"level": level, "kb": kb}
        self._save()
        self.host.event("sql.patched", before=before, after=build)
        if start and running:
            self.agent_wanted = agent and not self.is_express
            self._come_up()

    def wait_until_ready(self, seconds: float) -> bool:
        """Whether it is ONLINE within ``seconds`` of lab time (the Agent may still be starting)."""
        for _ in range(int(seconds * 10)):
            if self.phase is Phase.ONLINE:
                return True
            if self.host.clock.sleep(0.1):
                break
        return self.phase is Phase.ONLINE

    def _come_up(self) -> None:
        with self._lock:
            self._go_down()
            self._cut = threading.Event()
            epoch = self.epoch
        self.mark(self.engine_service, "StartPending")
        if self.agent_wanted:
            self.mark(self.agent_service, "StartPending")
        threading.Thread(target=Start(self, epoch).run, name=f"{self.host.name}-sql-start", daemon=True).start()

    def _go_down(self) -> None:
        with self._lock:
            self.epoch += 1
            self._cut.set()
            self.phase = Phase.DOWN
        self.doors.close()
        self.agent.stop()

    def die(self) -> None:
        """The service has ended by itself."""
        self._go_down()
        for service in (self.agent_service, self.engine_service):
            self.mark(service, "Stopped")
        self.host.event("sql.down", reason="error")

    # Steps of a start (phases.Start) -------------------------------------------------------------------------------------

    def sleep(self, seconds: float, epoch: int) -> bool:
        """Spend lab time; False when the service was stopped, or the lab is closing, meanwhile."""
        cut, clock = self._cut, self.host.clock
        remaining = seconds
        while remaining > 0 and self.epoch == epoch and not clock.stopping.is_set():
            step = min(remaining, 0.5 * clock.speed)
            if clock.sleep(step, until=cut):
                return False
            remaining -= step
        return self.epoch == epoch and not clock.stopping.is_set()

    def begin_start(self) -> None:
        """The process is there: a new sqlserver_start_time, a new ERRORLOG, databases not yet recovered."""
        self.started_at = self.now()
        self._errorlog.cycle()
        self.log(self.version_text, source="Server")
        for entry in self.databases:
            if entry.state in ("ONLINE", "RECOVERING", "RECOVERY_PENDING", "SUSPECT") and entry.name != "master":
                entry.state = "RECOVERING"
        self.host.event("sql.starting", build=self.build)

    def enter(self, phase: Phase) -> None:
        """Be in ``phase``, and say so."""
        with self._lock:
            self.phase = phase
            self.doors.open()
        if phase is Phase.RECOVERING:
            self.mark(self.engine_service, "Running")
            self.log(
                "SQL Server is now ready for client connections. This is an informational message; no user action is required.",
                source="spid6s",
            )
        if phase is Phase.ONLINE:
            self.log(
                "Recovery is complete. This is an informational message only. No user action is required.",
                source="spid6s",
            )
            self.host.event("sql.ready", build=self.build)
        else:
            self.host.event(f"sql.{phase.name.lower()}", effect=False)

    def scripts_done(self) -> None:
        self.scripts_pending = False
        self._save()
        self.host.event("sql.script_upgraded", build=self.build)

    def mark(self, service: str, status: str) -> None:
        """Set a service's status as the service manager shows it."""
        with self.host.edit("services.json") as services:
            if service in services:
                services[service]["status"] = status
                services[service].pop("exit", None)

    def run(
        self,
        statement: str,
        database: str = "master",
        user: str | None = None,
        password: str | None = None,
        *,
        on_message: Callable[[Message], None] | None = None,
        stop: threading.Event | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Result:
        """Run a batch from within the lab, through the same gates as a socket; no user is the service account.

        Raises SqlError for a refusal and for a batch that failed; its ``result`` holds what the batch had answered until
        then. Cancelled by ``stop``, the result says ``cancelled``; cut by a stop of the service, SqlError 10054.
        """
        self.gate.check_open()
        session = self.doors.admit(
            user,
            password,
            database,
            remote=False,
            client=self.host.name.upper(),
            program=".Net SqlClient Data Provider",
        )
        out = Collector(self.host.clock, stop, session.killed, on_message)
        try:
            Engine(session).batch(statement, parameters or {}, out)
        except SqlError as failure:
            out.result.errors += failure.messages
            failure.result = out.result
            raise
        except Cancelled:
            if session.killed.is_set():
                text = "A transport-level error has occurred when receiving results from the server. (provider: TCP Provider, error: 0 - An existing connection was forcibly closed by the remote host.)"
                cut = SqlError(Message(10054, 20, 0, text))
                cut.result = out.result
                raise cut from None
            out.result.cancelled = True
        finally:
            self.doors.leave(session)
        return out.result

    # Bookkeeping -------------------------------------------------------------------------------------------------------------

    def record(self, session: Session, text: str, *, refused: int | None = None) -> None:
        """Every batch goes to the audit trail and to ``sql-batches.jsonl``, without passwords.

        Once more with the error's number where its text was ``refused`` before anything of it ran.
        """
        for login in self.logins.values():
            if login.password:
                text = text.replace(login.password.replace("'", "''"), "***")
        text = re.sub(r"(?i)(password\s*=\s*)N?'(?:[^']|'')*'", r"\1N'***'", text)
        line = json.dumps(
            {
                "host": self.host.name,
                "build": self.build,
                "database": session.database,
                "remote": session.remote,
                "program": session.program,
                "sql": text,
                **({"refused": refused} if refused is not None else {}),
            },
            ensure_ascii=False,
        )
        with self._lock, (self.host.audit.path.parent / "sql-batches.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if refused is None:
            self.host.event("sql.batch", effect=False, user=session.login, database=session.database, text=text)

    def log(self, text: str, number: int | None = None, *, source: str = "spid51", severity: int = 16) -> None:
        """A line in ERRORLOG."""
        self._errorlog.write(self.now(), text, number, source=source, severity=severity)

    def fail(self, text: str, number: int) -> None:
        """A severe error: in ERRORLOG, and in the host's Application log for whoever cannot ask SQL Server any more."""
        self.log(text, number, source="spid6s", severity=21)
        log_event(self.host, "Application", (self.engine_service, number), ERROR, text)

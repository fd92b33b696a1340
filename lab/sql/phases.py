"""How a SQL Server comes up: refused, stalling, paused or in script upgrade, recovering, online, Agent.

What a client sees in each phase is in ``Gate``; how long each lasts is in ``Durations`` (lab seconds). Faults:
``sql.slow_recovery`` {seconds} on a database, ``sqlpatch.slow_upgrade`` {seconds} and ``sqlpatch.script_upgrade_fails`` on the host, ``sql.recovery_fails`` {state} on a database (SUSPECT, or RECOVERY_PENDING), ``sql.upgrade_fails`` on the
host (912, 3417, the service stops), ``sql.slow_start`` {seconds} on the host, ``sql.agent_fails`` on the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from lab.sql.errors import Message, SqlError, no_database, no_login

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance


class Phase(Enum):
    """Where the instance stands."""

    DOWN = "connections are refused"
    STALLING = "TCP is accepted, PRELOGIN is not answered"
    PAUSED = "logins are refused with 17142"
    UPGRADING = "logins are refused with 18401, but for administrators"
    RECOVERING = "master is ONLINE, others are RECOVERING"
    ONLINE = "every database has been recovered"


@dataclass
class Durations:
    """How long things last, in lab seconds."""

    listen: float = 8.0
    stall: float = 4.0
    paused: float = 5.0
    upgrade: float = 40.0
    recover: float = 6.0
    agent: float = 5.0
    backup: float = 20.0
    verify: float = 4.0
    restore: float = 10.0
    checkdb: float = 5.0


REFUSED = Message(
    10061,
    20,
    0,
    "A network-related or instance-specific error occurred while establishing a connection to SQL Server. The server was not found or was not accessible. "
    "Verify that the instance name is correct and that SQL Server is configured to allow remote connections. (provider: TCP Provider, error: 0 - No "
    "connection could be made because the target machine actively refused it.)",
)
TIMEOUT = Message(
    -2,
    11,
    0,
    "Connection Timeout Expired.  The timeout period elapsed while attempting to consume the pre-login handshake acknowledgement.  This could be because "
    "the pre-login handshake failed or the server was unable to respond back in time.",
)
STEPS = (
    "u_tables.sql",
    "repl_upgrade.sql",
    "msdb110_upgrade.sql",
    "msdb_upgrade_discovery",
    "ssis_hotfix_install.sql",
    "provision_ceipsvc_account.sql",
)
"""Of a script upgrade, as a real ERRORLOG names them."""
_PAUSED = "SQL Server service has been paused. No new connections will be allowed. To resume the service, use SQL Computer Manager or the Services application in Control Panel."


class Gate:
    """Who is let in, and what the others are told."""

    def __init__(self, instance: SqlInstance) -> None:
        self._instance = instance

    def check_open(self) -> None:
        """For callers within the lab's process: what a socket would have met before any login."""
        phase = self._instance.phase
        if phase is Phase.DOWN:
            raise SqlError(REFUSED)
        if phase is Phase.STALLING:
            raise SqlError(TIMEOUT)

    def admit(self, user: str | None, password: str | None, database: str) -> tuple[str, bool, str]:
        """Login name, whether it is sysadmin, and the database to begin in; SqlError for a refusal. No user: the service account."""
        instance = self._instance
        if instance.phase is Phase.PAUSED:
            raise SqlError(Message(17142, 14, 1, _PAUSED))
        name, sysadmin = instance.service_account, True
        if user is not None:
            login = next((one for key, one in instance.logins.items() if key.casefold() == user.casefold()), None)
            refused = instance.host.faults.strike("sql.login_refused", user) is not None
            if login is None or login.password != password or refused:
                raise SqlError(no_login(user))
            name, sysadmin = login.name, login.sysadmin
        if instance.phase is Phase.UPGRADING and not sysadmin:
            text = f"Login failed for user '{name}'. Reason: Server is in script upgrade mode. Only administrator can connect at this time."
            instance.log(f"{text} [CLIENT: 10.0.0.9]", 18401, source="Logon", severity=14)
            raise SqlError(Message(18401, 14, 1, text))
        return name, sysadmin, self._database(name, database or "master")

    def _database(self, name: str, database: str) -> str:
        instance = self._instance
        entry = instance.databases.find(database)
        if entry is None:
            raise SqlError(no_database(database), no_login(name))
        refusal = entry.refusal()
        if refusal:
            first = [refusal] if entry.state == "RECOVERING" else []
            raise SqlError(*first, no_database(database), no_login(name))
        if entry.access == "SINGLE_USER" and any(s.database == entry.name for s in instance.sessions()):
            text = f"Database '{entry.name}' is already open and can only have one user at a time."
            raise SqlError(Message(924, 14, 1, text), no_database(database), no_login(name))
        return entry.name


class Start:
    """One start of the service, from the first second to the Agent; ``epoch`` is how it learns that it was cut short."""

    def __init__(self, instance: SqlInstance, epoch: int) -> None:
        self._instance, self._epoch = instance, epoch

    def run(self) -> None:
        """Go through the phases; returns early when the service is stopped meanwhile."""
        instance, lasts = self._instance, self._instance.durations
        instance.begin_start()
        slow = instance.host.faults.strike("sql.slow_start", instance.host.name)
        if not self._wait(lasts.listen + (float(slow.get("seconds", 60)) if slow is not None else 0)):
            return
        instance.enter(Phase.STALLING)
        instance.log("Starting up database 'master'.", source="spid6s")
        instance.log(f"Server is listening on [ 'any' <ipv4> {instance.port}].", source="spid18s")
        if not self._wait(lasts.stall):
            return
        if instance.scripts_pending:
            if not self._upgrade():
                return
        else:
            instance.enter(Phase.PAUSED)
            if not self._wait(lasts.paused):
                return
        instance.enter(Phase.RECOVERING)
        if not self._recover():
            return
        instance.enter(Phase.ONLINE)
        self.start_agent()

    def _wait(self, seconds: float) -> bool:
        return self._instance.sleep(seconds, self._epoch)

    def _upgrade(self) -> bool:
        """Step by step; user databases come ONLINE in the middle of it, and an administrator sees them so."""
        instance = self._instance
        instance.enter(Phase.UPGRADING)
        instance.host.event("sql.script_upgrade", build=instance.build)
        faults, name = instance.host.faults, instance.host.name
        failing = faults.strike("sql.upgrade_fails", name)
        failing = faults.strike("sqlpatch.script_upgrade_fails", name) if failing is None else failing
        slow = faults.strike("sqlpatch.slow_upgrade", name)
        lasts = float(slow.get("seconds", 600)) if slow is not None else instance.durations.upgrade
        level = (instance.major << 24) + int(instance.build.split(".")[2])
        for number, script in enumerate(STEPS):
            step = f"Database 'master' is upgrading script '{script}' from level {level - 75} to level {level}."
            instance.log(step, source="spid6s")
            if number == len(STEPS) // 2:
                if failing is not None:
                    self._fail_upgrade()
                    return False
                if not self._recover():
                    return False
            if not self._wait(lasts / len(STEPS)):
                return False
            instance.log(f"Execution of {script.upper()} completed", source="spid6s")
        instance.scripts_done()
        return True

    def _fail_upgrade(self) -> None:
        instance = self._instance
        instance.log(
            "There is already an object named 'DatabaseMailUserRole' in the database.",
            2714,
            source="spid6s",
            severity=16,
        )
        text = (
            "Script level upgrade for database 'master' failed because upgrade step 'msdb110_upgrade.sql' encountered error 2714, state 6, severity 25. "
            "This is a serious error condition which might interfere with regular operation and the database will be taken offline."
        )
        instance.fail(text, 912)
        instance.fail(
            "Cannot recover the master database. SQL Server is unable to run. Restore master from a full backup, repair it, or rebuild it.",
            3417,
        )
        instance.host.event("sql.script_upgrade_failed", build=instance.build, errors=[912, 3417])
        instance.die()

    def _recover(self) -> bool:
        instance = self._instance
        for entry in [e for e in instance.databases if e.state == "RECOVERING"]:
            seconds = (
                entry.spec.recovery_seconds if entry.spec.recovery_seconds is not None else instance.durations.recover
            )
            slow = instance.host.faults.strike("sql.slow_recovery", entry.name)
            if not self._wait(float(slow.get("seconds", seconds * 10)) if slow is not None else seconds):
                return False
            failing = instance.host.faults.strike("sql.recovery_fails", entry.name)
            entry.state = "ONLINE" if failing is None else str(failing.get("state", "SUSPECT"))
            instance.host.event("sql.database_recovered", effect=False, database=entry.name, state=entry.state)
        return True

    def start_agent(self) -> None:
        """The Agent comes after the engine, if it is wanted."""
        instance = self._instance
        if instance.is_express or not instance.agent_wanted or not self._wait(instance.durations.agent):
            return
        if instance.host.faults.strike("sql.agent_fails", instance.host.name) is not None:
            instance.mark(instance.agent_service, "Stopped")
            return
        instance.agent.start()
        instance.mark(instance.agent_service, "Running")

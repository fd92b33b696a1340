"""The system views that the lab serves. A view has only the columns that the lab truly fills: others are error 207."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.sql.databases import STATES, Entry
from lab.sql.ddl import columns_of

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance
    from lab.sql.session import Session

Row = tuple[Any, ...]
_USER_ACCESS = {"MULTI_USER": 0, "SINGLE_USER": 1, "RESTRICTED_USER": 2}
_RECOVERY = {"FULL": 1, "BULK_LOGGED": 2, "SIMPLE": 3}
_THUMBPRINT = bytes(range(20))
_NAMESPACE = uuid.UUID("3d8c1e44-6f0e-4f8e-9f5b-6f2d1c7a9b10")


@dataclass(frozen=True)
class View:
    """A system view: its columns with their types, and what makes its rows for a session in a database."""

    columns: dict[str, str]
    rows: Callable[[SqlInstance, Session, Entry], Iterable[Row]]


VIEWS: dict[str, View] = {}


def _view(name: str, columns: str) -> Callable[[Callable[..., Iterable[Row]]], None]:
    """Declare a view; ``columns`` is ``name type, name type``."""
    declared = dict(part.split(" ", 1) for part in columns.split("; "))

    def keep(rows: Callable[..., Iterable[Row]]) -> None:
        VIEWS[name] = View(declared, rows)

    return keep


@_view(
    "sys.databases",
    "name sysname; database_id int; source_database_id int; create_date datetime; compatibility_level tinyint; user_access tinyint; "
    "user_access_desc nvarchar(60); is_read_only bit; state tinyint; state_desc nvarchar(60); is_in_standby bit; recovery_model tinyint; "
    "recovery_model_desc nvarchar(60); is_encrypted bit; is_published bit; is_subscribed bit; is_merge_published bit; is_distributor bit; "
    "replica_id uniqueidentifier; group_database_id uniqueidentifier",
)
def _databases(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    published = instance.feature("replication")
    for e in instance.databases:
        grouped = (
            str(uuid.uuid5(_NAMESPACE, e.name)) if instance.feature("availability_groups") and not e.is_system else None
        )
        yield (
            e.name, e.number, None, e.created, instance.compatibility, _USER_ACCESS[e.access], e.access, e.read_only,
            STATES[e.state], e.state, False, _RECOVERY[e.spec.recovery_model], e.spec.recovery_model, e.spec.encrypted,
            published and not e.is_system, False, False, False, grouped, grouped,
        )  # fmt: skip


_FILES = (
    "database_id int; file_id int; type tinyint; type_desc nvarchar(60); name sysname; physical_name nvarchar(260); state tinyint; "
    "state_desc nvarchar(60); size int; max_size int; growth int"
)


def _files(instance: SqlInstance, entry: Entry) -> Iterable[Row]:
    for number, (kind, what, name, path) in enumerate(
        [(0, "ROWS", entry.name, entry.file), (1, "LOG", f"{entry.name}_log", entry.log)],
        1,
    ):
        real = instance.host.disk.path(path)
        pages = max(real.stat().st_size // 8192, 1) if real.exists() else 1
        state = entry.state if entry.state in ("ONLINE", "OFFLINE", "RESTORING") else "ONLINE"
        yield (entry.number, number, kind, what, name, path, STATES[state], state, pages, -1, 8192)


@_view("sys.master_files", _FILES)
def _master_files(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    return [row for entry in instance.databases for row in _files(instance, entry)]


@_view("sys.database_files", _FILES.split("; ", 1)[1])
def _database_files(instance: SqlInstance, _: Session, entry: Entry) -> Iterable[Row]:
    return [row[1:] for row in _files(instance, entry)]


@_view("sys.dm_db_file_space_usage", "database_id smallint; file_id smallint; allocated_extent_page_count bigint")
def _space_usage(instance: SqlInstance, _: Session, entry: Entry) -> Iterable[Row]:
    return [(entry.number, row[1], row[8]) for row in _files(instance, entry) if row[3] == "ROWS"]


@_view(
    "sys.dm_exec_requests",
    "session_id smallint; request_id int; start_time datetime; status nvarchar(30); command nvarchar(32); database_id smallint; "
    "blocking_session_id smallint; wait_type nvarchar(60); percent_complete real; estimated_completion_time bigint; total_elapsed_time int; "
    "open_transaction_count int",
)
def _requests(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    for session in instance.sessions():
        request = session.request
        if request is None:
            continue
        elapsed = int((instance.now() - request.started).total_seconds() * 1000)
        left = int(elapsed * (100 - request.percent) / request.percent) if request.percent else 0
        entry = instance.databases.find(request.database)
        yield (
            session.spid, 0, request.started.replace(tzinfo=None), "running", request.command, entry.number if entry else 1, 0,
            request.wait, request.percent, left, elapsed, session.transactions,
        )  # fmt: skip


@_view(
    "sys.dm_exec_sessions",
    "session_id smallint; login_time datetime; host_name nvarchar(128); program_name nvarchar(128); login_name nvarchar(128); "
    "original_login_name nvarchar(128); status nvarchar(30); is_user_process bit; database_id smallint; open_transaction_count int; "
    "last_request_start_time datetime; last_request_end_time datetime",
)
def _sessions(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    for s in instance.sessions():
        entry = instance.databases.find(s.database)
        yield (
            s.spid, s.connected.replace(tzinfo=None), s.client, s.program, s.login, s.login, "running" if s.request else "sleeping", True,
            entry.number if entry else 1, s.transactions, s.last_start.replace(tzinfo=None), s.last_end.replace(tzinfo=None) if s.last_end else None,
        )  # fmt: skip


@_view(
    "sys.dm_exec_connections",
    "session_id int; connect_time datetime; net_transport nvarchar(40); encrypt_option nvarchar(40); auth_scheme nvarchar(40)",
)
def _connections(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    for s in instance.sessions():
        yield (
            s.spid,
            s.connected.replace(tzinfo=None),
            "TCP" if s.remote else "Shared memory",
            "TRUE",
            "SQL" if s.remote else "NTLM",
        )


@_view("sys.dm_os_sys_info", "cpu_count int; physical_memory_kb bigint; sqlserver_start_time datetime")
def _system(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    return [(4, 16 << 20, instance.started_at.replace(tzinfo=None))]


@_view(
    "sys.dm_server_services",
    "servicename nvarchar(256); startup_type int; startup_type_desc nvarchar(256); status int; status_desc nvarchar(256); "
    "service_account nvarchar(256); filename nvarchar(256); is_clustered nvarchar(1)",
)
def _services(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    clustered = "Y" if instance.feature("cluster") else "N"
    programs = rf"{instance.folder}\Binn"
    yield (
        f"SQL Server ({instance.name})",
        2,
        "Automatic",
        4,
        "Running",
        instance.service_account,
        rf'"{programs}\sqlservr.exe" -s{instance.name}',
        clustered,
    )
    if not instance.is_express:
        status = (4, "Running") if instance.agent_running else (1, "Stopped")
        yield (
            f"SQL Server Agent ({instance.name})",
            2,
            "Automatic",
            *status,
            instance.service_account,
            rf'"{programs}\SQLAGENT.EXE" -i {instance.name}',
            clustered,
        )


@_view(
    "sys.dm_tran_active_transactions",
    "transaction_id bigint; name nvarchar(32); transaction_begin_time datetime; transaction_type int; transaction_state int",
)
def _transactions(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    for s in instance.sessions():
        if s.transaction_began:
            yield (1000 + s.spid, "user_transaction", s.transaction_began.replace(tzinfo=None), 1, 2)


@_view(
    "sys.dm_tran_session_transactions",
    "session_id int; transaction_id bigint; is_user_transaction bit; open_transaction_count int",
)
def _session_transactions(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    return [(s.spid, 1000 + s.spid, True, s.transactions) for s in instance.sessions() if s.transaction_began]


@_view("sys.dm_database_encryption_keys", "database_id int; encryption_state int; encryptor_thumbprint varbinary(32)")
def _encryption(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    return [(e.number, 3, _THUMBPRINT) for e in instance.databases if e.spec.encrypted]


@_view(
    "sys.configurations",
    "configuration_id int; name nvarchar(35); value int; minimum int; maximum int; value_in_use int; is_dynamic bit; is_advanced bit",
)
def _configurations(_: SqlInstance, __: Session, ___: Entry) -> Iterable[Row]:
    yield (1579, "backup compression default", 0, 0, 1, 0, True, False)
    yield (1544, "max server memory (MB)", 12288, 128, 2147483647, 12288, True, True)
    yield (518, "show advanced options", 0, 0, 1, 0, True, False)
    yield (16390, "xp_cmdshell", 0, 0, 1, 0, True, True)
    yield (16384, "Agent XPs", 1, 0, 1, 1, True, True)


@_view("sys.availability_groups", "group_id uniqueidentifier; name sysname")
def _availability_groups(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    return [(str(uuid.uuid5(_NAMESPACE, "ag")), "BillingAG")] if instance.feature("availability_groups") else []


@_view(
    "sys.database_mirroring",
    "database_id int; mirroring_guid uniqueidentifier; mirroring_state tinyint; mirroring_state_desc nvarchar(60)",
)
def _mirroring(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    mirrored = instance.feature("mirroring")
    for e in instance.databases:
        on = mirrored and not e.is_system
        yield (
            e.number,
            str(uuid.uuid5(_NAMESPACE, e.name)) if on else None,
            4 if on else None,
            "SYNCHRONIZED" if on else None,
        )


@_view(
    "sys.servers",
    "server_id int; name sysname; product sysname; is_linked bit; is_publisher bit; is_subscriber bit; is_distributor bit",
)
def _servers(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    return [(0, instance.server_name, "SQL Server", False, False, False, False)]


@_view("sys.server_principals", "name sysname; principal_id int; type char(1); type_desc nvarchar(60); is_disabled int")
def _principals(instance: SqlInstance, _: Session, __: Entry) -> Iterable[Row]:
    yield ("sa", 1, "S", "SQL_LOGIN", 1)
    for number, login in enumerate(instance.logins, 256):
        yield (login, number, "S", "SQL_LOGIN", 0)


@_view(
    "sys.certificates", "name sysname; certificate_id int; thumbprint varbinary(32); pvt_key_last_backup_date datetime"
)
def _certificates(instance: SqlInstance, _: Session, entry: Entry) -> Iterable[Row]:
    encrypted = any(e.spec.encrypted for e in instance.databases)
    return [("BillingTde", 256, _THUMBPRINT, None)] if encrypted and entry.name == "master" else []


def _tables(session: Session, entry: Entry) -> list[str]:
    if entry.refusal():
        return []
    schema = session.attach(entry)
    found = session.sqlite.execute(f"SELECT name FROM `{schema}`.sqlite_master WHERE type = 'table' ORDER BY rowid")
    return [name for (name,) in found.fetchall() if name != "lab_identity" and not name.startswith("sqlite_")]


def object_number(table: str) -> int:
    """A number that stays the same for a name."""
    return uuid.uuid5(_NAMESPACE, table.casefold()).int % 2**31


_OBJECTS = "name sysname; object_id int; schema_id int; type char(2); type_desc nvarchar(60)"


@_view("sys.objects", _OBJECTS)
def _objects(_: SqlInstance, session: Session, entry: Entry) -> Iterable[Row]:
    return [(name, object_number(name), 1, "U", "USER_TABLE") for name in _tables(session, entry)]


VIEWS["sys.tables"] = VIEWS["sys.objects"]


@_view(
    "information_schema.tables",
    "TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME sysname; TABLE_TYPE varchar(10)",
)
def _information_tables(_: SqlInstance, session: Session, entry: Entry) -> Iterable[Row]:
    return [(entry.name, "dbo", name, "BASE TABLE") for name in _tables(session, entry)]


@_view(
    "information_schema.columns",
    "TABLE_CATALOG nvarchar(128); TABLE_SCHEMA nvarchar(128); TABLE_NAME nvarchar(128); COLUMN_NAME nvarchar(128); ORDINAL_POSITION int; DATA_TYPE nvarchar(128)",
)
def _information_columns(_: SqlInstance, session: Session, entry: Entry) -> Iterable[Row]:
    for table in _tables(session, entry):
        kinds = columns_of(session.sqlite, session.attach(entry), table)
        for number, (name, kind) in enumerate(kinds.items(), 1):
            yield (entry.name, "dbo", table, name, number, kind.name)

"""The tables of msdb that the lab keeps: backup history and SQL Server Agent. Columns and types as documented."""

from __future__ import annotations

import sqlite3
import uuid

from lab.sql.ddl import create

TABLES = {
    "backupset": {
        "backup_set_id": "int identity", "backup_set_uuid": "uniqueidentifier", "media_set_id": "int", "position": "int",
        "name": "nvarchar(128)", "description": "nvarchar(255)", "user_name": "nvarchar(128)",
        "software_major_version": "tinyint", "software_minor_version": "tinyint", "software_build_version": "smallint",
        "first_lsn": "numeric(25,0)", "last_lsn": "numeric(25,0)", "checkpoint_lsn": "numeric(25,0)", "database_backup_lsn": "numeric(25,0)",
        "database_creation_date": "datetime", "backup_start_date": "datetime", "backup_finish_date": "datetime", "type": "char(1)",
        "compatibility_level": "tinyint", "backup_size": "numeric(20,0)", "compressed_backup_size": "numeric(20,0)",
        "database_name": "nvarchar(128)", "server_name": "nvarchar(128)", "machine_name": "nvarchar(128)", "flags": "int",
        "recovery_model": "nvarchar(60)", "is_snapshot": "bit", "is_readonly": "bit", "is_damaged": "bit", "is_copy_only": "bit",
        "has_backup_checksums": "bit", "is_password_protected": "bit",
    },
    "backupmediaset": {"media_set_id": "int identity", "media_uuid": "uniqueidentifier", "media_family_count": "tinyint", "name": "nvarchar(128)"},
    "backupmediafamily": {
        "media_set_id": "int", "family_sequence_number": "tinyint", "media_family_id": "uniqueidentifier",
        "logical_device_name": "nvarchar(128)", "physical_device_name": "nvarchar(260)", "device_type": "tinyint",
    },
    "restorehistory": {
        "restore_history_id": "int identity", "restore_date": "datetime", "destination_database_name": "nvarchar(128)",
        "user_name": "nvarchar(128)", "backup_set_id": "int", "restore_type": "char(1)", "replace": "bit", "recovery": "bit",
    },
    "suspect_pages": {
        "database_id": "int", "file_id": "int", "page_id": "bigint", "event_type": "int", "error_count": "int", "last_update_date": "datetime",
    },
    "sysjobs": {
        "job_id": "uniqueidentifier", "name": "nvarchar(128)", "enabled": "tinyint", "description": "nvarchar(512)",
        "start_step_id": "int", "category_id": "int", "date_created": "datetime", "date_modified": "datetime", "version_number": "int",
    },
    "sysjobactivity": {
        "session_id": "int", "job_id": "uniqueidentifier", "run_requested_date": "datetime", "start_execution_date": "datetime",
        "last_executed_step_id": "int", "last_executed_step_date": "datetime", "stop_execution_date": "datetime",
        "next_scheduled_run_date": "datetime",
    },
    "sysjobhistory": {
        "instance_id": "int identity", "job_id": "uniqueidentifier", "step_id": "int", "step_name": "nvarchar(128)", "message": "nvarchar(4000)",
        "run_status": "int", "run_date": "int", "run_time": "int", "run_duration": "int", "server": "nvarchar(128)",
    },
    "syssessions": {"session_id": "int identity", "agent_start_date": "datetime"},
}  # fmt: skip

JOBS = ("EngageIP Billing Run", "EngageIP eCheck Batch", "syspolicy_purge_history")


NEW_JOB = (
    "INSERT INTO sysjobs (job_id, name, enabled, description, start_step_id, category_id, date_created, date_modified, "
    "version_number) VALUES (?, ?, 1, 'No description available.', 1, 0, ?, ?, 3)"
)
"""Takes the id, the name, and the moment of creation twice."""


def seed(connection: sqlite3.Connection) -> None:
    """Create the tables and the Agent's jobs."""
    for table, columns in TABLES.items():
        create(connection, "main", table, columns)
    created = "2020-03-02 09:15:00.000000"
    for job in JOBS:
        connection.execute(NEW_JOB, (str(uuid.uuid4()).upper(), job, created, created))

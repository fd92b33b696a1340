"""The T-SQL that is sent: every text parses from SQL Server 2012 on. ``?`` are parameters, names are quoted here."""

from __future__ import annotations

NOT_LONGER_THAN = 60
"""Seconds after which an open transaction counts as long."""


def name(identifier: str) -> str:
    """A name in brackets."""
    return "[" + identifier.replace("]", "]]") + "]"


def text(value: str) -> str:
    """A Unicode string literal."""
    return "N'" + value.replace("'", "''") + "'"


def backup_statement(database: str, path: str, *, compression: bool = False, stats: int = 5) -> str:
    """A full backup to a new file: COPY_ONLY breaks no differential chain, CHECKSUM lets it be verified.

    ``compression`` is refused by Express (error 1844).
    """
    options = ["COPY_ONLY", "CHECKSUM", "FORMAT", "INIT", *(["COMPRESSION"] if compression else []), f"STATS = {stats}"]
    return f"BACKUP DATABASE {name(database)} TO DISK = {text(path)} WITH {', '.join(options)}"


def verify_statement(path: str) -> str:
    """Read a backup file back; WITH CHECKSUM, since without it a file that holds no checksums passes."""
    return f"RESTORE VERIFYONLY FROM DISK = {text(path)} WITH CHECKSUM"


INSTANCE = """
SELECT CAST(SERVERPROPERTY(N'ProductVersion') AS nvarchar(128)) AS build,
       CAST(SERVERPROPERTY(N'Edition') AS nvarchar(128)) AS edition,
       CAST(SERVERPROPERTY(N'EngineEdition') AS int) AS engine_edition,
       CAST(SERVERPROPERTY(N'ProductLevel') AS nvarchar(128)) AS product_level,
       CAST(SERVERPROPERTY(N'ProductUpdateLevel') AS nvarchar(128)) AS update_level,
       CAST(SERVERPROPERTY(N'IsClustered') AS int) AS is_clustered,
       IS_SRVROLEMEMBER(N'sysadmin') AS is_sysadmin,
       CONVERT(nvarchar(30), s.sqlserver_start_time, 121) AS start,
       DATEADD(MINUTE, DATEDIFF(MINUTE, GETDATE(), GETUTCDATE()), s.sqlserver_start_time) AS started
FROM sys.dm_os_sys_info AS s
"""

DATABASES = """
SELECT name, state_desc, recovery_model_desc, user_access_desc, is_read_only, is_in_standby, source_database_id, is_encrypted,
       is_published, is_subscribed, is_merge_published, is_distributor
FROM sys.databases
ORDER BY database_id
"""

# By the program's name: the service's name is localized.
AGENT = "SELECT status FROM sys.dm_server_services WHERE filename LIKE N'%SQLAGENT%'"

AVAILABILITY_GROUPS = "SELECT name FROM sys.availability_groups ORDER BY name"

MIRRORED = "SELECT DB_NAME(database_id) AS name FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL ORDER BY database_id"

TDE_CERTIFICATES_WITHOUT_BACKUP = """
SELECT DISTINCT c.name
FROM sys.dm_database_encryption_keys AS k
JOIN master.sys.certificates AS c ON c.thumbprint = k.encryptor_thumbprint
WHERE c.pvt_key_last_backup_date IS NULL
"""

MSDB_IS_READABLE = "SELECT COUNT(*) AS jobs FROM msdb.dbo.sysjobs"

# Rows of older Agent sessions stay without an end when a reboot cuts a job: only the newest session speaks of now.
RUNNING_JOBS = """
SELECT j.name, DATEDIFF(SECOND, a.start_execution_date, GETDATE()) AS seconds
FROM msdb.dbo.sysjobactivity AS a
JOIN msdb.dbo.sysjobs AS j ON j.job_id = a.job_id
WHERE a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions)
  AND a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL
ORDER BY j.name
"""

RUNNING_MAINTENANCE = """
SELECT r.session_id, r.command, DB_NAME(r.database_id) AS database_name, r.percent_complete
FROM sys.dm_exec_requests AS r
WHERE r.session_id <> @@SPID AND (r.command LIKE N'BACKUP%' OR r.command LIKE N'RESTORE%' OR r.command LIKE N'DBCC%')
ORDER BY r.session_id
"""

LONG_TRANSACTIONS = """
SELECT s.session_id, s.login_name, s.program_name, DATEDIFF(SECOND, t.transaction_begin_time, GETDATE()) AS seconds
FROM sys.dm_tran_active_transactions AS t
JOIN sys.dm_tran_session_transactions AS x ON x.transaction_id = t.transaction_id
JOIN sys.dm_exec_sessions AS s ON s.session_id = x.session_id
WHERE x.is_user_transaction = 1 AND s.session_id <> @@SPID
  AND DATEDIFF(SECOND, t.transaction_begin_time, GETDATE()) >= ?
ORDER BY s.session_id
"""

# What is allocated for data is the most that a backup without compression can need.
DATA_BYTES = """
SELECT SUM(CAST(size AS bigint)) * 8192 AS bytes
FROM sys.master_files
WHERE database_id = DB_ID(?) AND type_desc = N'ROWS'
"""

BACKUP_COMPRESSION = """
SELECT CAST(value_in_use AS int) AS compresses
FROM sys.configurations
WHERE name = N'backup compression default'
"""

USED_BYTES = """
SELECT SUM(allocated_extent_page_count) * 8192 AS bytes
FROM sys.dm_db_file_space_usage
"""

BACKUP_ROWS = """
SELECT b.database_name, b.type, b.backup_size, b.compressed_backup_size, b.is_snapshot, b.is_damaged, b.is_copy_only,
       b.has_backup_checksums, CONVERT(nvarchar(40), b.first_lsn) AS first_lsn, m.physical_device_name,
       DATEADD(MINUTE, DATEDIFF(MINUTE, GETDATE(), GETUTCDATE()), b.backup_start_date) AS started,
       DATEADD(MINUTE, DATEDIFF(MINUTE, GETDATE(), GETUTCDATE()), b.backup_finish_date) AS finished
FROM msdb.dbo.backupset AS b
JOIN msdb.dbo.backupmediafamily AS m ON m.media_set_id = b.media_set_id
WHERE m.physical_device_name = ?
ORDER BY b.backup_set_id
"""

ENABLED_JOBS = "SELECT name FROM msdb.dbo.sysjobs WHERE enabled = 1 ORDER BY name"

SET_JOB_ENABLED = "EXEC msdb.dbo.sp_update_job @job_name = ?, @enabled = ?"

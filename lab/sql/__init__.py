"""The lab's SQL Server: TDS that Microsoft's driver logs in to, T-SQL over real tables, backups that are real files."""

from lab.sql.databases import Database, Login
from lab.sql.errors import SqlError
from lab.sql.instance import SqlInstance
from lab.sql.output import Result
from lab.sql.phases import Durations

__all__ = ["Database", "Durations", "Login", "Result", "SqlError", "SqlInstance"]

"""What an instance says about itself: SERVERPROPERTY, @@VERSION, where its folders are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.sql.instance import SqlInstance

_YEARS = {11: "2012", 12: "2014", 13: "2016", 14: "2017", 15: "2019", 16: "2022", 17: "2025"}


def data_folder(build: str, instance: str) -> str:
    """The instance's folder: programs, system databases, logs."""
    return rf"C:\Program Files\Microsoft SQL Server\MSSQL{build.split('.', maxsplit=1)[0]}.{instance}\MSSQL"


def version_text(build: str, update: dict[str, str], edition: str) -> str:
    """@@VERSION."""
    year = _YEARS.get(int(build.split(".", maxsplit=1)[0]), "2019")
    level = f"RTM-{update['level']}" if update.get("level") else "RTM"
    kb = f" ({update['kb']})" if update.get("kb") else ""
    return f"Microsoft SQL Server {year} ({level}){kb} - {build} (X64) \n\tCopyright (C) 2019 Microsoft Corporation\n\t{edition} on Windows Server 2019 Standard 10.0 <X64>"


def server_properties(instance: SqlInstance) -> dict[str, Any]:
    """SERVERPROPERTY's names (folded) and values."""
    engine = 4 if instance.is_express else 3 if instance.edition.startswith(("Enterprise", "Developer")) else 2
    return {
        "productversion": instance.build,
        "productlevel": "RTM",
        "productupdatelevel": instance.update.get("level") or None,
        "productupdatereference": instance.update.get("kb") or None,
        "productmajorversion": str(instance.major),
        "edition": instance.edition,
        "engineedition": engine,
        "machinename": instance.host.name.upper(),
        "computernamephysicalnetbios": instance.host.name.upper(),
        "servername": instance.server_name,
        "instancename": None if instance.name == "MSSQLSERVER" else instance.name,
        "isclustered": int(instance.feature("cluster")),
        "ishadrenabled": int(instance.feature("availability_groups")),
        "issingleuser": 0,
        "isintegratedsecurityonly": 0,
        "collation": "SQL_Latin1_General_CP1_CI_AS",
        "instancedefaultdatapath": rf"{instance.folder}\DATA" + "\\",
        "instancedefaultlogpath": rf"{instance.folder}\DATA" + "\\",
        "instancedefaultbackuppath": rf"{instance.folder}\Backup" if instance.major >= 15 else None,
        "errorlogfilename": rf"{instance.folder}\Log\ERRORLOG",
    }

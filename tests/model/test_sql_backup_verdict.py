"""A backup counts when five witnesses say so, and the line says which of them did not."""

from __future__ import annotations

from typing import Any

import pytest

from model.sql.backup import judge

PATH = r"E:\Staging\EngageIP.bak"


def said(*numbers: int, errors: list[tuple[int, str]] | None = None) -> dict[str, Any]:
    return {
        "messages": [{"number": number, "message": ""} for number in numbers],
        "errors": [{"number": number, "message": text} for number, text in errors or []],
    }


ROW = {"database_name": "EngageIP", "is_snapshot": False, "is_damaged": False, "has_backup_checksums": True}
GOOD: dict[str, Any] = {
    "backup": said(3211, 4035, 3014),
    "verify": said(3262),
    "file": {"size": 61440},
    "history": [ROW],
}
FULL = f'Write on "{PATH}" failed: 112(There is not enough space on the disk.)'
OPEN = f"Cannot open backup device '{PATH}'. Operating system error {{}}."
ABNORMAL = (3013, "BACKUP DATABASE is terminating abnormally.")


def reason(**other: Any) -> str:
    return judge("sql01", "EngageIP", path=other.pop("path", PATH), **{**GOOD, **other}).reason


def test_all_five_agree() -> None:
    """3014, a row, a file, 3262, no errors: it counts."""
    verdict = judge("sql01", "engageip", path=PATH, **GOOD)
    assert verdict.good
    assert verdict.reason == ""


def test_full_disk_is_the_line_of_the_handbook() -> None:
    """With the sizes where they are known, without them where not."""
    failed = said(3211, errors=[(3202, FULL), ABNORMAL])
    assert reason(backup=failed, needs=41 * 2**30, free=12 * 2**30) == (
        "sql01: BACKUP of EngageIP failed: no space on E: (needs 41 GB, has 12 GB). Free space or set backup.staging."
    )
    assert (
        reason(backup=failed) == "sql01: BACKUP of EngageIP failed: no space on E:. Free space or set backup.staging."
    )


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (
            [
                (
                    18210,
                    "BackupMedium::ReportIoError: write failure on backup device 'E:\\x'. Operating system error 112(There is not enough space on the disk.).",
                )
            ],
            "no space on E:",
        ),
        (
            [(3201, OPEN.format("3(The system cannot find the path specified.)")), ABNORMAL],
            r"there is no folder E:\Staging (OS error 3)",
        ),
        (
            [(3201, OPEN.format("5(Access is denied.)")), ABNORMAL],
            r"service account may not write to E:\Staging (OS error 5)",
        ),
        (
            [(3201, OPEN.format("53(Der Netzwerkpfad wurde nicht gefunden.)"))],
            "cannot be reached from SQL Server (OS error 53)",
        ),
        ([(3201, OPEN.format("1117(I/O device error)"))], "1117(I/O device error)"),
        ([(262, "BACKUP DATABASE permission denied"), ABNORMAL], "no right to back it up (262)"),
        ([(911, "Database does not exist"), ABNORMAL], "no such database (911)"),
        ([(1844, "not supported"), ABNORMAL], "cannot compress backups (1844)"),
        ([ABNORMAL, (3021, "Cannot perform a backup within a transaction.")], "within a transaction (3021)"),
        (
            [(3271, "A nonrecoverable I/O error occurred on file 'x'")],
            "A nonrecoverable I/O error occurred on file 'x' (3271)",
        ),
        ([ABNORMAL], "BACKUP DATABASE is terminating abnormally (3013)"),
    ],
)
def test_cause_is_named_not_its_shadow(errors: list[tuple[int, str]], expected: str) -> None:
    """3013 says only that there is another error; a localized text is read by its numbers."""
    line = reason(backup=said(3014, errors=errors))
    assert line.startswith("sql01: BACKUP of EngageIP failed: ")
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"backup": said(3211)}, "never said that it finished (3014)"),
        ({"history": []}, "msdb.dbo.backupset has no row"),
        ({"history": [{**ROW, "is_snapshot": True}]}, "msdb.dbo.backupset has no row"),
        ({"history": [{**ROW, "database_name": "Reporting"}]}, "msdb.dbo.backupset has no row"),
        ({"history": [{**ROW, "is_damaged": True}]}, "DBCC CHECKDB"),
        ({"history": [{**ROW, "has_backup_checksums": False}]}, "no checksums"),
        ({"file": None}, "there is no file"),
        ({"file": {"size": 0}}, "there is no file"),
        (
            {"verify": said(errors=[(3189, "Damage to the backup set was detected."), (3013, "x")])},
            "Damage to the backup set was detected (3189)",
        ),
        ({"verify": said(errors=[(3241, "The media family is incorrectly formed.")])}, "(3241)"),
        ({"verify": said()}, "never said that the backup set is valid (3262)"),
    ],
)
def test_each_missing_witness_is_named(change: dict[str, Any], expected: str) -> None:
    """One of them silent, and the backup does not count."""
    assert expected in reason(**change)

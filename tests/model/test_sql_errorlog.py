"""ERRORLOGs of real servers: how far a script upgrade is, in whatever language the rest of the log is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model.sql.errorlog import TELLING, ScriptUpgrade, entries, script_upgrade

STAMP = "2026-01-10 03:12:24.10 spid6s     "


def log(captures: Path, name: str) -> str:
    """A captured log, decoded by its byte-order mark."""
    data = (captures / "sql-errorlog" / name).read_bytes()
    return data.decode("utf-16" if data.startswith(b"\xff\xfe") else "utf-8")


def telling(text: str) -> str:
    """What the script on the host leaves of a log: the telling lines, each with the one after it that is not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    kept = [n for n, line in enumerate(lines) if re.search(TELLING, line) or (n and re.search(TELLING, lines[n - 1]))]
    return "\n".join(lines[n] for n in kept)


@pytest.mark.parametrize(
    "name",
    [
        "sql2014-spanish-18456.ERRORLOG",
        "sql2016-russian-never-ready.ERRORLOG",
        "sql2017-express-run-to-shutdown.ERRORLOG",
        "sql2019-polish-collation-shutdown.ERRORLOG",
        "sql2022-rtm-backup-failures.ERRORLOG",
    ],
)
def test_a_start_without_an_upgrade_tells_of_none(captures: Path, name: str) -> None:
    """Ready or not: there was nothing to upgrade. UTF-16 with its mark, every entry with its source."""
    found = entries(log(captures, name))
    assert len(found) > 30
    assert found[0].text.startswith("Microsoft SQL Server 20")
    assert "Edition" in found[0].text  # a continuation line without a time
    assert script_upgrade(log(captures, name)).state == "none"


def test_an_error_and_its_text_are_one_entry_in_any_language(captures: Path) -> None:
    """'Error: 18456, gravedad: 14, estado: 38.' and what follows it from the same source."""
    numbered = [entry for entry in entries(log(captures, "sql2014-spanish-18456.ERRORLOG")) if entry.number == 18456]
    assert numbered
    assert all(entry.text.startswith("Login failed for user") and entry.source == "Logon" for entry in numbered)
    backups = [e for e in entries(log(captures, "sql2022-rtm-backup-failures.ERRORLOG")) if e.number == 3041]
    assert len(backups) == 11
    assert all(entry.text.startswith("BACKUP failed to complete") for entry in backups)


def test_a_script_upgrade_to_its_end(captures: Path) -> None:
    """The port listens 65 seconds before it is over, and a database is up meanwhile; 'could not be upgraded' is no failure."""
    text = log(captures, "sql2017-cu-script-upgrade-18401-to-ready.txt")
    lines = text.splitlines()
    listening = next(n for n, line in enumerate(lines) if "Server is listening" in line)
    database = next(n for n, line in enumerate(lines) if "Starting up database 'SomeDatabase2'" in line)
    over = next(n for n, line in enumerate(lines) if "is now ready for client connections" in line)
    assert script_upgrade("\n".join(lines[: listening + 1])).state == "none"
    assert script_upgrade("\n".join(lines[: database + 1])) == ScriptUpgrade("running", "repl_upgrade.sql")
    assert script_upgrade("\n".join(lines[:over])) == ScriptUpgrade("running", "provision_ceipsvc_account.sql")
    assert script_upgrade(text) == ScriptUpgrade("done", "provision_ceipsvc_account.sql")


def test_a_refused_login_alone_tells_that_it_runs(captures: Path) -> None:
    """In the middle of a script no step is named for minutes; 18401 is."""
    assert script_upgrade(log(captures, "sql2017-cu-msdb110-upgrade-middle-18401.txt")).state == "running"


def test_a_failed_step_is_told_with_what_broke_it(captures: Path) -> None:
    """2759 came before 912, and 3417 ends it; the long message is broken into lines without a time."""
    failed = script_upgrade(log(captures, "sql-cu-script-failed-2714-2759-912-3417.txt"))
    assert failed.state == "failed"
    assert failed.why == (
        "CREATE SCHEMA failed due to previous errors (2759); Script level upgrade for database 'master' failed because "
        "upgrade step 'msdb110_upgrade.sql' encountered error 2714, state 6, severity 25 (912); Restore master from a "
        "full backup, repair it, or rebuild it (3417)"
    )
    old = script_upgrade(log(captures, "sql2008-sp-script-failed-207-912.txt"))
    assert (old.state, old.why) == ("failed", "Invalid column name 'packagedata' (207); no text (912)")


def test_the_telling_lines_say_the_same_as_the_whole_log(captures: Path) -> None:
    """The host sends only these: an upgrade writes hundreds of kilobytes."""
    for path in sorted((captures / "sql-errorlog").iterdir()):
        whole, cut = (script_upgrade(text) for text in (log(captures, path.name), telling(log(captures, path.name))))
        assert cut == whole, path.name


def test_a_log_in_a_language_that_we_do_not_read_does_not_keep_us_waiting() -> None:
    """Its steps are seen, its end would not be: then SQL Server itself must tell."""
    text = "2026-01-10 03:12:00.10 spid6s      Skript 'x' der Datenbank: 'master', 'u_tables.sql' von 234884480 auf 234884484.\n"
    assert script_upgrade(text).state == "none"
    failed = text + "2026-01-10 03:12:01.10 spid6s      Fehler: 912, Schweregrad: 21, Status: 2.\n"
    assert script_upgrade(failed).state == "failed"


@pytest.mark.parametrize(("script", "level"), [("sqlagent100_msdb_upgrade.sql", 2), ("ISServer_upgrade.sql", 500)])
def test_a_step_may_have_short_levels(script: str, level: int) -> None:
    """They begin at nothing: a script that runs is not overlooked, by the host or here."""
    text = f"{STAMP} Database 'master' is upgrading script '{script}' from level 0 to level {level}.\n"
    over = f"{STAMP} Recovery is complete. This is an informational message only. No user action is required.\n"
    assert script_upgrade(telling(text)) == ScriptUpgrade("running", script)
    assert script_upgrade(telling(text + over)).state == "done"


@pytest.mark.parametrize(
    "line",
    [
        "Login failed for user 'engageip'. Reason: Failed to open the database 'EngageIP'. [CLIENT: 10.0.0.9]",
        "Using 'xpstar.dll' version '2017.140.1000' to execute extended stored procedure 'xp_regread'.",
        "Configuration option 'show advanced options' changed from 0 to 1. Run the RECONFIGURE statement to install.",
        "The tail of the log for database 'A' is being rewritten to match the new sector size of 'B', 4096 bytes, 512 in use",
    ],
)
def test_what_names_two_things_and_numbers_is_no_step_after_the_end(line: str) -> None:
    """Such lines come all day: one of them would begin the upgrade anew, and nothing would ever end it."""
    over = (
        f"{STAMP} Database 'master' is upgrading script 'u_tables.sql' from level 234884480 to level 234884484.\n"
        f"{STAMP} Recovery is complete. This is an informational message only.\n"
    )
    assert script_upgrade(f"{over}{STAMP} {line}\n").state == "done"
    if "4096" not in line:
        assert not re.search(TELLING, line)


def test_errors_are_read_where_a_blank_stands_before_the_colon() -> None:
    """As in French."""
    text = f"{STAMP} Erreur : 912, Gravit\u00e9\u00a0: 21, \u00c9tat : 2.\n{STAMP} La mise \u00e0 niveau a \u00e9chou\u00e9.\n"
    assert script_upgrade(telling(text)).why == "La mise \u00e0 niveau a \u00e9chou\u00e9 (912)"


@pytest.mark.parametrize(("flag", "state"), [("-T 902", "failed"), ("-T902", "failed"), ("-T 9024", "none")])
def test_trace_flag_902_skips_the_scripts(flag: str, state: str) -> None:
    """The engine lists its startup parameters at the head of its log; what is to be done is said."""
    text = (
        f"{STAMP} Registry startup parameters: \n\t -d C:\\master.mdf\n\t {flag}\n"
        f"{STAMP} Recovery is complete. This is an informational message only.\n"
    )
    found = script_upgrade(telling(text))
    assert found.state == state
    assert ("Take -T902 from its startup parameters" in found.why) == (state == "failed")

"""Summary.txt of SQL Server setup, as real machines wrote it: the truth about a patch, where an exit code is a hint."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.sql.facts import SummaryText
from model.sql.summary import Summary, newest_patch, parse_summary, same_code

FAILED = """\
Overall summary:
  Final result:                  The patch installer has failed to update the following instance: BILLING. To determine the reason for failure, review the log files.
  Exit code (Decimal):           -2061893606
  Exit facility code:            1306
  Exit error code:               26
  Exit message:                  Wait on the Database Engine recovery handle failed. Check the SQL Server error log for potential causes.
  Start time:                    2026-01-10 03:12:24
  End time:                      2026-01-10 03:39:02
  Requested action:              Patch

Instance BILLING overall summary:
  Final result:                  The patch installer has failed to update the following instance: BILLING.
  Exit code (Decimal):           -2061893606
  Exit message:                  Wait on the Database Engine recovery handle failed. Check the SQL Server error log for potential causes.
  Requested action:              Patch

Machine Properties:
  Machine name:                  SQL01

Package properties:
  Description:                   Microsoft SQL Server 2019
  KBArticle:                     KB5054833
  PatchLevel:                    15.0.4430.1
  ProductVersion:                15.0.2000.5

Rules with failures or warnings:

Rules report file:               C:\\Program Files\\Microsoft SQL Server\\150\\Setup Bootstrap\\Log\\20260110_031224\\SystemConfigurationCheck_Report.htm

Detailed results:
  Feature:                       Database Engine Services
  Status:                        Failed
  Reason for failure:            An error occurred during the setup process of the feature.
  Component name:                SQL Server Database Engine Services Instance Features
  Component error code:          0x851A001A
  Error description:             Wait on the Database Engine recovery handle failed.

  Feature:                       SQL Server Replication
  Status:                        Passed
"""


def captured(captures: Path, name: str) -> Summary | None:
    return parse_summary((captures / "sql-setup-summary" / name).read_text(encoding="utf-8"))


def test_two_instances_each_have_their_own_summary(captures: Path) -> None:
    """3010 for the run and for both; the package's build, not that of the feature table, which is the old one."""
    summary = captured(captures, "sql2019-cu-two-instances-3010.txt")
    assert summary is not None
    assert sorted(summary.instances) == ["AAT", "MSSQLSERVER"]
    assert {section.code for section in (summary.overall, *summary.instances.values())} == {3010}
    assert summary.overall.result == "Passed but reboot required, see logs for details"
    assert (summary.patch_level, summary.kb, summary.is_patch) == ("15.0.4102.2", "KB5000642", True)
    assert summary.of("aat").passed
    assert summary.explain("AAT") == ""
    assert summary.rules == ()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "sql2008-sp2-shared-disk-m2068709375.txt",
            -2068709375,
            "The directory \u2018S:\\Bits\\SP2\\\u2019 doesn\u2019t exist.",
        ),
        (
            "sql2008r2-sp1-cluster-m595541211.txt",
            -595541211,
            "The patch installer has failed to update the shared features. ",
        ),
        ("sql2016-patch-m2068774911.txt", -2068774911, "Index (zero based) must be greater than or equal to zero"),
    ],
)
def test_a_failure_need_not_say_failed(captures: Path, name: str, code: int, message: str) -> None:
    """By the code; the message is what a person reads."""
    summary = captured(captures, name)
    assert summary is not None
    assert summary.overall.code == code
    assert not summary.overall.passed
    assert not summary.overall.result.startswith("Failed")
    assert summary.overall.message.startswith(message)
    assert summary.explain("MSSQLSERVER").startswith("The patch installer has failed to update the shared features")


def test_what_is_no_patch_is_not_taken_for_one(captures: Path) -> None:
    """Setup's look around writes a Summary.txt too, and an install is none either."""
    for name in ("sql2014-rundiscovery-whole.txt", "sql2016-install-passed-0-head.txt"):
        summary = captured(captures, name)
        assert summary is not None
        assert (summary.is_patch, summary.overall.code) == (False, 0)
    engine = captured(captures, "sql2022-install-failed-m2061893606-head.txt")
    assert engine is not None
    assert (engine.overall.result, engine.overall.code) == ("Failed: see details below", -2061893606)
    assert captured(captures, "sql2017-cu21-already-installed-choco-m2042429437.txt") is None


def test_what_failed_is_explained_in_one_line() -> None:
    """Result, message, features with their reason."""
    summary = parse_summary(FAILED)
    assert summary is not None
    assert summary.explain("BILLING") == (
        "The patch installer has failed to update the following instance: BILLING; Wait on the Database Engine recovery "
        "handle failed. Check the SQL Server error log for potential causes; Database Engine Services: Failed (An error "
        "occurred during the setup process of the feature)"
    )
    assert [feature.name for feature in summary.features if not feature.failed] == ["SQL Server Replication"]
    assert summary.rules == ()


def test_rules_that_failed_are_named() -> None:
    """A pending restart shows as a rule, beside its code."""
    text = FAILED.replace("or warnings:\n", "or warnings:\n  RebootRequiredCheck: Failed\n").replace(
        "-2061893606", "-2067919934"
    )
    summary = parse_summary(text)
    assert summary is not None
    assert summary.rules == ("RebootRequiredCheck: Failed",)
    assert summary.explain("BILLING").endswith("; rule RebootRequiredCheck: Failed")


def test_headings_within_the_rules_are_no_rules() -> None:
    """As older versions write them."""
    older = "Rules with failures:\n\nGlobal rules:\n\nThere are no scenario-specific rules.\n\nRules report file:  C:\\x.htm\n"
    summary = parse_summary("Overall summary:\n  Final result: Passed\n  Exit code (Decimal): 0\n\n" + older)
    assert summary is not None
    assert summary.rules == ()


@pytest.mark.parametrize("text", ["", "nothing of the kind", "Overall summary:\n  Exit code (Decimal): 0\n"])
def test_what_is_no_summary_is_none(text: str) -> None:
    """Half a file, which setup is still writing, says nothing."""
    assert parse_summary(text) is None


def test_a_positive_code_is_read_as_it_stands() -> None:
    """1513770790 is not negative, and -2068643838 is 2226323458 to a client that reads it unsigned."""
    summary = parse_summary(FAILED.replace("-2061893606", "1513770790"))
    assert summary is not None
    assert summary.overall.code == 1513770790
    assert not summary.overall.passed
    assert same_code(-2068643838, 2226323458)
    assert not same_code(-2068643838, 3010)


def test_the_newest_patch_counts() -> None:
    """Not the newest file: a look around, a half-written file and another package's come in between."""

    def written(text: str, minute: int) -> SummaryText:
        return SummaryText(path="x", written=datetime(2026, 1, 10, 3, minute, tzinfo=UTC), text=text)

    other = written(FAILED.replace("15.0.4430.1", "15.0.4123.1"), 4)
    discovery = written(
        "Overall summary:\n  Final result: Passed\n  Exit code (Decimal): 0\n  Requested action: RunDiscovery\n", 9
    )
    half = written("Overall summary:\n", 10)
    ours = written(FAILED, 2)
    found = newest_patch([ours, other, discovery, half], "15.0.4430.1")
    assert found is not None
    assert found.patch_level == "15.0.4430.1"
    assert newest_patch([discovery, half]) is None


@pytest.mark.parametrize("written", ["13.3.6441.1", "13.0.6441.1"])
def test_a_package_for_a_service_pack_is_known_by_its_build(written: str) -> None:
    """Setup writes the service pack into the second number, as it does in the registry; either way it is this package's."""
    text = SummaryText(path="x", written=datetime(2026, 1, 10, tzinfo=UTC), text=FAILED.replace("15.0.4430.1", written))
    assert newest_patch([text], "13.0.6441.1") is not None
    assert newest_patch([text], "13.0.6404.1") is None

"""The page and the Markdown say everything, and nothing that another system named breaks them."""

from __future__ import annotations

import dataclasses
import html as entities
import json
import re
from importlib import resources
from xml.etree import ElementTree as ET

from markdown_it import MarkdownIt

from model.maintenance import MAINTENANCE_MARKER
from model.records import Caution, LaterUpdate
from report.document import SCHEMA
from report.render import as_json, html, markdown
from report.summary import NOT_IN_BACKUP, Report


def page(report: Report) -> ET.Element:
    """The page as XML: fails on any element that is not closed, any letter that is not escaped."""
    doctype, _, rest = html(report).lstrip().partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ET.fromstring(rest)  # noqa: S314 - our own page


def words(report: Report) -> str:
    """What a reader of the page sees, without its style."""
    root = page(report)
    for parent in root.iter():
        for child in [c for c in parent if c.tag in {"style", "head"}]:
            parent.remove(child)
    return " ".join(" ".join(root.itertext()).split())


def read(report: Report) -> str:
    """What a reader of the rendered Markdown sees."""
    rendered = MarkdownIt("commonmark").enable("table").render(markdown(report))
    return " ".join(entities.unescape(re.sub(r"<[^>]+>", " ", rendered)).split())


def tables(text: str) -> list[list[int]]:
    """The number of cells of each row of each table in a Markdown text, as GitHub's rules read it."""
    found: list[list[int]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(0)
        elif token.type in {"td_open", "th_open"}:
            found[-1][-1] += 1
    return found


def test_the_page_is_well_formed_whatever_names_hold(any_report: Report) -> None:
    """Angle brackets, quotes, ampersands, control characters: the page stays XML, and holds no script."""
    root = page(any_report)
    assert not root.findall(".//script")
    assert {element.tag for element in root.iter()} & {"link", "img", "iframe", "object"} == set()


def test_the_page_loads_nothing_from_elsewhere(any_report: Report) -> None:
    """One file, readable on a laptop without a network: no address in it but the link to the Prefect run."""
    text = html(any_report)
    assert not re.findall(r"@import|url\((?!#)|\bsrc=", text)
    assert len(page(any_report).findall(".//a")) == (any_report.flow_run_url is not None)


def test_names_are_shown_as_they_are(nasty: Report) -> None:
    """An escaped name reads as it was written."""
    assert 'A "good" <name> \u2039&\u203a 5 € | two lines & <script>alert(1)</script>' in words(nasty)


def test_an_address_that_is_none_is_no_link(good: Report) -> None:
    """A javascript: address would run in the reader's browser."""
    assert "href" not in html(dataclasses.replace(good, flow_run_url="javascript:alert(1)"))


def test_the_first_screen_answers(bad: Report) -> None:
    """Verdict, next command, problems, what is up, down and changed stand before anything else."""
    text = words(bad)
    places = [
        text.index(part)
        for part in (
            "Half-open",
            "web01 is not back after its restart; AdminPortal stays",
            "billpatch recover acme-billing",
            "What went wrong",
            "Up SQL Server on sql01",
            "Down web01 does not answer WinRM",
            "Changed sql01: SQL Server 2019 CU32",
            "The night",
            "Backups",
        )
    ]
    assert places == sorted(places)


def test_a_way_back_is_told_line_by_line(bad: Report) -> None:
    """A person at night copies the lines: in the page, in Markdown, in the document."""
    line = "sql01: or take it off: cu32.exe /Action=RemovePatch"
    told = dataclasses.replace(bad, outcome=bad.outcome.model_copy(update={"way_back": (line,)}))
    assert line in words(told)
    assert "RemovePatch" in read(told)
    assert as_json(told)["way_back"] == [line]


def test_page_and_markdown_tell_every_record(good: Report) -> None:
    """Backups with path and hash, updates with evidence, restarts with downtime, checks, quiesce, plan."""
    for text in (words(good), read(good)):
        for part in (
            r"\\nas01\billing\CHG0031001.1.1\sql01-EngageIP",
            "s3://acme-backups/billing/CHG0031001.1.1/sql01-EngageIP",
            "38.4 GB",
            good.backups[-1].copies[0].sha256[:12],  # type: ignore[index]
            "KB5054833",
            "build 15.0.4430.1",
            "4 min 12 s",
            "service W3SVC runs on web01",
            "billing run",
            "EngageIP nightly rating",
            good.plan.hash,  # type: ignore[union-attr]
            "KB5044284 is rejected by name",
        ):
            assert part in text, part


def test_the_report_says_what_is_not_in_the_backups(good: Report) -> None:
    """Nobody finds that out on the day of a restore; in the page, in Markdown, in the document."""
    for text in (words(good), read(good), " ".join(as_json(good)["not_in_backup"])):
        assert all(line in text for line in NOT_IN_BACKUP)
        for what in (
            "Private keys of certificates",
            "Machine keys",
            "Logins, SQL Server Agent jobs and linked servers",
        ):
            assert what in text


def test_what_is_remarked_on_a_whole_backup_is_told(good: Report) -> None:
    """It counts as verified all the same: in the page, in Markdown, in the document."""
    remark = "Windows makes no snapshot of D: (insufficient storage): open files were read as they are"
    first, *others = good.backups
    copies = tuple(copy.model_copy(update={"remark": remark}) for copy in first.copies)
    told = dataclasses.replace(good, backups=(dataclasses.replace(first, copies=copies), *others))
    assert told.whole_backups == good.whole_backups == len(good.backups)
    assert remark in words(told)
    assert f"yes: {remark}" in read(told)
    assert as_json(told)["backups"][0]["copies"][0]["remark"] == remark


def test_tables_survive_pipes_and_line_breaks(any_report: Report) -> None:
    """Each row of each table of the Markdown has as many cells as its head, whatever the names hold."""
    found = tables(markdown(any_report))
    assert found
    for rows in found:
        assert len(rows) > 1
        assert set(rows) == {rows[0]}


def test_markdown_reads_as_it_was_written(nasty: Report) -> None:
    """Rendered, a name is itself: no tag, no emphasis, no lost backslash."""
    rendered = MarkdownIt("commonmark").enable("table").render(markdown(nasty))
    assert "<script>" not in rendered
    assert "A &quot;good&quot; &lt;name&gt; \u2039&amp;\u203a 5 € | two lines &amp; &lt;script&gt;" in rendered
    assert r"\\nas01\`a`|A" in rendered


def test_markdown_has_a_block_for_each_part(any_report: Report) -> None:
    """No heading or paragraph runs into the table before it."""
    text = markdown(any_report)
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if line.startswith(("#", "**")):
            assert before == ""
        if line.startswith("|") and not before.startswith("|"):
            assert before == ""


def test_an_empty_run_says_so_in_words(stopped: Report) -> None:
    """No empty table, no missing section."""
    for text in (words(stopped), markdown(stopped)):
        for part in ("No backup was taken", "Nothing was installed", "No host was restarted", "No check ran"):
            assert part in text


def test_the_document_is_json_with_stable_keys(any_report: Report) -> None:
    """The keys are a promise to programs: one that goes or changes raises SCHEMA."""
    document = json.loads(json.dumps(as_json(any_report)))
    assert document["schema"] == SCHEMA == "engageip-patching/report/1"
    assert list(document) == [
        "schema", "estate", "run_key", "occasion", "attempt", "timezone", "started", "ended", "seconds",
        "flow_run_url", "verdict", "succeeded", "headline", "up", "down", "changed", "problems", "next_command",
        "way_back",
        "totals", "plan", "quiesces", "backups", "not_in_backup", "cautions", "updates", "updates_later", "restarts",
        "checks", "hooks", "steps",
    ]  # fmt: skip


def test_what_others_were_asked_for_is_told(bad: Report) -> None:
    """The id of each snapshot, and the day by which somebody deletes it; what failed says why."""
    for text in (words(bad), markdown(bad)):
        for part in ("snapshot-17", "delete by Wednesday 18 November", "zabbix answered 503", "drain"):
            assert part in text, part


def test_the_document_counts_in_bytes_and_seconds(good: Report) -> None:
    """Numbers for programs, not words."""
    document = as_json(good)
    assert document["started"] == "2026-11-15T08:00:00.000Z"
    assert document["seconds"] == 37.6 * 60
    assert document["totals"]["checks_passed"] == 3
    assert [r["seconds_down"] for r in document["restarts"]] == [252, 150, 132]
    engageip = next(b for b in document["backups"] if b["subject"] == "EngageIP")
    assert (engageip["bytes"], engageip["whole"], len(engageip["copies"])) == (41_231_000_000, True, 2)
    assert len(engageip["copies"][0]["sha256"]) >= 50


def test_the_maintenance_page_is_ours_to_recognise() -> None:
    """Checks know it by its marker; it stands alone, is small, and names neither system nor reason to customers."""
    text = resources.files("report").joinpath("templates", "maintenance.html").read_text(encoding="utf-8")
    assert MAINTENANCE_MARKER in text
    assert not re.findall(r"https?://|\bsrc=|\bhref=|<script", text)
    assert 512 < len(text.encode()) < 8192
    assert text.isascii()
    seen = re.sub(r"<style>.*?</style>|<[^>]+>", "", text, flags=re.DOTALL).casefold()
    assert not re.findall(r"engageip|patch|sql|windows|server|error|acme", seen)


def test_what_appeared_later_is_told_everywhere(good: Report) -> None:
    """Nobody has reviewed it, so it was left out: the next review must not have to find it anew."""
    later = LaterUpdate(
        host="web01", update="u", revision=1, kb="KB5036899", title="2026-12 Rollup <b> (KB5036899)", round=2
    )
    report = dataclasses.replace(good, later=(later,))
    for text in (words(report), read(report)):
        assert "Appeared later, not reviewed" in text
        assert "web01: 2026-12 Rollup <b> (KB5036899)" in text
    assert as_json(report)["updates_later"] == [
        {"host": "web01", "update": "u", "revision": 1, "kb": "KB5036899", "title": later.title, "round": 2}
    ]
    assert "Appeared later" not in words(good) + read(good)


def test_what_was_seen_beforehand_is_told_everywhere(good: Report) -> None:
    """Whoever wonders in the morning why a host was restarted twice finds the other patcher's name."""
    caution = Caution(host="web01", text="Configuration Manager's client <b> is installed")
    report = dataclasses.replace(good, cautions=(caution,))
    for text in (words(report), read(report)):
        assert "Seen beforehand" in text
        assert "web01: Configuration Manager's client <b> is installed" in text
    assert as_json(report)["cautions"] == [{"host": "web01", "text": caution.text}]
    assert "Seen beforehand" not in words(good) + read(good)


def test_an_update_that_was_not_come_to_is_unsettled(good: Report) -> None:
    """A run that stopped between two rounds has left it out: nobody may read that it is in."""
    update = good.updates[0].updates[0].model_copy(update={"result": "not-tried", "verified_by": None})
    report = dataclasses.replace(good, updates=(dataclasses.replace(good.updates[0], updates=(update,)),))
    assert report.unsettled == (update,)
    assert "not tried" in words(report)

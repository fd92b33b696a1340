"""The picture of the night tells the truth about time, and its words fit on a phone."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

from report.summary import HostUpdates, Report
from report.timeline import Bar, Group, Row, Timeline, timeline


def picture(report: Report) -> Timeline:
    found = timeline(report)
    assert found is not None
    return found


def group(report: Report, heading: str) -> Group:
    return next(g for g in picture(report).groups if g.heading == heading)


def row(report: Report, heading: str, begins: str) -> Row:
    return next(r for r in group(report, heading).rows if r.label.text.startswith(begins))


def bar(of: Row, tone: str) -> Bar:
    return next(b for b in of.bars if b.tone == tone)


def test_sql_is_ready_before_the_web_hosts_go_down(good: Report) -> None:
    """The order of the restarts can be seen: no web host's bar begins before sql01's has ended."""
    sql = bar(row(good, "Hosts", "sql01"), "down")
    for host in ("web01", "web02"):
        assert bar(row(good, "Hosts", host), "asked").x >= sql.x + sql.width


def test_downtime_is_told_in_words_and_drawn_to_scale(good: Report) -> None:
    """sql01 was down 4 min 12 s of 37.6 minutes."""
    sql = row(good, "Hosts", "sql01")
    assert sql.label.text == "sql01 down 4 min 12 s"
    assert abs(bar(sql, "down").width - 100 * 4.2 / 37.6) < 0.1


def test_a_host_that_did_not_come_back_is_down_to_the_end(bad: Report) -> None:
    """Its bar is that of a failure and ends where the run ended."""
    web = row(bad, "Hosts", "web01")
    lost = bar(web, "bad")
    assert web.label.text == "web01 not back"
    assert abs(lost.x + lost.width - 100) < 0.1


def test_a_host_where_all_was_there_already_has_no_row(good: Report) -> None:
    """Nothing was done there and it was not restarted: there is nothing to draw, and the rest is drawn."""
    there = tuple(u.model_copy(update={"host": "web02", "result": "not-needed"}) for u in good.all_updates[:1])
    night = dataclasses.replace(good, updates=(HostUpdates("web02", there),), restarts=good.restarts[:1])
    assert [r.label.text.split(" ")[0] for r in group(night, "Hosts").rows] == ["sql01"]


def test_stages_come_from_steps_and_else_from_records(good: Report) -> None:
    """Backup and install have no steps here, and are drawn all the same; the order is that of the runbook."""
    names = [r.label.text.rpartition(" ")[0] for r in group(good, "Stages").rows]
    assert [name.split(" ")[0] for name in names] == [
        "preflight",
        "review",
        "quiesce",
        "backup",
        "install",
        "restart",
        "check",
        "bring",
    ]
    assert len(row(good, "Stages", "install").bars) == 3


def test_everything_lies_inside_the_picture_and_rows_do_not_overlap(any_report: Report) -> None:
    """Whatever the records say, no bar leaves the picture and no two rows share a line."""
    drawn = timeline(any_report)
    if drawn is None:
        return
    rows = [r for g in drawn.groups for r in g.rows]
    assert all(b.x >= 0 and b.x + b.width <= 100.01 and b.width > 0 for r in rows for b in r.bars)
    assert all(a.y + a.height <= b.y for a, b in pairwise(rows))
    assert rows[-1].y + rows[-1].height <= drawn.height
    assert all(0 <= tick.x <= 100 for tick in drawn.ticks)
    assert len(drawn.ticks) <= 7


def test_a_run_without_times_has_no_picture(stopped: Report) -> None:
    """Rather none than an empty one."""
    assert timeline(stopped) is None

"""The report for programs: a document whose keys stay; sizes in bytes, durations in seconds, times ISO 8601 in UTC."""

from __future__ import annotations

from typing import Any

from model.records import (
    BackupRecord,
    CheckRecord,
    HookRecord,
    LaterUpdate,
    QuiesceRecord,
    RestartRecord,
    StepRecord,
    UpdateRecord,
)
from report.summary import NOT_IN_BACKUP, Report, Saved
from report.text import iso

SCHEMA = "engageip-patching/report/1"
"""Raised when a key goes or changes its meaning; new keys do not raise it."""


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values, ready for ``json.dumps``."""
    outcome, plan = report.outcome, report.plan
    return {
        "schema": SCHEMA,
        "estate": report.estate,
        "run_key": str(report.key),
        "occasion": report.key.occasion,
        "attempt": report.key.attempt,
        "timezone": str(report.zone),
        "started": iso(report.started),
        "ended": iso(report.ended),
        "seconds": report.seconds,
        "flow_run_url": report.flow_run_url,
        "verdict": outcome.verdict,
        "succeeded": outcome.succeeded,
        "headline": outcome.headline,
        "up": list(outcome.up),
        "down": list(outcome.down),
        "changed": list(outcome.changed),
        "problems": list(outcome.problems),
        "next_command": outcome.next_command,
        "way_back": list(outcome.way_back),
        "totals": {
            "backups": len(report.backups),
            "backups_whole": report.whole_backups,
            "backup_bytes": report.backup_size,
            "updates_installed": report.installed,
            "updates_unsettled": len(report.unsettled),
            "restarts": len(report.restarts),
            "checks_passed": len(report.checks_with("passed")),
            "checks_failed": len(report.checks_with("failed")),
            "checks_not_run": len(report.checks_with("not-run")),
        },
        "plan": None
        if plan is None
        else {
            "hash": plan.hash,
            "approval": plan.approval,
            "scanned": plan.scanned,
            "source": plan.source,
            "unlocked": list(plan.unlocked),
            "refused": [refusal.model_dump(mode="json") for refusal in plan.refused],
        },
        "quiesces": [_quiesce(record) for record in report.quiesces],
        "backups": [_saved(saved) for saved in report.backups],
        "not_in_backup": list(NOT_IN_BACKUP),
        "cautions": [caution.model_dump(mode="json") for caution in report.cautions],
        "updates": [_update(record) for record in report.all_updates],
        "updates_later": [_later(record) for record in report.later],
        "restarts": [_restart(record) for record in report.restarts],
        "checks": [_check(record) for record in report.checks],
        "hooks": [_hook(record) for record in report.hooks],
        "steps": [_step(record) for record in report.steps],
    }


def _quiesce(record: QuiesceRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "started": iso(record.started),
        "quiet_at": iso(record.quiet_at),
        "seconds_waited": record.seconds_waited,
        "waited_for": list(record.waited_for),
        "held_services": {host: list(names) for host, names in record.held_services.items()},
        "held_jobs": {host: list(names) for host, names in record.held_jobs.items()},
    }


def _saved(saved: Saved) -> dict[str, Any]:
    return {
        "kind": saved.item.kind,
        "host": saved.host,
        "subject": saved.item.subject,
        "bytes": saved.size,
        "whole": saved.whole,
        "missing": list(saved.missing),
        "copies": [_copy(copy) for copy in saved.copies],
    }


def _copy(record: BackupRecord) -> dict[str, Any]:
    return {
        "store": record.store,
        "path": record.path,
        "bytes": record.size,
        "sha256": record.sha256,
        "complete": record.complete,
        "verified": record.verified,
        "started": iso(record.started),
        "ended": iso(record.ended),
        "quiesce": record.quiesce,
        "job": record.job,
        "remark": record.remark,
    }


def _update(record: UpdateRecord) -> dict[str, Any]:
    return {
        "host": record.host,
        "kind": record.kind,
        "update": record.update,
        "revision": record.revision,
        "kb": record.kb,
        "title": record.title,
        "result": record.result,
        "hresult": record.hresult,
        "tries": list(record.tries),
        "verified_by": record.verified_by,
        "remark": record.remark,
        "started": iso(record.started),
        "ended": iso(record.ended),
    }


def _later(record: LaterUpdate) -> dict[str, Any]:
    return {
        "host": record.host,
        "update": record.update,
        "revision": record.revision,
        "kb": record.kb,
        "title": record.title,
        "round": record.round,
    }


def _restart(record: RestartRecord) -> dict[str, Any]:
    return {
        "host": record.host,
        "waited_for": list(record.waited_for),
        "asked": iso(record.asked),
        "down": iso(record.down),
        "ready": iso(record.ready),
        "seconds_down": record.seconds_down,
        "remark": record.remark,
    }


def _check(record: CheckRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "host": record.host,
        "site": record.site,
        "severity": record.severity,
        "status": record.status,
        "detail": record.detail,
        "seconds": record.seconds,
    }


def _hook(record: HookRecord) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "hook": record.hook,
        "host": record.host,
        "act": record.act,
        "status": record.status,
        "severity": record.severity,
        "id": record.id,
        "detail": record.detail,
        "started": iso(record.started),
        "ended": iso(record.ended),
        "until": iso(record.until),
    }


def _step(record: StepRecord) -> dict[str, Any]:
    return {
        "step": record.step,
        "subject": record.subject,
        "status": record.status,
        "started": iso(record.started),
        "ended": iso(record.ended),
        "seconds": record.seconds,
        "detail": record.detail,
    }

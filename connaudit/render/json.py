"""JSON for scripts: one versioned document, the same bytes in every locale."""

import json
import math
from typing import Any

from connaudit.errors import ConnauditError
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.report import Failure, Finding, Metric, Report, Source, Story, Table
from connaudit.snapshot import Gap

VERSION = 1  # of the schema; keys are only ever added within it


def render(run: Run, style: Style) -> str:
    """Return one document: indented for a reader at a terminal, one line for all else."""
    return dumps(document(run), indent=2 if style.is_terminal else None) + "\n"


def dumps(value: Any, indent: int | None = None) -> str:
    """Return valid JSON in ASCII; numbers that JSON has no word for are null.

    `##[` is a command to GitHub's runners wherever a log holds it, so it is spelled another way.
    """
    try:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, allow_nan=False)
    return text.replace("##[", "#\\u0023[")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def document(run: Run) -> dict[str, Any]:
    """Return the whole document."""
    targets = [target_document(target, composite=run.is_check) for target in run.targets]
    return {**envelope(run), "targets": targets, "errors": [error_document(error) for error in run.errors]}


def envelope(run: Run) -> dict[str, Any]:
    """Return what is said of the run as a whole."""
    return {
        "schema": f"connaudit.{run.command}/{VERSION}",
        "version": run.version,
        "started_at": run.started_at,
        "duration_ms": run.duration_ms,
        "status": run.status.word,
        "exit_code": run.exit_code,
    }


def target_document(target: Audited, *, composite: bool) -> dict[str, Any]:
    """Return what is said of one target: a list of checks, or what the one diagnostic says."""
    failure = target.failure
    said = {**_source(target.source), "status": target.status.word, "error": _failure_document(failure)}
    if composite:
        said["story"] = _story(target.story)
        return {**said, "checks": [{"check": r.check, "status": r.status.word, **_report(r)} for r in target.reports]}
    return {**said, **(_report(target.reports[0]) if target.reports else _nothing(failure))}


def _source(source: Source) -> dict[str, Any]:
    server, address = source.server, source.address
    return {
        "target": source.target,
        "origin": source.origin,
        "engine": source.engine,
        "product": server.product if server else None,
        "server_version": server.version_text if server else None,
        "server": {
            "address": address.host,
            "port": address.port,
            "database": address.database,
            "role": address.user,
        },
        "via_pooler": server.via_pooler if server else None,
        "replica": server.replica if server else None,
        "visibility": source.visibility,
        "sampled_at": source.taken_at,
    }


def _nothing(failure: Failure | None) -> dict[str, Any]:
    """Return the places of all that a target which could not be audited did not tell."""
    return {
        "headline": None,
        "summary": None,
        "rows": [],
        "rows_total": 0,
        "findings": [_finding(failure.finding)] if failure else [],
        "metrics": [],
        "gaps": [],
        "notes": [],
    }


def _report(report: Report) -> dict[str, Any]:
    table = report.table
    return {
        "headline": report.headline,
        "summary": report.summary | {overview.key: overview.records() for overview in report.overviews},
        "rows": table.records() if table else [],
        "rows_total": _total(table) if table else 0,
        "findings": [_finding(found) for found in report.findings],
        "metrics": [_metric(metric) for metric in report.metrics],
        "gaps": [_gap(gap) for gap in report.gaps],
        "notes": list(report.notes),
    }


def _total(table: Table) -> int:
    return max(table.total, len(table.rows))


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "code": found.code,
        "severity": found.status.word,
        "metric": found.metric,
        "value": found.value,
        "unit": found.unit.value or None,
        "threshold": found.threshold,
        "message": found.message,
        "hint": found.hint,
        "sessions": list(found.sessions),
        "because": found.because,
    }


def _story(story: Story | None) -> dict[str, Any] | None:
    """Return the one cause behind several verdicts, if there is one."""
    if story is None:
        return None
    return {
        "code": story.code,
        "severity": story.status.word,
        "culprit": story.culprit,
        "message": story.message,
        "hint": story.hint,
        "sessions": list(story.sessions),
        "checks": list(story.checks),
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "labels": dict(metric.labels),
        "value": metric.value,
        "unit": metric.unit.value or None,
        "warning": metric.warning,
        "critical": metric.critical,
        "minimum": metric.minimum,
        "maximum": metric.maximum,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {"fact": gap.fact.value, "partial": gap.partial, "why": gap.why, "cure": gap.cure}


def _failure_document(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"kind": failure.error.kind, "stage": failure.error.stage, **_advice(failure.error)}


def error_document(error: ConnauditError) -> dict[str, Any]:
    """Return an error that concerns no single target."""
    return {"kind": error.kind, **_advice(error)}


def _advice(error: ConnauditError) -> dict[str, Any]:
    return {"message": error.message, "hint": error.hint}

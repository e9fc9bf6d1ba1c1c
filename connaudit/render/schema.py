"""JSON Schema of what the JSON formats write, made from the columns that diagnostics declare.

Keys are only ever added within a version, so nothing forbids further ones; what is listed is always there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.render import json as reports
from connaudit.render import listing as lists
from connaudit.report import Column, Status, Unit
from connaudit.snapshot import Fact

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_INTEGER = {"type": ["integer", "null"]}
_NUMBER = {"type": ["number", "null"]}
_TEXT = {"type": ["string", "null"]}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_TEXTS = {"type": ["string", "array", "null"], "items": {"type": "string"}}
_STATUS = {"enum": [status.word for status in Status]}
_OF_UNIT: Mapping[Unit, Schema] = {
    Unit.NONE: _TEXTS,
    Unit.ID: _INTEGER,
    Unit.IDS: {"type": ["array", "null"], "items": {"type": "integer"}},
    Unit.FLAG: {"type": ["boolean", "null"]},
    Unit.SECONDS: _NUMBER,
    Unit.COUNT: _INTEGER,
    Unit.CONNECTIONS: _INTEGER,
    Unit.RATIO: _NUMBER,
    Unit.NUMBER: _NUMBER,
    Unit.NUMBERS: {"type": ["array", "null"], "items": _NUMBER},
    Unit.TREND: {"type": ["array", "null"], "items": _NUMBER},
    Unit.TIMESTAMP: _TIME,
    Unit.SQL: _TEXT,
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one diagnostic writes: the columns of its rows, of its summary, and of the tables in its summary."""

    check: str
    columns: tuple[Column, ...]
    summary: tuple[Column, ...]
    overviews: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)


def of_audit(command: str, parts: Sequence[Part], form: str) -> Schema:
    """Return the schema of an auditing command; in `ndjson` each line is one target with the run it belongs to."""
    composite = command == "check"
    target = _of_target(_checks(parts) if composite else _report(parts[0], failed=True), composite=composite)
    run = {
        "schema": {"const": f"connaudit.{command}/{reports.VERSION}"},
        "version": {"type": "string"},
        "started_at": {"type": "string", "format": "date-time"},
        "duration_ms": {"type": "integer", "minimum": 0},
        "exit_code": _exit_code(),
    }
    if form == "ndjson":
        properties = {**run, "run_status": _STATUS, **target}
    else:
        targets = {"type": "array", "items": _object(target)}
        errors = {"type": "array", "items": _object(_error())}
        properties = {**run, "status": _STATUS, "targets": targets, "errors": errors}
    return _document(f"connaudit.{command}/{reports.VERSION}", _object(properties))


def of_listing(command: str, columns: Sequence[Column], form: str) -> Schema:
    """Return the schema of a command that lists; in `ndjson` each line is a row."""
    name = f"connaudit.{command}/{lists.VERSION}"
    row = _row(columns)
    if form == "ndjson":
        return _document(f"{name}#row", row)
    properties = {
        "schema": {"const": name},
        "version": {"type": "string"},
        "status": _STATUS,
        "exit_code": _exit_code(),
        "rows": {"type": "array", "items": row},
        "rows_total": {"type": "integer", "minimum": 0},
    }
    return _document(name, _object(properties))


def of_export() -> Schema:
    """Return the schema of a line of `history export`: a sample or an hour, of a target or of a group of sessions."""
    group = {"db": _TEXT, "user": _TEXT, "app": _TEXT, "client": _TEXT, "state": _TEXT}
    hour = {"min": _INTEGER, "p10": _INTEGER, "avg": _NUMBER, "max": _INTEGER}
    told = {"usable": _INTEGER, "started_at": _TIME}
    kinds: Mapping[str, Schema] = {
        "target": {"up": {"type": "boolean"}, "error": _TEXT, "used": _INTEGER, **told},
        "group": {**group, "sessions": _INTEGER, "oldest_seconds": _INTEGER},
        "target_hour": {**hour, **told, "samples": _INTEGER},
        "group_hour": {**group, **hour},
    }
    common = {"target": {"type": "string"}, "at": {"type": "string", "format": "date-time"}}
    records = [_object({"kind": {"const": kind}, **common, **fields}) for kind, fields in kinds.items()]
    return _document(f"connaudit.history-export/{lists.VERSION}#record", {"anyOf": records})


def _document(name: str, schema: Schema) -> Schema:
    return {"$schema": DIALECT, "title": name, **schema}


def _object(properties: Schema, optional: Sequence[str] = ()) -> Schema:
    required = [key for key in properties if key not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _row(columns: Sequence[Column]) -> Schema:
    """Return a row; --fields may leave any column out."""
    properties = {column.key: _of_column(column) for column in columns}
    return _object(properties, optional=list(properties))


def _of_column(column: Column) -> Schema:
    return {**_OF_UNIT[column.unit], "description": column.label.lower()}


def _exit_code() -> Schema:
    return {"enum": sorted(int(status) for status in Status)}


def _of_target(said: Schema, *, composite: bool) -> Schema:
    address = {"address": {"type": "string"}, "port": _INTEGER, "database": _TEXT, "role": _TEXT}
    target = {
        "target": {"type": "string"},
        "origin": {"type": "string"},
        "engine": {"type": "string"},
        "product": _TEXT,
        "server_version": _TEXT,
        "server": _object(address),
        "via_pooler": {"type": ["boolean", "null"]},
        "replica": {"type": ["boolean", "null"]},
        "visibility": {"enum": ["full", "partial", None]},
        "sampled_at": _TIME,
        "status": _STATUS,
        "error": _or_null(_object({**_error(), "stage": _TEXT})),
    }
    return {**target, "story": _or_null(_story()), "checks": said} if composite else {**target, **said}


def _error() -> Schema:
    return {"kind": {"type": "string"}, "message": {"type": "string"}, "hint": _TEXT}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _checks(parts: Sequence[Part]) -> Schema:
    """Return the list of verdicts: which keys stand in a summary depends on the check."""
    verdicts = [
        _object({"check": {"const": part.check}, "status": _STATUS, **_report(part, failed=False)}) for part in parts
    ]
    return {"type": "array", "items": {"anyOf": verdicts}}


def _report(part: Part, *, failed: bool) -> Schema:
    """Return what a diagnostic says; of a target that `failed` it says nothing."""
    summary = {column.key: _of_column(column) for column in part.summary}
    tables = {key: {"type": "array", "items": _row(columns)} for key, columns in part.overviews.items()}
    whole = _object({**summary, **tables}, optional=list(tables))
    return {
        "headline": _TEXT if failed else {"type": "string"},
        "summary": _or_null(whole) if failed else whole,
        "rows": {"type": "array", "items": _row(part.columns)},
        "rows_total": {"type": "integer", "minimum": 0},
        "findings": {"type": "array", "items": _finding()},
        "metrics": {"type": "array", "items": _metric()},
        "gaps": {"type": "array", "items": _gap()},
        "notes": {"type": "array", "items": {"type": "string"}},
    }


def _finding() -> Schema:
    return _object(
        {
            "code": {"type": "string", "pattern": "^CA[0-9]{3}$"},
            "severity": _STATUS,
            "metric": _TEXT,
            "value": _NUMBER,
            "unit": _TEXT,
            "threshold": _TEXT,
            "message": {"type": "string"},
            "hint": _TEXT,
            "sessions": {"type": "array", "items": {"type": "integer"}},
            "because": _TEXT,
        }
    )


def _story() -> Schema:
    return _object(
        {
            "code": {"type": "string", "pattern": "^CA[0-9]{3}$"},
            "severity": _STATUS,
            "culprit": {"type": "string"},
            "message": {"type": "string"},
            "hint": _TEXT,
            "sessions": {"type": "array", "items": {"type": "integer"}},
            "checks": {"type": "array", "items": {"type": "string"}},
        }
    )


def _metric() -> Schema:
    return _object(
        {
            "name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "value": _NUMBER,
            "unit": _TEXT,
            "warning": _TEXT,
            "critical": _TEXT,
            "minimum": _NUMBER,
            "maximum": _NUMBER,
        }
    )


def _gap() -> Schema:
    facts = [fact.value for fact in Fact]
    return _object({"fact": {"enum": facts}, "partial": {"type": "boolean"}, "why": {"type": "string"}, "cure": _TEXT})

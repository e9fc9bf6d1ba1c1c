"""Recorded sessions of real programs on PostgreSQL 15, as snapshots: who leaked in them is known.

A recording is one look at pg_stat_activity a second while a Django or SQLAlchemy program served its load. Time is
compressed in them: what takes minutes in production takes seconds here.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from connaudit.snapshot import Fact, Kind, Session, Snapshot, State
from tests.builders import snapshot

DIRECTORY = Path(__file__).with_name("recordings")
NAMES = tuple(sorted(path.name.removesuffix(".json.gz") for path in DIRECTORY.glob("*.json.gz")))


@dataclass(frozen=True, slots=True)
class Recording:
    """One program's sessions; `kind` is leak, healthy, idle-in-transaction or bounded-leak."""

    name: str
    kind: str
    truth: str
    threads: int  # of all its workers: as many connections as it needs
    snapshots: tuple[Snapshot, ...]


@cache
def recording(name: str) -> Recording:
    """Return a recording by its name."""
    with gzip.open(DIRECTORY / f"{name}.json.gz") as file:
        saved = json.load(file)
    samples = saved["samples"]
    began = next(_instant(row["backend_start"]) + row["backend_age"] - s["t"] for s in samples for row in s["rows"])
    return Recording(
        name,
        saved["class"],
        saved["truth"],
        saved["workers"] * saved["threads"],
        tuple(_snapshot(sample, began) for sample in samples),
    )


def _instant(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _snapshot(sample: Mapping[str, Any], began: float) -> Snapshot:
    rows = sample["rows"]
    at = _instant(rows[0]["backend_start"]) + rows[0]["backend_age"] if rows else began + sample["t"]
    taken_at = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts = frozenset({Fact.SESSIONS, Fact.STATES, Fact.QUERIES})
    return snapshot(*map(_session, rows), taken_at=taken_at, facts=facts)


def _session(row: Mapping[str, Any]) -> Session:
    return Session(
        id=row["pid"],
        kind=Kind.CLIENT,
        backend="client backend",
        state=State(row["state"]) if row["state"] else None,
        user=row["usename"],
        database=row["datname"],
        application=row["application_name"],
        client=row["client_addr"],
        client_port=row["client_port"],
        started_at=row["backend_start"],
        connection_age=row["backend_age"],
        state_age=row["state_age"],
        query_age=row["query_age"],
        query=row["query"],
    )

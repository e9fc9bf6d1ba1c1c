"""Samples in a file: what servers told, or why they told nothing, to be judged again later without them.

A sample is one JSON object; several of them are one object a line, those of a target in the order of time. Statements
stand in it as far as its user was to see them: raw, masked, or not at all.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.errors import NoSlotsLeft, TargetError, UsageError
from connaudit.options import Sql
from connaudit.snapshot import Address, Fact, Gap, Snapshot
from connaudit.units import instant

ENGINES = ("postgresql", "mysql")  # whose snapshots are judged
SCHEMA = 1  # of a failure; snapshots have a number of their own
EVERYTHING = frozenset(Fact)

_KINDS = {kind.kind: kind for kind in TargetError.__subclasses__()}
_LESS = (Sql.NONE, Sql.MASKED, Sql.RAW)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one target. `at` is RFC 3339: by the server's clock, and by ours where it told nothing."""

    target: str
    engine: str
    address: Address
    at: str
    taken: Snapshot | TargetError
    sql: Sql = Sql.MASKED  # how much of statements is in it


def least(one: Sql, other: Sql) -> Sql:
    """Return which of the two shows less of statements."""
    return min(one, other, key=_LESS.index)


def to_text(samples: Iterable[Sample]) -> str:
    """Return the samples in ASCII, one line each."""
    import json

    return "".join(json.dumps(_document(sample), allow_nan=False) + "\n" for sample in samples)


def _document(sample: Sample) -> dict[str, Any]:
    if isinstance(sample.taken, Snapshot):
        told = replace(kept(sample.taken, sample.sql), target=sample.target)
        return {**told.to_json(), "sql": sample.sql.value}
    error = sample.taken
    return {
        "schema": f"connaudit.failure/{SCHEMA}",
        "target": sample.target,
        "engine": sample.engine,
        "address": asdict(sample.address),
        "at": sample.at,
        "kind": error.kind,
        "stage": error.stage,
        "message": error.message,
        "hint": error.hint,
        "limit": error.limit if isinstance(error, NoSlotsLeft) else None,
    }


def kept(snapshot: Snapshot, sql: Sql) -> Snapshot:
    """Return the snapshot with no more of its statements than somebody is to see; passwords never stay in them."""
    from connaudit.sqltext import mask, without_passwords  # its patterns take time to compile

    engine = snapshot.server.engine

    def text(query: str | None) -> str | None:
        if query is None or sql is Sql.NONE:
            return None
        return mask(query, engine) if sql is Sql.MASKED else without_passwords(query)

    facts = snapshot.facts - {Fact.QUERIES} if sql is Sql.NONE else snapshot.facts
    sessions = tuple(replace(session, query=text(session.query)) for session in snapshot.sessions)
    return replace(snapshot, facts=facts, sessions=sessions)


def from_text(text: str) -> list[Sample]:
    """Read samples; UsageError says on one line which of them makes no sense, and why."""
    samples = []
    for number, document in enumerate(_documents(text), 1):
        try:
            samples.append(_sample(document))
        except (KeyError, TypeError, ValueError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"sample {number}: {why}") from None
    if not samples:
        raise UsageError("it is empty: there is no sample in it")
    return samples


def _documents(text: str) -> Iterator[Any]:
    """Yield JSON values that follow each other, be it one a line or laid out by somebody."""
    import json

    decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
    place, end = 0, len(text.rstrip())
    while place < end:
        if text[place].isspace():
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, place) + 1
            raise UsageError(f"what begins on line {line} is not JSON, or is cut off") from None
        yield value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # Python writes and reads it; JSON has none
        raise ValueError(text)
    return number


def _sample(document: Any) -> Sample:
    if not isinstance(document, dict):
        raise ValueError("not a snapshot saved by connaudit")  # noqa: TRY004 - the file is wrong, not a type of ours
    if str(document.get("schema", "")).startswith("connaudit.failure/"):
        return _failed(document)
    snapshot = Snapshot.from_json(document)
    instant(snapshot.taken_at)
    if snapshot.server.engine not in ENGINES:
        raise ValueError(f"damaged snapshot: no engine is called {snapshot.server.engine!r}")
    sql = Sql(document.get("sql", Sql.MASKED))
    return Sample(snapshot.target, snapshot.server.engine, snapshot.address, snapshot.taken_at, told(snapshot), sql)


def _failed(document: dict[str, Any]) -> Sample:
    number = str(document["schema"]).rpartition("/")[2]
    if not number.isdigit():
        raise ValueError("not a failure saved by connaudit")
    if int(number) > SCHEMA:
        raise ValueError(f"failure schema {number} is newer than this connaudit reads ({SCHEMA})")
    address = document["address"]
    if not isinstance(address, dict):
        raise ValueError("damaged failure: its address is none")  # noqa: TRY004 - the file is wrong, not a type of ours
    port = address.get("port")
    where = Address(
        _text(address, "host") or "",
        port if isinstance(port, int) else None,
        _text(address, "database"),
        _text(address, "user"),
    )
    at = _text(document, "at") or ""
    instant(at)
    return Sample(_text(document, "target") or "", _text(document, "engine") or "", where, at, _error(document))


def _error(document: dict[str, Any]) -> TargetError:
    message, stage, hint = (_text(document, key) for key in ("message", "stage", "hint"))
    kind = _KINDS.get(document["kind"], TargetError)
    if kind is NoSlotsLeft:
        return NoSlotsLeft(message or "", limit=_text(document, "limit") or "server", stage=stage, hint=hint)
    return kind(message or "", stage=stage, hint=hint)


def _text(table: dict[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"damaged failure: its {key} is no text")
    return value


def told(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with a gap for each fact that nobody asked for when it was taken."""
    unread = sorted(EVERYTHING - snapshot.facts)
    gaps = tuple(Gap(fact, f"{fact.value} were not read when the sample was saved") for fact in unread)
    return replace(snapshot, gaps=(*snapshot.gaps, *gaps))

"""Rows as they came, by name, and what every reader of them needs."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from connaudit.engines.postgresql.wire import Result

R = TypeVar("R", bound=NamedTuple)


class ServerRow(NamedTuple):
    """The row of SERVER."""

    version: bytes
    version_num: bytes
    version_text: bytes
    taken_at: bytes
    started_at: bytes
    pid: bytes
    replica: bytes
    max_connections: bytes
    reserved_superuser: bytes
    reserved: bytes | None
    max_wal_senders: bytes
    query_size: bytes
    encoding: bytes
    features: bytes


class SessionRow(NamedTuple):
    """A row of SESSIONS."""

    pid: bytes
    leader: bytes | None
    is_self: bytes
    backend_type: bytes | None
    is_walsender: bytes
    is_subscriber: bytes | None
    state: bytes | None
    datid: bytes | None
    usesysid: bytes | None
    application_name: bytes | None
    client_address: bytes | None
    client_hostname: bytes | None
    client_port: bytes | None
    wait_event_type: bytes | None
    wait_event: bytes | None
    started_at: bytes | None
    connection_age: bytes | None
    transaction_age: bytes | None
    query_age: bytes | None
    state_age: bytes | None
    own_age: bytes | None
    snapshot: bytes
    horizon_age: bytes | None
    query_id: bytes | None
    encrypted: bytes | None

    @property
    def is_hidden(self) -> bool:
        """Return whether the role may not see what it does; every process that it may see has a type."""
        return self.backend_type is None


class TextRow(NamedTuple):
    """A row of TEXTS."""

    pid: bytes
    query: bytes
    length: bytes


class LockRow(NamedTuple):
    """A row of LOCKS."""

    pid: bytes
    in_transaction: bytes
    relations: bytes
    strongest: bytes | None
    advisory: bytes


class WaiterRow(NamedTuple):
    """A row of WAITERS."""

    pid: bytes
    locktype: bytes
    mode: bytes
    first: bytes
    relation: bytes | None
    transaction: bytes | None
    age: bytes | None
    blocked_by: bytes | None


class PreparedRow(NamedTuple):
    """A row of PREPARED."""

    gid: bytes
    literal: bytes
    owner: bytes
    database: bytes
    age: bytes
    horizon_age: bytes
    transaction: bytes


class HolderRow(NamedTuple):
    """A row of HOLDERS."""

    kind: bytes
    name: bytes | None
    pid: bytes | None
    physical: bytes | None
    horizon_age: bytes | None
    catalog_age: bytes | None
    inactive_for: bytes | None


class OurselvesRow(NamedTuple):
    """The row of OURSELVES."""

    role: bytes
    member_of: bytes | None
    superuser: bytes | None = None
    sees_all: bytes | None = None
    reserve: bytes | None = None


class DatabaseRow(NamedTuple):
    """A row of DATABASES."""

    oid: bytes
    name: bytes
    connection_limit: bytes
    encoding: bytes


class RoleRow(NamedTuple):
    """A row of ROLES."""

    oid: bytes
    name: bytes
    superuser: bytes
    connection_limit: bytes


def read(result: Result | None, kind: type[R]) -> list[R]:
    """Return the rows of an answer, none if there was no answer; AssertionError if statement and reader have parted."""
    if result is None:
        return []
    fields: Sequence[str] = kind._fields
    if result.columns != tuple(fields):
        raise AssertionError(f"{kind.__name__} reads {fields}, the statement gives {result.columns}")
    make: Any = kind._make
    return [make(row) for row in result.rows]


def moment(raw: bytes) -> str:
    """Return a timestamp of a session with timezone UTC and datestyle ISO as RFC 3339.

    >>> moment(b"2026-01-02 03:04:05.6+00")
    '2026-01-02T03:04:05.6Z'
    """
    return raw.decode().replace(" ", "T", 1).removesuffix("+00") + "Z"


def age(raw: bytes | None) -> float | None:
    """Return seconds, never below zero: two clock readings of one server may swap by microseconds."""
    return None if raw is None else max(0.0, float(raw))


def number(raw: bytes | None) -> int | None:
    """Return a whole number, None for null."""
    return None if raw is None else int(raw)


def size(raw: bytes) -> int:
    """Return the bytes that a setting says; before 16 the server's pg_size_bytes does not take its own `1500B`.

    >>> size(b"1kB"), size(b"1500B")
    (1024, 1500)
    """
    digits = raw.rstrip(b"BkMGT")
    power: int = (b"B", b"kB", b"MB", b"GB", b"TB").index(raw[len(digits) :])
    return int(digits) << 10 * power

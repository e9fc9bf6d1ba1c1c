"""From rows to sessions: who each one is, what it does, what it holds, whom it waits for."""

from collections.abc import Iterable, Mapping
from dataclasses import field

from connaudit.dataclass import dataclass
from connaudit.engines.postgresql.rows import (
    DatabaseRow,
    LockRow,
    RoleRow,
    SessionRow,
    TextRow,
    WaiterRow,
    age,
    moment,
    number,
)
from connaudit.engines.postgresql.text import decode, decode_name, unescape
from connaudit.snapshot import Kind, Session, State, Transaction, Wait

CUT = 640  # bytes of a query; the statement TEXTS cuts there
NEVER_RAN = b"<command string not enabled>"  # what pg_stat_get_backend_activity says for an empty text
STRONGEST = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_KINDS = {b"client backend": Kind.CLIENT, b"walsender": Kind.REPLICATION, b"parallel worker": Kind.PARALLEL}
_STATES = {state.value.encode(): state for state in State}


@dataclass(frozen=True, slots=True)
class Names:
    """Names by oid; a role or database that is not there any more is written as its oid.

    `encoding` is that of the database that we are in.
    """

    encoding: str
    roles: dict[bytes, str] = field(default_factory=dict)
    superusers: frozenset[bytes] = frozenset()
    roles_known: bool = False
    databases: dict[bytes, str] = field(default_factory=dict)
    encodings: dict[bytes, str] = field(default_factory=dict)
    databases_known: bool = False

    def role(self, oid: bytes | None) -> str | None:
        """Return a role's name; None if there is no role."""
        return _name(oid, self.roles, known=self.roles_known)

    def database(self, oid: bytes | None) -> str | None:
        """Return a database's name; None if there is no database."""
        return _name(oid, self.databases, known=self.databases_known)

    def is_superuser(self, oid: bytes | None) -> bool | None:
        """Return whether a role is a superuser; None if that could not be read, or the role is gone."""
        return oid in self.superusers if oid in self.roles else None


def _name(oid: bytes | None, names: dict[bytes, str], *, known: bool) -> str | None:
    if oid in (None, b"0"):
        return None
    number = oid.decode() if oid else ""
    return names.get(oid or b"") or (f"oid {number} (dropped)" if known else f"oid {number}")


def names(encoding: str, roles: list[RoleRow] | None, databases: list[DatabaseRow] | None) -> Names:
    """Return the names that were read; None: they could not be."""
    return Names(
        encoding,
        {r.oid: decode_name(r.name, encoding) for r in roles or ()},
        frozenset(r.oid for r in roles or () if r.superuser == b"t"),
        roles is not None,
        {d.oid: decode_name(d.name, encoding) for d in databases or ()},
        {d.oid: d.encoding.decode() for d in databases or ()},
        databases is not None,
    )


@dataclass(frozen=True, slots=True)
class Details:
    """What was read beside the list of sessions, by pid. None: it was not asked for, or not told."""

    names: Names
    query_size: int
    texts: dict[bytes, TextRow] | None = None
    locks: dict[bytes, LockRow] | None = None
    waits: dict[bytes, Wait] | None = None
    vacuums: frozenset[bytes] = frozenset()


def kind_of(row: SessionRow) -> Kind:
    """Return who is behind a row; a hidden one is told by what is never hidden."""
    if row.backend_type is not None:
        return _KINDS.get(row.backend_type, Kind.INTERNAL)
    if row.is_walsender == b"t":
        return Kind.REPLICATION
    if row.is_subscriber == b"t":
        return Kind.INTERNAL
    # An autovacuum worker has a database and no role, a launcher a role and no database.
    return Kind.CLIENT if row.datid is not None and row.usesysid is not None else Kind.INTERNAL


def session(row: SessionRow, details: Details) -> Session:
    """Return one session."""
    names, state, lock = details.names, state_of(row), (details.locks or {}).get(row.pid)
    in_transaction = _in_transaction(row, state, lock)
    kind = kind_of(row)
    query, truncated = _query(row, state, details)
    return Session(
        id=int(row.pid),
        kind=kind,
        backend=row.backend_type.decode() if row.backend_type else None,
        is_self=row.is_self == b"t",
        state=state,
        user=names.role(row.usesysid),
        superuser=names.is_superuser(row.usesysid),
        database=names.database(row.datid),
        application=decode_name(row.application_name or b"", names.encoding),
        client=_client(row, names.encoding),
        client_port=_port(row),
        started_at=moment(row.started_at) if row.started_at else None,
        connection_age=age(row.connection_age),
        state_age=age(row.state_age),
        query_age=age(row.query_age),
        in_transaction=in_transaction,
        transaction=_transaction(row, lock, details) if in_transaction and kind is not Kind.INTERNAL else None,
        waits_for=f"{row.wait_event_type.decode()}:{(row.wait_event or b'').decode()}" if row.wait_event_type else None,
        waits_for_client=state is State.ACTIVE and row.wait_event_type == b"Client" and kind is Kind.CLIENT,
        wait=(details.waits or {}).get(row.pid),
        advisory_locks=None if details.locks is None else int(lock.advisory) if lock else 0,
        query=query,
        query_truncated=truncated,
        query_id=number(row.query_id),
        leader=number(row.leader),
        encrypted=row.encrypted == b"t" if row.encrypted and row.client_port not in (None, b"-1") else None,
    )


def state_of(row: SessionRow) -> State | None:
    """Return the state; None for one that is hidden, and for the server's own processes, which have none.

    A client that has none yet is still being let in, by a login trigger perhaps.
    """
    if row.state is None:
        return State.STARTING if row.backend_type == b"client backend" else None
    return _STATES.get(row.state, State.OTHER)


def _client(row: SessionRow, encoding: str) -> str | None:
    if row.client_port == b"-1":
        return "local"
    if row.client_hostname:
        return decode_name(row.client_hostname, encoding)
    return row.client_address.decode() if row.client_address else None


def _port(row: SessionRow) -> int | None:
    return None if row.client_port in (None, b"-1") else number(row.client_port)


def _in_transaction(row: SessionRow, state: State | None, lock: LockRow | None) -> bool | None:
    """Tell by the state; where that is hidden or not tracked, by the lock on its own virtual transaction.

    Without that lock such a session may still be in a transaction, an aborted one, which holds nothing.
    """
    if state in (State.IDLE_IN_TRANSACTION, State.ABORTED):
        return True
    if state in (State.IDLE, State.STARTING):
        return False
    if row.transaction_age is not None or (lock is not None and lock.in_transaction == b"t"):
        return True
    return None if row.is_hidden or state is State.UNTRACKED else False


def _transaction(row: SessionRow, lock: LockRow | None, details: Details) -> Transaction:
    """Return what it holds; its transaction ids are shown even where all else is hidden."""
    strongest = int(lock.strongest) if lock and lock.strongest else 0
    passed_over = row.pid in details.vacuums  # procarray.c: no other VACUUM heeds the snapshot of one
    return Transaction(
        age=age(row.transaction_age),
        writes=row.own_age is not None,
        snapshot=row.snapshot == b"t" and not passed_over,
        horizon_age=None if passed_over else number(row.horizon_age),
        horizon_is_own=not passed_over and row.own_age is not None and row.own_age == row.horizon_age,
        locks=None if details.locks is None else int(lock.relations) if lock else 0,
        strongest_lock=STRONGEST[strongest - 1] if strongest else None,
    )


def _query(row: SessionRow, state: State | None, details: Details) -> tuple[str | None, bool]:
    """Return the text and whether it was cut; "" for a session that never ran a statement."""
    if details.texts is None or row.is_hidden or state in (None, State.UNTRACKED):
        return None, False
    text = details.texts.get(row.pid)
    if text is None or text.query == NEVER_RAN:
        return "", False
    length = int(text.length)
    # The server keeps room for a final zero, and never stores half a character of up to four bytes.
    cut = length > CUT or length >= details.query_size - 4
    encoding = details.names.encodings.get(row.datid or b"", details.names.encoding)
    return decode(unescape(text.query), encoding, cut=cut), cut


def waits(
    rows: Iterable[WaiterRow], leaders: dict[bytes, bytes], prepared: Mapping[bytes, str], encoding: str
) -> dict[bytes, Wait]:
    """Return what each session waits for; a parallel worker waits for its leader.

    `prepared` are the identifiers of prepared transactions by the numbers of their transactions.

    Where only the first of a queue was asked for its blockers, those behind it wait for the same ones.
    """
    rows = list(rows)
    by_pid = {row.pid: row for row in rows}
    found: dict[bytes, Wait] = {}
    for row in rows:
        pid = leaders.get(row.pid, row.pid)
        asked = row if row.blocked_by is not None else by_pid.get(row.first, row)
        told = asked.blocked_by
        gid = prepared.get(asked.transaction or b"") if told and b"0" in told.split() else None
        found[pid] = Wait(
            lock=row.locktype.decode(),
            relation=decode_name(row.relation, encoding) if row.relation else None,
            mode=row.mode.decode(),
            age=age(row.age),
            blocked_by=None if told is None else tuple(dict.fromkeys(int(b) for b in told.split() if b != pid)),
            prepared=() if gid is None else (gid,),
        )
    return found

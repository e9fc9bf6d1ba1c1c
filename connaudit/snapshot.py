"""What a server told us, once: the values that engines make and diagnostics read.

Nothing here judges, and nothing here knows a driver. `None` means that it does not apply or was not told, never zero;
what a server would not tell is said a second time, as a `Gap` with its reason and its cure.
Ages are seconds by the server's own clock at `Snapshot.taken_at`.
"""

import dataclasses
import types
import typing
from enum import StrEnum
from typing import Any, Self

from connaudit.dataclass import dataclass

PROXIES = (
    "pgbouncer",
    "pgcat",
    "odyssey",
    "pgpool",
    "proxysql",
    "maxscale",
    "haproxy",
    "envoy",
    "ssh",
    "cloud_sql_proxy",
)
LONGEST_TITLE = 60  # characters of a process's command line in a table

SCHEMA = 1  # of the saved form; a newer one than ours is refused, older ones are read


class State(StrEnum):
    """What a session does, in PostgreSQL's words; MySQL's commands are mapped onto them by their engine."""

    ACTIVE = "active"
    IDLE = "idle"
    IDLE_IN_TRANSACTION = "idle in transaction"
    ABORTED = "idle in transaction (aborted)"
    FASTPATH = "fastpath function call"
    STARTING = "starting"  # not yet authenticated
    UNTRACKED = "disabled"  # PostgreSQL with track_activities=off: no state, no times
    OTHER = "other"


class Kind(StrEnum):
    """Who is behind a session."""

    CLIENT = "client"
    REPLICATION = "replication"  # walsenders; Binlog Dump threads
    PARALLEL = "parallel"  # a worker of some client's statement: never a connection, never a second query
    JOB = "job"  # a statement of somebody's that the server runs without a connection: scheduled events
    INTERNAL = "internal"  # the server's own work: autovacuum, event scheduler, replica appliers, extensions


class Fact(StrEnum):
    """What a diagnostic may need and a server may refuse to tell. Capacity is always read."""

    SESSIONS = "sessions"  # every session: user, database, application, client
    STATES = "states"  # what each does, since when
    TRANSACTIONS = "transactions"  # which are in a transaction, since when, what it holds; prepared ones too
    QUERIES = "queries"  # statement texts, running or last
    LOCKS = "locks"  # who waits for whom
    GUARDS = "guards"  # the server's own timeouts, and per-role overrides
    AUDITOR = "auditor"  # what our own role may do
    HORIZON = "horizon"  # who else holds back vacuum, and how far purge is behind


class HolderKind(StrEnum):
    """What holds back vacuum without a transaction on this server."""

    SLOT = "slot"
    STANDBY = "standby"  # a walsender whose standby sends hot_standby_feedback, without a slot


@dataclass(frozen=True, slots=True)
class Gap:
    """A fact that was not told, in part or whole; `cure` is the statement or setting that would make it told."""

    fact: Fact
    why: str
    cure: str | None = None
    partial: bool = False  # True: what was told is right but may be less than all, or less exact


@dataclass(frozen=True, slots=True)
class Transaction:
    """What an open transaction holds. Each None: not told."""

    age: float | None = None  # since its first statement; None also for one aborted at top level on PostgreSQL
    writes: bool | None = None  # has written: holds row locks and a transaction id, must be committed or undone
    snapshot: bool | None = None  # keeps an old snapshot or read view: holds back vacuum or purge
    # PostgreSQL: transactions since the one it holds back vacuum at, in its own database; None: it holds back nothing
    horizon_age: int | None = None
    horizon_is_own: bool = False  # that one is itself: what others hold back as far, they do because it is open
    locks: int | None = None  # tables locked (PostgreSQL: relation locks granted; InnoDB: tables locked)
    strongest_lock: str | None = None  # the strongest of them, in the server's words
    rows_locked: int | None = None  # InnoDB, an estimate by the server
    rows_modified: int | None = None  # InnoDB
    isolation: str | None = None
    rolling_back: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """What an ungranted lock request waits for."""

    lock: str | None = None  # transactionid, relation, advisory, tuple; record, metadata
    relation: str | None = None  # only where the name is certain
    mode: str | None = None
    age: float | None = None  # how long it waits; None: not told
    blocked_by: tuple[int, ...] | None = None  # session ids; 0 is a prepared transaction; None: not to be known
    prepared: tuple[str, ...] = ()  # which prepared transaction, by its identifier; empty where that is not told
    candidates: tuple[int, ...] = ()  # who may be in the way where blocked_by is not to be known


@dataclass(frozen=True, slots=True)
class Process:
    """One process on the auditing host. None: not told, or not to be read by us."""

    pid: int
    name: str
    command: str | None = None
    user: str | None = None
    parent: int | None = None
    threads: int | None = None
    connections: int | None = None  # sockets to the audited server; one that is shared by fork counts in each process
    container: str | None = None  # short id of the container that it runs in

    @property
    def title(self) -> str:
        """Return what it was started as or calls itself, without directories and cut, with its number.

        >>> Process(4711, "gunicorn", "gunicorn: worker [shop]").title
        'gunicorn: worker [shop] (pid 4711)'
        >>> Process(4712, "python3", "/usr/bin/python3 /srv/shop/manage.py import").title
        'python3 manage.py import (pid 4712)'
        """
        words = (self.command or self.name).split(" ")
        told = " ".join(word.rpartition("/")[2] or word if word.startswith("/") else word for word in words)
        text = told if len(told) <= LONGEST_TITLE else told[:LONGEST_TITLE] + "..."
        return f"{text} (pid {self.pid})"

    @property
    def holds_too_many(self) -> bool:
        """Whether it holds more connections than it has threads: without a pool, some belong to threads that ended."""
        return self.threads is not None and self.connections is not None and self.connections > self.threads

    @property
    def is_proxy(self) -> bool:
        """Whether it only stands between: the client is behind it."""
        return any(self.name.startswith(name) for name in PROXIES)


@dataclass(frozen=True, slots=True)
class Session:
    """One row of the server's list of sessions."""

    id: int  # backend pid; processlist id
    kind: Kind = Kind.CLIENT
    backend: str | None = None  # the server's word for what it is: client backend, walsender, Binlog Dump
    is_self: bool = False
    state: State | None = None  # None: hidden from this role
    user: str | None = None  # None while authenticating, and for internal work
    superuser: bool | None = None
    database: str | None = None
    application: str | None = None  # application_name; program_name of MySQL's connect attributes; "": it gave none
    client: str | None = None  # address or host name; "local" for a Unix socket; None: hidden or none
    client_port: int | None = None
    started_at: str | None = None  # RFC 3339, UTC; MySQL does not tell
    connection_age: float | None = None
    state_age: float | None = None  # since it went into its state: for idle ones the time it has been idle
    state_age_is_bound: bool = False  # True: at most state_age (MySQL counts the last statement in)
    query_age: float | None = None  # since its running or last statement began
    in_transaction: bool | None = None
    transaction: Transaction | None = None
    waits_for: str | None = None  # wait event in the server's words, such as IO:DataFileRead; a processlist State
    waits_for_client: bool = False  # active, but the client neither sends nor reads
    wait: Wait | None = None  # waits for a lock
    advisory_locks: int | None = None  # held; they outlive transactions
    query: str | None = None  # running, or last if the session is idle; cut by the server or by us
    query_truncated: bool = False
    query_id: int | None = None
    query_is_real: bool = True  # False: a ping or SET in place of the last real statement
    leader: int | None = None  # of a parallel worker
    encrypted: bool | None = None
    attributes: tuple[tuple[str, str], ...] = ()  # MySQL connect attributes
    # At the client's end, where they were asked for and run on the auditing host; several share it through a fork.
    processes: tuple[Process, ...] = ()

    @property
    def program(self) -> str | None:
        """Return the application's name without the client's address that PgBouncer writes behind it.

        >>> Session(1, application="web - 10.4.1.17:51322").program
        'web'
        """
        name = self.application
        if name is None or not name[-1:].isdigit():
            return name
        before, dash, place = name.rpartition(" - ")
        return before if dash and " " not in place and ":" in place else name

    @property
    def open_transaction(self) -> bool:
        """Whether it is idle inside a transaction, aborted or not."""
        return self.state in (State.IDLE_IN_TRANSACTION, State.ABORTED)


@dataclass(frozen=True, slots=True)
class PreparedTransaction:
    """A two-phase transaction without a session: PREPARE TRANSACTION, XA PREPARE."""

    id: str  # gid or xid, as the server shows it
    ending: str  # the statement that undoes it: ROLLBACK PREPARED 'gid', XA ROLLBACK ...
    user: str | None = None
    database: str | None = None
    age: float | None = None
    horizon_age: int | None = None
    rows_modified: int | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds back vacuum besides the transactions of sessions and prepared ones: a slot, or a standby's walsender.

    Both hold it back in all databases, whatever database a logical slot is for.
    """

    kind: HolderKind
    name: str  # the slot's; the walsender's application_name, "" if it gave none
    horizon_age: int  # transactions since the one that it holds back vacuum at
    catalogs_only: bool = False  # vacuum of tables that belong to users goes on
    pid: int | None = None  # the walsender; None: nobody uses the slot
    physical: bool = False  # for a standby: what is held back is held for a transaction there
    inactive_for: float | None = None  # seconds since the slot was last used; None: in use, or not told


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of one role, account or database, with what is used of it. `used` None: not told."""

    scope: str  # role, database
    name: str
    limit: int
    used: int | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections there may be, and are.

    `used` is by the server's own counter where it has one, ourselves included; None: not told.
    """

    limit: int  # max_connections
    used: int | None
    reserved_superuser: int = 0  # superuser_reserved_connections; they lie inside the limit
    reserved: int = 0  # reserved_connections (PostgreSQL 16), for members of pg_use_reserved_connections
    extra_superuser: int = 0  # MySQL: slots beyond the limit for CONNECTION_ADMIN
    limits: tuple[Limit, ...] = ()
    limits_untold: str | None = None  # the statement that would make limits of others told; None: they were
    refused: int | None = None  # logins refused for want of a slot since start, where the server counts them
    peak: int | None = None  # most ever used since start
    authenticating: int | None = None  # of `used`; None: such sessions are not shown by this server
    walsenders: int | None = None  # PostgreSQL 12+: beside the limit, in a pool of their own
    walsender_limit: int | None = None

    @property
    def usable(self) -> int:
        """Return the slots that an ordinary role can ever have."""
        return max(0, self.limit - self.reserved_superuser - self.reserved)

    def free(self, used: int) -> int:
        """Return the slots left for ordinary roles."""
        return max(0, self.usable - used)

    def free_reserved(self, used: int) -> int:
        """Return the slots left for roles that may use reserved_connections."""
        return max(0, self.limit - self.reserved_superuser - used)

    def free_superuser(self, used: int) -> int:
        """Return the slots left for superusers."""
        return max(0, self.limit + self.extra_superuser - used)


@dataclass(frozen=True, slots=True)
class Guard:
    """A setting by which the server ends leaks itself. `value` in seconds, 0 is off; None: it has none."""

    name: str
    value: float | None
    source: str | None = None
    overrides: tuple[tuple[str, float], ...] = ()  # (role, role@database or @database, seconds)


@dataclass(frozen=True, slots=True)
class Server:
    """What kind of server answered."""

    engine: str  # postgresql, mysql
    product: str  # PostgreSQL, MySQL, MariaDB
    version: tuple[int, ...]
    version_text: str
    started_at: str | None = None
    replica: bool | None = None
    via_pooler: bool | None = None
    tls: bool | None = None
    encoding: str | None = None  # in which our database keeps texts; None: each text has its own
    features: tuple[str, ...] = ()  # what hints must know: rds, aurora, pool-of-threads, ...


@dataclass(frozen=True, slots=True)
class Auditor:
    """Who we are to the server, and what it lets us do. Each None: not told."""

    account: str  # as GRANT takes it: monitor, 'monitor'@'%'
    superuser: bool | None = None
    sees_all: bool | None = None  # the sessions of others, whoever they are
    grant: str | None = None  # the statement that would let us see them; None: not needed, or not known
    reserve: bool | None = None  # may take one of the slots that are kept when all others are taken


@dataclass(frozen=True, slots=True)
class Address:
    """Where and as whom we connected, without any secret."""

    host: str
    port: int | None
    database: str | None
    user: str | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        where = f"{host}:{self.port}" if self.port else host
        return where + (f"/{self.database}" if self.database else "")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one target told in one short connection."""

    target: str
    server: Server
    address: Address
    taken_at: str  # RFC 3339, UTC, by the server's clock
    capacity: Capacity
    facts: frozenset[Fact] = frozenset()  # what was asked for
    auditor: Auditor | None = None
    sessions: tuple[Session, ...] = ()
    prepared: tuple[PreparedTransaction, ...] = ()
    holders: tuple[Holder, ...] = ()
    undo_backlog: int | None = None  # InnoDB's history list length: transactions whose old rows are not purged
    databases: tuple[str, ...] = ()  # all that there are; empty where they were not read or are not all told
    guards: tuple[Guard, ...] = ()
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader should know: clock skew, pooler, encoding
    stages: tuple[tuple[str, float], ...] = ()  # seconds that dns, tcp, tls, login, query took

    @property
    def clients(self) -> tuple[Session, ...]:
        """Return the sessions of clients, without our own."""
        return tuple(s for s in self.sessions if s.kind is Kind.CLIENT and not s.is_self)

    def gaps_in(self, needs: frozenset[Fact]) -> tuple[Gap, ...]:
        """Return the gaps that touch what is needed."""
        return tuple(gap for gap in self.gaps if gap.fact in needs)

    def to_json(self) -> dict[str, Any]:
        """Return the saved form, with its schema number."""
        return {"schema": f"connaudit.snapshot/{SCHEMA}", **_encode(self)}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Self:
        """Read a saved snapshot; ValueError says what is wrong with it."""
        name, _, number = str(saved.get("schema", "")).partition("/")
        if name != "connaudit.snapshot" or not number.isdigit():
            raise ValueError("not a snapshot saved by connaudit")
        if int(number) > SCHEMA:
            raise ValueError(f"snapshot schema {number} is newer than this connaudit reads ({SCHEMA})")
        values = {key: value for key, value in saved.items() if key != "schema"}
        try:
            return typing.cast("Self", _decode(cls, values))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"damaged snapshot: {error}") from None


def _encode(value: Any) -> Any:
    """Return plain JSON for a dataclass; what equals its default is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _encode(getattr(value, f.name)) for f in fields if getattr(value, f.name) != f.default}
    if isinstance(value, frozenset):
        return sorted(_encode(item) for item in value)
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


def _decode(kind: Any, value: Any) -> Any:
    """Return `value` as the annotated type `kind`; keys that this version does not know are passed over."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (inner,) = (arm for arm in typing.get_args(kind) if arm is not type(None))
        return _decode(inner, value)
    if origin in (tuple, frozenset):
        arms = typing.get_args(kind)
        if origin is tuple and arms[-1] is not Ellipsis:
            return tuple(_decode(arm, item) for arm, item in zip(arms, value, strict=True))
        return origin(_decode(arms[0], item) for item in value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{key: _decode(hints[key], item) for key, item in value.items() if key in hints})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value

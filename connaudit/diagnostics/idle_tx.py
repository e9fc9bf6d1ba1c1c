"""Sessions idle in transaction: what they hold, whom they block.

Two clocks: IDLE is the time since the session went idle, which decides; TX AGE is the time since its transaction began,
which a busy session can have as well (threshold `tx_age`). The statement shown is the last one, not a running one.
Prepared transactions, which have no session any more, are listed with their identifier.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import attributed, horizon
from connaudit.diagnostics.horizon import holds_back, sentences
from connaudit.diagnostics.judging import Judgement, Limits, composed, judge, limits
from connaudit.diagnostics.remedies import bounding, ending_prepared, lasting, releasing
from connaudit.diagnostics.sessions import oldest_first, shown_sql
from connaudit.diagnostics.source import source
from connaudit.diagnostics.waits import Waits, in_the_way, waits
from connaudit.report import Column, Finding, Metric, Report, Show, Status, Table, Unit, Value
from connaudit.snapshot import Fact, Kind, PreparedTransaction, Server, Session, Snapshot, State, Transaction
from connaudit.thresholds import Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, plural

NEEDS = frozenset({Fact.SESSIONS, Fact.STATES, Fact.TRANSACTIONS})
WANTS = frozenset({Fact.QUERIES, Fact.LOCKS, Fact.HORIZON, Fact.GUARDS})
AGE = Judged("age", Measure.SECONDS, "time since the session went idle inside its transaction")
TX_AGE = Judged("tx_age", Measure.SECONDS, "time since the transaction began, whatever its session does")
COUNT = Judged("count", Measure.COUNT, "sessions idle in transaction for --min-age or longer")
BLOCKING = Judged("blocking", Measure.COUNT, "sessions that wait behind them")
METRICS = (AGE, TX_AGE, COUNT, BLOCKING)
CODES = ("CA201", "CA202", "CA203", "CA204", "CA205")
WARNING = ("1m",)
CRITICAL = ("10m",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What `idle-tx` can be asked."""

    min_age: float = opt.duration("--min-age", default="10s", help="list those that have been idle for so long")


@dataclass(frozen=True, slots=True)
class Idle:
    """One listed transaction: a session's, or a prepared one of no session."""

    session: Session | None
    prepared: PreparedTransaction | None
    behind: frozenset[int] | None  # who waits behind it; None: not to be known

    @property
    def age(self) -> float | None:
        """Return seconds since it went idle."""
        return self.session.state_age if self.session else self.prepared.age if self.prepared else None

    @property
    def transaction(self) -> Transaction:
        """Return what is told of the transaction."""
        if self.session:
            return self.session.transaction or Transaction()
        prepared = self.prepared or PreparedTransaction("", "")
        return Transaction(prepared.age, True, None, prepared.horizon_age, rows_modified=prepared.rows_modified)


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge one snapshot."""
    held = limits(options, METRICS, WARNING, CRITICAL)
    graph = waits(snapshot)
    idle = oldest_first(_idle(snapshot, options, graph), lambda item: item.age)
    too_old = [s for s in _at_work(snapshot, options) if _breaks(_transaction_age(s), held.of(TX_AGE))]
    listed = [item for item in idle if item.age is None or item.age >= options.min_age]
    behind = _behind(listed)
    judgements = _judgements(listed, too_old, held, behind)
    rows = [*listed, *(Idle(s, None, graph.behind(s.id)) for s in too_old)]
    decided = next((j for j in judgements if j.status is composed(judgements) and j.limit), None)
    return Report(
        check="idle-tx",
        source=source(snapshot),
        status=composed(judgements),
        headline=_headline(listed, behind, options, decided, too_old),
        value=_short(listed),
        limit=decided.limit if decided else "",
        details=tuple(_details(snapshot, listed, options)),
        summary=_summary(snapshot, listed, idle, behind),
        table=_table(snapshot, rows, options),
        metrics=tuple(_metrics(judgements, listed, behind)),
        findings=tuple(_findings(judgements, held, _Found(snapshot, listed, too_old))),
        notes=snapshot.notes,
    )


def _idle(snapshot: Snapshot, options: Options, graph: Waits) -> Iterable[Idle]:
    """Return every transaction that nobody works in, sessions' and prepared ones."""
    for session in _sessions(snapshot):
        untracked = session.state is State.UNTRACKED and session.in_transaction
        if (session.open_transaction or untracked) and options.looks_at(session):
            yield Idle(session, None, graph.behind(session.id))
    for prepared in snapshot.prepared:
        stand_in = Session(0, user=prepared.user, database=prepared.database)
        if options.looks_at(stand_in):
            yield Idle(None, prepared, graph.behind_prepared(prepared.id, is_only=len(snapshot.prepared) == 1))


def _sessions(snapshot: Snapshot) -> tuple[Session, ...]:
    """Return who can leave a transaction open: clients, and walsenders of a database, as for a first snapshot."""
    walsenders = (s for s in snapshot.sessions if s.kind is Kind.REPLICATION and s.database and s.in_transaction)
    return (*snapshot.clients, *walsenders)


def _at_work(snapshot: Snapshot, options: Options) -> list[Session]:
    """Return the sessions at work inside a transaction: never idle for long, but open for long perhaps.

    Between two statements of a busy client its session is idle in transaction, for a moment.
    """
    return [
        s
        for s in snapshot.clients
        if s.transaction
        and (not s.open_transaction or (s.state_age is not None and s.state_age < options.min_age))
        and options.looks_at(s)
    ]


def _hidden(snapshot: Snapshot) -> list[Session]:
    """Return who is in a transaction, idle or at work: the server does not tell."""
    return [s for s in _sessions(snapshot) if s.state is None and s.in_transaction]


def _transaction_age(session: Session) -> float | None:
    return session.transaction.age if session.transaction else None


def _behind(listed: Sequence[Idle]) -> frozenset[int] | None:
    """Return all that wait behind any of them, each once; None if that is not to be known."""
    if any(item.behind is None for item in listed):
        return None
    return frozenset[int]().union(*(item.behind or () for item in listed))


def _judgements(
    listed: Sequence[Idle], too_old: Sequence[Session], held: Limits, behind: frozenset[int] | None
) -> list[Judgement]:
    """Return the verdicts on those that are listed: --min-age chooses who is judged, too."""
    open_ages = [item.transaction.age for item in listed] + [_transaction_age(s) for s in too_old]
    return [
        _judged_by_age(listed, held),
        judge(TX_AGE, max((age for age in open_ages if age is not None), default=0.0), held),
        judge(COUNT, len(listed), held),
        judge(BLOCKING, None if behind is None else len(behind), held),
    ]


def _judged_by_age(listed: Sequence[Idle], held: Limits) -> Judgement:
    """Return the verdict on the longest idle; UNKNOWN if one of unknown age may be over a threshold.

    Nobody is idle for longer than connected.
    """
    known = judge(AGE, max((item.age for item in listed if item.age is not None), default=0.0), held)
    bounds = [item.session.connection_age if item.session else None for item in listed if item.age is None]
    untold = any(bound is None or held.of(AGE).broken_by(bound) for bound in bounds)
    return judge(AGE, None, held) if untold and known.status is Status.OK else known


def _headline(
    listed: Sequence[Idle],
    behind: frozenset[int] | None,
    options: Options,
    decided: Judgement | None,
    too_old: Sequence[Session],
) -> str:
    if not listed:
        none = f"no session idle in transaction for {format_duration(options.min_age)} or longer"
        return none + (f"; {_too_old_words(too_old)}" if too_old else "")
    oldest = max((item.age for item in listed if item.age is not None), default=None)
    text = f"{_what(listed)} idle in transaction"
    if oldest is not None:
        text += f", oldest idle {format_duration(oldest)}"
    if decided:
        text += f" (limit {decided.metric.name + ' ' if decided.metric != AGE else ''}{decided.limit})"
    if behind:
        text += f"; {_waiting(len(behind))} behind them"
    return text + (f"; {_too_old_words(too_old)}" if too_old else "")


def _waiting(count: int) -> str:
    return f"{plural(count, 'session')} {'waits' if count == 1 else 'wait'}"


def _what(listed: Sequence[Idle]) -> str:
    sessions = sum(item.session is not None for item in listed)
    prepared = len(listed) - sessions
    words = [plural(sessions, "session")] if sessions or not prepared else []
    return " and ".join(words + ([plural(prepared, "prepared transaction")] if prepared else []))


def _too_old_words(sessions: Sequence[Session]) -> str:
    ages = [age for age in map(_transaction_age, sessions) if age is not None]
    return f"{plural(len(sessions), 'busy session')} in a transaction open for up to {format_duration(max(ages))}"


def _short(listed: Sequence[Idle]) -> str:
    oldest = max((item.age for item in listed if item.age is not None), default=None)
    return _what(listed) + (f", oldest idle {format_duration(oldest)}" if oldest is not None else "")


def _details(snapshot: Snapshot, listed: Sequence[Idle], options: Options) -> Iterable[str]:
    aborted = sum(item.session is not None and item.session.state is State.ABORTED for item in listed)
    if aborted:
        yield f"{aborted} of them aborted: an error was not followed by ROLLBACK"
    if any(item.session and item.session.state_age_is_bound for item in listed):
        yield "idle times are upper bounds: this server counts the last statement's duration in"
    hidden = len(_hidden(snapshot))
    if hidden:
        yield f"{plural(hidden, 'more session')} in a transaction, state hidden: idle or busy is not told"
    untracked = sum(item.session is not None and item.session.state is State.UNTRACKED for item in listed)
    if untracked:
        yield f"{untracked} of them with track_activities off: in a transaction, age unknown"
    yield from sentences(snapshot, options)


def _summary(
    snapshot: Snapshot, listed: Sequence[Idle], idle: Sequence[Idle], behind: frozenset[int] | None
) -> dict[str, Any]:
    ages = [item.age for item in idle if item.age is not None]
    open_ages = [item.transaction.age for item in idle if item.transaction.age is not None]
    return {
        "count": len(listed),
        "idle_in_transaction": sum(item.session is not None for item in idle),
        "aborted": sum(item.session is not None and item.session.state is State.ABORTED for item in idle),
        "prepared": sum(item.prepared is not None for item in idle),
        "oldest_idle_seconds": max(ages, default=None),
        "oldest_transaction_seconds": max(open_ages, default=None),
        "blocked": None if behind is None else len(behind),
        "hidden_in_transaction": len(_hidden(snapshot)),
        **horizon.summary(snapshot),
    }


SUMMARY = (
    Column("count", "COUNT", Unit.COUNT),
    Column("idle_in_transaction", "IDLE-TX", Unit.COUNT),
    Column("aborted", "ABORTED", Unit.COUNT),
    Column("prepared", "PREPARED", Unit.COUNT),
    Column("oldest_idle_seconds", "OLDEST IDLE", Unit.SECONDS),
    Column("oldest_transaction_seconds", "OLDEST TX", Unit.SECONDS),
    Column("blocked", "BLOCKED", Unit.COUNT),
    Column("hidden_in_transaction", "HIDDEN", Unit.COUNT),
    *horizon.SUMMARY,
)
COLUMNS = (
    Column("pid", "PID", Unit.ID, Show.ALWAYS),
    Column("idle_seconds", "IDLE", Unit.SECONDS, Show.ALWAYS),
    Column("transaction_seconds", "TX AGE", Unit.SECONDS),
    Column("state", "STATE", show=Show.WIDE),
    Column("database", "DB", show=Show.ROOMY),
    Column("user", "USER"),
    Column("app", "APP", show=Show.ROOMY),
    Column("client", "CLIENT", show=Show.ROOMY),
    *attributed.COLUMNS,
    Column("holds", "HOLDS", show=Show.ROOMY),
    Column("holds_back", "HOLDS BACK", show=Show.ROOMY),
    Column("blocks", "BLOCKS", Unit.COUNT),
    Column("sql", "LAST QUERY", Unit.SQL),
    Column("gid", "GID", show=Show.DATA),
    Column("aborted", "ABORTED", Unit.FLAG, Show.DATA),
    Column("idle_is_bound", "BOUND", Unit.FLAG, Show.DATA),
    Column("backend_start", "STARTED", Unit.TIMESTAMP, Show.DATA),
    Column("client_port", "PORT", Unit.ID, Show.WIDE),
    Column("holds_xid", "WRITES", Unit.FLAG, Show.DATA),
    Column("holds_snapshot", "SNAPSHOT", Unit.FLAG, Show.DATA),
    Column("xmin_age", "XMIN AGE", Unit.COUNT, Show.WIDE),
    Column("locks", "LOCKS", Unit.COUNT, Show.DATA),
    Column("strongest_lock", "STRONGEST LOCK", show=Show.DATA),
    Column("rows_modified", "ROWS CHANGED", Unit.COUNT, Show.DATA),
    Column("rows_locked", "ROWS LOCKED", Unit.COUNT, Show.DATA),
    Column("sql_mode", "SQL MODE", show=Show.DATA),
    Column("sql_truncated", "CUT", Unit.FLAG, Show.DATA),
    Column("sql_is_real", "REAL", Unit.FLAG, Show.DATA),
)


def _table(snapshot: Snapshot, rows: Sequence[Idle], options: Options) -> Table:
    cells = tuple(_row(item, options, snapshot.server) for item in rows)
    return attributed.shown(Table("sessions", COLUMNS, cells, len(cells), order="oldest first"))


def _row(item: Idle, options: Options, server: Server) -> tuple[Value, ...]:
    s = item.session or Session(0)
    prepared = item.prepared
    held = item.transaction
    values: Mapping[str, Value] = {
        "pid": item.session.id if item.session else None,
        "idle_seconds": item.age if prepared or s.open_transaction else None,
        "transaction_seconds": held.age,
        "state": "prepared" if prepared else s.state.value if s.state else None,
        "database": prepared.database if prepared else s.database,
        "user": prepared.user if prepared else s.user,
        "app": s.application,
        "client": s.client,
        **attributed.values(s, options, server.engine),
        "holds": holds(held),
        "holds_back": holds_back(held, server),
        "blocks": None if item.behind is None else len(item.behind),
        "sql": f"prepared transaction {prepared.id}" if prepared else shown_sql(s, options.sql, server.engine),
        "gid": prepared.id if prepared else None,
        "aborted": s.state is State.ABORTED,
        "idle_is_bound": s.state_age_is_bound,
        "backend_start": s.started_at,
        "client_port": s.client_port,
        "holds_xid": held.writes,
        "holds_snapshot": held.snapshot,
        "xmin_age": held.horizon_age,
        "locks": held.locks,
        "strongest_lock": held.strongest_lock,
        "rows_modified": held.rows_modified,
        "rows_locked": held.rows_locked,
        "sql_mode": options.sql.value,
        "sql_truncated": s.query_truncated,
        "sql_is_real": s.query_is_real,
    }
    return tuple(values[column.key] for column in COLUMNS)


def holds(held: Transaction) -> str | None:
    """Return what a transaction holds in a few words; None where the server tells none of it.

    >>> holds(Transaction(writes=True, locks=2, strongest_lock="RowExclusiveLock")), holds(Transaction(writes=False))
    ('writes, RowExclusiveLock', 'nothing')
    """
    if held.writes is None and held.snapshot is None and held.locks is None and held.rows_locked is None:
        return None
    parts = ["rolling back"] if held.rolling_back else []
    if held.writes:
        parts.append(f"writes ({plural(held.rows_modified, 'row')})" if held.rows_modified else "writes")
    if held.rows_locked and not held.rows_modified:
        parts.append(f"locks on {plural(held.rows_locked, 'row')}")
    if held.strongest_lock:
        parts.append(held.strongest_lock)
    elif held.locks:
        parts.append(f"locks on {plural(held.locks, 'table')}")
    if held.snapshot:
        parts.append("snapshot")
    return ", ".join(parts) or "nothing"


@dataclass(frozen=True, slots=True)
class _Found:
    """What hints are made of."""

    snapshot: Snapshot
    listed: Sequence[Idle]
    too_old: Sequence[Session]

    @property
    def of_too_old(self) -> str | None:
        """Return what is to be done about the oldest of those that never rest; if there are none, of those idle."""
        oldest = max(self.too_old, key=lambda s: _transaction_age(s) or 0.0, default=None)
        if oldest is None:
            idle = (item.session for item in self.listed if item.session)
            longest = max(idle, key=lambda s: _transaction_age(s) or 0.0, default=None)
            return self.of(longest) if longest else None
        way = f"its client never ends it: connaudit inspect {oldest.id} says whose code that is"
        return "; ".join(part for part in (way, bounding(oldest, self.snapshot)) if part)

    @property
    def of_blocking(self) -> str | None:
        """Return what is to be done about the one that most wait for."""
        most = max(self.listed, key=lambda item: len(item.behind or ()), default=None)
        if most and most.prepared:
            return ending_prepared(in_the_way(self.snapshot))
        return self.of(most.session) if most and most.session else None

    def of(self, session: Session) -> str:
        """Return what is to be done about a session idle in transaction."""
        ways = (releasing(session, self.snapshot.server), lasting(session, self.snapshot))
        code = f"connaudit inspect {session.id} says whose code it is"
        return "; ".join(part for part in (code, *ways) if part)


def _findings(judgements: Sequence[Judgement], held: Limits, found: _Found) -> Iterable[Finding]:
    age, tx_age, count, blocking = judgements
    of_age = held.of(AGE)
    late = [item.session for item in found.listed if item.session and _breaks(item.age, of_age)]
    if age.decisive and late:
        message = f"{plural(len(late), 'session')} idle in transaction for longer than {age.limit}"
        yield age.finding("CA201", message, found.of(late[0]), tuple(session.id for session in late))
    if tx_age.decisive:
        sessions = [*(item.session for item in found.listed if item.session), *found.too_old]
        ids = tuple(s.id for s in sessions if _breaks(_transaction_age(s), held.of(TX_AGE)))
        message = f"a transaction has been open for longer than {tx_age.limit}"
        yield tx_age.finding("CA202", message, found.of_too_old, ids)
    if count.decisive:
        yield count.finding("CA203", f"{plural(int(count.value or 0), 'session')} idle in transaction")
    if blocking.decisive:
        message = f"{_waiting(int(blocking.value or 0))} behind idle transactions"
        yield blocking.finding("CA204", message, found.of_blocking)
    for item in found.listed:
        if item.prepared and _breaks(item.age, of_age):
            yield _prepared_finding(item.prepared, judge(AGE, item.age, held))


def _breaks(age: float | None, limits: Limits) -> bool:
    return age is not None and limits.broken_by(age)


def _prepared_finding(prepared: PreparedTransaction, judgement: Judgement) -> Finding:
    message = f"prepared transaction {prepared.id} has been left for {format_duration(prepared.age or 0)}"
    where = f" in database {prepared.database}" if prepared.database else ""
    return judgement.finding("CA205", message, f"end it: {prepared.ending}{where}")


def _metrics(
    judgements: Sequence[Judgement], listed: Sequence[Idle], behind: frozenset[int] | None
) -> Iterable[Metric]:
    age, tx_age, count, blocking = judgements
    yield Metric("idle_tx", len(listed), Unit.COUNT, count.warning, count.critical, 0, needs=NEEDS)
    yield Metric("idle_tx_oldest", age.value or 0, Unit.SECONDS, age.warning, age.critical, 0, needs=NEEDS)
    yield Metric("tx_oldest", tx_age.value or 0, Unit.SECONDS, tx_age.warning, tx_age.critical, 0, needs=NEEDS)
    if behind is not None:
        needs = NEEDS | {Fact.LOCKS}
        yield Metric("idle_tx_blocking", len(behind), Unit.COUNT, blocking.warning, blocking.critical, 0, needs=needs)

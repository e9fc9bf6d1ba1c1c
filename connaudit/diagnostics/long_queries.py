"""Statements that have been running for long, oldest first.

Only leaders are listed: parallel workers are counted beside them. A statement that waits for its client, which neither
sends nor reads, is no slow query but a leak, and is listed as a class of its own; so are those that wait for a lock.
The server's own work (walsenders, autovacuum, replica appliers) is listed with --include-system, and never judged.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import attributed
from connaudit.diagnostics.horizon import holds_back, sentences
from connaudit.diagnostics.judging import Judgement, Limits, composed, judge, limits
from connaudit.diagnostics.remedies import ending
from connaudit.diagnostics.sessions import oldest_first, shown_sql
from connaudit.diagnostics.source import source
from connaudit.report import Column, Finding, Metric, Report, Show, Status, Table, Unit, Value
from connaudit.snapshot import Fact, Kind, Server, Session, Snapshot, State
from connaudit.thresholds import Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, plural

NEEDS = frozenset({Fact.SESSIONS, Fact.STATES})
WANTS = frozenset({Fact.QUERIES, Fact.LOCKS, Fact.HORIZON, Fact.GUARDS})
AGE = Judged("age", Measure.SECONDS, "time since the statement began")
COUNT = Judged("count", Measure.COUNT, "statements running for --min-age or longer")
METRICS = (AGE, COUNT)
CODES = ("CA301", "CA302", "CA303")
WARNING = ("5m",)
CRITICAL = ("30m",)
RUNNING, LOCKED, CLIENT, SYSTEM = "running", "waiting for a lock", "waiting for the client", "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What `long-queries` can be asked."""

    min_age: float = opt.duration("--min-age", default="5s", help="list those that have been running for so long")
    include_system: bool = opt.option(
        "--include-system", default=False, help="list the server's own work, too: walsenders, autovacuum, appliers"
    )


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge one snapshot."""
    held = limits(options, METRICS, WARNING, CRITICAL)
    listed = [s for s in oldest_first(_active(snapshot, options), _age) if _old_enough(s, options)]
    judged = [s for s in listed if doing(s) != SYSTEM]
    stalled = [s for s in judged if doing(s) == CLIENT]
    slow = [s for s in judged if doing(s) != CLIENT]
    untold = [s for s in snapshot.clients if _may_run(s) and options.looks_at(s)]
    judgements = [
        _judged_by_age(slow, untold, held),
        judge(COUNT, len(slow), held),
        judge(AGE, _oldest(stalled), held),
    ]
    decided = next((j for j in judgements if j.status is composed(judgements) and j.limit), None)
    return Report(
        check="long-queries",
        source=source(snapshot),
        status=composed(judgements),
        headline=_headline(slow, stalled, options, held) + _may_words(untold),
        value=_short(slow, stalled),
        limit=decided.limit if decided else "",
        details=tuple(sentences(snapshot, options)),
        summary=_summary(slow, stalled, listed),
        table=_table(snapshot, listed, options),
        metrics=tuple(_metrics(judgements, slow, stalled)),
        findings=tuple(_findings(judgements, held, slow, stalled, snapshot)),
        notes=snapshot.notes,
    )


def doing(session: Session) -> str:
    """Return the class of an active session."""
    if session.kind not in (Kind.CLIENT, Kind.JOB):
        return SYSTEM
    if session.waits_for_client:
        return CLIENT
    return LOCKED if session.wait else RUNNING


def _active(snapshot: Snapshot, options: Options) -> Iterable[Session]:
    kinds = {Kind.CLIENT, Kind.JOB}
    if options.include_system:
        kinds |= {Kind.REPLICATION, Kind.INTERNAL}
    for session in snapshot.sessions:
        at_work = session.state in (State.ACTIVE, State.FASTPATH) and session.kind in kinds
        if at_work and not session.is_self and options.looks_at(session):
            yield session


def _age(session: Session) -> float | None:
    return session.query_age


def _may_run(session: Session) -> bool:
    """Return whether it may run a statement of which nothing is told: none runs outside a transaction."""
    return session.state is State.UNTRACKED and bool(session.in_transaction)


def _judged_by_age(slow: Sequence[Session], untold: Sequence[Session], held: Limits) -> Judgement:
    """Return the verdict on the longest; UNKNOWN if one of which nothing is told may be over a threshold.

    No statement runs for longer than its session is connected.
    """
    known = judge(AGE, _oldest(slow), held)
    may = any(s.connection_age is None or held.of(AGE).broken_by(s.connection_age) for s in untold)
    return judge(AGE, None, held) if may and known.status is Status.OK else known


def _old_enough(session: Session, options: Options) -> bool:
    return session.query_age is None or session.query_age >= options.min_age


def _oldest(sessions: Sequence[Session]) -> float:
    return max((s.query_age for s in sessions if s.query_age is not None), default=0.0)


def _over(sessions: Sequence[Session], held: Limits) -> list[Session]:
    """Return those that break a threshold on their age."""
    of_age = held.of(AGE)
    return [s for s in sessions if s.query_age is not None and of_age.broken_by(s.query_age)]


def _queries(count: int) -> str:
    return plural(count, "query", "queries")


def _headline(slow: Sequence[Session], stalled: Sequence[Session], options: Options, held: Limits) -> str:
    """Return the running ones in a sentence, and behind a semicolon those that wait for their client."""
    if not slow:
        running = f"no query running for {format_duration(options.min_age)} or longer"
    else:
        running = f"{_counted(slow, held, options)}, longest {format_duration(_oldest(slow))}"
    if not stalled:
        return running
    longest = f", longest {format_duration(_oldest(stalled))}" + (_limit(stalled, held, " (limit {})"))
    return f"{running}; {_queries(len(stalled))} waiting for the client{longest}"


def _may_words(untold: Sequence[Session]) -> str:
    if not untold:
        return ""
    return f"; {plural(len(untold), 'session')} in a transaction with track_activities off may run one"


def _counted(slow: Sequence[Session], held: Limits, options: Options) -> str:
    over = _over(slow, held)
    if over:
        return f"{_queries(len(over))} over {_limit(over, held, '{}')}"
    return f"{_queries(len(slow))} over {format_duration(options.min_age)}"


def _limit(sessions: Sequence[Session], held: Limits, text: str) -> str:
    """Return the threshold that all of those over one have broken; nothing if none is."""
    broken = [judge(AGE, s.query_age, held) for s in _over(sessions, held)]
    return text.format(min(broken, key=lambda judgement: judgement.status).limit) if broken else ""


def _short(slow: Sequence[Session], stalled: Sequence[Session]) -> str:
    text = f"longest {format_duration(_oldest(slow))}" if slow else "none"
    return text + (f", {len(stalled)} waiting for the client" if stalled else "")


def _summary(slow: Sequence[Session], stalled: Sequence[Session], listed: Sequence[Session]) -> dict[str, Any]:
    return {
        "count": len(slow),
        "longest_seconds": _oldest(slow) if slow else None,
        "waiting_for_lock": sum(doing(s) == LOCKED for s in slow),
        "waiting_for_client": len(stalled),
        "longest_waiting_for_client_seconds": _oldest(stalled) if stalled else None,
        "system": sum(doing(s) == SYSTEM for s in listed),
    }


SUMMARY = (
    Column("count", "COUNT", Unit.COUNT),
    Column("longest_seconds", "LONGEST", Unit.SECONDS),
    Column("waiting_for_lock", "WAITING FOR A LOCK", Unit.COUNT),
    Column("waiting_for_client", "WAITING FOR THE CLIENT", Unit.COUNT),
    Column("longest_waiting_for_client_seconds", "LONGEST OF THEM", Unit.SECONDS),
    Column("system", "SYSTEM", Unit.COUNT),
)
COLUMNS = (
    Column("pid", "PID", Unit.ID, Show.ALWAYS),
    Column("age_seconds", "AGE", Unit.SECONDS, Show.ALWAYS),
    Column("doing", "DOING", show=Show.ROOMY),
    Column("wait", "WAIT"),
    Column("database", "DB", show=Show.ROOMY),
    Column("user", "USER"),
    Column("app", "APP", show=Show.ROOMY),
    Column("client", "CLIENT", show=Show.ROOMY),
    *attributed.COLUMNS,
    Column("holds_back", "HOLDS BACK", show=Show.ROOMY),
    Column("sql", "QUERY", Unit.SQL),
    Column("state", "STATE", show=Show.DATA),
    Column("wait_event_type", "WAIT TYPE", show=Show.DATA),
    Column("wait_event", "WAIT EVENT", show=Show.DATA),
    Column("lock_wait_seconds", "LOCK WAIT", Unit.SECONDS, Show.WIDE),
    Column("blocked_by", "BLOCKED BY", Unit.IDS, Show.WIDE),
    Column("transaction_seconds", "TX AGE", Unit.SECONDS, Show.WIDE),
    Column("query_id", "QUERY ID", Unit.ID, Show.WIDE),
    Column("parallel_workers", "WORKERS", Unit.COUNT, Show.WIDE),
    Column("backend_start", "STARTED", Unit.TIMESTAMP, Show.DATA),
    Column("client_port", "PORT", Unit.ID, Show.WIDE),
    Column("sql_mode", "SQL MODE", show=Show.DATA),
    Column("sql_truncated", "CUT", Unit.FLAG, Show.DATA),
)


def _table(snapshot: Snapshot, listed: Sequence[Session], options: Options) -> Table:
    workers = Counter(s.leader for s in snapshot.sessions if s.kind is Kind.PARALLEL)
    told = any(s.leader for s in snapshot.sessions) or not any(s.kind is Kind.PARALLEL for s in snapshot.sessions)
    rows = tuple(_row(s, options, snapshot.server, workers[s.id] if told else None) for s in listed)
    return attributed.shown(Table("queries", COLUMNS, rows, len(rows), order="oldest first"))


def _row(s: Session, options: Options, server: Server, workers: int | None) -> tuple[Value, ...]:
    kind, colon, event = (s.waits_for or "").partition(":")
    values: Mapping[str, Value] = {
        "pid": s.id,
        "age_seconds": s.query_age,
        "doing": doing(s),
        "wait": s.waits_for,
        "database": s.database,
        "user": s.user,
        "app": s.application,
        "client": s.client,
        **attributed.values(s, options, server.engine),
        "holds_back": holds_back(s.transaction, server),
        "sql": shown_sql(s, options.sql, server.engine),
        "state": s.state.value if s.state else None,
        "wait_event_type": kind if colon else None,
        "wait_event": event if colon else s.waits_for,
        "lock_wait_seconds": s.wait.age if s.wait else None,
        "blocked_by": s.wait.blocked_by if s.wait else None,
        "transaction_seconds": s.transaction.age if s.transaction else None,
        "query_id": s.query_id,
        "parallel_workers": workers,
        "backend_start": s.started_at,
        "client_port": s.client_port,
        "sql_mode": options.sql.value,
        "sql_truncated": s.query_truncated,
    }
    return tuple(values[column.key] for column in COLUMNS)


def _hint(over: Sequence[Session], snapshot: Snapshot) -> str:
    """Return what ends the oldest of them that is really at work, and how many only wait for a lock."""
    busy = next((s for s in over if doing(s) == RUNNING), None)
    locked = sum(doing(s) == LOCKED for s in over)
    parts = [f"the longest at work: {ending(busy, snapshot)}"] if busy else []
    if locked:
        verb = "waits" if locked == 1 else "wait"
        parts.append(f"{locked} of them only {verb} for a lock: connaudit blocking tells whose")
    return "; ".join(parts)


def _findings(
    judgements: Sequence[Judgement],
    held: Limits,
    slow: Sequence[Session],
    stalled: Sequence[Session],
    snapshot: Snapshot,
) -> Iterable[Finding]:
    age, count, client = judgements
    if age.decisive:
        over = _over(slow, held)
        ids = tuple(s.id for s in over)
        message = f"{_queries(len(over))} running for longer than {age.limit}"
        yield age.finding("CA301", message, _hint(over, snapshot), ids)
    if client.decisive:
        over = _over(stalled, held)
        message = f"{_queries(len(over))} waiting for the client for longer than {client.limit}"
        hint = "the client neither reads nor sends: look there; nothing is slow in the server"
        yield client.finding("CA302", message, hint, tuple(s.id for s in over))
    if count.decisive:
        yield count.finding("CA303", f"{_queries(len(slow))} running at once")


def _metrics(judgements: Sequence[Judgement], slow: Sequence[Session], stalled: Sequence[Session]) -> Iterable[Metric]:
    age, count, client = judgements
    yield Metric("long_queries", len(slow), Unit.COUNT, count.warning, count.critical, 0, needs=NEEDS)
    yield Metric("long_query_oldest", _oldest(slow), Unit.SECONDS, age.warning, age.critical, 0, needs=NEEDS)
    yield Metric("client_wait_oldest", _oldest(stalled), Unit.SECONDS, client.warning, client.critical, 0, needs=NEEDS)

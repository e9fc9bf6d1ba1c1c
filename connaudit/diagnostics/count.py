"""Connections in use against the limit, by state and by owner.

Owners are applications, users, databases or clients, as --by says. Usable is what an ordinary role can ever have: the
server's limit without what is reserved. The session of this audit is not counted. Where a role or a database has a
limit of its own, the tightest of them all decides and is named.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import attributed
from connaudit.diagnostics.judging import Judgement, Limits, composed, judge, limits
from connaudit.diagnostics.source import source
from connaudit.report import Column, Finding, Metric, Report, Show, Status, Table, Unit, Value
from connaudit.snapshot import Capacity, Fact, Kind, Limit, Session, Snapshot, State
from connaudit.thresholds import Condition, Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_percent, plural

NEEDS = frozenset({Fact.SESSIONS, Fact.STATES})
WANTS: frozenset[Fact] = frozenset()
USED = Judged("used", Measure.SLOTS, "connections in use, of the whole server; a percentage is of the usable ones")
FREE = Judged("free", Measure.COUNT, "connections left for ordinary roles", falls=True)
ROLE_USED = Judged("role_used", Measure.SLOTS, "connections of a role or account that has a limit of its own")
DB_USED = Judged("db_used", Measure.SLOTS, "connections to a database that has a limit of its own")
COUNT = Judged("count", Measure.COUNT, "sessions that match the filters")
METRICS = (USED, FREE, ROLE_USED, DB_USED, COUNT)
CODES = ("CA101", "CA103", "CA104", "CA105")
WARNING = ("80pct",)
CRITICAL = ("90pct", "free=3:")
CODE = ("application", "framework", "route", "controller", "action", "job")  # tags to group by
GROUPS = {
    "state": "STATE",
    "app": "APP",
    "user": "USER",
    "db": "DB",
    "client": "CLIENT",
    "process": "PROCESS",
    **{f"tag_{name}": name.upper() for name in CODE},
}
SPOKEN = {key.replace("tag_", "tag:"): key for key in GROUPS}
IDLE_STATES = (State.IDLE_IN_TRANSACTION, State.ABORTED)


def parse_groups(text: str) -> tuple[str, ...]:
    """Read `app,tag:route` as keys of `GROUPS`; ValueError names what there is to group by."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in SPOKEN]
    if unknown or not names:
        raise ValueError(f"cannot group by {unknown[0] if unknown else 'nothing'!r}; there are {', '.join(SPOKEN)}")
    return tuple(dict.fromkeys(SPOKEN[name] for name in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What `count` can be asked."""

    by: tuple[str, ...] = opt.option(
        "--by",
        default=("app", "user"),
        read=parse_groups,
        metavar="LIST",
        help="group sessions by these: state, app, user, db, client, process, tag:route, tag:application, "
        "tag:controller, tag:action, tag:job, tag:framework [default: app,user]",
    )

    @property
    def facts(self) -> frozenset[Fact]:
        """Return the statements, if tags in them are asked for."""
        return frozenset({Fact.QUERIES} if any(key.startswith("tag_") for key in self.by) else ())

    @property
    def processes(self) -> bool:
        """Return whether sessions are grouped by their processes."""
        return "process" in self.by


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of one limit is used; `judgements` are of its own thresholds."""

    name: str  # server, role shop_web, database shop
    used: int
    usable: int

    @property
    def ratio(self) -> float:
        """Return used by usable; 1 where nothing is usable."""
        return self.used / self.usable if self.usable else 1.0


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge one snapshot."""
    held = limits(options, METRICS, WARNING, CRITICAL)
    matching = [s for s in snapshot.clients if options.only.passes(s)]
    used = used_by_others(snapshot)
    judgements, findings = _judged(snapshot, held, used, len(matching))
    decided = next((j for j in judgements if j.status is composed(judgements) and j.limit), None)
    own_words = _own_words(decided, judgements, snapshot.capacity)
    tightest = max(_usages(snapshot.capacity, used), key=lambda usage: usage.ratio, default=None)
    return Report(
        check="count",
        source=source(snapshot),
        status=composed(judgements) if used is not None else Status.UNKNOWN,
        headline=_headline(snapshot.capacity, used) + own_words,
        value=_short(snapshot.capacity, used, decided) + own_words,
        limit=_limit(decided),
        details=tuple(_details(snapshot, used, tightest)),
        summary=_summary(snapshot, used, tightest, len(matching)),
        brief=_brief(snapshot, used, matching),
        overviews=(
            _by_state(snapshot, matching, options),
            *_limits_table(snapshot.capacity),
            *_orphaning(snapshot.clients),
        ),
        table=_groups(matching, options, snapshot.server.engine),
        metrics=tuple(_metrics(snapshot, judgements, matching)),
        findings=tuple(findings),
        notes=snapshot.notes,
    )


def used_by_others(snapshot: Snapshot) -> int | None:
    """Return the connections in use without our own; None if the server does not tell."""
    return None if snapshot.capacity.used is None else max(0, snapshot.capacity.used - 1)


def _usages(capacity: Capacity, used: int | None) -> list[Usage]:
    """Return every limit with its use, the server's first."""
    whole = [] if used is None else [Usage("server", used, capacity.usable)]
    return whole + [Usage(f"{own.scope} {own.name}", own.used or 0, own.limit) for own in _own_limits(capacity)]


def _own_limits(capacity: Capacity) -> list[Limit]:
    """Return the limits of roles and databases that can fill up, the tightest first: one of 0 is a closed door."""
    told = [own for own in capacity.limits if own.used is not None and own.limit]
    return sorted(told, key=lambda own: -(own.used or 0) / own.limit)


def _judged(snapshot: Snapshot, held: Limits, used: int | None, matching: int) -> tuple[list[Judgement], list[Finding]]:
    """Return the verdicts on each metric, those of own limits last, and the findings of those that are not well."""
    capacity = snapshot.capacity
    free = None if used is None else capacity.free(used)
    whole = judge(USED, used, held, capacity.usable)
    left = judge(FREE, free, held)
    counted = judge(COUNT, matching, held)
    findings = []
    if whole.decisive:
        hint = "see who holds them below; raise max_connections last"
        findings.append(whole.finding("CA101", _headline(capacity, used), hint))
    if left.decisive:
        findings.append(left.finding("CA103", f"{plural(free or 0, 'connection')} left for ordinary roles"))
    if counted.decisive:
        findings.append(counted.finding("CA105", f"{plural(matching, 'session')} match the filter"))
    own = [(limit, _judge_own(limit, held)) for limit in _own_limits(capacity)]
    findings.extend(_own_finding(limit, judgement) for limit, judgement in own if judgement.decisive)
    return [whole, left, counted, *(judgement for _, judgement in own)], findings


def _judge_own(own: Limit, held: Limits) -> Judgement:
    """Judge the use of one role's or database's own limit.

    Thresholds on role_used or db_used if there are any; else the percentages that hold for the server.
    """
    metric = DB_USED if own.scope == "database" else ROLE_USED
    if not held.of(metric):
        held = Limits(_percentages(held.warning, metric), _percentages(held.critical, metric))
    return judge(metric, own.used, held, own.limit)


def _percentages(conditions: Iterable[Condition], metric: Judged) -> tuple[Condition, ...]:
    return tuple(replace(c, metric=metric) for c in conditions if c.metric == USED and c.range.percent)


def _own_finding(own: Limit, judgement: Judgement) -> Finding:
    setting = "datconnlimit" if own.scope == "database" else "rolconnlimit or max_user_connections"
    message = f"{own.scope} {own.name}: {own.used} of its own limit of {plural(own.limit, 'connection')} in use"
    return judgement.finding("CA104", message, f"the limit is set by {setting}")


def _headline(capacity: Capacity, used: int | None) -> str:
    if used is None:
        return "the server does not tell how many connections are in use"
    free = capacity.free(used)
    share = format_percent(used / capacity.usable) if capacity.usable else "all"
    return f"{used} of {capacity.usable} usable connections in use ({share}), {free} free"


def _short(capacity: Capacity, used: int | None, decided: Judgement | None) -> str:
    """Return the numbers in few words, with that of the free ones where it decides."""
    if used is None:
        return "use not told"
    share = format_percent(used / capacity.usable) if capacity.usable else "all"
    free = f", {capacity.free(used)} free" if decided and decided.metric == FREE else ""
    return f"{used} of {capacity.usable} used ({share}){free}"


def _own_words(decided: Judgement | None, judgements: Sequence[Judgement], capacity: Capacity) -> str:
    """Return what to add where the limit of a role or database decides."""
    own = _own_limits(capacity)
    judged = zip(own, judgements[len(judgements) - len(own) :], strict=True)
    words = (f"; {limit.scope} {limit.name}: {limit.used} of {limit.limit}" for limit, j in judged if j is decided)
    return next(words, "")


def _limit(decided: Judgement | None) -> str:
    """Return the threshold that decides, with its metric unless that is the usual one."""
    if decided is None:
        return ""
    return decided.limit if decided.metric == USED else f"{decided.metric.name}={decided.limit}"


def _details(snapshot: Snapshot, used: int | None, tightest: Usage | None) -> Iterable[str]:
    """Return what stands below the headline: where the numbers come from."""
    capacity = snapshot.capacity
    reserves = [f"max_connections {capacity.limit}"]
    if capacity.reserved_superuser:
        reserves.append(f"{capacity.reserved_superuser} reserved for superusers")
    if capacity.reserved:
        reserves.append(f"{capacity.reserved} for pg_use_reserved_connections")
    if capacity.extra_superuser:
        reserves.append(f"{capacity.extra_superuser} more for CONNECTION_ADMIN or SUPER")
    yield ", ".join(reserves) + "; connaudit's own session not counted"
    if used is not None and capacity.free_superuser(used) != capacity.free(used):
        middle = f", {capacity.free_reserved(used)} for pg_use_reserved_connections" if capacity.reserved else ""
        yield f"free: {capacity.free(used)} for ordinary roles{middle}, {capacity.free_superuser(used)} for superusers"
    if tightest and tightest.name != "server":
        yield f"the tightest limit is that of {tightest.name}: {tightest.used} of {tightest.usable}"
    yield from map(attributed.too_many, attributed.orphaning(snapshot.clients))
    if capacity.authenticating is None:
        yield "sessions that are still logging in hold slots, too: this server does not show them, they are not counted"
    if capacity.limits_untold:
        yield f"limits of single accounts are not told; to see them: {capacity.limits_untold}"
    apart = list(_beside(snapshot))
    if apart:
        yield "not connections: " + ", ".join(apart)


def _beside(snapshot: Snapshot) -> Iterable[str]:
    """Return what occupies rows in the server's list but no usable slot."""
    kinds = Counter(s.kind for s in snapshot.sessions)
    walsenders = snapshot.capacity.walsenders
    if walsenders:
        most = snapshot.capacity.walsender_limit
        yield f"{plural(walsenders, 'walsender')} (of max_wal_senders {most})"
    if kinds[Kind.PARALLEL]:
        yield plural(kinds[Kind.PARALLEL], "parallel worker")
    if kinds[Kind.JOB]:
        yield plural(kinds[Kind.JOB], "scheduled job")
    if kinds[Kind.INTERNAL]:
        yield plural(kinds[Kind.INTERNAL], "background process", "background processes")


SUMMARY = (
    Column("used", "USED", Unit.CONNECTIONS),
    Column("usable", "USABLE", Unit.CONNECTIONS),
    Column("free", "FREE", Unit.CONNECTIONS),
    Column("free_reserved", "FREE WITH RESERVE", Unit.CONNECTIONS),
    Column("free_superuser", "FREE FOR SUPERUSERS", Unit.CONNECTIONS),
    Column("max_connections", "LIMIT", Unit.CONNECTIONS),
    Column("reserved", "RESERVED", Unit.CONNECTIONS),
    Column("used_ratio", "PCT", Unit.RATIO),
    Column("limit", "TIGHTEST LIMIT"),
    Column("excluded_self", "OURSELVES", Unit.COUNT),
    Column("matching", "MATCHING", Unit.COUNT),
    Column("hidden", "HIDDEN", Unit.COUNT),
    Column("authenticating", "AUTHENTICATING", Unit.COUNT),
    Column("walsenders", "WALSENDERS", Unit.COUNT),
    Column("background", "BACKGROUND", Unit.COUNT),
    Column("refused_since_start", "REFUSED", Unit.COUNT),
    Column("peak", "PEAK", Unit.COUNT),
)


def _summary(snapshot: Snapshot, used: int | None, tightest: Usage | None, matching: int) -> dict[str, Any]:
    capacity = snapshot.capacity
    known = used is not None
    return {
        "used": used,
        "usable": capacity.usable,
        "free": capacity.free(used) if used is not None else None,
        "free_reserved": capacity.free_reserved(used) if used is not None else None,
        "free_superuser": capacity.free_superuser(used) if used is not None else None,
        "max_connections": capacity.limit,
        "reserved": capacity.reserved_superuser + capacity.reserved,
        "used_ratio": round(used / capacity.usable, 4) if used is not None and capacity.usable else None,
        "limit": tightest.name if tightest else None,
        "excluded_self": 1 if known else 0,
        "matching": matching,
        "hidden": sum(s.state is None for s in snapshot.clients),
        "authenticating": capacity.authenticating,
        "walsenders": capacity.walsenders,
        "background": sum(s.kind in (Kind.INTERNAL, Kind.JOB, Kind.PARALLEL) for s in snapshot.sessions),
        "refused_since_start": capacity.refused,
        "peak": capacity.peak,
    }


OVERVIEWS = {
    "by_state": (
        Column("state", "STATE", show=Show.ALWAYS),
        Column("count", "COUNT", Unit.COUNT, Show.ALWAYS),
        Column("oldest_seconds", "OLDEST", Unit.SECONDS, Show.ROOMY),
    ),
    "limits": (
        Column("scope", "LIMIT OF", show=Show.ALWAYS),
        Column("name", "NAME", show=Show.ALWAYS),
        Column("used", "USED", Unit.COUNT, Show.ALWAYS),
        Column("limit", "LIMIT", Unit.COUNT, Show.ALWAYS),
    ),
    "orphaning": (  # processes that hold more connections than they have threads
        Column("process", "PROCESS", show=Show.ALWAYS),
        Column("pid", "PID", Unit.ID, Show.DATA),
        Column("connections", "CONNECTIONS", Unit.COUNT, Show.ALWAYS),
        Column("threads", "THREADS", Unit.COUNT, Show.ALWAYS),
    ),
}


def _by_state(snapshot: Snapshot, matching: Sequence[Session], options: Options) -> Table:
    """Count sessions by state, most first; what the server counts and does not show is a row of its own."""
    counts = Counter(_state_word(s) for s in matching)
    rows: list[tuple[Value, ...]] = [
        (
            word,
            count,
            max((s.state_age for s in matching if _state_word(s) == word and s.state_age is not None), default=None),
        )
        for word, count in counts.most_common()
    ]
    used = used_by_others(snapshot)
    unseen = (used or 0) - len(snapshot.clients) - _replicas_in_slots(snapshot)
    if unseen > 0 and not options.only:
        rows.append(("not shown", unseen, None))
    return Table("by_state", OVERVIEWS["by_state"], tuple(rows), len(rows))


def _replicas_in_slots(snapshot: Snapshot) -> int:
    """Return how many replication sessions occupy ordinary slots: on PostgreSQL 12 and later none do."""
    if snapshot.capacity.walsenders is not None:
        return 0
    return sum(s.kind is Kind.REPLICATION for s in snapshot.sessions)


def _state_word(session: Session) -> str:
    return session.state.value if session.state else "hidden"


def _limits_table(capacity: Capacity) -> tuple[Table, ...]:
    """Return the roles and databases that have limits of their own, tightest first; nothing if none has."""
    own = sorted(capacity.limits, key=lambda limit: -((limit.used or 0) / max(limit.limit, 1)))
    if not own:
        return ()
    rows = tuple((o.scope, o.name, o.used, o.limit) for o in own)
    return (Table("limits", OVERVIEWS["limits"], rows, len(own)),)


def _orphaning(sessions: Iterable[Session]) -> tuple[Table, ...]:
    """Return the processes that hold more connections than they have threads; nothing if none does."""
    found = attributed.orphaning(sessions)
    rows = tuple((each.title, each.pid, each.connections, each.threads) for each in found)
    return (Table("orphaning", OVERVIEWS["orphaning"], rows, len(rows)),) if rows else ()


TALLY = ("count", "idle", "idle_in_transaction", "active", "other", "hidden")
COLUMNS = (  # of which --by chooses the first
    *(Column(key, label) for key, label in GROUPS.items()),
    Column("count", "COUNT", Unit.COUNT, Show.ALWAYS),
    Column("idle", "IDLE", Unit.COUNT),
    Column("idle_in_transaction", "IDLE-TX", Unit.COUNT),
    Column("active", "ACTIVE", Unit.COUNT),
    Column("other", "OTHER", Unit.COUNT, Show.DATA),
    Column("hidden", "HIDDEN", Unit.COUNT, Show.DATA),
)


def _groups(sessions: Sequence[Session], options: Options, engine: str) -> Table:
    """Count sessions by the chosen keys, most first."""
    by = options.by
    groups: dict[tuple[str, ...], list[Session]] = {}
    for session in sessions:
        groups.setdefault(tuple(_group_value(session, key, options, engine) for key in by), []).append(session)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = tuple((*names, *_tally(members)) for names, members in ordered)
    others = any(row[-2] for row in rows)
    hidden = any(row[-1] for row in rows)
    columns = {column.key: column for column in COLUMNS}
    if others:
        columns["other"] = replace(columns["other"], show=Show.ROOMY)
    if hidden:
        columns["hidden"] = replace(columns["hidden"], show=Show.TABLE)
    columns[by[0]] = replace(columns[by[0]], show=Show.ALWAYS)
    shown = tuple(columns[key] for key in (*by, *TALLY))
    return Table("groups", shown, rows, len(rows), order="most first")


def _group_value(session: Session, key: str, options: Options, engine: str) -> str:
    if key.startswith("tag_"):
        return _tag(session, key.removeprefix("tag_"), options, engine)
    value = {
        "state": _state_word(session),
        "app": session.application,
        "user": session.user,
        "db": session.database,
        "client": session.client,
        "process": attributed.process(session),
    }[key]
    if value is None and key in ("app", "client", "process"):
        return "(unknown)"
    return value or "(none)"


def _tag(session: Session, name: str, options: Options, engine: str) -> str:
    """Return a tag of the statement; one that is hidden may have it."""
    if session.query is None or options.sql is opt.Sql.NONE:
        return "(unknown)"
    found = attributed.tags_of(session, options, engine)
    return (getattr(found, name) if found else None) or "(none)"


def _tally(members: Sequence[Session]) -> tuple[int | None, ...]:
    """Return count, idle, idle in transaction, active, other, hidden; states are None where all are hidden."""
    hidden = sum(s.state is None for s in members)
    idle = sum(s.state is State.IDLE for s in members)
    in_transaction = sum(s.state in IDLE_STATES for s in members)
    active = sum(s.state in (State.ACTIVE, State.FASTPATH) for s in members)
    if hidden == len(members):
        return hidden, None, None, None, None, hidden
    other = len(members) - hidden - idle - in_transaction - active
    return len(members), idle, in_transaction, active, other, hidden


BRIEF = (
    Column("used", "USED", Unit.CONNECTIONS, Show.ALWAYS),
    Column("usable", "USABLE", Unit.CONNECTIONS),
    Column("used_ratio", "PCT", Unit.RATIO),
    Column("free", "FREE", Unit.CONNECTIONS),
    Column("idle", "IDLE", Unit.COUNT, Show.ROOMY),
    Column("idle_in_transaction", "IDLE-TX", Unit.COUNT, Show.ROOMY),
    Column("active", "ACTIVE", Unit.COUNT, Show.ROOMY),
)


def _brief(snapshot: Snapshot, used: int | None, matching: Sequence[Session]) -> Table:
    """Return this target as one row of a fleet."""
    capacity = snapshot.capacity
    ratio = used / capacity.usable if used is not None and capacity.usable else None
    _, idle, in_transaction, active, _, _ = _tally(matching) if matching else (0, 0, 0, 0, 0, 0)
    free = capacity.free(used) if used is not None else None
    row = (used, capacity.usable, ratio, free, idle, in_transaction, active)
    return Table("brief", BRIEF, (row,), 1)


def _metrics(snapshot: Snapshot, judgements: Sequence[Judgement], matching: Sequence[Session]) -> Iterable[Metric]:
    """Return what monitoring systems store: use with its limits, and the sessions by state."""
    capacity = snapshot.capacity
    whole, left = judgements[0], judgements[1]
    if whole.value is not None and left.value is not None:
        yield Metric("used", whole.value, Unit.CONNECTIONS, whole.warning, whole.critical, 0, capacity.usable)
        yield Metric("free", left.value, Unit.CONNECTIONS, left.warning, left.critical, 0, capacity.usable)
        yield Metric("usable", capacity.usable, Unit.CONNECTIONS)
    counts = Counter(_state_word(s) for s in matching if s.state)
    for word in sorted({State.IDLE.value, State.IDLE_IN_TRANSACTION.value, State.ACTIVE.value, *counts}):
        yield Metric("connections", counts[word], Unit.CONNECTIONS, labels=(("state", word),), needs=NEEDS)

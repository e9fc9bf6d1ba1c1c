"""Connections that nobody seems to use any more: opened, used once, and never closed.

Sessions are grouped by application, user, database and client. A leak shows in one look where a client opened new
connections while those that it had stopped using lay idle; a series of looks proves it, a history tells how fast it
grows. Listeners, holders of advisory locks, interactive tools, replication and what a pooler has given back lie idle by
design: they stand apart, at the end. A pool keeps idle connections, and is none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import attributed, growing
from connaudit.diagnostics.apart import Apart, apart
from connaudit.diagnostics.growing import EXHAUSTION, GROWTH, Outlook, outlook
from connaudit.diagnostics.judging import Judgement, judge, limits
from connaudit.diagnostics.leaking import (
    Evidence,
    Scale,
    Verdict,
    span_of_idleness,
    standing,
    verdict,
    watched,
    why,
)
from connaudit.diagnostics.lives import Life, lives, since_restart
from connaudit.diagnostics.sessions import shown_sql
from connaudit.diagnostics.source import source
from connaudit.history.trend import Past
from connaudit.report import Column, Finding, Metric, Report, Show, Table, Unit, Value, worst
from connaudit.snapshot import Fact, Session, Snapshot, State
from connaudit.thresholds import Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, instant, parse_duration, plural, round_duration

NEEDS = frozenset({Fact.SESSIONS, Fact.STATES})
WANTS = frozenset({Fact.QUERIES, Fact.TRANSACTIONS})  # listeners by their statement, holders of advisory locks
SUSPECTS = Judged("suspects", Measure.COUNT, "groups that leak or look like it")
METRICS = (SUSPECTS, GROWTH, EXHAUSTION)
CODES = ("CA501", "CA502", "CA503", "CA504", "CA505", "CA506")
WARNING = ("suspects=0",)
CRITICAL = ("exhaustion=24h:",)
IDLE_AGE = 600.0  # seconds
MOST_NAMED = 3  # groups in a headline

FLAWS = {
    Verdict.GROWING: "CA502",
    Verdict.LINGERING: "CA502",
    Verdict.EXCESS: "CA503",
    Verdict.SUSPECT: "CA501",
    Verdict.IDLE_IN_TRANSACTION: "CA506",
}
HINTS = {
    "CA501": "look again in a series, or name what is enough: --bound APP=N",
    "CA502": "close them in the thread that opened them (Django: connections.close_all()), or use a pool",
    "CA503": "look for threads, executors or pools that keep a connection each",
    "CA506": "connaudit idle-tx tells what they hold and whom they hold up",
}


def parse_bound(text: str) -> tuple[str, int]:
    """Read APP=N, where APP may be a pattern; ValueError says what to write.

    >>> parse_bound("celery@*=16")
    ('celery@*', 16)
    """
    name, equals, number = text.rpartition("=")
    if not equals or not number.strip().isdigit():
        raise ValueError(f"{text!r} is no bound; write APP=N, for example 'web=40' or 'celery@*=16'")
    return name.strip(), int(number)


def parse_apart(text: str) -> tuple[Apart, ...]:
    """Read kinds of sessions that stand apart; ValueError names them."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(Apart)]
    if unknown or not names:
        raise ValueError(f"{unknown[0] if unknown else ''!r} is none of {', '.join(Apart)}")
    return tuple(Apart(name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What `leaks` can be asked."""

    idle_age: float | None = opt.option(
        "--idle-age",
        default=None,
        read=parse_duration,
        metavar="DUR",
        help="unused for so long is stale [default: 10m; within a series a twentieth of it]",
    )
    bound: tuple[tuple[str, int], ...] = opt.option(
        "--bound",
        default=(),
        read=parse_bound,
        metavar="APP=N",
        multiple=True,
        help="connections that a group of this application needs at most: processes x threads, or its pool",
    )
    include: tuple[Apart, ...] = opt.option(
        "--include",
        default=(),
        read=parse_apart,
        metavar="LIST",
        help="judge these, too: listener, lock, tool, pooler",
    )
    since: float = opt.duration("--since", default="7d", help="look so far back into the history")
    past: Past | None = None  # what the history says of the target; None: nothing

    def enough_for(self, application: str | None) -> int | None:
        """Return the bound of the first pattern that fits; None if none does."""
        return enough_for(self.bound, application)


def enough_for(bounds: Iterable[tuple[str, int]], application: str | None) -> int | None:
    """Return the first of the bounds that fits an application; None if none does."""
    fitting = (most for pattern, most in bounds if opt.fits(application or "", pattern))
    return next(fitting, None)


class Key(NamedTuple):
    """What makes a group."""

    application: str | None
    user: str | None
    database: str | None
    client: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Connections of one key. `evidence` and `verdict` None: they stand apart, for `why`."""

    key: Key
    lives: tuple[Life, ...]
    evidence: Evidence | None
    verdict: Verdict | None
    why: str

    @property
    def present(self) -> list[Session]:
        """Return the sessions that are there, the longest idle first."""
        there = [life.session for life in self.lives if life.gone is None]
        return sorted(there, key=lambda session: -(session.state_age or 0.0))

    @property
    def flaw(self) -> str | None:
        """Return the code of its finding; None if there is nothing to find."""
        return FLAWS.get(self.verdict) if self.verdict else None

    @property
    def sessions(self) -> tuple[int, ...]:
        """Return those that bear the verdict."""
        if self.evidence is None:
            return ()
        if self.verdict is Verdict.IDLE_IN_TRANSACTION:
            return tuple(session.id for session in self.present if session.open_transaction)
        return self.evidence.forsaken or tuple(session.id for session in self.present)

    def __str__(self) -> str:
        name = self.key.application or self.key.user or "(no name)"
        return f"{name} ({plural(len(self.present), 'session')})"


@dataclass(frozen=True, slots=True)
class Lens:
    """When was looked, and what is long: in the last look, and within the series."""

    looks: Sequence[float]
    look: Scale
    series: Scale

    @classmethod
    def of(cls, snapshots: Sequence[Snapshot], idle_age: float | None) -> "Lens":
        """Return the lens for a series."""
        looks = [instant(snapshot.taken_at) for snapshot in snapshots]
        within = span_of_idleness(looks[-1] - looks[0], IDLE_AGE)
        scales = (IDLE_AGE, within) if idle_age is None else (idle_age, idle_age)
        return cls(looks, *map(Scale.of, scales))

    def evidence(self, members: Sequence[Life], bound: int | None) -> Evidence:
        """Return what speaks for or against a group."""
        series = watched(members, self.looks, self.series) if len(self.looks) > 1 else None
        return Evidence(standing(members, self.looks[-1], self.look), series, bound)


@dataclass(frozen=True, slots=True)
class Scene:
    """What was looked at and what came of it."""

    snapshots: Sequence[Snapshot]  # since the last restart
    options: Options
    lens: Lens
    groups: tuple[Group, ...]  # the worst first, those apart last
    outlook: Outlook

    @property
    def last(self) -> Snapshot:
        """Return the last look."""
        return self.snapshots[-1]

    @property
    def flawed(self) -> list[Group]:
        """Return the groups with which something is wrong."""
        return [group for group in self.groups if group.flaw]

    @property
    def judged(self) -> list[Group]:
        """Return the groups that do not stand apart."""
        return [group for group in self.groups if group.verdict]


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge one snapshot."""
    return run_series((snapshot,), options)


def run_series(snapshots: Sequence[Snapshot], options: Options) -> Report:
    """Judge a series of snapshots of one target, in the order of time; of one it is the same as `run`."""
    held = limits(options, METRICS, WARNING, CRITICAL)
    seen = since_restart(snapshots)
    lens = Lens.of(seen, options.idle_age)
    groups = _groups(seen, options, lens)
    flawed = sum(bool(group.flaw) for group in groups)
    suspects = judge(SUSPECTS, flawed, held)
    scene = Scene(seen, options, lens, groups, outlook(options.past, options, held, suspected=flawed > 0))
    ahead = scene.outlook
    decided = next((j for j in (ahead.exhaustion, ahead.slope, suspects) if j.limit), None)
    return Report(
        check="leaks",
        source=source(scene.last),
        status=worst([suspects.status, ahead.status]),
        headline=_headline(scene),
        value=_short(scene),
        limit=decided.limit if decided else "",
        details=tuple(_details(scene, left_out=len(snapshots) - len(seen))),
        summary=_summary(scene),
        brief=_brief(scene),
        table=_table(scene),
        metrics=tuple(_metrics(suspects, ahead)),
        findings=tuple(_findings(scene, suspects)),
        notes=scene.last.notes,
    )


def _groups(snapshots: Sequence[Snapshot], options: Options, lens: Lens) -> tuple[Group, ...]:
    members: dict[tuple[Apart | None, Key], list[Life]] = {}
    for life in lives(snapshots):
        s = life.session
        if options.looks_at(s):
            kind = apart(s)
            key = Key(s.program, s.user, s.database, s.client)
            members.setdefault((None if kind in options.include else kind, key), []).append(life)
    groups = [_group(kind, key, tuple(some), options, lens) for (kind, key), some in members.items()]
    return tuple(sorted((group for group in groups if group.present or group.flaw), key=_rank))


def _group(kind: Apart | None, key: Key, members: tuple[Life, ...], options: Options, lens: Lens) -> Group:
    if kind:
        return Group(key, members, None, None, kind.value)
    evidence = lens.evidence(members, options.enough_for(key.application))
    found = verdict(evidence)
    return Group(key, members, evidence, found, why(found, evidence, lens.look))


def _rank(group: Group) -> tuple[int, int, tuple[str, ...]]:
    place = list(Verdict).index(group.verdict) if group.verdict else len(Verdict)
    return place, -len(group.present), tuple(name or "" for name in group.key)


def _headline(scene: Scene) -> str:
    series = f" in {plural(len(scene.snapshots), 'look')} over {_watched(scene)}" if len(scene.snapshots) > 1 else ""
    flawed = scene.flawed
    if not flawed:
        return f"no group of connections looks like a leak{series}"
    kinds = Counter(_kind(group.verdict) for group in flawed if group.verdict)
    words = [f"{plural(kinds[kind], 'group')} {doing}" for kind, doing in KINDS.items() if kinds[kind]]
    named = ", ".join(map(str, flawed[:MOST_NAMED])) + (", ..." if len(flawed) > MOST_NAMED else "")
    return f"{', '.join(words)}{series}: {named}"


KINDS = {"leak": "leaking", "suspect": "suspected", "transaction": "idle in transaction"}


def _kind(found: Verdict) -> str:
    return "leak" if found.is_leak else "suspect" if found.is_suspect else "transaction"


def _watched(scene: Scene) -> str:
    return format_duration(scene.lens.looks[-1] - scene.lens.looks[0])


def _short(scene: Scene) -> str:
    flawed = scene.flawed
    text = f"{plural(len(flawed), 'group')}, {sum(len(g.present) for g in flawed)} sessions" if flawed else "none"
    cast = scene.outlook.growth.forecast if scene.outlook.growth else None
    return text + (f", exhaustion in {format_duration(cast.seconds)}" if cast and not cast.capped else "")


def _details(scene: Scene, *, left_out: int) -> Iterable[str]:
    """Yield why each flawed group is one, what could not be told, and the growth."""
    for group in scene.flawed:
        where = ", ".join(filter(None, (group.key.user, group.key.database, group.key.client)))
        yield f"{group.key.application or '(no name)'} ({where}): {group.verdict}: {group.why}"
    if any(g.evidence and g.evidence.standing.chain is None and g.evidence.standing.idle for g in scene.judged):
        first = (
            "counted from the look at which it was first seen"
            if len(scene.snapshots) > 1
            else "one look can only suspect"
        )
        yield f"this server does not tell when a connection was opened: {first}"
    if Fact.QUERIES not in scene.last.facts:
        yield "statements were not read: what never ran one, and who listens, cannot be told"
    beside = Counter(g.why for g in scene.groups if not g.verdict for _ in g.present)
    if beside:
        yield "apart, idle by design: " + ", ".join(plural(count, kind) for kind, count in sorted(beside.items()))
    if left_out:
        yield f"the server was restarted within the series: {plural(left_out, 'look')} before that left out"
    judged = (session for group in scene.judged for session in group.present)
    yield from map(attributed.too_many, attributed.orphaning(judged))
    yield from growing.sentences(scene.outlook, scene.last.capacity.usable)


def _summary(scene: Scene) -> dict[str, Any]:
    verdicts = Counter(group.verdict for group in scene.judged)
    beside = Counter(g.why for g in scene.groups if not g.verdict for _ in g.present)
    series = len(scene.snapshots) > 1
    return {
        "suspects": len(scene.flawed),
        "leaks": verdicts[Verdict.GROWING] + verdicts[Verdict.LINGERING],
        "groups": len(scene.judged),
        "evidence": tuple(_evidence(scene)),
        "looks": len(scene.snapshots),
        "watched_seconds": round(scene.lens.looks[-1] - scene.lens.looks[0], 3),
        "idle_age_seconds": scene.lens.look.idle,
        "series_idle_age_seconds": scene.lens.series.idle if series else None,
        **{f"{kind}s": beside[kind] for kind in BESIDE},
        **growing.summary(scene.outlook),
    }


def _evidence(scene: Scene) -> Iterable[str]:
    """Yield what speaks for a leak somewhere on this target."""
    found = [group.evidence for group in scene.flawed if group.evidence]
    if any(each.standing.stale for each in found):
        yield "stale_idle"
    if any(each.standing.forsaken or (each.watched and each.watched.forsaken) for each in found):
        yield "never_reused"
    growth = scene.outlook.growth
    if growth and growth.proven:
        yield "growing_floor"


BESIDE = tuple(kind.value for kind in Apart if kind is not Apart.REPLICATION)  # what stands apart and is a connection
SUMMARY = (
    Column("suspects", "SUSPECTS", Unit.COUNT),
    Column("leaks", "LEAKS", Unit.COUNT),
    Column("groups", "GROUPS", Unit.COUNT),
    Column("evidence", "EVIDENCE"),
    Column("looks", "LOOKS", Unit.COUNT),
    Column("watched_seconds", "WATCHED", Unit.SECONDS),
    Column("idle_age_seconds", "STALE FROM", Unit.SECONDS),
    Column("series_idle_age_seconds", "STALE IN THE SERIES FROM", Unit.SECONDS),
    *(Column(f"{kind}s", f"{kind.upper()}S", Unit.COUNT) for kind in BESIDE),
    *growing.SUMMARY,
)
BRIEF = (
    Column("suspects", "SUSPECTS", Unit.COUNT, Show.ALWAYS),
    Column("sessions", "SESSIONS", Unit.COUNT),
    Column("worst", "WORST", show=Show.TABLE),
    Column("oldest_idle_seconds", "OLDEST IDLE", Unit.SECONDS, Show.ROOMY),
    Column("growth_per_hour", "GROWTH/H", Unit.NUMBER, Show.ROOMY),
)
COLUMNS = (
    Column("app", "APP", show=Show.ALWAYS),
    Column("user", "USER"),
    Column("client", "CLIENT", show=Show.ROOMY),
    Column("database", "DB", show=Show.ROOMY),
    Column("sessions", "SESSIONS", Unit.COUNT, Show.ALWAYS),
    Column("stale", "STALE", Unit.COUNT),
    Column("oldest_idle_seconds", "OLDEST IDLE", Unit.SECONDS),
    Column("used_once", "USED ONCE", Unit.COUNT, Show.ROOMY),
    Column("never_used", "NEVER USED", Unit.COUNT, Show.ROOMY),
    Column("seen_again", "SEEN AGAIN", Unit.COUNT),
    Column("chain", "CHAIN", Unit.COUNT, Show.ROOMY),
    Column("bound", "BOUND", Unit.COUNT),
    Column("growth_per_hour", "GROWTH/H", Unit.NUMBER),
    Column("verdict", "VERDICT", show=Show.ALWAYS),
    Column("sql", "LAST QUERY", Unit.SQL, Show.ROOMY),
    Column("reason", "WHY", show=Show.WIDE),
    Column("process", "PROCESS", show=Show.WIDE),
    Column("idle_in_transaction", "IDLE-TX", Unit.COUNT, Show.WIDE),
    Column("opened", "OPENED", Unit.COUNT, Show.WIDE),
    Column("closed", "CLOSED", Unit.COUNT, Show.WIDE),
    Column("forsaken", "FORSAKEN", Unit.COUNT, Show.WIDE),
    Column("passed_over", "PASSED OVER", Unit.COUNT, Show.DATA),
    Column("pids", "PIDS", Unit.IDS, Show.DATA),
    Column("sql_mode", "SQL MODE", show=Show.DATA),
)


def _columns(scene: Scene) -> Iterable[Column]:
    """Yield the columns as this run shows them: how long is stale, and nothing that only others have."""
    told = {
        "bound": any(group.evidence and group.evidence.bound is not None for group in scene.groups),
        "seen_again": len(scene.snapshots) > 1,
        "growth_per_hour": any(scene.outlook.slope_of(group.key) is not None for group in scene.groups),
    }
    for column in COLUMNS:
        if column.key == "stale":
            yield replace(column, label=f"IDLE>{round_duration(scene.lens.look.idle)}")
        elif not told.get(column.key, True):
            yield replace(column, show=Show.DATA)
        else:
            yield column


def _table(scene: Scene) -> Table:
    columns = tuple(_columns(scene))
    rows = [_row(group, scene) for group in scene.groups]
    cells = tuple(tuple(row.get(column.key) for column in columns) for row in rows)
    return Table("groups", columns, cells, len(cells), order="worst first")


def _row(group: Group, scene: Scene) -> Mapping[str, Value]:
    """Return one group; what does not apply to those apart is left out."""
    row = {
        "app": group.key.application,
        "user": group.key.user,
        "client": group.key.client,
        "database": group.key.database,
        "sessions": len(group.present),
        "oldest_idle_seconds": _oldest(group),
        "growth_per_hour": scene.outlook.slope_of(group.key),
        "verdict": group.verdict.value if group.verdict else f"apart: {group.why}",
        "sql": _last_statement(group, scene),
        "reason": group.why if group.verdict else None,
        "process": _processes(group),
        "pids": group.sessions,
        "sql_mode": scene.options.sql.value,
    }
    return row | (_counts(group.evidence) if group.evidence else {})


def _counts(evidence: Evidence) -> dict[str, Value]:
    now, series = evidence.standing, evidence.watched
    return {
        "stale": now.stale,
        "used_once": now.once,
        "never_used": now.never_used,
        "chain": evidence.chain,
        "bound": evidence.bound,
        "idle_in_transaction": now.in_transaction,
        "passed_over": series.passed if series else now.passed,
        "seen_again": series.seen_again if series else None,
        "opened": series.opened if series else None,
        "closed": series.closed if series else None,
        "forsaken": series.forsaken if series else None,
    }


def _oldest(group: Group) -> float | None:
    ages = [s.state_age for s in group.present if s.state is State.IDLE and s.state_age is not None]
    return max(ages, default=None)


def _processes(group: Group) -> str | None:
    """Return the client's process, or how many there are; None where they were not looked for and no driver tells."""
    seen = {name for session in group.present if (name := attributed.process(session))}
    known = sorted(seen or {life.process for life in group.lives if life.process})
    return known[0] if len(known) == 1 else f"{len(known)} processes" if known else None


def _last_statement(group: Group, scene: Scene) -> str | None:
    """Return what most of the idle sessions ran last, of those that bear the verdict if there are any."""
    bearers = [s for s in group.present if s.id in set(group.sessions)] or group.present
    engine, mode = scene.last.server.engine, scene.options.sql
    shapes = Counter(
        text for s in bearers if s.state is State.IDLE or s.open_transaction if (text := shown_sql(s, mode, engine))
    )
    return shapes.most_common(1)[0][0] if shapes else None


def _brief(scene: Scene) -> Table:
    """Return this target as one row of a fleet."""
    flawed, growth = scene.flawed, scene.outlook.growth
    ages = [age for age in map(_oldest, flawed) if age is not None]
    row = (
        len(flawed),
        sum(len(group.present) for group in flawed),
        f"{flawed[0].key.application or flawed[0].key.user}: {flawed[0].verdict}" if flawed else None,
        max(ages, default=None),
        round(growth.slope, 3) if growth and growth.proven else None,
    )
    return Table("brief", BRIEF, (row,), 1)


def _findings(scene: Scene, suspects: Judgement) -> Iterable[Finding]:
    """Yield a finding for each flawed group, as grave as their number is judged, and what the history gives."""
    if suspects.decisive:
        for group in scene.flawed:
            code = group.flaw or ""
            yield suspects.finding(code, f"{group}: {group.verdict}: {group.why}", HINTS.get(code), group.sessions)
    yield from growing.findings(scene.outlook)


def _metrics(suspects: Judgement, ahead: Outlook) -> Iterable[Metric]:
    yield Metric("suspects", suspects.value or 0, Unit.COUNT, suspects.warning, suspects.critical, 0, needs=NEEDS)
    for judged, unit in ((ahead.slope, Unit.NONE), (ahead.exhaustion, Unit.SECONDS)):
        if judged.value is not None and judged.value != float("inf"):
            yield Metric(judged.metric.name, judged.value, unit, judged.warning, judged.critical)

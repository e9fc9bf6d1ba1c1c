"""What a command leaves behind: sessions that outlive it, and connections that it opened and never used again.

Looks before, during and after the command are compared. A session that is there after its end and was not before is
left behind, idle in a transaction or not. Connections that were opened one after another, each while those before lay
idle, and were not closed until the end are forsaken: the end of the process hides them, in production nothing does.
A pool opens none while one of its own lies idle.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import leaks
from connaudit.diagnostics.apart import Apart, apart, never_used
from connaudit.diagnostics.judging import composed, judge, limits
from connaudit.diagnostics.leaking import LEAST, chain
from connaudit.diagnostics.leaks import Key
from connaudit.diagnostics.lives import CLOCK, Life, lives
from connaudit.diagnostics.sessions import shown_sql
from connaudit.diagnostics.source import source
from connaudit.report import Column, Finding, Metric, Report, Show, Table, Unit, Value
from connaudit.snapshot import Fact, Session, Snapshot, State
from connaudit.thresholds import Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, instant, plural

NEEDS = frozenset({Fact.SESSIONS, Fact.STATES})
WANTS = frozenset({Fact.QUERIES, Fact.TRANSACTIONS})
LEFT = Judged("left", Measure.COUNT, "sessions that are there after the end, and were not before")
FORSAKEN = Judged("forsaken", Measure.COUNT, "connections opened one after another while those before lay idle")
METRICS = (LEFT, FORSAKEN)
CODES = ("CA507", "CA508")
WARNING = ("left=0", "forsaken=2")
CRITICAL: tuple[str, ...] = ()
ENDING = 3  # looks before the end: in the last one some may be closed already, by the end itself
COLLECTING = 2.5  # seconds before the end, in which many may be closed as garbage: pytest does that when it is done
OTHERS = (Apart.TOOL, Apart.POOLER, Apart.REPLICATION)  # not the command's, unless asked for

HINT_LEFT = "find the process that holds them: it outlived the command, or a pooler or a server keeps them"
HINT_FORSAKEN = "close connections where they are opened (a fixture's teardown, `with`), or take them from a pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What can be asked: what `leaks` can, as far as it has a meaning here."""

    bound: tuple[tuple[str, int], ...] = opt.option(
        "--bound",
        default=(),
        read=leaks.parse_bound,
        metavar="APP=N",
        multiple=True,
        help="connections that a group of this application needs at most",
    )
    include: tuple[Apart, ...] = opt.option(
        "--include", default=(), read=leaks.parse_apart, metavar="LIST", help="judge these, too: tool, pooler"
    )

    def is_judged(self, session: Session) -> bool:
        """Return whether a session may be the command's."""
        kind = apart(session)
        return self.looks_at(session) and (kind not in OTHERS or kind in self.include)


@dataclass(frozen=True, slots=True)
class Scene:
    """What came of the looks."""

    snapshots: Sequence[Snapshot]
    left: tuple[Session, ...]
    forsaken: tuple[Session, ...]
    chain: int  # the longest row of forsaken ones, of one group
    opened: int

    @property
    def open_transactions(self) -> int:
        """Return how many of those that are left are idle in a transaction."""
        return sum(session.open_transaction for session in self.left)


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge a single look, before and after which there was nothing."""
    return run_series((snapshot, snapshot), options)


def run_series(snapshots: Sequence[Snapshot], options: Options) -> Report:
    """Judge looks in the order of time: the first is from before the command, the last from after its end."""
    held = limits(options, METRICS, WARNING, CRITICAL)
    scene = _scene(snapshots, options)
    left, forsaken = judge(LEFT, len(scene.left), held), judge(FORSAKEN, scene.chain, held)
    decided = next((judgement for judgement in (left, forsaken) if judgement.limit), None)
    findings = []
    if left.decisive:
        findings.append(left.finding("CA507", _left(scene), HINT_LEFT, tuple(s.id for s in scene.left)))
    if forsaken.decisive:
        sessions = tuple(session.id for session in scene.forsaken)
        findings.append(forsaken.finding("CA508", _forsaken(scene), HINT_FORSAKEN, sessions))
    return Report(
        check="around",
        source=source(snapshots[-1]),
        status=composed([left, forsaken]),
        headline=_headline(scene, findings),
        value=f"{plural(len(scene.left), 'session')} left, {scene.chain} forsaken",
        limit=decided.limit if decided else "",
        summary=_summary(scene),
        table=_table(scene, options, forsaken=bool(forsaken.decisive)),
        metrics=tuple(
            Metric(j.metric.name, j.value or 0, Unit.COUNT, j.warning, j.critical, 0) for j in (left, forsaken)
        ),
        findings=tuple(findings),
        notes=snapshots[-1].notes,
    )


def _scene(snapshots: Sequence[Snapshot], options: Options) -> Scene:
    before, *during, after = snapshots
    known = _ids(before)
    new = (s for s in after.clients if (s.id, s.started_at) not in known and options.is_judged(s))
    left = tuple(sorted(new, key=lambda session: session.id))
    longest = max(_open_at_the_end(before, during, options), key=lambda row: row.length, default=Row(0, ()))
    opened = sum(life.appeared and options.is_judged(life.session) for life in lives(snapshots[:-1]))
    gone = {session.id for session in left}
    return Scene(snapshots, left, tuple(s for s in longest.sessions if s.id not in gone), longest.length, opened)


def _open_at_the_end(before: Snapshot, during: Sequence[Snapshot], options: Options) -> Iterator["Row"]:
    """Yield the rows of connections that the end closed; a test may well close a few that it is done with."""
    for skipped in range(min(ENDING, len(during))):
        yield from _rows((before, *during[: len(during) - skipped]), options)
    for looks in _endings(before, during):
        yield from (row for row in _rows((before, *looks), options) if row.length >= LEAST)


def _endings(before: Snapshot, during: Sequence[Snapshot]) -> Iterator[Sequence[Snapshot]]:
    """Yield the looks until each that is the last before something was closed: late ones, in the second half."""
    if during:
        began, last = instant(before.taken_at), instant(during[-1].taken_at)
        since = max(last - COLLECTING, (began + last) / 2)
        for number, (look, following) in enumerate(pairwise(during), 1):
            if instant(look.taken_at) >= since and _ids(look) - _ids(following):
                yield during[:number]


def _ids(look: Snapshot) -> set[tuple[int, str | None]]:
    return {(session.id, session.started_at) for session in look.clients}


@dataclass(frozen=True, slots=True)
class Row:
    """Connections of one group, opened one after another."""

    length: int
    sessions: tuple[Session, ...]


def _rows(snapshots: Sequence[Snapshot], options: Options) -> Iterator[Row]:
    """Yield a row for each group of connections that lie idle in the last of these looks."""
    groups: dict[Key, list[Life]] = {}
    for life in lives(snapshots):
        session = life.session
        idle = life.appeared and life.gone is None and session.state is State.IDLE
        if idle and options.is_judged(session) and not never_used(session):
            key = Key(session.program, session.user, session.database, session.client)
            groups.setdefault(key, []).append(life)
    for key, members in groups.items():
        bound = leaks.enough_for(options.bound, key.application)
        if bound is None or len(members) > bound:
            yield Row(chain(members, CLOCK), tuple(life.session for life in members))


def _headline(scene: Scene, findings: Sequence[Finding]) -> str:
    if findings:
        return "; ".join(finding.message for finding in findings)
    looks = f"{plural(len(scene.snapshots), 'look')} over {format_duration(_seconds(scene))}"
    return f"nothing was left behind; {plural(scene.opened, 'new connection')} seen in {looks}"


def _seconds(scene: Scene) -> float:
    return instant(scene.snapshots[-1].taken_at) - instant(scene.snapshots[0].taken_at)


def _left(scene: Scene) -> str:
    count = scene.open_transactions
    inside = f", {count} of them idle in transaction" if count else ""
    verb = "is" if len(scene.left) == 1 else "are"
    return f"{plural(len(scene.left), 'session')} {verb} left behind after the end{inside}"


def _forsaken(scene: Scene) -> str:
    return f"{scene.chain} connections were opened one after another while those before lay idle, and not closed"


SUMMARY = (
    Column("left", "LEFT", Unit.COUNT),
    Column("left_in_transaction", "LEFT IN TRANSACTION", Unit.COUNT),
    Column("forsaken", "FORSAKEN", Unit.COUNT),
    Column("opened", "OPENED", Unit.COUNT),
    Column("looks", "LOOKS", Unit.COUNT),
    Column("watched_seconds", "WATCHED", Unit.SECONDS),
)


def _summary(scene: Scene) -> dict[str, Any]:
    return {
        "left": len(scene.left),
        "left_in_transaction": scene.open_transactions,
        "forsaken": scene.chain,
        "opened": scene.opened,
        "looks": len(scene.snapshots),
        "watched_seconds": round(_seconds(scene), 3),
    }


COLUMNS = (
    Column("pid", "PID", Unit.ID, Show.ALWAYS),
    Column("when", "THERE", show=Show.ALWAYS),
    Column("state", "STATE"),
    Column("state_seconds", "FOR", Unit.SECONDS),
    Column("app", "APP"),
    Column("user", "USER"),
    Column("database", "DB", show=Show.ROOMY),
    Column("client", "CLIENT", show=Show.ROOMY),
    Column("sql", "LAST QUERY", Unit.SQL, Show.ROOMY),
    Column("sql_mode", "SQL MODE", show=Show.DATA),
)


def _table(scene: Scene, options: Options, *, forsaken: bool) -> Table:
    rows = [
        *_of_table("after the end", scene.left, scene, options),
        *_of_table("until the end", scene.forsaken if forsaken else (), scene, options),
    ]
    return Table("sessions", COLUMNS, tuple(rows), len(rows), order="those left behind first")


def _of_table(when: str, some: Iterable[Session], scene: Scene, options: Options) -> Iterator[tuple[Value, ...]]:
    engine = scene.snapshots[-1].server.engine
    for s in some:
        yield (
            s.id,
            when,
            s.state.value if s.state else None,
            s.state_age,
            s.program,
            s.user,
            s.database,
            s.client,
            shown_sql(s, options.sql, engine),
            options.sql.value,
        )

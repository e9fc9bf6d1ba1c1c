"""Who blocks whom: every session that waits for a lock, below the one at the root of its wait.

A root waits for nobody; the longest queue comes first. Everybody stands once, nearest to a root, even though a queue
makes each one wait for all those ahead. Prepared transactions, which have no session, stand with their identifier, and
sessions that ended meanwhile as `gone`. Where the server does not tell who is in the way, those who may be are listed
with a question mark. A filter chooses trees in which any session passes it, and shows them whole.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import attributed
from connaudit.diagnostics.forest import Branch, Head, Tree, forest
from connaudit.diagnostics.judging import Judgement, Limits, composed, judge, limits
from connaudit.diagnostics.remedies import QUEUES, ending_prepared, lasting, opening, releasing
from connaudit.diagnostics.sessions import shown_sql
from connaudit.diagnostics.source import source
from connaudit.diagnostics.waits import PREPARED, in_the_way
from connaudit.report import Column, Finding, Metric, Report, Show, Table, Unit, Value
from connaudit.snapshot import Fact, Kind, Session, Snapshot, Wait
from connaudit.thresholds import Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, plural

NEEDS = frozenset({Fact.SESSIONS, Fact.LOCKS})
WANTS = frozenset({Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES, Fact.GUARDS})
WAIT = Judged("wait", Measure.SECONDS, "longest wait for a lock")
COUNT = Judged("count", Measure.COUNT, "sessions that wait for a lock")
DEPTH = Judged("depth", Measure.COUNT, "how many wait one behind the other")
METRICS = (WAIT, COUNT, DEPTH)
CODES = ("CA401", "CA402", "CA403")
WARNING = ("10s",)
CRITICAL = ("1m",)
MOST_HINTS = 3  # how many culprits are spoken of at length; the others are in the table
MOST_NAMED = 5  # ids in one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What `blocking` can be asked: nothing of its own."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The trees of a snapshot that are looked at, with all that is told of who stands in them."""

    snapshot: Snapshot
    trees: tuple[Tree, ...]
    sessions: Mapping[int, Session]
    waiting: Mapping[int, Wait]
    waiters: frozenset[int] = frozenset()

    @property
    def roots(self) -> tuple[Tree, ...]:
        """Return the trees of those who wait for nobody."""
        return tuple(tree for tree in self.trees if tree.head is Head.ROOT)

    @property
    def untold(self) -> frozenset[int]:
        """Return of whom it is not told who is in their way."""
        return frozenset(waiter for waiter in self.waiters if self.waiting[waiter].blocked_by is None)

    @property
    def depth(self) -> int:
        """Return how many wait one behind the other at most."""
        return max((_depth(tree) for tree in self.trees), default=0)

    def waited(self, waiter: int) -> float | None:
        """Return how long one waits: at most for as long as its statement runs, where the wait itself is not told."""
        told = self.waiting[waiter].age
        return self.sessions[waiter].query_age if told is None else told

    def longest(self, waiters: Iterable[int]) -> float | None:
        """Return the longest of their waits; None if none is told."""
        return max((age for age in map(self.waited, waiters) if age is not None), default=None)


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge one snapshot."""
    held = limits(options, METRICS, WARNING, CRITICAL)
    scene = _scene(snapshot, options)
    longest = scene.longest(scene.waiters) if scene.waiters else 0.0
    judgements = [judge(WAIT, longest, held), judge(COUNT, len(scene.waiters), held), judge(DEPTH, scene.depth, held)]
    decided = next((j for j in judgements if j.status is composed(judgements) and j.limit), None)
    return Report(
        check="blocking",
        source=source(snapshot),
        status=composed(judgements),
        headline=_headline(scene, decided),
        value=_short(scene),
        limit=decided.limit if decided else "",
        details=tuple(_details(scene)),
        summary=_summary(scene),
        table=_table(scene, options),
        metrics=tuple(_metrics(judgements)),
        findings=tuple(_findings(judgements, held, scene)),
        notes=snapshot.notes,
    )


def _scene(snapshot: Snapshot, options: Options) -> Scene:
    sessions = {s.id: s for s in snapshot.sessions}
    waiting = {s.id: s.wait for s in snapshot.sessions if s.wait}
    whole = Scene(snapshot, (), sessions, waiting)
    trees = forest(waiting, lambda waiter: whole.waited(waiter) or 0.0)
    chosen = tuple(tree for tree in trees if _is_chosen(tree, sessions, options))
    waiters = frozenset[int]().union(*{tree.waiters for tree in chosen})
    return Scene(snapshot, chosen, sessions, waiting, waiters)


def _is_chosen(tree: Tree, sessions: Mapping[int, Session], options: Options) -> bool:
    there = [sessions[one] for one in (*tree.tops, *tree.behind) if one in sessions]
    return any(map(options.looks_at, there)) if there else not options.only


def _depth(tree: Tree) -> int:
    own = 1 if tree.head is Head.ALONE else 0
    return own + max((branch.depth for branch in tree.branches), default=0)


def _headline(scene: Scene, decided: Judgement | None) -> str:
    count = len(scene.waiters)
    if not count:
        return "nobody waits for a lock"
    verb = "waits" if count == 1 else "wait"
    behind = f" behind {_culprits(scene)}" if scene.roots else " for a lock"
    longest = scene.longest(scene.waiters)
    text = f"{plural(count, 'session')} {verb}{behind}"
    text += f", longest wait {format_duration(longest)}" if longest is not None else ", for how long is not told"
    if decided:
        text += f" (limit {decided.metric.name + ' ' if decided.metric != WAIT else ''}{decided.limit})"
    if scene.untold:
        text += f"; who is in the way of {len(scene.untold)} of them is not told"
    return text


def _culprits(scene: Scene) -> str:
    """Return `1 root blocker: 48211, idle in transaction`, or how many there are."""
    if len(scene.roots) > 1:
        return plural(len(scene.roots), "root blocker")
    (tree,) = scene.roots
    return f"1 root blocker, {_who(tree.tops[0], scene)}"


def _short(scene: Scene) -> str:
    if not scene.waiters:
        return "nobody waits"
    longest = scene.longest(scene.waiters)
    return f"{len(scene.waiters)} waiting" + (f", longest {format_duration(longest)}" if longest is not None else "")


def _details(scene: Scene) -> Iterable[str]:
    several = sum(roots > 1 for roots in _root_counts(scene).values())
    if several:
        yield f"{several} of them wait for more than one root: they go on when all of those have let go"
    circles = [tree for tree in scene.trees if tree.head is Head.CYCLE]
    if circles:
        yield f"{plural(len(circles), 'circle')} of sessions that wait for each other: the server will end one of them"
    if any(scene.waiting[waiter].age is None and scene.waited(waiter) is not None for waiter in scene.waiters):
        yield "some waits are counted from the beginning of the statement: this server does not tell when they began"


def _root_counts(scene: Scene) -> dict[int, int]:
    """Return behind how many roots each waits."""
    alike = Counter(tree.behind for tree in scene.roots)
    counts: dict[int, int] = {}
    for behind, roots in alike.items():
        for waiter in behind:
            counts[waiter] = counts.get(waiter, 0) + roots
    return counts


def _summary(scene: Scene) -> dict[str, Any]:
    return {
        "waiting": len(scene.waiters),
        "roots": len(scene.roots),
        "longest_wait_seconds": scene.longest(scene.waiters),
        "depth": scene.depth,
        "circles": sum(tree.head is Head.CYCLE for tree in scene.trees),
        "blockers_untold": len(scene.untold),
    }


SUMMARY = (
    Column("waiting", "WAITING", Unit.COUNT),
    Column("roots", "ROOTS", Unit.COUNT),
    Column("longest_wait_seconds", "LONGEST WAIT", Unit.SECONDS),
    Column("depth", "DEPTH", Unit.COUNT),
    Column("circles", "CIRCLES", Unit.COUNT),
    Column("blockers_untold", "BLOCKERS UNTOLD", Unit.COUNT),
)
COLUMNS = (
    Column("tree", "PID", show=Show.ALWAYS),
    Column("wait_seconds", "WAITS", Unit.SECONDS, Show.ALWAYS),
    Column("blocks", "BLOCKS", Unit.COUNT),
    Column("state", "STATE"),
    Column("state_seconds", "SINCE", Unit.SECONDS, Show.ROOMY),
    Column("lock", "LOCK"),
    Column("relation", "ON", show=Show.ROOMY),
    Column("user", "USER"),
    Column("app", "APP", show=Show.ROOMY),
    *attributed.COLUMNS,
    Column("sql", "QUERY", Unit.SQL),
    Column("database", "DB", show=Show.WIDE),
    Column("client", "CLIENT", show=Show.WIDE),
    Column("mode", "MODE", show=Show.WIDE),
    Column("blocked_by", "BLOCKED BY", Unit.IDS, Show.WIDE),
    Column("transaction_seconds", "TX AGE", Unit.SECONDS, Show.WIDE),
    Column("pid", "ID", Unit.ID, Show.DATA),
    Column("role", "ROLE", show=Show.DATA),
    Column("root", "ROOT", Unit.ID, Show.DATA),
    Column("roots", "ROOTS", Unit.COUNT, Show.DATA),
    Column("depth", "DEPTH", Unit.COUNT, Show.DATA),
    Column("wait_is_bound", "BOUND", Unit.FLAG, Show.DATA),
    Column("candidates", "CANDIDATES", Unit.IDS, Show.DATA),
    Column("gid", "GID", show=Show.DATA),
    Column("backend", "BACKEND", show=Show.DATA),
    Column("backend_start", "STARTED", Unit.TIMESTAMP, Show.DATA),
    Column("client_port", "PORT", Unit.ID, Show.DATA),
    Column("sql_mode", "SQL MODE", show=Show.DATA),
    Column("sql_truncated", "CUT", Unit.FLAG, Show.DATA),
)


def _table(scene: Scene, options: Options) -> Table:
    roots = _root_counts(scene)
    rows: list[tuple[Value, ...]] = []
    listed: set[int] = set()
    for tree in scene.trees:
        for values in (*_top_values(tree, scene, listed), *(_branch_values(b, tree, scene) for b in tree.branches)):
            values["roots"] = roots.get(values["pid"])
            rows.append(_row(values, scene, options))
    return attributed.shown(Table("waits", COLUMNS, tuple(rows), len(rows), order="longest queue first"))


def _top_values(tree: Tree, scene: Scene, listed: set[int]) -> Iterable[dict[str, Any]]:
    """Return where the tops of a tree stand; one that may be in the way of several queues is listed once."""
    for top in tree.tops:
        if tree.head is Head.CANDIDATES and (top in listed or top in scene.waiters):
            continue
        listed.add(top)
        mark = " ?" if tree.head is Head.CANDIDATES else ""
        yield {
            "tree": ("prepared" if top == PREPARED else str(top)) + mark,
            "pid": top,
            "role": tree.head.value,
            "root": tree.root,
            "depth": 0,
            "blocks": None if tree.head is Head.CANDIDATES else len(tree.behind),
        }


def _branch_values(branch: Branch, tree: Tree, scene: Scene) -> dict[str, Any]:
    return {
        "tree": f"`{'--' * (branch.depth - 1)}- {branch.id}",
        "pid": branch.id,
        "role": "waiter",
        "root": tree.root,
        "depth": branch.depth,
        "blocks": branch.below,
    }


def _row(values: dict[str, Any], scene: Scene, options: Options) -> tuple[Value, ...]:
    pid = values["pid"]
    there = pid in scene.sessions
    s = scene.sessions.get(pid) or Session(pid)
    wait = s.wait or Wait()
    values |= {
        "wait_seconds": scene.waited(pid) if s.wait else None,
        "wait_is_bound": s.wait is not None and s.wait.age is None,
        "state": (s.state.value if s.state else None) if there else "gone",
        "state_seconds": s.state_age,
        "lock": wait.lock,
        "relation": wait.relation,
        "mode": wait.mode,
        "blocked_by": wait.blocked_by,
        "candidates": wait.candidates or None,
        "user": s.user,
        "app": s.application,
        "database": s.database,
        "client": s.client,
        **attributed.values(s, options, scene.snapshot.server.engine),
        "client_port": s.client_port,
        "transaction_seconds": s.transaction.age if s.transaction else None,
        "backend": s.backend,
        "backend_start": s.started_at,
        "gid": None,
        "sql": f"{s.backend} process" if _is_nobody(s) else shown_sql(s, options.sql, scene.snapshot.server.engine),
        "sql_mode": options.sql.value,
        "sql_truncated": s.query_truncated,
    }
    if pid == PREPARED:
        values |= _prepared_values(scene.snapshot)
    return tuple(values[column.key] for column in COLUMNS)


def _is_nobody(session: Session) -> bool:
    """Return whether it is a process of the server's own that runs no statement, such as what replays the WAL."""
    return session.kind is Kind.INTERNAL and session.backend is not None and not session.query


def _prepared_values(snapshot: Snapshot) -> dict[str, Value]:
    """Return what is told of the prepared transaction that is in the way, or of several."""
    there = in_the_way(snapshot)
    only = there.only
    if only is None:
        gids = ", ".join(each.id for each in there.found)
        words = f"prepared transactions {gids}" if there.sure else f"one of {gids}"
        return {"state": "prepared" if gids else "gone", "sql": words if gids else None}
    return {
        "state": "prepared",
        "state_seconds": only.age,
        "gid": only.id,
        "user": only.user,
        "database": only.database,
        "sql": f"prepared transaction {only.id}",
    }


def _findings(judgements: Sequence[Judgement], held: Limits, scene: Scene) -> Iterable[Finding]:
    wait, count, depth = judgements
    for place, group in enumerate(_together(scene) if wait.decisive else ()):
        own = judge(WAIT, scene.longest(group[0].waiters), held)
        if own.decisive:
            hint = _hint(group, scene) if place < MOST_HINTS else None
            yield own.finding("CA401", _story(group, scene), hint, _ids(group, scene))
    if count.decisive:
        yield count.finding("CA402", f"{plural(len(scene.waiters), 'session')} wait for locks at once")
    if depth.decisive:
        yield depth.finding("CA403", f"{scene.depth} sessions wait one behind the other")


def _together(scene: Scene) -> list[list[Tree]]:
    """Return the trees in groups: roots that hold up the very same sessions are one cause, not many."""
    groups: dict[tuple[Head, frozenset[int]], list[Tree]] = {}
    for tree in scene.trees:
        groups.setdefault((tree.head, tree.waiters), []).append(tree)
    return list(groups.values())


def _ids(group: Sequence[Tree], scene: Scene) -> tuple[int, ...]:
    tops = (top for tree in group for top in tree.tops)
    everybody = dict.fromkeys((*tops, *sorted(group[0].waiters)))
    return tuple(one for one in everybody if one in scene.sessions)


def _story(group: Sequence[Tree], scene: Scene) -> str:
    """Return who holds up how many, for how long."""
    first = group[0]
    longest = scene.longest(first.waiters)
    held_up = plural(len(first.waiters), "session")
    since = f", the longest for {format_duration(longest)}" if longest is not None else ""
    if first.head is Head.CYCLE:
        return f"{held_up} wait in or behind a circle{since}"
    if first.head is Head.ALONE:
        return f"{first.tops[0]} waits for {_lock(first.tops[0], scene)}, and nobody in its way is told{since}"
    if first.head is Head.CANDIDATES:
        verb = "waits" if len(first.waiters) == 1 else "wait"
        return f"{held_up} {verb} for a lock that one of {_names(first.tops)} may hold{since}"
    if len(group) > 1:
        return f"{_names([tree.tops[0] for tree in group])} hold up {held_up} together{since}"
    culprit = _who(first.tops[0], scene)
    return f"{culprit} {'hold' if culprit.endswith('transactions') else 'holds'} up {held_up}{since}"


def _lock(waiter: int, scene: Scene) -> str:
    wait = scene.waiting[waiter]
    return f"a {wait.lock} lock" + (f" on {wait.relation}" if wait.relation else "") if wait.lock else "a lock"


def _names(ids: Sequence[int]) -> str:
    named = ", ".join("a prepared transaction" if one == PREPARED else str(one) for one in ids[:MOST_NAMED])
    return named if len(ids) <= MOST_NAMED else f"{named} and {len(ids) - MOST_NAMED} more"


def _who(id: int, scene: Scene) -> str:
    """Return `48211 (idle in transaction for 2h14m, shop_web)`."""
    if id == PREPARED:
        there = in_the_way(scene.snapshot)
        if there.only:
            return f"prepared transaction {there.only.id}"
        return f"{len(there.found)} prepared transactions" if there.found and there.sure else "a prepared transaction"
    session = scene.sessions.get(id)
    if session is None:
        return f"{id} (gone meanwhile)"
    state = session.state.value if session.state else session.backend or "state hidden"
    since = f" for {format_duration(session.state_age)}" if session.state_age is not None else ""
    return f"{id} ({', '.join(part for part in (state + since, session.user, session.application) if part)})"


def _hint(group: Sequence[Tree], scene: Scene) -> str | None:
    """Return what ends the wait at its root, what opens the queue behind it, and what keeps it from coming back."""
    first = group[0]
    if first.head is Head.CYCLE:
        return "a deadlock: the server ends one of them by itself, and that client must repeat its transaction"
    if first.head is Head.CANDIDATES:
        return _guess(first.tops, scene)
    if first.head is Head.ALONE:
        return None
    root = first.tops[0]
    session = scene.sessions.get(root)
    if root == PREPARED:
        ways: list[str | None] = [ending_prepared(in_the_way(scene.snapshot))]
    elif session is None:
        ways = [f"{root} has ended meanwhile: look again"]
    else:
        ways = [releasing(session, scene.snapshot.server), lasting(session, scene.snapshot)]
    return "; ".join(way for way in (ways[0], _gate(first, scene), *ways[1:]) if way)


def _guess(candidates: Sequence[int], scene: Scene) -> str | None:
    """Return the likeliest of the candidates, called a guess: the one whose transaction is the oldest."""
    there = [s for s in map(scene.sessions.get, candidates) if s]
    if len(there) == 1:
        return f"a guess, the only one: {there[0].id}; if so, {releasing(there[0], scene.snapshot.server)}"
    open_ = [s for s in there if s.transaction]
    if not open_:
        return None
    oldest = max(open_, key=lambda s: (s.transaction and s.transaction.age) or 0.0)
    way = releasing(oldest, scene.snapshot.server)
    return f"a guess, by its transaction, the oldest of them: {oldest.id}; if so, {way}"


def _gate(tree: Tree, scene: Scene) -> str | None:
    """Return how to open the queue behind a waiter such as DDL, without the root."""
    for branch in tree.branches:
        if branch.below and scene.waiting[branch.id].lock in QUEUES:
            return opening(scene.sessions[branch.id], branch.below, scene.snapshot)
    return None


def _metrics(judgements: Sequence[Judgement]) -> Iterable[Metric]:
    wait, count, depth = judgements
    if wait.value is not None:
        yield Metric("lock_wait_oldest", wait.value, Unit.SECONDS, wait.warning, wait.critical, 0, needs=NEEDS)
    yield Metric("blocked", count.value or 0, Unit.COUNT, count.warning, count.critical, 0, needs=NEEDS)
    yield Metric("blocking_depth", depth.value or 0, Unit.COUNT, depth.warning, depth.critical, 0, needs=NEEDS)

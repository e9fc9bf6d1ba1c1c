"""One story in place of several alarms: an idle transaction that holds up others, and all that follows from it.

Whoever waits behind it is a lock wait, a long statement and a connection that its pool cannot give again: each
diagnostic tells its part, and is right. Here they are put together, where the root of the queue is certain: a finding
belongs to the story only if all of its sessions do, or if its number is that of the story. Verdicts stay as they are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from connaudit.dataclass import dataclass
from connaudit.diagnostics.forest import Head, Tree, forest
from connaudit.diagnostics.idle_tx import holds
from connaudit.diagnostics.remedies import ending_prepared, releasing
from connaudit.diagnostics.waits import PREPARED, in_the_way
from connaudit.report import Finding, Report, Status, Story, worst
from connaudit.snapshot import Kind, PreparedTransaction, Session, Snapshot, Transaction
from connaudit.units import format_duration, plural

NAMING = ("CA401", "CA204", "CA205", "CA201")  # findings that name the culprit, the most telling first
CROWDED = ("CA101", "CA103")  # the server is nearly full
FEWEST = 2  # checks that make a story


@dataclass(frozen=True, slots=True)
class Queue:
    """Who waits behind idle transactions: those that hold up the very same sessions, which is one most times."""

    snapshot: Snapshot
    culprits: tuple[int, ...]
    behind: frozenset[int]
    depth: int

    @property
    def everybody(self) -> frozenset[int]:
        """Return the culprits and all who wait behind them."""
        return self.behind.union(self.culprits)

    @property
    def connections(self) -> int:
        """Return how many connections all of them take."""
        ids = self.everybody
        return sum(s.id in ids and s.kind is Kind.CLIENT for s in self.snapshot.sessions)

    @property
    def session(self) -> Session | None:
        """Return the first culprit's session; None for a prepared transaction."""
        return next((s for s in self.snapshot.sessions if s.id == self.culprits[0]), None)

    @property
    def prepared(self) -> PreparedTransaction | None:
        """Return the prepared transaction, if it is the culprit."""
        return in_the_way(self.snapshot).only if self.culprits[0] == PREPARED else None

    @property
    def transaction(self) -> Transaction:
        """Return what is told of the first culprit's transaction."""
        if self.prepared:
            return Transaction(self.prepared.age, writes=True, rows_modified=self.prepared.rows_modified)
        return (self.session and self.session.transaction) or Transaction()


def together(reports: Sequence[Report], snapshot: Snapshot) -> tuple[Report, ...]:
    """Return the reports of one target, with the story that they tell and its consequences marked, if there is one."""
    queue = _queue(snapshot)
    if queue is None:
        return tuple(reports)
    parts = [(report, found) for report in reports for found in report.findings if _belongs(found, queue)]
    cause = next((part for code in NAMING for part in parts if part[1].code == code), None)
    if cause is None or len({report.check for report, _ in parts}) < FEWEST:
        return tuple(reports)
    teller, naming = cause
    story = _story(queue, naming, [(report.check, found.status) for report, found in parts])
    followers = [found for _, found in parts if found is not naming]
    marked = (_marked(report, followers, naming.code) for report in reports)
    return tuple(replace(report, story=story) if report.check == teller.check else report for report in marked)


def _queue(snapshot: Snapshot) -> Queue | None:
    """Return the longest queue, if nothing but idle transactions stands at its root."""
    waiting = {s.id: s.wait for s in snapshot.sessions if s.wait}
    roots = [tree for tree in forest(waiting, lambda waiter: waiting[waiter].age or 0.0) if tree.head is Head.ROOT]
    if not roots:
        return None
    same = [tree for tree in roots if tree.behind == roots[0].behind]
    if not all(_is_idle(tree, snapshot) for tree in same):
        return None
    depth = max((branch.depth for tree in same for branch in tree.branches), default=0)
    return Queue(snapshot, tuple(tree.tops[0] for tree in same), roots[0].behind, depth)


def _is_idle(tree: Tree, snapshot: Snapshot) -> bool:
    """Return whether a root is a transaction in which nobody works, and one that is known."""
    root = tree.tops[0]
    if root == PREPARED:
        return in_the_way(snapshot).only is not None
    return any(s.id == root and s.open_transaction for s in snapshot.sessions)


def _belongs(found: Finding, queue: Queue) -> bool:
    """Return whether a finding is told in full by the queue."""
    if found.sessions:
        return queue.everybody.issuperset(found.sessions)
    if found.code in CROWDED:  # most of what is in use
        used = queue.snapshot.capacity.used
        return used is not None and 2 * queue.connections >= used - 1
    of_story = {
        "CA202": queue.transaction.age,
        "CA203": len(queue.culprits),
        "CA205": queue.prepared.age if queue.prepared else None,
        "CA204": len(queue.behind),
        "CA402": len(queue.behind),
        "CA403": queue.depth,
    }
    return found.value is not None and found.value == of_story.get(found.code)


def _marked(report: Report, followers: Sequence[Finding], code: str) -> Report:
    """Return the report with those of its findings marked that follow from the one of that code."""
    if not any(one is found for one in followers for found in report.findings):
        return report
    findings = (
        replace(found, because=code) if any(found is one for one in followers) else found for found in report.findings
    )
    return replace(report, findings=tuple(findings))


def _story(queue: Queue, naming: Finding, parts: Sequence[tuple[str, Status]]) -> Story:
    hint = naming.hint if naming.code == "CA401" else _ending(queue)
    return Story(
        code=naming.code,
        status=worst(status for _, status in parts),
        culprit=_name(queue),
        value=f"{_who(queue)} holds up {plural(len(queue.behind), 'session')}",
        message="; ".join(part for part in (_cause(queue), _effect(queue), _crowd(queue)) if part),
        hint=hint,
        sessions=(*(one for one in queue.culprits if one != PREPARED), *sorted(queue.behind)),
        checks=tuple(dict.fromkeys(check for check, _ in parts)),
    )


def _ending(queue: Queue) -> str | None:
    if queue.prepared:
        return ending_prepared(in_the_way(queue.snapshot))
    return releasing(queue.session, queue.snapshot.server) if queue.session else None


def _name(queue: Queue) -> str:
    return f"prepared transaction {queue.prepared.id}" if queue.prepared else str(queue.culprits[0])


def _who(queue: Queue) -> str:
    """Return `48211 (shop_web, report) idle in transaction for 2h14m`, and how many others stand beside it."""
    others = len(queue.culprits) - 1
    beside = f" together with {plural(others, 'other idle transaction')}" if others else ""
    if queue.prepared:
        age = queue.prepared.age
        return _name(queue) + (f", left for {format_duration(age)}" if age is not None else "") + beside
    session = queue.session or Session(queue.culprits[0])
    names = ", ".join(name for name in (session.user, session.application) if name)
    bound = "at most " if session.state_age_is_bound else ""
    since = f" for {bound}{format_duration(session.state_age)}" if session.state_age is not None else ""
    return f"{session.id}{f' ({names})' if names else ''} idle in transaction{since}{beside}"


def _cause(queue: Queue) -> str:
    held = holds(queue.transaction)
    holding = f", which holds {held}" if held not in (None, "nothing") else ""
    return f"{_who(queue)}{holding}"


def _effect(queue: Queue) -> str:
    """Return how many wait, for how long, and of which application most of them are."""
    waiters = [s for s in queue.snapshot.sessions if s.id in queue.behind]
    ages = [s.wait.age for s in waiters if s.wait and s.wait.age is not None]
    count = len(queue.behind)
    text = f"{plural(count, 'session')} {'waits' if count == 1 else 'wait'} behind it"
    text += f", the longest for {format_duration(max(ages))}" if ages else ""
    apps = Counter(s.program for s in waiters if s.program)
    if not apps:
        return text
    app, hit = apps.most_common(1)[0]
    whole = sum(s.program == app for s in queue.snapshot.clients)
    share = "all" if hit == whole else f"{hit} of the"
    return f"{text}: {share} {plural(whole, 'session')} of {app}" if whole >= hit else text


def _crowd(queue: Queue) -> str | None:
    """Return how much of the server's use that is."""
    capacity = queue.snapshot.capacity
    if capacity.used is None:
        return None
    used = f"{capacity.used - 1} connections in use ({capacity.usable} usable)"
    return f"that is {queue.connections} of the {used}"

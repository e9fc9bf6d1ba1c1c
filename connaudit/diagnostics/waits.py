"""Who waits behind whom: the graph of lock waits, which may have cycles and name sessions that have gone."""

from collections.abc import Iterable, Mapping

from connaudit.dataclass import dataclass
from connaudit.snapshot import Fact, Session, Snapshot

PREPARED = 0  # the id that stands for prepared transactions, which have no session


@dataclass(frozen=True, slots=True)
class Waits:
    """Who waits behind each blocker; `known` is False where the server does not tell who is in whose way."""

    next_behind: Mapping[int, tuple[int, ...]]  # who waits for whom at once
    known: bool

    def behind(self, blocker: int) -> frozenset[int] | None:
        """Return all that wait behind a session, directly or not; None if that is not to be known."""
        return reached(blocker, self.next_behind) if self.known else None


def waits(snapshot: Snapshot) -> Waits:
    """Return the lock waits of a snapshot."""
    told = Fact.LOCKS in snapshot.facts and all(gap.partial for gap in snapshot.gaps_in(frozenset({Fact.LOCKS})))
    return Waits(next_behind(edges(snapshot.sessions)), told and blockers_are_known(snapshot.sessions))


def edges(sessions: Iterable[Session]) -> dict[int, tuple[int, ...]]:
    """Return for each waiter the ids of those in its way; 0 is a prepared transaction."""
    return {s.id: s.wait.blocked_by for s in sessions if s.wait and s.wait.blocked_by}


def next_behind(blocked_by: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Return for each blocker those that wait for it at once, in the order of `blocked_by`.

    >>> next_behind({2: (1,), 3: (2, 1)})
    {1: (2, 3), 2: (3,)}
    """
    behind: dict[int, list[int]] = {}
    for waiter, blockers in blocked_by.items():
        for blocker in set(blockers):
            behind.setdefault(blocker, []).append(waiter)
    return {blocker: tuple(waiters) for blocker, waiters in behind.items()}


def reached(start: int, behind: Mapping[int, tuple[int, ...]]) -> frozenset[int]:
    """Return all that wait behind one, directly or through others, itself never.

    >>> sorted(reached(1, {1: (2,), 2: (3, 1)}))
    [2, 3]
    """
    seen = {start}
    ahead = [start]
    while ahead:
        new = [waiter for waiter in behind.get(ahead.pop(), ()) if waiter not in seen]
        seen.update(new)
        ahead.extend(new)
    return frozenset(seen - {start})


def blockers_are_known(sessions: Iterable[Session]) -> bool:
    """Return whether the server told of every waiter whom it waits for."""
    return all(s.wait.blocked_by is not None for s in sessions if s.wait)

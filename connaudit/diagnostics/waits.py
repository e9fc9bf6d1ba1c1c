"""Who waits behind whom: the graph of lock waits, which may have cycles and name sessions that have gone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from connaudit.snapshot import Fact, Session, Snapshot


@dataclass(frozen=True, slots=True)
class Waits:
    """Who waits behind each blocker; `known` is False where the server does not tell who is in whose way."""

    victims: Mapping[int, frozenset[int]]
    known: bool

    def behind(self, blocker: int) -> frozenset[int] | None:
        """Return all that wait behind a session, directly or not; None if that is not to be known."""
        return self.victims.get(blocker, frozenset()) if self.known else None


def waits(snapshot: Snapshot) -> Waits:
    """Return the lock waits of a snapshot."""
    told = Fact.LOCKS in snapshot.facts and all(gap.partial for gap in snapshot.gaps_in(frozenset({Fact.LOCKS})))
    return Waits(victims(edges(snapshot.sessions)), told and blockers_are_known(snapshot.sessions))


def edges(sessions: Iterable[Session]) -> dict[int, tuple[int, ...]]:
    """Return for each waiter the ids of those in its way; 0 is a prepared transaction."""
    return {s.id: s.wait.blocked_by for s in sessions if s.wait and s.wait.blocked_by}


def victims(blocked_by: Mapping[int, tuple[int, ...]]) -> dict[int, frozenset[int]]:
    """Return for each blocker all that wait behind it, directly or through others, itself never.

    >>> sorted(victims({2: (1,), 3: (2,)})[1])
    [2, 3]
    """
    behind: dict[int, list[int]] = {}
    for waiter, blockers in blocked_by.items():
        for blocker in set(blockers):
            behind.setdefault(blocker, []).append(waiter)
    return {blocker: _reached(blocker, behind) for blocker in behind}


def _reached(start: int, behind: Mapping[int, list[int]]) -> frozenset[int]:
    seen: set[int] = set()
    ahead = list(behind.get(start, ()))
    while ahead:
        waiter = ahead.pop()
        if waiter != start and waiter not in seen:
            seen.add(waiter)
            ahead.extend(behind.get(waiter, ()))
    return frozenset(seen)


def blockers_are_known(sessions: Iterable[Session]) -> bool:
    """Return whether the server told of every waiter whom it waits for."""
    return all(s.wait.blocked_by is not None for s in sessions if s.wait)

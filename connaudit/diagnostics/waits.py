"""Who waits behind whom: the graph of lock waits, which may have cycles and name sessions that have gone."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeVar

from connaudit.dataclass import dataclass
from connaudit.snapshot import Fact, PreparedTransaction, Session, Snapshot

B = TypeVar("B", int, str)
PREPARED = 0  # the id that stands for prepared transactions, which have no session


@dataclass(frozen=True, slots=True)
class Waits:
    """Who waits behind each blocker; `known` is False where the server does not tell who is in whose way."""

    next_behind: Mapping[int, tuple[int, ...]]  # who waits for whom at once
    known: bool
    prepared: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # who waits for which prepared transaction

    def behind(self, blocker: int) -> frozenset[int] | None:
        """Return all that wait behind a session, directly or not; None if that is not to be known."""
        return reached(blocker, self.next_behind) if self.known else None

    def behind_prepared(self, gid: str, *, is_only: bool) -> frozenset[int] | None:
        """Return all that wait behind a prepared transaction, `is_only` if there is no other; None as above."""
        whole = self.behind(PREPARED)
        if not whole or is_only:
            return whole
        told = frozenset[int]().union(*self.prepared.values())
        if not told.issuperset(self.next_behind[PREPARED]):
            return None
        own = self.prepared.get(gid, ())
        return frozenset(own).union(*(reached(waiter, self.next_behind) for waiter in own))


@dataclass(frozen=True, slots=True)
class InTheWay:
    """The prepared transactions that somebody waits for; not `sure`: it is one of them, and not told which."""

    found: tuple[PreparedTransaction, ...]
    sure: bool

    @property
    def only(self) -> PreparedTransaction | None:
        """Return the one that is in the way; None if there is not one that is known."""
        return self.found[0] if len(self.found) == 1 else None


def in_the_way(snapshot: Snapshot) -> InTheWay:
    """Return the prepared transactions that somebody waits for, as far as it is told which of them."""
    direct = [s.wait for s in snapshot.sessions if s.wait and PREPARED in (s.wait.blocked_by or ())]
    named = {gid for wait in direct for gid in wait.prepared}
    if not all(wait.prepared for wait in direct):
        return InTheWay(snapshot.prepared, len(snapshot.prepared) == 1)
    return InTheWay(tuple(each for each in snapshot.prepared if each.id in named), sure=True)


def waits(snapshot: Snapshot) -> Waits:
    """Return the lock waits of a snapshot."""
    told = Fact.LOCKS in snapshot.facts and all(gap.partial for gap in snapshot.gaps_in(frozenset({Fact.LOCKS})))
    named = {s.id: s.wait.prepared for s in snapshot.sessions if s.wait and s.wait.prepared}
    return Waits(next_behind(edges(snapshot.sessions)), told and blockers_are_known(snapshot.sessions), _turned(named))


def edges(sessions: Iterable[Session]) -> dict[int, tuple[int, ...]]:
    """Return for each waiter the ids of those in its way; 0 is a prepared transaction."""
    return {s.id: s.wait.blocked_by for s in sessions if s.wait and s.wait.blocked_by}


def next_behind(blocked_by: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Return for each blocker those that wait for it at once, in the order of `blocked_by`.

    >>> next_behind({2: (1,), 3: (2, 1)})
    {1: (2, 3), 2: (3,)}
    """
    return _turned(blocked_by)


def _turned(blocked_by: Mapping[int, tuple[B, ...]]) -> dict[B, tuple[int, ...]]:
    behind: dict[B, list[int]] = {}
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

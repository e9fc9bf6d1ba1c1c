"""PostgreSQL 12 and newer, directly or through a pooler.

Any number of servers at once, in one thread: libpq is driven without blocking, each target under its own time limit,
with all its statements in one round trip.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence

from connaudit.engines import Budget, Follower, Taken, sockets
from connaudit.engines.postgresql.dial import Caller
from connaudit.engines.postgresql.loop import Loop
from connaudit.engines.postgresql.visit import Visitor, visit
from connaudit.snapshot import Fact
from connaudit.targets import Target


def take(targets: Sequence[Target], facts: frozenset[Fact], budget: Budget) -> Iterator[tuple[int, Taken]]:
    """Yield a snapshot of each target, or the error in its place, as they come."""
    waiting = deque(enumerate(targets))
    jobs = min(budget.jobs or len(targets), budget.sockets or sockets())
    with Loop() as loop:
        while waiting or loop.is_busy:
            while waiting and loop.wanted < jobs:
                index, target = waiting.popleft()
                loop.start(index, visit(target, facts, _caller(loop, budget, target)))
            yield from loop.turn()


def follow(targets: Sequence[Target], facts: frozenset[Fact]) -> Follower:
    """Return who takes samples of the targets, each over one connection that is kept."""
    return _Follower(targets, facts)


class _Follower(Follower):
    """All kept connections in one loop."""

    def __init__(self, targets: Sequence[Target], facts: frozenset[Fact]) -> None:
        self._loop = Loop()
        self._visitors = [Visitor(target, facts) for target in targets]

    def begin(self, index: int, budget: Budget) -> None:
        visitor = self._visitors[index]
        if not visitor.is_connected:
            for host in visitor.target.hosts:
                self._loop.names.forget(host.name)
        self._loop.start(index, visitor.visit(_caller(self._loop, budget, visitor.target)))

    def ended(self, until: float) -> Iterator[tuple[int, Taken]]:
        ended: list[tuple[int, Taken]] = []
        while self._loop.is_busy and not ended and time.monotonic() < until:
            ended.extend(self._loop.turn(until))
        yield from ended

    @property
    def is_busy(self) -> bool:
        return self._loop.is_busy

    def close(self) -> None:
        self._loop.close()
        for visitor in self._visitors:
            visitor.leave(self._loop.leave)


def _caller(loop: Loop, budget: Budget, target: Target) -> Caller:
    began = time.monotonic()
    return Caller(loop.names.look_up, loop.leave, began, min(began + budget.seconds(target), budget.deadline))

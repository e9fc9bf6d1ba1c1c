"""MySQL 5.7 and newer, MariaDB 10.5 and newer, by PyMySQL.

PyMySQL knows no asynchronous connection: each target has a daemon thread, which puts its result on a queue, and the
clock is kept by the one who reads the queue. A thread that is stuck, in a name lookup for instance, is left behind and
its place is given to the next target.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from connaudit.engines import Budget, Follower, Taken, sockets
from connaudit.engines.mysql.attempt import Attempt
from connaudit.engines.mysql.visit import Visitor
from connaudit.errors import TargetError, TimedOut
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Target

JOBS = 128  # more threads only contend for the interpreter


def take(targets: Sequence[Target], facts: frozenset[Fact], budget: Budget) -> Iterator[tuple[int, Taken]]:
    """Yield each target's snapshot, or why there is none, as it comes."""
    waiting = deque(range(len(targets)))
    jobs = min(budget.jobs or JOBS, budget.sockets or sockets())
    visits = _Visits(targets, facts, keep=False)
    try:
        while waiting or visits.is_busy:
            while waiting and visits.under_way < jobs:
                visits.begin(waiting.popleft(), budget)
            yield from visits.ended(budget.deadline)
    finally:
        visits.close()


def follow(targets: Sequence[Target], facts: frozenset[Fact]) -> Follower:
    """Return who takes samples of the targets, each over one connection that is kept."""
    return _Visits(targets, facts, keep=True)


class _Visits(Follower):
    """Visits to all targets, each in a thread of its own for as long as it lasts."""

    def __init__(self, targets: Sequence[Target], facts: frozenset[Fact], *, keep: bool) -> None:
        self._visitors = [Visitor(target, facts, keep=keep) for target in targets]
        self._attempts: dict[int, Attempt] = {}
        self._results: queue.SimpleQueue[tuple[int, Visitor, Taken | BaseException]] = queue.SimpleQueue()

    def begin(self, index: int, budget: Budget) -> None:
        visitor, now = self._visitors[index], time.monotonic()
        ends = min(now + budget.seconds(visitor.target), budget.deadline)
        attempt = self._attempts[index] = Attempt(ends, "query" if visitor.is_connected else "dns")
        if attempt.ends <= now:
            late = TimedOut("not begun: no time was left when its turn came", hint="raise --deadline")
            self._results.put((index, visitor, late))
            return
        name = f"connaudit {visitor.target.name}"
        threading.Thread(target=self._visit, args=(index, visitor, attempt), name=name, daemon=True).start()

    def _visit(self, index: int, visitor: Visitor, attempt: Attempt) -> None:
        try:
            self._results.put((index, visitor, visitor.visit(attempt)))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that reads the queue, which raises it
            self._results.put((index, visitor, error))

    def ended(self, until: float) -> Iterator[tuple[int, Taken]]:
        if not self._attempts:
            return
        until = min(until, *(attempt.ends for attempt in self._attempts.values()))
        try:
            index, visitor, taken = self._results.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            yield from self._given_up()
            return
        if visitor is not self._visitors[index]:  # given up before, and came after all
            visitor.leave()
            return
        del self._attempts[index]
        if not isinstance(taken, Snapshot | TargetError):
            raise taken
        yield index, taken

    def _given_up(self) -> Iterator[tuple[int, Taken]]:
        """Yield those whose time is up; their threads are left behind, and their places given to others."""
        now = time.monotonic()
        for index in [index for index, attempt in self._attempts.items() if attempt.ends <= now]:
            failure = self._attempts[index].timed_out()
            if not self._attempts[index].abort():
                continue  # it has ended by now, and what came of it is about to be told
            del self._attempts[index]
            self._visitors[index] = self._visitors[index].another()
            yield index, failure

    @property
    def under_way(self) -> int:
        """Return how many visits are under way."""
        return len(self._attempts)

    @property
    def is_busy(self) -> bool:
        return bool(self._attempts)

    def close(self) -> None:
        for index, visitor in enumerate(self._visitors):
            attempt = self._attempts.get(index)
            if not (attempt and attempt.abort()):  # those that are visited end in their threads
                visitor.leave()

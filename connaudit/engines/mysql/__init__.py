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

import pymysql

from connaudit.engines import Budget, Taken
from connaudit.engines.mysql import failures
from connaudit.engines.mysql.attempt import Attempt
from connaudit.engines.mysql.reading import read
from connaudit.engines.mysql.wire import Refusal, connected
from connaudit.errors import NotAllowed, QueryFailed, TargetError, TimedOut
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Target

Results = queue.SimpleQueue[tuple[int, Taken | BaseException]]
JOBS = 128  # more threads only contend for the interpreter


def take(targets: Sequence[Target], facts: frozenset[Fact], budget: Budget) -> Iterator[tuple[int, Taken]]:
    """Yield each target's snapshot, or why there is none, as it comes."""
    waiting = deque(range(len(targets)))
    running: dict[int, Attempt] = {}
    results: Results = queue.SimpleQueue()
    try:
        while waiting or running:
            while waiting and len(running) < (budget.jobs or JOBS):
                index = waiting.popleft()
                if time.monotonic() >= budget.deadline:
                    yield index, TimedOut("not begun: no time was left when its turn came", hint="raise --deadline")
                    continue
                running[index] = _started(index, targets[index], facts, budget, results)
            if running:
                yield from _next(running, results)
    finally:
        for attempt in running.values():
            attempt.abort()


def _started(index: int, target: Target, facts: frozenset[Fact], budget: Budget, results: Results) -> Attempt:
    """Return an attempt whose thread has begun."""
    attempt = Attempt(min(time.monotonic() + budget.seconds(target), budget.deadline))

    def work() -> None:
        try:
            results.put((index, _taken(target, facts, attempt)))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that reads the queue, which raises it
            results.put((index, error))

    threading.Thread(target=work, name=f"connaudit {target.name}", daemon=True).start()
    return attempt


def _next(running: dict[int, Attempt], results: Results) -> Iterator[tuple[int, Taken]]:
    """Yield the next result, or those whose time is up by then."""
    patience = min(attempt.ends for attempt in running.values()) - time.monotonic()
    try:
        index, taken = results.get(timeout=max(0.0, patience))
    except queue.Empty:
        late = [index for index, attempt in running.items() if attempt.ends <= time.monotonic()]
        for index in late:
            attempt = running.pop(index)
            failure = attempt.timed_out()
            attempt.abort()
            yield index, failure
        return
    if not running.pop(index, None):  # given up before, and came after all
        return
    if not isinstance(taken, Snapshot | TargetError):
        raise taken
    yield index, taken


def _taken(target: Target, facts: frozenset[Fact], attempt: Attempt) -> Taken:
    """Return a target's snapshot or failure; what a driver raised is dropped, for its frames hold the password."""
    try:
        return _snapshot(target, facts, attempt)
    except TargetError as error:
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    finally:
        attempt.release()


def _snapshot(target: Target, facts: frozenset[Fact], attempt: Attempt) -> Snapshot:
    wire, host = connected(target, attempt)
    attempt.enter("query")
    failure: TargetError
    try:
        with wire:
            return read(wire, target, host, facts, attempt)
    except Refusal as refusal:
        failure = _refused(refusal)
    except pymysql.MySQLError as error:
        failure = failures.of_driver(error, attempt)
    raise failure


def _refused(refusal: Refusal) -> TargetError:
    kind = NotAllowed if refusal.denied else QueryFailed
    return kind(str(refusal), stage="query")

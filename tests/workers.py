"""Workers that each keep one connection, as snapshots: healthy, but with little to do they look like a leak.

And tasks that leave one behind each, which is a leak.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain

from connaudit.snapshot import Session, Snapshot, State
from tests.builders import snapshot

EPOCH = 1_790_000_000.0


@dataclass(slots=True)
class Connection:
    """One connection of one worker: when it was opened, used, and closed."""

    number: int
    opened: float
    uses: list[float] = field(default_factory=list)
    closed: float | None = None


def connections(
    seed: int,
    *,
    workers: int,
    rate: float,
    until: float,
    begin: float = 0.0,
    most_age: float | None = None,
    most_idle: float | None = None,
    skew: float = 0.0,
) -> list[Connection]:
    """Return what workers open that take requests at random, `rate` a second together.

    With `skew` the first take most of them, as where the one that became free last is asked first.
    A connection older than `most_age` is closed and opened anew at its next request, as CONN_MAX_AGE has it; one that
    was not used for `most_idle` is closed by then, as many pools do.
    """
    dice = random.Random(seed)
    shares = [(worker + 1) ** -skew for worker in range(workers)]
    now, kept, opened = begin, dict[int, Connection](), list[Connection]()
    while (now := now + dice.expovariate(rate)) < until:
        worker = dice.choices(range(workers), shares)[0]
        held = kept.get(worker)
        if held:
            _close(held, now, most_age, most_idle)
        if held is None or held.closed is not None:
            held = kept[worker] = Connection(len(opened) + 1, now)
            opened.append(held)
        held.uses.append(now + 0.01)
    for held in kept.values():
        _close(held, until, None, most_idle)
    return opened


def _close(held: Connection, now: float, most_age: float | None, most_idle: float | None) -> None:
    """Close what has become too old by now, or was closed meanwhile as nobody used it."""
    if most_idle is not None and now - held.uses[-1] > most_idle:
        held.closed = held.uses[-1] + most_idle
    elif most_age is not None and now - held.opened > most_age:
        held.closed = now


def forgotten(seed: int, *, rate: float, until: float, collected: int | None = None) -> list[Connection]:
    """Return what tasks leave behind that open a connection each, use it once and do not close it.

    A garbage collector comes whenever so many were opened since the last time, and closes them all.
    """
    dice = random.Random(seed)
    now, opened = 0.0, list[Connection]()
    while (now := now + dice.expovariate(rate)) < until:
        opened.append(Connection(len(opened) + 1, now, [now + 0.01]))
        if collected and len(opened) % collected == 0:
            for one in opened[-collected:]:
                one.closed = now + 0.02
    return opened


def together(*kinds: list[Connection]) -> list[Connection]:
    """Return connections of workers of several kinds, with numbers of their own."""
    return [replace(one, number=number) for number, one in enumerate(chain.from_iterable(kinds), 1)]


def looks(opened: list[Connection], begin: float, seconds: int) -> list[Snapshot]:
    """Return a look a second."""
    return [_look(opened, begin + second) for second in range(seconds + 1)]


def _look(opened: list[Connection], at: float) -> Snapshot:
    taken_at = datetime.fromtimestamp(EPOCH + at, UTC).isoformat(timespec="milliseconds")
    return snapshot(*_sessions(opened, at), taken_at=taken_at)


def _sessions(opened: list[Connection], at: float) -> Iterator[Session]:
    for one in opened:
        uses = bisect_right(one.uses, at)
        if uses and (one.closed is None or one.closed > at):
            yield Session(
                one.number,
                state=State.IDLE,
                user="shop_web",
                database="shop",
                application="web",
                client="10.4.1.17",
                started_at=str(one.opened),
                connection_age=at - one.opened,
                state_age=at - one.uses[uses - 1],
                query="select 1 from cart",
            )

"""Workers that each keep one connection, as snapshots: healthy, but with little to do they look like a leak."""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

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
    seed: int, *, workers: int, rate: float, until: float, most_age: float | None = None, skew: float = 0.0
) -> list[Connection]:
    """Return what workers open that take requests at random, `rate` a second together.

    With `skew` the first take most of them, as where the one that became free last is asked first.
    A connection older than `most_age` is closed and opened anew at its next request, as CONN_MAX_AGE has it.
    """
    dice = random.Random(seed)
    shares = [(worker + 1) ** -skew for worker in range(workers)]
    now, kept, closed = 0.0, dict[int, Connection](), list[Connection]()
    while (now := now + dice.expovariate(rate)) < until:
        worker = dice.choices(range(workers), shares)[0]
        held = kept.get(worker)
        if held and most_age is not None and now - held.opened > most_age:
            held.closed = now
            closed.append(kept.pop(worker))
        if worker not in kept:
            kept[worker] = Connection(len(kept) + len(closed) + 1, now)
        kept[worker].uses.append(now + 0.01)
    return closed + list(kept.values())


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

"""The servers that can be audited: one module each, with two public functions.

    take(targets, facts, budget) -> Iterator[(index, Snapshot | TargetError)]
    follow(targets, facts) -> Follower

It takes many targets at once by its driver's best means and yields each result when it is there, in any order;
one target is the case n = 1. Exactly one connection per target, bounded from the first packet, named `connaudit`,
read-only, closed at once. Closing the iterator early, or an exception thrown into it, cancels what is in flight.
A follower takes samples of its targets one after the other and keeps their connections in between, idle and outside of
any transaction: to connect anew would fail just when a server is full.
An engine never judges: it lists a `Gap` for each fact that it was asked for and could not see.
"""

import os
import resource
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Protocol, cast

from connaudit.dataclass import dataclass
from connaudit.errors import TargetError
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Target

ENGINES = {
    "postgresql": "connaudit.engines.postgresql",
    "mysql": "connaudit.engines.mysql",
}

SPARE_FILES = 144  # open files besides the sockets: those of 64 lookups at once, of certificates, of the report

Taken = Snapshot | TargetError


@dataclass(frozen=True, slots=True)
class Budget:
    """How long, and how many at once.

    `timeout` is for each target from the moment its turn comes, DNS to last row; `deadline` is an instant of
    time.monotonic() at which the run ends, whatever is still open. Both are kept from outside the drivers.
    """

    timeout: float
    deadline: float
    jobs: int | None = None  # None: as many as the engine does best
    sockets: int | None = None  # that it may have open; None: as many as this process may

    def seconds(self, target: Target) -> float:
        """Return how long this target may take from the moment its turn comes."""
        return target.timeout or self.timeout


def sockets() -> int:
    """Return how many sockets may be opened: more fail with `Too many open files` in the middle of a run."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 16
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        used = 64
    return max(1, soft - used - min(SPARE_FILES, soft // 2))


class Take(Protocol):
    """What an engine module offers."""

    def __call__(  # noqa: D102 - the module says it
        self, targets: Sequence[Target], facts: frozenset[Fact], budget: Budget
    ) -> Iterator[tuple[int, Taken]]: ...


class Follower(Protocol):
    """Keeps one connection to each of its targets; what happens to one of them holds up no other.

    A connection that broke, or was given up for want of time, is made anew by the next sample of its target.
    """

    def begin(self, index: int, budget: Budget) -> None:
        """Begin a sample of the target at that place, which must have none under way."""

    def ended(self, until: float) -> Iterator[tuple[int, Taken]]:
        """Wait for samples, until an instant of time.monotonic() at most, and yield those that ended, if any."""

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way, be it the end of a sample that was given up."""

    def close(self) -> None:
        """Cancel what is under way, and end all connections."""


class Follow(Protocol):
    """What an engine module offers to those who look more than once."""

    def __call__(self, targets: Sequence[Target], facts: frozenset[Fact]) -> Follower: ...  # noqa: D102


def engine(name: str) -> Take:
    """Return the `take` of an engine, importing its driver only now."""
    return cast("Take", import_module(ENGINES[name]).take)


def following(name: str) -> Follow:
    """Return the `follow` of an engine, importing its driver only now."""
    return cast("Follow", import_module(ENGINES[name]).follow)

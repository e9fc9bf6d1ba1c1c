"""The servers that can be audited: one module each, with one public function `take`.

    take(targets, facts, budget) -> Iterator[(index, Snapshot | TargetError)]

It takes many targets at once by its driver's best means and yields each result when it is there, in any order;
one target is the case n = 1. Exactly one connection per target, bounded from the first packet, named `connaudit`,
read-only, closed at once. Closing the iterator early, or an exception thrown into it, cancels what is in flight.
An engine never judges: it lists a `Gap` for each fact that it was asked for and could not see.
"""

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

    def seconds(self, target: Target) -> float:
        """Return how long this target may take from the moment its turn comes."""
        return target.timeout or self.timeout


class Take(Protocol):
    """What an engine module offers."""

    def __call__(  # noqa: D102 - the module says it
        self, targets: Sequence[Target], facts: frozenset[Fact], budget: Budget
    ) -> Iterator[tuple[int, Taken]]: ...


def engine(name: str) -> Take:
    """Return the `take` of an engine, importing its driver only now."""
    return cast("Take", import_module(ENGINES[name]).take)

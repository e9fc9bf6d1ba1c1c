"""Samples of a fleet in turn, over kept connections, until a pace says that it is over."""

import gc
import time
from collections import deque
from collections.abc import Generator, Sequence

from connaudit.audit import facts_of
from connaudit.cli.auditing import Begun, besides, with_processes
from connaudit.cli.planning import Fleet, Setup
from connaudit.cli.screen import Keys
from connaudit.dataclass import dataclass
from connaudit.engines import Budget, Taken, sockets
from connaudit.errors import UsageError
from connaudit.following import Following
from connaudit.report import Status
from connaudit.snapshot import Snapshot

GLANCE = 0.1  # seconds between two looks at the keyboard
MOST_SESSIONS = 50_000  # of all the snapshots of a series that is kept in memory


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, and until when. None: as long as somebody watches."""

    interval: float  # seconds
    seconds: float | None = None
    count: int | None = None
    until: Status | None = None  # leave at a verdict as bad as that


class Ticks:
    """When samples are begun: at once, and then at whole intervals; those that are missed are left out."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._since: float | None = None  # the first sample; it may be long in coming
        self._due = time.monotonic()
        self._count = 0

    @property
    def are_over(self) -> bool:
        """Whether no more samples are to be begun."""
        pace = self._pace
        if pace.count is not None and self._count >= pace.count:
            return True
        return pace.seconds is not None and self._since is not None and self._due >= self._since + pace.seconds

    def is_due(self) -> bool:
        """Return whether a sample is to be begun now; it then counts as begun."""
        now = time.monotonic()
        if self.are_over or now < self._due:
            return False
        if self._since is None:
            self._since = self._due = now
        self._count += 1
        self._due += self._pace.interval * ((now - self._due) // self._pace.interval + 1)
        return True

    def next(self, patience: float) -> float:
        """Return the instant of the next one, or the end of that patience if it comes before."""
        return min(self._due, time.monotonic() + patience)


@dataclass(frozen=True, slots=True)
class Told:
    """What one target told in one sample."""

    index: int
    begun: Begun
    taken: Taken


class Series:
    """What one target told, in the order of time: as much as memory should hold."""

    def __init__(self) -> None:
        self._kept: deque[Taken] = deque()
        self._sessions = 0

    def add(self, taken: Taken) -> Sequence[Taken]:
        """Add what was told now, and return all that is kept."""
        self._kept.append(taken)
        self._sessions += _sessions(taken)
        while self._sessions > MOST_SESSIONS and len(self._kept) > 2:
            self._sessions -= _sessions(self._kept.popleft())
        return tuple(self._kept)


def _sessions(taken: Taken) -> int:
    return len(taken.sessions) if isinstance(taken, Snapshot) else 0


class Sampler:
    """Takes samples of all targets; what happens to one of them holds up no other."""

    def __init__(self, setup: Setup, fleet: Fleet, following: Following) -> None:
        self._setup = setup
        self._targets = fleet.targets
        self._plans = [fleet.plans[target.name] for target in fleet.targets]
        self._following = following
        self._begun: dict[int, Begun] = {}

    def begin(self) -> list[Told]:
        """Begin a sample of each target; return what is known at once of those that cannot even be tried."""
        settings, begun = self._setup.settings, Begun.now()
        budget = Budget(settings["timeout"], begun.at + settings.deadline, settings["jobs"])
        known = []
        for index, plan in enumerate(self._plans):
            self._begun.setdefault(index, begun)
            if plan.refused:
                known.append(self._told(index, plan.refused))
            else:
                self._following.begin(index, budget)
        return known

    def ended(self, until: float) -> list[Told]:
        """Wait until an instant of time.monotonic() at most, and return the samples that ended, if any."""
        return [self._told(index, taken) for index, taken in self._following.ended(until)]

    def drop(self) -> None:
        """Wait for what is under way, and forget what it tells."""
        while self._begun:
            self.ended(time.monotonic() + GLANCE)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return self._following.is_busy

    def _told(self, index: int, taken: Taken) -> Told:
        whole = with_processes(taken, self._plans[index], self._setup.settings)
        return Told(index, self._begun.pop(index), whole)


def following(setup: Setup, fleet: Fleet) -> Following:
    """Return the connections to a fleet, for all that it is asked; UsageError if they would be too many."""
    most = sockets()
    if len(fleet.targets) > most:
        raise UsageError(
            f"a connection is kept to each of {len(fleet.targets)} targets: more than the {most} that may be open",
            hint="raise the limit of open files (ulimit -n), or name fewer targets",
        )
    gc.enable()  # switched off for runs that are over in a moment
    return Following(fleet.targets, facts_of(fleet.plans.values()) | besides(setup.settings))


def sampled(setup: Setup, fleet: Fleet, pace: Pace, keys: Keys) -> Generator[list[Told], None, None]:
    """Yield samples as they come, until the pace says that it is over or somebody presses q."""
    ticks = Ticks(pace)
    with following(setup, fleet) as connections:
        sampler = Sampler(setup, fleet, connections)
        while not (ticks.are_over and not sampler.is_busy):
            known = sampler.begin() if ticks.is_due() else []
            patience = ticks.next(GLANCE if keys.are_read or ticks.are_over else pace.interval)
            yield known + sampler.ended(patience)
            rest = 0.0 if sampler.is_busy else max(0.0, patience - time.monotonic())
            if keys.end(rest):
                return

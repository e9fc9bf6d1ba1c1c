"""The loop of `connaudit watch`: samples in turn, each judged when it is there, until somebody has seen enough."""

import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from connaudit.audit import facts_of, judged
from connaudit.cli.auditing import besides, sample, utc, with_processes
from connaudit.cli.planning import Fleet, Setup
from connaudit.cli.screen import Keys
from connaudit.dataclass import dataclass
from connaudit.engines import Budget, Taken
from connaudit.following import Following
from connaudit.report import Outcome, Status, gravity, worst
from connaudit.saved import Sample
from connaudit.snapshot import Snapshot

GLANCE = 0.1  # seconds between two looks at the keyboard
MOST_SESSIONS = 50_000  # of all the snapshots of a series that is kept in memory


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, and until when. None: as long as somebody watches."""

    interval: float  # seconds
    seconds: float | None = None
    count: int | None = None
    until: Status | None = None  # leave when a sample is as bad as that

    def is_reached(self, look: "Look") -> bool:
        """Whether a look is what was waited for; one that could not be determined never is."""
        known = self.until is not None and look.status is not Status.UNKNOWN
        return known and gravity(look.status) >= gravity(self.until or Status.OK)


class Series:
    """The snapshots of one target that a diagnostic judges together: as many as memory should hold."""

    def __init__(self) -> None:
        self._kept: deque[Snapshot] = deque()
        self._sessions = 0

    def add(self, snapshot: Snapshot) -> tuple[Snapshot, ...]:
        """Add one, and return all that are kept."""
        self._kept.append(snapshot)
        self._sessions += len(snapshot.sessions)
        while self._sessions > MOST_SESSIONS and len(self._kept) > 2:
            self._sessions -= len(self._kept.popleft().sessions)
        return tuple(self._kept)


@dataclass(frozen=True, slots=True)
class Begun:
    """When a sample was begun: an instant of time.monotonic(), and RFC 3339."""

    at: float
    started_at: str


@dataclass(frozen=True, slots=True)
class Look:
    """One sample of one target with what is to be said of it."""

    index: int
    begun: Begun
    seconds: float  # that it took
    sample: Sample
    outcomes: tuple[Outcome, ...]

    @property
    def status(self) -> Status:
        """Return the verdict."""
        return worst(outcome.status for outcome in self.outcomes)


Show = Callable[[Sequence[Look]], None]


class Watch:
    """Looks at all targets of a fleet in turn; `last` is the last look at each, by its place."""

    def __init__(self, setup: Setup, fleet: Fleet) -> None:
        self.setup = setup
        self.fleet = fleet
        self.last: dict[int, Look] = {}
        self._plans = [fleet.plans[target.name] for target in fleet.targets]
        self._by_series = all(ask.diagnostic.run_series for plan in self._plans for ask in plan.asks)
        self._series = [Series() for _ in fleet.targets]
        self._begun: dict[int, Begun] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        """Return what is to be said of all targets by the last look at each, in their order."""
        return [outcome for _, look in sorted(self.last.items()) for outcome in look.outcomes]

    def run(self, pace: Pace, keys: Keys, show: Show) -> bool:
        """Look until the pace says that it is over; return False if somebody pressed q before."""
        gc.enable()  # switched off for runs that are over in a moment
        facts = facts_of(self._plans) | besides(self.setup.settings)
        ticks = Ticks(pace)
        with Following(self.fleet.targets, facts) as following:
            while True:
                looks = self._begin(following) if ticks.is_due() else []
                patience = ticks.next(GLANCE if keys.are_read or ticks.are_over else pace.interval)
                looks += [self._look(index, taken) for index, taken in following.ended(patience)]
                if looks:
                    show(looks)
                if any(map(pace.is_reached, looks)) or (ticks.are_over and not following.is_busy):
                    return True
                rest = 0.0 if following.is_busy else max(0.0, patience - time.monotonic())
                if "q" in keys.pressed(rest):
                    return False

    def _begin(self, following: Following) -> list[Look]:
        """Begin a sample of each target; return what is known at once of those that cannot even be tried."""
        settings = self.setup.settings
        begun = Begun(time.monotonic(), utc(datetime.now(UTC)))
        budget = Budget(settings["timeout"], begun.at + settings.deadline, settings["jobs"])
        known = []
        for index, plan in enumerate(self._plans):
            self._begun.setdefault(index, begun)
            if plan.refused:
                known.append(self._look(index, plan.refused))
            else:
                following.begin(index, budget)
        return known

    def _look(self, index: int, taken: Taken) -> Look:
        """Judge one sample."""
        target, plan, begun = self.fleet.targets[index], self._plans[index], self._begun.pop(index)
        taken = with_processes(taken, plan, self.setup.settings)
        series: tuple[Taken, ...] = (taken,)
        if self._by_series and isinstance(taken, Snapshot):
            series = self._series[index].add(taken)
        told = sample(target, taken, self.setup.settings["sql"])
        seconds = time.monotonic() - begun.at
        look = self.last[index] = Look(index, begun, seconds, told, judged(target, series, plan))
        return look


class Ticks:
    """When samples are begun: at once, and then at whole intervals; those that are missed are left out."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._since: float | None = None  # the first sample; connecting may be long in coming
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

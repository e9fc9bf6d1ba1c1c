"""What `connaudit watch` makes of samples: each is judged when it is there."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from connaudit.audit import judged
from connaudit.cli.auditing import Begun, sample
from connaudit.cli.planning import Fleet, Setup
from connaudit.cli.sampling import Pace, Series, Told, sampled
from connaudit.cli.screen import Keys
from connaudit.dataclass import dataclass
from connaudit.engines import Taken
from connaudit.report import Outcome, Status, gravity, worst
from connaudit.saved import Sample
from connaudit.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Look:
    """One sample of one target with what is to be said of it."""

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
        self._by_series = all(ask.diagnostic.run_series for plan in fleet.plans.values() for ask in plan.asks)
        self._series = [Series() for _ in fleet.targets]

    @property
    def outcomes(self) -> list[Outcome]:
        """Return what is to be said of all targets by the last look at each, in their order."""
        return [outcome for _, look in sorted(self.last.items()) for outcome in look.outcomes]

    def run(self, pace: Pace, keys: Keys, show: Show) -> bool:
        """Look until the pace says that it is over; return False if somebody pressed q before."""
        with closing(sampled(self.setup, self.fleet, pace, keys)) as samples:
            for told in samples:
                looks = [self._look(each) for each in told]
                if looks:
                    show(looks)
                if any(_is_reached(look, pace.until) for look in looks):
                    return True
        return not keys.have_ended

    def _look(self, told: Told) -> Look:
        """Judge one sample; a diagnostic of series judges all that came before, too."""
        target = self.fleet.targets[told.index]
        series: Sequence[Taken] = (told.taken,)
        if self._by_series and isinstance(told.taken, Snapshot):
            series = self._series[told.index].add(told.taken)
        outcomes = judged(target, series, self.fleet.plans[target.name])
        seconds = time.monotonic() - told.begun.at
        look = Look(told.begun, seconds, sample(target, told.taken, self.setup.settings["sql"]), outcomes)
        self.last[told.index] = look
        return look


def _is_reached(look: Look, until: Status | None) -> bool:
    """Whether a look is what was waited for; one that could not be determined never is."""
    return until is not None and look.status is not Status.UNKNOWN and gravity(look.status) >= gravity(until)

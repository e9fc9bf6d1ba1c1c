"""Whether connections grow, how fast, and when the server will be full: pure, explainable in four sentences.

The floor of each hour, its 10th percentile, is taken: a leak raises the floor, traffic raises the peaks. The test of
Mann and Kendall asks whether floors rise more often than they fall. The slope is the median of all pairwise slopes
(Theil and Sen); its interval comes from the same ranks. Over days only the same hours of different days are compared
(the seasonal test of Hirsch, Slack and Smith), so that a daily cycle is no growth; up to three days both must agree.

A restart of the server or a changed limit cuts the series: what was before says nothing of what comes. Hours without
samples stay empty, nothing is interpolated.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from statistics import NormalDist, fmean, median

from connaudit.dataclass import dataclass

HOUR = 3600.0
DAY = 86400.0
SIGNIFICANT = 0.01  # one-sided
LEAST_FLOORS = 8
LEAST_COVERAGE = 0.5
LEAST_RISE = 5.0  # connections ...
LEAST_SHARE = 0.1  # ... or this share of what is usable, whichever is more
DAILY_CYCLE = 48 * HOUR  # a shorter window may show one flank of a day
SEASONAL = 3 * DAY
MOST_FLOORS = 400  # pairs grow with the square: longer series are thinned
CAPPED = 90 * DAY  # nobody believes a forecast beyond
RESTARTED = 5.0  # seconds by which two reports of one start may differ: MySQL's is taken from its uptime
CORRELATED = 0.8  # of neighbouring floors, about their trend

CAVEATS = {
    "may_be_daily_cycle": "less than two days were seen: this may be the flank of a daily cycle",
    "cut_by_restart": "the server was restarted: what was before is left out",
    "cut_by_limit": "the limit was changed: what was before is left out",
    "gaps": "hours without samples are left out",
    "autocorrelated": "neighbouring hours resemble each other: the test is surer than it should be",
}


@dataclass(frozen=True, slots=True)
class Level:
    """A number of connections at an instant, seconds since 1970; of a floor, the beginning of its hour."""

    at: float
    value: float
    usable: int | None = None  # what the server allowed then; None: not told
    started: float | None = None  # when the server was started; None: not told


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from the last floor until nothing is left, with its interval; at most 90 days."""

    seconds: float
    low: float
    high: float
    capped: bool  # `seconds` is beyond 90 days


@dataclass(frozen=True, slots=True)
class Growth:
    """What a series of floors says. Slopes are connections per hour, their interval covers 95 %."""

    slope: float
    low: float
    high: float
    p_value: float  # one-sided: the chance that no growth looks like this
    rise: float  # connections over the window, along the slope
    first: float  # the first floor, and the last
    last: float
    hours: float  # window, from the first floor to the end of the last
    floors: int
    coverage: float  # of the window's hours, those with samples
    seasonal: bool  # same hours were compared
    caveats: tuple[str, ...]  # keys of CAVEATS
    unproven: str | None  # why it is not to be called growth, in words; None: it is
    forecast: Forecast | None  # None: no growth, or its slope may be none

    @property
    def proven(self) -> bool:
        """Whether this is growth."""
        return self.unproven is None


Names = tuple[str | None, ...]  # of a group: application, user, and further ones where more tell it apart


@dataclass(frozen=True, slots=True)
class Past:
    """What a history says of a target. Who has too few hours is left out."""

    whole: Growth | None  # of all connections; None: there are too few hours since the last cut
    owners: Mapping[Names, Growth]  # by application and user
    groups: Mapping[Names, Growth]  # by application, user, database and client


def floors(samples: Iterable[Level]) -> list[Level]:
    """Return the 10th percentile of each hour that has samples, with what was usable at its end.

    >>> floors([Level(60.0 * minute, 20 + minute % 10) for minute in range(60)])
    [Level(at=0.0, value=20, usable=None, started=None)]
    """
    hours: dict[float, list[Level]] = {}
    for sample in samples:
        hours.setdefault(sample.at // HOUR * HOUR, []).append(sample)
    return [Level(hour, floor(s.value for s in some), *_state(some)) for hour, some in sorted(hours.items())]


def _state(samples: Sequence[Level]) -> tuple[int | None, float | None]:
    last = max(samples, key=lambda sample: sample.at)
    return last.usable, last.started


def floor(values: Iterable[float]) -> float:
    """Return the 10th percentile by nearest rank: a value that really was."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) / 10) - 1)]


def since_cut(series: Sequence[Level]) -> tuple[Sequence[Level], tuple[str, ...]]:
    """Return what lies after the last restart or change of the limit, and which caveat tells of it."""
    for place in range(len(series) - 1, 0, -1):
        before, after = series[place - 1], series[place]
        if _restarted(before, after):
            return series[place:], ("cut_by_restart",)
        if before.usable is not None and after.usable is not None and before.usable != after.usable:
            return series[place:], ("cut_by_limit",)
    return series, ()


def _restarted(before: Level, after: Level) -> bool:
    return before.started is not None and after.started is not None and abs(after.started - before.started) > RESTARTED


def growth(series: Sequence[Level], usable: int | None) -> Growth | None:
    """Judge floors in the order of time; None if there are fewer than two after the last cut.

    `usable` is what the server allows now; None: no share of it is asked for, and nothing is forecast.
    """
    kept, caveats = since_cut(series)
    if len(kept) < 2:
        return None
    hours = (kept[-1].at - kept[0].at) / HOUR + 1
    coverage = len(kept) / hours
    used = thinned(kept)
    seasonal = hours * HOUR >= DAILY_CYCLE
    ranked = _seasonal(used) if seasonal else _ranked([used])
    if seasonal and hours * HOUR < SEASONAL:  # two of each hour are few: the whole must rise as well
        ranked = replace(ranked, p_value=max(ranked.p_value, _ranked([used]).p_value))
    rise = ranked.slope * (hours - 1)
    unproven = _unproven(ranked, rise, len(kept), coverage, usable)
    return Growth(
        slope=ranked.slope,
        low=ranked.low,
        high=ranked.high,
        p_value=ranked.p_value,
        rise=rise,
        first=kept[0].value,
        last=kept[-1].value,
        hours=hours,
        floors=len(kept),
        coverage=coverage,
        seasonal=seasonal,
        caveats=(*caveats, *_caveats(used, ranked, hours, coverage)),
        unproven=unproven,
        forecast=_forecast(kept, ranked, usable) if unproven is None and usable is not None else None,
    )


def _unproven(ranked: "Ranked", rise: float, count: int, coverage: float, usable: int | None) -> str | None:
    """Return why a series is not called growth."""
    least = max(LEAST_RISE, LEAST_SHARE * (usable or 0))
    if count < LEAST_FLOORS:
        return f"{count} of at least {LEAST_FLOORS} hours were sampled"
    if coverage < LEAST_COVERAGE:
        return f"only {coverage:.0%} of the hours were sampled"
    if ranked.p_value >= SIGNIFICANT:
        return "floors rise no more often than chance would have it"
    if rise < least:
        return f"it rose by {rise:.1f} connections; below {least:.1f} nothing is said"
    return None


def _caveats(used: Sequence[Level], ranked: "Ranked", hours: float, coverage: float) -> Iterator[str]:
    if hours * HOUR < DAILY_CYCLE:
        yield "may_be_daily_cycle"
    if coverage < 1.0:
        yield "gaps"
    if _correlation(used, ranked.slope) > CORRELATED:
        yield "autocorrelated"


def _correlation(series: Sequence[Level], slope: float) -> float:
    """Return how much neighbours resemble each other, the trend taken out; 0 where there is nothing to vary."""
    rest = [level.value - slope * (level.at - series[0].at) / HOUR for level in series]
    mean = fmean(rest)
    spread = sum((value - mean) ** 2 for value in rest)
    return sum((a - mean) * (b - mean) for a, b in pairwise(rest)) / spread if spread else 0.0


def thinned(series: Sequence[Level]) -> Sequence[Level]:
    """Return at most so many levels as can be compared pair by pair: the least of each few hours.

    Only numbers of hours that divide the day are taken together, so that the same hours stay the same.
    """
    for hours in (1, 2, 3, 4, 6, 8, 12, 24):
        blocks: dict[float, Level] = {}
        for level in series:
            block = level.at // (hours * HOUR)
            if block not in blocks or level.value < blocks[block].value:
                blocks[block] = level
        if len(blocks) <= MOST_FLOORS or hours == 24:
            return series if hours == 1 else [Level(at * hours * HOUR, one.value) for at, one in blocks.items()]
    raise AssertionError("the last block is always taken")


@dataclass(frozen=True, slots=True)
class Ranked:
    """What ranks say: the slope with its interval, and how likely it is by chance."""

    slope: float
    low: float
    high: float
    p_value: float


def _seasonal(series: Sequence[Level]) -> Ranked:
    """Compare each hour of the day only with itself."""
    seasons: dict[float, list[Level]] = {}
    for level in series:
        seasons.setdefault(level.at % DAY, []).append(level)
    return _ranked(list(seasons.values()))


def _ranked(seasons: Sequence[Sequence[Level]]) -> Ranked:
    slopes = sorted(slope for season in seasons for slope in _slopes(season))
    if not slopes:
        return Ranked(0.0, 0.0, 0.0, 1.0)
    score = sum(kendall([level.value for level in season]) for season in seasons)
    spread = math.sqrt(sum(variance([level.value for level in season]) for season in seasons))
    reach = NormalDist().inv_cdf(0.975) * spread
    low = slopes[max(0, math.floor((len(slopes) - reach) / 2) - 1)]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))]
    return Ranked(median(slopes), low, high, chance(score, spread))


def _slopes(season: Sequence[Level]) -> Iterator[float]:
    for before, after in combinations(season, 2):
        yield (after.value - before.value) / ((after.at - before.at) / HOUR)


def kendall(values: Sequence[float]) -> int:
    """Return how many pairs rise less how many fall.

    >>> kendall([1, 2, 3]), kendall([3, 1, 2])
    (3, -1)
    """
    return sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))


def variance(values: Sequence[float]) -> float:
    """Return the variance of `kendall` where there is no trend, corrected for ties.

    >>> variance([1, 2, 3, 4]), variance([1, 1, 1, 1])
    (8.666666666666666, 0.0)
    """
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    n = len(values)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in counts.values())
    return (n * (n - 1) * (2 * n + 5) - ties) / 18


def chance(score: float, spread: float) -> float:
    """Return the one-sided chance of such a score, by the normal approximation with its continuity correction."""
    if spread == 0.0 or score <= 0:
        return 1.0 if score <= 0 else 0.0
    return NormalDist().cdf(-(score - 1) / spread)


def _forecast(series: Sequence[Level], ranked: Ranked, usable: int) -> Forecast | None:
    """Return when the floor will have reached the limit; None if the slope may be none."""
    if ranked.low <= 0:
        return None
    recent = max(level.value for level in series if level.at > series[-1].at - DAY)
    left = max(0.0, usable - recent)
    seconds, soonest, latest = (left / slope * HOUR for slope in (ranked.slope, ranked.high, ranked.low))
    return Forecast(min(seconds, CAPPED), min(soonest, CAPPED), min(latest, CAPPED), capped=seconds > CAPPED)

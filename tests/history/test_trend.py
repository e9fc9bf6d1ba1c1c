"""Growth: what floors say, what only looks like it, and how often chance is taken for it."""

import random
import sys
from collections.abc import Callable, Sequence
from itertools import permutations
from math import pi, sin, sqrt
from statistics import mean, stdev

import pytest

from connaudit.history.trend import (
    CAVEATS,
    DAY,
    HOUR,
    MOST_FLOORS,
    SIGNIFICANT,
    Growth,
    Level,
    chance,
    floor,
    floors,
    growth,
    kendall,
    since_cut,
    thinned,
    variance,
)

USABLE = 97


def hourly(values: Sequence[float], first_hour: int = 0) -> list[Level]:
    return [Level((first_hour + hour) * HOUR, value, USABLE) for hour, value in enumerate(values)]


def judged(values: Sequence[float], usable: int | None = USABLE) -> Growth:
    found = growth(hourly(values), usable)
    assert found
    return found


def test_the_floor_is_a_value_that_was_and_a_tenth_lies_below() -> None:
    assert floor([7]) == 7
    assert floor(range(1, 11)) == 1
    assert floor(range(1, 21)) == 2
    assert floor([50] * 6 + [20] * 54) == 20


def test_floors_are_of_each_hour_that_has_samples_and_of_no_other() -> None:
    samples = [Level(HOUR * 5 + 60 * minute, 20 + minute, USABLE) for minute in range(60)]
    samples += [Level(HOUR * 9, 30, 47, 1000.0)]
    assert floors(reversed(samples)) == [Level(HOUR * 5, 25, USABLE), Level(HOUR * 9, 30, 47, 1000.0)]


def test_variance_and_chance_are_those_of_all_orders_of_the_values() -> None:
    for values in ((1, 2, 3, 4, 5, 6, 7), (1, 1, 2, 3, 3, 3, 4)):
        scores = [kendall(order) for order in permutations(values)]
        assert variance(values) == pytest.approx(sum(score**2 for score in scores) / len(scores))
        for score in (9, 13, 17):
            exact = sum(one >= score for one in scores) / len(scores)
            assert chance(score, sqrt(variance(values))) == pytest.approx(exact, abs=0.006)


def test_a_straight_rise_is_told_exactly() -> None:
    found = judged([20 + 0.5 * hour for hour in range(168)])
    assert found.proven
    assert (found.slope, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.rise, found.first, found.last) == pytest.approx((83.5, 20, 103.5))
    assert (found.hours, found.floors, found.coverage, found.seasonal, found.caveats) == (168, 168, 1.0, True, ())


def test_what_falls_or_stays_does_not_grow() -> None:
    for values in ([20.0] * 168, [100 - 0.5 * hour for hour in range(168)]):
        assert judged(values).unproven == "floors rise no more often than chance would have it"


@pytest.mark.parametrize(("hours", "proven"), [(7, False), (8, True)])
def test_eight_hours_are_the_least(hours: int, proven: bool) -> None:
    assert judged([20 + 2.0 * hour for hour in range(hours)]).proven is proven


@pytest.mark.parametrize(
    ("last", "usable", "proven"), [(24.9, 40, False), (25, 40, True), (29.9, 100, False), (30, 100, True)]
)
def test_it_must_rise_by_five_and_by_a_tenth_of_what_is_usable(last: float, usable: int, proven: bool) -> None:
    values = [20 + (last - 20) * hour / 23 for hour in range(24)]
    assert judged(values, usable).proven is proven


@pytest.mark.parametrize(("kept", "proven"), [(83, False), (84, True)])
def test_half_of_the_hours_must_be_sampled(kept: int, proven: bool) -> None:
    gone = random.Random(1).sample(range(1, 167), 168 - kept)
    levels = [level for hour, level in enumerate(hourly([20 + 0.5 * h for h in range(168)])) if hour not in gone]
    found = growth(levels, USABLE)
    assert found
    assert found.proven is proven
    assert found.floors == kept
    assert "gaps" in found.caveats
    assert found.slope == pytest.approx(0.5)


def test_a_night_without_samples_is_left_out_and_not_invented() -> None:
    levels = [level for level in hourly([20.0 + day // 24 for day in range(168)]) if level.at % DAY // HOUR >= 6]
    found = growth(levels, USABLE)
    assert found
    assert (found.floors, found.hours, round(found.coverage, 2)) == (126, 162, 0.78)


def test_a_restart_cuts_the_series() -> None:
    before = [Level(hour * HOUR, 20 + hour, USABLE, 1000.0) for hour in range(50)]
    after = [Level(hour * HOUR, 30, USABLE, 180000.0) for hour in range(50, 80)]
    found = growth([*before, *after], USABLE)
    assert found
    assert (found.floors, found.proven, found.caveats[0]) == (30, False, "cut_by_restart")


def test_the_same_start_told_from_an_uptime_that_is_rounded_is_no_restart() -> None:
    assert since_cut([Level(0, 1, None, 1000.0), Level(HOUR, 1, None, 1004.9)])[1] == ()
    assert since_cut([Level(0, 1, None, 1000.0), Level(HOUR, 1, None, 1005.1)])[1] == ("cut_by_restart",)


def test_a_changed_limit_cuts_the_series() -> None:
    levels = [Level(hour * HOUR, 20 + hour, 97 if hour < 50 else 197) for hour in range(80)]
    found = growth(levels, 197)
    assert found
    assert (found.floors, found.caveats[0]) == (30, "cut_by_limit")


def test_too_little_is_no_growth_at_all() -> None:
    assert growth([], USABLE) is None
    assert growth(hourly([20]), USABLE) is None


def test_every_caveat_has_its_sentence() -> None:
    found = judged([20 + 2.0 * hour for hour in range(12)])
    assert found.caveats == ("may_be_daily_cycle",)
    assert set(found.caveats) <= set(CAVEATS)


def test_the_end_is_forecast_with_the_interval_of_the_slope() -> None:
    noise = random.Random(3)
    found = judged([20 + 0.3 * hour + noise.choice((-2, -1, 0, 1, 2)) for hour in range(168)])
    cast = found.forecast
    assert cast
    assert 0 < found.low < found.slope < found.high
    left = USABLE - max(20 + 0.3 * hour for hour in range(144, 168))
    assert cast.seconds == pytest.approx(left / found.slope * HOUR, rel=0.12)
    assert cast.low < cast.seconds < cast.high
    assert not cast.capped


def test_without_a_limit_nothing_is_forecast() -> None:
    found = judged([20 + 0.06 * hour for hour in range(168)], usable=None)
    assert found.proven
    assert found.forecast is None


def test_a_slope_that_may_be_none_has_no_end() -> None:
    found = judged([20.0] * 168)
    assert found.forecast is None


@pytest.mark.parametrize(("days", "capped"), [(89, False), (91, True)])
def test_beyond_ninety_days_no_end_is_told(days: int, capped: bool) -> None:
    month = [20 + 0.1 * hour for hour in range(720)]
    found = judged(month, usable=round(month[-1] + 0.1 * 24 * days))
    assert found.forecast
    assert found.forecast.capped is capped
    assert found.forecast.seconds == pytest.approx(min(days, 90) * DAY, rel=0.01)


def test_long_series_are_thinned_to_the_least_of_a_few_hours_and_judged_alike() -> None:
    year = hourly([20 + 0.01 * hour + 10 * sin(hour / 12 * pi) for hour in range(24 * 365)])
    few = thinned(year)
    assert len(few) <= MOST_FLOORS
    found = growth(year, 1000)
    assert found
    assert found.slope == pytest.approx(0.01, rel=0.02)
    assert found.floors == 24 * 365


# How often chance is taken for growth. The figures of earlier measurements stand beside those of this run.

RUNS = 60


def history(
    seed: int,
    *,
    hours: int,
    memory: float = 0.9,
    per_hour: float = 0.0,
    daily: float = 0.0,
    begins: int = 0,
    weekend: float = 1.0,
) -> list[Level]:
    """Return a sample every five minutes: 20 connections, noise that remembers, and office hours on top."""
    dice = random.Random(seed)
    noise, levels = dice.gauss(0, 4), []
    for step in range(hours * 12):
        noise = memory * noise + dice.gauss(0, 4 * sqrt(1 - memory**2))
        hour = begins + step / 12
        office = max(0.0, sin((hour % 24 - 8) / 12 * pi)) if 8 <= hour % 24 <= 20 else 0.0
        busy = daily * office * (weekend if hour // 24 % 7 >= 5 else 1.0)
        levels.append(Level(hour * HOUR, max(0, round(20 + noise + per_hour * step / 12 + busy)), USABLE))
    return levels


def share(proves: Callable[[list[Level]], bool], runs: int = RUNS, **of: float) -> float:
    return sum(proves(history(seed, **of)) for seed in range(runs)) / runs  # type: ignore[arg-type]


def by_floors(levels: list[Level]) -> bool:
    found = growth(floors(levels), USABLE)
    return found is not None and found.proven


def by_raw_samples(levels: list[Level]) -> bool:
    """The way not taken: the same test on samples as they are."""
    values = [level.value for level in levels]
    return chance(kendall(values), sqrt(variance(values))) < SIGNIFICANT


def test_how_often_chance_is_taken_for_growth(capsys: pytest.CaptureFixture[str]) -> None:
    raw = {memory: share(by_raw_samples, 20, hours=24, memory=memory) for memory in (0.9, 0.98)}
    flat = {memory: share(by_floors, hours=24, memory=memory) for memory in (0.9, 0.98)}
    ramp = share(by_floors, 20, hours=12, daily=40, begins=2)
    days = {
        hours: max(share(by_floors, 10, hours=hours, daily=40, begins=at) for at in (0, 9, 20))
        for hours in (50, 72, 168)
    }
    weeks = max(share(by_floors, 5, hours=168, daily=40, begins=24 * day, weekend=0.1) for day in range(7))
    real = {(hours, slope): share(by_floors, 20, hours=hours, per_hour=slope, daily=20) for hours, slope in REAL}
    lines = [
        f"flat 24 h, memory .9     samples {raw[0.9]:4.0%} (42 %)   floors {flat[0.9]:4.0%} (2 %)",
        f"flat 24 h, memory .98    samples {raw[0.98]:4.0%} (45 %)   floors {flat[0.98]:4.0%} (11 %)",
        f"flank of a day, 12 h     floors {ramp:4.0%} (100 %), all with a caveat",
        *(f"whole days, {hours:>3} h        floors {rate:4.0%} (0 %)" for hours, rate in days.items()),
        f"weeks with a weekend     floors {weeks:4.0%}",
        *(f"{hours:>3} h of +{slope} an hour   found  {rate:4.0%} (100 %)" for (hours, slope), rate in real.items()),
    ]
    with capsys.disabled():
        sys.stdout.write("\n".join(("\n\nchance taken for growth, in brackets as measured earlier:", *lines)) + "\n")
    assert (flat[0.9] <= 0.05, flat[0.98] <= 0.15) == (True, True)
    assert max(days.values()) == 0
    assert weeks == 0
    assert ramp >= 0.8
    assert min(real.values()) >= 0.9


REAL = ((24, 1.0), (72, 0.5), (168, 0.1), (168, 0.3))


def test_every_flank_of_a_day_bears_its_caveat() -> None:
    for seed in range(10):
        found = growth(floors(history(seed, hours=12, daily=40, begins=2)), USABLE)
        assert found
        assert "may_be_daily_cycle" in found.caveats


def test_neither_peaks_nor_a_late_step_bend_the_slope() -> None:
    slopes = []
    for seed in range(12):
        dice = random.Random(seed)
        levels = [
            Level(hour * HOUR + minute * 60, 20 + hour + dice.gauss(0, 1) + (40 if dice.random() < 0.15 else 0))
            for hour in range(72)
            for minute in range(0, 60, 5)
        ]
        levels = [Level(one.at, one.value + (15 if one.at > 70 * HOUR else 0)) for one in levels]
        found = growth(floors(levels), None)
        assert found
        slopes.append(found.slope)
    assert mean(slopes) == pytest.approx(1.0, abs=0.03)
    assert stdev(slopes) < 0.03

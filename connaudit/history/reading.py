"""The history as it is read: lines over time, floors for the trend, records for other programs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.history import statements as sql
from connaudit.history.database import Work
from connaudit.history.recording import Group, numbers
from connaudit.history.summing import HOUR, Hour, Range, hour_of, summed_up
from connaudit.history.trend import Level, Names
from connaudit.snapshot import State

Window = tuple[int, int]  # milliseconds: from, and up to but without
DAY = 24 * HOUR

BY = ("db", "user", "app", "client", "state")
WHOLE = ("used", "free", "usable", "up")  # what is told of a target
STATES: Mapping[str, tuple[str, ...]] = {  # what is told of groups, and of which states; none: of all
    "sessions": (),
    "idle": (State.IDLE.value,),
    "idle_in_transaction": (State.IDLE_IN_TRANSACTION.value, State.ABORTED.value),
    "active": (State.ACTIVE.value, State.FASTPATH.value),
    "oldest_idle": (State.IDLE.value,),  # seconds
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line over time: `names` are of what it is by; instants are seconds since 1970."""

    names: Names
    points: tuple[tuple[float, float], ...]  # in order; nothing where nothing was sampled


@dataclass(frozen=True, slots=True)
class Known:
    """One target of the history; instants are seconds since 1970. None: it never told, or nothing is left."""

    name: str
    engine: str | None
    product: str | None
    version: str | None
    address: str | None
    first: float | None
    last: float | None
    samples: int


def known(work: Work) -> list[Known]:
    """Return every target, by name."""
    return [
        Known(name, engine, product, version, address, first and first / 1000, last and last / 1000, samples)
        for name, engine, product, version, address, first, last, samples in work.rows(sql.TARGETS)
    ]


def extent(work: Work) -> Window:
    """Return the first and the last moment of which anything is known; two zeros if nothing is."""
    ends = [end for statement in (sql.EXTENT, sql.EXTENT_OF_HOURS) for end in next(work.rows(statement))]
    told = [end for end in ends if end is not None]
    return (min(told), max(told)) if told else (0, 0)


def target_id(work: Work, target: str) -> int | None:
    """Return a target's number; None if it was never recorded."""
    return numbers(work, sql.TARGET_IDS).get(target)


def lines(work: Work, target: str, metric: str, by: Sequence[str], window: Window) -> list[Series]:
    """Return how a metric went, sample by sample."""
    number = target_id(work, target)
    if number is None:
        return []
    told = list(work.rows(sql.TARGET_SAMPLES, (number, *window)))
    if metric in WHOLE:
        points = [(ts / 1000, value) for ts, *row in told if (value := _whole(metric, *row)) is not None]
        return [Series((), tuple(points))] if points else []
    rows = (
        (ts, group, _number(metric, n, oldest)) for ts, group, n, oldest in work.rows(sql.SAMPLES, (number, *window))
    )
    return _by(rows, _named(work, number, metric, by), [ts for ts, up, *_ in told if up], metric)


def _whole(metric: str, up: int, _error: str | None, used: int | None, usable: int | None, *_: Any) -> float | None:
    if metric == "up":
        return up
    if metric == "used":
        return used
    return usable if metric == "usable" else None if used is None or usable is None else max(0, usable - used)


def _number(metric: str, n: int, oldest: int | None) -> float | None:
    return oldest if metric == "oldest_idle" else n


def hourly_lines(work: Work, target: str, metric: str, by: Sequence[str], window: Window) -> list[Series]:
    """Return how a metric went, by the means of hours; of `oldest_idle` hours tell nothing."""
    number = target_id(work, target)
    if number is None:
        return []
    hours = list(_hours(work, number, window, groups=metric not in WHOLE))
    if metric in WHOLE:
        points = [(hour.at / 1000, value) for hour in hours if (value := _mean(metric, hour)) is not None]
        return [Series((), tuple(points))] if points else []
    rows = ((hour.at, group, one.mean) for hour in hours for group, one in hour.groups.items())
    return _by(rows, _named(work, number, metric, by), [hour.at for hour in hours], metric)


def _mean(metric: str, hour: Hour) -> float | None:
    used = hour.used.mean if hour.used else None
    if metric == "used":
        return used
    return hour.usable if metric == "usable" else None if used is None or hour.usable is None else hour.usable - used


def _named(work: Work, target: int, metric: str, by: Sequence[str]) -> dict[int, Names]:
    """Return the names under which each group counts; those of other states are left out."""
    states = STATES.get(metric, ())
    groups = ((number, Group(*values)) for number, *values in work.rows(sql.GROUPS, (target,)))
    return {
        number: tuple(getattr(group, key) for key in by)
        for number, group in groups
        if not states or group.state in states
    }


def _by(
    rows: Iterator[tuple[int, int, float | None]], named: Mapping[int, Names], times: Sequence[int], metric: str
) -> list[Series]:
    """Return a line for each name, the highest at the end first; who is not there at a time counts zero then."""
    found: dict[Names, dict[int, float]] = {}
    for ts, group, value in rows:
        if group in named and value is not None:
            line = found.setdefault(named[group], {})
            line[ts] = max(line.get(ts, 0), value) if metric == "oldest_idle" else line.get(ts, 0) + value
    every = [
        Series(names, tuple((ts / 1000, line.get(ts, 0)) for ts in times if metric != "oldest_idle" or ts in line))
        for names, line in found.items()
    ]
    return sorted(every, key=lambda series: (-series.points[-1][1] if series.points else 0, repr(series.names)))


def _hours(work: Work, target: int, window: Window, *, groups: bool) -> Iterator[Hour]:
    """Yield the hours of a window: those that are summed up, then the rest from their samples."""
    begin, end = window
    summed = min(summed_up(work), end)
    ranges: dict[int, dict[int, Range]] = {}
    if groups:
        for ts, group, *told in work.rows(sql.HOURS, (target, begin, summed)):
            ranges.setdefault(ts, {})[group] = Range(*told)
    for ts, least, low, mean, most, usable, started, samples in work.rows(sql.TARGET_HOURS, (target, begin, summed)):
        yield Hour(ts, Range(least, low, mean, most), usable, started, samples, ranges.get(ts, {}))
    rest = work.rows(sql.TARGET_SAMPLES, (target, max(begin, summed), end))
    for at in sorted({row[0] // HOUR * HOUR for row in rest}):
        hour = hour_of(work, target, at)
        if hour.samples:
            yield hour


def floors(work: Work, target: str, by: Sequence[str], window: Window) -> dict[Names, list[Level]]:
    """Return the floor of each hour; of `()` what was used of the whole target, with its limit and its start.

    Floors of the groups of one name are added. Where a name has no session in an hour, its floor is zero.
    """
    number = target_id(work, target)
    if number is None:
        return {}
    hours = list(_hours(work, number, window, groups=bool(by)))
    if not by:
        return {(): [_level(hour, hour.used.floor) for hour in hours if hour.used]}
    named = _named(work, number, "sessions", by)
    found: dict[Names, dict[int, int]] = {}
    for hour in hours:
        for group, one in hour.groups.items():
            if group in named:
                line = found.setdefault(named[group], {})
                line[hour.at] = line.get(hour.at, 0) + one.floor
    return {names: [_level(hour, line.get(hour.at, 0)) for hour in hours] for names, line in found.items()}


def _level(hour: Hour, value: int) -> Level:
    return Level(hour.at / 1000, value, hour.usable, hour.started)


def records(work: Work, target: str, window: Window) -> Iterator[dict[str, Any]]:
    """Yield all that is stored of a target in a window: hours, then samples."""
    number = target_id(work, target)
    if number is None:
        return
    groups = {one: Group(*values)._asdict() for one, *values in work.rows(sql.GROUPS, (number,))}
    for ts, least, low, mean, most, usable, started, samples in work.rows(sql.TARGET_HOURS, (number, *window)):
        state = {"usable": usable, "started_at": _moment(started, 1), "samples": samples}
        yield {"kind": "target_hour", "target": target, "at": _moment(ts), **_range(least, low, mean, most), **state}
    for ts, group, *told in work.rows(sql.HOURS, (number, *window)):
        whose = groups[group]
        yield {"kind": "group_hour", "target": target, "at": _moment(ts), **whose, **_range(*told)}
    for ts, up, error, used, usable, started in work.rows(sql.TARGET_SAMPLES, (number, *window)):
        state = {"used": used, "usable": usable, "started_at": _moment(started, 1)}
        yield {"kind": "target", "target": target, "at": _moment(ts), "up": bool(up), "error": error, **state}
    for ts, group, n, oldest in work.rows(sql.SAMPLES, (number, *window)):
        whose = groups[group]
        yield {"kind": "group", "target": target, "at": _moment(ts), **whose, "sessions": n, "oldest_seconds": oldest}


def _range(least: int, low: int, mean: float, most: int) -> dict[str, float]:
    return {"min": least, "p10": low, "avg": round(mean, 4), "max": most}


def _moment(ts: int | None, unit: int = 1000) -> str | None:
    """Return a stored time as RFC 3339; `unit` is how many make a second."""
    if ts is None:
        return None
    return datetime.fromtimestamp(ts / unit, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

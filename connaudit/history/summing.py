"""Hours in short, and what is forgotten: done once an hour by whoever records then."""

from collections.abc import Iterable, Mapping, Sequence

from connaudit.dataclass import dataclass
from connaudit.history import statements as sql
from connaudit.history.database import Work
from connaudit.history.trend import floor

HOUR = 3_600_000  # milliseconds
LATE = 2 * HOUR  # summed up once more: runs may come late
MAINTAINED, SUMMED_UP = "maintained", "summed_up"  # marks: when it was done last, and up to which hour


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept, in seconds; hours at least as long as the samples that they sum up."""

    raw: float = 14 * 86400.0
    hourly: float = 400 * 86400.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was forgotten."""

    samples: int
    hours: int


@dataclass(frozen=True, slots=True)
class Range:
    """A number over an hour: its least, floor, mean and most."""

    least: int
    floor: int
    mean: float
    most: int

    @property
    def values(self) -> tuple[int, int, float, int]:
        """Return them as they are stored."""
        return self.least, self.floor, self.mean, self.most


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a target. `used` None: it did not tell, or never answered."""

    at: int
    used: Range | None
    usable: int | None  # at the end of the hour, as the next
    started: int | None
    samples: int  # in which it answered
    groups: Mapping[int, Range]


def is_due(work: Work, now: int) -> bool:
    """Return whether an hour has passed since anybody did it; of several that ask at once one is told so."""
    work.run(sql.ADD_MARK, (MAINTAINED, 0))
    return work.run(sql.MOVE_MARK, (now, MAINTAINED, now - HOUR)) == 1


def maintain(work: Work, now: int, keep: Keep) -> Pruned:
    """Sum up every hour that has ended, then forget what is older than it is kept."""
    whole = now // HOUR * HOUR
    work.run(sql.ADD_MARK, (SUMMED_UP, 0))
    for hour in _hours(work, summed_up(work) - LATE, whole):
        for _, target in list(work.rows(sql.TARGET_IDS)):
            _store(work, target, hour_of(work, target, hour))
    work.run(sql.MOVE_MARK, (whole, SUMMED_UP, whole))
    raw, hourly = round(keep.raw * 1000), round(max(keep.hourly, keep.raw) * 1000)
    samples = sum(work.run(statement, (min(now - raw, whole - LATE),)) for statement in sql.FORGET)
    hours = sum(work.run(statement, (now - hourly,)) for statement in sql.FORGET_HOURS)
    if samples or hours:
        work.run(sql.FORGET_GROUPS, (whole - LATE,))
        work.run(sql.FORGET_ALERTS, (now - hourly,))
    return Pruned(samples, hours)


def summed_up(work: Work) -> int:
    """Return the hour from which on nothing is summed up yet."""
    return next((int(row[0]) for row in work.rows(sql.MARK, (SUMMED_UP,))), 0)


def _hours(work: Work, begin: int, end: int) -> list[int]:
    """Return the hours in which there were runs."""
    return sorted({ts // HOUR * HOUR for (ts,) in work.rows(sql.RUNS, (begin // HOUR * HOUR, end))})


def hour_of(work: Work, target: int, at: int) -> Hour:
    """Sum up one hour of a target from its samples."""
    window = (target, at, at + HOUR)
    told = [row for row in work.rows(sql.TARGET_SAMPLES, window) if row[1]]
    counts: dict[int, list[int]] = {}
    for _, group, number, _ in work.rows(sql.SAMPLES, window):
        counts.setdefault(group, []).append(number)
    return Hour(
        at=at,
        used=_range([used for _, _, _, used, _, _ in told if used is not None], 0),
        usable=next((row[4] for row in reversed(told) if row[4] is not None), None),
        started=next((row[5] for row in reversed(told) if row[5] is not None), None),
        samples=len(told),
        groups={
            group: found
            for group, numbers in counts.items()
            if (found := _range(numbers, len(told) - len(numbers))) is not None
        },
    )


def _range(values: Sequence[int], absent: int) -> Range | None:
    """Return what there is to say of some numbers, and of as many zeros as a group was absent; None of no numbers."""
    if not values:
        return None
    every = [*values, *[0] * max(0, absent)]
    return Range(min(every), int(floor(every)), sum(every) / len(every), max(every))


def _store(work: Work, target: int, hour: Hour) -> None:
    if hour.used is not None:
        state = (hour.usable, hour.started, hour.samples)
        work.run(sql.ADD_TARGET_HOUR, (target, hour.at, *hour.used.values, *state))
    rows: Iterable[tuple[object, ...]] = [(group, hour.at, *one.values) for group, one in sorted(hour.groups.items())]
    work.run_many(sql.ADD_HOUR, list(rows))

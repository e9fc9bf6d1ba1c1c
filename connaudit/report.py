"""What a diagnostic says of one target: values with units, never text laid out for somebody.

Keys of columns, metrics and summaries are a contract with scripts; labels and sentences are for people.
"""

from collections.abc import Iterable
from dataclasses import field, replace
from enum import Enum, IntEnum
from typing import Any, Self

from connaudit.dataclass import dataclass
from connaudit.errors import NoSlotsLeft, TargetError
from connaudit.snapshot import Address, Fact, Gap, Server

Value = None | bool | int | float | str | tuple["Value", ...]


class Status(IntEnum):
    """A verdict; its number is the exit status that monitoring systems know."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3  # could not be determined

    @property
    def word(self) -> str:
        """Return the form that JSON uses."""
        return self.name.lower()


_GRAVITY = (Status.OK, Status.UNKNOWN, Status.WARNING, Status.CRITICAL)


def gravity(status: Status) -> int:
    """Return the rank in OK < UNKNOWN < WARNING < CRITICAL, the order in which verdicts are composed."""
    return _GRAVITY.index(status)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the gravest; OK if there is none.

    >>> worst([Status.OK, Status.UNKNOWN, Status.WARNING]).name
    'WARNING'
    """
    return max(statuses, key=gravity, default=Status.OK)


class Unit(Enum):
    """How a value is to be read."""

    NONE = ""  # a text, or several
    ID = "id"  # a number that only names something: a pid, a port
    IDS = "ids"  # several of them
    FLAG = "flag"  # yes or no
    SECONDS = "s"
    COUNT = "count"
    CONNECTIONS = "connections"
    RATIO = "ratio"
    NUMBER = "number"  # of nothing that can be counted: a rate, a chance
    NUMBERS = "numbers"  # several of them
    TREND = "trend"  # how a number went: its means over equal parts of a time; None where nothing was sampled
    TIMESTAMP = "timestamp"
    SQL = "sql"  # text of a statement: may be long, is cut first, never shown by monitoring formats


class Show(IntEnum):
    """Where a column appears; a narrow table drops the highest first."""

    ALWAYS = 0
    TABLE = 1
    ROOMY = 2  # in a table while there is room
    WIDE = 3  # in `-f wide` and machine formats
    DATA = 4  # in machine formats only


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `key` in JSON and CSV, `label` in tables."""

    key: str
    label: str
    unit: Unit = Unit.NONE
    show: Show = Show.TABLE

    @property
    def is_number(self) -> bool:
        """Whether values stand to the right."""
        return self.unit in (Unit.SECONDS, Unit.COUNT, Unit.CONNECTIONS, Unit.RATIO, Unit.NUMBER)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values under columns; `total` is how many there were before a limit cut them."""

    key: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = ()
    total: int = 0
    order: str | None = None  # how rows are ordered, in words: "oldest first"

    def records(self) -> list[dict[str, Value]]:
        """Return each row by the keys of its columns."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def limited(self, most: int | None) -> Self:
        """Return the same table with at most that many rows."""
        return self if most is None or len(self.rows) <= most else replace(self, rows=self.rows[:most])


@dataclass(frozen=True, slots=True)
class Metric:
    """A number for monitoring; `warning` and `critical` are the ranges really applied, in base units."""

    name: str
    value: float
    unit: Unit = Unit.NONE
    warning: str | None = None
    critical: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    needs: frozenset[Fact] = frozenset()  # without these the value would be a guess, and is left out


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should act on; `code` is stable and has a page in advice/."""

    code: str
    status: Status
    message: str
    metric: str | None = None
    value: float | None = None
    unit: Unit = Unit.NONE
    threshold: str | None = None
    hint: str | None = None
    sessions: tuple[int, ...] = ()
    because: str | None = None  # the code of the finding that it follows from, of the same target


@dataclass(frozen=True, slots=True)
class Story:
    """One cause behind the findings of several diagnostics; all but the one that names it have `because`."""

    code: str  # of the finding that names the cause
    status: Status  # the gravest verdict that it explains
    culprit: str  # 48211; prepared transaction gid1
    value: str  # the short form
    message: str  # the whole: what it holds, how many wait, how many connections that explains
    hint: str | None = None
    sessions: tuple[int, ...] = ()  # the culprits first, then who waits behind them
    checks: tuple[str, ...] = ()  # whose findings it explains


@dataclass(frozen=True, slots=True)
class Plot:
    """How a number went between two instants, seconds since 1970; where nothing was sampled it has no point."""

    title: str
    begin: float
    end: float
    points: tuple[tuple[float, float], ...]  # instants and values, in the order of time
    limit: float | None = None  # the most that it can be

    def parts(self, count: int) -> tuple[float | None, ...]:
        """Return the mean of each of so many equal parts of the time; None where nothing was sampled.

        >>> Plot("used", 0, 40, ((1, 2), (9, 4), (35, 5))).parts(4)
        (3.0, None, None, 5.0)
        """
        parts: list[list[float]] = [[] for _ in range(count)]
        for at, value in self.points:
            place = int((at - self.begin) / (self.end - self.begin) * count)
            if 0 <= place <= count:
                parts[min(place, count - 1)].append(value)
        return tuple(sum(part) / len(part) if part else None for part in parts)

    @property
    def peak(self) -> float:
        """Return the highest value; 0 if there is none."""
        return max((value for _, value in self.points), default=0.0)

    def runs(self) -> list[tuple[tuple[float, float], ...]]:
        """Return the points in runs, between which samples are missing: for three times as long as is usual.

        >>> [len(run) for run in Plot("", 0, 9, ((0, 1), (1, 1), (2, 1), (6, 1), (7, 1))).runs()]
        [3, 2]
        """
        steps = sorted(after - before for (before, _), (after, _) in zip(self.points, self.points[1:], strict=False))
        longest = 3 * steps[len(steps) // 2] if steps else 0.0
        runs: list[list[tuple[float, float]]] = []
        for at, value in self.points:
            if not runs or at - runs[-1][-1][0] > longest:
                runs.append([])
            runs[-1].append((at, value))
        return [tuple(run) for run in runs]


@dataclass(frozen=True, slots=True)
class Source:
    """Of which target an outcome speaks."""

    target: str
    origin: str
    engine: str
    address: Address
    server: Server | None = None  # None: it never answered
    taken_at: str | None = None
    visibility: str | None = None  # full, partial
    stages: tuple[tuple[str, float], ...] = ()  # seconds that dns, tcp, tls, login, query took


@dataclass(frozen=True, slots=True)
class Report:
    """What one diagnostic says of one target."""

    check: str
    source: Source
    status: Status
    headline: str  # one sentence, without the status word
    value: str = ""  # the short form for one line of many: "94 of 97 used (96.9%)"
    limit: str = ""  # the threshold that decided, as people write it
    details: tuple[str, ...] = ()  # further sentences below the headline
    summary: dict[str, Any] = field(default_factory=dict)
    brief: Table | None = None  # one row: how this target stands in a list of many
    overviews: tuple[Table, ...] = ()  # stand in JSON's summary under their keys
    table: Table | None = None  # the rows
    metrics: tuple[Metric, ...] = ()
    findings: tuple[Finding, ...] = ()
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    story: Story | None = None  # where several diagnostics were asked, and this one names the cause
    plots: tuple[Plot, ...] = ()  # what a history knows of the target, for formats that can draw


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one target could not be audited; stands in the place of its reports."""

    source: Source
    error: TargetError
    status: Status
    checks: tuple[str, ...] = ()  # what was to be run

    @property
    def is_full(self) -> bool:
        """Whether the failure is itself the finding: no connection left."""
        return isinstance(self.error, NoSlotsLeft)

    @property
    def finding(self) -> Finding:
        """Return the failure as a finding, with a code that has a page."""
        return Finding("CA102" if self.is_full else "CA901", self.status, self.error.message, hint=self.error.hint)


Outcome = Report | Failure

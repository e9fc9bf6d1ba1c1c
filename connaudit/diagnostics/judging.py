"""From numbers and thresholds to verdicts: the one way in which every diagnostic judges."""

from collections.abc import Sequence

from connaudit.dataclass import dataclass
from connaudit.options import Options
from connaudit.report import Finding, Status, Unit, worst
from connaudit.thresholds import Condition, Measure, Metric, Range, check_order, parse_condition

UNITS = {Measure.SECONDS: Unit.SECONDS, Measure.COUNT: Unit.COUNT, Measure.SLOTS: Unit.CONNECTIONS}


@dataclass(frozen=True, slots=True)
class Limits:
    """The conditions that hold in a run: the user's, and the defaults that agree with them."""

    warning: tuple[Condition, ...]
    critical: tuple[Condition, ...]

    def of(self, metric: Metric) -> "Limits":
        """Return those that speak of one metric."""
        return Limits(*(tuple(c for c in level if c.metric == metric) for level in (self.warning, self.critical)))

    def broken_by(self, value: float) -> bool:
        """Return whether a value in base units breaks any of them."""
        return any(condition.range.alerts(value) for condition in (*self.critical, *self.warning))

    def __bool__(self) -> bool:
        return bool(self.warning or self.critical)


def limits(options: Options, metrics: tuple[Metric, ...], warning: Sequence[str], critical: Sequence[str]) -> Limits:
    """Return what holds: `-w` replaces the default warnings, `-c` the default criticals.

    A default that would contradict the user's other level is dropped, so that `-w 95pct` alone is no error.
    """
    soft = options.warning or tuple(parse_condition(text, metrics) for text in warning)
    hard = options.critical or tuple(parse_condition(text, metrics) for text in critical)
    if options.warning and not options.critical:
        hard = tuple(c for c in hard if _agree(soft, (c,)))
    if options.critical and not options.warning:
        soft = tuple(c for c in soft if _agree((c,), hard))
    return Limits(soft, hard)


def _agree(warning: tuple[Condition, ...], critical: tuple[Condition, ...]) -> bool:
    try:
        check_order(warning, critical)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Judgement:
    """One value held against its thresholds. `value` None: it was not told."""

    metric: Metric
    value: float | None
    status: Status
    decisive: Condition | None  # the condition that it broke
    applied: Range | None  # the same in base units
    warning: str | None  # the first warning and critical in base units, for monitoring formats
    critical: str | None

    @property
    def limit(self) -> str:
        """Return the broken threshold as people write it, or nothing."""
        return self.decisive.range.spoken(self.metric.measure) if self.decisive else ""

    def finding(self, code: str, message: str, hint: str | None = None, sessions: tuple[int, ...] = ()) -> Finding:
        """Return the finding of a broken threshold."""
        unit = UNITS[self.metric.measure]
        threshold = str(self.applied) if self.applied else None
        return Finding(code, self.status, message, self.metric.name, self.value, unit, threshold, hint, sessions)


def judge(metric: Metric, value: float | None, limits: Limits, base: float = 0) -> Judgement:
    """Hold one value against the conditions on its metric; percentages are of `base`.

    A value that was not told is UNKNOWN if anybody set a threshold on it.
    """
    own = limits.of(metric)
    applied = [[c.range.of(base) for c in level] for level in (own.warning, own.critical)]
    first = [str(ranges[0]) if ranges else None for ranges in applied]
    if value is None:
        return Judgement(metric, None, Status.UNKNOWN if own else Status.OK, None, None, first[0], first[1])
    for status, level, ranges in (
        (Status.CRITICAL, own.critical, applied[1]),
        (Status.WARNING, own.warning, applied[0]),
    ):
        for condition, in_units in zip(level, ranges, strict=True):
            if in_units.alerts(value):
                return Judgement(metric, value, status, condition, in_units, first[0], first[1])
    return Judgement(metric, value, Status.OK, None, None, first[0], first[1])


def composed(judgements: Sequence[Judgement]) -> Status:
    """Return the gravest of several verdicts."""
    return worst(j.status for j in judgements)

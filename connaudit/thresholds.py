"""Thresholds in the Nagios range notation, with units: read, compared with values, written back.

COND  := [METRIC=]RANGE
RANGE := N | N: | ~:N | N:M | @N:M      alert when outside; @ alerts inside; a bare N alerts above N or below 0
N     := number with % or pct (of usable slots), ms s m h d (and 1h30m), or no unit
"""

import difflib
import re
from enum import Enum

from connaudit.dataclass import dataclass
from connaudit.units import format_duration, format_number, parse_duration


class Measure(Enum):
    """What a metric counts, and so which units it takes."""

    SECONDS = "seconds"
    COUNT = "count"
    SLOTS = "slots"  # a count that may be given as a percentage of the usable ones


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a diagnostic can be asked to judge."""

    name: str
    measure: Measure
    help: str
    falls: bool = False  # less is worse: only a lower bound makes sense


@dataclass(frozen=True, slots=True)
class Range:
    """The values that are well; None is an open end."""

    low: float | None
    high: float | None
    inside: bool = False  # True: the values within are the bad ones
    percent: bool = False  # the ends are percentages of a base that is known only later

    def of(self, base: float) -> "Range":
        """Return the range in base units, percentages taken of `base`."""
        if not self.percent:
            return self
        low, high = (None if end is None else end * base / 100 for end in (self.low, self.high))
        return Range(low, high, self.inside)

    def alerts(self, value: float) -> bool:
        """Return whether a value in base units calls for an alert.

        >>> [Range(None, 5).alerts(v) for v in (4, 5, 5.1)], Range(10, 20, inside=True).alerts(10)
        ([False, False, True], True)
        """
        within = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        return within if self.inside else not within

    def __str__(self) -> str:
        """Return the notation that monitoring systems read, in base units."""
        low = "~" if self.low is None else format_number(self.low)
        if self.low == 0 and self.high is not None and not self.inside:
            return format_number(self.high) + self._suffix
        high = "" if self.high is None else format_number(self.high)
        return f"{'@' if self.inside else ''}{low}:{high}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return "pct" if self.percent else ""

    def spoken(self, measure: Measure) -> str:
        """Return the bound as people write it: 10m, 90pct, 3:.

        >>> Range(0, 600).spoken(Measure.SECONDS), Range(3, None).spoken(Measure.SLOTS)
        ('10m', '3:')
        """

        def end(value: float) -> str:
            if measure is Measure.SECONDS:
                return format_duration(value).replace("m00s", "m").replace("h00m", "h").replace("d00h", "d")
            return format_number(value) + self._suffix

        if self.low in (None, 0) and self.high is not None and not self.inside:
            return end(self.high)
        low = "~" if self.low is None else end(self.low)
        return f"{'@' if self.inside else ''}{low}:{'' if self.high is None else end(self.high)}"


@dataclass(frozen=True, slots=True)
class Condition:
    """One threshold: this metric, this range."""

    metric: Metric
    range: Range

    def __str__(self) -> str:
        return f"{self.metric.name}={self.range.spoken(self.metric.measure)}"


def parse_condition(text: str, metrics: tuple[Metric, ...]) -> Condition:
    """Read one condition; the first metric is meant where none is named. ValueError says what to write instead."""
    if text.startswith("/"):
        raise ValueError("your shell expanded ~; quote the range: '~:5'")
    name, equals, rest = text.rpartition("=")
    if not equals:
        return Condition(metrics[0], parse_range(rest, metrics[0]))
    for metric in metrics:
        if metric.name == name.strip():
            return Condition(metric, parse_range(rest, metric))
    known = ", ".join(m.name for m in metrics)
    near = difflib.get_close_matches(name, [m.name for m in metrics], 1)
    raise ValueError(f"no metric {name!r} here (there are {known})" + (f"; did you mean {near[0]}?" if near else ""))


def parse_range(text: str, metric: Metric) -> Range:
    """Read one range for a metric.

    >>> slots = Metric("used", Measure.SLOTS, "")
    >>> [str(parse_range(t, slots).of(97)) for t in ("90pct", "~:120", "@5:10", "5:")]
    ['87.3', '~:120', '@5:10', '5:']
    """
    inside, body = text.startswith("@"), text.strip().removeprefix("@")
    if not body:
        raise ValueError("a range is missing; write for example 80pct, 5: or 10m")
    if body.startswith("/"):
        raise ValueError("your shell expanded ~; quote the range: '~:5'")
    first, colon, second = body.partition(":")
    if not colon:
        first, second = "0", first
    low = None if first in ("~", "") else _number(first, metric)
    high = _number(second, metric) if second else None
    ends = [end for end in (low, high) if end is not None and end[0] != 0]
    percent = any(is_percent for _, is_percent in ends)
    if percent and not all(is_percent for _, is_percent in ends):
        raise ValueError(f"{text!r} mixes a percentage with a number")
    result = Range(low and low[0], high and high[0], inside, percent)
    _sensible(result, metric, text, bare=not colon)
    return result


def _number(text: str, metric: Metric) -> tuple[float, bool]:
    """Return the number in base units, and whether it is a percentage."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:%|pct)", text)
    if match:
        if metric.measure is not Measure.SLOTS:
            raise ValueError(f"{metric.name} has no percentage; write a plain {metric.measure.value} value")
        return float(match[1]), True
    if metric.measure is Measure.SECONDS:
        return parse_duration(text), False
    if not re.fullmatch(r"\d+(?:\.\d+)?", text):
        raise ValueError(f"{text!r} is not a number of {metric.name}")
    if metric.measure is Measure.SLOTS and 0 < float(text) < 1:
        raise ValueError(f"{text} is less than one connection; did you mean {format_number(float(text) * 100)}pct?")
    return float(text), False


def _sensible(found: Range, metric: Metric, text: str, *, bare: bool) -> None:
    """Raise ValueError for a range that cannot be meant."""
    if metric.falls and (bare or (found.low is None and not found.inside)):
        raise ValueError(f"write {metric.name}={text.lstrip('@')}: to alert below {text.lstrip('@')}")
    if found.low is not None and found.high is not None and found.low > found.high:
        raise ValueError(f"{text!r}: the lower end is above the upper end")
    if found.percent and (found.high or 0) > 1000:
        raise ValueError(f"{text!r}: nobody has that many percent")


def check_order(warning: tuple[Condition, ...], critical: tuple[Condition, ...]) -> None:
    """Raise ValueError where a warning would come later than its critical."""
    for soft in warning:
        for hard in critical:
            if soft.metric == hard.metric and soft.range.percent == hard.range.percent:
                _check_pair(soft, hard)


def _check_pair(soft: Condition, hard: Condition) -> None:
    if soft.range.inside or hard.range.inside:
        return
    later_above = soft.range.high is not None and hard.range.high is not None and soft.range.high > hard.range.high
    later_below = soft.range.low is not None and hard.range.low is not None and soft.range.low < hard.range.low
    if later_above or later_below:
        raise ValueError(f"the warning {soft} would come after the critical {hard}; swap them")

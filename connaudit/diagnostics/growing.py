"""What the history says of a target's growth, as verdicts, sentences and findings."""

from collections.abc import Iterable
from dataclasses import replace

from connaudit.dataclass import dataclass
from connaudit.diagnostics.judging import Judgement, Limits, judge
from connaudit.history.trend import CAVEATS, LEAST_FLOORS, Growth, Names, Past
from connaudit.options import Options
from connaudit.report import Column, Finding, Status, Unit, Value, worst
from connaudit.thresholds import Measure, Metric
from connaudit.units import format_duration, format_number

GROWTH = Metric("growth", Measure.COUNT, "connections that come to stay, per hour; needs a history")
EXHAUSTION = Metric("exhaustion", Measure.SECONDS, "time until none is left; needs a history", falls=True)
MOST_OWNERS = 3  # that are named
FLANK = "may_be_daily_cycle"
SUMMARY = (
    Column("growth_per_hour", "GROWTH/H", Unit.NUMBER),
    Column("growth_ci95", "GROWTH/H FROM, TO", Unit.NUMBERS),
    Column("growth_proven", "GROWTH PROVEN", Unit.FLAG),
    Column("p_value", "P", Unit.NUMBER),
    Column("floor_first", "FIRST FLOOR", Unit.CONNECTIONS),
    Column("floor_last", "LAST FLOOR", Unit.CONNECTIONS),
    Column("window_hours", "HOURS", Unit.COUNT),
    Column("coverage", "COVERAGE", Unit.RATIO),
    Column("exhaustion_seconds", "EXHAUSTION", Unit.SECONDS),
    Column("exhaustion_ci95_seconds", "EXHAUSTION FROM, TO", Unit.NUMBERS),
    Column("exhaustion_beyond_seconds", "EXHAUSTION BEYOND", Unit.SECONDS),
    Column("caveats", "CAVEATS"),
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """How growth was judged; `past` None: there is no history."""

    past: Past | None
    slope: Judgement
    exhaustion: Judgement

    @property
    def growth(self) -> Growth | None:
        """Return the growth of all connections; None where there is no history, or too little of it."""
        return self.past.whole if self.past else None

    def slope_of(self, names: Names) -> float | None:
        """Return by how many connections a group grows in an hour; None if that is not proven."""
        growth = self.past.groups.get(names) if self.past else None
        return round(growth.slope, 4) if growth and growth.proven else None

    @property
    def status(self) -> Status:
        """Return the verdict; growth that is proven and no flank of a day is worth a warning by itself."""
        grows = self.growth is not None and self.growth.proven and FLANK not in self.growth.caveats
        return worst([self.slope.status, self.exhaustion.status, Status.WARNING if grows else Status.OK])


def outlook(past: Past | None, options: Options, held: Limits, *, suspected: bool) -> Outlook:
    """Judge growth; it is never CRITICAL by itself, without connections that nobody uses, nor on a part of a day."""
    growth = past.whole if past else None
    alone = not suspected or (growth is not None and FLANK in growth.caveats)
    slope, exhaustion = _slope(growth), _exhaustion(growth)
    judged = (_judged(GROWTH, slope, options, held), _judged(EXHAUSTION, exhaustion, options, held))
    return Outlook(past, *(_softened(judgement) if alone else judgement for judgement in judged))


def _slope(growth: Growth | None) -> float | None:
    if growth is None:
        return None
    return max(0.0, growth.slope) if growth.proven else 0.0


def _exhaustion(growth: Growth | None) -> float | None:
    if growth is None:
        return None
    return growth.forecast.seconds if growth.forecast and not growth.forecast.capped else float("inf")


def _judged(metric: Metric, value: float | None, options: Options, held: Limits) -> Judgement:
    """Judge one value; without a history only a threshold that somebody asked for is UNKNOWN."""
    asked = any(c.metric == metric for c in (*options.warning, *options.critical))
    if value is None and not asked:
        held = Limits((), ())
    return judge(metric, value, held)


def _softened(judgement: Judgement) -> Judgement:
    return replace(judgement, status=Status.WARNING) if judgement.status is Status.CRITICAL else judgement


def sentences(look: Outlook, usable: int) -> Iterable[str]:
    """Yield what a reader should know of the growth."""
    growth = look.growth
    if growth is None:
        few = f"the history has too few hours: growth is judged from {LEAST_FLOORS} on"
        yield few if look.past else "no history: growth is not judged"
        return
    of = format_number(round(growth.floors / growth.coverage))
    window = f"{format_duration(growth.hours * 3600)}, {growth.floors} of {of} hourly floors"
    if growth.unproven:
        yield f"no growth ({window}): {growth.unproven}"
    else:
        interval = f"[{growth.low:.2f}, {growth.high:.2f}]"
        floor = f"floor {format_number(growth.first)} -> {format_number(growth.last)}"
        yield f"growth ({window}): {growth.slope:+.2f} connections/h {interval}, p<{_chance(growth)}, {floor}"
        yield from _owners(look)
        yield _forecast(growth, usable)
    yield from (f"caveat: {CAVEATS[caveat]}" for caveat in growth.caveats)


def _owners(look: Outlook) -> Iterable[str]:
    """Yield whose connections grow, the steepest first."""
    owners = look.past.owners if look.past else {}
    words = [f"{_named(names)} {growth.slope:+.2f}/h" for names, growth in owners.items() if growth.proven]
    if words:
        more = f", and {len(words) - MOST_OWNERS} more" if len(words) > MOST_OWNERS else ""
        yield f"of these {', '.join(words[:MOST_OWNERS])}{more}"


def _named(names: Names) -> str:
    application, user = names
    return f"{application or '(no name)'} ({user or 'no user'})"


def _chance(growth: Growth) -> str:
    return "0.0001" if growth.p_value < 0.0001 else format_number(max(0.0001, round(growth.p_value + 0.00005, 4)))


def _forecast(growth: Growth, usable: int) -> str:
    cast = growth.forecast
    if cast is None:
        return "forecast: none, the slope may be nothing"
    if cast.capped:
        return f"forecast: {usable} usable last for more than 90 days"
    span = f"{format_duration(cast.low)} to {format_duration(cast.high)}"
    return f"forecast: {usable} usable reached in {format_duration(cast.seconds)} ({span}) if nothing changes"


def findings(look: Outlook) -> Iterable[Finding]:
    """Yield CA504 for growth and CA505 for its end."""
    growth = look.growth
    if growth is None:
        return
    message = f"connections grow by {growth.slope:.2f} per hour"
    hint = "connaudit history show --by app,user tells how each went; raise the limit only to win time"
    if look.slope.decisive:
        yield look.slope.finding("CA504", message, hint)
    elif growth.proven and FLANK not in growth.caveats:
        yield Finding("CA504", Status.WARNING, message, GROWTH.name, growth.slope, Unit.NONE, hint=hint)
    if look.exhaustion.decisive and growth.forecast:
        left = format_duration(growth.forecast.seconds)
        yield look.exhaustion.finding("CA505", f"no connection will be left in {left} if nothing changes", hint)


def summary(look: Outlook) -> dict[str, Value]:
    """Return growth as scripts read it; None where it was not told."""
    growth = look.growth
    cast = growth.forecast if growth else None
    return {
        "growth_per_hour": growth.slope if growth else None,
        "growth_ci95": (growth.low, growth.high) if growth else None,
        "growth_proven": growth.proven if growth else None,
        "p_value": growth.p_value if growth else None,
        "floor_first": growth.first if growth else None,
        "floor_last": growth.last if growth else None,
        "window_hours": growth.hours if growth else None,
        "coverage": round(growth.coverage, 4) if growth else None,
        "exhaustion_seconds": None if cast is None or cast.capped else cast.seconds,
        "exhaustion_ci95_seconds": None if cast is None or cast.capped else (cast.low, cast.high),
        "exhaustion_beyond_seconds": cast.seconds if cast and cast.capped else None,
        "caveats": growth.caveats if growth else (),
    }

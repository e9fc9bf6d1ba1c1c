"""One value as people read it, by its unit."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from connaudit.render.style import Style
from connaudit.report import Column, Unit, Value
from connaudit.units import format_duration, format_number, format_percent

NOTHING = "-"  # does not apply, or was not told: the gaps below a table say which


def cells(column: Column, values: Sequence[Value], style: Style) -> list[str]:
    """Return a column's values as texts, safe for `style`."""
    write = _WRITERS.get(column.unit)
    if write:
        return [_number(write, value, style) for value in values]
    if column.unit is Unit.TREND:
        from connaudit.render.plot import sparkline

        return [(isinstance(value, tuple) and sparkline(value, style)) or NOTHING for value in values]
    if column.unit is Unit.TIMESTAMP:
        return [timestamp(value, style) if isinstance(value, str) else shown(value, style) for value in values]
    return [shown(value, style) for value in values]


def _number(write: Callable[[float], str], value: Value, style: Style) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return write(value) if value - value == 0 else NOTHING  # infinities and NaN say nothing
    return shown(value, style)


_WRITERS: dict[Unit, Callable[[float], str]] = {
    Unit.SECONDS: format_duration,
    Unit.RATIO: format_percent,
    Unit.COUNT: format_number,
    Unit.CONNECTIONS: format_number,
    Unit.NUMBER: format_number,
}


def shown(value: Value, style: Style) -> str:
    """Return a value without a unit; the empty text is visible."""
    if isinstance(value, str):
        return style.say(value) or '""'
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(shown(item, style) for item in value) or NOTHING
    return _number(format_number, value, style)


def quantity(value: float, unit: Unit, style: Style) -> str:
    """Return one number by its unit."""
    return cells(Column("", "", unit), [value], style)[0]


def timestamp(text: str, style: Style) -> str:
    """Return an RFC 3339 time to the second, in this machine's zone unless `style` wants UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return shown(text, style)
    if moment.tzinfo is None:
        return moment.isoformat(" ", "seconds")
    if style.utc:
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return moment.astimezone().isoformat(" ", "seconds")

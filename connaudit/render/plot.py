"""How a number went, drawn: in one line of a table, on a terminal, as a picture in a page."""

import html
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from connaudit.render.style import Style
from connaudit.report import Plot, Value
from connaudit.units import format_number

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"  # the same in ASCII, from low to high
NEAR = 2.0  # a limit up to so many times the peak is in the picture; a farther one would press it flat
WIDTH, HEIGHT = 640, 150  # of a picture in a page, and below its room for words
LEFT, BOTTOM, TOP = 44, 20, 10


def sparkline(values: Sequence[Value], style: Style) -> str:
    """Return numbers as one line, zero at its foot, the highest at its top; a blank where there is none, "" for none.

    >>> sparkline((0, 5.0, None, 10.0), Style()), sparkline((None, None), Style())
    ('_= #', '')
    """
    told = [value for value in values if isinstance(value, (int, float))]
    marks = BLOCKS if style.unicode else ASCII
    most = max(told, default=0.0)
    if not told:
        return ""
    return "".join(marks[_step(value, most)] if isinstance(value, (int, float)) else " " for value in values)


def _step(value: float, most: float) -> int:
    return min(len(BLOCKS) - 1, int(value / most * len(BLOCKS))) if most else 0


def top(plot: Plot) -> float:
    """Return the value at the upper edge: the peak, or a limit that is near."""
    peak = plot.peak or 1.0
    return plot.limit if plot.limit is not None and peak <= plot.limit <= peak * NEAR else peak


def chart(plot: Plot, style: Style, width: int, height: int) -> list[str]:
    """Return a plot as lines of text: an area over the time, with its scale to the left."""
    most = top(plot)
    labels = [format_number(round(most, 1)), format_number(round(most / 2, 1)), "0"]
    margin = max(map(len, labels)) + 1
    columns = plot.parts(max(8, width - margin - 1))
    rows = []
    for row in range(height, 0, -1):
        label = labels[0] if row == height else labels[1] if row == (height + 1) // 2 else ""
        line = "".join(_cell(value, row, most / height, style) for value in columns)
        rows.append(f"{label:>{margin - 1}} |{line}".rstrip())
    rows.append(f"{labels[2]:>{margin - 1}} +{'-' * len(columns)}")
    begin, end = (moment(at, style) for at in (plot.begin, plot.end))
    rows.append(" " * (margin + 1) + begin + end.rjust(len(columns) - len(begin)))
    return rows


def charts(plots: Sequence[Plot], style: Style, height: int) -> str:
    """Return plots one below the other, each under its title."""
    width = style.width or 80
    drawn = ("\n".join([style.say(plot.title), *_body(plot, style, width, height)]) for plot in plots)
    return "\n\n".join(drawn) + "\n"


def _body(plot: Plot, style: Style, width: int, height: int) -> list[str]:
    return chart(plot, style, width, height) if plot.points else ["no samples"]


def _cell(value: float | None, row: int, unit: float, style: Style) -> str:
    """Return the mark of one column in one row: a full one below the value, a part of one at it."""
    if value is None:
        return " "
    share = value / unit - (row - 1)
    if share >= 1:
        return "█" if style.unicode else "#"
    if style.unicode:
        return BLOCKS[int(share * 8)] if share >= 1 / 8 or row == 1 else " "
    return ":" if share >= 0.5 else "." if share > 0 or row == 1 else " "


def moment(at: float, style: Style) -> str:
    """Return an instant as people read it at the foot of a plot."""
    when = datetime.fromtimestamp(at, UTC)
    return (when if style.utc else when.astimezone()).strftime("%b %d %H:%M")


def svg(plot: Plot, style: Style) -> str:
    """Return a plot as a picture that a page can hold: text of its own, colours of the page."""
    most = top(plot)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(plot.title, quote=True)}">',
        *_scale(plot, most, style),
        *(_run(run, plot, most) for run in plot.runs()),
    ]
    if plot.limit is not None and plot.limit <= most:
        parts.append(_level(plot.limit, most, "limit"))
    return "".join([*parts, "</svg>"])


def _x(at: float, plot: Plot) -> float:
    return round(LEFT + (at - plot.begin) / (plot.end - plot.begin) * (WIDTH - LEFT - 4), 1)


def _y(value: float, most: float) -> float:
    return round(HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - TOP), 1)


def _level(value: float, most: float, kind: str) -> str:
    y = _y(value, most)
    return f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - 4}" y1="{y}" y2="{y}"/>'


def _scale(plot: Plot, most: float, style: Style) -> Iterator[str]:
    for value in (0, most / 2, most):
        yield _level(value, most, "grid")
        label = format_number(round(value, 1))
        yield f'<text x="{LEFT - 6}" y="{_y(value, most) + 4}" text-anchor="end">{label}</text>'
    for at, anchor in ((plot.begin, "start"), (plot.end, "end")):
        yield f'<text x="{_x(at, plot)}" y="{HEIGHT - 4}" text-anchor="{anchor}">{moment(at, style)}</text>'


def _run(run: Sequence[tuple[float, float]], plot: Plot, most: float) -> str:
    """Return an unbroken part as a line over an area; a single point as a dot."""
    points = [(_x(at, plot), _y(value, most)) for at, value in run]
    if len(points) == 1:
        return f'<circle class="line" cx="{points[0][0]}" cy="{points[0][1]}" r="1.5"/>'
    line = " ".join(f"{x},{y}" for x, y in points)
    foot = _y(0, most)
    area = f"{points[0][0]},{foot} {line} {points[-1][0]},{foot}"
    return f'<polygon class="area" points="{area}"/><polyline class="line" points="{line}"/>'

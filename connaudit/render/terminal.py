"""Small tables on a terminal, drawn by rich."""

import io
import sys
from typing import TYPE_CHECKING

from connaudit.render.layout import GAP, Grid
from connaudit.render.style import Style
from connaudit.report import Status

if TYPE_CHECKING:
    from rich.text import Text

MOST_ROWS = 50  # rich takes up to 1.3 ms a row

COLORS = {Status.OK: "green", Status.WARNING: "yellow", Status.CRITICAL: "red", Status.UNKNOWN: "magenta"}
_CODES = {"green": 32, "yellow": 33, "red": 31, "magenta": 35}


def painted(text: str, status: Status, style: Style) -> str:
    """Return text in the colour of a verdict, if this stream has colours; the word is there in any case."""
    return f"\x1b[1;{_CODES[COLORS[status]]}m{text}\x1b[0m" if style.color else text


def drawn(laid: Grid, style: Style) -> list[str]:
    """Return the lines of a table whose cells are clean and fit: rich only aligns and colours them.

    Cells are `Text`, never markup: `worker [shop.wsgi]` is a name, not a tag.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=style.header, header_style="bold")
    for column, width, is_right in zip(laid.columns, laid.widths, laid.right, strict=True):
        justify = "right" if is_right else "left"
        table.add_column(_text(column.label), justify=justify, no_wrap=True, width=width, overflow="crop")  # type: ignore[arg-type]
    for row in zip(*laid.cells, strict=True):
        table.add_row(*map(_text, row))
    console = Console(
        file=io.StringIO(),
        width=sum(laid.widths) + GAP * len(laid.widths) + 1,
        height=sys.maxsize,
        force_terminal=style.color,
        color_system="standard" if style.color else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def _text(cell: str) -> "Text":
    from rich.text import Text

    status = Status.__members__.get(cell)
    if status is not None:
        return Text(cell, style=f"bold {COLORS[status]}")
    return Text(cell, style="dim" if cell == "-" else "")

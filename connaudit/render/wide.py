"""The table with all its columns, as wide as it needs."""

from dataclasses import replace

from connaudit.render.run import Run
from connaudit.render.style import Style
from connaudit.render.table import render as as_table


def render(run: Run, style: Style) -> str:
    """Return what `table` returns, uncut; a terminal wraps it."""
    return as_table(run, replace(style, wide=True))

"""Comma-separated values: one table, for spreadsheets and for loading elsewhere."""

import csv
import io
from collections.abc import Iterable

from connaudit.render import words
from connaudit.render.run import Run
from connaudit.render.style import Style
from connaudit.render.tables import TARGET, brief_table, check_table, rows_table
from connaudit.report import Column, Failure, Status, Table, Value

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # what makes a spreadsheet run a text, wide forms too
_ERROR = Column("error", "ERROR")


def render(run: Run, style: Style) -> str:
    """Return the rows of all targets with numbers in base units; one that was not seen is a row with its error.

    Texts are on one line, and guarded against being run by a spreadsheet; JSON has them exactly.
    """
    return table_text(check_table(run, everything=True) if run.is_check else _with_errors(run), style)


def table_text(table: Table, style: Style) -> str:
    """Return one table."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if style.header:
        writer.writerow(column.key for column in table.columns)
    for row in table.rows:
        writer.writerow(_cell(value, style) for value in row)
    return stream.getvalue()


def _with_errors(run: Run) -> Table:
    found = rows_table(run) or brief_table(run) or Table("rows", (TARGET,))
    blanks = (None,) * (len(found.columns) - 1)
    unseen = (o for o in run.outcomes if isinstance(o, Failure) or o.status is Status.UNKNOWN)
    errors = tuple((o.source.target, *blanks, words.headline(o)) for o in unseen)
    return Table(found.key, (*found.columns, _ERROR), (*((*row, None) for row in found.rows), *errors))


def _cell(value: Value, style: Style) -> str | int | float | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return _text(_joined(value), style)
    return _text(value, style) if isinstance(value, str) else value


def _joined(values: Iterable[Value]) -> str:
    return " ".join("" if value is None else str(value) for value in values)


def _text(text: str, style: Style) -> str:
    said = style.say(text)
    return f"'{said}" if said.startswith(_FORMULA) else said

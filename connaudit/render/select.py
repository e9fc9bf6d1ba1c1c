"""Which columns and rows of a run are shown: --fields, --sort and --limit, the same for every format."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from connaudit.errors import UsageError
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.report import Outcome, Report, Show, Table, Value, gravity


def selected(run: Run, style: Style) -> Run:
    """Return the run with the columns and rows that `style` asks for; UsageError names an unknown column.

    A list of checks has neither: each verdict is shown.
    """
    if style.sort:
        run = replace(run, outcomes=_sorted_targets(run, *style.sort))
    if run.is_check:
        return run
    _check_names(run, style)
    return replace(run, outcomes=tuple(_selected(outcome, style) for outcome in run.outcomes))


def field_names(run: Run) -> tuple[str, ...]:
    """Return the columns that there are to choose from, in their order."""
    tables = [table for outcome in run.outcomes for table in _tables(outcome)]
    return tuple(dict.fromkeys(column.key for table in tables for column in table.columns))


def _tables(outcome: Outcome) -> Iterable[Table]:
    if isinstance(outcome, Report):
        yield from (table for table in (outcome.table, outcome.brief) if table)


def _check_names(run: Run, style: Style) -> None:
    check_names(field_names(run), style)


def check_names(known: Sequence[str], style: Style) -> None:
    """Raise UsageError for a column of --fields or --sort that there is not; where none is known, none is wrong."""
    wanted = (style.fields or ()) + ((style.sort[0],) if style.sort else ())
    for name in wanted:
        if known and name not in known and name not in ("target", "status"):
            near = difflib.get_close_matches(name, known, 1)
            guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"no field {name!r}; {guess}")


def _selected(outcome: Outcome, style: Style) -> Outcome:
    if not isinstance(outcome, Report):
        return outcome
    table = outcome.table and shaped(outcome.table, style)
    return replace(outcome, table=table, brief=outcome.brief and _chosen(outcome.brief, style.fields))


def shaped(table: Table, style: Style) -> Table:
    """Return one table with the columns, in the order and up to the limit that `style` asks for."""
    return _limited(_sorted(_chosen(table, style.fields), style.sort), style.limit)


def _chosen(table: Table, fields: tuple[str, ...] | None) -> Table:
    """Return the table with only those columns, all to be shown; a table that has none of them stays as it is."""
    keys = [column.key for column in table.columns]
    places = [keys.index(name) for name in fields or () if name in keys]
    if not places:
        return table
    columns = tuple(replace(table.columns[place], show=Show.ALWAYS) for place in places)
    return replace(table, columns=columns, rows=tuple(tuple(row[place] for place in places) for row in table.rows))


def _sorted(table: Table, sort: tuple[str, bool] | None) -> Table:
    keys = [column.key for column in table.columns]
    if not sort or sort[0] not in keys:
        return table
    place = keys.index(sort[0])
    rows = _in_order(table.rows, lambda row: row[place], descending=sort[1])
    return replace(table, rows=tuple(rows), order=f"by {sort[0]}")


def _in_order(items: Iterable[Any], value_of: Callable[[Any], Value], *, descending: bool) -> list[Any]:
    """Sort by a value; those that have none come last either way."""
    known = [item for item in items if value_of(item) is not None]
    unknown = [item for item in items if value_of(item) is None]
    return sorted(known, key=lambda item: _comparable(value_of(item)), reverse=descending) + unknown


def _comparable(value: Value) -> tuple[int, Any]:
    """Return a key by which values of different types can stand in one order."""
    if isinstance(value, (int, float)):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, str(value))


def _limited(table: Table, limit: int | None) -> Table:
    return replace(table.limited(limit), total=max(table.total, len(table.rows)))


def _sorted_targets(run: Run, name: str, descending: bool) -> tuple[Outcome, ...]:
    """Return the outcomes with targets ordered by a column of their brief; `status` is worst first."""
    targets = list(run.targets)
    if name == "status":
        targets.sort(key=lambda target: -gravity(target.status))
    elif name == "target":
        targets.sort(key=lambda target: target.source.target, reverse=descending)
    else:
        targets = _in_order(targets, lambda target: _brief_value(target, name), descending=descending)
    return tuple(outcome for target in targets for outcome in target.outcomes)


def _brief_value(target: Audited, name: str) -> Value:
    for report in target.reports:
        record = report.brief.records()[0] if report.brief and report.brief.rows else {}
        if name in record:
            return record[name]
    return None

"""Tables that speak of several targets at once, made from those of their reports."""

from collections.abc import Iterable, Sequence

from connaudit.render import words
from connaudit.render.run import Audited, Run
from connaudit.report import Column, Outcome, Report, Show, Status, Table, Value

TARGET = Column("target", "TARGET", show=Show.ALWAYS)
STATUS = Column("status", "STATUS", show=Show.ALWAYS)
CAUSE = Column("cause", "CAUSE", show=Show.ROOMY)
_CHECKS = (
    TARGET,
    Column("check", "CHECK", show=Show.ALWAYS),
    STATUS,
    Column("value", "VALUE", show=Show.ALWAYS),
    Column("limit", "LIMIT", show=Show.ROOMY),
)


def check_table(run: Run, *, everything: bool) -> Table:
    """Return a row per verdict; those that are well only if all are, or if everything is wanted."""
    outcomes = [o for o in run.outcomes if everything or run.status is Status.OK or o.status is not Status.OK]
    culprits = {target.source.target: target.story.culprit for target in run.targets if target.story}
    if not culprits:
        return Table("checks", _CHECKS, tuple(map(_check_row, outcomes)), len(outcomes))
    rows = tuple((*_check_row(o), culprits.get(o.source.target) if _is_explained(o) else None) for o in outcomes)
    return Table("checks", (*_CHECKS, CAUSE), rows, len(rows))


def _check_row(outcome: Outcome) -> tuple[Value, ...]:
    check, limit = (outcome.check, outcome.limit) if isinstance(outcome, Report) else ("*", None)
    return (outcome.source.target, check, outcome.status.name, words.short(outcome), limit or None)


def _is_explained(outcome: Outcome) -> bool:
    """Return whether all that was found belongs to its target's story."""
    if not isinstance(outcome, Report) or not outcome.findings:
        return False
    naming = outcome.story.code if outcome.story else None
    return all(found.because or found.code == naming for found in outcome.findings)


def brief_table(run: Run) -> Table | None:
    """Return a row per target in configured order; None if its diagnostic has no brief."""
    briefs = [report.brief for target in run.targets for report in target.reports if report.brief]
    if not briefs:
        return None
    columns = _merged(briefs)
    rows = tuple(_brief_row(target, columns) for target in run.targets)
    return Table("targets", (TARGET, STATUS, *columns), rows, len(rows))


def _brief_row(target: Audited, columns: Sequence[Column]) -> tuple[Value, ...]:
    brief = next((report.brief for report in target.reports if report.brief), None)
    record = brief.records()[0] if brief and brief.rows else {}
    return (target.source.target, target.status.name, *(record.get(column.key) for column in columns))


def rows_table(run: Run) -> Table | None:
    """Return the rows of all targets below each other; None if no report has a table."""
    tables = [(target, report.table) for target in run.targets for report in target.reports if report.table]
    if not tables:
        return None
    columns = _merged(table for _, table in tables)
    rows = tuple(
        (target.source.target, *(record.get(column.key) for column in columns))
        for target, table in tables
        for record in table.records()
    )
    return Table("rows", (TARGET, *columns), rows, len(rows))


def _merged(tables: Iterable[Table]) -> tuple[Column, ...]:
    """Return the columns of several tables, each once, shown where any of them shows it."""
    found: dict[str, Column] = {}
    for column in (column for table in tables for column in table.columns):
        known = found.setdefault(column.key, column)
        if column.show < known.show:
            found[column.key] = column
    return tuple(column for key, column in found.items() if key not in (TARGET.key, STATUS.key))


def left_out(table: Table) -> list[str]:
    """Return the sentence that a table owes to its reader if a limit cut its rows."""
    if table.total <= len(table.rows):
        return []
    order = f", {table.order}" if table.order else ""
    return [f"showing {len(table.rows)} of {table.total}{order}"]

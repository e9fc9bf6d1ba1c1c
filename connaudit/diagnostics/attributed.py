"""Whose code a session is, as far as tables tell: the tags in its statement, and the process at its other end.

Processes are in a snapshot only where somebody asked for them, and where the client runs on the auditing host.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from connaudit.options import Options, Sql
from connaudit.report import Column, Show, Table, Value
from connaudit.snapshot import Process, Session
from connaudit.units import plural

if TYPE_CHECKING:
    from connaudit.attribution.tags import Tags

NAMED = ("application", "route", "controller", "action", "job")  # tags that a table has room for
COLUMNS = (Column("tags", "TAGS", show=Show.ROOMY), Column("process", "PROCESS", show=Show.ROOMY))


def values(session: Session, options: Options, engine: str) -> dict[str, Value]:
    """Return what stands in `COLUMNS`."""
    return {"tags": _words(tags_of(session, options, engine)), "process": process(session)}


def tags_of(session: Session, options: Options, engine: str) -> "Tags | None":
    """Return what comments in a session's statement say; None also for somebody who wants to see no statement."""
    if options.sql is Sql.NONE or "/*" not in (session.query or ""):
        return None
    from connaudit.attribution.tags import tags  # its patterns take time to compile, and few statements have any

    return tags(session.query, engine)


def _words(found: "Tags | None") -> str | None:
    told = [f"{name}={value}" for name in NAMED if found and (value := getattr(found, name)) is not None]
    return ", ".join(told) or None


def process(session: Session) -> str | None:
    """Return the client's process; of several that share the connection the first, and how many others there are."""
    if not session.processes:
        return None
    first, *others = session.processes
    return first.title + (f", shared with {plural(len(others), 'other')} by fork" if others else "")


def shown(table: Table) -> Table:
    """Return the table with these columns for data only where no row has anything in them."""
    keys = [column.key for column in COLUMNS]
    empty = {
        column.key
        for place, column in enumerate(table.columns)
        if column.key in keys and all(row[place] is None for row in table.rows)
    }
    columns = (replace(column, show=Show.DATA) if column.key in empty else column for column in table.columns)
    return replace(table, columns=tuple(columns))


def orphaning(sessions: Iterable[Session]) -> list[Process]:
    """Return the processes that hold more connections than they have threads, the worst first; none that is a proxy."""
    held = (each for session in sessions for each in session.processes)
    found = {each.pid: each for each in held if each.holds_too_many and not each.is_proxy}
    return sorted(found.values(), key=lambda each: (-(each.connections or 0), each.pid))


def too_many(process: Process) -> str:
    """Return what is wrong with a process that holds more connections than it has threads, with both numbers."""
    return (
        f"process {process.pid} holds {process.connections} connections to this server and has "
        f"{plural(process.threads or 0, 'thread')}: without a pool, some belong to threads that have ended"
    )

"""What sessions ran last, and exactly when: from performance_schema's timers, where it has them."""

from collections.abc import Iterable
from dataclasses import replace

from connaudit.dataclass import dataclass
from connaudit.engines.mysql.cells import PICOSECONDS, cut, text, whole
from connaudit.engines.mysql.transactions import Open
from connaudit.engines.mysql.wire import Row
from connaudit.snapshot import Session

# What drivers and pools send of their own accord, and what says nothing about the work of a transaction.
_UNREAL_EVENTS = frozenset(
    {
        "statement/com/Ping",
        "statement/com/Init DB",
        "statement/com/Statistics",
        "statement/com/Reset Connection",
        "statement/com/Set option",
        "statement/com/Close stmt",
        "statement/com/Reset stmt",
        "statement/com/Change user",
        "statement/sql/set_option",
        "statement/sql/begin",
        "statement/sql/savepoint",
        "statement/sql/release_savepoint",
        "statement/sql/xa_start",
        "statement/sql/xa_end",
        "statement/sql/xa_prepare",
        "statement/sql/show_warnings",
        "statement/sql/change_db",
    }
)
_UNREAL_TEXTS = frozenset({"select 1", "select 1;", "select 1 from dual", "/* ping */ select 1", "do 1"})


@dataclass(frozen=True, slots=True)
class Last:
    """The running or last statement of one session. Ages in seconds; None: not told, or it never ran any."""

    event: int | None = None
    running: bool = False
    began: float | None = None  # seconds since it began
    ended: float | None = None  # seconds since it ended; None also while it runs
    query: str | None = None
    truncated: bool = False
    real: bool = True
    encrypted: bool | None = None


def lasts(rows: Iterable[Row], own: int, watched: bool) -> dict[int, Last]:
    """Return each session's last statement; no times where our own row does not tell what time it is.

    What is not watched stays as it was when it last was, and nothing of it is true any more.
    """
    told = {whole(row["id"]) or 0: (row, watched and row["instrumented"] == b"YES") for row in rows}
    row, is_watched = told.get(own, ({}, False))
    now = _instant(row) if is_watched else 0
    return {session: _last(row, now, is_watched) for session, (row, is_watched) in told.items()}


def _instant(row: Row) -> int:
    return max(whole(row["timer_end"]) or 0, whole(row["timer_start"]) or 0)


def _last(row: Row, now: int, watched: bool) -> Last:
    event = whole(row["event_id"])
    connection = text(row["connection_type"])
    encrypted = connection == "SSL/TLS" if connection else None
    if event is None or not watched:
        return Last(encrypted=encrypted)
    running = row["end_event_id"] is None
    query, truncated = cut(row.get("info"))
    return Last(
        event=event,
        running=running,
        began=_since(row["timer_start"], now),
        ended=None if running else _since(row["timer_end"], now),
        query=query,
        truncated=truncated,
        real=is_real(text(row.get("event_name")), query),
        encrypted=encrypted,
    )


def _since(timer: bytes | None, now: int) -> float | None:
    """Return the seconds since a timer; None where timing is off."""
    then = whole(timer)
    return max(0, now - then) / PICOSECONDS if now and then else None


def is_real(event: str | None, query: str | None) -> bool:
    """Return whether a statement is somebody's work rather than a ping, a SET or the like.

    >>> is_real("statement/com/Ping", None), is_real("statement/sql/select", "SELECT 1")
    (False, False)
    """
    return event not in _UNREAL_EVENTS and (query or "").strip().lower() not in _UNREAL_TEXTS


def with_history(session: Session, rows: Iterable[Row], open_one: Open | None) -> Session:
    """Return a session with the last real statement of its transaction; as it was if its history has none."""
    for row in sorted(rows, key=lambda row: whole(row["event_id"]) or 0, reverse=True):
        query, truncated = cut(row["info"])
        if query and is_real(text(row["event_name"]), query) and _belongs(row, open_one):
            return replace(session, query=query, query_truncated=truncated, query_is_real=True)
    return session


def _belongs(row: Row, open_one: Open | None) -> bool:
    """Return whether a statement was run in the transaction that is open.

    With autocommit off the transaction is nested in its first statement, not that in it.
    """
    if open_one and open_one.event is not None:
        return whole(row["nesting_event_id"]) == open_one.event or whole(row["event_id"]) == open_one.begun_by
    return True

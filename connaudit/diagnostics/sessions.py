"""What every table of sessions needs: their order, and their statement as far as it may be shown."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from connaudit.options import Sql
from connaudit.snapshot import Session
from connaudit.sqltext import mask, without_passwords

Item = TypeVar("Item")
CUT = "..."


def oldest_first(items: Iterable[Item], age: Callable[[Item], float | None]) -> list[Item]:
    """Return the items by falling age; those of unknown age come first, for nobody knows that they are young."""
    return sorted(items, key=lambda item: (age(item) is not None, -(age(item) or 0.0)))


def shown_sql(session: Session, mode: Sql, engine: str) -> str | None:
    """Return a session's statement as the user asked for it; `...` marks one that was cut."""
    if mode is Sql.NONE or session.query is None:
        return None
    text = mask(session.query, engine) if mode is Sql.MASKED else without_passwords(session.query)
    return text + CUT if session.query_truncated else text

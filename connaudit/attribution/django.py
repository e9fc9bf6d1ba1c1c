"""What the last statement of a session tells of the program behind it.

Django writes the number of the thread into the names of savepoints and of server-side cursors: the same number that
Python's threading.get_ident() gives and py-spy prints. And several libraries have a statement that only they send.
"""

import re
from enum import StrEnum

from connaudit.dataclass import dataclass
from connaudit.snapshot import Session, State

# django/db/backends/base/base.py savepoint(): s<ident>_x<number>, without the sign that an ident may have.
_SAVEPOINT = re.compile(r"[\"`]s(?P<thread>\d+)_x\d+[\"`]")
# django/db/backends/postgresql/base.py chunked_cursor(): _django_curs_<ident>_<task or sync>_<number>.
_CURSOR = re.compile(r"\"_django_curs_(?P<thread>\d+)_(?P<task>sync|\d+)_\d+\"")


class Named(StrEnum):
    """What holds the thread's number."""

    SAVEPOINT = "savepoint"  # in an atomic() inside another
    CURSOR = "server-side cursor"  # in .iterator()


@dataclass(frozen=True, slots=True)
class Ident:
    """A thread of some process, by Python's number for it; workers that were forked may share the number."""

    thread: int
    named: Named
    is_task: bool = False  # an asyncio task ran in it: the thread's stack shows the event loop


def ident(sql: str | None) -> Ident | None:
    """Return the thread that a statement of Django's names; None if it names none.

    >>> ident('SAVEPOINT "s140509717722816_x1"')
    Ident(thread=140509717722816, named=<Named.SAVEPOINT: 'savepoint'>, is_task=False)
    """
    found = _SAVEPOINT.search(sql or "")
    if found:
        return Ident(int(found["thread"]), Named.SAVEPOINT)
    found = _CURSOR.search(sql or "")
    return Ident(int(found["thread"]), Named.CURSOR, found["task"] != "sync") if found else None


# Last statements that say who sent them: pattern; where only in some states, these; what it means.
_IDLE = frozenset({State.IDLE})
_OPEN = frozenset({State.IDLE_IN_TRANSACTION})
_ANY = frozenset({State.IDLE, State.IDLE_IN_TRANSACTION, State.ABORTED})
_SHAPES: tuple[tuple[str, frozenset[State], str], ...] = (
    (r"select set_config\('TimeZone'|set time zone\b", _IDLE, "opened by Django and not used since"),
    (r"set session transaction isolation level read committed", _IDLE, "opened by Django and not used since"),
    (r"set autocommit ?= ?1", _IDLE, "Django's last block was atomic, and it ended"),
    (r"fetch .*\"_django_curs_", _OPEN, "in Django's .iterator() inside atomic(): slow work on each row"),
    (r"fetch .*\"_django_curs_", _IDLE, "in Django's .iterator() outside atomic(): its cursor is open still"),
    (r"(?:savepoint|release savepoint) [\"`]s\d+_x\d+", _OPEN, "in Django's atomic(), after one inside another"),
    (r"select\b.*\bfor (?:no key )?update\b", _OPEN, "has locked rows for an update that has not come"),
    (r"set autocommit ?= ?0|begin\b|start transaction\b", _OPEN, "has begun a transaction and done nothing in it"),
    (r"select pg_advisory_unlock_all\(\)", _IDLE, "given back to asyncpg's pool"),
    (r"discard all|reset all", _IDLE, "given back to a pool"),
    (r"rollback$", _IDLE, "given back to a pool such as SQLAlchemy's, or rolled back"),
    (r"commit$", _IDLE, "its last transaction was committed"),
    (r"listen ", _IDLE, "listens for NOTIFY: idle by design"),
    (r"select 1$", _ANY, "a ping, by a driver or a pool"),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), states, words) for pattern, states, words in _SHAPES)


def shape(session: Session) -> str | None:
    """Return what the last statement of an idle session suggests; None if nothing. A guess by habit, not a proof."""
    text = _without_comments(session.query or "")
    for pattern, states, words in _PATTERNS:
        if session.state in states and pattern.match(text):
            return words
    return None


def _without_comments(sql: str) -> str:
    return re.sub(r"/\*.*?\*/", "", sql, flags=re.DOTALL).strip().rstrip(";").rstrip()

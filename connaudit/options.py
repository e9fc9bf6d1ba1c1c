"""What a diagnostic can be asked: the options that all share, and how a diagnostic declares its own.

The fields of a diagnostic's `Options` are its command-line options and its keys in a configuration file; their
metadata, made by `option()`, says how they are read and explained.
"""

import dataclasses
import fnmatch
from collections.abc import Callable
from dataclasses import field
from enum import StrEnum
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.snapshot import Fact, Session
from connaudit.thresholds import Condition
from connaudit.units import parse_duration


class Sql(StrEnum):
    """How much of a statement's text is shown."""

    MASKED = "masked"
    RAW = "raw"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sessions are looked at, by names or shell patterns; an exclusion wins over an inclusion.

    A session of which the server hides a value passes no inclusion on it and is hit by no exclusion.
    """

    databases: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    not_databases: tuple[str, ...] = ()
    not_users: tuple[str, ...] = ()
    not_applications: tuple[str, ...] = ()
    not_clients: tuple[str, ...] = ()
    not_states: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != Filter()

    def passes(self, session: Session) -> bool:
        """Return whether the session is one of those to look at."""
        pairs = (
            (session.database, self.databases, self.not_databases),
            (session.user, self.users, self.not_users),
            (session.application, self.applications, self.not_applications),
            (session.client, self.clients, self.not_clients),
            (session.state and session.state.value, self.states, self.not_states),
        )
        return all(_passes(value, wanted, unwanted) for value, wanted, unwanted in pairs)


def _passes(value: str | None, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> bool:
    if value is not None and any(fits(value, pattern) for pattern in unwanted):
        return False
    return not wanted or (value is not None and any(fits(value, pattern) for pattern in wanted))


def fits(name: str, pattern: str) -> bool:
    """Return whether a name is what a pattern says, or one that it stands for.

    >>> fits("gunicorn: worker [shop.wsgi]", "gunicorn: worker [shop.wsgi]"), fits("celery@a", "celery@[ab]")
    (True, True)
    """
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every diagnostic can be asked. `warning` and `critical` empty: the diagnostic's own defaults hold."""

    warning: tuple[Condition, ...] = ()
    critical: tuple[Condition, ...] = ()
    only: Filter = Filter()
    ignored: tuple[Filter, ...] = ()  # sessions that pass any of these are not looked at
    sql: Sql = Sql.MASKED

    @property
    def facts(self) -> frozenset[Fact]:
        """Return what must be read for what is asked, beyond what its diagnostic always reads."""
        return frozenset()

    @property
    def processes(self) -> bool:
        """Return whether it cannot be answered without the processes at the sessions' other ends."""
        return False

    def looks_at(self, session: Session) -> bool:
        """Return whether a session is judged: one of the chosen ones, and not among the ignored."""
        return self.only.passes(session) and not any(each.passes(session) for each in self.ignored)


@dataclass(frozen=True, slots=True)
class Declared:
    """How one field of an `Options` class is offered to a user."""

    flag: str
    read: Callable[[str], Any] | None  # None: a switch without a value
    help: str
    metavar: str = ""
    multiple: bool = False  # may be given several times: the field is a tuple of what was read


def option(
    flag: str,
    *,
    default: Any,
    help: str,
    read: Callable[[str], Any] | None = None,
    metavar: str = "",
    multiple: bool = False,
) -> Any:
    """Declare a field of an `Options` class that is an option of the command line, too."""
    return field(default=default, metadata={"declared": Declared(flag, read, help, metavar, multiple)})


def duration(flag: str, *, default: str, help: str) -> Any:
    """Declare an option that takes a duration."""
    return option(
        flag, default=parse_duration(default), help=f"{help} [default: {default}]", read=parse_duration, metavar="DUR"
    )


def declared(options: type[Options]) -> dict[str, Declared]:
    """Return the options that a class declares, by field name, in order."""
    return {f.name: f.metadata["declared"] for f in dataclasses.fields(options) if "declared" in f.metadata}

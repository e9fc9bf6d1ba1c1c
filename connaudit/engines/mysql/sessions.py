"""Rows of the processlist as sessions."""

from collections.abc import Mapping
from dataclasses import field, replace

from connaudit.dataclass import dataclass
from connaudit.engines.mysql.cells import cut, number, text, whole, words
from connaudit.engines.mysql.last import Last
from connaudit.engines.mysql.locks import lock_waited_for
from connaudit.engines.mysql.statements import MARIADB
from connaudit.engines.mysql.transactions import Open
from connaudit.engines.mysql.wire import Row
from connaudit.snapshot import Fact, Kind, Session, State, Wait

_INTERNAL_USERS = ("system user", "event_scheduler")
_NOBODY_YET = "unauthenticated user"
_NOWHERE_YET = "connecting host"
_PLACEHOLDER = b"PLUGIN"  # what stands for the statements of X Protocol
# The client is slow to read a result, or to send what LOAD DATA waits for.
_CLIENT_STATES = frozenset({"sending to client", "writing to net", "receiving from client", "reading from net"})
_SLACK = 1.5  # seconds: InnoDB tells whole ones
_LATER = 5.0  # seconds by which InnoDB was asked later than the processlist, and those that it rounds
Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What else was told, by session."""

    product: str
    facts: frozenset[Fact]
    own: int
    uptime: float | None
    lasts: Mapping[int, Last] = field(default_factory=dict)
    opened: Mapping[int, Open] | None = None  # None: not told
    attributes: Mapping[int, Attributes] = field(default_factory=dict)
    waits: Mapping[int, Wait] = field(default_factory=dict)


def session(row: Row, known: Known) -> Session:
    """Return one row of the processlist with everything that is known of it."""
    id_ = whole(row["id"]) or 0
    user, command = words(row["user"]), text(row["command"]) or ""
    host, port = address(text(row["host"]))
    kind = _kind(user, command, row["info"] is not None, has_port=port is not None)
    if kind not in (Kind.CLIENT, Kind.REPLICATION):
        host = None  # the server's own threads have one, too, if only that of whoever defined the event
    last = known.lasts.get(id_, Last())
    idle = command == "Sleep" and user != _NOBODY_YET
    state_age, is_bound = _state_age(row, idle, last, known)
    open_one = _opened(id_, idle, state_age if not is_bound else None, known)
    waits_for = None if idle else words(row["state"]) or ("Killed" if command == "Killed" else None)
    attributes = known.attributes.get(id_, ())
    query, truncated, real = _query(row, idle, last) if Fact.QUERIES in known.facts else (None, False, True)
    return Session(
        id=id_,
        kind=kind,
        backend=command or None,
        is_self=id_ == known.own,
        state=_state(user, command, kind, open_one),
        user=None if kind is Kind.INTERNAL or user == _NOBODY_YET else user,
        database=words(row["db"]),
        application=dict(attributes).get("program_name"),
        client=host,
        client_port=port,
        state_age=state_age,
        state_age_is_bound=is_bound,
        query_age=_query_age(row, idle, last, known),
        in_transaction=None if known.opened is None else open_one is not None,
        transaction=open_one.transaction if open_one else None,
        waits_for=waits_for,
        waits_for_client=bool(waits_for) and str(waits_for).lower() in _CLIENT_STATES,
        wait=None if idle else _wait(id_, waits_for, last.began or _told_age(row, known), known),
        query=query,
        query_truncated=truncated,
        query_is_real=real,
        query_id=(whole(row["query_id"]) or None) if "query_id" in row else None,
        encrypted=last.encrypted,
        attributes=attributes,
    )


def _kind(user: str | None, command: str, has_text: bool, has_port: bool) -> Kind:
    """Tell connections from the server's own threads, which have rows of the same form.

    Accounts may have the names of those, but they come from somewhere.
    """
    if command.startswith("Binlog Dump"):
        return Kind.REPLICATION
    # INSERT DELAYED is done by a thread of the server's, which waits for more.
    if (user in _INTERNAL_USERS and not has_port) or command in ("Daemon", "Delayed insert"):
        return Kind.INTERNAL
    # The body of a scheduled event runs under its definer's name, as a thread that forever connects.
    return Kind.JOB if command == "Connect" and user != _NOBODY_YET and has_text else Kind.CLIENT


def _state(user: str | None, command: str, kind: Kind, open_one: Open | None) -> State:
    if user == _NOBODY_YET or (command == "Connect" and kind is Kind.CLIENT):
        return State.STARTING
    if command != "Sleep":
        return State.ACTIVE
    # There is no state "idle in transaction": a sleeping thread that owns a transaction is one.
    return State.IDLE_IN_TRANSACTION if open_one else State.IDLE


def address(host: str | None) -> tuple[str | None, int | None]:
    """Return client and port of a processlist's Host; Unix sockets have no port and are `local`.

    >>> address("10.0.0.1:40122"), address("fd00::2:40122"), address("localhost"), address("")
    (('10.0.0.1', 40122), ('fd00::2', 40122), ('local', None), (None, None))
    """
    if not host or host == _NOWHERE_YET:
        return None, None
    name, _, port = host.rpartition(":")
    if name and port.isdigit():
        return name.strip("[]"), int(port) or None
    return ("local" if host == "localhost" else host), None


def _told_age(row: Row, known: Known) -> float | None:
    """Return the processlist's Time.

    None where it is no age: negative, or from before the server began, as in sessions that SET timestamp on MySQL.
    """
    milliseconds = number(row.get("time_ms"))
    seconds = number(row["time"]) if milliseconds is None else milliseconds / 1000
    if seconds is None or seconds < 0 or (known.uptime is not None and seconds > known.uptime + 2):
        return None
    return seconds


def _state_age(row: Row, idle: bool, last: Last, known: Known) -> tuple[float | None, bool]:
    """Return since when it is in its state, and whether that is only a bound."""
    told = _told_age(row, known)
    if not idle:
        return (last.began if last.running and last.began is not None else told), False
    if last.ended is not None:
        return last.ended, False
    # MySQL counts a sleeping thread's Time from the beginning of its last statement, MariaDB from the end.
    return told, known.product != MARIADB and told is not None


def _query_age(row: Row, idle: bool, last: Last, known: Known) -> float | None:
    if last.began is not None and (idle or last.running):
        return last.began
    return None if idle and known.product == MARIADB else _told_age(row, known)


def _opened(id_: int, idle: bool, idle_for: float | None, known: Known) -> Open | None:
    """Return the session's transaction; not one that began after the processlist was read, when it slept still.

    One that is not quite so young is an old one that a clock makes younger, such as the hour that comes twice a year.
    """
    found = known.opened.get(id_) if known.opened else None
    if not found or not idle:
        return found
    age = found.transaction.age
    if found.running or (age is not None and idle_for is not None and age < _LATER and age + _SLACK < idle_for):
        return None
    return found


def _wait(id_: int, waits_for: str | None, since: float | None, known: Known) -> Wait | None:
    """Return what an active session waits for.

    Of metadata the server does not tell how long: it is what a statement does first, so the statement's age is taken.
    """
    if Fact.LOCKS not in known.facts:
        return None
    found = known.waits.get(id_)
    lock = lock_waited_for(waits_for)
    if not found and lock:
        found = Wait(lock=lock)
    if found and found.age is None and found.lock != "record":
        return replace(found, age=since)
    return found


def _query(row: Row, idle: bool, last: Last) -> tuple[str | None, bool, bool]:
    """Return the statement text, whether it is cut, and whether it is somebody's work."""
    info, truncated = cut(row["info"])
    if info is not None and row["info"] != _PLACEHOLDER:
        return info, truncated, True
    if last.event is None or (not idle and not last.running):
        return None, False, True
    return last.query, last.truncated, last.real

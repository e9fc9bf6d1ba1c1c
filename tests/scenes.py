"""What happens on servers, and what must be said of it: each scene is written once, and plays on every server.

A scene opens sessions by its `Play` and returns what the commands must report. Sessions are real ones by real
drivers, and end with the scene. Where servers differ, the scene says so by kind and version.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.servers import Client, Running

TABLE = "items"  # (id, n), ids 1 to 9, in the database that belongs to `app`
Row = dict[str, Any]


class Play:
    """A scene that is being played on one server."""

    def __init__(self, server: Running, sessions: ExitStack) -> None:
        self.server = server
        self._sessions = sessions

    @property
    def on_postgres(self) -> bool:
        """Whether the server is PostgreSQL."""
        return self.server.is_postgres

    def session(self, *statements: str) -> Client:
        """Hold a session of `app` that has executed the statements."""
        return self._sessions.enter_context(self.server.session(self.server.app, *statements))

    def running(self, statement: str, *before: str) -> Client:
        """Hold a session that executes a statement right now, after others that it has executed."""
        client = self.session(*before)
        client.start(statement)
        return client


@dataclass(frozen=True, slots=True)
class Listed:
    """A command must list a session, with these values; a callable value is asked whether it accepts."""

    command: str
    client: Client
    values: Row

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        rows = [row for row in report["rows"] if row["pid"] == self.client.id]
        if len(rows) != 1:
            yield f"{self.command} lists session {self.client.id} {len(rows)} times"
            return
        for key, expected in self.values.items():
            value = rows[0][key]
            if not (expected(value) if callable(expected) else value == expected):
                yield f"{self.command}: {key} is {value!r}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A command must not list a session."""

    command: str
    client: Client

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        if any(row["pid"] == self.client.id for row in report["rows"]):
            yield f"{self.command} lists session {self.client.id}"


@dataclass(frozen=True, slots=True)
class Told:
    """A command's summary must have these values."""

    command: str
    values: Row

    def differences(self, report: Row) -> Iterable[str]:
        """Yield what is not so in one target's report."""
        for key, expected in self.values.items():
            value = report["summary"][key]
            if not (expected(value) if callable(expected) else value == expected):
                yield f"{self.command}: summary's {key} is {value!r}"


Expectation = Listed | Missing | Told
Scene = Callable[[Play], list[Expectation]]
SCENES: list[tuple[Scene, tuple[str, ...]]] = []
EVERYWHERE = ("postgres", "mysql", "mariadb")


def scene(*kinds: str) -> Callable[[Scene], Scene]:
    """Put a scene into the table, for these kinds of servers, or for all."""

    def put(play: Scene) -> Scene:
        SCENES.append((play, kinds or EVERYWHERE))
        return play

    return put


def idle_tx(client: Client, **values: Any) -> Listed:
    """`idle-tx` must list the session."""
    return Listed("idle-tx", client, values)


def long_query(client: Client, **values: Any) -> Listed:
    """`long-queries` must list the session."""
    return Listed("long-queries", client, values)


def not_idle_tx(client: Client) -> Missing:
    """`idle-tx` must not list the session."""
    return Missing("idle-tx", client)


def not_long(client: Client) -> Missing:
    """`long-queries` must not list the session."""
    return Missing("long-queries", client)


def at_least(low: float) -> Callable[[Any], bool]:
    """Accept numbers from there on; None is none."""
    return lambda value: value is not None and value >= low


def states(**expected: int) -> Callable[[Any], bool]:
    """Accept a list of states with these counts, with blanks for underscores."""
    wanted = {name.replace("_", " "): number for name, number in expected.items()}
    return lambda rows: {row["state"]: row["count"] for row in rows} == wanted


@scene()
def an_idle_session(play: Play) -> list[Expectation]:
    client = play.session(f"select n from {TABLE} where id = 1")
    return [not_idle_tx(client), not_long(client), Told("count", {"used": 1, "by_state": states(idle=1)})]


@scene()
def a_reader_idle_in_transaction(play: Play) -> list[Expectation]:
    client = play.session("begin", f"select n from {TABLE} where id = 1")
    held = not play.on_postgres  # READ COMMITTED lets go of its snapshot, REPEATABLE READ keeps its read view
    return [
        idle_tx(client, aborted=False, holds_xid=False, holds_snapshot=held, blocks=0),
        not_long(client),
        Told("idle-tx", {"count": 1, "idle_in_transaction": 1, "aborted": 0}),
        Told("count", {"by_state": states(idle_in_transaction=1)}),
    ]


@scene()
def a_writer_idle_in_transaction(play: Play) -> list[Expectation]:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    return [idle_tx(client, holds_xid=True, idle_seconds=at_least(0.3), transaction_seconds=at_least(0.3))]


@scene("postgres")
def an_aborted_transaction(play: Play) -> list[Expectation]:
    client = play.session("begin")
    client.start("select 1/0")
    assert client.finished() is not None
    return [
        idle_tx(client, aborted=True, idle_seconds=at_least(0.3), holds_xid=False),
        Told("idle-tx", {"count": 1, "aborted": 1}),
    ]


@scene("postgres", "mysql")
def a_transaction_that_did_nothing(play: Play) -> list[Expectation]:
    client = play.session("begin")
    return [idle_tx(client, holds_xid=False)]


@scene("mariadb")
def a_transaction_that_did_nothing_shows_nowhere(play: Play) -> list[Expectation]:
    client = play.session("begin")
    return [not_idle_tx(client), not_long(client)]


@scene()
def a_busy_transaction_is_not_idle(play: Play) -> list[Expectation]:
    sleep = "select pg_sleep(60)" if play.on_postgres else "select sleep(60)"
    client = play.running(sleep, "begin", f"update {TABLE} set n = n + 1 where id = 3")
    return [not_idle_tx(client), long_query(client, age_seconds=at_least(0.3), transaction_seconds=at_least(0.3))]


@scene()
def a_long_query(play: Play) -> list[Expectation]:
    client = play.running("select pg_sleep(60)" if play.on_postgres else "select sleep(60)")
    return [
        long_query(client, age_seconds=at_least(1), sql=lambda sql: "sleep" in sql),
        not_idle_tx(client),
        Told("long-queries", {"count": 1}),
        Told("count", {"by_state": states(active=1)}),
    ]


@scene()
def a_writer_in_the_way_of_two(play: Play) -> list[Expectation]:
    statement = f"update {TABLE} set n = n + 1 where id = 4"
    holder = play.session("begin", statement)
    waiters = [play.running(statement), play.running(statement)]
    return [
        idle_tx(holder, blocks=2),
        *(long_query(waiter, wait=at_least_a_word, blocked_by=bool) for waiter in waiters),
        *(not_idle_tx(waiter) for waiter in waiters),
        Told("idle-tx", {"blocked": 2}),
        Told("long-queries", {"waiting_for_lock": 2}),
    ]


@scene("mysql", "mariadb")
def a_reader_in_the_way_of_a_definition(play: Play) -> list[Expectation]:
    holder = play.session("begin", f"select n from {TABLE} where id = 5")
    definer = play.running(f"alter table {TABLE} comment = 'x'")
    return [idle_tx(holder), long_query(definer), Told("long-queries", {"waiting_for_lock": 1})]


@scene("postgres")
def a_reader_in_the_way_of_a_table_lock(play: Play) -> list[Expectation]:
    holder = play.session("begin", f"select n from {TABLE} where id = 5")
    locker = play.running(f"lock table {TABLE} in access exclusive mode", "begin")
    return [idle_tx(holder, blocks=1), long_query(locker, blocked_by=[holder.id])]


def at_least_a_word(value: Any) -> bool:
    """Accept any text but an empty one."""
    return isinstance(value, str) and bool(value)

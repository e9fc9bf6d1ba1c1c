"""How scenes are told: a play on one server, what commands must say of it, and the table of all scenes.

A scene opens sessions by its `Play` and returns what the commands must report. Sessions are real ones by real drivers,
and end with the scene. Where servers differ, there are two scenes, and their names say how.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.scenes.expected import Expected
from tests.servers import Client, Role, Running, until
from tests.servers.client import DRIVER_ERRORS

TABLE = "items"  # (id, n), ids 1 to 9, in the database that belongs to `app`
T = TypeVar("T")


class Play:
    """A scene that is being played on one server."""

    def __init__(self, server: Running, sessions: ExitStack) -> None:
        self.server = server
        self.auditor = server.monitor  # as whom the commands connect
        self.by: dict[str, Any] = {}  # where they connect to, as `Running.url` takes it; nothing: as always
        self._sessions = sessions

    @property
    def on_postgres(self) -> bool:
        """Whether the server is PostgreSQL."""
        return self.server.is_postgres

    def session(self, *statements: str, role: Role | None = None, **keywords: Any) -> Client:
        """Hold a session (of `app`, unless given) that has executed the statements; `keywords` go to the driver."""
        return self.enter(self.server.session(role or self.server.app, *statements, **keywords))

    def running(self, statement: str, *before: str, role: Role | None = None) -> Client:
        """Hold a session that executes a statement right now, after others that it has executed."""
        client = self.session(*before, role=role)
        client.start(statement)
        return client

    def failed(self, client: Client, statement: str) -> None:
        """Let a session execute a statement that ends with an error."""
        client.start(statement)
        assert client.finished() is not None

    def waiting(self, statement: str, *before: str) -> Client:
        """Hold a session that is known to the server to wait for a lock."""
        client = self.running(statement, *before)
        until(lambda: self._waits(client), every=0.2)
        return client

    def _waits(self, client: Client) -> bool:
        if self.on_postgres:
            return self.server.ask("select 1 from pg_locks where not granted and pid = %s", client.id) == [(1,)]
        # Not information_schema.innodb_trx, which renews only where it is not asked often.
        told = self.server.ask("select state, time from information_schema.processlist where id = %s", client.id)
        return any(state and (state in WAITS or state.startswith("Waiting for")) for state, _ in told)

    def enter(self, context: AbstractContextManager[T]) -> T:
        """Hold something until the scene is over."""
        return self._sessions.enter_context(context)

    def afterwards(self, statement: str, **keywords: Any) -> None:
        """Have the superuser execute a statement when the sessions that are opened from now on are over."""
        self._sessions.callback(self._settle, statement, keywords)

    def _settle(self, statement: str, keywords: Mapping[str, Any]) -> None:
        def done() -> bool:
            with suppress(*DRIVER_ERRORS), self.server.session(self.server.superuser, **keywords) as client:
                client.do(statement)
                return True
            return False

        until(done, every=0.2)

    def leaves(self, client: Client) -> None:
        """Have the server end a session whose client is in the middle of something, when the scene is over."""
        self._sessions.callback(self.server.terminate, client.id)

    def role(self, name: str, options: str = "") -> Role:
        """Make a role for the time of the scene: `options` are those of CREATE ROLE or CREATE USER."""
        made = Role(name, f"{name}-s3cr3t")
        if self.on_postgres:
            self.server.ask(f"create role {name} login password '{made.password}' {options}")
            self.afterwards(f"drop role if exists {name}")
        else:
            self.server.ask(f"create user {name} identified by '{made.password}' {options}")
            self.afterwards(f"drop user if exists {name}")
        return made

    def database(self, name: str, options: str = "") -> str:
        """Make a database for the time of the scene."""
        self.server.ask(f"create database {name} {options}")
        self.afterwards(f"drop database if exists {name}")
        if self.on_postgres:  # a pooler would stay in it
            self.afterwards(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
        return name


# States in which a MySQL session waits for a row or a user lock; others begin with `Waiting for`.
WAITS = {"Updating", "updating", "Statistics", "statistics", "User lock"}


EVERYWHERE = ("postgres", "mysql", "mariadb")
Act = Callable[[Play], Expected]


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of the table: what is played, and where."""

    play: Act
    kinds: tuple[str, ...]
    since: tuple[int, ...]
    before: tuple[int, ...]
    settings: Mapping[str, str | int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether it plays on a server of its own."""
        return bool(self.settings or self.environment)

    @property
    def name(self) -> str:
        """Return its name, as in a sentence."""
        return self.play.__name__.replace("_", "-")


SCENES: list[Scene] = []


def scene(
    *kinds: str,
    since: tuple[int, ...] = (0,),
    before: tuple[int, ...] = (999,),
    settings: Mapping[str, str | int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Callable[[Act], Act]:
    """Put a scene into the table: for these kinds of servers, or for all; since one version, and before another.

    One with settings or an environment plays on a server of its own.
    """

    def put(play: Act) -> Act:
        SCENES.append(Scene(play, kinds or EVERYWHERE, since, before, settings or {}, environment or {}))
        return play

    return put


def prepared(server: Running) -> Running:
    """Return the same server, with the table on it."""
    with server.session(server.app) as client:
        client.do(f"create table if not exists {TABLE} (id int primary key, n int)")
        if client.do(f"select count(*) from {TABLE}") == [(0,)]:
            client.do(f"insert into {TABLE} values {', '.join(f'({number}, 0)' for number in range(1, 10))}")
    return server


def sleep(play: Play, seconds: int = 60) -> str:
    """Return a statement that takes its time."""
    return f"select {'pg_sleep' if play.on_postgres else 'sleep'}({seconds})"

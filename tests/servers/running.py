"""A server that runs: how to reach it, how to ask it, how to hurt it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pymysql

from tests.servers.client import DRIVER_ERRORS, Client, until
from tests.servers.description import Description

DATABASE = "shop"  # belongs to the role `app`

# What ends a server cleanly, in the order tried, with the seconds each is given. PgBouncer since 1.23 waits on TERM
# for its clients to leave; QUIT is at once.
STOP = {
    "postgres": ((signal.SIGINT, 20), (signal.SIGQUIT, 10)),
    "mysql": ((signal.SIGTERM, 60),),
    "mariadb": ((signal.SIGTERM, 60),),
    "pgbouncer": ((signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGQUIT, 5)),
}


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody who can log in."""

    name: str
    password: str = field(repr=False)


@dataclass(slots=True)
class Running:
    """A server that runs.

    Every one has the database `shop` and three roles beside the superuser: `app` owns the database, `monitor` may see
    everything (pg_monitor; PROCESS and SELECT on performance_schema), `plain` was granted nothing. Where no database
    is named, sessions are in `shop`, but for those that MySQL lets into none.
    """

    description: Description
    host: str
    port: int
    socket: str  # directory for PostgreSQL, file for MySQL
    top: Path  # all that it wrote
    log: Path
    process: subprocess.Popen[bytes]
    superuser: Role
    backend: "Running | None" = None  # what PgBouncer stands in front of
    app: Role = Role("app", "app-s3cr3t")
    monitor: Role = Role("monitor", "monitor-s3cr3t")
    plain: Role = Role("plain", "plain-s3cr3t")

    @property
    def name(self) -> str:
        """Return the name of its description."""
        return self.description.name

    @property
    def kind(self) -> str:
        """Return postgres, mysql, mariadb or pgbouncer."""
        return self.description.kind

    @property
    def version(self) -> tuple[int, ...]:
        """Return its version, as its description says."""
        return self.description.version

    @property
    def is_postgres(self) -> bool:
        """Whether it speaks PostgreSQL's protocol."""
        return self.description.family != "mysql"

    @property
    def engine(self) -> str:
        """Return connaudit's name for the engine."""
        return "postgresql" if self.is_postgres else "mysql"

    @property
    def datadir(self) -> Path:
        """Return its data directory."""
        return self.top / "data"

    @property
    def pid(self) -> int:
        """Return the process id of the server; of its postmaster, for PostgreSQL."""
        return self.process.pid

    def role(self, name: str) -> Role:
        """Return `app`, `monitor`, `plain` or `superuser`."""
        return {"app": self.app, "monitor": self.monitor, "plain": self.plain, "superuser": self.superuser}[name]

    def url(
        self, role: Role | None = None, database: str | None = None, *, port: int | None = None, **query: str
    ) -> str:
        """Return a URL with the password in it: for the monitoring role, unless another is given.

        `query` are the options in it; MySQL's are written with hyphens, `ssl_mode` as `ssl-mode`.
        """
        role = role or self.monitor
        path = self._database(role) if database is None else database
        who = f"{quote(role.name, safe='')}:{quote(role.password, safe='')}"
        named = {name if self.is_postgres else name.replace("_", "-"): value for name, value in query.items()}
        more = f"?{urlencode(named)}" if query else ""
        return f"{self.engine}://{who}@{self.host}:{port or self.port}/{path}{more}"

    def _database(self, role: Role) -> str:
        """Return where a role goes: to `shop`, or to none where it may enter none."""
        return "" if not self.is_postgres and role in (self.monitor, self.plain) else DATABASE

    def connect(self, role: Role | None = None, database: str | None = None, **keywords: Any) -> Client:
        """Open a session of a role (the superuser, unless given); `keywords` go to the driver."""
        role = role or self.superuser
        database = self._database(role) if database is None else database
        common: dict[str, Any] = {"host": self.host, "port": self.port, "user": role.name, "password": role.password}
        if self.is_postgres:
            return Client(
                psycopg.connect(autocommit=True, prepare_threshold=None, dbname=database, **common | keywords)
            )
        return Client(pymysql.connect(autocommit=True, database=database, **common | keywords))

    @contextmanager
    def session(self, role: Role | None = None, *statements: str, **keywords: Any) -> Iterator[Client]:
        """Hold a session (of `app`, unless given) that has executed the statements; it is ended at the end."""
        client = self.connect(role or self.app, **keywords)
        try:
            for statement in statements:
                client.do(statement)
            yield client
        finally:
            self.end(client)

    def end(self, client: Client) -> None:
        """Close a session, by the server if it is busy: a driver's close may wait for the statement."""
        if client.is_busy:
            self.terminate(client.id)
            client.finished()
        client.close()

    def terminate(self, id: int) -> None:
        """End one session by the server; one that is gone already is fine."""
        behind = self.backend or self
        try:
            behind.ask("select pg_terminate_backend(%s)" if self.is_postgres else "kill %s", id)
        except pymysql.err.OperationalError as error:
            if error.args[0] != pymysql.constants.ER.NO_SUCH_THREAD:
                raise

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute as the superuser in a session of its own, and return the rows."""
        client = self.connect()
        try:
            return client.do(statement, *parameters)
        finally:
            client.close()

    def reload(self, **settings: str | float) -> None:
        """Change settings while it runs: ALTER SYSTEM and pg_reload_conf(), or SET GLOBAL."""
        with self.session(self.superuser) as client:
            for name, value in settings.items():
                text = value if isinstance(value, int | float) else "'" + value.replace("'", "''") + "'"
                client.do(f"alter system set {name} = {text}" if self.is_postgres else f"set global {name} = {text}")
            if self.is_postgres:
                client.do("select pg_reload_conf()")

    def processes(self) -> list[int]:
        """Return the pids of the server and of its children: PostgreSQL has one for each session."""
        children = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if int(after_name[1]) == self.pid:
                children.append(int(entry.parent.name))
        return [self.pid, *children]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its children."""
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it ended meanwhile

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop it, as kill -STOP does: it accepts connections, by its kernel, and answers nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it cleanly; one that does not want to is killed, and that is an error."""
        if not self.is_alive:
            return
        self.signal(signal.SIGCONT)
        for number, seconds in STOP[self.kind]:
            self.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
            if not self.is_alive:
                return
        self.kill()
        raise AssertionError(f"{self.name} had to be killed")


def create_roles(server: Running) -> None:
    """Make the database and the roles that every server has."""
    roles = (server.app, server.monitor, server.plain)
    with server.session(server.superuser, database="postgres" if server.is_postgres else "mysql") as client:
        for statement in _POSTGRES_ROLES if server.is_postgres else _MYSQL_ROLES:
            client.do(statement.format(*roles, database=DATABASE))


_POSTGRES_ROLES = (
    "create role {0.name} login password '{0.password}'",
    "create role {1.name} login password '{1.password}'",
    "create role {2.name} login password '{2.password}'",
    "grant pg_monitor to {1.name}",
    "create database {database} owner {0.name}",
)
_MYSQL_ROLES = (
    "create database {database}",
    "create user {0.name} identified by '{0.password}'",
    "create user {1.name} identified by '{1.password}'",
    "create user {2.name} identified by '{2.password}'",
    "grant all on {database}.* to {0.name}",
    "grant process on *.* to {1.name}",
    "grant select on performance_schema.* to {1.name}",
)


def wait_for_login(server: Running, within: float = 10.0) -> None:
    """Wait until PgBouncer lets its first client in: nothing else tells that it is ready."""

    def lets_us_in() -> bool:
        try:
            server.connect(database="pgbouncer").close()
        except DRIVER_ERRORS:
            return False
        return True

    until(lets_us_in, within, every=0.02)

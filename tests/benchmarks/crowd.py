"""Many sessions on a real server, each idle in a transaction."""

import resource
from types import TracebackType
from typing import Self

from tests.servers import Client, Running

FILES_TO_SPARE = 200
MIB_PER_BACKEND = 2.5  # of a PostgreSQL that does nothing: measured with 5,000 of them
APPLICATIONS = ("gunicorn: worker [shop.wsgi]", "celery@worker-3", "uvicorn: shop.asgi", "metabase")


def affordable(wanted: int) -> int:
    """Return how many PostgreSQL sessions the free memory and the open files of this machine allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with open("/proc/meminfo", encoding="ascii") as file:
        told = dict(line.split(":") for line in file)
    free = int(told["MemAvailable"].split()[0]) / 1024
    allowed = min(free * 0.7 / MIB_PER_BACKEND, hard - FILES_TO_SPARE)
    return next((size for size in (wanted, 2000, 1000, 500) if size <= min(allowed, wanted)), 100)


class Crowd:
    """Sessions of the role `app` that have begun a transaction and read something; they leave with the block."""

    def __init__(self, server: Running, statement: str = "select count(*) from pg_class") -> None:
        self._server = server
        self._statement = statement
        self._sessions: list[Client] = []

    def __len__(self) -> int:
        return len(self._sessions)

    def grow(self, size: int) -> None:
        """Let more sessions come, until there are so many."""
        while len(self) < size:
            client = self._connected(APPLICATIONS[len(self) % len(APPLICATIONS)])
            for statement in self._begin():
                client.do(statement)
            self._sessions.append(client)

    def _connected(self, application: str) -> Client:
        """Connect by the Unix socket, where PostgreSQL asks for no password and nothing is encrypted."""
        server = self._server
        if server.is_postgres:
            return server.connect(server.app, host=server.socket, application_name=application)
        return server.connect(server.app, unix_socket=server.socket, ssl_disabled=True)

    def _begin(self) -> tuple[str, ...]:
        if self._server.is_postgres:
            return "begin", self._statement
        return "start transaction with consistent snapshot", "select 1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for client in self._sessions:
            client.close()

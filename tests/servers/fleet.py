"""All the servers of one test run: each is started when first wanted, and stopped at the end."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.servers.description import Description, ServersMissing, available
from tests.servers.running import Role, Running, create_roles, wait_for_login

PREFIX = "connaudit-tests-"
PASSWORD = "dbtest"
SUPERUSERS = {"postgres": "postgres", "pgbouncer": "postgres", "mysql": "root", "mariadb": "root"}
# What the kernel sends to a server when the tests are killed: setpriv's names.
ORPHANED = {"postgres": "QUIT", "mysql": "TERM", "mariadb": "TERM", "pgbouncer": "KILL"}
# What a throwaway server need not do.
CARELESS = {
    "postgres": {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"},
    "mysql": {"innodb_flush_log_at_trx_commit": "0", "sync_binlog": "0"},
    "mariadb": {"innodb_flush_log_at_trx_commit": "0", "sync_binlog": "0"},
    "pgbouncer": {},
}
PATIENCE = 60.0  # seconds that a server may take to get ready

Settings = Mapping[str, str | int]


class Fleet:
    """Starts servers below one temporary directory, and stops them all on leaving.

    Servers must be started from the main thread: they end when the thread that started them does, so that none
    outlives tests that were killed. What killed tests left on the disk is removed by the next run.
    """

    def __init__(self) -> None:
        sweep()
        made = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
        made.chmod(0o755)  # servers run as another user when we are root
        self._lock = _locked(made)
        self.top = made.rename(made.with_name(made.name.removeprefix("new-")))  # now that no sweep can take it
        self._started: list[Running] = []
        self._shared: dict[str, Running] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            while self._started:
                self._started.pop().stop()
        finally:
            shutil.rmtree(self.top, ignore_errors=True)
            if self._lock:
                self._lock.close()

    def shared(self, description: Description) -> Running:
        """Return the one server of this description that tests share; it is started when first asked for."""
        server = self._shared.get(description.name)
        if server is None:
            server = self._shared[description.name] = self.start(description)
        assert server.is_alive, f"a test left {server.name} dead; its log ends with:\n{_tail(server.log)}"
        return server

    def start(
        self,
        description: Description,
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
        backend: Running | None = None,
        data: Path | None = None,
    ) -> Running:
        """Start one more server, with settings of its own. PgBouncer gets a PostgreSQL if none is given.

        `data` is copied where it is to begin with what another one left, roles and all.
        """
        if description.kind == "pgbouncer" and backend is None:
            backend = self.shared(best_backend())
        home = self._reachable(description.home)
        top = Path(tempfile.mkdtemp(prefix=f"{description.name}-", dir=self.top))
        top.chmod(0o755)
        env = {**os.environ, "DBTEST_PASSWORD": PASSWORD, "DBTEST_PDEATHSIG": ORPHANED[description.kind]}
        if backend:
            env |= {"BACKEND_HOST": backend.host, "BACKEND_PORT": str(backend.port)}
        if data:
            _copy(data, top / "data")
        else:
            self._make_data(description, home, top / "data", env)
        server = _serve(
            description, home, top, {**CARELESS[description.kind], **(settings or {})}, env | dict(environment or {})
        )
        server.backend = backend
        self._started.append(server)
        if description.kind == "pgbouncer":
            wait_for_login(server)
        elif data is None:
            create_roles(server)
        return server

    def stop(self, server: Running) -> None:
        """Stop one before the end, and remove what it wrote."""
        self._started.remove(server)
        server.stop()
        shutil.rmtree(server.top, ignore_errors=True)

    def _make_data(self, description: Description, home: Path, data: Path, env: Mapping[str, str]) -> None:
        """Make a data directory: initialised once for each description, copied after that."""
        if description.kind == "pgbouncer":  # its configuration names the server behind, and is made at once
            _run(home, "init", data, env)
            return
        template = self.top / f"template-{description.name}"
        if not template.exists():
            unfinished = self.top / f"unfinished-{description.name}"
            with _alone_in_tmp():
                _run(home, "init", unfinished, env)
            unfinished.rename(template)
        _copy(template, data)

    def _reachable(self, home: Path) -> Path:
        """Return a copy of the server's programs if the user that it will run as may not pass to them."""
        if os.geteuid() != 0 or all(part.stat().st_mode & 0o001 for part in home.resolve().parents):
            return home
        copy = self.top / f"programs-{home.name}"
        if not copy.exists():
            shutil.copytree(home, copy)  # links are followed: they may point to where that user may not go
        return copy


def best_backend() -> Description:
    """Return the newest released PostgreSQL there is."""
    usable = [one for one in available() if one.kind == "postgres" and one.released]
    if not usable:
        raise ServersMissing("no PostgreSQL to put behind PgBouncer")
    return usable[-1]


def sweep() -> None:
    """Remove what killed runs left: a live one holds the lock of its directory."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = _locked(leftover)
        if lock:
            shutil.rmtree(leftover, ignore_errors=True)
            lock.close()


def _locked(top: Path) -> IO[bytes] | None:
    """Lock a run's directory; None if it is somebody else's."""
    try:
        lock = (top / "lock").open("ab")
    except OSError:
        return None  # another user's, or gone meanwhile
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


@contextmanager
def _alone_in_tmp() -> Iterator[None]:
    """Let no other test run initialise at the same time: MariaDB, as it starts, removes others' temporary tables."""
    directory = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _copy(data: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", data, to], check=True)


def _run(home: Path, action: str, data: Path, env: Mapping[str, str]) -> None:
    log = data.with_name(data.name + ".log")
    with log.open("ab") as output:
        status = subprocess.run(
            [home / "run", action, data],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=data.parent,
            check=False,
        ).returncode
    if status:
        raise ServersMissing(f"{home / 'run'} {action} ended with status {status}:\n{_tail(log)}")


def _serve(description: Description, home: Path, top: Path, settings: Settings, env: Mapping[str, str]) -> Running:
    sockets, log = top / "s", top / "log"
    sockets.mkdir()
    owner = (top / "data").stat()
    os.chown(sockets, owner.st_uid, owner.st_gid)
    if description.family == "mysql":
        settings = {"tmpdir": str(sockets), **settings}  # its own: at start it removes temporary tables, whosever
    for _ in range(3):  # another process may take the port meanwhile
        port = _free_port()
        server = Running(
            description=description,
            host="127.0.0.1",
            port=port,
            socket=str(sockets if description.family != "mysql" else sockets / "mysql.sock"),
            top=top,
            log=log,
            process=_process(home, top, port, _words(description, settings), env),
            superuser=Role(SUPERUSERS[description.kind], PASSWORD),
        )
        if _becomes_ready(server):
            return server
        if not re.search(r"in use", _tail(log)):
            break
    raise ServersMissing(f"{description.name} did not start:\n{_tail(log)}")


def _process(home: Path, top: Path, port: int, words: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (top / "log").open("wb") as output:
        return subprocess.Popen(
            [home / "run", "start", top / "data", str(port), top / "s", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=top,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop it
        )


def _words(description: Description, settings: Settings) -> list[str]:
    if description.kind in ("postgres", "pgbouncer"):
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [f"--{name}={value}" for name, value in settings.items()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _becomes_ready(server: Running) -> bool:
    deadline = time.monotonic() + PATIENCE
    while server.is_alive and time.monotonic() < deadline:
        if is_ready(server):
            return True
        time.sleep(0.02)
    if server.is_alive:
        server.signal(signal.SIGKILL)
        server.process.wait()
    return False


def is_ready(server: Running) -> bool:
    """Tell without connecting: a bare connection counts as an aborted one, which audits look at."""
    if server.kind == "pgbouncer":
        return True  # its first login tells
    if server.kind == "postgres":
        try:
            lines = (server.datadir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready" and lines[0] == str(server.pid)
    return b": ready for connections." in server.log.read_bytes()


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"

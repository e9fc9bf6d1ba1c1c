"""However an audit ends, it ends in time, says where it was, and leaves nothing behind: real faults, real processes.

The time that each ending took is told in a table at the end of the run; asserted is only that none hangs.
"""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.cli import Result, begin, finish
from tests.conftest import Start
from tests.faults import Act, Fault, Proxy, Stage, deaf_resolver, refused_port
from tests.servers import Client, Running, until

TIMEOUT = 2.0  # seconds that an audit is given
LITTLE = 6.0  # seconds beyond it that a busy machine may need to start and end a process; far less is usual
CLEAR = {True: {"sslmode": "disable"}, False: {"ssl_mode": "DISABLED"}}
DEMANDED = {True: {"sslmode": "require"}, False: {"ssl_mode": "REQUIRED"}}
OURS = {
    True: "select count(*) from pg_stat_activity where application_name = 'connaudit'",
    False: "select count(*) from information_schema.processlist where user = 'monitor'",
}
RUNNING = {True: f"{OURS[True]} and state = 'active'", False: f"{OURS[False]} and command <> 'Sleep'"}


class Room:
    """Where connaudit runs until it ends, and what must be so however it does."""

    def __init__(self, server: Running, place: Path, record: Callable[[str, object], None]) -> None:
        self.server = server
        self.record = record
        self.home, self.temporary = place / "home", place / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()

    def begin(self, url: str, *words: str, env: dict[str, str] | None = None, out: int | None = None) -> Any:
        """Start `idle-tx`, which asks for nearly everything that there is to ask."""
        where: dict[str, str | None] = {"TMPDIR": str(self.temporary), "HOME": str(self.home), "AUDITED": url}
        words = ("idle-tx", "env:AUDITED", "--json", "-t", f"{TIMEOUT}s", *words)
        return begin(*words, env={**where, **(env or {})}, cwd=self.home, out=out)

    def end(self, fault: str, process: subprocess.Popen[bytes], since: float) -> Result:
        """Wait for its end, which must leave nothing behind, and note how it came."""
        result = finish(process)
        seconds = time.monotonic() - since
        said = result.err.splitlines()
        assert seconds < TIMEOUT + LITTLE
        assert "Traceback" not in result.err
        assert len(said) <= 1, result.err
        assert not [*self.home.rglob("*"), *self.temporary.iterdir()]
        if self.server.is_alive:
            until(lambda: self.server.ask(RUNNING[self.server.is_postgres]) == [(0,)], within=5)
        self.record("ending", f"{fault}|{self.server.kind}|{result.status}|{_stage(result)}|{seconds:.2f}")
        return result

    def run(self, fault: str, url: str, *words: str, env: dict[str, str] | None = None) -> Result:
        """Start it, and wait for its end."""
        since = time.monotonic()
        return self.end(fault, self.begin(url, *words, env=env), since)

    def through(self, proxy: Proxy, **options: str) -> str:
        """Return a URL that leads through a proxy; in clear, unless options say otherwise."""
        query: Any = options or CLEAR[self.server.is_postgres]
        return self.server.url(port=proxy.port, **query)


def _stage(result: Result) -> str:
    error = result.json["targets"][0]["error"] if result.out else None
    return f"{error['kind']} {error['stage']}" if error else "-"


def failure(result: Result) -> tuple[int, str, str]:
    """Return exit status, kind and stage; what is said on stderr must agree."""
    error = result.json["targets"][0]["error"]
    assert f"[{error['kind']}]" in result.err
    return result.status, error["kind"], error["stage"]


@pytest.fixture
def room(newest: Running, tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Room]:
    yield Room(newest, tmp_path, record_property)
    until(lambda: newest.ask(OURS[newest.is_postgres]) == [(0,)], within=5)  # and no way to us hangs any more


# What happens on the way, and as what it is told: (kind, stage) on PostgreSQL, and on MySQL; a reset may be faster
# than what the client would have done next.
ON_THE_WAY = {
    "deaf": (Fault(Act.HANG), ("timeout", "login"), ("timeout", "login")),
    "greets and hangs": (Fault(Act.HANG, Stage.GREETING), ("timeout", "login"), ("timeout", "login")),
    "hangs in the answer": (Fault(Act.HANG, Stage.QUERY, after=500), ("timeout", "query"), ("timeout", "query")),
    "drips from the start": (Fault(Act.DRIP), ("timeout", "login"), ("timeout", "login")),
    "drips in the answer": (Fault(Act.DRIP, Stage.QUERY, after=500), ("timeout", "query"), ("timeout", "query")),
    "cuts at once": (Fault(Act.CUT), ("refused", "login"), ("refused", "tcp")),
    "cuts after the greeting": (Fault(Act.CUT, Stage.GREETING), ("refused", "login"), ("refused", "login")),
    "cuts in the middle of a row": (Fault(Act.CUT, Stage.QUERY, after=500), ("query", "query"), ("query", "query")),
    "resets at once": (Fault(Act.RESET), ("refused", "tcp|login"), ("refused", "tcp|login")),
    "resets in a row": (Fault(Act.RESET, Stage.QUERY, after=500), ("query", "query"), ("query", "query")),
}


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_the_way_to_the_server(room: Room, name: str) -> None:
    fault, on_postgres, on_mysql = ON_THE_WAY[name]
    with Proxy(room.server, fault) as proxy:
        result = room.run(name, room.through(proxy))
    kind, stages = on_postgres if room.server.is_postgres else on_mysql
    status, told, stage = failure(result)
    assert (status, told) == (3, kind)
    assert stage in stages.split("|")


def test_nobody_listens(room: Room) -> None:
    with refused_port() as port:
        result = room.run("refuses", room.server.url(port=port))
    assert failure(result) == (3, "refused", "tcp")


@pytest.mark.parametrize("act", [Act.CUT, Act.HANG])
def test_a_handshake_that_does_not_come_to_an_end(room: Room, start: Start, authority: Authority, act: Act) -> None:
    tls = authority.server_side("localhost") if room.server.is_postgres else None
    if not tls:
        certificate, key = authority.issue("localhost")
        room.server = start(room.server, ssl_ca=str(authority.certificate), ssl_cert=str(certificate), ssl_key=str(key))
    with Proxy(room.server, Fault(act, Stage.TLS), tls=tls) as proxy:
        result = room.run(f"TLS handshake: {act.name.lower()}", room.through(proxy, **DEMANDED[bool(tls)]))
        assert tls or Stage.TLS in proxy.passages[0].reached
    cut = "refused" if room.server.is_postgres else "tls"
    assert failure(result) == (3, cut if act is Act.CUT else "timeout", "tls")


def test_a_server_that_is_stopped_before_the_login(room: Room) -> None:
    with room.server.paused():
        process, since = room.begin(room.server.url()), time.monotonic()
        process.wait(TIMEOUT + LITTLE)
        seconds = time.monotonic() - since
    result = room.end("stopped before the login", process, time.monotonic() - seconds)
    assert failure(result) == (3, "timeout", "tls" if room.server.is_postgres else "login")


def test_a_server_that_is_stopped_after_the_login(room: Room) -> None:
    with Proxy(room.server, on_statement=lambda _: room.server.signal(signal.SIGSTOP)) as proxy:
        try:
            process, since = room.begin(room.through(proxy)), time.monotonic()
            process.wait(TIMEOUT + LITTLE)
            seconds = time.monotonic() - since
        finally:
            room.server.signal(signal.SIGCONT)
    result = room.end("stopped after the login", process, time.monotonic() - seconds)
    assert failure(result) == (3, "timeout", "query")


def test_a_server_that_is_killed_while_it_is_asked(room: Room, start: Start) -> None:
    room.server = start(room.server)
    with Proxy(room.server, on_statement=lambda _: room.server.kill()) as proxy:
        result = room.run("killed while it is asked", room.through(proxy))
    assert failure(result) == (3, "query", "query")


def test_a_session_that_is_terminated(room: Room) -> None:
    who = "select pid from pg_stat_activity where application_name = 'connaudit'"
    if not room.server.is_postgres:
        who = "select id from information_schema.processlist where user = 'monitor'"

    def terminate(_: str) -> None:
        for (id_,) in room.server.ask(who):
            room.server.terminate(id_)

    with Proxy(room.server, on_statement=terminate) as proxy:
        result = room.run("session terminated", room.through(proxy))
    assert failure(result) == (3, "query", "query")


def test_a_name_server_that_does_not_answer(room: Room, tmp_path: Path) -> None:
    resolver = tmp_path / "resolver"
    resolver.mkdir()
    url = room.server.url().replace(room.server.host, "db.example")
    result = room.run("DNS does not answer", url, env=deaf_resolver(resolver, "db.example", 30))
    assert failure(result) == (3, "timeout", "dns")


def test_the_deadline_of_the_run_holds_too(room: Room) -> None:
    with Proxy(room.server, Fault(Act.HANG, Stage.QUERY)) as proxy:
        result = room.run("deadline", room.through(proxy), "-t", "1m", "--deadline", f"{TIMEOUT}s")
    assert failure(result) == (3, "timeout", "query")


def test_a_full_disk(room: Room) -> None:
    with Path("/dev/full").open("wb") as full:
        since = time.monotonic()
        result = room.end("stdout on a full disk", room.begin(room.server.url(), out=full.fileno()), since)
    assert result.status == 3
    assert "cannot write output: No space left on device" in result.err


def test_a_full_disk_for_a_file_leaves_the_old_one(room: Room, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("old")
    command = ["prlimit", "--fsize=100", "--pid"]
    with Proxy(room.server, on_statement=lambda _: limit()) as proxy:
        since = time.monotonic()
        process = room.begin(room.through(proxy), "-o", str(report))

        def limit() -> None:
            subprocess.run([*command, str(process.pid)], check=True)

        result = room.end("file on a full disk", process, since)
    assert result.status == 3
    assert "cannot write" in result.err
    assert report.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.json"]


def test_a_reader_who_leaves_changes_no_verdict(room: Room) -> None:
    process, since = room.begin(room.server.url()), time.monotonic()
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    result = room.end("reader left (SIGPIPE)", process, since)
    assert (result.status, result.err) == (0, "")


@contextmanager
def held(room: Room, stage: str, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Give a URL on the way to which an audit gets stuck at a stage, and the environment for it."""
    if stage == "dns":
        yield room.server.url().replace(room.server.host, "db.example"), deaf_resolver(tmp_path, "db.example", 60)
        return
    if stage == "tcp":
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            filler = [socket.socket() for _ in range(3)]
            for one in filler:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            yield room.server.url(port=port), {}
            for one in filler:
                one.close()
        return
    once = {"login": Stage.GREETING, "query": Stage.QUERY}.get(stage, Stage.CONNECT)
    with Proxy(room.server, Fault(Act.HANG, once)) as proxy:
        yield room.through(proxy), {}


STAGES = ("dns", "tcp", "greeting", "login", "query")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_at_every_stage(room: Room, stage: str, number: signal.Signals, tmp_path: Path) -> None:
    resolver = tmp_path / "resolver"
    resolver.mkdir()
    with held(room, stage, resolver) as (url, env):
        process = room.begin(url, "-t", "30s", env=env)
        time.sleep(1)
        since = time.monotonic()
        process.send_signal(number)
        result = room.end(f"{number.name} during {stage}", process, since)
    assert (result.status, result.out) == (-number, "")
    assert result.err == f"connaudit: interrupted by {number.name}\n"


class Stuck:
    """Lets an audit wait on the server for a lock that is taken when its statements come."""

    def __init__(self, holder: Client, kind: str) -> None:
        self.holder, self.kind = holder, kind
        self.waits = threading.Event()

    def lock(self, _: str) -> None:
        """Lock a table that every login has read by now; an audit reads it once more, for names or limits."""
        if self.waits.is_set():
            return
        if self.kind == "postgres":
            self.holder.do("begin")
            self.holder.do("lock table pg_authid in access exclusive mode")
        else:
            self.holder.do(f"lock tables mysql.{'user' if self.kind == 'mysql' else 'global_priv'} write")
        self.waits.set()

    @property
    def is_over(self) -> bool:
        """Whether nobody is connected but the one who asks, by whom no lock is waited for."""
        if self.kind == "postgres":
            self.holder.do("select pg_stat_clear_snapshot()")
            others = "select count(*) from pg_stat_get_activity(null) where application_name = 'connaudit'"
        else:
            others = "select count(*) from information_schema.processlist where user = 'root' and id <> connection_id()"
        return self.holder.do(others) == [(0,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_what_waits_on_the_server_ends_with_us(room: Room, number: signal.Signals) -> None:
    server, clear = room.server, CLEAR[room.server.is_postgres]
    logged = len(server.log.read_text())
    with server.session(server.superuser) as holder:
        stuck = Stuck(holder, server.kind)
        with Proxy(server, on_statement=stuck.lock) as proxy:
            query: Any = {"port": proxy.port, **clear}
            process = room.begin(server.url(server.superuser, None if server.is_postgres else "", **query), "-t", "30s")
            assert stuck.waits.wait(10)
            time.sleep(0.25)  # of the half second that an audit waits for a lock on PostgreSQL
            since = time.monotonic()
            process.send_signal(number)
            process.wait(LITTLE)
            seconds = time.monotonic() - since
            until(lambda: stuck.is_over, within=5)
    result = room.end(f"{number.name} during a wait on the server", process, time.monotonic() - seconds)
    assert result.status == -number
    if server.is_postgres:
        assert "canceling statement due to user request" in server.log.read_text()[logged:]

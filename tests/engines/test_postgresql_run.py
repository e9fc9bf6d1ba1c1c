"""How many PostgreSQL servers are audited at once: bounded, in few round trips, and without leaving anything behind."""

import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from connaudit.engines import Budget
from connaudit.engines.postgresql import loop as loop_module
from connaudit.engines.postgresql import take
from connaudit.engines.postgresql.dial import Place, conninfo
from connaudit.engines.postgresql.loop import Loop, Steps, Wait
from connaudit.engines.postgresql.wire import Connection
from connaudit.errors import NameUnknown, Refused, TimedOut
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Host
from tests.engines.postgresql import ALL, failure, snapshot, take_all, target
from tests.faults import Proxy, refused_port
from tests.servers import Running, until

BORDERS = ("__init__", "__enter__", "__exit__", "close")  # nothing to end well yet, or no more
TraceFunction = Callable[[FrameType, str, Any], Any]
HERE = "127.0.0.1"
SLEEPERS = "select count(*) from pg_stat_activity where query = 'select pg_sleep(57)' and state = 'active'"
OURS = "select count(*) from pg_stat_activity where application_name = 'connaudit'"


def test_one_broken_target_spoils_no_other(postgres: Running) -> None:
    good = target(postgres)
    with refused_port() as port, socket.create_server((HERE, 0)) as deaf:
        outcomes = take_all(
            [
                good,
                target(postgres, hosts=(Host(HERE, port),)),
                target(postgres, hosts=(Host("nowhere.invalid", 5432),)),
                target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),)),
                good,
            ],
            timeout=1,
        )
    assert [type(outcome) for outcome in outcomes] == [Snapshot, Refused, NameUnknown, TimedOut, Snapshot]


def test_what_is_ready_comes_first(postgres: Running) -> None:
    with socket.create_server((HERE, 0)) as deaf:
        targets = [target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),)), target(postgres)]
        assert [index for index, _ in take(targets, ALL, Budget(1, time.monotonic() + 9))] == [1, 0]


def test_many_deaf_servers_cost_one_timeout(postgres: Running) -> None:
    with socket.create_server((HERE, 0), backlog=64) as deaf:
        one = target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),))
        began = time.monotonic()
        outcomes = take_all([one] * 40, timeout=0.5)
    assert time.monotonic() - began < 5  # one after the other: 20
    assert all(isinstance(outcome, TimedOut) for outcome in outcomes)


def test_jobs_bound_how_many_are_open_at_once(postgres: Running) -> None:
    with socket.create_server((HERE, 0), backlog=64) as deaf:
        one = target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),))
        began = time.monotonic()
        take_all([one] * 4, timeout=1, jobs=2)
    assert 2 <= time.monotonic() - began < 4  # one after the other: 4; all at once: 1


def test_the_deadline_ends_what_has_not_begun(postgres: Running) -> None:
    with socket.create_server((HERE, 0), backlog=64) as deaf:
        one = target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),))
        began = time.monotonic()
        outcomes = dict(take([one] * 3, ALL, Budget(5, began + 0.4, 1)))
    assert time.monotonic() - began < 3
    assert [type(outcomes[index]) for index in range(3)] == [TimedOut] * 3
    assert [outcomes[index].stage for index in range(3)] == ["tls", None, None]  # type: ignore[union-attr]


def test_a_snapshot_takes_as_many_round_trips_as_one_query(postgres: Running) -> None:
    with Proxy(postgres) as proxy:
        taken = snapshot(target(postgres, hosts=(Host(HERE, proxy.port),)))
        (passage,) = proxy.passages
        assert len(passage.statements) == 1
        # TLS asked for, startup, two for SCRAM, the query.
        assert passage.round_trips == 5
    assert [stage for stage, _ in taken.stages] == ["dns", "tcp", "tls", "login", "query"]
    assert all(seconds >= 0 for _, seconds in taken.stages)


def test_nothing_of_us_stays(postgres_any: Running) -> None:
    snapshot(target(postgres_any))
    until(lambda: postgres_any.ask(OURS) == [(0,)])


def test_we_write_nothing_and_wait_for_no_lock_long(postgres_any: Running) -> None:
    with Proxy(postgres_any) as proxy:
        snapshot(target(postgres_any, hosts=(Host(HERE, proxy.port),)))
        (statements,) = proxy.passages[0].statements
    assert statements.startswith("begin isolation level read committed, read only")
    assert statements.endswith("commit")
    assert "'lock_timeout', '500'" in statements


def sleep(server: Running, loop: Loop) -> Steps[None]:
    """Hold a conversation whose statement never ends by itself."""
    place = Place(HERE, HERE, str(server.port))
    connection = Connection(conninfo(target(server, server.superuser), (place,)))
    far = time.monotonic() + 60
    try:
        assert (yield from connection.connect(far))
        yield from connection.query("select pg_sleep(57)", far)
    finally:
        connection.close(loop.leave)


def sleep_for_ever(server: Running) -> None:
    with Loop() as loop:
        loop.start(0, sleep(server, loop))
        while loop.is_busy:
            assert list(loop.turn()) == []


def test_leaving_cancels_what_still_runs(postgres_any: Running) -> None:
    with Loop() as loop:
        loop.start(0, sleep(postgres_any, loop))
        ends = time.monotonic() + 10
        while postgres_any.ask(SLEEPERS) != [(1,)]:
            assert time.monotonic() < ends
            assert list(loop.turn(time.monotonic() + 0.02)) == []
        began = time.monotonic()
    assert time.monotonic() - began < 5
    until(lambda: postgres_any.ask(SLEEPERS) == [(0,)], within=1)


def test_why_the_server_ended_a_connection_is_told(postgres_any: Running) -> None:
    def end(statements: str) -> None:
        postgres_any.ask(OURS.replace("count(*)", "pg_terminate_backend(pid)"))

    with Proxy(postgres_any, on_statement=end) as proxy:
        error = failure(target(postgres_any, hosts=(Host(HERE, proxy.port),)))
    assert str(error) == "the connection broke: terminating connection due to administrator command"


def test_a_signal_ends_a_run_and_its_statements(postgres: Running) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            sleep_for_ever(postgres)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    until(lambda: postgres.ask(SLEEPERS) == [(0,)], within=1)


class Signal(BaseException):
    """What a handler of signals raises, wherever the program stands."""


def converse() -> None:
    """Hold a conversation of two waits over a socket, from its beginning to its end."""
    ours, theirs = socket.socketpair()

    def steps() -> Steps[None]:
        for _ in range(2):
            theirs.send(b"!")
            assert (yield Wait(time.monotonic() + 9, ours.fileno()))

    with ours, theirs, Loop() as loop:
        loop.start(0, steps())
        while loop.is_busy:
            list(loop.turn())


def interrupted_at(line: int) -> bool:
    """Converse, with a signal at that line of the loop; return whether there was so late a one."""
    left = line

    def interrupt(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        nonlocal left
        if frame.f_code.co_filename != loop_module.__file__ or frame.f_code.co_name in BORDERS:
            return None
        left -= event == "line"
        if left < 0:
            raise Signal
        return interrupt

    before = sys.gettrace()
    try:
        sys.settrace(interrupt)
        converse()
    except Signal:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_signal_at_any_line_of_the_loop_passes_through_it() -> None:
    line = 0
    while interrupted_at(line):
        line += 1
    assert line > 60


def test_closing_the_iterator_closes_the_connections(postgres: Running) -> None:
    with socket.create_server((HERE, 0)) as deaf:
        targets = [target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),)), target(postgres)]
        run = take(targets, ALL, Budget(9, time.monotonic() + 9))
        next(run)
        accepted, _ = deaf.accept()
        with accepted:
            began = time.monotonic()
            run.close()  # type: ignore[attr-defined]
            accepted.settimeout(1)
            while accepted.recv(100):
                pass
    assert time.monotonic() - began < 5


def test_few_facts_need_no_grants(postgres: Running) -> None:
    taken = snapshot(target(postgres, postgres.plain), frozenset())
    assert taken.capacity.used is not None
    assert taken.gaps == ()
    assert snapshot(target(postgres), frozenset({Fact.GUARDS})).guards


def test_a_clock_that_is_off_is_noted(postgres: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert snapshot(target(postgres)).notes == ()
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() - 3600)
    taken = snapshot(target(postgres))
    (note,) = taken.notes
    assert "3600s ahead of" in note
    assert all((s.connection_age or 0) < 3000 for s in taken.clients)


def test_values_are_quoted_for_libpq(postgres: Running) -> None:
    error = failure(target(postgres, database="it's \\ host=elsewhere"))
    assert "it's \\ host=elsewhere" in str(error)


def test_a_target_may_have_a_timeout_of_its_own(postgres: Running) -> None:
    with socket.create_server((HERE, 0)) as deaf:
        error = failure(target(postgres, hosts=(Host(HERE, deaf.getsockname()[1]),), timeout=0.3), timeout=9)
    assert str(error) == "timed out after 0.3s during tls"

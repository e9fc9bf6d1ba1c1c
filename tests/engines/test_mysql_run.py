"""How many MySQL servers are audited at once: bounded, in few round trips, and without leaving anything behind."""

import re
import socket
import threading
import time

import pytest

from connaudit.engines import Budget
from connaudit.engines.mysql import follow, take
from connaudit.engines.mysql.attempt import Attempt
from connaudit.errors import NameUnknown, Refused, TimedOut
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Host, Target
from tests.engines.mysql import ALL, HERE, failure, snapshot, take_all, target
from tests.faults import Proxy, refused_port
from tests.servers import Running, until

COUNT = frozenset({Fact.SESSIONS, Fact.STATES})
OURS = "select count(*) from information_schema.processlist where user = 'monitor'"


def deaf(listener: socket.socket) -> Target:
    """Return a target that is accepted, and then hears nothing."""
    return Target("deaf", "mysql", (Host(HERE, listener.getsockname()[1]),))


def test_one_broken_target_spoils_no_other(mariadb: Running) -> None:
    good = target(mariadb)
    with refused_port() as port, socket.create_server((HERE, 0)) as listener:
        nobody, nowhere = target(mariadb, None, Host(HERE, port)), target(mariadb, None, Host("nowhere.invalid"))
        outcomes = take_all([good, nobody, nowhere, deaf(listener), good], timeout=1)
    assert [type(outcome) for outcome in outcomes] == [Snapshot, Refused, NameUnknown, TimedOut, Snapshot]


def test_what_is_ready_comes_first(mariadb: Running) -> None:
    with socket.create_server((HERE, 0)) as listener:
        targets = [deaf(listener), target(mariadb)]
        assert [index for index, _ in take(targets, ALL, Budget(1, time.monotonic() + 9))] == [1, 0]


def test_many_deaf_servers_cost_one_timeout() -> None:
    with socket.create_server((HERE, 0), backlog=64) as listener:
        began = time.monotonic()
        outcomes = take_all([deaf(listener)] * 40, timeout=0.5)
    assert time.monotonic() - began < 5  # one after the other: 20
    assert all(isinstance(outcome, TimedOut) for outcome in outcomes)


def test_jobs_bound_how_many_are_open_at_once() -> None:
    with socket.create_server((HERE, 0), backlog=64) as listener:
        began = time.monotonic()
        take_all([deaf(listener)] * 4, timeout=1, jobs=2)
    assert 2 <= time.monotonic() - began < 4  # one after the other: 4; all at once: 1


def test_the_deadline_ends_what_has_not_begun() -> None:
    with socket.create_server((HERE, 0), backlog=64) as listener:
        began = time.monotonic()
        outcomes = dict(take([deaf(listener)] * 3, ALL, Budget(5, began + 0.4, 1)))
    assert time.monotonic() - began < 3
    failures = [outcomes[index] for index in range(3)]
    assert [failure.stage for failure in failures if isinstance(failure, TimedOut)] == ["login", None, None]


def test_a_stuck_name_lookup_is_left_behind(mariadb: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: str, *more: object, **named: object) -> object:
        if host == "slow.example":
            ends.wait(10)
        return look_up(host, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    stuck = target(mariadb, None, Host("slow.example"))
    try:
        began = time.monotonic()
        first, second = take_all([stuck, target(mariadb)], timeout=0.5, jobs=1)
        assert time.monotonic() - began < 5
    finally:
        ends.set()
    assert isinstance(first, TimedOut)
    assert first.stage == "dns"
    assert isinstance(second, Snapshot)


@pytest.mark.parametrize("facts", [COUNT, ALL])
def test_everything_is_asked_in_one_round_trip(mariadb: Running, facts: frozenset[Fact]) -> None:
    with Proxy(mariadb) as proxy:
        taken = snapshot(target(mariadb, None, Host(HERE, proxy.port), ssl_mode="DISABLED"), facts)
        (passage,) = proxy.passages
        until(lambda: passage.is_over)
    assert len(passage.statements) == 1
    assert passage.round_trips <= 2  # login, and the question
    assert [stage for stage, _ in taken.stages] == ["dns", "tcp", "login", "query"]


def test_a_count_without_grants_takes_three_round_trips_at_most(mysql_any: Running) -> None:
    one = target(mysql_any, mysql_any.app)
    snapshot(one)  # and its password is known to the server's cache
    with Proxy(mysql_any) as proxy:
        snapshot(target(mysql_any, mysql_any.app, Host(HERE, proxy.port), ssl_mode="DISABLED"), COUNT)
        (passage,) = proxy.passages
        until(lambda: passage.is_over)
    assert len(passage.statements) <= 3


def test_nothing_is_set_and_nothing_is_written(mysql_any: Running) -> None:
    snapshot(target(mysql_any))
    with Proxy(mysql_any) as proxy:
        snapshot(target(mysql_any, None, Host(HERE, proxy.port), ssl_mode="DISABLED"))
        until(lambda: proxy.passages[0].is_over)
    statements = [one.strip() for batch in proxy.passages[0].statements for one in batch.split(";")]
    assert len(statements) > 10
    for statement in statements:
        bare = re.sub(r"^set statement max_statement_time = [^;]+? for ", "", statement)
        assert bare.startswith(("select ", "show ", "xa recover"))


def test_statements_carry_their_own_time_limit(mysql_any: Running) -> None:
    with mysql_any.session(None, "select 1"), Proxy(mysql_any) as proxy:
        snapshot(target(mysql_any, None, Host(HERE, proxy.port), ssl_mode="DISABLED"))
        until(lambda: proxy.passages[0].is_over)
    selects = [s for batch in proxy.passages[0].statements for s in batch.split(";\n") if "select " in s]
    limit = "max_execution_time(" if mysql_any.kind == "mysql" else "set statement max_statement_time = "
    assert selects
    assert all(limit in select for select in selects)


def test_nothing_of_us_stays(mysql_any: Running) -> None:
    aborted = "show global status like 'Aborted_clients'"
    before = mysql_any.ask(aborted)
    snapshot(target(mysql_any))
    until(lambda: mysql_any.ask(OURS) == [(0,)])
    assert mysql_any.ask(aborted) == before  # we said goodbye


def test_closing_the_iterator_closes_the_connections(mariadb: Running) -> None:
    with socket.create_server((HERE, 0)) as listener:
        run = take([deaf(listener), target(mariadb)], ALL, Budget(9, time.monotonic() + 9))
        next(run)
        accepted, _ = listener.accept()
        with accepted:
            began = time.monotonic()
            run.close()  # type: ignore[attr-defined]
            accepted.settimeout(1)
            while accepted.recv(100):
                pass
    assert time.monotonic() - began < 5


def test_few_facts_need_no_grants(mysql_any: Running) -> None:
    taken = snapshot(target(mysql_any, mysql_any.plain), frozenset())
    assert taken.capacity.used is not None
    assert taken.gaps == ()
    assert snapshot(target(mysql_any, mysql_any.plain), frozenset({Fact.GUARDS})).guards


def test_a_clock_that_is_off_is_noted(mariadb: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() - 3600)
    (note,) = snapshot(target(mariadb)).notes
    assert "3600s ahead of" in note


def test_a_saved_snapshot_is_the_same_again(mysql_any: Running) -> None:
    with mysql_any.session(None, "begin", "select 1"):
        taken = snapshot(target(mysql_any))
    assert Snapshot.from_json(taken.to_json()) == taken


def test_an_aborted_attempt_takes_no_further_socket() -> None:
    attempt = Attempt(time.monotonic() + 9)
    attempt.abort()
    with socket.socket() as sock, pytest.raises(TimedOut):
        attempt.hold(sock)


def test_a_bug_is_not_passed_off_as_a_failure(mariadb: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("connaudit.engines.mysql.visit.read", broken)
    with pytest.raises(ZeroDivisionError):
        failure(target(mariadb))


def test_a_visit_that_has_ended_when_all_is_closed_leaves_no_session_behind(mariadb: Running) -> None:
    visits = follow([target(mariadb)], ALL)
    visits.begin(0, Budget(5, time.monotonic() + 5))
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("connaudit ")])
    visits.close()  # and nobody has asked what came of it
    until(lambda: mariadb.ask(OURS) == [(0,)])

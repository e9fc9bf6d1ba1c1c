"""MySQL and MariaDB sessions, as real servers tell of them."""

import calendar
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pymysql.constants import COMMAND

from connaudit.engines.mysql.last import Last
from connaudit.engines.mysql.sessions import Known
from connaudit.engines.mysql.sessions import session as as_session
from connaudit.snapshot import Fact, Kind, Snapshot, State
from connaudit.targets import Host
from tests.engines.mysql import ALL, session, snapshot, target
from tests.servers import Client, Role, Running, until

COUNT = frozenset({Fact.SESSIONS, Fact.STATES})


@pytest.fixture
def table(mysql_any: Running) -> Iterator[str]:
    name = f"shop.t{time.monotonic_ns()}"
    mysql_any.ask(f"create table {name} (id int primary key, n int) engine = innodb")
    mysql_any.ask(f"insert into {name} values (1, 1), (2, 2)")
    yield name
    mysql_any.ask(f"drop table {name}")


def settled(server: Running, holds: Callable[[Snapshot], bool]) -> Snapshot:
    """Return the first snapshot of which something holds; InnoDB's list renews only after 100 ms of quiet."""
    taken: list[Snapshot] = []

    def look() -> bool:
        taken.append(snapshot(target(server)))
        return holds(taken[-1])

    until(look, every=0.3)
    return taken[-1]


def idle_in_transaction(server: Running, client: Client) -> Snapshot:
    return settled(server, lambda taken: session(taken, client.id).open_transaction)


def test_a_sleeping_thread_with_a_transaction_is_idle_in_transaction(mysql_any: Running, table: str) -> None:
    with mysql_any.session(None, "begin", f"update {table} set n = 3 where id = 1") as client:
        client.driver.ping()
        found = session(idle_in_transaction(mysql_any, client), client.id)
    assert found.state is State.IDLE_IN_TRANSACTION
    assert found.in_transaction
    assert found.transaction
    assert (found.transaction.writes, found.transaction.rows_modified) == (True, 1)
    assert found.transaction.isolation == "REPEATABLE READ"
    assert found.transaction.age is not None
    assert found.state_age is not None
    assert found.state_age < 5
    assert not found.state_age_is_bound
    assert (found.user, found.database) == ("app", "shop")


def test_the_statement_before_a_ping_is_shown(mysql: Running) -> None:
    if mysql.kind != "mysql":  # performance_schema is off in MariaDB, and nothing else knows
        with mysql.session() as client:
            assert session(snapshot(target(mysql)), client.id).query is None
        return
    with mysql.session(None, "begin", "select 17, 'x'") as client:
        client.driver.ping()
        found = session(idle_in_transaction(mysql, client), client.id)
    assert found.query == "select 17, 'x'"
    assert found.query_is_real


def test_begin_alone_holds_nothing(mysql_any: Running) -> None:
    with mysql_any.session(None, "begin") as client:
        taken = snapshot(target(mysql_any))
    found = session(taken, client.id)
    if mysql_any.kind == "mysql":
        assert found.state is State.IDLE_IN_TRANSACTION
        assert found.transaction
        assert found.transaction.writes is False
        assert found.transaction.snapshot is False
    else:  # not seen, and not claimed to be absent
        assert found.state is State.IDLE
        gap = next(gap for gap in taken.gaps if gap.fact is Fact.TRANSACTIONS)
        assert gap.partial
        assert "neither read nor written" in gap.why


def test_a_read_view_is_kept_under_repeatable_read_alone(mysql_any: Running, table: str) -> None:
    committed = "set session transaction isolation level read committed"
    with (
        mysql_any.session(None, "begin", f"select * from {table}") as keeps,
        mysql_any.session(None, committed, "begin", f"select * from {table}") as drops,
    ):
        taken = settled(mysql_any, lambda t: all(session(t, c.id).transaction for c in (keeps, drops)))
    views = [transaction.snapshot for c in (keeps, drops) if (transaction := session(taken, c.id).transaction)]
    assert views == [True, False]


def test_idle_time_leaves_out_the_last_statement(mysql_any: Running) -> None:
    with mysql_any.session(None, "select sleep(1.5)") as client:
        found = session(snapshot(target(mysql_any), COUNT), client.id)
    assert found.state is State.IDLE
    assert found.state_age is not None
    assert found.state_age < 1
    assert not found.state_age_is_bound


def test_idle_time_is_called_a_bound_where_it_is_one(mysql_any: Running) -> None:
    with mysql_any.session(mysql_any.plain, "select sleep(1.5)") as client:
        found = session(snapshot(target(mysql_any, mysql_any.plain)), client.id)
    assert found.state_age_is_bound == (mysql_any.kind == "mysql")


def test_a_session_that_sets_its_clock_has_no_age_of_years(mysql_any: Running) -> None:
    with mysql_any.session(mysql_any.plain, "set timestamp = 1600000000", "select 1") as client:
        for role in (mysql_any.monitor, mysql_any.plain):
            found = session(snapshot(target(mysql_any, role)), client.id)
            assert found.state_age is None or found.state_age < 60
            assert found.query_age is None or found.query_age < 60


def test_ages_do_not_depend_on_time_zones(mysql_any: Running, start: Callable[..., Running]) -> None:
    east = start(mysql_any, environment={"TZ": "Asia/Tokyo"})
    east.reload(time_zone="-05:00")
    east.ask("create table shop.t (id int primary key) engine = innodb")
    with east.session(None, "begin", "insert into t values (1)") as client:
        # performance_schema has clocks of its own; without it there is only InnoDB's.
        taken = idle_in_transaction(east, client)
        found = session(taken, client.id)
    assert found.transaction
    assert found.transaction.age is not None
    assert 0 <= found.transaction.age < 10
    assert taken.notes == ()


def test_a_transaction_of_the_hour_that_comes_twice_is_listed(mariadb: Running, start: Callable[..., Running]) -> None:
    """InnoDB notes when a transaction began in local time, which says too little once or twice a year."""
    ends = datetime.now(UTC) + timedelta(hours=1, minutes=30)  # of summer time, by its own clock: in half an hour
    day = ends.timetuple().tm_yday - (calendar.isleap(ends.year) and ends.timetuple().tm_yday > 59)
    twice = start(mariadb, environment={"TZ": f"STD0DST,J{(day + 30) % 365 + 1}/0,J{day}/{ends:%H:%M:%S}"})
    twice.ask("create table shop.t (id int primary key) engine = innodb")
    with twice.session(None, "begin", "insert into shop.t values (1)") as client:
        taken = settled(twice, lambda t: (session(t, client.id).state_age or 0.0) > 2)
    found = session(taken, client.id)
    assert found.state is State.IDLE_IN_TRANSACTION
    assert found.transaction
    assert found.transaction.age is None


def test_statements_in_any_encoding_are_listed(mysql_any: Running, table: str) -> None:
    with mysql_any.session(None, "begin", f"insert into {table} values (9, 9)") as client:
        client.start(b"select sleep(30) /* caf\xe9 \xff */")  # type: ignore[arg-type]
        taken = settled(mysql_any, lambda t: session(t, client.id).state is State.ACTIVE)
    found = session(taken, client.id)
    assert found.query == "select sleep(30) /* caf\\xe9 \\xff */"
    assert found.in_transaction


def test_a_long_text_is_cut_and_marked(mysql_any: Running) -> None:
    text = f"select sleep(30) /* {'é' * 2000} */"
    with mysql_any.session() as client:
        client.start(text)
        taken = settled(mysql_any, lambda t: session(t, client.id).state is State.ACTIVE)
    found = session(taken, client.id)
    assert found.query_truncated
    assert found.query
    assert text.startswith(found.query)
    assert 790 <= len(found.query.encode()) <= 800


def test_no_text_is_read_that_nobody_asked_for(mysql_any: Running) -> None:
    with mysql_any.session() as client:
        client.start("select sleep(30)")
        until(lambda: session(snapshot(target(mysql_any), COUNT), client.id).state is State.ACTIVE)
        taken = snapshot(target(mysql_any), COUNT)
    assert all(s.query is None for s in taken.sessions)
    assert taken.facts == COUNT


def test_a_client_that_does_not_read_is_told_from_a_slow_statement(mysql_any: Running) -> None:
    with mysql_any.session() as client:
        digits = "(select 1 union all select 2 union all select 3 union all select 4 union all select 5) d"
        rows = ", ".join(digits + str(n) for n in range(7))
        client.driver._execute_command(COMMAND.COM_QUERY, f"select repeat('x', 10000) from {rows}")  # and reads nothing
        taken = settled(mysql_any, lambda t: session(t, client.id).waits_for_client)
        mysql_any.terminate(client.id)
    assert session(taken, client.id).state is State.ACTIVE


def test_where_clients_come_from(mysql_any: Running) -> None:
    with (
        mysql_any.session() as tcp,
        mysql_any.session(None, unix_socket=mysql_any.socket, host=None) as local,
    ):
        taken = snapshot(target(mysql_any))
        _, port, *_ = tcp.driver._sock.getsockname()
    assert session(taken, tcp.id).client_port == port
    assert session(taken, tcp.id).client in ("localhost", "127.0.0.1")
    assert (session(taken, local.id).client, session(taken, local.id).client_port) == ("local", None)


def test_our_own_session_is_marked_and_counted(mysql_any: Running) -> None:
    taken = snapshot(target(mysql_any))
    (own,) = (s for s in taken.sessions if s.is_self)
    assert own.user == "monitor"
    assert own.id not in {s.id for s in taken.clients}
    assert taken.capacity.used == sum(s.kind is Kind.CLIENT for s in taken.sessions)


def test_attributes_name_the_application(mysql: Running) -> None:
    with mysql.session(None, program_name="shop-worker") as client:
        taken = snapshot(target(mysql), COUNT)
    found = session(taken, client.id)
    if mysql.kind == "mysql":
        assert found.application == "shop-worker"
        assert not [gap for gap in taken.gaps if gap.fact is Fact.SESSIONS]
    else:
        assert found.application is None
        (gap,) = (gap for gap in taken.gaps if gap.fact is Fact.SESSIONS)
        assert gap.partial
        assert "performance_schema=ON" in str(gap.cure)


def test_logins_under_way_are_counted_as_such(mysql_any: Running) -> None:
    with socket.create_connection((mysql_any.host, mysql_any.port)) as half_open:
        half_open.recv(100)
        taken = settled(mysql_any, lambda t: bool(t.capacity.authenticating))
    (starting,) = (s for s in taken.sessions if s.state is State.STARTING)
    assert (starting.kind, starting.user) == (Kind.CLIENT, None)
    assert taken.capacity.used == sum(s.kind is Kind.CLIENT for s in taken.sessions)


def test_a_scheduled_event_is_no_connection(mysql_any: Running) -> None:
    before = mysql_any.ask("select @@global.event_scheduler")[0][0]
    mysql_any.reload(event_scheduler="ON")
    try:
        mysql_any.ask("create event shop.nap on schedule at current_timestamp do do sleep(20)")
        taken = settled(mysql_any, lambda t: any(s.kind is Kind.JOB for s in t.sessions))
        (job,) = (s for s in taken.sessions if s.kind is Kind.JOB)
        mysql_any.terminate(job.id)
    finally:
        mysql_any.reload(event_scheduler=before)
    assert (job.state, job.client) == (State.ACTIVE, None)
    assert taken.capacity.used == sum(s.kind is Kind.CLIENT for s in taken.sessions)
    (scheduler,) = (s for s in taken.sessions if s.kind is Kind.INTERNAL)
    assert scheduler.client is None


def test_an_account_named_like_the_servers_own_threads_hides_nobody(mysql_any: Running) -> None:
    sly = Role("system user", "sly-s3cr3t")
    mysql_any.ask(f"create user 'system user'@'%' identified by '{sly.password}'")
    try:
        with mysql_any.session(sly, database="") as client:
            found = session(snapshot(target(mysql_any)), client.id)
    finally:
        mysql_any.ask("drop user 'system user'@'%'")
    assert (found.kind, found.user) == (Kind.CLIENT, "system user")


def test_guards_are_in_seconds(mysql_any: Running) -> None:
    guards = {guard.name: guard.value for guard in snapshot(target(mysql_any)).guards}
    assert guards["wait_timeout"] == 28800
    assert guards["innodb_lock_wait_timeout"] == 50
    # MySQL has no such thing, which is not the same as one that is off.
    assert guards["idle_transaction_timeout"] == (0 if mysql_any.kind == "mariadb" else None)


def test_a_unix_socket_needs_no_tls(mysql_any: Running) -> None:
    taken = snapshot(target(mysql_any, None, Host(mysql_any.socket)))
    assert taken.server.tls is False
    assert (taken.address.host, taken.address.port) == (mysql_any.socket, None)
    assert snapshot(target(mysql_any), ALL).server.version == mysql_any.version[:3]


def test_what_stands_for_statements_of_x_protocol_is_none() -> None:
    known = Known("MySQL", ALL, own=1, uptime=100.0, lasts={7: Last(event=3, query="select 17")})
    row = {"id": b"7", "user": b"app", "host": b"localhost:4711", "db": None, "command": b"Sleep", "time": b"3"}
    assert as_session({**row, "state": None, "info": b"PLUGIN"}, known).query == "select 17"

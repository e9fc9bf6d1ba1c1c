"""What performance_schema does not watch: its tables keep what they told last, of whoever that was."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pymysql
import pytest

from connaudit.snapshot import Fact, Gap, Snapshot, State
from tests.engines.mysql import session, snapshot, target
from tests.servers import Client, Role, Running, until

Start = Callable[..., Running]
THEIRS = "select sleep(2), 'theirs'"


class Quiet(pymysql.connections.Connection):
    """A connection that says nothing after its login."""

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        pass


@contextmanager
def quiet(server: Running, count: int) -> Iterator[list[Client]]:
    """Hold sessions that have run nothing."""
    role, clients = server.app, []
    try:
        for _ in range(count):
            driver = Quiet(host=server.host, port=server.port, user=role.name, password=role.password, autocommit=None)
            clients.append(Client(driver))
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def crowded(mysql_any: Running, start: Start) -> Iterator[Running]:
    """A server that has room to watch few threads, where who comes next has the place of somebody who went."""
    server = start(mysql_any, performance_schema_max_thread_instances=70)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.session()) for _ in range(30)]
        for client in clients:
            client.start(THEIRS)
        for client in clients:
            client.finished(30)
            client.driver._force_close()  # a goodbye would be the last statement
    until(lambda: server.ask("select count(*) from information_schema.processlist where user = 'app'") == [(0,)])
    with quiet(server, 12):  # places are given in turn, and some were never taken
        yield server


def gaps(taken: Snapshot, fact: Fact) -> list[Gap]:
    return [gap for gap in taken.gaps if gap.fact is fact]


@pytest.mark.kinds("mysql")
def test_who_has_run_nothing_yet_is_not_taken_for_whoever_had_the_thread_before(crowded: Running) -> None:
    by_index = "select t.processlist_id, s.sql_text from performance_schema.threads t "
    by_index += "left join performance_schema.events_statements_current s using (thread_id) where t.processlist_id > 0"
    with quiet(crowded, 5) as clients:
        told = dict(crowded.ask(by_index))
        taken = snapshot(target(crowded))
    assert THEIRS in [told[client.id] for client in clients]  # so much for the server
    for client in clients:
        found = session(taken, client.id)
        assert found.state is State.IDLE
        assert found.query is None
        assert found.state_age is not None
        assert found.state_age < 2  # since it was opened
        assert found.state_age_is_bound


@pytest.mark.kinds("mysql")
def test_transactions_of_sessions_that_nobody_watches_are_seen_all_the_same(crowded: Running) -> None:
    crowded.ask("create table shop.t (id int primary key) engine = innodb")
    crowded.ask("update performance_schema.setup_actors set enabled = 'NO', history = 'NO'")
    with crowded.session(None, "begin", "insert into shop.t values (1)") as writer, crowded.session(None, "begin"):
        taken = snapshot(target(crowded))
        alone = snapshot(target(crowded, _granted(crowded, "select on performance_schema.*")))
    found = session(taken, writer.id)
    assert (found.state, found.query) == (State.IDLE_IN_TRANSACTION, None)
    (gap,) = gaps(taken, Fact.TRANSACTIONS)
    assert gap.partial
    assert gap.why.endswith("performance_schema does not watch 2 sessions")
    assert "setup_actors" in str(gap.cure)
    (gap,) = (gap for gap in gaps(alone, Fact.TRANSACTIONS) if not gap.partial)  # nobody told of all transactions
    assert gap.cure == "GRANT PROCESS ON *.* TO 'alone'@'%'"


def _granted(server: Running, privilege: str) -> Role:
    role = Role("alone", "al0ne-s3cr3t")
    server.ask(f"create user {role.name} identified by '{role.password}'")
    server.ask(f"grant {privilege} to {role.name}")
    return role


@pytest.mark.kinds("mysql")
@pytest.mark.parametrize(
    "switch", ["global_instrumentation", "thread_instrumentation", "events_statements_current", "statement/%"]
)
def test_statements_from_before_something_was_switched_off_are_not_told(
    mysql_any: Running, start: Start, switch: str
) -> None:
    server = start(mysql_any)
    server.ask("create table shop.t (id int primary key) engine = innodb")
    with server.session(None, "begin", "insert into shop.t values (1)") as writer:
        of = "setup_instruments" if "/" in switch else "setup_consumers"
        server.ask(f"update performance_schema.{of} set enabled = 'NO' where name like '{switch}'")
        writer.do("select 23")
        taken = snapshot(target(server))
    found = session(taken, writer.id)
    assert (found.state, found.query) == (State.IDLE_IN_TRANSACTION, None)
    assert found.state_age_is_bound
    (gap,) = gaps(taken, Fact.QUERIES)
    assert gap.partial
    for statement in str(gap.cure).split("; "):
        server.ask(statement)
    assert not gaps(snapshot(target(server)), Fact.QUERIES)

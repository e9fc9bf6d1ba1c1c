"""Hints as a DBA takes them: the statements in them are executed, and then nobody waits any more."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import Start
from tests.diagnostics.test_blocking_on_servers import TABLE, UPDATE, Stage, watched
from tests.servers import Client, Running, until

WAY = r"SELECT pg_\w+_backend\(\d+\)|KILL (?:QUERY )?\d+|ROLLBACK PREPARED '(?:[^']|'')*'|XA ROLLBACK '[^']*'"
DDL = f"alter table {TABLE} add m int"
READ = f"select * from {TABLE}"


@pytest.fixture
def on() -> Iterator[Callable[[Running], Stage]]:
    with ExitStack() as sessions:
        yield lambda server: Stage(server, sessions)


On = Callable[[Running], Stage]


def ways(stage: Stage, role: str = "monitor") -> list[str]:
    """Return the statements in the hint, which do what it says."""
    report = until(lambda: (found := stage.report("-w", "wait=0", role=role))["findings"] and found, every=0.3)
    ((finding),) = report["findings"]
    return re.findall(WAY, finding["hint"])


def frees(stage: Stage, way: str, *waiters: Client) -> None:
    """Execute a statement of a hint; then these go on, and nobody is reported to wait."""
    stage.server.ask(way)
    for waiter in waiters:
        assert waiter.finished() is None
    until(lambda: stage.report()["summary"]["waiting"] == 0, every=0.3)


def test_who_holds_a_row_and_is_idle_is_ended(server: Running, on: On) -> None:
    stage = on(server)
    stage.session("begin", UPDATE)
    waiters = [stage.waiting(UPDATE), stage.waiting(UPDATE)]
    (way,) = ways(stage)
    frees(stage, way, *waiters)


def test_who_holds_a_row_and_is_at_work_is_ended_so_that_the_row_is_free(server: Running, on: On) -> None:
    stage = on(server)
    holder = stage.session("begin", UPDATE)
    holder.start("select pg_sleep(60)" if server.is_postgres else "select sleep(60)")
    waiter = stage.waiting(UPDATE)
    (way,) = ways(stage)
    assert ("cancel" in way) is server.is_postgres
    frees(stage, way, waiter)


def test_a_queue_behind_ddl_goes_on_when_its_root_is_ended(server: Running, on: On, start: Start) -> None:
    stage = on(watched(server, start))
    stage.session("begin", READ)
    waiters = [stage.waiting(DDL), stage.waiting(READ)]
    end, _ = ways(stage)
    frees(stage, end, *waiters)


def test_a_queue_behind_ddl_opens_when_the_ddl_is_cancelled_and_its_root_stays(
    server: Running, on: On, start: Start
) -> None:
    stage = on(watched(server, start))
    root = stage.session("begin", READ)
    ddl, reader = stage.waiting(DDL), stage.waiting(READ)
    _, gate = ways(stage)
    frees(stage, gate, reader)
    assert ddl.finished() is not None
    assert root.do("select 1") == [(1,)]


def test_a_prepared_transaction_is_undone(postgres_any: Running, on: On, start: Start) -> None:
    stage = on(start(postgres_any, max_prepared_transactions=2))
    stage.session("begin", UPDATE, "prepare transaction 'order''s 7'")
    waiter = stage.waiting(UPDATE)
    (way,) = ways(stage)
    frees(stage, way, waiter)


def test_an_orphan_of_xa_is_undone(mysql_any: Running, on: On) -> None:
    stage = on(mysql_any)
    with mysql_any.session(mysql_any.app, "xa start 'order 7'", UPDATE, "xa end 'order 7'", "xa prepare 'order 7'"):
        pass
    waiter = stage.waiting(UPDATE)
    (way,) = ways(stage, role="superuser")
    frees(stage, way, waiter)


def test_a_lock_that_outlives_transactions_is_freed(server: Running, on: On, start: Start) -> None:
    stage = on(watched(server, start))
    take = "select pg_advisory_lock(42)" if server.is_postgres else "select get_lock('nightly', 60)"
    stage.session(take)
    waiter = stage.waiting(take)
    (way,) = ways(stage)
    frees(stage, way, waiter)

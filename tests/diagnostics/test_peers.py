"""What people use instead, on the outage that `connaudit explain blocking` tells of.

An idle reader, an ALTER TABLE that waits for it, and everybody behind that. What each answers is asserted as it is, so
this is a record of what is missed: one sees nobody, one accuses everybody, one names the ALTER TABLE, one offers what
does nothing. connaudit names one culprit. Their statements are well known and quoted for what they join, not for their
columns.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from pgactivity.data import Data  # type: ignore[import-untyped]

from tests.conftest import Start
from tests.diagnostics.test_blocking_on_servers import TABLE, Stage, watched
from tests.servers import Client, Running

# https://wiki.postgresql.org/wiki/Lock_Monitoring, and from there in half of all runbooks.
WIKI = """
select blocked_locks.pid, blocking_locks.pid
from pg_locks as blocked_locks
     join pg_locks as blocking_locks
       on blocking_locks.locktype = blocked_locks.locktype
      and blocking_locks.database is not distinct from blocked_locks.database
      and blocking_locks.relation is not distinct from blocked_locks.relation
      and blocking_locks.page is not distinct from blocked_locks.page
      and blocking_locks.tuple is not distinct from blocked_locks.tuple
      and blocking_locks.virtualxid is not distinct from blocked_locks.virtualxid
      and blocking_locks.transactionid is not distinct from blocked_locks.transactionid
      and blocking_locks.classid is not distinct from blocked_locks.classid
      and blocking_locks.objid is not distinct from blocked_locks.objid
      and blocking_locks.objsubid is not distinct from blocked_locks.objsubid
      and blocking_locks.pid <> blocked_locks.pid
where not blocked_locks.granted
"""
# `heroku pg:blocking`, and pg-extras in every language that it was carried to.
PG_EXTRAS = """
select blocked.pid, blocking.pid
from pg_locks as blocked
     join pg_locks as blocking on blocked.transactionid = blocking.transactionid and blocked.pid <> blocking.pid
where not blocked.granted
"""
# PostgreSQL's manual, as most people use it since 9.6.
BLOCKING_PIDS = "select pid, pg_blocking_pids(pid) from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0"
# The first thing that everybody types.
NOT_IDLE = "select pid from pg_stat_activity where state <> 'idle'"
# MySQL's own views of lock waits; MariaDB has them since 10.6.
SYS_TABLES = "select waiting_pid, blocking_pid, sql_kill_blocking_query from sys.schema_table_lock_waits"
SYS_ROWS = "select waiting_pid, blocking_pid from sys.innodb_lock_waits"

PG = pytest.mark.kinds("postgres")
MYSQL = pytest.mark.kinds("mysql", "mariadb")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outage:
    """Everybody in it, on a server that tells of metadata locks."""

    stage: Stage
    reader: Client  # idle in transaction: the culprit
    ddl: Client
    others: tuple[Client, ...]

    @property
    def server(self) -> Running:
        return self.stage.server

    @property
    def waiters(self) -> set[int]:
        return {self.ddl.id, *(other.id for other in self.others)}

    def asked(self, statement: str) -> list[tuple[Any, ...]]:
        """Return what the superuser is told."""
        return self.server.ask(statement)


@pytest.fixture
def outage(server: Running, start: Start) -> Iterator[Outage]:
    with ExitStack() as sessions:
        stage = Stage(watched(server, start), sessions)
        reader = stage.session("begin", f"select * from {TABLE}")
        ddl = stage.waiting(f"alter table {TABLE} add m int")
        yield Outage(stage, reader, ddl, tuple(stage.waiting(f"select * from {TABLE}") for _ in range(3)))


def test_connaudit_names_one_culprit_and_what_ends_it(outage: Outage) -> None:
    found = outage.stage.finding()
    summary = outage.stage.report()["summary"]
    assert (summary["roots"], summary["waiting"], summary["blockers_untold"]) == (1, 4, 0)
    assert found["sessions"][0] == outage.reader.id
    assert found["message"].startswith(f"{outage.reader.id} (idle in transaction for ")
    assert "holds up 4 sessions" in found["message"]
    way = (
        f"SELECT pg_terminate_backend({outage.reader.id})" if outage.server.is_postgres else f"KILL {outage.reader.id}"
    )
    assert found["hint"].startswith(f"end it: {way} ")


@PG
def test_the_query_of_the_wiki_accuses_everybody_of_everything(outage: Outage) -> None:
    """It looks neither at modes nor at who has the lock: readers that could stand side by side block each other."""
    everybody = {outage.reader.id, *outage.waiters}
    expected = {(waiter, other) for waiter in outage.waiters for other in everybody - {waiter}}
    assert set(outage.asked(WIKI)) == expected
    assert len(expected) == 16


@PG
def test_pg_extras_see_nobody_wait_for_a_table(outage: Outage) -> None:
    """Only rows have a transaction id to be joined by."""
    assert outage.asked(PG_EXTRAS) == []


@PG
def test_by_pg_blocking_pids_the_ddl_is_to_blame(outage: Outage) -> None:
    """It tells the next one in the way: the one that is named most is a victim itself, and no root is told."""
    named = Counter(blocker for _, blockers in outage.asked(BLOCKING_PIDS) for blocker in blockers)
    assert named == {outage.ddl.id: 3, outage.reader.id: 1}


@PG
def test_who_is_not_idle_is_a_list_without_a_culprit_and_empty_without_grants(outage: Outage) -> None:
    assert {pid for (pid,) in outage.asked(NOT_IDLE)} >= {outage.reader.id, *outage.waiters}
    with outage.server.session(outage.server.plain) as nobody:
        assert nobody.do(NOT_IDLE) == [(nobody.id,)]
    seen = outage.stage.report(role="plain")
    assert (seen["summary"]["roots"], seen["rows"][0]["pid"]) == (1, outage.reader.id)


@PG
def test_pg_activity_lists_who_has_the_lock_and_not_who_waits_for_whom(outage: Outage) -> None:
    superuser = outage.server.superuser
    where = {"host": outage.server.host, "port": outage.server.port, "database": "shop"}
    program = Data.pg_connect(user=superuser.name, password=superuser.password, **where)
    with closing(program.pg_conn):
        blocking, waiting = program.pg_get_blocking(), program.pg_get_waiting()
    assert {one.pid for one in blocking} == {outage.reader.id}
    assert {one.pid for one in waiting} == outage.waiters
    assert not {"blocked_by", "blocking", "victims"}.intersection(dir(waiting[0]))


def has_sys(server: Running) -> bool:
    """Return whether it has the schema that people are sent to."""
    return server.kind == "mysql" or server.version >= (10, 6)


@MYSQL
def test_sys_lets_everybody_wait_for_the_ddl_and_the_ddl_for_itself(outage: Outage) -> None:
    if not has_sys(outage.server):
        with pytest.raises(pymysql.err.Error, match="exist"):
            outage.asked(SYS_TABLES)
        return
    told = {(waiting, blocking) for waiting, blocking, _ in outage.asked(SYS_TABLES)}
    assert told == {(waiter, blocker) for waiter in outage.waiters for blocker in (outage.reader.id, outage.ddl.id)}
    assert (outage.ddl.id, outage.ddl.id) in told  # and no SELECT waits for a reader
    assert outage.asked(SYS_ROWS) == []
    with outage.server.session(outage.server.monitor) as monitor, pytest.raises(pymysql.err.Error):
        monitor.do(SYS_TABLES)  # PROCESS and performance_schema do not suffice for it


@MYSQL
def test_what_sys_offers_against_the_culprit_does_nothing(outage: Outage) -> None:
    offered = f"KILL QUERY {outage.reader.id}"
    if has_sys(outage.server):
        assert offered in {way for _, _, way in outage.asked(SYS_TABLES)}
    outage.server.ask(offered)
    assert outage.reader.do("select 1") == [(1,)]
    assert {row["pid"] for row in outage.stage.rows() if row["role"] == "waiter"} == outage.waiters
    outage.server.ask(outage.stage.finding()["hint"].partition(" (")[0].removeprefix("end it: "))
    assert [waiter.finished() for waiter in (outage.ddl, *outage.others)] == [None] * 4


@MYSQL
def test_in_the_processlist_the_culprit_sleeps(outage: Outage) -> None:
    rows = {row[0]: row for row in outage.asked("show full processlist")}
    command, state, info = rows[outage.reader.id][4], rows[outage.reader.id][6], rows[outage.reader.id][7]
    assert (command, state or "", info) == ("Sleep", "", None)
    assert {one for one, row in rows.items() if row[6] == "Waiting for table metadata lock"} == outage.waiters


@pytest.mark.kinds("mariadb", since=(10, 6))
def test_where_metadata_locks_are_not_watched_sys_sees_nobody_and_connaudit_says_that_it_guesses(
    server: Running,
) -> None:
    with ExitStack() as sessions:
        stage = Stage(server, sessions)
        reader = stage.session("begin", f"select * from {TABLE}")
        ddl = stage.waiting(f"alter table {TABLE} add m int")
        assert server.ask(SYS_TABLES) == []
        report = stage.report()
        assert report["status"] == "unknown"
        assert [(row["pid"], row["role"]) for row in report["rows"]] == [(reader.id, "candidate"), (ddl.id, "waiter")]

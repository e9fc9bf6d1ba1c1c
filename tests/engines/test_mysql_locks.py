"""Who waits for whom on MySQL and MariaDB, and what is said where that is not to be known."""

import time
from collections.abc import Callable, Iterator

import pytest

from connaudit.engines.mysql.asking import Answers
from connaudit.engines.mysql.locks import metadata_waits, row_waits
from connaudit.engines.mysql.transactions import Open
from connaudit.snapshot import Fact, Snapshot, Transaction
from tests.engines.mysql import session, snapshot, target
from tests.servers import Client, Running, until

Start = Callable[..., Running]
TABLE = "shop.waited_for"


@pytest.fixture
def table(mysql_any: Running) -> Iterator[str]:
    make(mysql_any)
    yield TABLE
    mysql_any.ask(f"drop table {TABLE}")


def make(server: Running) -> None:
    server.ask(f"create table {TABLE} (id int primary key, n int) engine = innodb")
    server.ask(f"insert into {TABLE} values (1, 1), (2, 2)")


def waiting(server: Running, *clients: Client) -> Snapshot:
    """Return the first snapshot in which these sessions wait for locks."""
    taken: list[Snapshot] = []

    def look() -> bool:
        taken.append(snapshot(target(server)))
        return all(session(taken[-1], client.id).wait for client in clients)

    until(look, every=0.3)
    return taken[-1]


def test_a_row_is_waited_for(mysql_any: Running, table: str) -> None:
    update = f"update {table} set n = n + 1 where id = 1"
    with mysql_any.session(None, "begin", update) as holder, mysql_any.session() as waiter:
        waiter.start(update)
        taken = waiting(mysql_any, waiter)
    wait = session(taken, waiter.id).wait
    assert wait
    assert (wait.lock, wait.blocked_by) == ("record", (holder.id,))
    assert wait.age is not None
    assert wait.age < 10
    assert wait.relation == (TABLE if mysql_any.kind == "mariadb" else None)
    assert session(taken, holder.id).wait is None
    assert not [gap for gap in taken.gaps if gap.fact is Fact.LOCKS]


def test_a_reader_can_be_in_the_way(mysql_any: Running, table: str) -> None:
    with (
        mysql_any.session(None, "begin", f"select * from {table} where id = 1 lock in share mode") as holder,
        mysql_any.session() as waiter,
    ):
        waiter.start(f"update {table} set n = n + 1 where id = 1")
        taken = waiting(mysql_any, waiter)
    wait = session(taken, waiter.id).wait
    assert wait
    assert wait.blocked_by == (holder.id,)


def test_a_prepared_transaction_without_a_session_blocks_as_0(mysql_any: Running, table: str) -> None:
    xid = f"'order',X'{time.monotonic_ns():016x}',7"
    holder = mysql_any.connect(mysql_any.app)
    for statement in ("xa start", f"update {table} set n = 9 where id = 2", "xa end", "xa prepare"):
        holder.do(f"{statement} {xid}" if statement.startswith("xa") else statement)
    holder.close()
    try:
        with mysql_any.session() as waiter:
            waiter.start(f"update {table} set n = 8 where id = 2")
            taken = waiting(mysql_any, waiter)
            until(lambda: snapshot(target(mysql_any, mysql_any.superuser)).prepared, every=0.3)
            (prepared,) = snapshot(target(mysql_any, mysql_any.superuser)).prepared
    finally:
        mysql_any.ask(f"xa rollback {xid}")
    wait = session(taken, waiter.id).wait
    assert wait
    assert wait.blocked_by == (0,)
    assert (prepared.rows_modified, prepared.age is not None) == (1, True)
    gtrid = "X'6f72646572'" if mysql_any.kind == "mariadb" else "'order'"  # MariaDB writes all in one way
    assert prepared.ending.startswith(f"XA ROLLBACK {gtrid},X'")


def test_readers_that_do_not_wait_are_not_taken_for_those_that_do(mysql_any: Running, table: str) -> None:
    """MariaDB numbers readers 0, all of them."""
    read = f"select * from {table} where id = 1"
    with (
        mysql_any.session(None, "begin", f"update {table} set n = n + 1 where id = 1") as holder,
        mysql_any.session(None, "begin") as waiter,
        mysql_any.session(None, "begin") as busy,
        mysql_any.session(None, "begin", read),
    ):
        busy.start(f"select sleep(20) from {table} where id = 2")
        waiter.start(f"{read} lock in share mode")
        taken = waiting(mysql_any, waiter)
    wait = session(taken, waiter.id).wait
    assert wait
    assert wait.blocked_by == (holder.id,)
    assert [s.id for s in taken.sessions if s.wait] == [waiter.id]


def test_the_statement_given_ends_a_prepared_transaction(mysql_any: Running, table: str) -> None:
    holder = mysql_any.connect(mysql_any.app)
    for statement in ("xa start 'it''s'", f"update {table} set n = 9", "xa end 'it''s'", "xa prepare 'it''s'"):
        holder.do(statement)
    holder.close()
    until(lambda: snapshot(target(mysql_any, mysql_any.superuser)).prepared, every=0.3)
    (prepared,) = snapshot(target(mysql_any, mysql_any.superuser)).prepared
    mysql_any.ask(prepared.ending)
    until(lambda: not snapshot(target(mysql_any, mysql_any.superuser)).prepared, every=0.3)


def test_of_several_prepared_transactions_each_has_its_age(mysql_any: Running, table: str) -> None:
    xids = ("'one'", "'two'")
    try:
        for number, xid in enumerate(xids, 10):
            holder = mysql_any.connect(mysql_any.app)
            insert = f"insert into {table} values ({number}, 0)"
            for statement in (f"xa start {xid}", insert, f"xa end {xid}", f"xa prepare {xid}"):
                holder.do(statement)
            holder.close()
        until(lambda: len(snapshot(target(mysql_any, mysql_any.superuser)).prepared) == 2, every=0.3)
        both = snapshot(target(mysql_any, mysql_any.superuser)).prepared
    finally:
        for xid in xids:
            mysql_any.ask(f"xa rollback {xid}")
    assert [(p.age is not None, p.rows_modified) for p in both] == [(True, 1)] * 2
    assert len({p.id for p in both}) == 2
    assert all(xid in p.ending for xid in xids for p in both)


def queue(server: Running) -> tuple[Snapshot, Client, Client, Client, Client]:
    """Return a snapshot of a holder, an ALTER that waits for it, a SELECT behind that, and an innocent reader."""
    with (
        server.session(None, "begin", f"select * from {TABLE}") as holder,
        server.session(None, "begin", "select 1 from information_schema.schemata") as innocent,
        server.session() as alter,
        server.session() as select,
    ):
        alter.start(f"alter table {TABLE} add m int")
        waiting(server, alter)
        select.start(f"select * from {TABLE}")
        return waiting(server, alter, select), holder, innocent, alter, select


def blockers(taken: Snapshot, client: Client) -> tuple[int, ...] | None:
    wait = session(taken, client.id).wait
    assert wait
    assert wait.lock == "metadata"
    return wait.blocked_by


def test_metadata_locks_queue_behind_the_right_ones(mysql: Running, start: Start) -> None:
    if mysql.kind == "mariadb":
        mysql = start(mysql, performance_schema="ON", performance_schema_instrument="wait/lock/metadata/sql/mdl=ON")
    make(mysql)
    try:
        taken, holder, _, alter, select = queue(mysql)
    finally:
        mysql.ask(f"drop table {TABLE}")
    assert blockers(taken, alter) == (holder.id,)
    assert blockers(taken, select) == (alter.id,)
    found = session(taken, alter.id).wait
    assert found
    assert found.relation == TABLE


def test_candidates_are_named_where_blockers_are_not_told(mariadb: Running) -> None:
    make(mariadb)
    try:
        taken, holder, innocent, alter, select = queue(mariadb)
    finally:
        mariadb.ask(f"drop table {TABLE}")
    assert blockers(taken, alter) is None
    assert blockers(taken, select) is None
    wait = session(taken, alter.id).wait
    assert wait
    assert holder.id in wait.candidates
    assert innocent.id not in wait.candidates
    (gap,) = (gap for gap in taken.gaps if gap.fact is Fact.LOCKS)
    assert not gap.partial
    assert "wait/lock/metadata/sql/mdl=ON" in str(gap.cure)


def test_mariadbs_plugin_narrows_the_candidates(mariadb: Running) -> None:
    make(mariadb)
    mariadb.ask("install soname 'metadata_lock_info'")
    try:
        with mariadb.session(None, "begin", f"select 1 from {TABLE} where id = 0") as reader:
            taken, holder, _, alter, _ = queue(mariadb)
    finally:
        mariadb.ask("uninstall soname 'metadata_lock_info'")
        mariadb.ask(f"drop table {TABLE}")
    wait = session(taken, alter.id).wait
    assert wait
    assert wait.blocked_by is None
    assert set(wait.candidates) == {holder.id, reader.id}


def test_a_named_lock_is_waited_for(mysql_any: Running) -> None:
    with mysql_any.session(None, "select get_lock('nightly', 0)") as holder, mysql_any.session() as waiter:
        waiter.start("select get_lock('nightly', 20)")
        taken = waiting(mysql_any, waiter)
    wait = session(taken, waiter.id).wait
    assert wait
    assert wait.lock == "advisory"
    assert wait.blocked_by == ((holder.id,) if mysql_any.kind == "mysql" else None)


def lock(id: int, mode: str, status: str) -> dict[str, bytes | None]:
    return {
        "id": str(id).encode(),
        "object_type": b"TABLE",
        "object_schema": b"shop",
        "object_name": b"orders",
        "mode": mode.encode(),
        "status": status.encode(),
    }


@pytest.mark.parametrize(
    ("request_", "held", "blocked"),
    [
        ("SHARED_READ", "SHARED_WRITE", False),
        ("SHARED_READ", "SHARED_NO_WRITE", False),
        ("SHARED_READ", "SHARED_NO_READ_WRITE", True),
        ("SHARED_WRITE", "SHARED_READ_ONLY", True),
        ("SHARED_WRITE", "SHARED_UPGRADABLE", False),
        ("SHARED_UPGRADABLE", "SHARED_UPGRADABLE", True),
        ("EXCLUSIVE", "SHARED_HIGH_PRIO", True),
    ],
)
def test_locks_exclude_each_other_as_in_the_server(request_: str, held: str, blocked: bool) -> None:
    rows = [lock(1, held, "GRANTED"), lock(2, request_, "PENDING"), lock(2, "SHARED_READ", "GRANTED")]
    assert (metadata_waits(rows)[2].blocked_by == (1,)) == blocked


@pytest.mark.parametrize(
    ("request_", "held", "blocked_by", "candidates"),
    [
        ("BACKUP_COMMIT", ("BACKUP_FTWRL1", "BACKUP_COMMIT"), (1,), ()),
        ("BACKUP_DDL", ("BACKUP_BLOCK_DDL", "BACKUP_TRANS_DML"), (1,), ()),
        ("BACKUP_FTWRL1", ("BACKUP_TRANS_DML",), (1,), ()),
        ("BACKUP_FTWRL1", ("BACKUP_TRANS_DML", "BACKUP_DDL"), None, (1, 3)),
    ],
)
def test_a_backup_and_statements_wait_for_each_other(
    request_: str, held: tuple[str, ...], blocked_by: tuple[int, ...] | None, candidates: tuple[int, ...]
) -> None:
    rows = [lock(id_, mode, "GRANTED") for id_, mode in zip((1, 3), held, strict=False)]
    wait = metadata_waits([*rows, lock(2, request_, "PENDING")])[2]
    assert (wait.blocked_by, wait.candidates) == (blocked_by, candidates)


def test_a_wait_that_is_over_is_none() -> None:
    """InnoDB's list of transactions may be 0.1 s older than that of waits."""
    late = {7: Open(Transaction(), waits=True)}
    told = Answers(rows={"row_locks": []})
    assert row_waits(told, late, complete=True) == {}
    assert set(row_waits(told, late, complete=False)) == {7}


def test_nobody_waits_for_itself() -> None:
    rows = [lock(2, "SHARED_UPGRADABLE", "GRANTED"), lock(2, "EXCLUSIVE", "PENDING")]
    assert metadata_waits(rows)[2].blocked_by is None

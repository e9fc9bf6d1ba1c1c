"""What holds back vacuum and purge, as real servers tell it: transactions, slots, standbys, read views."""

import pytest

from connaudit.snapshot import Fact, HolderKind, Snapshot
from tests.conftest import Start
from tests.engines import mysql as innodb
from tests.engines import postgresql
from tests.engines.standby import standby
from tests.servers import Running, until

IN_VACUUM = (
    "select backend_xmin is not null from pg_stat_progress_vacuum join pg_stat_activity using (pid) where pid = %s"
)


def take(server: Running, auditor: str = "monitor") -> Snapshot:
    return postgresql.snapshot(postgresql.target(server, server.role(auditor)))


def burn(server: Running, count: int = 5) -> None:
    """Use up transaction ids."""
    for _ in range(count):
        server.ask("select txid_current()")


def horizon(taken: Snapshot, id: int) -> int | None:
    transaction = postgresql.session(taken, id).transaction
    return transaction.horizon_age if transaction else None


def test_a_snapshot_that_is_kept_holds_back_vacuum_and_a_reader_between_statements_does_not(
    postgres_any: Running, auditor: str
) -> None:
    keeper = "begin isolation level repeatable read"
    with (
        postgres_any.session(None, keeper, "select 1") as keeps,
        postgres_any.session(None, "begin", "select 1") as reads,
    ):
        burn(postgres_any)
        taken = take(postgres_any, auditor)
    assert (horizon(taken, keeps.id) or 0) >= 5
    assert horizon(taken, reads.id) is None


def test_a_writer_is_told_from_those_who_only_heed_it(postgres_any: Running, auditor: str) -> None:
    keeper = "begin isolation level repeatable read"
    with postgres_any.session(None, "begin", "select txid_current()") as writes:
        burn(postgres_any)
        with postgres_any.session(None, keeper, "select 1") as heeds:
            taken = take(postgres_any, auditor)
    assert horizon(taken, writes.id) == horizon(taken, heeds.id)
    own = [postgresql.session(taken, one.id).transaction for one in (writes, heeds)]
    assert [held and held.horizon_is_own for held in own] == [True, False]


def test_a_vacuum_holds_back_nobody(postgres_any: Running, auditor: str) -> None:
    slow = ("set vacuum_cost_delay = 100", "set vacuum_cost_limit = 1")
    with postgres_any.session(None, *slow) as client:
        client.do("create table if not exists swept as select n, repeat('x', 1000) as x from generate_series(1, 500) n")
        client.start("vacuum (disable_page_skipping) swept")
        until(lambda: postgres_any.ask(IN_VACUUM, client.id) == [(True,)])
        taken = take(postgres_any, auditor)
        transaction = postgresql.session(taken, client.id).transaction
    assert transaction
    assert (transaction.horizon_age, transaction.snapshot) == (None, False)


def test_a_vacuum_full_holds_back_vacuum(postgres: Running) -> None:
    with (
        postgres.session(None, "create table if not exists rewritten (n int)", "begin", "lock rewritten") as client,
        postgres.session() as rewriter,
    ):
        rewriter.start("vacuum full rewritten")
        until(lambda: horizon(take(postgres), rewriter.id) is not None)
        client.do("rollback")
        assert rewriter.finished() is None


def test_a_slot_that_nobody_reads_holds_back_catalogs_whoever_looks(postgres_any: Running, start: Start) -> None:
    server = start(postgres_any, wal_level="logical")
    server.ask("select pg_create_logical_replication_slot('forgotten', 'pgoutput')")
    burn(server)
    for role in ("monitor", "plain"):
        (holder,) = take(server, role).holders
        assert (holder.kind, holder.name, holder.pid) == (HolderKind.SLOT, "forgotten", None)
        assert (holder.catalogs_only, holder.physical) == (True, False)
        assert holder.horizon_age >= 5
        assert (holder.inactive_for is not None) is (server.version >= (17,))


@pytest.mark.kinds("postgres", since=(13,))
def test_a_slot_that_lost_its_wal_holds_back_nothing(postgres_any: Running, start: Start) -> None:
    server = start(postgres_any, wal_level="logical", max_slot_wal_keep_size="1MB", max_wal_size="32MB")
    server.ask("select pg_create_logical_replication_slot('lost', 'pgoutput')")
    burn(server)
    assert [holder.name for holder in take(server).holders] == ["lost"]
    for _ in range(4):
        burn(server)
        server.ask("select pg_switch_wal()")
    server.ask("checkpoint")
    assert server.ask("select wal_status, catalog_xmin is not null from pg_replication_slots") == [("lost", True)]
    assert take(server).holders == ()


def test_a_standby_holds_back_vacuum_by_its_walsender(postgres_any: Running) -> None:
    with standby(postgres_any, "east") as walsender:
        burn(postgres_any)
        (holder,) = until(lambda: take(postgres_any).holders)
        (seen_by_others,) = take(postgres_any, "plain").holders
    assert (holder.kind, holder.name, holder.pid) == (HolderKind.STANDBY, "east", walsender)
    assert (holder.catalogs_only, holder.physical) == (False, True)
    assert holder.horizon_age >= 5
    assert (seen_by_others.name, seen_by_others.pid) == ("east", walsender)


def test_a_standby_with_a_slot_holds_back_vacuum_by_the_slot_even_when_it_is_gone(postgres_any: Running) -> None:
    postgres_any.ask("select pg_create_physical_replication_slot('west')")
    try:
        with standby(postgres_any, "west", slot="west") as walsender:
            (used,) = until(lambda: take(postgres_any).holders)
        burn(postgres_any)
        (left,) = until(lambda: [each for each in take(postgres_any).holders if each.pid is None])
    finally:
        postgres_any.ask("select pg_drop_replication_slot('west')")
    assert (used.kind, used.name, used.pid, used.physical) == (HolderKind.SLOT, "west", walsender, True)
    assert (left.name, left.physical, left.catalogs_only) == ("west", True, False)
    assert left.horizon_age >= 5


def test_nobody_who_does_not_ask_is_told(postgres: Running) -> None:
    with standby(postgres, "east"):
        until(lambda: take(postgres).holders)
        assert postgresql.snapshot(postgresql.target(postgres), frozenset({Fact.SESSIONS})).holders == ()


def backlog(server: Running) -> int:
    told = innodb.snapshot(innodb.target(server)).undo_backlog
    assert told is not None
    return told


def test_a_read_view_lets_the_history_grow(mysql_any: Running, start: Start) -> None:
    # Without that, history which is purged may still be counted on a server that does nothing else.
    server = start(mysql_any, **{"loose-innodb-purge-rseg-truncate-frequency": 1})
    with server.session(None, "create table aged (n int)", "insert into aged values (0)") as writer:
        with server.session(None, "start transaction with consistent snapshot", "select * from aged") as reader:
            for _ in range(200):
                writer.do("update aged set n = n + 1")
            grown = until(lambda: backlog(server) >= 200 and backlog(server), every=0.3)
            view = innodb.session(innodb.snapshot(innodb.target(server)), reader.id).transaction
        assert view
        assert view.snapshot
        until(lambda: writer.do("update aged set n = n + 1") or backlog(server) < grown - 100, every=0.3)


def test_without_process_the_history_is_a_gap_and_not_zero(mysql_any: Running) -> None:
    taken = innodb.snapshot(innodb.target(mysql_any, mysql_any.plain))
    assert taken.undo_backlog is None
    (gap,) = (gap for gap in taken.gaps if gap.fact is Fact.HORIZON)
    assert gap.cure == "GRANT PROCESS ON *.* TO 'plain'@'%'"


def test_a_counter_that_is_switched_off_is_a_gap_and_its_cure_cures(mysql_any: Running) -> None:
    mysql_any.ask("set global innodb_monitor_disable = 'trx_rseg_history_len'")
    taken = innodb.snapshot(innodb.target(mysql_any))
    (gap,) = (gap for gap in taken.gaps if gap.fact is Fact.HORIZON)
    assert taken.undo_backlog is None
    assert gap.cure
    mysql_any.ask(gap.cure)
    assert innodb.snapshot(innodb.target(mysql_any)).undo_backlog is not None


@pytest.mark.parametrize("facts", [frozenset({Fact.SESSIONS, Fact.STATES}), frozenset({Fact.HORIZON})])
def test_the_history_is_read_only_for_who_asks(mysql: Running, facts: frozenset[Fact]) -> None:
    assert (innodb.snapshot(innodb.target(mysql), facts).undo_backlog is None) is (Fact.HORIZON not in facts)


def test_slots_that_may_not_be_read_are_a_gap_and_nothing_else_is_lost(postgres_any: Running) -> None:
    readers = "execute on function pg_get_replication_slots()"
    postgres_any.ask(f"revoke {readers} from public")
    try:
        with postgres_any.session(None, "begin isolation level repeatable read", "select 1") as client:
            taken = take(postgres_any, "plain")
    finally:
        postgres_any.ask(f"grant {readers} to public")
    (gap,) = (gap for gap in taken.gaps if gap.fact is Fact.HORIZON)
    assert gap.why.startswith("replication slots: permission denied")
    assert gap.partial
    assert horizon(taken, client.id) is not None

"""Scenes of sessions that wait for each other."""

from contextlib import suppress

from tests.scenes.expected import (
    Expected,
    Told,
    Untold,
    at_least,
    blocking,
    idle_tx,
    long_query,
    not_blocking,
    not_idle_tx,
    prepared,
)
from tests.scenes.stage import TABLE, Play, scene
from tests.scenes.transactions import P_S_OFF
from tests.servers import Client, until
from tests.servers.client import DRIVER_ERRORS

METADATA_LOCKS = {"performance_schema": "ON", "performance-schema-instrument": "wait/lock/metadata/sql/mdl=ON"}


def add(id_: int) -> str:
    return f"update {TABLE} set n = n + 1 where id = {id_}"


def read(id_: int) -> str:
    return f"select n from {TABLE} where id = {id_}"


def waits_for(*holders: Client) -> list[int]:
    return [holder.id for holder in holders]


@scene()
def a_writer_in_the_way_of_two(play: Play) -> Expected:
    holder = play.session("begin", add(4))
    waiters = [play.waiting(add(4)), play.waiting(add(4))]
    return [
        idle_tx(holder, blocks=2),
        *(long_query(w, doing="waiting for a lock", wait=bool, blocked_by=bool) for w in waiters),
        *(not_idle_tx(w) for w in waiters),
        *(blocking(w, role="waiter", root=holder.id, wait_seconds=at_least(0)) for w in waiters),
        blocking(holder, role="root", blocks=2, depth=0),
        Told("idle-tx", {"blocked": 2}),
        Told("long-queries", {"waiting_for_lock": 2}),
        Told("blocking", {"waiting": 2, "roots": 1}),
    ]


@scene()
def a_chain_of_transactions(play: Play) -> Expected:
    holder = play.session("begin", add(4))
    middle = play.waiting(add(4), "begin", add(5))
    last = play.waiting(add(5))
    return [
        idle_tx(holder, blocks=2),
        not_idle_tx(middle),
        blocking(holder, role="root", blocks=2),
        blocking(middle, role="waiter", depth=1, blocked_by=waits_for(holder)),
        blocking(last, role="waiter", depth=2, blocked_by=waits_for(middle), root=holder.id),
        Told("blocking", {"waiting": 2, "roots": 1, "depth": 2}),
    ]


def _two_holders(play: Play) -> tuple[list[Client], Client]:
    share = "for share" if play.on_postgres else "lock in share mode"
    return [play.session("begin", f"{read(6)} {share}") for _ in range(2)], play.waiting(add(6))


@scene("postgres")
def of_two_holders_of_a_row_one_is_waited_for_first(play: Play) -> Expected:
    holders, waiter = _two_holders(play)
    return [
        blocking(waiter, blocked_by=lambda ids: len(ids) == 1 and set(ids) < set(waits_for(*holders))),
        Told("blocking", {"waiting": 1, "roots": 1}),
        Told("idle-tx", {"count": 2, "blocked": 1}),
    ]


@scene("mysql")
def both_holders_of_a_row_are_waited_for(play: Play) -> Expected:
    holders, waiter = _two_holders(play)
    return [
        *(idle_tx(holder, blocks=1) for holder in holders),
        blocking(waiter, blocked_by=waits_for(*holders)),
        Told("blocking", {"waiting": 1, "roots": 2}),
    ]


@scene("mariadb")
def several_readers_of_a_row_may_be_in_the_way(play: Play) -> Expected:
    holders, waiter = _two_holders(play)  # who only read has no number by which the server could name him
    return [
        *(idle_tx(holder, blocks=None) for holder in holders),
        blocking(waiter, blocked_by=None, candidates=waits_for(*holders)),
        Untold("blocking", "locks", "the server does not tell whose lock it is", "None"),
    ]


@scene("postgres", settings={"deadlock_timeout": "10min"})
def a_circle_that_nobody_has_broken_yet(play: Play) -> Expected:
    first, second = play.session("begin", add(1)), play.session("begin", add(2))
    first.start(add(2))
    second.start(add(1))
    return [
        *(not_idle_tx(client) for client in (first, second)),
        blocking(first, blocked_by=waits_for(second)),
        blocking(second, blocked_by=waits_for(first)),
        Told("blocking", {"waiting": 2, "roots": 0, "circles": 1}),
    ]


@scene("mysql", "mariadb", settings={"innodb_deadlock_detect": "OFF"})
def a_circle_that_nobody_looks_for(play: Play) -> Expected:
    first, second = play.session("begin", add(1)), play.session("begin", add(2))
    first.start(add(2))
    second.start(add(1))
    return [
        *(not_idle_tx(client) for client in (first, second)),
        blocking(first, blocked_by=waits_for(second)),
        blocking(second, blocked_by=waits_for(first)),
        Told("blocking", {"waiting": 2, "roots": 0, "circles": 1}),
    ]


@scene("postgres")
def readers_behind_a_table_lock_behind_a_reader(play: Play) -> Expected:
    holder = play.session("begin", read(5))
    locker = play.waiting(f"lock table {TABLE} in access exclusive mode", "begin")
    reader = play.waiting(read(5))
    return [
        idle_tx(holder, blocks=2),
        long_query(locker, blocked_by=waits_for(holder)),
        blocking(holder, role="root", blocks=2),
        blocking(locker, lock="relation", relation=f"public.{TABLE}", blocked_by=waits_for(holder), blocks=1),
        blocking(reader, lock="relation", depth=2, root=holder.id, blocked_by=waits_for(locker)),
    ]


def _definition(play: Play) -> tuple[Client, Client, Client]:
    holder = play.session("begin", read(5))
    return holder, play.waiting(f"alter table {TABLE} comment = 'x'"), play.waiting(read(5))


@scene("mysql")
def readers_behind_a_definition_behind_a_reader(play: Play) -> Expected:
    holder, definer, reader = _definition(play)
    return [
        idle_tx(holder, blocks=2),
        long_query(definer, doing="waiting for a lock", blocked_by=waits_for(holder)),
        blocking(definer, lock="metadata", relation=f"shop.{TABLE}", blocked_by=waits_for(holder)),
        blocking(reader, depth=2, root=holder.id, blocked_by=waits_for(definer)),
    ]


@scene("mariadb", settings=METADATA_LOCKS)
def readers_behind_a_definition_where_metadata_locks_are_watched(play: Play) -> Expected:
    return readers_behind_a_definition_behind_a_reader(play)


@scene("mariadb")
def readers_behind_a_definition_where_nobody_watches(play: Play) -> Expected:
    holder, definer, reader = _definition(play)
    cure = "performance-schema-instrument='wait/lock/metadata/sql/mdl=ON'"
    return [
        idle_tx(holder, blocks=None),
        long_query(definer, doing="waiting for a lock", blocked_by=None),
        blocking(holder, role="candidate"),
        blocking(definer, blocked_by=None, candidates=lambda ids: holder.id in ids),
        blocking(reader, blocked_by=None),
        Untold("blocking", "locks", "performance_schema is off", cure),
        Told("blocking", {"waiting": 2, "blockers_untold": 2}),
    ]


@scene("mysql", settings=P_S_OFF)
def rows_are_waited_for_where_nobody_tells_whose_they_are(play: Play) -> Expected:
    holder = play.session("begin", add(4))
    waiter = play.waiting(add(4))
    return [
        idle_tx(holder, blocks=None),
        long_query(waiter, doing="waiting for a lock", blocked_by=None),
        blocking(waiter, blocked_by=None, candidates=waits_for(holder), wait_seconds=at_least(0)),
        Untold("blocking", "locks", "performance_schema is off", "performance_schema=ON"),
    ]


@scene("postgres")
def an_idle_holder_of_an_advisory_lock(play: Play) -> Expected:
    holder = play.session("select pg_advisory_lock(42)")
    waiter = play.waiting("select pg_advisory_lock(42)")
    return [
        not_idle_tx(holder),
        long_query(waiter, doing="waiting for a lock"),
        blocking(holder, role="root", state="idle", blocks=1),
        blocking(waiter, lock="advisory", blocked_by=waits_for(holder)),
    ]


def _user_lock(play: Play) -> tuple[Client, Client]:
    return play.session("select get_lock('nightly', 0)"), play.waiting("select get_lock('nightly', 60)")


@scene("mysql")
def an_idle_holder_of_a_user_lock(play: Play) -> Expected:
    holder, waiter = _user_lock(play)
    return [
        not_idle_tx(holder),
        blocking(holder, role="root", state="idle", blocks=1),
        blocking(waiter, lock="advisory", blocked_by=waits_for(holder)),
    ]


@scene("mariadb")
def a_user_lock_whose_holder_nobody_watches(play: Play) -> Expected:
    holder, waiter = _user_lock(play)
    return [
        not_idle_tx(holder),
        not_blocking(holder),
        blocking(waiter, lock="advisory", blocked_by=None),
        Untold("blocking", "locks", "performance_schema is off", "mdl=ON"),
    ]


def _locked_table(play: Play) -> tuple[Client, Client]:
    return play.session(f"lock tables {TABLE} read"), play.waiting(add(7))


@scene("mysql")
def an_idle_holder_of_a_locked_table(play: Play) -> Expected:
    holder, waiter = _locked_table(play)
    return [
        blocking(holder, role="root", blocks=1),
        blocking(waiter, lock="metadata", blocked_by=waits_for(holder)),
        long_query(waiter, doing="waiting for a lock"),
    ]


@scene("mariadb")
def a_locked_table_whose_holder_nobody_watches(play: Play) -> Expected:
    holder, waiter = _locked_table(play)
    return [
        not_idle_tx(holder),
        blocking(waiter, lock="metadata", blocked_by=None),
        Untold("blocking", "locks", "performance_schema is off", "mdl=ON"),
    ]


def _read_lock(play: Play) -> Expected:
    holder = play.session("flush tables with read lock", role=play.server.superuser)
    writer, definer = play.waiting(add(7)), play.waiting(f"alter table {TABLE} comment = 'x'")
    return [
        blocking(holder, role="root", state="idle", blocks=2),
        *(blocking(w, lock="metadata", blocked_by=waits_for(holder)) for w in (writer, definer)),
        not_idle_tx(holder),
        Told("blocking", {"waiting": 2, "roots": 1}),
    ]


@scene("mysql")
def an_idle_holder_of_the_lock_on_everything(play: Play) -> Expected:
    return _read_lock(play)


@scene("mariadb", settings=METADATA_LOCKS)
def an_idle_holder_of_the_lock_on_everything_where_locks_are_watched(play: Play) -> Expected:
    return _read_lock(play)


@scene("mariadb", settings=METADATA_LOCKS)
def a_backup_in_the_way_of_a_commit(play: Play) -> Expected:
    holder = play.session("backup stage start", "backup stage block_commit", role=play.server.superuser)
    waiter = play.waiting("commit", "begin", add(7))
    return [blocking(holder, role="root", state="idle", blocks=1), blocking(waiter, blocked_by=waits_for(holder))]


@scene("mysql")
def a_backup_in_the_way_of_a_definition(play: Play) -> Expected:
    holder = play.session("lock instance for backup", role=play.server.superuser)
    waiter = play.waiting(f"alter table {TABLE} comment = 'x'")
    return [blocking(holder, role="root", state="idle", blocks=1), blocking(waiter, blocked_by=waits_for(holder))]


def _is_in(play: Play, client: Client, state: str) -> None:
    """Wait until a session is in a state."""
    ask = "select state from information_schema.processlist where id = %s"
    until(lambda: play.server.ask(ask, client.id) == [(state,)])


@scene("mysql", "mariadb")
def a_statement_in_the_way_of_another_on_a_table_without_rows_to_lock(play: Play) -> Expected:
    play.afterwards("drop table if exists shop.whole")
    reader = play.session("create table whole (n int) engine = myisam", "insert into whole values (1), (2)")
    reader.start("select sleep(60) from whole")
    _is_in(play, reader, "User sleep")
    waiter = play.waiting("update whole set n = 2")
    return [
        blocking(reader, role="candidate"),
        blocking(waiter, lock="table level", blocked_by=None, candidates=waits_for(reader)),
        Untold("blocking", "locks", "whose statement holds the lock of a whole table is not told", "None"),
        long_query(waiter, doing="waiting for a lock"),
    ]


@scene("mysql")
def a_statement_in_the_way_of_a_flush_in_the_way_of_another(play: Play) -> Expected:
    play.session("begin", read(5))  # holds no table open
    reader = play.running(f"select sleep(60) from {TABLE}")
    _is_in(play, reader, "User sleep")
    flush = play.running("flush tables", role=play.server.superuser)
    _is_in(play, flush, "Waiting for table flush")
    waiter = play.waiting(read(5))
    return [
        blocking(reader, role="candidate"),
        *(blocking(w, lock="table flush", blocked_by=None, candidates=waits_for(reader)) for w in (flush, waiter)),
        Untold("blocking", "locks", "whose statement keeps a table from being flushed is not told", "None"),
    ]


@scene("postgres", settings={"max_prepared_transactions": 2})
def a_prepared_transaction_in_the_way(play: Play) -> Expected:
    play.session("begin", add(2), "prepare transaction 'order'")
    waiter = play.waiting(add(2))
    return [
        prepared(gid="order", blocks=1),
        blocking(None, role="root", gid="order", state="prepared", user="app", blocks=1),
        blocking(waiter, blocked_by=[0], root=0),
        long_query(waiter, blocked_by=[0]),
    ]


@scene("mysql", "mariadb")
def an_orphan_of_xa_in_the_way(play: Play) -> Expected:
    orphan = ("xa start 'orphan'", add(2), "xa end 'orphan'", "xa prepare 'orphan'")
    with play.server.session(play.server.app, *orphan):
        play.afterwards("xa rollback 'orphan'")
    waiter = play.waiting(add(2))
    return [
        prepared(blocks=1, rows_modified=1),
        blocking(None, role="root", state="prepared", blocks=1),
        blocking(waiter, blocked_by=[0], root=0),
    ]


@scene("mysql", "mariadb", settings={"innodb_flush_log_at_trx_commit": 0, "innodb_buffer_pool_size": "64M"})
def a_killed_session_that_rolls_back(play: Play) -> Expected:
    digits = "(select 0 d union select 1 union select 2 union select 3 union select 4 union select 5)"
    rows = ", ".join(f"{digits} d{n}" for n in range(7))
    killed = play.session(
        "create table bulk (id int auto_increment primary key, t varchar(40), index (t))",
        "begin",
        f"insert into bulk (t) select uuid() from {rows}",
    )
    waiter = play.session()
    waiter.start("update bulk set t = 'x' where id = 1")
    with suppress(*DRIVER_ERRORS):
        play.server.terminate(killed.id)
    return [not_idle_tx(killed), long_query(waiter, doing="waiting for a lock", blocked_by=waits_for(killed))]

"""Scenes of transactions that nobody works in, and of some that are not such."""

from tests.scenes.expected import (
    Expected,
    Told,
    Untold,
    at_least,
    between,
    containing,
    idle_tx,
    long_query,
    not_idle_tx,
    not_long,
    prepared,
    states,
)
from tests.scenes.stage import TABLE, Play, scene, sleep
from tests.servers import Client

P_S_OFF = {"performance_schema": "OFF"}
READ = f"select n from {TABLE} where id = 1"


@scene()
def an_idle_session(play: Play) -> Expected:
    client = play.session(READ)
    return [not_idle_tx(client), not_long(client), Told("count", {"used": 1, "by_state": states(idle=1)})]


@scene()
def a_reader_idle_in_transaction(play: Play) -> Expected:
    client = play.session("begin", READ)
    held = not play.on_postgres  # READ COMMITTED lets go of its snapshot, REPEATABLE READ keeps its read view
    back = "purge" if held else "nothing"
    return [
        idle_tx(client, aborted=False, holds_xid=False, holds_snapshot=held, holds_back=back, blocks=0),
        not_long(client),
        Told("idle-tx", {"count": 1, "idle_in_transaction": 1, "aborted": 0}),
        Told("count", {"by_state": states(idle_in_transaction=1)}),
    ]


@scene()
def a_reader_that_keeps_its_snapshot(play: Play) -> Expected:
    level = "transaction isolation level repeatable read"
    client = play.session(f"set session {'characteristics as ' if play.on_postgres else ''}{level}")
    client.do("begin")
    client.do(READ)
    back = containing("vacuum") if play.on_postgres else "purge"
    return [idle_tx(client, holds_snapshot=True, holds_xid=False, holds_back=back)]


@scene()
def a_writer_idle_in_transaction(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    return [idle_tx(client, holds_xid=True, idle_seconds=at_least(0.3), transaction_seconds=at_least(0.3))]


@scene()
def a_transaction_older_than_its_idleness(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2", sleep(play, 3))
    return [idle_tx(client, idle_seconds=between(0, 2.5), transaction_seconds=at_least(3), idle_is_bound=False)]


@scene("postgres")
def an_aborted_transaction(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    play.failed(client, "select 1/0")
    return [
        idle_tx(client, aborted=True, idle_seconds=at_least(0.3), transaction_seconds=None, holds_xid=False, locks=0),
        Told("idle-tx", {"count": 1, "aborted": 1}),
        Told("count", {"by_state": lambda rows: [row["state"] for row in rows] == ["idle in transaction (aborted)"]}),
    ]


@scene("postgres")
def an_aborted_savepoint_keeps_its_locks(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2", "savepoint s")
    play.failed(client, "select 1/0")
    held = {"holds_xid": True, "strongest_lock": "RowExclusiveLock", "locks": at_least(1)}
    return [idle_tx(client, aborted=True, idle_seconds=at_least(0.3), transaction_seconds=at_least(0.3), **held)]


@scene("mysql", "mariadb")
def a_failed_statement_leaves_the_transaction_open(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    play.failed(client, f"insert into {TABLE} values (1, 1)")
    return [idle_tx(client, aborted=False, holds_xid=True)]


@scene("postgres", "mysql")
def a_transaction_that_did_nothing(play: Play) -> Expected:
    client = play.session("begin")
    return [idle_tx(client, holds_xid=False, holds_snapshot=False)]


@scene("mariadb")
def a_transaction_that_did_nothing_shows_nowhere(play: Play) -> Expected:
    client = play.session("begin")
    why, cure = "neither read nor written are not seen", "performance-schema-consumer-events-transactions-current=ON"
    return [not_idle_tx(client), not_long(client), Untold("idle-tx", "transactions", why, cure, partial=True)]


@scene("mariadb", settings={"performance_schema": "ON"})
def a_transaction_that_did_nothing_while_nobody_watches(play: Play) -> Expected:
    client = play.session("begin")
    switch = "setup_consumers SET enabled = 'YES' WHERE name IN ('events_transactions_current')"
    why = "performance_schema does not watch transactions"
    return [not_idle_tx(client), Untold("idle-tx", "transactions", why, switch, partial=True)]


@scene("mysql", "mariadb")
def a_select_without_autocommit(play: Play) -> Expected:
    client = play.session("set autocommit = 0", READ)
    return [idle_tx(client, holds_xid=False, holds_snapshot=True), not_long(client)]


@scene("mysql", "mariadb")
def a_consistent_snapshot_that_read_nothing(play: Play) -> Expected:
    client = play.session("start transaction with consistent snapshot")
    return [idle_tx(client, holds_xid=False, holds_snapshot=True)]


@scene("mysql")
def a_reader_of_myisam_in_a_transaction(play: Play) -> Expected:
    client = play.session("create temporary table heap (n int) engine = myisam", "begin", "select * from heap")
    return [idle_tx(client, holds_xid=False)]


@scene("mariadb")
def a_reader_of_myisam_in_a_transaction_shows_nowhere(play: Play) -> Expected:
    client = play.session("create temporary table heap (n int) engine = myisam", "begin", "select * from heap")
    return [not_idle_tx(client), not_long(client)]


@scene()
def a_busy_transaction_is_not_idle(play: Play) -> Expected:
    client = play.running(sleep(play), "begin", f"update {TABLE} set n = n + 1 where id = 3")
    return [not_idle_tx(client), long_query(client, age_seconds=at_least(0.3), transaction_seconds=at_least(0.3))]


@scene("postgres", settings={"max_prepared_transactions": 2})
def a_prepared_transaction(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2", "prepare transaction 'order''s 7'")
    return [
        prepared(gid="order's 7", user="app", database="shop", idle_seconds=at_least(0.3), holds_xid=True),
        not_idle_tx(client),
        Told("idle-tx", {"count": 1, "prepared": 1, "idle_in_transaction": 0}),
        Told("count", {"used": 1, "by_state": states(idle=1)}),
    ]


def _orphan(play: Play) -> None:
    xa = "'orphan'"
    with play.server.session(
        play.server.app,
        f"xa start {xa}",
        f"update {TABLE} set n = n + 1 where id = 2",
        f"xa end {xa}",
        f"xa prepare {xa}",
    ):
        play.afterwards(f"xa rollback {xa}")


def _prepared_by_who_is_there(play: Play) -> Client:
    play.afterwards("xa rollback 'kept'")
    return play.session(
        "xa start 'kept'", f"update {TABLE} set n = n + 1 where id = 2", "xa end 'kept'", "xa prepare 'kept'"
    )


@scene("mariadb")
def a_transaction_prepared_by_a_session_that_is_there(play: Play) -> Expected:
    client = _prepared_by_who_is_there(play)
    return [idle_tx(client, holds_xid=True, rows_modified=1), Told("idle-tx", {"count": 1, "prepared": 0})]


@scene("mysql")
def a_prepared_transaction_is_its_sessions_no_more(play: Play) -> Expected:
    client = _prepared_by_who_is_there(play)
    return [
        prepared(holds_xid=True, rows_modified=1),
        not_idle_tx(client),  # it may begin another
        Told("idle-tx", {"count": 1, "prepared": 1}),
        Told("count", {"used": 1, "by_state": states(idle=1)}),
    ]


@scene("mysql")
def what_is_done_in_a_transaction_of_xa_is_told_rather_than_its_end(play: Play) -> Expected:
    write = f"update {TABLE} set n = n + 1 where id = 2"
    client = play.session("xa start 'ended'", write, "xa end 'ended'")
    return [idle_tx(client, sql=write, sql_is_real=True)]


@scene("mariadb")
def an_orphan_of_xa(play: Play) -> Expected:
    _orphan(play)
    return [prepared(gid="'orphan'", holds_xid=True, rows_modified=1), Told("idle-tx", {"prepared": 1})]


@scene("mysql")
def an_orphan_of_xa_whose_name_may_not_be_read(play: Play) -> Expected:
    _orphan(play)
    why, cure = "the identifiers of prepared transactions may not be read", "GRANT XA_RECOVER_ADMIN"
    return [
        prepared(gid=containing("InnoDB transaction"), holds_xid=True, rows_modified=1),
        Untold("idle-tx", "transactions", why, cure, partial=True),
    ]


@scene("postgres")
def a_transaction_in_a_session_that_is_not_tracked(play: Play) -> Expected:
    client = play.session("set track_activities = off", "begin", READ, role=play.server.superuser)
    why, cure = "1 session with track_activities = off", "set track_activities = on"
    return [
        idle_tx(client, state="disabled", idle_seconds=None, transaction_seconds=None),
        not_long(client),
        Untold("idle-tx", "states", why, cure, partial=True),
        Told("count", {"used": 1, "by_state": states(disabled=1)}),
    ]


@scene("postgres")
def whoever_a_session_acts_as_it_is_who_logged_in(play: Play) -> Expected:
    client = play.session("set session authorization app", "set role app", "begin", role=play.server.superuser)
    return [idle_tx(client, user="postgres")]


@scene("postgres")
def a_role_dropped_while_it_is_there(play: Play) -> Expected:
    role = play.role("passing", "superuser")
    client = play.session("begin", role=role)
    play.server.ask("drop role passing")
    user = containing("(dropped)")
    return [idle_tx(client, user=user), Told("count", {"used": 1, "by_state": states(idle_in_transaction=1)})]


@scene("mysql", "mariadb", settings=P_S_OFF, environment={"TZ": "EAST-9"})
def a_server_east_of_its_sessions(play: Play) -> Expected:
    client = play.session("set time_zone = '-05:00'", "begin", f"update {TABLE} set n = n + 1 where id = 2")
    return [idle_tx(client, transaction_seconds=between(1, 60))]


@scene("mysql", "mariadb", settings={**P_S_OFF, "default_time_zone": "+00:00"}, environment={"TZ": "WEST5"})
def a_server_west_of_its_sessions(play: Play) -> Expected:
    client = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    return [idle_tx(client, transaction_seconds=between(1, 60))]


@scene("mysql", settings=P_S_OFF)
def transactions_of_a_server_without_performance_schema(play: Play) -> Expected:
    writer = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    nothing = play.session("begin")
    why = "neither read nor written are not seen: performance_schema is off"
    return [
        idle_tx(writer, holds_xid=True, idle_is_bound=True, sql=None),
        not_idle_tx(nothing),
        Untold("idle-tx", "transactions", why, "performance_schema=ON", partial=True),
        Untold("idle-tx", "queries", "no last statements of idle sessions", "performance_schema=ON", partial=True),
    ]


@scene("mysql", "mariadb")
def a_session_with_a_clock_of_its_own(play: Play) -> Expected:
    write = f"update {TABLE} set n = n + 1 where id = 2"
    client = play.session("set timestamp = 1600000000", "begin", write)
    return [idle_tx(client, idle_seconds=lambda told: told is None or told < 60, transaction_seconds=between(0, 60))]


@scene()
def transactions_of_every_age_are_all_listed(play: Play) -> Expected:
    writers = [play.session("begin", f"update {TABLE} set n = n + 1 where id = {id_}") for id_ in (1, 2, 3)]
    readers = [play.session("begin", f"select n from {TABLE} where id = {id_}") for id_ in (4, 5)]
    return [
        *(idle_tx(writer, holds_xid=True) for writer in writers),
        *(idle_tx(reader, holds_xid=False) for reader in readers),
        Told("idle-tx", {"count": 5, "idle_in_transaction": 5}),
        Told("count", {"used": 5, "by_state": states(idle_in_transaction=5)}),
    ]

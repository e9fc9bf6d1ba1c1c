"""Scenes of statements that run, and of what only looks like one."""

import struct

from pymysql.constants import COMMAND

from tests.scenes.expected import (
    Expected,
    Listed,
    Told,
    Untold,
    at_least,
    between,
    containing,
    idle_tx,
    long_query,
    not_idle_tx,
    not_long,
    states,
)
from tests.scenes.stage import TABLE, Play, scene, sleep
from tests.servers import Client


@scene()
def a_long_query(play: Play) -> Expected:
    client = play.running(sleep(play))
    return [
        long_query(client, age_seconds=at_least(1), sql=containing("sleep"), doing="running"),
        not_idle_tx(client),
        Told("long-queries", {"count": 1}),
        Told("count", {"used": 1, "by_state": states(active=1)}),
    ]


@scene()
def a_query_that_has_ended(play: Play) -> Expected:
    client = play.session(sleep(play, 2))
    return [not_long(client), not_idle_tx(client), Told("long-queries", {"count": 0, "longest_seconds": None})]


@scene()
def a_statement_of_a_million_bytes(play: Play) -> Expected:
    client = play.running(f"{sleep(play)} /* {'x' * 1_000_000} */")
    return [
        long_query(client, sql_truncated=True, sql=lambda sql: "sleep" in sql and len(sql) < 2000),
        Told("long-queries", {"count": 1}),
    ]


PARALLEL = (
    "create table if not exists wide (n int)",
    "truncate wide",
    "insert into wide select generate_series(1, 5000)",
    "alter table wide set (parallel_workers = 2)",
    "set max_parallel_workers_per_gather = 2",
    "set parallel_setup_cost = 0",
    "set parallel_tuple_cost = 0",
    "set min_parallel_table_scan_size = 0",
)
EVERY_ROW = "select count(*) from wide where pg_sleep(60) is not null"


@scene("postgres", since=(13,))
def parallel_workers_are_no_queries_of_their_own(play: Play) -> Expected:
    client = play.running(EVERY_ROW, *PARALLEL)
    return [
        long_query(client, parallel_workers=2),
        Told("long-queries", {"count": 1}),
        # A role without grants cannot tell them from connections, and is told so.
        Told("count", {"used": 1, "by_state": states(active=1)}, needs_grants=True),
    ]


@scene("postgres", before=(13,))
def parallel_workers_do_not_tell_their_leader(play: Play) -> Expected:
    client = play.running(EVERY_ROW, *PARALLEL)
    return [
        long_query(client, parallel_workers=None),
        Told("long-queries", {"count": 1}),
        Told("count", {"used": 1, "by_state": states(active=1)}, needs_grants=True),
    ]


def _unread(play: Play) -> Client:
    """Hold a session whose client asked for more than fits into all buffers, and reads none of it."""
    client = play.session()
    if play.on_postgres:
        client.driver.pgconn.send_query(b"select repeat('x', 10000) from generate_series(1, 100000)")
    else:
        digits = "(select 1 union all select 2 union all select 3 union all select 4 union all select 5) d"
        rows = ", ".join(digits + str(number) for number in range(7))
        client.driver._execute_command(COMMAND.COM_QUERY, f"select repeat('x', 10000) from {rows}")
    play.leaves(client)
    return client


@scene()
def a_client_that_does_not_read(play: Play) -> Expected:
    client = _unread(play)
    return [
        long_query(client, doing="waiting for the client"),
        not_idle_tx(client),
        Told("long-queries", {"count": 0, "waiting_for_client": 1}),
    ]


@scene("postgres")
def a_copy_that_waits_for_its_client(play: Play) -> Expected:
    client = play.session()
    client.driver.pgconn.send_query(f"copy {TABLE} from stdin".encode())
    play.leaves(client)
    return [
        long_query(client, doing="waiting for the client", wait="Client:ClientRead", sql=containing("copy")),
        not_idle_tx(client),
        Told("long-queries", {"count": 0, "waiting_for_client": 1}),
    ]


@scene("mysql", "mariadb", settings={"local_infile": "ON"})
def a_load_that_waits_for_its_client(play: Play) -> Expected:
    client = play.session(local_infile=True)
    client.driver._execute_command(COMMAND.COM_QUERY, f"load data local infile 'none' into table {TABLE}")
    play.leaves(client)
    return [
        long_query(client, doing="waiting for the client"),
        not_idle_tx(client),
        Told("long-queries", {"count": 0, "waiting_for_client": 1}),
    ]


@scene("mysql", "mariadb")
def a_procedure_is_one_statement(play: Play) -> Expected:
    play.session(
        "drop procedure if exists nap", "create procedure nap() begin declare n int default 0; do sleep(60); end"
    )
    client = play.running("call nap()")
    return [
        long_query(client, sql=containing("sleep")),
        Told("long-queries", {"count": 1}),
        Told("count", {"used": 2, "by_state": states(active=1, idle=1)}),
    ]


@scene("mysql", "mariadb")
def a_statement_prepared_by_its_text(play: Play) -> Expected:
    client = play.running("execute s", "prepare s from 'select sleep(60)'")
    return [long_query(client, doing="running"), Told("long-queries", {"count": 1})]


@scene("mysql", "mariadb")
def a_statement_prepared_by_the_protocol(play: Play) -> Expected:
    client = play.session()
    driver = client.driver
    driver._execute_command(COMMAND.COM_STMT_PREPARE, "select sleep(60)")
    number, columns = struct.unpack("<xIH", driver._read_packet()._data[:7])
    for _ in range(columns + 1):  # and the end of their list
        driver._read_packet()
    driver._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", number, 0, 1))
    play.leaves(client)
    return [long_query(client, sql=containing("sleep"), doing="running"), Told("long-queries", {"count": 1})]


@scene("mariadb", settings={"delayed_insert_timeout": 600})
def what_was_delayed_is_inserted_by_no_connection(play: Play) -> Expected:
    play.session("create table later (n int) engine = myisam", "insert delayed into later values (1)")
    return [
        Told("long-queries", {"count": 0}),
        Told("count", {"used": 1, "by_state": states(idle=1)}),
    ]


@scene("mysql", "mariadb", settings={"event_scheduler": "ON"})
def a_scheduled_event_is_a_statement_and_no_connection(play: Play) -> Expected:
    play.server.ask("create event shop.nap on schedule at current_timestamp do do sleep(60)")
    which = {"user": "root", "doing": "running"}
    return [
        Told("long-queries", {"count": 1, "longest_seconds": between(0.1, 60)}),
        Told("count", {"used": 0, "by_state": states()}),
        Listed("long-queries", which, {"sql": containing("sleep")}),
    ]


@scene("mysql", "mariadb")
def a_statement_under_a_clock_of_its_own(play: Play) -> Expected:
    client = play.running(sleep(play), "set timestamp = 1600000000")
    return [long_query(client, age_seconds=lambda told: told is None or told < 60)]


@scene("mysql", "mariadb")
def a_statement_that_is_no_text(play: Play) -> Expected:
    writer = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    client = play.session()
    client.start(b"select sleep(60) /* caf\xe9 \xff */")  # type: ignore[arg-type]
    return [
        long_query(client, sql=containing("caf\\xe9 \\xff")),
        idle_tx(writer, holds_xid=True),
        not_idle_tx(client),
        Told("idle-tx", {"count": 1}),
    ]


@scene("postgres")
def a_session_that_never_ran_anything(play: Play) -> Expected:
    client = play.session()
    return [not_idle_tx(client), not_long(client), Told("count", {"used": 1, "by_state": states(idle=1)})]


def _lost(play: Play) -> Expected:
    clients = [play.session() for _ in range(40)]
    writer = play.session("begin", f"update {TABLE} set n = n + 1 where id = 2")
    busy = play.running(sleep(play))
    why, cure = "performance_schema had no room for", "performance_schema_max_thread_instances=-1"
    return [
        idle_tx(writer, holds_xid=True),
        long_query(busy, age_seconds=at_least(1)),
        *(not_long(client) for client in clients[:3]),
        Untold("idle-tx", "transactions", why, cure, partial=True),
        Told("count", {"used": 42, "by_state": states(idle=40, idle_in_transaction=1, active=1)}),
    ]


@scene("mysql", settings={"performance_schema_max_thread_instances": 60})
def threads_that_performance_schema_lost(play: Play) -> Expected:
    return _lost(play)


@scene("mariadb", settings={"performance_schema": "ON", "performance_schema_max_thread_instances": 30})
def threads_that_performance_schema_lost_on_mariadb(play: Play) -> Expected:
    return _lost(play)

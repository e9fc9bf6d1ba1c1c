"""Scenes of connections: who counts, who does not, and what becomes of an audit when there are none left."""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from pymysql.constants import COMMAND

from tests.scenes.expected import (
    Expected,
    Listed,
    Refused,
    Told,
    Verdict,
    at_least,
    containing,
    idle_tx,
    long_query,
    not_idle_tx,
    not_long,
    states,
)
from tests.scenes.stage import Play, scene, sleep
from tests.servers import Running, until

SMALL = {"max_connections": 12, "superuser_reserved_connections": 2, "max_wal_senders": 2}
FREE_PORT = {"max_connections": 10}


@scene("postgres")
def limits_of_a_role_and_of_a_database(play: Play) -> Expected:
    crowded, narrow = play.role("crowded", "connection limit 2"), play.database("narrow", "connection limit 4")
    play.session(role=crowded)
    play.session(role=crowded, database=narrow)
    play.session(database=narrow)
    limits = [
        {"scope": "role", "name": "crowded", "used": 2, "limit": 2},
        {"scope": "database", "name": "narrow", "used": 2, "limit": 4},
    ]
    return [
        Told("count", {"used": 3, "limits": limits, "limit": "role crowded"}),
        Verdict("count", "critical", ("CA104",)),
    ]


@scene("mysql", "mariadb")
def a_limit_of_an_account(play: Play) -> Expected:
    play.auditor = play.server.superuser  # others may not read it
    crowded = play.role("crowded", "with max_user_connections 2")
    for _ in range(2):
        play.session(role=crowded, database="")
    limits = [{"scope": "role", "name": "crowded", "used": 2, "limit": 2}]
    return [
        Told("count", {"used": 2, "limits": limits, "limit": "role crowded"}),
        Verdict("count", "critical", ("CA104",)),
    ]


@contextmanager
def _walsender(server: Running, replication: str, *commands: bytes) -> Iterator[int]:
    """Hold a replication connection that was told these commands, of which the last has it stream."""
    driver = psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.superuser.name,
        password=server.superuser.password,
        dbname="shop",
        replication=replication,
        autocommit=True,
    )
    with closing(driver):
        for command in commands[:-1]:
            assert driver.pgconn.exec_(command).status == psycopg.pq.ExecStatus.TUPLES_OK
        driver.pgconn.send_query(commands[-1])
        yield driver.info.backend_pid


@scene("postgres")
def a_standby_that_streams(play: Play) -> Expected:
    ((at,),) = play.server.ask("select pg_current_wal_lsn()::text")
    play.enter(_walsender(play.server, "true", f"START_REPLICATION PHYSICAL {at}".encode()))
    return [
        Told("count", {"used": 0, "walsenders": 1, "by_state": states()}),
        Told("long-queries", {"count": 0, "system": 0}),
        Told("idle-tx", {"count": 0}),
    ]


@scene("postgres", settings={"wal_level": "logical"})
def a_subscriber_that_streams(play: Play) -> Expected:
    with play.server.session(play.server.superuser) as client:
        client.do("create publication everything for all tables")
    play.enter(
        _walsender(
            play.server,
            "database",
            b"CREATE_REPLICATION_SLOT reader TEMPORARY LOGICAL pgoutput",
            b"START_REPLICATION SLOT reader LOGICAL 0/0 (proto_version '1', publication_names 'everything')",
        )
    )
    return [
        Told("count", {"used": 0, "walsenders": 1, "by_state": states()}),
        Told("long-queries", {"count": 0}),
        Told("idle-tx", {"count": 0}),
    ]


@scene("postgres", settings={"wal_level": "logical"})
def a_walsender_that_holds_a_snapshot_for_who_copies_the_tables(play: Play) -> Expected:
    taking = b"CREATE_REPLICATION_SLOT copied LOGICAL pgoutput EXPORT_SNAPSHOT"
    giver = play.enter(_walsender(play.server, "database", taking))
    idle = "select pid from pg_stat_activity where state = 'idle in transaction'"
    until(lambda: play.server.ask(idle) == [(giver,)])
    held = {"holds_snapshot": True, "holds_back": containing("vacuum"), "idle_seconds": at_least(0)}
    return [
        Listed("idle-tx", {"pid": giver}, held),
        Told("idle-tx", {"count": 1, "idle_in_transaction": 1, "vacuum_held_back_by": f"session {giver}"}),
        Told("count", {"used": 0, "walsenders": 1, "by_state": states()}),
        Told("long-queries", {"count": 0}),
    ]


@scene("mysql", "mariadb", settings={"log_bin": "bin", "server_id": 7})
def a_replica_that_reads_the_log(play: Play) -> Expected:
    sum_ = "source" if play.server.kind == "mysql" else "master"
    client = play.session(f"set @{sum_}_binlog_checksum = 'NONE'", role=play.server.superuser)
    client.driver._execute_command(COMMAND.COM_BINLOG_DUMP, struct.pack("<IHI", 4, 0, 8))
    play.leaves(client)
    return [
        not_idle_tx(client),
        not_long(client),
        Told("count", {"used": 1, "by_state": states()}),  # it takes a slot, and is nobody's client
        Told("long-queries", {"count": 0}),
    ]


@contextmanager
def _half_open(server: Running) -> Iterator[None]:
    """Hold a login that has come as far as the password, and goes no further."""
    body = struct.pack("!I", 196608) + b"user\0app\0database\0shop\0\0"
    with socket.create_connection((server.host, server.port)) as half:
        if server.is_postgres:
            half.sendall(struct.pack("!I", len(body) + 4) + body)
        half.recv(1)
        yield


@scene("postgres", before=(18,))
def logins_under_way_are_not_shown(play: Play) -> Expected:
    for _ in range(3):
        play.enter(_half_open(play.server))
    return [Told("count", {"used": 0, "authenticating": None, "by_state": states()})]


@scene("postgres", since=(18,))
def logins_under_way_are_starting(play: Play) -> Expected:
    for _ in range(3):
        play.enter(_half_open(play.server))
    return [
        # To a role without grants they look like the server's own processes.
        Told("count", {"used": 3, "authenticating": 3, "by_state": states(starting=3)}, needs_grants=True),
        Told("idle-tx", {"count": 0}),
        Told("long-queries", {"count": 0}),
    ]


@scene("mysql", "mariadb")
def logins_under_way_of_nobody_yet(play: Play) -> Expected:
    for _ in range(3):
        play.enter(_half_open(play.server))
    return [
        Told("count", {"used": 3, "authenticating": 3, "by_state": states(starting=3)}),
        Told("idle-tx", {"count": 0}),
        Told("long-queries", {"count": 0}),
    ]


@scene()
def a_client_on_this_machine_by_its_socket(play: Play) -> Expected:
    by: dict[str, Any] = {"host": play.server.socket}
    if not play.on_postgres:
        by = {"unix_socket": play.server.socket, "host": None}
    client = play.session("begin", sleep(play, 0), **by)
    if play.on_postgres:
        return [idle_tx(client, client="local", client_port=None)]
    busy = play.session(**by)
    busy.start(sleep(play))
    return [long_query(busy, client="local", client_port=None), Told("count", {"used": 2})]


def has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


if has_ipv6():

    @scene("postgres", settings={"listen_addresses": "127.0.0.1,::1"})
    def a_client_by_ipv6(play: Play) -> Expected:
        client = play.session("begin", host="::1")
        return [idle_tx(client, client="::1", client_port=bool)]

    @scene("mysql", "mariadb", settings={"bind_address": "*", "skip_name_resolve": "ON"})
    def a_client_by_ipv6_of_mysql(play: Play) -> Expected:
        client = play.session(host="::1")
        client.start(sleep(play))
        return [long_query(client, client="::1", client_port=bool)]


@scene("postgres", settings=SMALL, before=(16,))
def a_full_server_has_slots_for_superusers(play: Play) -> Expected:
    for _ in range(10):
        play.session()
    return [Refused("count", "superusers can still connect"), Refused("idle-tx"), Refused("long-queries")]


@scene("postgres", settings={**SMALL, "reserved_connections": 2}, since=(16,))
def a_full_server_has_slots_for_those_who_may_use_the_reserve(play: Play) -> Expected:
    for _ in range(8):
        play.session()
    return [Refused("count", "pg_use_reserved_connections"), Refused("idle-tx"), Refused("long-queries")]


@scene("postgres", settings={**SMALL, "reserved_connections": 2}, since=(16,))
def who_may_use_the_reserve_sees_the_full_server(play: Play) -> Expected:
    play.auditor = play.role("watch", "in role pg_monitor, pg_use_reserved_connections")
    for _ in range(8):
        play.session()
    return [
        Told("count", {"used": 8, "usable": 8, "free": 0, "free_reserved": 2, "free_superuser": 4}),
        Verdict("count", "critical", ("CA101", "CA103")),
    ]


@scene("postgres", settings=SMALL)
def a_superuser_sees_the_full_server(play: Play) -> Expected:
    play.auditor = play.server.superuser
    for _ in range(10):
        play.session()
    return [
        Told("count", {"used": 10, "usable": 10, "free": 0}),
        Verdict("count", "critical", ("CA101", "CA103")),
    ]


@scene("postgres", settings=SMALL)
def a_server_too_full_for_superusers(play: Play) -> Expected:
    play.auditor = play.server.superuser
    for _ in range(12):
        play.session(role=play.server.superuser)
    return [Refused("count", "not even a superuser"), Refused("idle-tx"), Refused("long-queries")]


@scene("mysql", "mariadb", settings={"max_connections": 10})
def a_full_server_has_one_slot_for_administrators(play: Play) -> Expected:
    for _ in range(10):
        play.session()
    return [Refused("count", "CONNECTION_ADMIN"), Refused("idle-tx"), Refused("long-queries")]


@scene("mysql", "mariadb", settings={"max_connections": 10})
def the_one_spare_slot_serves_the_audit(play: Play) -> Expected:
    play.auditor = play.server.superuser
    for _ in range(10):
        play.session()
    return [
        Told("count", {"used": 10, "usable": 10, "free": 0}),
        Verdict("count", "critical", ("CA101", "CA103")),
    ]


@scene("mysql", "mariadb", settings={"max_connections": 10})
def the_one_spare_slot_is_taken(play: Play) -> Expected:
    play.auditor = play.server.superuser
    for _ in range(10):
        play.session()
    play.session(role=play.server.superuser, database="")
    return [Refused("count"), Refused("idle-tx"), Refused("long-queries")]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@scene("mariadb", settings={"max_connections": 10, "extra_port": _free_port(), "extra_max_connections": 2})
def a_full_server_has_an_extra_port(play: Play) -> Expected:
    ((port,),) = play.server.ask("select @@extra_port")
    play.by = {"port": port}
    for _ in range(10):
        play.session()
    return [
        Told("count", {"used": 10, "free": 0, "by_state": states(idle=10)}),
        Verdict("count", "critical", ("CA101", "CA103")),
    ]


@scene("mysql", settings={"max_connections": 10, "admin_address": "127.0.0.1", "admin_port": _free_port()})
def a_full_server_has_a_port_for_administrators(play: Play) -> Expected:
    ((port,),) = play.server.ask("select @@admin_port")
    play.by, play.auditor = {"port": port}, play.server.superuser
    for _ in range(10):
        play.session()
    return [
        Told("count", {"used": 10, "free": 0, "by_state": states(idle=10)}),
        Verdict("count", "critical", ("CA101", "CA103")),
    ]


@scene()
def connections_by_application_and_role(play: Play) -> Expected:
    for _ in range(3):
        play.session("select 1")
    other = play.role("reports")
    play.session("select 1", role=other, database="" if not play.on_postgres else "shop")
    return [
        Told("count", {"used": 4}),
        Listed("count", {"user": "app"}, {"count": 3, "idle": 3}),
        Listed("count", {"user": "reports"}, {"count": 1, "idle": 1}),
    ]

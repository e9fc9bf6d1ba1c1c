"""What a snapshot of PostgreSQL says of sessions: on each release, as a monitor and as nobody in particular."""

import json
import socket
import struct
from contextlib import suppress

import psycopg
import pytest

from connaudit.engines.postgresql.rows import WaiterRow
from connaudit.engines.postgresql.sessions import waits
from connaudit.engines.postgresql.statements import SESSIONS
from connaudit.snapshot import Fact, Kind, Snapshot, State, Wait
from tests.conftest import Start
from tests.engines.postgresql import ALL, session, snapshot, target
from tests.servers import Client, Role, Running, until


def take(server: Running, auditor: str = "monitor") -> Snapshot:
    return snapshot(target(server, server.role(auditor)))


def test_a_snapshot_survives_being_saved(postgres_any: Running, auditor: str) -> None:
    taken = take(postgres_any, auditor)
    assert Snapshot.from_json(json.loads(json.dumps(taken.to_json()))) == taken


def test_the_server_is_known_by_its_version(postgres_any: Running) -> None:
    server = take(postgres_any).server
    assert (server.product, server.version[0]) == ("PostgreSQL", postgres_any.version[0])
    assert (server.replica, server.via_pooler, server.tls) == (False, False, False)


def test_we_are_in_the_list_and_count(postgres_any: Running, auditor: str) -> None:
    taken = take(postgres_any, auditor)
    (ourselves,) = (s for s in taken.sessions if s.is_self)
    assert (ourselves.application, ourselves.user) == ("connaudit", auditor)
    assert taken.capacity.used == len(taken.clients) + 1


def test_each_client_counts_once_for_everybody(postgres_any: Running, auditor: str) -> None:
    with postgres_any.session() as one, postgres_any.session() as two:
        taken = take(postgres_any, auditor)
        assert {one.id, two.id} <= {s.id for s in taken.clients}
        in_database = [s for s in taken.clients if s.id in (one.id, two.id)]
        assert {(s.user, s.database) for s in in_database} == {("app", "shop")}


def test_an_idle_transaction_has_an_age_of_its_own(postgres_any: Running) -> None:
    with postgres_any.session(postgres_any.app, "begin", "select 1", "select pg_sleep(0.3)") as client:
        found = session(take(postgres_any), client.id)
    assert found.state is State.IDLE_IN_TRANSACTION
    assert found.in_transaction
    assert found.transaction is not None
    assert found.transaction.age is not None
    assert found.state_age is not None
    assert found.transaction.age >= found.state_age + 0.3
    assert (found.transaction.writes, found.transaction.snapshot, found.transaction.locks) == (False, False, 0)
    assert (found.query, found.query_truncated) == ("select pg_sleep(0.3)", False)


def test_an_aborted_transaction_has_no_age(postgres_any: Running) -> None:
    with postgres_any.session() as client:
        client.do("begin")
        with suppress(psycopg.Error):
            client.do("select 1 / 0")
        found = session(take(postgres_any), client.id)
    assert found.state is State.ABORTED
    assert found.in_transaction
    assert found.transaction is not None
    assert found.transaction.age is None
    assert found.transaction.locks == 0


def test_a_writer_holds_an_id_and_locks_whoever_looks(postgres_any: Running, auditor: str) -> None:
    with postgres_any.session(postgres_any.app, "create table if not exists w (n int)", "begin") as client:
        client.do("insert into w values (1)")
        found = session(take(postgres_any, auditor), client.id).transaction
    assert found is not None
    assert (found.writes, found.strongest_lock) == (True, "RowExclusiveLock")
    assert found.horizon_age is not None


def test_a_hidden_transaction_shows_by_its_lock(postgres_any: Running) -> None:
    with postgres_any.session(postgres_any.app, "begin", "select 1") as open_one, postgres_any.session() as idle:
        taken = take(postgres_any, "plain")
        assert (session(taken, open_one.id).state, session(taken, open_one.id).in_transaction) == (None, True)
        # It may be in an aborted one, which holds nothing.
        assert (session(taken, idle.id).state, session(taken, idle.id).in_transaction) == (None, None)


def test_an_untracked_transaction_shows_by_its_lock(postgres_any: Running) -> None:
    with postgres_any.session(postgres_any.superuser, "set track_activities = off", "begin", "select 1") as client:
        taken = take(postgres_any)
        found = session(taken, client.id)
    assert (found.state, found.in_transaction, found.query) == (State.UNTRACKED, True, None)
    (gap,) = (gap for gap in taken.gaps if gap.fact is Fact.STATES)
    assert gap.partial
    assert gap.cure is not None
    assert "track_activities" in gap.cure


def test_a_session_that_never_ran_anything_has_an_empty_query(postgres_any: Running) -> None:
    with postgres_any.session() as client:
        found = session(take(postgres_any), client.id)
    assert (found.state, found.query, found.query_age) == (State.IDLE, "", None)
    assert found.state_age is not None


def test_advisory_locks_of_an_idle_session_are_seen_by_everybody(postgres_any: Running, auditor: str) -> None:
    with postgres_any.session(postgres_any.app, "select pg_advisory_lock(1), pg_advisory_lock(2)") as client:
        assert session(take(postgres_any, auditor), client.id).advisory_locks == 2


def test_a_role_without_grants_is_told_what_it_misses_and_the_cure(postgres_any: Running) -> None:
    with postgres_any.session(), postgres_any.session():
        gaps = {gap.fact: gap for gap in take(postgres_any, "plain").gaps}
    assert "hidden from role plain" in gaps[Fact.STATES].why
    assert gaps[Fact.STATES].cure == gaps[Fact.QUERIES].cure == "GRANT pg_monitor TO plain"
    assert not gaps[Fact.STATES].partial
    assert gaps[Fact.TRANSACTIONS].partial


def test_a_monitor_misses_nothing(postgres_any: Running) -> None:
    with postgres_any.session():
        assert take(postgres_any).gaps == ()


def test_a_member_that_does_not_inherit_is_told_so(postgres_any: Running) -> None:
    postgres_any.ask("create role distant noinherit login password 'far'")
    postgres_any.ask("grant pg_monitor to distant")
    try:
        with postgres_any.session():
            one = target(postgres_any, type(postgres_any.app)("distant", "far"))
            gaps = [gap for gap in snapshot(one).gaps if gap.fact is Fact.STATES]
    finally:
        postgres_any.ask("drop role distant")
    if postgres_any.version < (15,):
        assert gaps == []
    elif postgres_any.version < (16,):
        assert gaps[0].cure == "ALTER ROLE distant INHERIT"
    else:
        assert gaps[0].cure == "GRANT pg_monitor TO distant WITH INHERIT TRUE"


def test_only_what_was_asked_for_is_read(postgres_any: Running) -> None:
    with postgres_any.session(postgres_any.app, "begin", "select 'secret'") as client:
        taken = snapshot(target(postgres_any, postgres_any.plain), frozenset({Fact.SESSIONS}))
    assert session(taken, client.id).query is None
    assert taken.guards == ()
    assert {gap.fact for gap in taken.gaps} == {Fact.SESSIONS}


def test_waiters_name_their_blockers_and_the_table(postgres_any: Running, auditor: str) -> None:
    admin = postgres_any.superuser
    with (
        postgres_any.session(admin, "create table if not exists q (n int)", "begin", "lock table q") as holder,
        postgres_any.session(admin) as first,
        postgres_any.session(admin) as second,
    ):
        first.start("select * from q")
        waiting = "select count(*) from pg_locks where not granted and pid = %s"
        until(lambda: postgres_any.ask(waiting, first.id) == [(1,)])
        second.start("drop table q")
        until(lambda: postgres_any.ask(waiting, second.id) == [(1,)])
        here = snapshot(target(postgres_any, postgres_any.role(auditor)))
        elsewhere = snapshot(target(postgres_any, postgres_any.role(auditor), "postgres"))
        holder.do("rollback")
        first.finished()
        second.finished()
    table = session(here, first.id).wait
    assert table is not None
    assert (table.lock, table.mode, table.blocked_by) == ("relation", "AccessShareLock", (holder.id,))
    there = session(elsewhere, first.id).wait
    assert there is not None
    assert (table.relation, there.relation) == ("public.q", None)  # a name is certain in our own database alone
    last = session(here, second.id).wait
    assert last is not None
    assert last.blocked_by is not None
    assert set(last.blocked_by) >= {holder.id}
    assert (table.age is None) == (postgres_any.version < (14,))


def test_texts_are_read_by_the_encoding_of_their_database(postgres_any: Running) -> None:
    for name, encoding in (("latin", "LATIN1"), ("raw", "SQL_ASCII")):
        postgres_any.ask(f"create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0")
    texts: dict[str, bytes] = {
        "shop": "select 'naïve \\ ☃'".encode(),
        "latin": "select 'café'".encode("latin-1"),
        "raw": b"select 'caf\xc3\xa9 \xff'",
    }
    admin = postgres_any.superuser
    try:
        with (
            postgres_any.session(admin, database="shop") as shop,
            postgres_any.session(admin, database="latin", client_encoding="latin1") as latin,
            postgres_any.session(admin, database="raw", client_encoding="sql_ascii") as raw,
        ):
            clients = {"shop": shop, "latin": latin, "raw": raw}
            for name, text in texts.items():
                clients[name].driver.execute(text)
            for database in texts:
                taken = snapshot(target(postgres_any, database=database))
                seen = {name: session(taken, client.id).query for name, client in clients.items()}
                assert seen == {
                    "shop": "select 'naïve \\ ☃'",
                    "latin": "select 'café'",
                    "raw": "select 'café \\xff'",
                }
    finally:
        for name in ("latin", "raw"):
            until(lambda name=name: _drop(postgres_any, name))  # type: ignore[misc]


def _drop(server: Running, database: str) -> bool:
    try:
        server.ask(f"drop database if exists {database}")
    except psycopg.Error:
        return False
    return True


@pytest.mark.parametrize(("text", "length"), [("select '" + "é" * 400 + "'", 324), ("select '" + "x" * 631 + "'", 640)])
def test_a_long_text_is_cut_between_characters_and_marked(postgres: Running, text: str, length: int) -> None:
    with postgres.session(postgres.app, text) as client:
        found = session(take(postgres), client.id)
    assert found.query == text[:length]
    assert found.query_truncated == (len(text.encode()) > 640)


@pytest.mark.parametrize(("size", "shown"), [(300, 299), ("64kB", 640)])
def test_a_server_may_keep_texts_of_any_length(
    postgres_any: Running, start: Start, size: int | str, shown: int
) -> None:
    server = start(postgres_any, track_activity_query_size=size)
    text = "select 'x' as " + "y" * 2000
    with server.session(None, text) as long, server.session(None, "select 'z'") as short:
        taken = take(server)
    assert (session(taken, long.id).query, session(taken, long.id).query_truncated) == (text[:shown], True)
    assert (session(taken, short.id).query, session(taken, short.id).query_truncated) == ("select 'z'", False)


def test_a_dropped_role_is_shown_by_its_number(postgres_any: Running) -> None:
    postgres_any.ask("create role passing superuser login password 'by'")
    with postgres_any.session(type(postgres_any.app)("passing", "by")) as client:
        ((oid,),) = postgres_any.ask("select oid from pg_roles where rolname = 'passing'")
        postgres_any.ask("drop role passing")
        found = session(take(postgres_any), client.id)
    assert (found.user, found.superuser) == (f"oid {oid} (dropped)", None)


def test_a_copy_without_data_waits_for_its_client(postgres_any: Running) -> None:
    with postgres_any.session(postgres_any.app, "create table if not exists c (n int)") as client:
        client.driver.pgconn.exec_(b"copy c from stdin")
        taken = until(lambda: _waiting(postgres_any, client.id))
        assert taken is not None
        found = session(taken, client.id)
        client.driver.pgconn.put_copy_end()
    assert (found.state, found.waits_for) == (State.ACTIVE, "Client:ClientRead")


def _waiting(server: Running, id: int) -> Snapshot | None:
    taken = take(server)
    return taken if session(taken, id).waits_for_client else None


def test_a_walsender_is_no_client_for_anybody(postgres_any: Running, auditor: str) -> None:
    with postgres_any.session(postgres_any.superuser, replication="database") as client:
        taken = take(postgres_any, auditor)
    assert session(taken, client.id).kind is Kind.REPLICATION
    assert taken.capacity.walsenders == 1
    assert client.id not in {s.id for s in taken.clients}


def test_a_subscription_is_no_client_for_anybody(postgres_any: Running, start: Start) -> None:
    server = start(postgres_any, wal_level="logical")
    who = f"host={server.host} port={server.port} user={server.superuser.name} password={server.superuser.password}"
    server.ask("create publication orders for all tables")
    server.ask("select pg_create_logical_replication_slot('orders', 'pgoutput')")
    origin = f"connection '{who} dbname=shop' publication orders"
    server.ask(f"create subscription orders {origin} with (create_slot = false)")
    ((worker,),) = until(lambda: server.ask("select pid from pg_stat_subscription where received_lsn is not null"))
    for auditor in ("monitor", "plain"):
        taken = take(server, auditor)
        assert session(taken, worker).kind is Kind.INTERNAL


def test_parallel_workers_belong_to_their_leader(postgres_any: Running) -> None:
    force = "force_parallel_mode" if postgres_any.version < (16,) else "debug_parallel_query"
    with postgres_any.session(postgres_any.app, f"set {force} = on") as client:
        client.start("select pg_sleep(20)")

        def workers() -> list[int]:
            return [s.id for s in take(postgres_any).sessions if s.kind is Kind.PARALLEL]

        (worker,) = until(workers)
        taken = take(postgres_any)
        found = session(taken, worker)
    assert found.leader == (client.id if postgres_any.version >= (13,) else None)
    assert worker not in {s.id for s in taken.clients}


def test_prepared_transactions_come_with_the_statement_that_ends_them(postgres_any: Running, start: object) -> None:
    own = start(postgres_any, max_prepared_transactions=2)  # type: ignore[operator]
    own.ask("select 1")
    with own.session(own.app, "create table p (n int)", "begin", "insert into p values (1)") as client:
        client.do(r"prepare transaction E'it''s\\odd'")
        (prepared,) = snapshot(target(own)).prepared
        assert (prepared.id, prepared.user, prepared.database) == ("it's\\odd", "app", "shop")
        assert prepared.age is not None
        client.do(prepared.ending)
        assert snapshot(target(own)).prepared == ()


def test_of_several_prepared_transactions_it_is_told_which_one_is_waited_for(
    postgres_any: Running, start: object
) -> None:
    own = start(postgres_any, max_prepared_transactions=4)  # type: ignore[operator]
    own.ask("create table p as select id, 0 as n from generate_series(1, 3) as id")
    own.ask("create table q (n int)")
    with (
        own.session(own.superuser) as client,
        own.session(own.superuser) as one,
        own.session(own.superuser) as two,
        own.session(own.superuser) as three,
        own.session(own.superuser) as four,
    ):
        for id_, gid in enumerate(("whole", "in a savepoint", "waited for by nobody"), 1):
            begin = ("begin", "savepoint s") if "savepoint" in gid else ("begin",)
            for statement in (*begin, f"update p set n = 1 where id = {id_}", f"prepare transaction '{gid}'"):
                client.do(statement)
        for statement in ("begin", "savepoint s", "lock q in share mode", "prepare transaction 'a table'"):
            client.do(statement)
        one.start("update p set n = 2 where id = 1")
        two.start("update p set n = 2 where id = 2")
        three.start("insert into q values (1)")
        until(lambda: waits_of(snapshot(target(own)), one, two, three))
        four.start("alter table p add m int")  # before them it would be what they wait for
        found = until(lambda: waits_of(snapshot(target(own)), one, two, three, four))
    assert all(0 in (wait.blocked_by or ()) for wait in found)
    # Several of them hold a lock on the table that is to be altered.
    assert [wait.prepared for wait in found] == [("whole",), ("in a savepoint",), ("a table",), ()]


def waits_of(taken: Snapshot, *clients: Client) -> list[Wait]:
    """Return what these wait for, once all of them do."""
    found = [session(taken, client.id).wait for client in clients]
    return [wait for wait in found if wait] if all(found) else []


def test_limits_of_roles_and_databases_come_with_what_is_used(postgres_any: Running) -> None:
    postgres_any.ask("create role few login password 'few' connection limit 7")
    try:
        with postgres_any.session(type(postgres_any.app)("few", "few")):
            limits = take(postgres_any).capacity.limits
    finally:
        until(lambda: _drop_role(postgres_any, "few"))
    assert [(limit.scope, limit.name, limit.limit, limit.used) for limit in limits] == [("role", "few", 7, 1)]


def test_a_walsender_counts_towards_limits_where_the_server_counts_it(postgres_any: Running, auditor: str) -> None:
    few = Role("few", "few")
    postgres_any.ask("create role few login replication password 'few' connection limit 1")
    postgres_any.ask("create database narrow connection limit 1")
    try:
        with postgres_any.session(few, replication="database", database="narrow"):
            limits = take(postgres_any, auditor).capacity.limits
            refused = [_is_refused(postgres_any, few, "shop"), _is_refused(postgres_any, postgres_any.app, "narrow")]
    finally:
        until(lambda: _drop_role(postgres_any, "few"))
        postgres_any.ask("drop database narrow")
    assert [(limit.name, limit.used == limit.limit) for limit in limits] == [
        ("few", refused[0]),
        ("narrow", refused[1]),
    ]


def _is_refused(server: Running, role: Role, database: str) -> bool:
    try:
        server.connect(role, database).close()
    except psycopg.OperationalError:
        return True
    return False


def _drop_role(server: Running, role: str) -> bool:
    server.ask(f"drop role if exists {role}")
    return True


def test_guards_are_those_of_the_server_and_not_of_our_role(postgres_any: Running) -> None:
    postgres_any.ask("alter role monitor set statement_timeout = '30s'")
    postgres_any.ask("alter role app in database shop set idle_in_transaction_session_timeout = '5min'")
    try:
        taken = take(postgres_any)
    finally:
        postgres_any.ask("alter role monitor reset statement_timeout")
        postgres_any.ask("alter role app in database shop reset idle_in_transaction_session_timeout")
    guards = {guard.name: guard for guard in taken.guards}
    assert guards["idle_in_transaction_session_timeout"].overrides == (("app@shop", 300.0),)
    assert guards["lock_timeout"].value == 0.0  # not the one that we set for ourselves
    assert "statement_timeout" not in guards
    assert ("transaction_timeout" in guards) == (postgres_any.version >= (17,))
    (gap,) = taken.gaps
    assert gap.fact is Fact.GUARDS
    assert "statement_timeout" in gap.why


def test_logins_that_hang_are_counted_where_the_server_shows_them(postgres_any: Running) -> None:
    body = struct.pack("!I", 196608) + b"user\0app\0database\0shop\0\0"
    with socket.create_connection((postgres_any.host, postgres_any.port)) as half:
        half.sendall(struct.pack("!I", len(body) + 4) + body)
        half.recv(1)  # the server asks for the password, and waits
        if postgres_any.version < (18,):
            assert take(postgres_any).capacity.authenticating is None
            return
        assert until(lambda: take(postgres_any).capacity.authenticating == 1)
        starting = [s for s in take(postgres_any).clients if s.state is State.STARTING]
        assert [(s.user, s.in_transaction) for s in starting] == [(None, False)]


def test_every_variant_of_the_sessions_statement_is_chosen(postgres_any: Running) -> None:
    assert set(SESSIONS) == {12, 13, 14}
    assert take(postgres_any).facts == ALL


def test_behind_the_first_of_a_long_queue_all_wait_for_the_same() -> None:
    def row(pid: bytes, blocked_by: bytes | None) -> WaiterRow:
        return WaiterRow(pid, b"tuple", b"ExclusiveLock", b"7", None, b"9" if blocked_by else None, None, blocked_by)

    found = waits([row(b"8", None), row(b"7", b"5 0 5"), row(b"9", None)], {b"9": b"6"}, {b"9": "order"}, "UTF8")
    assert {pid: wait.blocked_by for pid, wait in found.items()} == {b"8": (5, 0), b"7": (5, 0), b"6": (5, 0)}
    assert {wait.prepared for wait in found.values()} == {("order",)}

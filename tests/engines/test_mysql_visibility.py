"""What a MySQL or MariaDB account is told by its grants: what is hidden is a gap, and the cure named for it cures."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from connaudit.snapshot import Fact, Gap, Limit, Snapshot, State
from tests.engines.mysql import ALL, session, snapshot, target
from tests.servers import Role, Running, until

Start = Callable[..., Running]
COUNT = frozenset({Fact.SESSIONS, Fact.STATES})
VIEWER = Role("viewer", "vi\u00e9w-s3cr3t-\u65e5")


@pytest.fixture
def viewer(mysql_any: Running) -> Iterator[Role]:
    """An account that is granted nothing yet."""
    mysql_any.ask(f"create user {VIEWER.name}@'%' identified by '{VIEWER.password}'")
    yield VIEWER
    mysql_any.ask(f"drop user {VIEWER.name}@'%'")


def gaps(taken: Snapshot, fact: Fact, partial: bool = False) -> list[Gap]:
    return [gap for gap in taken.gaps if gap.fact is fact and gap.partial is partial]


def test_without_grants_only_ones_own_sessions_are_told_and_that_is_said(mysql_any: Running, viewer: Role) -> None:
    with mysql_any.session() as other:
        taken = snapshot(target(mysql_any, viewer))
    assert other.id not in {s.id for s in taken.sessions}
    assert taken.capacity.used is not None
    assert taken.capacity.used > len(taken.sessions)
    for fact in (Fact.SESSIONS, Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES, Fact.LOCKS):
        (gap,) = gaps(taken, fact)
        assert gap.why.startswith("only 1 of ")
        assert gap.cure == "GRANT PROCESS ON *.* TO 'viewer'@'%'"
    assert not gaps(taken, Fact.GUARDS)


def test_each_cure_cures(mysql_any: Running, viewer: Role) -> None:
    with mysql_any.session(None, "begin") as other:
        cures = [""]
        while cures:
            taken = snapshot(target(mysql_any, viewer))
            cures = sorted({gap.cure for gap in taken.gaps if gap.cure and gap.cure.startswith("GRANT")})
            for cure in cures:
                mysql_any.ask(cure)
    assert session(taken, other.id).user == "app"
    # What is left needs a change of MariaDB's configuration.
    assert all(gap.partial and "performance_schema=ON" in str(gap.cure) for gap in taken.gaps)
    assert bool(taken.gaps) == (mysql_any.kind == "mariadb")


def test_a_switch_that_is_named_switches(mysql_any: Running, start: object) -> None:
    watched = start(mysql_any, performance_schema="ON")  # type: ignore[operator]
    with watched.session():
        taken = snapshot(target(watched))
        switches = {gap.cure for gap in taken.gaps if gap.cure}
        assert bool(switches) == (mysql_any.kind == "mariadb")
        for switch in switches:
            for statement in switch.split("; "):
                watched.ask(statement)
    with watched.session(None, "begin") as client:
        taken = snapshot(target(watched))
    assert taken.gaps == ()
    assert session(taken, client.id).state is State.IDLE_IN_TRANSACTION


def test_performance_schema_alone_shows_all_sessions_where_it_is_on(mysql_any: Running, viewer: Role) -> None:
    mysql_any.ask(f"grant select on performance_schema.* to {viewer.name}@'%'")
    with mysql_any.session(None, "begin", "select 17, 'x'", unix_socket=mysql_any.socket, ssl_disabled=True) as other:
        other.driver.ping()
        taken = snapshot(target(mysql_any, viewer))
    if mysql_any.kind == "mariadb":  # it is off: its tables are empty, and no error says so
        assert gaps(taken, Fact.SESSIONS)
        return
    found = session(taken, other.id)
    assert (found.state, found.user, found.client) == (State.IDLE_IN_TRANSACTION, "app", "local")
    assert found.query == "select 17, 'x'"
    assert not gaps(taken, Fact.SESSIONS)
    assert not gaps(taken, Fact.TRANSACTIONS)
    rows, prepared = gaps(taken, Fact.TRANSACTIONS, partial=True)
    assert rows.cure == "GRANT PROCESS ON *.* TO 'viewer'@'%'"
    assert prepared.cure == "GRANT XA_RECOVER_ADMIN ON *.* TO 'viewer'@'%'"


def test_prepared_transactions_are_told_to_who_may_not_ask_innodb(mysql_any: Running, viewer: Role) -> None:
    mysql_any.ask(f"grant select on performance_schema.* to {viewer.name}@'%'")
    if mysql_any.kind == "mysql":
        mysql_any.ask(f"grant xa_recover_admin on *.* to {viewer.name}@'%'")
    mysql_any.ask("create table shop.x (id int primary key) engine = innodb")
    holder = mysql_any.connect(mysql_any.app)
    for statement in ("xa start 'left'", "insert into x values (1)", "xa end 'left'", "xa prepare 'left'"):
        holder.do(statement)
    holder.close()
    try:
        until(lambda: snapshot(target(mysql_any, viewer)).prepared, every=0.3)
        (prepared,) = snapshot(target(mysql_any, viewer)).prepared
    finally:
        mysql_any.ask("xa rollback 'left'")
        mysql_any.ask("drop table shop.x")
    assert prepared.ending.startswith("XA ROLLBACK 'left'")
    assert prepared.age is None


def test_a_server_without_performance_schema_says_so_rather_than_nothing(mysql_any: Running, start: object) -> None:
    dark = start(mysql_any, performance_schema="OFF")  # type: ignore[operator]
    dark.ask("create table shop.t (id int primary key) engine = innodb")
    dark.ask("insert into shop.t values (1)")
    update = "update t set id = id where id = 1"
    with dark.session(None, "begin", "select * from t where id = 1 for update") as holder, dark.session() as waiter:
        waiter.start(update)
        taken: list[Snapshot] = []

        def look() -> bool:
            taken.append(snapshot(target(dark)))
            return session(taken[-1], waiter.id).wait is not None

        until(look, every=0.3)
        wait = session(taken[-1], waiter.id).wait
    assert wait
    if mysql_any.kind == "mysql":
        assert (wait.blocked_by, wait.candidates) == (None, (holder.id,))
        assert gaps(taken[-1], Fact.LOCKS)
    else:
        assert wait.blocked_by == (holder.id,)
    assert session(taken[-1], holder.id).state is State.IDLE_IN_TRANSACTION
    assert gaps(taken[-1], Fact.SESSIONS, partial=True)


def test_a_count_needs_no_grants_for_its_total(mysql_any: Running, viewer: Role) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(mysql_any.session())
        few, all_ = snapshot(target(mysql_any, viewer), COUNT), snapshot(target(mysql_any), COUNT)
    assert few.capacity.used == all_.capacity.used
    assert few.capacity.limit == all_.capacity.limit == mysql_any.ask("select @@max_connections")[0][0]


def test_limits_of_accounts_are_told_to_who_may_read_them(mysql_any: Running, viewer: Role) -> None:
    mysql_any.ask(f"alter user {viewer.name}@'%' with max_user_connections 5")
    with mysql_any.session(viewer, database="", password=viewer.password.encode()):  # PyMySQL would send Latin-1
        own = snapshot(target(mysql_any, viewer), frozenset())
        others = snapshot(target(mysql_any, mysql_any.superuser), frozenset())
        monitors = snapshot(target(mysql_any), frozenset())
    assert own.capacity.limits == (Limit("role", "viewer", 5, 2),)
    assert others.capacity.limits == (Limit("role", "viewer", 5, None),)  # nobody asked who is there
    assert monitors.capacity.limits == ()
    assert others.capacity.limits_untold is None
    cure = monitors.capacity.limits_untold
    assert cure
    mysql_any.ask(cure)
    try:
        cured = snapshot(target(mysql_any), ALL)
    finally:
        mysql_any.ask(cure.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
    assert cured.capacity.limits == (Limit("role", "viewer", 5, 0),)
    assert cured.capacity.limits_untold is None
    seen = snapshot(target(mysql_any, mysql_any.superuser), ALL)
    assert seen.capacity.limits == (Limit("role", "viewer", 5, 0),)


def test_of_a_name_with_several_accounts_nobody_says_how_much_of_a_limit_is_used(
    mysql_any: Running, viewer: Role
) -> None:
    mysql_any.ask("create user viewer@'10.9.9.9' identified by 'x' with max_user_connections 1")
    try:
        with (
            mysql_any.session(viewer, database="", password=viewer.password.encode()),
            mysql_any.session(viewer, database="", password=viewer.password.encode()),
        ):
            taken = snapshot(target(mysql_any, mysql_any.superuser), ALL)
    finally:
        mysql_any.ask("drop user viewer@'10.9.9.9'")
    assert taken.capacity.limits == (Limit("role", "viewer", 1, None),)


def test_limits_of_rows_that_hold_for_everybody_hide_nothing(mysql_any: Running, start: Start) -> None:
    server = start(mysql_any)
    server.ask("create table shop.t (id int primary key) engine = innodb")
    with (
        server.session(None, "begin", "insert into shop.t values (1)") as writer,
        server.session() as waiter,
        server.session() as reader,
    ):
        waiter.start("insert into shop.t values (1)")
        until(lambda: session(snapshot(target(server)), waiter.id).wait, every=0.3)
        server.reload(sql_select_limit=1, max_join_size=1000)
        taken = snapshot(target(server))
    assert session(taken, writer.id).state is State.IDLE_IN_TRANSACTION
    wait = session(taken, waiter.id).wait
    assert wait
    assert wait.blocked_by == (writer.id,)
    assert session(taken, reader.id).state is State.IDLE
    assert {guard.name for guard in taken.guards} > {"wait_timeout", "interactive_timeout", "lock_wait_timeout"}
    assert not any(gap for gap in taken.gaps if not gap.partial)


@pytest.mark.kinds("mysql", since=(8, 0, 22))
def test_a_list_that_lacks_most_of_what_the_server_counts_is_not_taken_for_all(
    mysql_any: Running, start: Start
) -> None:
    settings = {"performance_schema": "OFF", "performance_schema_show_processlist": "ON"}
    server = start(mysql_any, **settings)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(server.session())
        taken = snapshot(target(server), COUNT)
        (gap,) = gaps(taken, Fact.STATES)
        assert gap.why == "the server counts 6 connections, and lists 0 of them"
        server.ask(str(gap.cure))
        taken = snapshot(target(server), COUNT)
    assert not gaps(taken, Fact.STATES)
    assert len(taken.clients) == 5


def test_who_is_taken_for_an_anonymous_account_is_told_so(mysql_any: Running, start: Start) -> None:
    server = start(mysql_any)
    server.ask(f"create user ''@'localhost' identified by '{VIEWER.password}'")  # closer than 'viewer'@'%' would be
    with server.session(server.superuser):
        taken = snapshot(target(server, VIEWER))
    assert "the server took 'viewer'@'localhost' for its anonymous account ''@'localhost'" in taken.notes
    grant = "GRANT PROCESS ON *.* TO 'viewer'@'localhost'"
    assert {gap.cure for gap in gaps(taken, Fact.SESSIONS)} == {
        f"CREATE USER 'viewer'@'localhost' IDENTIFIED BY '...'; {grant}"
    }

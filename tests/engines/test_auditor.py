"""Who we are to a server, and what it lets us do: told by the server itself, for every kind of role."""

import socket
import time

from connaudit.engines import Budget, engine
from connaudit.snapshot import Auditor, Fact, Snapshot
from connaudit.targets.parse import parse
from tests.conftest import Start
from tests.servers import Role, Running


def auditor(server: Running, role: Role, *, port: int | None = None) -> Auditor:
    target = parse(server.url(role, port=port), name=server.name)
    budget = Budget(10.0, time.monotonic() + 10)
    ((_, taken),) = engine(target.engine)([target], frozenset({Fact.AUDITOR}), budget)
    assert isinstance(taken, Snapshot), taken
    assert taken.auditor
    return taken.auditor


def test_a_superuser_may_do_everything(server: Running) -> None:
    told = auditor(server, server.superuser)
    assert (told.superuser, told.sees_all, told.grant, told.reserve) == (True, True, None, True)


def test_a_monitoring_role_sees_all_and_may_do_nothing_else(server: Running) -> None:
    told = auditor(server, server.monitor)
    assert (told.superuser, told.sees_all, told.grant, told.reserve) == (False, True, None, False)


def test_a_role_without_grants_gets_the_one_that_it_lacks_and_the_grant_cures_it(server: Running) -> None:
    told = auditor(server, server.plain)
    assert (told.superuser, told.sees_all, told.reserve) == (False, False, False)
    assert told.grant
    try:
        server.ask(told.grant)
        assert auditor(server, server.plain).sees_all
    finally:
        undo = (
            f"revoke pg_monitor from {told.account}"
            if server.is_postgres
            else f"revoke process on *.* from {told.account}"
        )
        server.ask(undo)


def test_the_reserve_of_postgresql_16_is_that_of_its_members(start: Start, postgres_any: Running) -> None:
    if postgres_any.version < (16,):
        assert auditor(postgres_any, postgres_any.monitor).reserve is False
        return
    server = start(postgres_any, reserved_connections=2)
    assert auditor(server, server.monitor).reserve is False
    server.ask(f"grant pg_use_reserved_connections to {server.monitor.name}")
    assert auditor(server, server.monitor).reserve is True


def test_who_comes_by_the_extra_port_comes_in_when_the_server_is_full(start: Start, mariadb: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = start(mariadb, extra_port=port)
    assert auditor(server, server.monitor).reserve is False
    assert auditor(server, server.monitor, port=port).reserve is True


def test_connection_admin_is_told_by_its_name_in_either_spelling(start: Start, mysql_any: Running) -> None:
    server = start(mysql_any)
    spelling = "CONNECTION ADMIN" if server.kind == "mariadb" else "CONNECTION_ADMIN"
    server.ask(f"grant {spelling} on *.* to {server.monitor.name}")
    told = auditor(server, server.monitor)
    assert (told.superuser, told.reserve) == (False, True)


def test_what_a_granted_role_gives_is_not_known(start: Start, mysql_any: Running) -> None:
    server = start(mysql_any)
    for statement in ("create role guest", f"grant guest to {server.monitor.name}"):
        server.ask(statement)
    assert auditor(server, server.monitor).reserve is None

"""A good guest: what an audit costs a server, and what it leaves there. The numbers here are promises."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from connaudit.diagnostics import NAMES
from tests.conftest import Start
from tests.door import Door
from tests.faults import Passage, Proxy
from tests.servers import Client, Role, Running, until

COMMANDS = (*NAMES, "check")
# Statements at most, which go out together: on PostgreSQL, and on MySQL; `check` asks for all at once.
STATEMENTS = {"count": (10, 16), "leaks": (14, 16), "check": (20, 20)}
OTHERS = (18, 20)
WITHOUT_GRANTS = 3  # batches: what is refused ends one, and what stood behind it is asked in the next
CLEAR: dict[bool, Any] = {True: {"sslmode": "disable"}, False: {"ssl_mode": "DISABLED"}}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with Door() as door:
        yield door


@pytest.fixture
def busy(server: Running) -> Iterator[Running]:
    """A server on which there is something to tell: a writer idle in transaction, and a session that waits for it."""
    with server.session(server.app) as writer, server.session(server.app) as waiter:
        writer.do("create table if not exists guests (id int primary key, n int)")
        writer.do("delete from guests")
        writer.do("insert into guests values (1, 1)")
        writer.do("begin")
        writer.do("update guests set n = 2")
        waiter.start("update guests set n = 3")
        yield server
        server.terminate(waiter.id)


def visits(command: str, server: Running, door: Door, role: Role) -> list[Passage]:
    """Return what one run of a command said on the wire."""
    with Proxy(server) as proxy:
        result = door.audit(command, server, "--json", role=role, port=proxy.port, **CLEAR[server.is_postgres])
        assert result.json["targets"][0]["error"] is None
        until(lambda: all(passage.is_over for passage in proxy.passages))
    return proxy.passages


@pytest.mark.parametrize("command", COMMANDS)
def test_one_connection_and_few_statements(command: str, busy: Running, door: Door) -> None:
    (passage,) = visits(command, busy, door, busy.monitor)
    assert len(passage.statements) == 1
    on_postgres, on_mysql = STATEMENTS.get(command, OTHERS)
    assert sum(batch.count(";") + 1 for batch in passage.statements) <= (on_postgres if busy.is_postgres else on_mysql)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_role_without_grants_costs_little_more(command: str, busy: Running, door: Door) -> None:
    (passage,) = visits(command, busy, door, busy.plain)
    assert len(passage.statements) <= (1 if busy.is_postgres else WITHOUT_GRANTS)


STATES = {
    True: "select state from pg_stat_activity where application_name = 'connaudit'",
    # Those that InnoDB knows of; its list renews only when nobody asks for 0.1 s.
    False: "select if(t.trx_id is null, p.command, 'idle in transaction') from information_schema.processlist p"
    " left join information_schema.innodb_trx t on t.trx_mysql_thread_id = p.id where p.user = 'monitor'",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_never_idle_in_transaction(command: str, busy: Running, door: Door) -> None:
    seen: set[str] = set()

    def look(said: bytes) -> bytes:
        """Ask the server what state the audit is in whenever it has answered, before the audit has the answer."""
        if proxy.passages[0].statements:
            time.sleep(0 if busy.is_postgres else 0.15)
            seen.update(state for (state,) in busy.ask(STATES[busy.is_postgres]))
        return said

    with Proxy(busy, rewrite=look) as proxy:
        door.audit(command, busy, "--json", port=proxy.port, **CLEAR[busy.is_postgres])
    assert seen
    assert seen <= {"idle", "active", "Sleep", "Query"}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_locks_nothing_that_anybody_wants(command: str, postgres_any: Running, door: Door) -> None:
    (passage,) = visits(command, postgres_any, door, postgres_any.monitor)
    (batch,) = passage.statements
    *asked, last = batch.split(";")
    assert last.strip() == "commit"
    with postgres_any.session(postgres_any.monitor) as client:
        client.do(";".join(asked))  # as the audit, and then look at ourselves in place of ending
        held = client.do("select locktype, mode from pg_locks where pid = pg_backend_pid()")
        (wrote,) = client.do("select pg_catalog.txid_current_if_assigned()")[0]
        client.do("rollback")
    assert {mode for kind, mode in held if kind == "relation"} <= {"AccessShareLock"}
    assert {kind for kind, _ in held} <= {"relation", "virtualxid"}
    assert len(held) < 40  # system catalogues, with their indexes
    assert wrote is None


def settings(client: Client) -> dict[str, str]:
    return dict(client.do("select name, setting from pg_settings where name <> 'application_name'"))


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_the_next_client_of_a_pooler_finds_all_as_it_was(pooler: Running, start: Start, door: Door, mode: str) -> None:
    own = start(pooler, backend=pooler.backend, default_pool_size=1, pool_mode=mode)
    with own.session(own.app) as client:
        backend, before = client.do("select pg_backend_pid()"), settings(client)
    for command in COMMANDS:
        report = door.audit(command, own, "--json", role=own.app).json["targets"][0]
        assert report["error"] is None
        assert report["via_pooler"]
    with own.session(own.app) as client:
        assert client.do("select pg_backend_pid()") == backend  # the very session that the audits had
        assert settings(client) == before
        assert client.do("select count(*) from pg_prepared_statements") == [(0,)]
        assert client.do("select locktype from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'") == []

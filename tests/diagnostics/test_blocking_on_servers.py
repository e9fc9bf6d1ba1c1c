"""Lock waits as servers really tell them, through the front door."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.cli import audit, connaudit
from tests.conftest import Start
from tests.servers import Client, Role, Running, until

Row = dict[str, Any]
TABLE = "wanted"
METADATA_LOCKS = {"performance_schema": "ON", "performance-schema-instrument": "wait/lock/metadata/sql/mdl=ON"}


class Stage:
    """A server with a table of one row, and the sessions of one test."""

    def __init__(self, server: Running, sessions: ExitStack) -> None:
        self.server = server
        self._sessions = sessions
        with server.session(server.app, f"drop table if exists {TABLE}") as client:
            client.do(f"create table {TABLE} (id int primary key, n int)")
            client.do(f"insert into {TABLE} values (1, 0)")

    def session(self, *statements: str, role: Role | None = None) -> Client:
        return self._sessions.enter_context(self.server.session(role or self.server.app, *statements))

    def waiting(self, statement: str, role: Role | None = None) -> Client:
        """Hold a session (of `app`, unless given) that is known to wait for a lock."""
        client = self.session(role=role)
        client.start(statement)
        until(lambda: client.id in {row["pid"] for row in self.rows() if row["role"] != "root"}, every=0.3)
        return client

    def report(self, *words: str, role: str = "monitor") -> Row:
        """Return what `blocking` says."""
        found = audit("blocking", self.server, "--json", *words, role=self.server.role(role)).json
        (report,) = found["targets"]
        return dict(report)

    def finding(self) -> Row:
        """Return the one finding about a wait; InnoDB counts waits in whole seconds."""
        (found,) = until(lambda: self.report("-w", "wait=0", "-c", "wait=1h")["findings"], every=0.3)
        return dict(found)

    def rows(self, role: str = "monitor") -> list[Row]:
        return list(self.report(role=role)["rows"])

    def placed(self, role: str = "monitor") -> dict[int, tuple[int | None, int]]:
        """Return everybody with root and depth."""
        return {row["pid"]: (row["root"], row["depth"]) for row in self.rows(role)}


def watched(server: Running, start: Start) -> Running:
    """Return a server that tells of metadata locks, which MariaDB does only where it is set so."""
    return start(server, **METADATA_LOCKS) if server.kind == "mariadb" else server


@pytest.fixture
def on() -> Iterator[Callable[[Running], Stage]]:
    with ExitStack() as sessions:
        yield lambda server: Stage(server, sessions)


On = Callable[[Running], Stage]
UPDATE = f"update {TABLE} set n = n + 1 where id = 1"


def test_a_chain_of_waits_for_a_row_has_one_root(server: Running, on: On) -> None:
    stage = on(server)
    holder = stage.session("begin", UPDATE)
    waiters = [stage.waiting(UPDATE) for _ in range(3)]
    depths = [1, 2, 2] if server.is_postgres else [1, 1, 1]  # PostgreSQL lets the first one alone wait for the holder
    expected = {w.id: (holder.id, depth) for w, depth in zip(waiters, depths, strict=True)}
    assert stage.placed() == {holder.id: (holder.id, 0), **expected}
    assert stage.rows()[0]["blocks"] == 3
    finding = stage.finding()
    assert finding["sessions"][0] == holder.id
    assert f"pg_terminate_backend({holder.id})" in finding["hint"] or f"KILL {holder.id} " in finding["hint"]


def test_an_idle_reader_ddl_and_everybody_are_one_tree(server: Running, on: On, start: Start) -> None:
    stage = on(watched(server, start))
    reader = stage.session("begin", f"select * from {TABLE}")
    ddl = stage.waiting(f"alter table {TABLE} add m int")
    others = [stage.waiting(f"select * from {TABLE}") for _ in range(2)]
    rows = stage.rows()
    assert [(row["pid"], row["root"], row["depth"], row["blocks"]) for row in rows[:2]] == [
        (reader.id, reader.id, 0, 3),
        (ddl.id, reader.id, 1, 2),
    ]
    assert {row["pid"]: (row["root"], row["depth"]) for row in rows[2:]} == {o.id: (reader.id, 2) for o in others}
    hint = stage.finding()["hint"]
    assert f"({ddl.id}), which lets the 2" in hint or f"KILL QUERY {ddl.id}, which lets the 2" in hint


def test_where_the_server_does_not_tell_the_reader_is_a_candidate(mariadb: Running, on: On) -> None:
    stage = on(mariadb)
    reader = stage.session("begin", f"select * from {TABLE}")
    ddl = stage.waiting(f"alter table {TABLE} add m int")
    rows = {row["pid"]: row for row in stage.rows()}
    assert (rows[reader.id]["role"], rows[reader.id]["tree"]) == ("candidate", f"{reader.id} ?")
    assert (rows[ddl.id]["root"], rows[ddl.id]["candidates"]) == (None, [reader.id])
    assert stage.report()["status"] == "unknown"


def test_a_plain_role_sees_the_same_tree(postgres_any: Running, on: On) -> None:
    stage = on(postgres_any)
    stage.session("begin", UPDATE)
    stage.waiting(UPDATE)
    stage.waiting(UPDATE)
    assert stage.placed("plain") == stage.placed("monitor")
    assert {row["state"] for row in stage.rows("plain")} == {None}


def test_a_prepared_transaction_is_named_with_its_end(postgres_any: Running, on: On, start: Start) -> None:
    stage = on(start(postgres_any, max_prepared_transactions=2))
    stage.session("begin", UPDATE, "prepare transaction 'order''s 7'")
    waiter = stage.waiting(UPDATE)
    report = stage.report()
    top = report["rows"][0]
    assert (top["pid"], top["gid"], top["state"], top["user"]) == (0, "order's 7", "prepared", "app")
    assert stage.placed()[waiter.id] == (0, 1)
    assert "ROLLBACK PREPARED 'order''s 7' in database shop" in stage.finding()["hint"]


def test_of_two_prepared_transactions_the_one_that_is_waited_for_is_named(
    postgres_any: Running, on: On, start: Start
) -> None:
    stage = on(start(postgres_any, max_prepared_transactions=2))
    stage.session(f"insert into {TABLE} values (2, 0)")
    for gid, row in (("innocent", 2), ("order 7", 1)):
        stage.session("begin", f"update {TABLE} set n = 9 where id = {row}", f"prepare transaction '{gid}'")
    waiter = stage.waiting(UPDATE)
    top = stage.rows()[0]
    assert (top["pid"], top["gid"], top["blocks"]) == (0, "order 7", 1)
    assert "innocent" not in stage.finding()["hint"]
    (listed,) = audit("idle-tx", stage.server, "--min-age", "0s", "--json").json["targets"]
    assert {row["gid"]: row["blocks"] for row in listed["rows"]} == {"innocent": 0, "order 7": 1}
    shown = connaudit("inspect", str(waiter.id), "-T", "env:AUDITED", env={"AUDITED": stage.server.url()}).out
    assert "at the root of its wait: prepared transaction order 7; " in shown


def test_an_orphan_of_xa_is_named_with_its_end(mysql_any: Running, on: On) -> None:
    stage = on(mysql_any)
    with mysql_any.session(mysql_any.app, "xa start 'orphan'", UPDATE, "xa end 'orphan'", "xa prepare 'orphan'"):
        pass
    try:
        waiter = stage.waiting(UPDATE)
        report = stage.report()
        assert stage.placed() == {0: (0, 0), waiter.id: (0, 1)}
        assert (report["rows"][0]["state"], report["rows"][0]["role"]) == ("prepared", "root")
        hint = stage.finding()["hint"]
        assert "XA ROLLBACK" in hint
        assert "KILL" not in hint
    finally:
        mysql_any.ask("xa rollback 'orphan'")


def test_an_idle_session_with_an_advisory_lock_is_a_root(postgres_any: Running, on: On) -> None:
    stage = on(postgres_any)
    holder = stage.session("select pg_advisory_lock(42)")
    waiter = stage.waiting("select pg_advisory_lock(42)")
    assert stage.placed() == {holder.id: (holder.id, 0), waiter.id: (holder.id, 1)}
    report = stage.report()
    assert report["rows"][0]["state"] == "idle"
    assert "1 advisory lock," in stage.finding()["hint"]


def test_a_user_lock_has_its_holder_where_metadata_locks_are_told(mysql_any: Running, on: On, start: Start) -> None:
    stage = on(watched(mysql_any, start))
    holder = stage.session("select get_lock('nightly', 1)")
    waiter = stage.waiting("select get_lock('nightly', 60)")
    assert stage.placed() == {holder.id: (holder.id, 0), waiter.id: (holder.id, 1)}
    assert "GET_LOCK" in stage.finding()["hint"]


def test_a_backup_that_locks_everything_and_waits_for_a_writer_holds_up_all_others(
    mysql_any: Running, on: On, start: Start
) -> None:
    stage = on(watched(mysql_any, start))
    writer = stage.session()
    writer.start(f"update {TABLE} set n = n + sleep(60)")
    backup = stage.waiting("flush tables with read lock", role=stage.server.superuser)
    other = stage.waiting(f"insert into {TABLE} values (2, 0)")
    expected = {writer.id: (writer.id, 0), backup.id: (writer.id, 1), other.id: (writer.id, 2)}
    assert stage.placed() == expected
    stage.server.terminate(writer.id)
    until(lambda: stage.placed() == {backup.id: (backup.id, 0), other.id: (backup.id, 1)}, every=0.3)
    assert "FLUSH TABLES WITH READ LOCK" in stage.finding()["hint"]


@pytest.mark.kinds("mariadb")
def test_what_waits_for_a_stage_of_a_backup_waits_for_the_backup(mysql_any: Running, on: On, start: Start) -> None:
    stage = on(watched(mysql_any, start))
    stages = [f"backup stage {name}" for name in ("start", "flush", "block_ddl")]
    with stage.server.session(stage.server.superuser, *stages) as backup:
        ddl = stage.waiting(f"alter table {TABLE} comment = 'x'")
        assert stage.placed() == {backup.id: (backup.id, 0), ddl.id: (backup.id, 1)}


@pytest.mark.kinds("mysql")  # MariaDB has a metadata lock for that
def test_who_uses_a_table_that_is_flushed_is_guessed_and_no_cure_is_offered_that_cures_nothing(
    mysql_any: Running, on: On
) -> None:
    stage = on(mysql_any)
    reader = stage.session()
    reader.start(f"select sleep(60) from {TABLE}")
    flush = stage.waiting(f"flush tables {TABLE}", role=mysql_any.superuser)
    report = stage.report()
    assert [(row["pid"], row["role"]) for row in report["rows"]] == [(reader.id, "candidate"), (flush.id, "waiter")]
    (gap,) = (gap for gap in report["gaps"] if gap["fact"] == "locks")
    assert ("flushed" in gap["why"], gap["cure"]) == (True, None)


def test_people_get_a_tree_without_knowing_json(postgres: Running, on: On) -> None:
    stage = on(postgres)
    holder = stage.session("begin", UPDATE)
    first = stage.waiting(UPDATE)
    second = stage.waiting(UPDATE)
    lines = audit("blocking", postgres, "-w", "wait=0").out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[3:6]] == [
        f"{holder.id}",
        f"`- {first.id}",
        f"`--- {second.id}",
    ]
    assert any(line.startswith("WARNING  2 sessions wait behind 1 root blocker") for line in lines)

"""Who holds back vacuum and purge, in one column and one sentence."""

from dataclasses import replace
from typing import Any

import pytest

from connaudit.diagnostics import idle_tx, long_queries
from connaudit.diagnostics.horizon import WORTH, holds_back
from connaudit.options import Filter
from connaudit.snapshot import Holder, HolderKind, Kind, PreparedTransaction, Server, Session, State, Transaction
from tests.builders import MARIADB, POSTGRESQL, prepared, session, snapshot
from tests.cli import audit
from tests.conftest import Start
from tests.engines.restarting import environment_of, start_again
from tests.engines.standby import standby
from tests.servers import Running, until

FAR = 1_234_567
SLOT = Holder(HolderKind.SLOT, "feed", FAR, catalogs_only=True, pid=55)
UNUSED = replace(SLOT, name="old", pid=None, inactive_for=7200.0)
STANDBY = Holder(HolderKind.STANDBY, "east", FAR, pid=66, physical=True)
REPLICA = replace(POSTGRESQL, replica=True)
FEEDBACK = replace(REPLICA, features=("hot_standby_feedback",))
NO_OPTIONS = idle_tx.Options()


def idle(age: int | None, **more: Any) -> Session:
    held = Transaction(age=7200.0, writes=False, snapshot=True, horizon_age=age)
    return session(State.IDLE_IN_TRANSACTION, in_state=3600.0, **({"transaction": held} | more))


def said(*sessions: Session, options: idle_tx.Options = NO_OPTIONS, **more: Any) -> list[str]:
    """Return what `idle-tx` says of what is held back."""
    return [
        line
        for line in idle_tx.run(snapshot(*sessions, **more), options).details
        if "InnoDB" in line or "holds" in line
    ]


@pytest.mark.parametrize(
    ("held", "where", "words"),
    [
        (Transaction(writes=False, snapshot=True, horizon_age=FAR), POSTGRESQL, "vacuum 1.2M tx"),
        (Transaction(writes=True, snapshot=False, horizon_age=1), POSTGRESQL, "vacuum 1 tx"),
        (Transaction(writes=False, snapshot=False), POSTGRESQL, "nothing"),
        (Transaction(horizon_age=FAR), FEEDBACK, "vacuum on the primary 1.2M tx"),
        (Transaction(horizon_age=FAR), REPLICA, "replay"),
        (Transaction(), POSTGRESQL, None),
        (Transaction(snapshot=True), MARIADB, "purge"),
        (Transaction(writes=True, snapshot=False), MARIADB, "nothing"),
        (Transaction(writes=True), MARIADB, None),
        (None, POSTGRESQL, None),
    ],
)
def test_what_a_transaction_holds_back_is_said_in_a_few_words(
    held: Transaction | None, where: Server, words: str | None
) -> None:
    assert holds_back(held, where) == words


@pytest.mark.parametrize(("age", "lines"), [(WORTH - 1, 0), (WORTH, 1)])
def test_what_is_little_is_not_worth_a_sentence(age: int, lines: int) -> None:
    assert len(said(idle(age))) == lines
    assert len(said(prepared=(prepared(horizon_age=age),))) == lines
    assert len(said(holders=(replace(STANDBY, horizon_age=age),))) == lines
    assert len(said(idle(None), server=MARIADB, undo_backlog=age)) == lines


def test_the_oldest_is_named_with_what_it_holds_back_and_where() -> None:
    assert said(idle(WORTH, id=2), idle(FAR, id=3)) == [
        "session 3 (web), idle in transaction for 1h00m, holds back vacuum in database shop by 1.2M transactions"
    ]


def test_of_those_that_hold_it_back_as_far_the_one_whose_own_transaction_it_is_is_named() -> None:
    """Every snapshot heeds the oldest transaction that is open: a statement that has just begun holds back as far."""
    waits_long = idle(FAR, id=2)
    guilty = session(
        State.IDLE_IN_TRANSACTION,
        id=3,
        in_state=60.0,
        transaction=Transaction(60.0, horizon_age=FAR, horizon_is_own=True),
    )
    fresh = session(State.ACTIVE, id=4, transaction=Transaction(1.0, snapshot=True, horizon_age=FAR))
    assert said(fresh, waits_long, guilty)[0].startswith("session 3 ")
    assert said(fresh, waits_long)[0].startswith("session 2 ")  # the other one has ended meanwhile
    assert said(fresh, prepared=(prepared(age=3.0, horizon_age=FAR),))[0].startswith("prepared transaction ")


def test_a_prepared_transaction_may_be_the_oldest() -> None:
    (line,) = said(idle(WORTH), prepared=(prepared(age=3600.0, horizon_age=FAR),))
    assert line == "prepared transaction gid1, left for 1h00m, holds back vacuum in database shop by 1.2M transactions"


def test_for_a_standby_one_must_look_on_the_standby() -> None:
    (line,) = said(holders=(STANDBY,))
    assert line.startswith("the standby east (walsender 66) holds back vacuum in all databases by 1.2M transactions")
    (by_slot,) = said(holders=(replace(STANDBY, kind=HolderKind.SLOT),))
    assert by_slot.startswith("replication slot east holds back vacuum in all databases")
    assert line.endswith("look on the standby for an old transaction")
    assert by_slot.endswith("look on the standby for an old transaction")


def test_where_the_server_tells_where_the_standby_is_one_need_not_search() -> None:
    walsender = session(State.ACTIVE, id=66, kind=Kind.REPLICATION, client="10.4.9.9")
    assert said(walsender, holders=(STANDBY,))[0].endswith("look on the standby at 10.4.9.9 for an old transaction")
    beside = replace(walsender, client="local")
    assert said(beside, holders=(STANDBY,))[0].endswith("look on the standby on the same host for an old transaction")
    reader = replace(walsender, id=55)
    assert said(reader, holders=(SLOT,))[0].endswith("its reader at 10.4.9.9 (walsender 55) lags behind")


def test_a_slot_that_nobody_uses_is_named_even_if_others_hold_back_more() -> None:
    session_line, slot_line = said(idle(FAR + 1), holders=(UNUSED,))
    assert session_line.startswith("session 100")
    assert slot_line == (
        "replication slot old, unused for 2h00m, holds back vacuum of system catalogs in all databases "
        "by 1.2M transactions: SELECT pg_drop_replication_slot('old') if nobody is to use it any more"
    )


def test_catalogs_are_told_of_only_if_they_are_held_back_further_than_tables() -> None:
    (line,) = said(idle(FAR + 1), holders=(SLOT,))
    assert line.startswith("session 100")
    of_tables, of_catalogs = said(idle(FAR - 1), holders=(SLOT,))
    assert of_tables.startswith("session 100")
    assert of_catalogs.endswith("by 1.2M transactions: its reader (walsender 55) lags behind")


def test_on_a_standby_without_feedback_nobody_holds_back_vacuum() -> None:
    assert said(idle(FAR), server=REPLICA) == []
    assert "holds back vacuum on the primary in database shop" in said(idle(FAR), server=FEEDBACK)[0]


def test_who_is_left_out_is_not_named() -> None:
    assert said(idle(FAR), options=idle_tx.Options(only=Filter(users=("other",)))) == []


def test_the_oldest_read_view_holds_back_purge() -> None:
    view = Transaction(age=50.0, snapshot=True)
    older = Transaction(age=9000.0, snapshot=None)
    (line,) = said(
        idle(None, id=2, transaction=older),
        idle(None, id=3, transaction=view),
        idle(None, id=4, transaction=replace(view, age=60.0)),
        server=MARIADB,
        undo_backlog=FAR,
    )
    assert line == (
        "session 4 (web), idle in transaction for 1h00m, holds back purge: "
        "InnoDB keeps the old rows of 1.2M transactions"
    )


def test_where_read_views_are_not_told_a_guess_is_called_one() -> None:
    (line,) = said(idle(None, transaction=Transaction(age=9000.0)), server=MARIADB, undo_backlog=FAR)
    assert line.startswith("InnoDB keeps the old rows of 1.2M transactions from purge: it may be for session 100 (web)")
    (nobody,) = said(server=MARIADB, undo_backlog=FAR)
    assert nobody.endswith("no transaction that is seen here asks for them")


def test_a_long_query_says_it_too() -> None:
    held = Transaction(age=900.0, writes=False, snapshot=True, horizon_age=FAR)
    busy = session(State.ACTIVE, in_state=900.0, transaction=held, in_transaction=True)
    report = long_queries.run(snapshot(busy), long_queries.Options())
    assert report.table
    assert report.table.records()[0]["holds_back"] == "vacuum 1.2M tx"
    assert report.details == (
        "session 100 (web), in a transaction open for 15m00s, holds back vacuum in database shop by 1.2M transactions",
    )


def summary(*sessions: Session, **more: Any) -> tuple[Any, ...]:
    told = idle_tx.run(snapshot(*sessions, **more), NO_OPTIONS).summary
    return tuple(value for key, value in told.items() if "held_back" in key)


def test_the_summary_tells_tables_from_catalogs_which_everybody_holds_back() -> None:
    left = (PreparedTransaction("x", "", horizon_age=7),)
    by_left = (7, "prepared transaction x")
    assert summary() == (None,) * 4
    assert summary(idle(5), prepared=left) == by_left * 2
    assert summary(idle(5), prepared=left, holders=(replace(SLOT, horizon_age=6),)) == by_left * 2
    assert summary(idle(5), prepared=left, holders=(SLOT,)) == (*by_left, FAR, "replication slot feed")
    assert summary(holders=(SLOT,)) == (None, None, FAR, "replication slot feed")


def told(server: Running, command: str = "idle-tx") -> list[str]:
    """Return the sentences of a command about what is held back."""
    shown = audit(command, server, "--min-age", "0s", "--format", "markdown").out
    return [line.lstrip("- *") for line in shown.splitlines() if " holds back " in line]


def held_back(server: Running, id: int) -> str | None:
    (report,) = audit("idle-tx", server, "--json", "--min-age", "0s").json["targets"]
    (row,) = (row for row in report["rows"] if row["pid"] == id)
    return str(row["holds_back"])


def test_everybody_who_holds_back_vacuum_on_a_server_is_named_in_turn(postgres: Running, start: Start) -> None:
    server = start(postgres, wal_level="logical", max_prepared_transactions=2, autovacuum="off")
    burn = f"do $$ begin for i in 1..{WORTH} loop perform txid_current(); commit; end loop; end $$"
    server.ask("select pg_create_logical_replication_slot('forgotten', 'pgoutput')")
    with standby(server, "east") as walsender, server.session(None, "create table t (n int)") as client:
        until(lambda: server.ask("select 1 from pg_stat_replication where backend_xmin is not null"))
        for statement in ("begin", "insert into t values (1)", "prepare transaction 'order 7'"):
            client.do(statement)
        client.do("begin isolation level repeatable read")
        client.do("select 1")
        server.ask(burn)
        assert held_back(server, client.id) == "vacuum 100k tx"
        of_standby, of_slot = told(server)
        assert told(server, "long-queries")[0].startswith(of_standby[:20])
    assert of_standby.startswith(f"the standby east (walsender {walsender}) holds back vacuum in all databases")
    assert of_slot.startswith("replication slot forgotten, unused")
    assert told(server)[0].startswith("prepared transaction order 7, left for ")
    server.ask("rollback prepared 'order 7'")
    server.ask("select pg_drop_replication_slot('forgotten')")
    assert told(server) == []


def test_on_a_standby_one_holds_back_the_primary_only_where_it_is_told(postgres: Running, start: Start) -> None:
    server = start(postgres)
    environment = environment_of(server)
    server.stop()
    (server.datadir / "standby.signal").touch()  # without a primary it waits for one, and answers
    start_again(server, environment)
    with server.session(None, "begin isolation level repeatable read", "select 1") as client:
        assert held_back(server, client.id) == "replay"
        server.reload(hot_standby_feedback="on")
        until(lambda: str(held_back(server, client.id)).startswith("vacuum on the primary "), every=0.3)

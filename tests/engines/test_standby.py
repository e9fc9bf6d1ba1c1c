"""A primary and a real standby of it: what the one holds back for the other, and who is in whose way on the second."""

from typing import Any

import pytest

from connaudit.diagnostics.horizon import WORTH
from connaudit.following import Following
from connaudit.snapshot import HolderKind, Snapshot
from tests.cli import audit, connaudit
from tests.conftest import Start
from tests.engines import postgresql
from tests.engines.standby import follower
from tests.servers import Running, until

Pair = tuple[Running, Running]
Row = dict[str, Any]
KEEPER = ("begin isolation level repeatable read", "select * from wares")
BURN = f"do $$ begin for i in 1..{WORTH} loop perform txid_current(); commit; end loop; end $$"
REPLAY = "select pid from pg_locks where mode = 'AccessExclusiveLock' and locktype = 'relation' and granted = %s"


@pytest.fixture
def slot() -> str:
    """The replication slot that the standby uses; none, unless a test says otherwise."""
    return ""


@pytest.fixture
def pair(postgres_any: Running, start: Start, slot: str) -> Pair:
    """A primary with the table `wares`, and its standby, which sends feedback and lets its readers hold up replay."""
    primary = start(postgres_any, autovacuum="off")
    primary.ask("create table wares (n int)")
    primary.ask("grant select on wares to app")
    primary.ask("alter role monitor set default_transaction_isolation = serializable")  # which no standby has
    settings: dict[str, str | int] = {
        "cluster_name": "east",
        "hot_standby_feedback": "on",
        "max_standby_streaming_delay": -1,
    }
    standby = follower(primary, start, primary_slot_name=slot, **settings)
    if slot:
        primary.ask("select pg_create_physical_replication_slot(%s)", slot)
    until(lambda: primary.ask("select 1 from pg_stat_replication where state = 'streaming'"), within=30)
    return primary, standby


def take(server: Running, auditor: str = "monitor") -> Snapshot:
    return postgresql.snapshot(postgresql.target(server, server.role(auditor)))


def held_back(command: str, server: Running) -> str:
    """Return the one sentence of a command about what is held back."""
    shown = audit(command, server, "--min-age", "0s", "--format", "markdown").out
    (line,) = (line.lstrip("- *") for line in shown.splitlines() if " holds back " in line)
    return line


@pytest.mark.parametrize("slot", ["", "west"])
def test_a_session_on_a_standby_holds_back_its_primary_which_says_where_to_look(pair: Pair, slot: str) -> None:
    primary, standby = pair
    with standby.session(None, *KEEPER) as reader:
        until(lambda: take(primary).holders)
        primary.ask(BURN)
        ((burnt,),) = primary.ask("select pg_current_wal_lsn()")
        until(lambda: standby.ask("select pg_last_wal_replay_lsn() >= %s", burnt) == [(True,)], within=60)
        (holder,) = take(primary).holders
        kind, name = (HolderKind.SLOT, slot) if slot else (HolderKind.STANDBY, "east")
        assert (holder.kind, holder.name, holder.physical) == (kind, name, True)
        assert holder.horizon_age >= WORTH
        (seen_by_others,) = take(primary, "plain").holders
        assert (seen_by_others.name, seen_by_others.pid) == (name, holder.pid)
        assert not any(session.transaction for session in take(primary).clients)
        who = f"replication slot {slot}" if slot else f"the standby east (walsender {holder.pid})"
        sentence = f"{who} holds back vacuum in all databases by 100k transactions: look on the standby at 127.0.0.1"
        for command in ("idle-tx", "long-queries"):
            assert held_back(command, primary).startswith(sentence)
            said = held_back(command, standby)
            assert said.startswith(f"session {reader.id}, idle in transaction for ")
            assert said.endswith("holds back vacuum on the primary in database shop by 100k transactions")
        words = ("inspect", str(holder.pid), "-T", "env:AUDITED")
        assert "look on the standby at 127.0.0.1" in connaudit(*words, env={"AUDITED": primary.url()}).out
    until(lambda: all(holder.horizon_age < WORTH for holder in take(primary).holders))


def rows(server: Running, role: str = "monitor") -> list[Row]:
    """Return the tree of waits."""
    (target,) = audit("blocking", server, "--json", role=server.role(role)).json["targets"]
    return list(target["rows"])


def tree(server: Running, role: str = "monitor") -> dict[int, tuple[int | None, int]]:
    """Return everybody in it with root and depth."""
    return {row["pid"]: (row["root"], row["depth"]) for row in rows(server, role)}


def finding(server: Running) -> Row:
    """Return the one finding about a wait."""
    ((found,),) = (target["findings"] for target in audit("blocking", server, "-w", "wait=0", "--json").json["targets"])
    return dict(found)


def test_a_reader_on_a_standby_is_at_the_root_of_all_that_waits_for_replay(pair: Pair) -> None:
    primary, standby = pair
    with standby.session(None, *KEEPER) as reader, standby.session() as second, standby.session() as third:
        primary.ask("alter table wares add m int")
        ((replay,),) = until(lambda: standby.ask(REPLAY, False))
        for one in (second, third):
            one.start("select * from wares")
        expected = {reader.id: (reader.id, 0), replay: (reader.id, 1)} | {
            one.id: (reader.id, 2) for one in (second, third)
        }
        until(lambda: tree(standby) == expected)
        assert tree(standby, "plain") == expected
        assert {row["pid"]: row["sql"] for row in rows(standby)}[replay] == "startup process"
        hint = finding(standby)["hint"]
        assert hint.startswith(f"end it: SELECT pg_terminate_backend({reader.id}) ")
        assert "max_standby_streaming_delay" in hint
        assert "pg_cancel_backend(" not in hint  # the server does not cancel its own replay
        assert "on the primary: ALTER ROLE app SET idle_in_transaction_session_timeout" in hint
        (target,) = audit("idle-tx", standby, "--min-age", "0s", "--json").json["targets"]
        assert [row["blocks"] for row in target["rows"]] == [3]


def test_behind_replay_that_holds_a_lock_one_must_look_on_the_primary(pair: Pair) -> None:
    primary, standby = pair
    with (
        primary.session(primary.superuser, "begin", "lock wares in access exclusive mode"),
        standby.session() as reader,
    ):
        primary.ask("select txid_current()")  # its end brings the lock to the standby
        ((replay,),) = until(lambda: standby.ask(REPLAY, True))
        reader.start("select * from wares")
        until(lambda: tree(standby) == {replay: (replay, 0), reader.id: (replay, 1)})
        assert "on the primary" in finding(standby)["hint"]


def test_a_standby_is_one_until_it_is_promoted(pair: Pair) -> None:
    _, standby = pair
    with Following([postgresql.target(standby)], postgresql.ALL) as kept:
        assert postgresql.sample(kept).server.replica
        with standby.session():
            assert {gap.cure for gap in take(standby, "plain").gaps} == {"GRANT pg_monitor TO plain, on the primary"}
        standby.ask("select pg_promote(false)")
        until(lambda: not postgresql.sample(kept).server.replica, within=30)

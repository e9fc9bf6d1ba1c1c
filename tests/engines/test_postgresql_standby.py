"""A standby: it replays what its primary does, is read by sessions of its own, and may become a primary."""

import pytest

from connaudit.diagnostics import blocking
from connaudit.following import Following
from tests.conftest import Start
from tests.engines.postgresql import ALL, sample, snapshot, target
from tests.engines.standby import make_standby
from tests.servers import Running, until

Pair = tuple[Running, Running]


@pytest.fixture
def pair(postgres_any: Running, start: Start) -> Pair:
    """A primary and its standby, which has patience with its readers; the table `replayed` is on both."""
    primary, standby = start(postgres_any), start(postgres_any)
    primary.ask("create table replayed (n int)")
    primary.ask("grant select on replayed to app")
    primary.ask("alter role monitor set default_transaction_isolation = serializable")  # which no standby has
    make_standby(standby, primary, max_standby_streaming_delay="-1")
    return primary, standby


def waiting(server: Running, auditor: str = "monitor") -> list[tuple[int, tuple[int, ...] | None]]:
    """Return who waits for a lock there, and for whom."""
    taken = snapshot(target(server, server.role(auditor)))
    return [(s.id, s.wait.blocked_by) for s in taken.sessions if s.wait]


def test_a_standby_is_one_until_it_is_promoted(pair: Pair) -> None:
    _, standby = pair
    with Following([target(standby)], ALL) as kept:
        assert sample(kept).server.replica
        standby.ask("select pg_promote(false)")
        until(lambda: not sample(kept).server.replica)


def test_replay_and_the_readers_of_a_standby_wait_for_each_other(pair: Pair) -> None:
    primary, standby = pair
    with (
        standby.session(standby.app, "begin", "select * from replayed") as reader,
        primary.session(primary.superuser) as writer,
    ):
        writer.start("alter table replayed add more int")
        ((replay, blocked_by),) = until(lambda: waiting(standby))
        assert blocked_by == (reader.id,)
        assert waiting(standby, "plain") == [(replay, (reader.id,))]
        assert writer.finished() is None
    with primary.session(primary.superuser, "begin", "lock table replayed", "select pg_switch_wal()"):
        held = "select pid from pg_locks where granted and mode = 'AccessExclusiveLock'"
        until(lambda: (replay,) in standby.ask(held))
        with standby.session() as late:
            late.start("select * from replayed")
            assert until(lambda: waiting(standby)) == [(late.id, (replay,))]
            assert "(startup)" in blocking.run(snapshot(target(standby)), blocking.Options()).headline

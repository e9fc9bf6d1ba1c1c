"""Samples over kept connections: one session for each target, nothing of it left open or set, and always the truth."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connaudit.engines import Budget, Taken
from connaudit.errors import Refused, TargetError, TimedOut
from connaudit.following import Following
from connaudit.snapshot import Fact, Snapshot, State
from connaudit.targets import Target
from connaudit.targets.parse import parse
from tests.conftest import Start
from tests.engines.restarting import environment_of, start_again
from tests.faults import Proxy
from tests.servers import Role, Running, until

DEAD = "postgresql://m@127.0.0.1:1/d"


def target(server: Running, role: Role | None = None, **url: Any) -> Target:
    return parse(server.url(role, **url))


class Samples(Following):
    """A following that is asked for one sample of all targets at a time."""

    def __init__(self, *targets: Target) -> None:
        super().__init__(targets, frozenset(Fact))
        self.count = len(targets)

    def all(self, timeout: float = 5.0) -> list[Taken]:
        for index in range(self.count):
            self.begin(index, Budget(timeout, time.monotonic() + timeout))
        told: dict[int, Taken] = {}
        deadline = time.monotonic() + timeout + 5
        while len(told) < self.count:
            assert time.monotonic() < deadline
            told |= dict(self.ended(deadline))
        return [told[index] for index in range(self.count)]

    def one(self, timeout: float = 5.0) -> Snapshot:
        (taken,) = self.all(timeout)
        assert isinstance(taken, Snapshot), repr(taken)
        return taken

    def lost(self, timeout: float = 5.0) -> TargetError:
        (taken,) = self.all(timeout)
        assert isinstance(taken, TargetError), taken
        return taken


def ours(taken: Snapshot) -> int:
    (own,) = [session.id for session in taken.sessions if session.is_self]
    return own


def sessions(server: Running) -> list[tuple[Any, ...]]:
    """Return the sessions of the monitoring role, as the superuser sees them."""
    statement = (
        "select pid, state, backend_xmin from pg_stat_activity where usename = %s"
        if server.is_postgres
        else "select id, command, null from information_schema.processlist where user = %s"
    )
    return server.ask(statement, server.monitor.name)


@contextmanager
def forgotten(server: Running) -> Iterator[None]:
    """Wait, at the end, until the server has no session of ours any more."""
    yield
    until(lambda: not sessions(server))


def test_all_samples_come_over_one_session_that_is_idle_in_between(server: Running) -> None:
    with forgotten(server), Samples(target(server)) as samples:
        first = samples.one()
        for _ in range(5):
            assert ours(samples.one()) == ours(first)
            (session,) = until(lambda: [s for s in sessions(server) if s[1] in ("idle", "Sleep")])
            assert session == (ours(first), "idle" if server.is_postgres else "Sleep", None)


def test_every_sample_tells_what_is_there_now(server: Running) -> None:
    with Samples(target(server)) as samples:
        samples.one()
        with server.session(server.app, "create table if not exists t (x int)", "begin", "select * from t") as client:
            time.sleep(0.15)  # InnoDB renews its tables after so long
            seen = {session.id: session for session in samples.one().sessions}[client.id]
            assert seen.state is State.IDLE_IN_TRANSACTION
            time.sleep(1.1)  # MySQL tells whole seconds
            later = {session.id: session for session in samples.one().sessions}[client.id]
            assert (later.state_age or 0) > (seen.state_age or 0)
        until(lambda: client.id not in {session.id for session in samples.one().sessions})


def test_time_and_stages_are_those_of_the_sample(server: Running) -> None:
    with Samples(target(server)) as samples:
        first = samples.one()
        time.sleep(0.5)
        second = samples.one()
    assert dict(first.stages).keys() >= {"dns", "tcp", "login", "query"}
    assert [stage for stage, _ in second.stages] == ["query"]
    assert dict(second.stages)["query"] < 0.5
    assert second.taken_at > first.taken_at


def test_a_session_that_was_ended_in_between_is_replaced_and_the_sample_says_so(server: Running) -> None:
    with forgotten(server), Samples(target(server)) as samples:
        first = samples.one()
        server.terminate(ours(first))
        until(lambda: not sessions(server))
        second = samples.one()
        assert ours(second) != ours(first)
        assert [note for note in second.notes if note.startswith("connected anew: ")]
        assert len(sessions(server)) == 1
        assert not [note for note in samples.one().notes if "connected anew" in note]


def test_a_statement_that_does_not_end_in_time_is_that_samples_failure_alone(server: Running) -> None:
    with forgotten(server), Samples(target(server)) as samples:
        samples.one()
        with server.paused():
            assert isinstance(samples.lost(timeout=0.5), TimedOut)
        until(lambda: isinstance(samples.all()[0], Snapshot))
        until(lambda: len(sessions(server)) == 1)


def test_a_server_that_is_restarted_is_lost_and_found(server: Running, start: Start) -> None:
    server = start(server)
    with Samples(target(server)) as samples:
        before = samples.one()
        instant_of_start = datetime.fromisoformat(before.server.started_at or "")
        environment = environment_of(server)
        server.stop()
        samples.lost()
        assert isinstance(samples.lost(), Refused)  # left in peace: it has the same to say
        until(lambda: datetime.now(UTC) > instant_of_start + timedelta(seconds=2))  # MySQL tells whole seconds
        start_again(server, environment)
        until(lambda: isinstance(samples.all()[0], Snapshot), within=15)
        after = samples.one()
        assert after.server.started_at != before.server.started_at
        assert len(sessions(server)) == 1


def test_who_is_out_of_reach_is_called_less_and_less_often(postgres: Running) -> None:
    with Proxy(postgres) as proxy:
        port = proxy.port
    tried = []
    with Samples(parse(f"postgresql://m@127.0.0.1:{port}/d")) as samples:
        began, last = time.monotonic(), None
        while time.monotonic() < began + 4:
            error = samples.lost()
            if error is not last:
                tried.append(time.monotonic() - began)
            last = error
            time.sleep(0.05)
    assert len(tried) == 3  # at once, after 1 s, and 2 s later
    assert tried == pytest.approx([0, 1, 3], abs=0.3)


def test_one_that_hangs_holds_up_no_other(postgres: Running, mysql: Running, start: Start) -> None:
    frozen = start(postgres)
    with frozen.paused(), Samples(target(postgres), target(frozen), target(mysql)) as samples:
        budget = Budget(20, time.monotonic() + 20)
        for index in range(3):
            samples.begin(index, budget)
        until(lambda: _heard(samples, 2), within=5)
        for index in range(3):
            samples.begin(index, budget)  # for the one in the middle, that which is under way will do
        until(lambda: _heard(samples, 2), within=5)


def _heard(samples: Samples, number: int) -> bool:
    told: dict[int, Taken] = {}
    until_then = time.monotonic() + 3
    while len(told) < number and time.monotonic() < until_then:
        told |= dict(samples.ended(until_then))
    return sorted(told) == [0, 2] and all(isinstance(taken, Snapshot) for taken in told.values())


def test_no_more_samples_are_under_way_than_jobs_allow(server: Running) -> None:
    with Samples(*[target(server)] * 4) as samples:
        most = 0
        for index in range(4):
            samples.begin(index, Budget(5, time.monotonic() + 5, jobs=2))
        told: Sequence[int] = []
        while len(told) < 4:
            most = max(most, len(samples._under_way))
            told = [*told, *(index for index, _ in samples.ended(time.monotonic() + 5))]
        assert most == 2
        assert sorted(told) == [0, 1, 2, 3]


def test_closing_in_the_middle_leaves_nothing_behind(server: Running) -> None:
    with forgotten(server), Samples(target(server), parse(DEAD)) as samples:
        samples.all()
        samples.begin(0, Budget(5, time.monotonic() + 5))


@pytest.mark.kinds("postgres")
def test_a_connection_through_a_pooler_can_be_kept_too(pooler: Running) -> None:
    with Samples(target(pooler)) as samples:
        assert samples.one().server.via_pooler
        assert samples.one().server.via_pooler


@pytest.mark.kinds("mysql")  # MariaDB has no list of such locks, nor holds them
def test_where_autocommit_is_off_nothing_stays_locked(server: Running, start: Start) -> None:
    server = start(server, autocommit=0)
    held = (
        "select object_name from performance_schema.metadata_locks join performance_schema.threads"
        " on thread_id = owner_thread_id where processlist_id = %s"
    )
    with Samples(target(server)) as samples:
        one = ours(samples.one())
        assert server.ask(held, one) == []
        assert ours(samples.one()) == one
        assert server.ask(held, one) == []

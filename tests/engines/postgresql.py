"""Taking snapshots of PostgreSQL servers, for tests."""

import time
from collections.abc import Sequence

from connaudit.engines import Budget, Taken
from connaudit.engines.postgresql import take
from connaudit.errors import TargetError
from connaudit.following import Following
from connaudit.snapshot import Fact, Session, Snapshot
from connaudit.targets import Host, Secret, Target
from tests.servers import DATABASE, Role, Running

ALL = frozenset(Fact)


def target(server: Running, role: Role | None = None, database: str = DATABASE, **changes: object) -> Target:
    """Return a target for a server: as the monitoring role, unless another is given."""
    role = role or server.monitor
    values: dict[str, object] = {
        "hosts": (Host(server.host, server.port),),
        "user": role.name,
        "database": database,
        "password": Secret(role.password),
    }
    return Target(server.name, "postgresql", **(values | changes))  # type: ignore[arg-type]


def take_all(
    targets: Sequence[Target], facts: frozenset[Fact] = ALL, timeout: float = 5.0, jobs: int | None = None
) -> list[Taken]:
    """Return the outcomes in the order of the targets."""
    outcomes = dict(take(targets, facts, Budget(timeout, time.monotonic() + 30, jobs)))
    return [outcomes[index] for index in range(len(targets))]


def snapshot(one: Target, facts: frozenset[Fact] = ALL) -> Snapshot:
    """Return the snapshot of one target, which must succeed."""
    (outcome,) = take_all([one], facts)
    assert isinstance(outcome, Snapshot), repr(outcome)
    return outcome


def sample(kept: Following) -> Snapshot:
    """Return one more snapshot over the connection that is kept, which must succeed."""
    kept.begin(0, Budget(5.0, time.monotonic() + 5))
    (outcome,) = (taken for _, taken in kept.ended(time.monotonic() + 10))
    assert isinstance(outcome, Snapshot), repr(outcome)
    return outcome


def failure(one: Target, timeout: float = 5.0) -> TargetError:
    """Return why one target could not be audited."""
    (outcome,) = take_all([one], timeout=timeout)
    assert isinstance(outcome, TargetError), repr(outcome)
    return outcome


def session(taken: Snapshot, id: int) -> Session:
    """Return one session by its pid."""
    (found,) = (s for s in taken.sessions if s.id == id)
    return found

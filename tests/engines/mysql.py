"""Taking snapshots of MySQL and MariaDB servers, for tests."""

import time
from collections.abc import Sequence

from connaudit.engines import Budget, Taken
from connaudit.engines.mysql import take
from connaudit.errors import TargetError
from connaudit.snapshot import Fact, Session, Snapshot
from connaudit.targets import Host, Secret, Target
from tests.servers import Role, Running

ALL = frozenset(Fact)
HERE = "127.0.0.1"


def target(server: Running, role: Role | None = None, *hosts: Host, **options: str) -> Target:
    """Return a target for a server: as the monitoring role, unless another is given; options as in `ssl_mode`."""
    role = role or server.monitor
    return Target(
        server.name,
        "mysql",
        hosts or (Host(server.host, server.port),),
        user=role.name,
        password=Secret(role.password),
        options=tuple((name.replace("_", "-"), value) for name, value in options.items()),
    )


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


def failure(one: Target, timeout: float = 5.0) -> TargetError:
    """Return why one target could not be audited."""
    (outcome,) = take_all([one], timeout=timeout)
    assert isinstance(outcome, TargetError), repr(outcome)
    return outcome


def session(taken: Snapshot, id: int) -> Session:
    """Return one session by its id."""
    (found,) = (s for s in taken.sessions if s.id == id)
    return found

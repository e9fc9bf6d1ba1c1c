"""Processes that hold connections, and their sessions as the server tells of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connaudit.engines import Budget, engine
from connaudit.snapshot import Fact, Session, Snapshot
from connaudit.targets import Host, Secret, Target
from tests.servers import Running

PROGRAM = Path(__file__).with_name("holder.py")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds connections."""

    pid: int
    told: dict[str, Any]

    @property
    def ids(self) -> list[int]:
        """Return its sessions."""
        return list(self.told["ids"])


Hold = Callable[..., Holder]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a holder: hold(server, "many"); `by` are further keywords for its driver."""
    with ExitStack() as processes:

        def start(server: Running, how: str, **by: Any) -> Holder:
            common = {
                "host": server.host,
                "port": server.port,
                "user": server.app.name,
                "password": server.app.password,
            }
            name = "dbname" if server.is_postgres else "database"
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, PROGRAM, how, server.engine],
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                    env=os.environ | {"KEYWORDS": json.dumps(common | {name: "shop"} | by)},
                )
            )
            processes.callback(process.kill)
            assert process.stdout
            told = json.loads(process.stdout.readline())
            if "child" in told:
                processes.callback(subprocess.run, ["kill", "-9", str(told["child"])], check=False)
            return Holder(process.pid, told)

        yield start


def seen(server: Running) -> Snapshot:
    """Return what the server tells of all its sessions."""
    target = Target(
        server.name,
        server.engine,
        (Host(server.host, server.port),),
        user=server.monitor.name,
        password=Secret(server.monitor.password),
        database="postgres" if server.is_postgres else None,
    )
    ((_, taken),) = engine(server.engine)([target], frozenset(Fact), Budget(10, time.monotonic() + 20))
    assert isinstance(taken, Snapshot), repr(taken)
    return taken


def session_of(taken: Snapshot, id: int) -> Session:
    """Return one session."""
    (found,) = (s for s in taken.sessions if s.id == id)
    return found

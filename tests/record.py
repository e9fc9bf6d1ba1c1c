"""Record what each server of CONNAUDIT_TEST_SERVERS tells of something of everything, for tests without servers.

    python -m tests.record [NAME...]       writes tests/snapshots/NAME.json; NAME-plain.json as a role without grants

What a recording says of the machine it was made on is replaced: ports, addresses, names of files.
"""
# ruff: noqa: T201 - a program that talks to whoever runs it

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from connaudit.snapshot import Fact, Snapshot
from tests.engines import mysql, postgresql
from tests.scenes.stage import TABLE, Play, prepared, sleep
from tests.servers import Description, Fleet, Role, Running, available, until

DIRECTORY = Path(__file__).with_name("snapshots")
SETTINGS: dict[str, dict[str, str | int]] = {
    "postgres": {"max_connections": 30, "max_prepared_transactions": 2},
    "mysql": {"max_connections": 30},
    "mariadb": {"max_connections": 30},
    "pgbouncer": {},
}
PORTS = {"postgres": 5432, "mysql": 3306, "mariadb": 3306, "pgbouncer": 6432}
WRITE = f"update {TABLE} set n = n + 1 where id = 2"


def main(names: list[str]) -> None:
    """Record the servers of these names, or all."""
    DIRECTORY.mkdir(exist_ok=True)
    with Fleet() as fleet:
        for one in available():
            if one.supported and (not names or one.name in names):
                record(one, fleet)


def record(one: Description, fleet: Fleet) -> None:
    """Write what one server tells, to a monitor and to nobody in particular."""
    server = fleet.start(one, SETTINGS[one.kind])
    with ExitStack() as sessions:
        play = Play(prepared(server.backend or server), sessions)
        everything(play)
        for role, suffix in ((server.monitor, ""), (server.plain, "-plain")):
            taken = anonymous(settled(server, role), one)
            path = DIRECTORY / f"{one.name}{suffix}.json"
            path.write_text(json.dumps(taken.to_json(), indent=1) + "\n", encoding="ascii")
            print(f"{path.name}: {len(taken.sessions)} sessions, {len(taken.gaps)} gaps, {path.stat().st_size} bytes")
    fleet.stop(server)


def everything(play: Play) -> None:
    """Hold sessions that do all that is asked about."""
    play.session("select 1")
    play.session("begin", f"select n from {TABLE} where id = 1")
    play.running(sleep(play))
    play.session("begin", WRITE)
    play.waiting(WRITE)
    play.waiting(WRITE)
    if play.on_postgres:
        play.failed(play.session("begin"), "select 1/0")
        play.session("select pg_advisory_lock(7)")
        play.session("set track_activities = off", "begin", "select 1", role=play.server.superuser)
        play.role("crowded", "connection limit 3")
    else:
        play.session("select get_lock('nightly', 0)")
        play.session("begin", f"select n from {TABLE} where id = 9")
        play.waiting(f"alter table {TABLE} comment = 'x'")


def settled(server: Running, role: Role) -> Snapshot:
    """Return what a role is told, once InnoDB's list is up to date."""
    taken: list[Snapshot] = []

    def look() -> bool:
        one: Any = postgresql if server.is_postgres else mysql
        taken.append(one.snapshot(one.target(server, role), frozenset(Fact)))
        return role == server.plain or sum(session.wait is not None for session in taken[-1].sessions) >= 2

    until(look, every=0.3)
    return taken[-1]


def anonymous(taken: Snapshot, one: Description) -> Snapshot:
    """Return the snapshot without what is of this machine alone."""
    address = replace(taken.address, host="db.example.net", port=PORTS[one.kind])
    return replace(taken, target=one.name, address=address)


if __name__ == "__main__":
    main(sys.argv[1:])

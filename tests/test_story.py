"""`connaudit check` on real servers: an idle transaction and the queue that it makes are one story."""

from contextlib import ExitStack
from typing import Any

from tests.cli import audit
from tests.servers import Running, until

TABLE = "told"
WAITERS = 4
THRESHOLDS = ("-w", "blocking.wait=0", "-w", "idle-tx.age=0", "-w", "long-queries.age=0", "-w", "count.used=3")


def checked(server: Running) -> dict[str, Any]:
    (target,) = audit("check", server, "--json", *THRESHOLDS).json["targets"]
    return dict(target)


def is_told(target: dict[str, Any]) -> bool:
    """Whether all that wait are seen to, the longest of them for a second: InnoDB counts in whole ones."""
    story = target["story"]
    return story is not None and len(story["sessions"]) == WAITERS + 1 and "blocking" in story["checks"]


def told(server: Running) -> dict[str, Any]:
    """Ask until it is."""

    def asked() -> dict[str, Any] | None:
        target = checked(server)
        return target if is_told(target) else None

    return until(asked, within=45, every=1) or {}


def play(server: Running, sessions: ExitStack) -> int:
    """Leave a transaction idle that holds up others; return its session."""
    with server.session(server.app, f"drop table if exists {TABLE}") as client:
        client.do(f"create table {TABLE} (id int primary key, n int)")
        client.do(f"insert into {TABLE} values (1, 0)")
    update = f"update {TABLE} set n = n + 1 where id = 1"
    holder = sessions.enter_context(server.session(server.app, "begin", update))
    for _ in range(WAITERS):
        sessions.enter_context(server.session(server.app)).start(update)
    return int(holder.id)


def must_be_one_story(server: Running) -> None:
    with ExitStack() as sessions:
        culprit = play(server, sessions)
        story = told(server)["story"]
        assert story["culprit"] == str(culprit)
        assert story["sessions"][0] == culprit
        assert f"{WAITERS} sessions wait behind it" in story["message"]
        assert f"that is {WAITERS + 1} of the " in story["message"]
        assert str(culprit) in story["hint"]
        assert {"count", "blocking"} <= set(story["checks"])
        first = audit("check", server, *THRESHOLDS).out.splitlines()[0]
        assert f": {culprit} (" in first


def test_on_postgresql_an_idle_transaction_is_the_one_culprit(postgres: Running) -> None:
    must_be_one_story(postgres)


def test_on_mariadb_an_idle_transaction_is_the_one_culprit(mariadb: Running) -> None:
    must_be_one_story(mariadb)

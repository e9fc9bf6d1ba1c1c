"""`leaks` on real servers: connections used once and kept, beside a pool, as one look and a series show them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from connaudit.diagnostics import diagnostic
from connaudit.diagnostics.leaks import Options, run_series
from connaudit.engines import Budget, engine
from connaudit.snapshot import Snapshot
from connaudit.targets.parse import parse
from tests.cli import connaudit
from tests.servers import Running

EVERY = 1.15  # seconds between leaked connections: more than the least margin
IDLE = 1.0  # T, compressed
STATEMENT = "select count(*) from information_schema.tables where table_name = 'cart'"


def look(server: Running) -> Snapshot:
    facts = diagnostic("leaks").facts(Options())
    taking = engine(server.engine)([parse(server.url())], facts, Budget(10, time.monotonic() + 10))
    ((_, taken),) = taking
    assert isinstance(taken, Snapshot), taken
    return taken


@pytest.fixture
def leaking(server: Running) -> Iterator[list[Snapshot]]:
    """Leak a connection of the role `app` a second while three of `plain` are used all the time; look at each."""
    with ExitStack() as leaving:
        pool = [leaving.enter_context(server.session(server.plain, "select 1")) for _ in range(3)]
        looks = []
        for _ in range(14):
            leaving.enter_context(server.session(server.app, STATEMENT))
            for member in pool:
                member.do("select 1")
            looks.append(look(server))
            time.sleep(EVERY)
        for member in pool:
            member.do("select 1")
        yield [*looks, look(server)]


def verdict(rows: list[dict[str, object]], user: str) -> object:
    (found,) = {row["verdict"] for row in rows if row["user"] == user}
    return found


def test_a_leak_is_told_from_a_pool_on_every_server(server: Running, leaking: list[Snapshot]) -> None:
    report = run_series(leaking, Options(idle_age=IDLE))
    assert report.table
    rows: list[dict[str, object]] = report.table.records()  # type: ignore[assignment]
    assert verdict(rows, "app") == "leak growing"
    assert verdict(rows, "plain") == "pool"
    shown = connaudit("leaks", server.url(), "--idle-age", "1s", "--json")
    (target,) = shown.json["targets"]
    assert verdict(target["rows"], "app") == ("leak growing" if server.is_postgres else "suspect")
    assert shown.status == 1
    held = connaudit("leaks", server.url(), "--idle-age", "1s", "--user", "app", "--bound", "*=14", "--json")
    assert (held.status, {row["bound"] for row in held.json["targets"][0]["rows"]}) == (
        1 if server.is_postgres else 0,
        {14},
    )

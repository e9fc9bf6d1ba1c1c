"""The history: what goes in comes out again, on a file and on a server, whoever writes at the same time."""

import json
import os
import random
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connaudit.errors import HistoryError, NoHistory, NoSlotsLeft, TimedOut, UsageError
from connaudit.history import postgresql, sqlite, store
from connaudit.history.database import SCHEMA
from connaudit.history.store import Alert, Store
from connaudit.history.summing import Keep
from connaudit.history.trend import Level, floors
from connaudit.snapshot import Capacity, Snapshot, State
from tests.builders import POSTGRESQL, session, snapshot
from tests.servers import Running

BEGIN = 1_790_002_800.0  # a whole hour
MINUTE, DAY = 60.0, 86400.0
ROOT = Path(__file__).parents[2]

Open = Callable[..., Store]


@pytest.fixture(params=["file", "server"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open the same history again and again: in a file, and in a database of its own."""
    location = str(tmp_path / "state" / "history.db")
    if request.param == "server":
        location = new_database(request.getfixturevalue("postgres"))
    stores: list[Store] = []

    def open_(**more: Any) -> Store:
        stores.append(store.open(location, **more))
        return stores[-1]

    yield open_
    for one in stores:
        one.__exit__(None, None, None)


def new_database(server: Running) -> str:
    """Return the URL of an empty database that the role `app` owns."""
    name = f"history_{random.randrange(10**9)}"
    with psycopg.connect(server.url(server.superuser), autocommit=True) as connection:
        connection.execute(f"create database {name} owner app".encode())
    return server.url(server.app, name)


def look(idle: int = 3, busy: int = 1, *, used: int | None = None, usable: int = 97, **more: Any) -> Snapshot:
    sessions = [session(id=i, in_state=10.0 + i) for i in range(2, idle + 2)]
    sessions += [session(State.ACTIVE, id=100 + i) for i in range(busy)]
    capacity = Capacity(limit=usable + 3, used=(used if used is not None else idle + busy) + 1, reserved_superuser=3)
    return snapshot(*sessions, capacity=capacity, **more)


def test_what_was_recorded_is_told_again(opened: Open) -> None:
    history = opened()
    for minute, idle in enumerate((3, 5, 4)):
        history.record({"prod": look(idle)}, BEGIN + minute * MINUTE)
    again = opened()
    assert [again.series("prod", metric, 0)[0].points for metric in ("used", "free", "usable", "up")] == [
        ((BEGIN, 4), (BEGIN + 60, 6), (BEGIN + 120, 5)),
        ((BEGIN, 93), (BEGIN + 60, 91), (BEGIN + 120, 92)),
        ((BEGIN, 97), (BEGIN + 60, 97), (BEGIN + 120, 97)),
        ((BEGIN, 1), (BEGIN + 60, 1), (BEGIN + 120, 1)),
    ]
    (known,) = again.targets()
    assert (known.name, known.product, known.version, known.address) == (
        "prod", "PostgreSQL", "16.4", "db.example.net:5432/shop",
    )  # fmt: skip
    assert (known.first, known.last, known.samples) == (BEGIN, BEGIN + 120, 3)


def test_groups_are_told_by_whatever_is_asked_and_count_zero_where_they_are_not(opened: Open) -> None:
    history = opened()
    history.record({"prod": look(3, 1)}, BEGIN)
    history.record({"prod": look(2, 0)}, BEGIN + 60)
    by_state = {one.names: one.points for one in history.series("prod", "sessions", 0, by=("state",))}
    assert by_state == {("idle",): ((BEGIN, 3), (BEGIN + 60, 2)), ("active",): ((BEGIN, 1), (BEGIN + 60, 0))}
    (whole,) = history.series("prod", "sessions", 0)
    assert whole.points == ((BEGIN, 4), (BEGIN + 60, 2))
    (idle,) = history.series("prod", "idle", 0, by=("app", "user"))
    assert (idle.names, idle.points) == (("web", "shop_web"), ((BEGIN, 3), (BEGIN + 60, 2)))
    (oldest,) = history.series("prod", "oldest_idle", 0)
    assert oldest.points == ((BEGIN, 14), (BEGIN + 60, 13))


def test_what_was_not_told_is_none_and_not_an_empty_name(opened: Open) -> None:
    history = opened()
    hidden = [session(None, id=2, application=None, in_state=None), session(id=3, application="")]
    history.record({"prod": snapshot(*hidden)}, BEGIN)
    assert {one.names for one in history.series("prod", "sessions", 0, by=("app", "state"))} == {
        (None, None),
        ("", "idle"),
    }


def test_the_place_that_pgbouncer_writes_behind_a_name_makes_no_group_of_its_own(opened: Open) -> None:
    history = opened()
    for minute in range(3):
        named = session(application=f"web - 10.4.1.17:{51000 + minute}")
        history.record({"prod": snapshot(named)}, BEGIN + minute * MINUTE)
    (only,) = history.series("prod", "sessions", 0, by=("app",))
    assert (only.names, len(only.points)) == (("web",), 3)


def test_a_target_that_is_down_is_stored_as_down_and_what_it_told_before_stays(opened: Open) -> None:
    history = opened()
    history.record({"prod": look(3)}, BEGIN)
    history.record({"prod": TimedOut("timed out after 10s"), "new": NoSlotsLeft("full", limit="server")}, BEGIN + 60)
    assert history.series("prod", "up", 0)[0].points == ((BEGIN, 1), (BEGIN + 60, 0))
    assert history.series("prod", "used", 0)[0].points == ((BEGIN, 4),)
    assert history.series("prod", "sessions", 0)[0].points == ((BEGIN, 4),)
    told = {known.name: (known.product, known.samples) for known in history.targets()}
    assert told == {"prod": ("PostgreSQL", 2), "new": (None, 1)}
    errors = [record["error"] for record in history.export() if record["kind"] == "target"]
    assert errors == ["too_many_connections", None, "timeout"]


def test_nothing_is_told_of_what_was_never_recorded(opened: Open) -> None:
    history = opened()
    assert (history.series("prod", "used", 0), history.floors("prod", 0), history.growth("prod", 0)) == ([], {}, None)
    assert (history.targets(), list(history.export()), history.alerts()) == ([], [], {})


@pytest.mark.parametrize(("metric", "by"), [("usage", ()), ("used", ("app",)), ("sessions", ("application",))])
def test_a_metric_that_there_is_not_is_refused(opened: Open, metric: str, by: tuple[str, ...]) -> None:
    with pytest.raises(KeyError):
        opened().series("prod", metric, 0, by=by)


def test_runs_of_the_same_millisecond_are_all_kept(opened: Open) -> None:
    one, other = opened(), opened()
    for _ in range(5):
        one.record({"prod": look()}, BEGIN)
        other.record({"prod": look()}, BEGIN)
    assert len(one.series("prod", "used", 0)[0].points) == 10


def fill(history: Store, hours: int, every: float = 10 * MINUTE, rise: float = 0.0, **more: Any) -> list[Level]:
    """Record some hours, and return what the samples of `used` were."""
    levels = []
    for step in range(round(hours * 3600 / every)):
        at = BEGIN + step * every
        used = round(20 + rise * step * every / 3600 + step % 3)
        history.record({"prod": look(idle=used - 1, **more)}, at)
        levels.append(Level(at, used, more.get("usable", 97)))
    return levels


def test_floors_are_the_same_whether_hours_were_summed_up_or_not(opened: Open) -> None:
    history = opened()
    levels = fill(history, 6)
    expected = [replace(level, started=None) for level in floors(levels)]
    before = history.floors("prod", 0)[()]
    by_app = history.floors("prod", 0, by=("app",))
    assert before == expected
    history.prune(BEGIN + 6 * 3600)
    assert history.floors("prod", 0)[()] == expected
    assert history.floors("prod", 0, by=("app",)) == by_app
    assert [level.value for level in by_app["web",]] == [level.value for level in expected]


def test_a_group_that_comes_and_goes_has_no_floor(opened: Open) -> None:
    history = opened()
    for minute in range(0, 120, 5):
        busy = 3 if minute % 10 else 0
        history.record({"prod": look(4, busy)}, BEGIN + minute * MINUTE)
    history.prune(BEGIN + 7200)
    by_state = history.floors("prod", 0, by=("state",))
    assert [level.value for level in by_state["idle",]] == [4, 4]
    assert [level.value for level in by_state["active",]] == [0, 0]


def test_a_history_tells_growth_its_end_and_who_grows(opened: Open) -> None:
    history = opened()
    fill(history, 30, every=20 * MINUTE, rise=1.0)
    found = history.growth("prod", 0)
    assert found
    assert found.proven
    assert found.slope == pytest.approx(1.0, abs=0.05)
    assert found.forecast
    by_app = history.growth_by("prod", 0)
    assert list(by_app) == [("web", "shop_web")]
    assert by_app["web", "shop_web"].slope == pytest.approx(1.0, abs=0.05)
    assert history.growth("prod", BEGIN + 28 * 3600) is not None
    assert history.growth("prod", BEGIN + 29 * 3600) is None, "one hour says nothing"


def test_the_past_of_a_target_is_told_whole_by_owner_and_by_group(opened: Open) -> None:
    history = opened()
    fill(history, 30, every=20 * MINUTE, rise=1.0)
    past = history.past("prod", 0)
    assert past
    assert past.whole
    assert past.whole.proven
    (owner,), (group,) = past.owners, past.groups
    assert group[:2] == owner == ("web", "shop_web")
    assert len(group) == 4
    young = history.past("prod", BEGIN + 29 * 3600)
    assert young
    assert young.whole is None, "one hour says nothing, and is not nothing"
    assert history.past("test", 0) is None


def test_a_restart_and_a_changed_limit_are_remembered(opened: Open) -> None:
    history = opened()
    for hour in range(24):
        started = "2026-09-01T00:00:00Z" if hour < 10 else "2026-09-22T12:00:00Z"
        server = replace(POSTGRESQL, started_at=started)
        history.record({"prod": look(3 + hour, server=server)}, BEGIN + hour * 3600)
    found = history.growth("prod", 0)
    assert found
    assert (found.floors, found.caveats[0]) == (14, "cut_by_restart")


def test_long_windows_are_told_by_the_means_of_hours(opened: Open) -> None:
    history = opened()
    fill(history, 50, every=30 * MINUTE)
    (used,) = history.series("prod", "used", 0)
    assert len(used.points) == 50
    assert used.points[0] == (BEGIN, 20.5)
    (short,) = history.series("prod", "used", BEGIN + 48 * 3600)
    assert len(short.points) == 4
    (sessions,) = history.series("prod", "sessions", 0, by=("app",))
    assert (len(sessions.points), sessions.points[0][1]) == (50, 20.5)


def test_samples_and_hours_are_kept_for_their_time(opened: Open) -> None:
    history = opened(keep=Keep(raw=2 * DAY, hourly=10 * DAY))
    fill(history, 30, every=30 * MINUTE)
    history.remember({("prod", "count"): Alert("ok", BEGIN, BEGIN)})
    later = BEGIN + 3 * DAY
    history.record({"prod": look(7)}, later)
    kinds = [record["kind"] for record in history.export()]
    assert (kinds.count("target"), kinds.count("target_hour")) == (13, 30)
    assert history.floors("prod", 0)[()][0] == Level(BEGIN, 20, 97)
    history.prune(BEGIN + 10 * DAY + 10 * 3600)
    kinds = [record["kind"] for record in history.export()]
    assert (kinds.count("target"), kinds.count("target_hour")) == (0, 20 + 1)
    history.prune(BEGIN + 20 * DAY)
    assert list(history.export()) == []
    assert history.alerts() == {}
    assert history.series("prod", "sessions", 0, by=("app",)) == []


def test_one_of_many_runs_sums_up_and_forgets_and_that_once_an_hour(opened: Open) -> None:
    history = opened()
    fill(history, 2, every=5 * MINUTE)
    kinds = [record["kind"] for record in history.export()]
    assert kinds.count("target_hour") == 1, "the second hour has not ended"
    history.record({"prod": look()}, BEGIN + 2 * 3600 + 5)
    assert [record["kind"] for record in history.export()].count("target_hour") == 2


def test_a_run_that_comes_late_is_summed_up_too(opened: Open) -> None:
    history = opened()
    fill(history, 2)
    history.prune(BEGIN + 2 * 3600)
    history.record({"prod": look(used=5)}, BEGIN + 3600 + 1)
    history.prune(BEGIN + 3 * 3600)
    assert [level.value for level in history.floors("prod", 0)[()]] == [20, 5]


def test_verdicts_that_were_spoken_are_remembered(opened: Open) -> None:
    opened().remember({("prod", "count"): Alert("warning", BEGIN, BEGIN), ("prod", "leaks"): Alert("ok", 1.0, 2.0)})
    history = opened()
    history.remember({("prod", "count"): Alert("critical", BEGIN + 60, BEGIN + 61)})
    assert history.alerts() == {
        ("prod", "count"): Alert("critical", BEGIN + 60, BEGIN + 61),
        ("prod", "leaks"): Alert("ok", 1.0, 2.0),
    }


def test_an_export_is_plain_json_without_statements(opened: Open) -> None:
    history = opened()
    secret = session(id=2, query="select 'letmein'", in_state=61.0)
    history.record({"prod": snapshot(secret, server=replace(POSTGRESQL, started_at="2026-09-01T00:00:00Z"))}, BEGIN)
    records = [json.loads(json.dumps(record)) for record in history.export()]
    assert records == [
        {
            "kind": "target", "target": "prod", "at": "2026-09-21T15:00:00.000Z", "up": True, "error": None,
            "used": 1, "usable": 97, "started_at": "2026-09-01T00:00:00.000Z",
        },
        {
            "kind": "group", "target": "prod", "at": "2026-09-21T15:00:00.000Z", "db": "shop", "user": "shop_web",
            "app": "web", "client": "10.4.1.17", "state": "idle", "sessions": 1, "oldest_seconds": 61,
        },
    ]  # fmt: skip


def test_secrets_are_taken_out_of_names_before_they_are_stored(opened: Open) -> None:
    history = opened(scrub=lambda text: text.replace("s3cr3t", "***"))
    history.record({"prod": snapshot(session(application="web s3cr3t", user="s3cr3t"))}, BEGIN)
    assert "s3cr3t" not in json.dumps(list(history.export()))


def test_a_history_that_is_not_there_is_not_begun_by_a_reader(opened: Open) -> None:
    with pytest.raises(HistoryError):
        opened(create=False)
    opened().record({"prod": look()}, BEGIN)
    assert len(opened(create=False).targets()) == 1


def run_writers(location: str, processes: int, runs: int) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.history.writer", location, str(runs), f"own {number}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(processes)
    ]


def test_thirty_processes_that_begin_a_history_at_once_lose_nothing(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue("postgres")
    for location in (str(tmp_path / "new" / "history.db"), new_database(server)):
        processes = run_writers(location, 30, 3)
        said = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0] * 30, said
        with store.open(location, create=False) as history:
            counts = {known.name: known.samples for known in history.targets()}
            groups = [record for record in history.export() if record["kind"] == "group"]
        assert counts == {"shared": 90, **{f"own {number}": 3 for number in range(30)}}
        assert len(groups) == 180 * 14


def test_what_was_stored_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    stored = 0
    for round_ in range(4):
        (process,) = run_writers(str(path), 1, 10_000)
        assert process.stdout
        for _ in range(5 + 3 * round_):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.communicate()
        stored += 5 + 3 * round_ + len(rest)
        with store.open(path) as history:
            found = {known.name: known.samples for known in history.targets()}["shared"]
            assert stored <= found <= stored + 1, "the last may have been stored and not said"
            stored = found
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()


# What only a file has.


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_and_file_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "history.db"
    before = os.umask(0)
    try:
        with store.open(path) as history:
            history.record({"prod": look()}, BEGIN)
            modes = {mode(one) for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert (mode(path.parent), modes, history.path) == (0o700, {0o600}, str(path))


def test_the_journal_is_ahead_of_the_file_and_pages_can_be_given_back(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with store.open(path) as history:
        for minute in range(40):
            sessions = [session(id=i, application=f"app {i}") for i in range(2, 200)]
            history.record({"prod": snapshot(*sessions)}, BEGIN + minute)
    size = path.stat().st_size
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "auto_vacuum") == 2
    with store.open(path) as history:
        history.prune(BEGIN + 1000 * DAY)
    assert path.stat().st_size < size / 2


def pragma(path: Path, name: str) -> Any:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"pragma {name}").fetchone()[0]
    finally:
        connection.close()


def test_over_a_network_there_is_no_journal_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nnas:/home {tmp_path}/my\\040home nfs4 rw 0 0\n")
    home = tmp_path / "my home"
    assert sqlite.is_remote(home / "history.db", mounts)
    assert not sqlite.is_remote(tmp_path / "history.db", mounts)
    assert not sqlite.is_remote(tmp_path, tmp_path / "no such file")
    monkeypatch.setattr(sqlite, "is_remote", lambda _: True)
    with store.open(home / "history.db") as history:
        history.record({"prod": look()}, BEGIN)
    assert pragma(home / "history.db", "journal_mode") == "delete"


def test_a_file_of_a_newer_connaudit_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with store.open(path) as history:
        history.record({"prod": look()}, BEGIN)
    set_version(path, SCHEMA + 1)
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=f"newer connaudit .schema {SCHEMA + 1}, this one knows {SCHEMA}."):
        store.open(path)
    assert path.read_bytes() == before


def set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"pragma user_version = {version}")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()


def test_what_is_no_history_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be read as the header of one; " * 20)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("create table mine (a)")
    connection.close()
    for path, words in ((text, "is not a SQLite database"), (other, "is a database of another program")):
        before = path.read_bytes()
        with pytest.raises(HistoryError, match=words) as refused:
            store.open(path)
        assert refused.value.kind == "history"
        assert "\n" not in str(refused.value)
        assert path.read_bytes() == before


def test_a_damaged_file_is_said_to_be_one_and_never_deleted(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with store.open(path) as history:
        fill(history, 1, every=MINUTE)
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(HistoryError), store.open(path) as history:
        history.record({"prod": look()}, BEGIN)
    assert path.read_bytes()[4096:] == bytes(content[4096:])


def test_a_place_where_no_file_can_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="File exists"):
        store.open(tmp_path / "file" / "history.db")
    with pytest.raises(NoHistory, match="there is no history yet"):
        store.open(tmp_path / "none.db", create=False)
    assert not (tmp_path / "none.db").exists()


def test_whoever_holds_the_lock_for_ever_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY", 0.05)
    path = tmp_path / "history.db"
    with store.open(path) as history:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("begin immediate")
        with pytest.raises(HistoryError, match="locked") as refused:
            history.record({"prod": look()}, BEGIN)
        assert "another process holds its lock" in (refused.value.hint or "")
        holder.execute("rollback")
        holder.close()
        history.record({"prod": look()}, BEGIN)


def test_a_history_that_may_only_be_read_is_read_and_nothing_is_laid_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a b?#%.db"
    with store.open(path) as history:
        history.record({"prod": look()}, BEGIN)
    # As on a read-only file system: the superuser, who may run the tests, could write to any other.
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.R_OK)
    with store.open(path, create=False) as history:
        assert [known.name for known in history.targets()] == ["prod"]
        with pytest.raises(HistoryError, match="readonly") as refused:
            history.record({"prod": look()}, BEGIN + MINUTE)
        assert "may not be written" in (refused.value.hint or "")
        assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"")
    with pytest.raises(NoHistory):
        store.open(path, create=False)


def test_where_a_history_lies_if_nobody_says() -> None:
    units = {"STATE_DIRECTORY": "/var/lib/connaudit:/var/lib/other"}
    assert store.default_path(units, "/srv/ann", root=False) == Path("/var/lib/connaudit/history.db")
    xdg = {"XDG_STATE_HOME": "/srv/ann/state"}
    relative = store.default_path({"XDG_STATE_HOME": "state"}, "/srv/ann", root=False)
    assert relative == store.default_path({}, "/srv/ann", root=False)
    assert store.default_path(xdg, "/srv/ann", root=True) == Path("/srv/ann/state/connaudit/history.db")


# What only a server has.


def test_a_role_that_may_make_no_schema_is_told_so_and_served_one_that_was_made(postgres: Running) -> None:
    url = new_database(postgres)
    name = url.rpartition("/")[2]
    plain = postgres.url(postgres.plain, name)
    with pytest.raises(HistoryError, match="permission denied") as refused:
        store.open(plain)
    assert "a schema `connaudit` of its own" in (refused.value.hint or "")
    with psycopg.connect(postgres.url(postgres.superuser, name)) as connection:
        connection.execute("create schema connaudit authorization plain")
    with store.open(plain) as history:
        history.record({"prod": look()}, BEGIN)
        assert len(history.targets()) == 1


@pytest.mark.parametrize("create", [True, False])
def test_a_role_that_may_not_use_the_schema_is_not_told_that_there_is_no_history(
    postgres: Running, create: bool
) -> None:
    url = new_database(postgres)
    with store.open(url):
        pass
    plain = postgres.url(postgres.plain, url.rpartition("/")[2])
    with pytest.raises(HistoryError, match="the role may not use the schema connaudit") as refused:
        store.open(plain, create=create)
    assert not isinstance(refused.value, NoHistory)
    assert "a schema `connaudit` of its own" in (refused.value.hint or "")


def test_a_server_with_tables_of_a_newer_connaudit_is_refused(postgres: Running) -> None:
    url = new_database(postgres)
    with store.open(url):
        pass
    with psycopg.connect(url) as connection:
        connection.execute("update connaudit.mark set value = value + 1 where name = 'schema'")
    with pytest.raises(HistoryError, match="newer connaudit"):
        store.open(url)


def test_no_failure_tells_the_password(postgres: Running) -> None:
    wrong = postgres.url(postgres.app).replace(postgres.app.password, "s3cr3t-and-wrong")
    nowhere = "postgresql://app:s3cr3t-and-wrong@127.0.0.1:1/shop?connect_timeout=2"
    for url in (wrong, nowhere):
        with pytest.raises(HistoryError) as refused:
            store.open(url)
        assert refused.value.__cause__ is None
        assert "s3cr3t" not in f"{refused.value} {refused.value.hint} {refused.value!r}"
        assert "\n" not in str(refused.value)
    with pytest.raises(UsageError) as malformed:
        store.open("postgresql://app:s3cr3t%zz@127.0.0.1/shop")
    assert "s3cr3t" not in str(malformed.value)


def test_a_history_is_served_through_a_pooler_and_leaves_nothing_behind(pooler: Running) -> None:
    name = new_database(pooler.backend or pooler).rpartition("/")[2]
    url = pooler.url(pooler.app, name)
    with store.open(url) as history:
        history.record({"prod": look()}, BEGIN)
        assert len(history.targets()) == 1
        assert history.path == f"postgresql://{pooler.host}:{pooler.port}/{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("show search_path").fetchone() == ('"$user", public',)


def test_a_server_that_stops_answering_is_hung_up_on(
    start: Any, postgres: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = start(postgres)
    with store.open(own.url(own.app)) as history:
        history.record({"prod": look()}, BEGIN)
        monkeypatch.setattr(postgresql, "LONGEST", 1.0)
        with own.paused():
            began = time.monotonic()
            with pytest.raises(HistoryError):
                history.record({"prod": look()}, BEGIN + 60)
            assert time.monotonic() - began < 10


def test_a_server_that_never_answers_is_given_up_in_the_time_that_is_left(postgres: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        with pytest.raises(HistoryError, match="does not answer"):
            store.open(f"postgresql://app:s3cr3t@127.0.0.1:{deaf.getsockname()[1]}/shop", seconds=1.0)
        assert time.monotonic() - began < postgresql.CONNECT


def test_a_table_that_another_has_locked_is_waited_for_in_the_time_that_is_left(postgres: Running) -> None:
    url = new_database(postgres)
    with store.open(url) as history:
        history.record({"prod": look()}, BEGIN)
    with psycopg.connect(url) as holder, store.open(url, seconds=2.0) as history:
        holder.execute("lock table connaudit.run")
        began = time.monotonic()
        with pytest.raises(HistoryError, match="statement timeout"):
            history.record({"prod": look()}, BEGIN + MINUTE)
        assert time.monotonic() - began < postgresql.STATEMENT / 2

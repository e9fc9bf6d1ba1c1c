"""`connaudit record` and `connaudit history`: what was stored comes back as tables, plots and lines of JSON."""

import json
import os
import random
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connaudit.history import store
from connaudit.snapshot import Capacity, State
from tests.builders import session, snapshot
from tests.cli import Environment, Result, begin, connaudit, finish, on_terminal
from tests.servers import Running, until
from tests.test_schema import validator

DEAD = "postgresql://monitor@127.0.0.1:1/shop"
HOUR = 3600.0
PATIENT = 10.0  # seconds that a slow machine may take besides


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a run finds its state: nothing is there yet."""
    return tmp_path / "state"


def env(home: Path, server: Running | None = None) -> Environment:
    return {"XDG_STATE_HOME": str(home), "DATABASE_URL": server.url() if server else None}


def file(home: Path) -> Path:
    return home / "connaudit" / "history.db"


def stored(home: Path, **more: Any) -> list[dict[str, Any]]:
    """Return all that is in the history."""
    result = connaudit("history", "export", env=env(home), **more)
    assert (result.status, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


def samples(home: Path) -> list[dict[str, Any]]:
    return [record for record in stored(home) if record["kind"] == "target"]


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.json["rows"]
    return found


def past(home: Path, hours: int, slope: float, *, target: str = "prod", floor: int = 20) -> None:
    """Record a past in which connections grew, an hour a sample, of two applications."""
    now = time.time()
    with store.open(file(home)) as history:
        for hour in range(hours):
            used = floor + round(slope * hour)
            sessions = [session(id=number, application="web" if number % 4 else "jobs") for number in range(used)]
            told = snapshot(*sessions, capacity=Capacity(limit=100, used=used + 1, reserved_superuser=3))
            history.record({target: told}, now - (hours - hour) * HOUR)


def configured(tmp_path: Path, server: Running, **history: str) -> str:
    config = tmp_path / "config.toml"
    lines = [f'[targets.prod]\ndsn = "{server.url()}"', "[history]", *(f'{k} = "{v}"' for k, v in history.items())]
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    return str(config)


def test_a_record_says_nothing_and_is_there(server: Running, home: Path) -> None:
    with server.session(server.app, "select 1"):
        result = connaudit("record", env=env(home, server))
    assert (result.status, result.out, result.err) == (0, "", "")
    assert stat.S_IMODE(file(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(file(home).parent.stat().st_mode) == 0o700
    (sample,) = samples(home)
    assert sample["up"] is True
    assert sample["used"] >= 1
    groups = [record for record in stored(home) if record["kind"] == "group"]
    assert "app" in [record["user"] for record in groups]
    assert server.monitor.password.encode() not in file(home).read_bytes()


def test_a_target_that_is_down_is_stored_as_such(postgres: Running, home: Path) -> None:
    result = connaudit("record", "env:DATABASE_URL", DEAD, env=env(home, postgres))
    assert (result.status, result.out, result.err) == (0, "", "")
    assert {sample["target"]: (sample["up"], sample["error"]) for sample in samples(home)} == {
        f"127.0.0.1:{postgres.port}/shop": (True, None),
        "127.0.0.1:1/shop": (False, "refused"),
    }


def test_where_nobody_answers_the_exit_status_is_3_and_it_is_stored_all_the_same(home: Path) -> None:
    result = connaudit("record", DEAD, env=env(home))
    assert (result.status, result.out) == (3, "")
    assert "[refused]" in result.err
    assert [sample["up"] for sample in samples(home)] == [False]


def test_a_history_that_is_told_nonsense_is_refused_before_anybody_is_asked(tmp_path: Path, postgres: Running) -> None:
    path = configured(tmp_path, postgres, path=str(tmp_path / "h.db"), keep_raw="long")
    for words in (["record"], ["history", "show"]):
        result = connaudit(*words, "--config", path)
        assert (result.status, result.out) == (3, "")
        assert "'long' is not a duration" in result.err
        assert "[config]" in result.err
    assert not (tmp_path / "h.db").exists()


def test_a_history_of_nothing_is_not_shown_as_a_table_of_nothing(postgres: Running, home: Path) -> None:
    words = ["--only", "count", "-w", "count.count=0", "--changes-only"]  # remembers verdicts alone
    with postgres.session(postgres.app):
        assert connaudit("check", *words, env=env(home, postgres)).status == 1
    for command in ("show", "plot"):
        result = connaudit("history", command, env=env(home))
        assert (result.status, result.out) == (3, "")
        assert f"{file(home)}: nothing was ever recorded there; connaudit record does [history]" in result.err


def test_every_record_of_an_export_follows_the_schema(server: Running, home: Path) -> None:
    with server.session(server.app, "select 1"):
        for url in (server.url(), DEAD):
            connaudit("record", "env:U", env={**env(home), "U": url})
    past(home, hours=30, slope=0)
    assert connaudit("history", "prune", env=env(home)).status == 0  # sums up
    records = stored(home)
    assert {record["kind"] for record in records} == {"target", "group", "target_hour", "group_hour"}
    for record in records:
        validator("history-export").validate(record)


def test_whoever_wants_to_know_is_told(postgres: Running, home: Path) -> None:
    result = connaudit("record", "env:DATABASE_URL", DEAD, "-v", env=env(home, postgres))
    assert result.out == f"1 of 2 targets answered; stored in {file(home)}\n"
    assert "127.0.0.1:1/shop" in result.err


def test_a_history_that_cannot_be_written_is_exit_3_on_one_line(postgres: Running, home: Path) -> None:
    home.write_text("a file where a directory should be")
    result = connaudit("record", env=env(home, postgres))
    assert (result.status, result.out, result.err.count("\n")) == (3, "", 1)
    assert result.err.endswith("[history]\n")


def test_thirty_records_at_once_lose_nothing(postgres: Running, home: Path) -> None:
    processes = [begin("record", "-t", "50s", "--deadline", "55s", env=env(home, postgres)) for _ in range(30)]
    results = [finish(process) for process in processes]
    assert {(result.status, result.out, result.err) for result in results} == {(0, "", "")}
    assert len(samples(home)) == 30


def test_being_killed_loses_nothing_that_was_stored(postgres: Running, home: Path) -> None:
    assert connaudit("record", env=env(home, postgres)).status == 0
    for wait in (0.1, 0.2, 0.3):
        process = begin("record", env=env(home, postgres))
        time.sleep(wait)
        process.kill()
        assert finish(process).status in (0, -signal.SIGKILL)
    assert connaudit("record", env=env(home, postgres)).status == 0
    assert len(samples(home)) >= 2


@pytest.mark.parametrize("command", ["count", "check"])
def test_an_audit_is_recorded_on_demand(postgres: Running, home: Path, command: str) -> None:
    assert connaudit(command, env=env(home, postgres)).status == 0
    assert not file(home).exists()
    result = connaudit(command, "--record", env=env(home, postgres))
    assert (result.status, result.err) == (0, "")
    assert [sample["up"] for sample in samples(home)] == [True]


def test_an_audit_that_cannot_be_recorded_is_told_and_no_less_a_report(postgres: Running, home: Path) -> None:
    home.write_text("")
    result = connaudit("count", "--record", "--json", env=env(home, postgres))
    assert result.status == 3
    assert result.json["targets"][0]["status"] == "ok"
    assert [error["kind"] for error in result.json["errors"]] == ["history"]
    assert result.err.count("\n") == 1
    assert connaudit("count", "--record", "-c", "used=1000:", env=env(home, postgres)).status == 2


def test_what_was_saved_is_not_recorded_as_if_it_were_now(home: Path, tmp_path: Path) -> None:
    result = connaudit("count", "--record", "--from", str(tmp_path / "f"), env=env(home))
    assert (result.status, result.out) == (3, "")
    assert "--record stores what servers tell now" in result.err


def test_each_sample_of_a_watch_is_recorded(postgres: Running, home: Path) -> None:
    assert connaudit("watch", "--interval", "1s", "--count", "3", "--record", env=env(home, postgres)).status == 0
    assert len(samples(home)) == 3


def test_targets_are_shown_with_how_they_went(home: Path) -> None:
    past(home, 168, 0.3)
    past(home, 24, 0.0, target="dev")
    result = connaudit("history", "show", env=env(home))
    assert (result.status, result.err) == (0, "")
    assert result.out.isascii() is False
    dev, prod = rows(connaudit("history", "show", "--json", env=env(home)))
    assert (dev["target"], dev["minimum"], dev["maximum"], dev["growth_per_hour"]) == ("dev", 20, 20, None)
    assert (prod["target"], prod["minimum"], prod["last"], prod["usable"]) == ("prod", 20, 70, 97)
    assert prod["growth_per_hour"] == pytest.approx(0.3, abs=0.03)
    assert prod["trend"][0] < prod["trend"][-1]
    assert dev["trend"][:20] == [None] * 20
    validator("history-show").validate(connaudit("history", "show", "--json", env=env(home)).json)


def test_lines_are_told_apart_by_groups(home: Path) -> None:
    past(home, 30, 0.0)
    found = rows(connaudit("history", "show", "prod", "--by", "app", "--json", env=env(home)))
    assert [(row["app"], row["metric"], row["last"]) for row in found] == [
        ("web", "sessions", 15),
        ("jobs", "sessions", 5),
    ]
    shown = connaudit("history", "show", "--by", "app", env=env(home)).out
    assert "APP" in shown
    assert "CLIENT" not in shown


def test_ages_are_shown_as_ages(home: Path) -> None:
    with store.open(file(home)) as history:
        history.record({"prod": snapshot(session(State.IDLE, in_state=3700.0))}, time.time() - 60)
    assert "1h01m" in connaudit("history", "show", "--metric", "oldest_idle", env=env(home)).out


def test_what_is_older_than_asked_for_is_left_out(home: Path) -> None:
    past(home, 48, 0.0)
    (row,) = rows(connaudit("history", "show", "--since", "5h", "--json", env=env(home)))
    assert 4 <= row["samples"] <= 5


def test_a_young_history_fills_the_width(home: Path) -> None:
    past(home, 3, 1.0)
    (row,) = rows(connaudit("history", "show", "--json", env=env(home)))
    assert row["trend"][0] == 20


@pytest.mark.parametrize("what", ["show", "plot", "prune", "export"])
def test_a_history_that_was_never_begun_is_no_ok(home: Path, what: str) -> None:
    result = connaudit("history", what, env=env(home))
    assert (result.status, result.out) == (3, "")
    assert result.err == f"connaudit: {file(home)}: there is no history yet; connaudit record begins one [history]\n"
    assert not home.exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["show", "test"], "the history has no target 'test'; there are prod"),
        (["show", "--metric", "usde"], "'usde' is not one of used, free"),
        (["show", "--by", "colour"], "'colour' is not one of db, user, app"),
        (["show", "--by", "app", "--metric", "free"], "free is told of a whole target"),
        (["plot", "--since", "0s"], "above zero"),
        (["sohw"], "Did you mean 'show'?"),
    ],
)
def test_what_makes_no_sense_is_refused(home: Path, words: list[str], why: str) -> None:
    past(home, 2, 0.0)
    result = connaudit("history", *words, env=env(home))
    assert (result.status, result.out) == (3, "")
    assert why in result.err


def test_a_plot_has_its_scale_and_its_times(home: Path) -> None:
    past(home, 168, 0.3)
    result = connaudit("history", "plot", "prod", "--utc", env=env(home))
    title, *drawn, axis, times = result.out.splitlines()
    assert title == "prod used"
    assert axis.split()[0] == "0"
    assert set(axis.split()[1]) == {"+", "-"}
    assert drawn[0].strip().startswith("97 |")  # what is usable is near, and so in the picture
    assert "█" in drawn[-1]
    assert times.split()[:2] == time.strftime("%b %d", time.gmtime(time.time() - 168 * HOUR)).split()
    assert max(map(len, result.out.splitlines())) <= 80


def test_plots_are_ascii_where_nothing_else_can_be_shown(home: Path) -> None:
    past(home, 48, 0.5)
    for words in (["plot"], ["show"]):
        result = connaudit("history", *words, env={**env(home), "LANG": "C", "LC_ALL": "C"})
        assert result.out.isascii()
    assert "#" in connaudit("history", "plot", "--ascii", env=env(home)).out


def test_a_plot_is_as_wide_as_the_terminal_and_groups_have_their_own(home: Path) -> None:
    past(home, 48, 0.5)
    result = on_terminal("history", "plot", "--by", "app", columns=60, env=env(home))
    assert result.status == 0
    assert result.out.count("prod sessions") == 2
    assert max(map(len, result.out.splitlines())) <= 60


def test_a_target_that_never_answered_has_no_plot(home: Path) -> None:
    assert connaudit("record", DEAD, env=env(home)).status == 3
    assert "no samples" in connaudit("history", "plot", env=env(home)).out


def test_an_export_is_lines_of_json_for_a_pipe_or_a_private_file(home: Path, tmp_path: Path) -> None:
    past(home, 30, 0.0)
    records = stored(home)
    assert {record["kind"] for record in records} >= {"target", "group"}
    recent = connaudit("history", "export", "--since", "3h", env=env(home)).out.splitlines()
    assert 0 < len(recent) < len(records)
    path = tmp_path / "export.ndjson"
    result = connaudit("history", "export", "-o", str(path), env=env(home))
    assert (result.status, result.out) == (0, "")
    assert [json.loads(line) for line in path.read_text().splitlines()] == records
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pruning_says_what_was_forgotten(home: Path, tmp_path: Path, postgres: Running) -> None:
    past(home, 48, 0.0)
    config = configured(tmp_path, postgres, path=str(file(home)), keep_raw="12h")
    result = connaudit("history", "prune", "--config", config)
    assert result.status == 0
    number = int(result.out.removeprefix("forgot ").split()[0])
    assert number > 30
    assert connaudit("history", "prune", "--config", config).out.startswith("forgot 0 samples")


def test_the_place_of_the_history_is_told_and_never_a_password(home: Path, tmp_path: Path, postgres: Running) -> None:
    assert connaudit("history", "path", env=env(home)).out == f"{file(home)}\n"
    assert connaudit("history", "path", env={"STATE_DIRECTORY": "/run/s"}).out == "/run/s/history.db\n"
    config = configured(tmp_path, postgres, url="postgresql://me:s3cr3t-word@db.example.net/history")
    result = connaudit("history", "path", "--config", config)
    assert result.out == "postgresql://db.example.net/history\n"
    assert not home.exists()


@pytest.fixture
def database(postgres: Running) -> Iterator[str]:
    """An empty database for a history."""
    name = f"history_{random.randrange(10**9)}"
    with psycopg.connect(postgres.url(postgres.superuser), autocommit=True) as connection:
        connection.execute(f"create database {name} owner app".encode())
        yield postgres.url(postgres.app, name)
        connection.execute(f"drop database {name} with (force)".encode())


def test_a_history_may_lie_in_a_database(postgres: Running, tmp_path: Path, database: str) -> None:
    config = configured(tmp_path, postgres, url=database)
    for _ in range(2):
        result = connaudit("record", "--config", config)
        assert (result.status, result.out, result.err) == (0, "", "")
    (row,) = rows(connaudit("history", "show", "--json", "--config", config))
    assert (row["target"], row["samples"]) == ("prod", 2)
    assert connaudit("leaks", "--config", config).status == 0


def leaks(config: str, *words: str) -> Any:
    result = connaudit("leaks", "--json", "--config", config, *words)
    validator("leaks").validate(result.json)
    return result


def test_leaks_are_told_how_their_target_grew(postgres: Running, home: Path, tmp_path: Path) -> None:
    past(home, 168, 0.3)
    config = configured(tmp_path, postgres, path=str(file(home)))
    result = leaks(config)
    summary = result.json["targets"][0]["summary"]
    assert result.status == 1
    assert summary["growth_proven"] is True
    assert summary["growth_per_hour"] == pytest.approx(0.3, abs=0.03)
    assert summary["exhaustion_seconds"] == pytest.approx(90 * HOUR, rel=0.2)
    assert {finding["code"] for finding in result.json["targets"][0]["findings"]} == {"CA504"}
    assert "hourly floors): +0.30 connections/h [" in connaudit("leaks", "--config", config).out
    assert connaudit("check", "--only", "leaks", "--config", config).status == 1
    assert leaks(config, "--since", "6h").json["targets"][0]["summary"]["growth_proven"] is False


def test_a_mornings_ramp_is_no_more_than_a_caveat(postgres: Running, home: Path, tmp_path: Path) -> None:
    past(home, 12, 3.0)
    result = leaks(configured(tmp_path, postgres, path=str(file(home))))
    assert result.status <= 1
    assert "may_be_daily_cycle" in result.json["targets"][0]["summary"]["caveats"]


def test_without_a_history_growth_is_not_judged_and_that_is_said(postgres: Running, home: Path) -> None:
    result = connaudit("leaks", env=env(home, postgres))
    assert (result.status, result.err) == (0, "")
    assert "no history: growth is not judged" in result.out


def test_a_history_that_cannot_be_read_is_no_ok(postgres: Running, home: Path) -> None:
    file(home).parent.mkdir(parents=True)
    file(home).write_text("no database")
    result = connaudit("leaks", env=env(home, postgres))
    assert result.status == 3
    assert "is not a SQLite database" in result.err
    assert connaudit("count", env=env(home, postgres)).status == 0


def test_a_page_shows_what_went_before(postgres: Running, home: Path, tmp_path: Path) -> None:
    past(home, 168, 0.3)
    config = configured(tmp_path, postgres, path=str(file(home)))
    page = connaudit("count", "-f", "html", "--config", config).out
    assert page.count("<svg") == 1
    assert "connections in use, the last 7 days" in page
    assert page.count('class="limit"') == 1
    assert "<svg" not in connaudit("count", "-f", "html", "--config", "none", env=env(tmp_path / "none", postgres)).out


def test_a_record_from_cron_has_ended_before_the_next_one(postgres: Running, home: Path) -> None:
    with postgres.paused():
        result = connaudit("record", "-q", "--deadline", "2s", env=env(home, postgres))
    assert result.status == 3
    assert result.seconds < 6
    until(lambda: os.path.exists(file(home)))
    assert [sample["error"] for sample in samples(home)] == ["timeout"]


def test_a_history_that_never_answers_neither_spoils_nor_delays_an_audit(tmp_path: Path, postgres: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://app:s3cr3t@127.0.0.1:{deaf.getsockname()[1]}/shop"
        path = configured(tmp_path, postgres, url=url)
        words = ["--only", "count,leaks", "--record", "--changes-only", "--deadline", "8s", "--json"]
        result = connaudit("check", "--config", path, *words)
    (target,) = result.json["targets"]
    assert (result.status, target["error"]) == (3, None)
    assert [check["check"] for check in target["checks"]] == ["count", "leaks"]
    assert [error["kind"] for error in result.json["errors"]] == ["history"]  # asked three times, tried once
    assert result.err.count("\n") == 1
    assert "s3cr3t" not in result.out + result.err
    assert result.seconds < 8 + PATIENT

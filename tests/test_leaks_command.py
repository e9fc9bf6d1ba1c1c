"""`connaudit leaks` on live programs: looks in a series, and around a command that leaks or does not."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli import PROGRAM, Result, connaudit, environment
from tests.servers import Running, until

CONNECT = {
    "postgresql": 'psycopg.connect("{url}", autocommit=True, application_name="suite")',
    "mysql": "pymysql.connect({keywords}, autocommit=True, program_name='suite')",
}


def env(server: Running) -> dict[str, str | None]:
    return {"DATABASE_URL": server.url()}


def suite(server: Running, place: Path, body: str) -> Path:
    """Write a test suite for pytest; `connect()` in it opens a connection of the application."""
    opening = CONNECT[server.engine].format(
        url=server.url(server.app),
        keywords=f"host='{server.host}', port={server.port}, user='app', password='{server.app.password}'",
    )
    file = place / "test_suite.py"
    driver = "psycopg" if server.is_postgres else "pymysql"
    head = (
        f"import subprocess, sys, time\nimport pytest, {driver}\n\ndef connect():\n    return {opening}\n\nkept = []\n"
    )
    file.write_text(head + textwrap.dedent(body))
    return file


LEAKING = """
    @pytest.mark.parametrize("number", range(8))
    def test_order(number):
        connection = connect()
        connection.cursor().execute("select 1")
        kept.append(connection)
        time.sleep({pause})
"""
CLEAN = """
    @pytest.mark.parametrize("number", range(8))
    def test_order(number):
        connection = connect()
        try:
            connection.cursor().execute("select 1")
        finally:
            connection.close()
        time.sleep({pause})
"""
ORPHAN = """
    def test_worker():
        holder = "import sys, time; sys.path.insert(0, {place!r}); import test_suite as t; "
        holder += "c = t.connect(); c.cursor().execute('{begin}'); c.cursor().execute('select 1'); "
        holder += "print('there', flush=True); time.sleep(30)"
        worker = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, start_new_session=True)
        assert worker.stdout.readline() == b"there\\n"
        open({pid!r}, "w").write(str(worker.pid))
"""
DJANGO = """
    import threading
    import django, pytest
    from django.conf import settings

    where = dict(HOST="{server.host}", PORT={server.port}, NAME="shop", USER="{app.name}", PASSWORD="{app.password}")
    settings.configure(DATABASES=dict(default=dict(where, ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=60)))
    django.setup()
    from django.db import close_old_connections, connection, connections

    def work(done):
        try:
            connection.cursor().execute("select 1")
        finally:
            {closing}
        done.set()
        threading.Event().wait()  # for more to do

    @pytest.mark.parametrize("number", range(8))
    def test_order(number):
        done = threading.Event()
        threading.Thread(target=work, args=[done], daemon=True).start()
        assert done.wait(30)
        threading.Event().wait(0.1)
"""


def around(server: Running, command: Sequence[str | Path], *words: str, within: float = 60) -> Result:
    began = time.monotonic()
    done = subprocess.run(
        [PROGRAM, "leaks", *words, "--around", "--", *command],
        capture_output=True,
        text=True,
        env=environment(env(server)) | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=within,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def run_pytest(file: Path) -> list[str | Path]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", file.parent, file]


def pause(server: Running) -> float:
    """Return how long a test lasts: MySQL tells whole seconds, and not when a connection was opened."""
    return 0.1 if server.is_postgres else 2.1


def test_a_test_run_that_leaks_is_caught_and_its_connections_are_named(server: Running, tmp_path: Path) -> None:
    result = around(server, run_pytest(suite(server, tmp_path, LEAKING.format(pause=pause(server)))), "--json")
    assert result.status == 1, result
    assert "8 passed" in result.out
    report = json.loads(result.err)
    assert report["schema"] == "connaudit.around/1"
    (target,) = report["targets"]
    assert target["status"] == "warning"
    assert [finding["code"] for finding in target["findings"]] == ["CA508"]
    rows = target["rows"]
    assert {row["when"] for row in rows} == {"until the end"}
    assert {row["user"] for row in rows} == {"app"}
    assert len(rows) >= 5


def test_a_clean_test_run_passes(server: Running, tmp_path: Path) -> None:
    result = around(server, run_pytest(suite(server, tmp_path, CLEAN.format(pause=0.1))))
    assert result.status == 0, result
    assert "8 passed" in result.out
    assert "OK  nothing was left behind" in result.err


def test_workers_that_djangos_tests_start_must_close_all_connections_and_not_old_ones(
    postgres: Running, tmp_path: Path
) -> None:
    for closing, status in (("close_old_connections()", 1), ("connections.close_all()", 0)):
        file = tmp_path / "test_orders.py"
        file.write_text(textwrap.dedent(DJANGO.format(server=postgres, app=postgres.app, closing=closing)))
        result = around(postgres, run_pytest(file), "--json")
        assert (result.status, "8 passed" in result.out) == (status, True), result
        (target,) = json.loads(result.err)["targets"]
        assert [finding["code"] for finding in target["findings"]] == ["CA508"] * status


def test_a_transaction_that_outlives_the_run_is_left_behind(server: Running, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begin = "begin" if server.is_postgres else "start transaction with consistent snapshot"
    file = suite(server, tmp_path, ORPHAN.format(place=str(tmp_path), pid=str(pid), begin=begin))
    result = around(server, run_pytest(file))
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert "1 passed" in result.out
    assert result.status == 1, result
    assert "1 session is left behind after the end" in result.err
    assert "1 of them idle in transaction" in result.err
    assert "after the end  idle in transaction" in result.err
    assert result.seconds > 5  # it was given time to go


def test_the_commands_output_passes_through_untouched_and_its_status_counts(postgres: Running) -> None:
    result = around(postgres, ["sh", "-c", "printf 'a\\0b'; printf 'to stderr\\n' >&2; cat; exit 7"], "-q")
    assert (result.status, result.out, result.err) == (7, "a\0b", "to stderr\n")
    assert around(postgres, ["sh", "-c", "kill -9 $$"], "-q").status == 128 + signal.SIGKILL


def test_the_report_may_go_to_a_file(postgres: Running, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = around(postgres, ["echo", "hello"], "--json", "-o", str(report))
    assert (result.status, result.out, result.err) == (0, "hello\n", "")
    assert json.loads(report.read_text())["targets"][0]["summary"]["left"] == 0


def test_a_server_out_of_reach_spoils_no_command_and_is_no_ok() -> None:
    words = [str(PROGRAM), "leaks", "postgresql://m@127.0.0.1:1/d", "--around", "--"]
    for command, status in ((["echo", "hello"], 3), (["sh", "-c", "echo hello; exit 4"], 4)):
        done = subprocess.run(
            [*words, *command], capture_output=True, text=True, env=environment(), timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (status, "hello\n")
        assert "[refused]" in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--around"], "--around: no command"),
        (["--around", "--"], "--around: no command"),
        (["--around", "--", "/nonexistent/program"], "cannot run /nonexistent/program: no such file or directory"),
        (["--around", "--from", "f", "--", "true"], "give one of them"),
        (["--watch", "10s", "--from", "f"], "give one of them"),
        (["--watch", "0s"], "above zero"),
        (["--bound", "web"], "no bound"),
    ],
)
def test_what_makes_no_sense_is_refused(postgres: Running, words: list[str], why: str) -> None:
    result = connaudit("leaks", *words, env=env(postgres))
    assert (result.status, result.out) == (3, "")
    assert why in result.err
    assert result.err.endswith("[usage]\n")


def test_words_after_two_hyphens_are_targets_where_nothing_is_run(postgres: Running) -> None:
    assert connaudit("leaks", "--", "env:DATABASE_URL", env=env(postgres)).status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(postgres: Running, tmp_path: Path, number: signal.Signals) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    script = f"trap 'sleep 0.5; touch {ended}; exit 0' TERM INT; touch {started}; while true; do sleep 0.1; done"
    with subprocess.Popen(
        [PROGRAM, "leaks", "--around", "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(env(postgres)),
    ) as process:
        until(started.exists)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == -number
    assert ended.exists()
    assert err.decode() == f"connaudit: interrupted by {number.name}\n"


@contextmanager
def leaking(server: Running, every: float) -> Iterator[None]:
    """Open connections and forget them, as long as the context lasts."""
    name = "psycopg" if server.is_postgres else "pymysql"
    opening = CONNECT[server.engine].format(
        url=server.url(server.app),
        keywords=f"host='{server.host}', port={server.port}, user='app', password='{server.app.password}'",
    )
    source = (
        f"import {name}, time\nkept = []\nwhile True:\n    c = {opening}\n    c.cursor().execute('select 1')\n"
        f"    kept.append(c)\n    time.sleep({every})\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], env=environment()) as process:
        try:
            yield
        finally:
            process.kill()


def groups(result: Result) -> dict[str, Any]:
    return {row["user"]: row for row in result.json["targets"][0]["rows"]}


def test_a_series_proves_a_leak_that_lasts_for_a_while(server: Running, tmp_path: Path) -> None:
    path = tmp_path / "series.ndjson"
    seconds = 14 if server.is_postgres else 28
    with leaking(server, every=1.2 if server.is_postgres else 2.2):
        until(lambda: connaudit("leaks", "--json", env=env(server)).json["targets"][0]["rows"], within=20)
        there = connaudit("leaks", "--watch", f"{seconds}s", "--json", "--save", str(path), env=env(server))
    assert there.status == 1
    assert groups(there)["app"]["verdict"] == "leak growing"
    looks = there.json["targets"][0]["summary"]["looks"]
    assert looks == seconds + 1
    assert len(path.read_text().splitlines()) == looks
    here = connaudit("leaks", "--from", str(path), "--json")
    assert groups(here) == groups(there)


def test_a_series_is_looked_at_over_one_session(postgres: Running) -> None:
    count = "select count(*) from pg_stat_activity where usename = %s"
    with subprocess.Popen(
        [PROGRAM, "leaks", "--watch", "4s"], stdout=subprocess.PIPE, env=environment(env(postgres))
    ) as process:
        until(lambda: postgres.ask(count, "monitor") == [(1,)])
        seen = []
        while process.poll() is None:
            seen += postgres.ask(count, "monitor")
            time.sleep(0.1)
    assert {number for (number,) in seen} <= {0, 1}
    assert process.returncode == 0


def test_bounds_come_from_the_configuration_and_the_command_line(postgres: Running, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[bounds]\n"sho*" = 1\n')
    with ExitStack() as holders:
        for _ in range(4):
            holders.enter_context(postgres.session(postgres.app, "set application_name = 'shop'", "select 1"))
        words = ("leaks", "--json", "--config", str(config))
        found = groups(connaudit(*words, env=env(postgres)))["app"]
        assert (found["verdict"], found["bound"]) == ("excess over bound", 1)
        assert groups(connaudit(*words, "--bound", "shop=4", env=env(postgres)))["app"]["bound"] == 4


@pytest.mark.parametrize("line", ["web = -1", 'web = "many"', "web = true", "web = 1.5"])
def test_a_bound_that_is_no_number_is_refused(tmp_path: Path, line: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f"[bounds]\n{line}\n")
    result = connaudit("leaks", "--config", str(config), "postgresql://m@127.0.0.1:1/d")
    assert result.status == 3
    assert "[bounds]: web is to be a number of connections [config]" in result.err

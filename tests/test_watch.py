"""`connaudit watch`: one session for each target, every sample true, and out by the door that was asked for."""

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli import PROGRAM, begin, connaudit, environment, finish
from tests.conftest import Start
from tests.engines.restarting import environment_of, start_again
from tests.servers import Running, until
from tests.terminal import Terminal

DEAD = "postgresql://monitor@127.0.0.1:1/shop"


def env(server: Running) -> dict[str, str | None]:
    return {"DATABASE_URL": server.url()}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class Watched:
    """A watch whose lines are read as they come."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def line(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())


@contextmanager
def watched(server: Running, *words: str) -> Iterator[Watched]:
    process = begin("watch", *words, env=env(server))
    try:
        yield Watched(process)
    finally:
        process.kill()
        process.communicate()


def sessions(server: Running) -> list[Any]:
    statement = (
        "select pid from pg_stat_activity where usename = %s"
        if server.is_postgres
        else "select id from information_schema.processlist where user = %s"
    )
    return [row[0] for row in server.ask(statement, server.monitor.name)]


def test_off_a_terminal_there_is_a_line_of_json_for_each_target_and_sample(server: Running) -> None:
    began = time.monotonic()
    result = connaudit("watch", "env:A", DEAD, "--interval", "1s", "--count", "3", env={"A": server.url()})
    assert time.monotonic() - began > 2
    told = lines(result.out)
    assert (result.status, result.err) == (3, "")
    assert {line["schema"] for line in told} == {"connaudit.count/1"}
    assert sorted(line["status"] for line in told) == ["ok"] * 3 + ["unknown"] * 3
    assert {line["error"]["kind"] for line in told if line["error"]} == {"refused"}
    starts = [line["started_at"] for line in told if line["status"] == "ok"]
    assert len(set(starts)) == 3


def test_each_line_is_there_when_it_was_taken(postgres: Running) -> None:
    with watched(postgres, "--interval", "1s") as watch:
        for _ in range(3):
            watch.line()
            arrived = time.monotonic()
        watch.line()
        assert 0.3 < time.monotonic() - arrived < 5
        assert watch.process.poll() is None


def test_a_watch_has_one_session_at_each_target_and_leaves_none(server: Running) -> None:
    until(lambda: not sessions(server))
    with watched(server, "check", "--interval", "1s") as watch:
        watch.line()
        (one,) = sessions(server)
        for _ in range(3):
            watch.line()
            assert sessions(server) == [one]
    until(lambda: not sessions(server))


def test_what_changes_between_samples_is_seen(server: Running) -> None:
    with watched(server, "idle-tx", "--min-age", "0s", "--interval", "1s") as watch:
        assert watch.line()["rows"] == []
        with server.session(server.app, "create table if not exists t (x int)", "begin", "select * from t") as client:
            until(lambda: [row["pid"] for row in watch.line()["rows"]] == [client.id], every=0)
            age = watch.line()["rows"][0]["idle_seconds"]
            until(lambda: watch.line()["rows"][0]["idle_seconds"] > age, every=0)
        until(lambda: watch.line()["rows"] == [], every=0)


def test_a_restart_of_the_server_is_survived_and_shown_as_unknown(server: Running, start: Start) -> None:
    server = start(server)
    with watched(server, "--interval", "1s") as watch:
        assert watch.line()["status"] == "ok"
        surroundings = environment_of(server)
        server.stop()
        lost = until(lambda: [line for line in [watch.line()] if line["status"] == "unknown"], every=0)
        assert lost[0]["error"]["kind"] in ("refused", "query")
        start_again(server, surroundings)
        until(lambda: watch.line()["status"] == "ok", within=20, every=0)
        assert len(sessions(server)) == 1


def test_a_server_that_is_full_is_watched_on(postgres: Running, start: Start) -> None:
    small = start(postgres, max_connections=6, superuser_reserved_connections=1)
    with watched(small, "--interval", "1s", "-c", "free=2:") as watch, ExitStack() as holders:
        assert watch.line()["status"] == "ok"
        for _ in range(4):
            holders.enter_context(small.session(small.app))
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            small.connect(small.app)
        found = until(lambda: [line for line in [watch.line()] if line["status"] == "critical"], every=0)
        assert found[0]["error"] is None


def test_a_reader_that_has_seen_enough_ends_it_by_sigpipe_without_a_word(postgres: Running) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM} watch --interval 1s | head -3; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=environment(env(postgres)),
        timeout=60,
        check=True,
    )
    *told, status = done.stdout.splitlines()
    assert (len(lines("\n".join(told))), status, done.stderr) == (3, "141", "")
    until(lambda: not sessions(postgres))


def test_it_leaves_at_the_verdict_that_was_waited_for(postgres: Running) -> None:
    words = ("idle-tx", "--min-age", "0s", "-w", "count=0", "-c", "count=1", "--interval", "1s")
    process = begin("watch", *words, "--until", "critical", env=env(postgres))
    with postgres.session(postgres.app, "begin", "select 1"):
        time.sleep(1.5)
        assert process.poll() is None  # a warning is not what was waited for
        with postgres.session(postgres.app, "begin", "select 1"):
            result = finish(process)
    assert result.status == 2
    assert lines(result.out)[-1]["status"] == "critical"
    assert [line["status"] for line in lines(result.out)].count("critical") == 1


def test_what_cannot_be_determined_is_not_what_was_waited_for() -> None:
    result = connaudit("watch", DEAD, "--interval", "1s", "--count", "2", "--until", "warning")
    assert (len(lines(result.out)), result.status) == (2, 3)


def test_the_exit_status_is_that_of_the_last_verdict(postgres: Running) -> None:
    words = ("--interval", "1s", "--count", "2")
    assert connaudit("watch", *words, env=env(postgres)).status == 0
    assert connaudit("watch", *words, "-w", "used=1000:", "-c", "used=~:1000", env=env(postgres)).status == 1
    assert connaudit("watch", *words, "-c", "used=1000:", env=env(postgres)).status == 2
    assert connaudit("watch", *words, "-c", "used=1000:", "--exit-zero", env=env(postgres)).status == 0


def test_it_leaves_when_its_time_is_over(postgres: Running) -> None:
    result = connaudit("watch", "--interval", "1s", "--for", "2500ms", env=env(postgres))
    assert (len(lines(result.out)), result.status) == (3, 0)


def test_a_file_gets_lines_behind_those_it_has_and_may_be_renamed(postgres: Running, tmp_path: Path) -> None:
    path = tmp_path / "watch.ndjson"
    path.write_text('"there before"\n')
    process = begin("watch", "--interval", "1s", "-o", str(path), env=env(postgres))
    until(lambda: len(path.read_text().splitlines()) >= 3, within=20)
    path.rename(tmp_path / "old")
    until(path.exists, within=20)
    process.send_signal(signal.SIGTERM)
    result = finish(process)
    assert result.out == ""
    assert (tmp_path / "old").read_text().startswith('"there before"\n{"schema"')
    assert lines(path.read_text())[0]["schema"] == "connaudit.count/1"


def test_samples_are_kept_as_they_come_for_their_owner_alone(postgres: Running, tmp_path: Path) -> None:
    path = tmp_path / "series.ndjson"
    connaudit("watch", "--interval", "1s", "--count", "3", "--save", str(path), env=env(postgres))
    assert len(path.read_text().splitlines()) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = connaudit("leaks", "--from", str(path), "--json")
    assert again.json["targets"][0]["status"] == "ok"


def test_quiet_says_nothing_while_all_is_well(postgres: Running) -> None:
    words = ("--interval", "1s", "--count", "2", "-q")
    assert connaudit("watch", *words, env=env(postgres)).out == ""
    assert len(lines(connaudit("watch", *words, "-c", "used=1000:", env=env(postgres)).out)) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--interval", "999ms"], "no more than one sample in 1s"),
        (["--until", "unknown"], "'unknown' is not one of warning, critical"),
        (["--count", "0"], "not a whole number from 1 on"),
        (["--from", "f"], "connaudit leaks --from"),
        (["-f", "csv"], "watch writes table, wide, ndjson, and not csv"),
        (["idel-tx"], "idel-tx"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], why: str) -> None:
    result = connaudit("watch", *words)
    assert (result.status, result.out) == (3, "")
    assert why in result.err
    assert result.err.endswith("[usage]\n")


def test_options_stand_before_or_after_the_check_and_the_check_may_be_left_out(postgres: Running) -> None:
    once = ("--count", "1")
    for words in ((*once, "idle-tx"), ("idle-tx", *once), ("idle-tx", "env:DATABASE_URL", *once, "--min-age", "5s")):
        assert lines(connaudit("watch", *words, env=env(postgres)).out)[0]["schema"] == "connaudit.idle-tx/1"
    assert connaudit("--json", "watch", "check", *once, env=env(postgres)).out.startswith(
        '{"schema": "connaudit.check/1'
    )
    for unnamed in (once, ("env:DATABASE_URL", *once), (*once, "env:DATABASE_URL")):
        assert lines(connaudit("watch", *unnamed, env=env(postgres)).out)[0]["schema"] == "connaudit.count/1"


def test_leaks_are_judged_by_all_samples_so_far(postgres: Running) -> None:
    with ExitStack() as forsaken, watched(postgres, "leaks", "--interval", "1s", "--idle-age", "2s") as watch:
        watch.line()
        for _ in range(10):
            forsaken.enter_context(postgres.session(postgres.app, "select 1"))
            time.sleep(2.1)
        until(lambda: verdict_on_app(watch.line()) == "leak growing", within=20, every=0)


def verdict_on_app(line: dict[str, Any]) -> str | None:
    return next((row["verdict"] for row in line["rows"] if row["user"] == "app"), None)


def test_a_signal_ends_it_as_it_ends_any_program(postgres: Running) -> None:
    process = begin("watch", "--interval", "1s", env=env(postgres))
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert (result.status, result.err) == (-signal.SIGINT, "connaudit: interrupted by SIGINT\n")
    until(lambda: not sessions(postgres))


@pytest.mark.parametrize("end", ["q", "\x03"])
def test_on_a_terminal_the_table_stays_in_its_place_and_whoever_leaves_leaves_in_peace(
    postgres: Running, end: str
) -> None:
    with Terminal("watch", "--interval", "1s", env=env(postgres)) as terminal:
        terminal.wait_for("q leaves", times=3)
        assert terminal.modes != terminal.before
        terminal.press(end)
        assert terminal.left() == (0, "")
        assert terminal.modes == terminal.before
        shown = terminal.shown
    assert "usable connections in use" in shown
    assert "\x1b[?1049" not in shown
    height = shown.partition("q leaves")[0].count("\n") + 1
    assert f"\x1b[{height}A" in shown
    until(lambda: not sessions(postgres))


def test_a_signal_gives_the_terminal_back(postgres: Running) -> None:
    with Terminal("watch", "--interval", "1s", env=env(postgres)) as terminal:
        terminal.wait_for("q leaves")
        terminal.send(signal.SIGTERM)
        status, err = terminal.left()
        assert status == -signal.SIGTERM
        assert "SIGTERM" in err
        assert terminal.modes == terminal.before


def test_a_terminal_that_cannot_move_gets_tables_below_each_other(postgres: Running) -> None:
    with Terminal("watch", "--interval", "1s", "--count", "2", env={**env(postgres), "TERM": "dumb"}) as terminal:
        assert terminal.left() == (0, "")
        assert "\x1b" not in terminal.shown
        assert terminal.shown.count("usable connections in use") == 2


def test_a_picture_is_never_higher_than_the_terminal(postgres: Running) -> None:
    with Terminal("watch", "--interval", "1s", rows=6, env=env(postgres)) as terminal:
        terminal.wait_for("q leaves", times=2)
        assert "more lines)" in terminal.shown
        assert terminal.shown.partition("q leaves")[0].count("\n") < 6
        terminal.resize(60, 20)
        terminal.wait_for("\x1b[H\x1b[2J", times=2)
        terminal.press("q")
        assert terminal.left() == (0, "")


def test_garbage_is_collected_while_it_runs(postgres: Running) -> None:
    def memory(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    with watched(postgres, "check", "--interval", "1s") as watch:
        watch.line()
        watch.line()
        before = memory(watch.process.pid)
        for _ in range(4):
            watch.line()
        assert memory(watch.process.pid) - before < 4096  # kB
        assert os.path.exists(f"/proc/{watch.process.pid}")


def test_a_format_for_audits_that_a_file_sets_does_not_hold_for_watch(tmp_path: Path, postgres: Running) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[defaults]\nformat = "nagios"\n')
    result = connaudit("watch", "--count", "1", "--config", str(path), env=env(postgres))
    assert [line["schema"] for line in lines(result.out)] == ["connaudit.count/1"], result
    refused = connaudit("watch", "-f", "nagios", "--config", str(path), env=env(postgres))
    assert (refused.status, "watch writes table, wide, ndjson" in refused.err) == (3, True)


def test_a_fleet_that_is_larger_than_the_limit_of_open_files_is_not_watched() -> None:
    words = f"watch --count 1 {' '.join(['postgresql://m@127.0.0.1:1/d'] * 40)}"
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -n 40 && exec {PROGRAM} {words}"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    assert "a connection is kept to each of 40 targets" in done.stderr
    assert "ulimit -n" in done.stderr


def test_a_history_that_fails_for_a_while_ends_no_watch(tmp_path: Path, postgres: Running) -> None:
    state = tmp_path / "state"
    state.touch()  # no directory: nothing can be stored there
    variables = {**env(postgres), "XDG_STATE_HOME": str(state)}
    once = connaudit("watch", "--record", "--count", "1", env=variables)
    assert (once.status, len(lines(once.out)), once.err.count("[history]\n")) == (3, 1, 1)
    process = begin("watch", "--record", "--interval", "1s", env=variables)
    assert process.stdout
    for _ in range(2):
        assert json.loads(process.stdout.readline())["status"] == "ok"
    state.unlink()
    until(lambda: '"kind": "target"' in connaudit("history", "export", env=variables).out, 20, every=0.5)
    process.terminate()
    result = finish(process)
    assert (result.status, result.err.count("[history]\n")) == (-signal.SIGTERM, 1)  # not at each sample


def test_watch_speaks_of_every_sample_and_says_so(postgres: Running) -> None:
    result = connaudit("watch", "--changes-only", env=env(postgres))
    assert (result.status, result.out) == (3, "")
    assert "watch tells every sample" in result.err

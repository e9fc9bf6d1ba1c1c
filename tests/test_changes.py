"""`--changes-only`: cron mails when something changes, and from time to time while it is bad, and else is quiet."""

import math
import os
import subprocess
from pathlib import Path

import pytest

from connaudit.cli.changes import Key, news
from connaudit.history.store import Alert
from tests.cli import PROGRAM, Result, connaudit, environment
from tests.servers import Running

COUNT: Key = ("eu", "count")
IDLE: Key = ("eu", "idle-tx")


def remembered(verdict: str, spoken: float = 100.0) -> dict[Key, Alert]:
    return {COUNT: Alert(verdict, 50.0, spoken)}


@pytest.mark.parametrize(
    ("before", "now", "at", "repeat", "spoken"),
    [
        ({}, "ok", 100.0, 60.0, False),
        ({}, "warning", 100.0, 60.0, True),
        (remembered("ok"), "ok", 1e9, 60.0, False),
        (remembered("warning"), "warning", 159.9, 60.0, False),
        (remembered("warning"), "warning", 160.0, 60.0, True),
        (remembered("warning"), "warning", 1e9, math.inf, False),
        (remembered("warning"), "critical", 100.1, 60.0, True),
        (remembered("critical"), "warning", 100.1, 60.0, True),
        (remembered("critical"), "ok", 100.1, 60.0, True),
        (remembered("ok"), "unknown", 100.1, 60.0, True),
    ],
)
def test_what_is_news(before: dict[Key, Alert], now: str, at: float, repeat: float, spoken: bool) -> None:
    assert news(before, {COUNT: now}, at, repeat).spoken is spoken


def test_what_is_spoken_begins_the_wait_for_all_that_is_bad() -> None:
    before = remembered("warning") | {IDLE: Alert("warning", 70.0, 90.0)}
    told = news(before, {COUNT: "critical", IDLE: "warning"}, 120.0, 60.0)
    assert told.alerts == {COUNT: Alert("critical", 120.0, 120.0), IDLE: Alert("warning", 70.0, 120.0)}


def test_silence_changes_no_memory() -> None:
    assert news(remembered("warning"), {COUNT: "warning"}, 120.0, 60.0).alerts == {}
    assert news({}, {COUNT: "ok"}, 120.0, 60.0).alerts == {}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def check(url: str, home: dict[str, str], *words: str, bad: bool = False) -> Result:
    limits = ["-w", "count.count=0", "-c", "count.count=1000"] if bad else []
    return connaudit("check", "--only", "count", *limits, *words, env={"DATABASE_URL": url, **home})


def test_a_run_speaks_when_a_verdict_changes_and_else_has_no_byte(postgres: Running, home: dict[str, str]) -> None:
    def runs(*, bad: bool) -> tuple[int, bool]:
        result = check(postgres.url(), home, "--changes-only", bad=bad)
        assert result.err == ""
        return result.status, bool(result.out)

    with postgres.session(postgres.app):
        assert runs(bad=False) == (0, False)
        assert runs(bad=True) == (1, True)
        assert runs(bad=True) == (1, False)
        assert runs(bad=False) == (0, True)
        assert runs(bad=False) == (0, False)


def test_a_bad_verdict_is_said_again_after_a_while(postgres: Running, home: dict[str, str]) -> None:
    with postgres.session(postgres.app):
        spoken = [
            bool(check(postgres.url(), home, f"--changes-only={again}", bad=True).out) for again in ("1h", "1h", "1ms")
        ]
    assert spoken == [True, False, True]


def test_a_target_that_went_away_is_news_once_on_both_streams(postgres: Running, home: dict[str, str]) -> None:
    gone = postgres.url(port=1)
    name = ["--config", "none"]
    first, second = (check(gone, home, "--changes-only", *name) for _ in range(2))
    assert (first.status, second.status) == (3, 3)
    assert "[refused]" in first.err
    assert (second.out, second.err) == ("", "")


def test_quiet_says_one_line_of_a_recovery_and_no_more(postgres: Running, home: dict[str, str]) -> None:
    with postgres.session(postgres.app):
        assert check(postgres.url(), home, "-q", "--changes-only=4h", bad=True).out
        assert check(postgres.url(), home, "-q", "--changes-only=4h", bad=True).out == ""
        recovered = check(postgres.url(), home, "-q", "--changes-only=4h")
        assert (recovered.status, recovered.err) == (0, "")
        assert recovered.out.startswith("OK  recovered: ")
        assert recovered.out.endswith(" count\n")
        assert check(postgres.url(), home, "-q", "--changes-only=4h").out == ""
        assert check(postgres.url(), home, "-q", "--changes-only=4h", bad=True).out


def test_a_memory_that_cannot_be_kept_is_said_and_silences_nobody(postgres: Running, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = check(postgres.url(), {"XDG_STATE_HOME": str(tmp_path / "file")}, "--changes-only")
    assert result.status == 3
    assert "OK" in result.out
    assert "[history]" in result.err
    assert result.err.count("\n") == 1


def test_checks_that_were_not_asked_are_left_as_they_were(postgres: Running, home: dict[str, str]) -> None:
    with postgres.session(postgres.app):
        assert check(postgres.url(), home, "--changes-only", bad=True).out
        other = connaudit("check", "--only", "idle-tx", "--changes-only", env={"DATABASE_URL": postgres.url(), **home})
        assert other.out == ""
        assert check(postgres.url(), home, "--changes-only", bad=True).out == ""


def test_the_value_is_written_with_an_equals_sign_and_a_target_may_follow(
    postgres: Running, home: dict[str, str]
) -> None:
    result = connaudit("check", "--changes-only", "env:U", env={"U": postgres.url(), **home})
    assert (result.status, result.err) == (0, "")
    assert "'soon' is not a duration" in connaudit("check", "--changes-only=soon", "host=h").err


def test_a_configuration_may_ask_for_it(postgres: Running, home: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[defaults]\nchanges_only = "4h"\n')
    with postgres.session(postgres.app):
        runs = [check(postgres.url(), home, "--config", str(config), bad=True).out for _ in range(2)]
    assert [bool(out) for out in runs] == [True, False]


def test_many_runs_at_once_break_nothing_and_one_of_them_speaks(postgres: Running, home: dict[str, str]) -> None:
    words = ["check", "--only", "count", "-w", "count.count=0", "-c", "count.count=1000", "--changes-only"]
    env = environment({"DATABASE_URL": postgres.url(), **home})
    with postgres.session(postgres.app):
        running = [
            subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
            for _ in range(6)
        ]
        ended = [(process, *process.communicate(timeout=60)) for process in running]
        again = check(postgres.url(), home, "--changes-only", bad=True)
    assert [(process.returncode, err) for process, _, err in ended] == [(1, b"")] * len(ended)
    assert any(out for _, out, _ in ended)
    assert again.out == ""


def test_what_is_remembered_is_for_its_owner_alone(postgres: Running, home: dict[str, str]) -> None:
    with postgres.session(postgres.app):
        check(postgres.url(), home, "--changes-only", bad=True)
    (path,) = Path(home["XDG_STATE_HOME"]).rglob("history.db")
    assert os.stat(path).st_mode & 0o077 == 0
    assert postgres.monitor.password.encode() not in path.read_bytes()

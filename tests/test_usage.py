"""What bad input gets: one line on stderr that says what is wrong and what to do, exit 3, nothing on stdout."""

from pathlib import Path

import pytest

from tests.cli import Result, connaudit

NOWHERE = "postgresql://monitor@127.0.0.1:1/shop"


def one_line(result: Result, *parts: str) -> None:
    """Check that it was refused in one line that holds these parts."""
    assert (result.status, result.out) == (3, ""), result
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["idle"], ["No such command 'idle'", "Did you mean 'idle-tx'", "[usage]"]),
        (["count", "--criticl", "5"], ["No such option", "--critical", "[usage]"]),
        (["count", NOWHERE, "-c", "0.9"], ["did you mean 90pct?"]),
        (["count", NOWHERE, "-c", "free=5"], ["write free=5: to alert below 5"]),
        (["count", NOWHERE, "-w", "90pct", "-c", "80pct"], ["swap them"]),
        (["count", NOWHERE, "-w", "/root:5"], ["your shell expanded ~"]),
        (["count", NOWHERE, "-f", "tabel"], ["there is no format 'tabel'"]),
        (["count", NOWHERE, "-t", "soon"], ["--timeout", "is not a duration"]),
        (["count", NOWHERE, "-t", "0"], ["above zero"]),
        (["count", NOWHERE, "-j", "0"], ["--jobs"]),
        (["count", NOWHERE, "-t", "999d"], ["--timeout", "nobody waits longer than 20d"]),
        (["count", NOWHERE, "--deadline", "9" * 400], ["--deadline", "nobody waits longer than 20d"]),
        (["watch", NOWHERE, "--interval", "999d"], ["--interval", "nobody waits longer than 20d"]),
        (["count", NOWHERE, "--sql", "all"], ["masked, raw or none"]),
        (["count", NOWHERE, "--by", "pid"], ["cannot group by 'pid'"]),
        (["count", NOWHERE, "--fail-on", "ok"], ["--fail-on", "warning, critical"]),
        (["count", NOWHERE, "--sort", "used:up"], ["neither asc nor desc"]),
        (["count"], ["no target", "DATABASE_URL", "[usage]"]),
        (["count", "prod-eu"], ["no target is called 'prod-eu'"]),
        (["count", "env:NOT_SET"], ["NOT_SET", "is not set"]),
        (["count", "file:/nope"], ["file:/nope", "No such file"]),
        (["count", "mongodb://h/d"], ["mongodb", "PostgreSQL", "MySQL"]),
        (["count", "--config", "/nope.toml", NOWHERE], ["config file /nope.toml: no such file", "[config]"]),
        (["check", NOWHERE, "--only", "idle"], ["there is no check 'idle'"]),
        (["check", NOWHERE, "-w", "5m"], ["names the check first"]),
        (["completion"], ["bash, zsh, fish"]),
        (["count", NOWHERE, "-o", ""], ["--output", "is a shell variable unset?"]),
        (["count", NOWHERE, "--config", ""], ["--config", "is a shell variable unset?"]),
        (["count", NOWHERE, "--save", "-"], ["--save", "/dev/stdout"]),
        (["--tag", "prod", "count"], ["no configured target has the tag 'prod'"]),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(words: list[str], parts: list[str]) -> None:
    one_line(connaudit(*words), *parts)


@pytest.mark.parametrize(
    "malformed",
    [
        "postgresql://u:s3cr3t%zz@h/db",
        "postgresql://u:s3cr3t@[::1/db",
        "postgres//u:s3cr3t@h/db",
        "host=h password='s3cr3t",
        "mysql://u:s3cr3t@h:port/db",
    ],
)
@pytest.mark.parametrize("more", [[], ["-v"], ["--debug"]])
def test_a_malformed_url_is_refused_without_its_password(malformed: str, more: list[str]) -> None:
    result = connaudit("count", malformed, *more)
    one_line(result)
    assert "s3cr3t" not in result.err


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["count", "--help"], ["check", "-h"], ["--version"], ["-V"]])
def test_help_and_version_are_no_errors(words: list[str]) -> None:
    result = connaudit(*words)
    assert (result.status, result.err) == (0, "")
    assert "connaudit" in result.out


def test_nothing_asked_gets_the_help_on_stderr() -> None:
    result = connaudit()
    assert (result.status, result.out) == (3, "")
    assert "count" in result.err
    assert result.err == connaudit("-h").out


def test_an_option_may_stand_before_the_command_and_the_later_one_wins() -> None:
    before = connaudit("-t", "soon", "count", NOWHERE)
    assert "'soon' is not a duration" in before.err
    after = connaudit("-t", "soon", "count", "-t", "1s", NOWHERE)
    assert "soon" not in after.err


@pytest.mark.parametrize("variable", ["CONNAUDIT_TIMEOUT", "CONNAUDIT_COUNT_TIMEOUT"])
def test_every_option_has_a_variable_and_one_for_its_command(variable: str) -> None:
    one_line(connaudit("count", NOWHERE, env={variable: "soon"}), variable, "'soon' is not a duration")


@pytest.mark.parametrize("variable", ["CONNAUDIT_ONLY", "CONNAUDIT_CHECK_ONLY", "CONNAUDIT_CHECK_SKIP"])
def test_what_check_alone_takes_has_variables_too(variable: str) -> None:
    one_line(connaudit("check", NOWHERE, env={variable: "idle"}), variable, "there is no check 'idle'", "idle-tx")
    both = {"CONNAUDIT_CHECK_ONLY": "count", "CONNAUDIT_CHECK_SKIP": "count"}
    one_line(connaudit("check", NOWHERE, env=both), "leave no check to run")


def test_the_variable_of_a_command_counts_more_than_the_general_one() -> None:
    result = connaudit("count", NOWHERE, env={"CONNAUDIT_COUNT_TIMEOUT": "1s", "CONNAUDIT_TIMEOUT": "soon"})
    assert "soon" not in result.err


def test_values_of_a_variable_are_separated_by_newlines_and_not_by_blanks() -> None:
    hosts = "host=127.0.0.1 port=1 dbname=a\nhost=127.0.0.1 port=1 dbname=b"
    result = connaudit("count", "--json", env={"CONNAUDIT_TARGET": hosts})
    assert [target["server"]["database"] for target in result.json["targets"]] == ["a", "b"]


def test_a_configuration_in_the_current_directory_is_not_read(tmp_path: Path) -> None:
    for name in ("connaudit.toml", "config.toml", ".connaudit.toml"):
        (tmp_path / name).write_text("this is no TOML at all")
    result = connaudit("count", cwd=tmp_path)
    one_line(result, "no target")


def test_a_refused_port_keeps_its_place_in_the_report_and_exits_with_3() -> None:
    result = connaudit("count", NOWHERE, "--json")
    (target,) = result.json["targets"]
    assert (result.status, target["error"]["kind"], target["error"]["stage"]) == (3, "refused", "tcp")
    assert target["summary"] is None
    assert target["rows"] == []
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(("policy", "status"), [("critical", 2), ("warning", 1), ("ok", 0), ("unknown", 3)])
def test_what_an_unreachable_target_means_is_a_policy(policy: str, status: int) -> None:
    assert connaudit("count", NOWHERE, "--on-unreachable", policy).status == status


def test_exit_zero_hides_no_unknown() -> None:
    assert connaudit("count", NOWHERE, "--exit-zero").status == 3


def test_an_unwritable_output_is_said_and_nothing_is_left_behind(tmp_path: Path) -> None:
    place = tmp_path / "missing" / "report.json"
    one_line(connaudit("count", NOWHERE, "--on-unreachable", "ok", "-o", str(place)), "cannot write", "[output]")
    assert list(tmp_path.iterdir()) == []

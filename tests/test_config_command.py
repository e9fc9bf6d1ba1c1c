"""`connaudit config`: the file in force, every value with its origin, everything that is wrong, a first file."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Result, connaudit

GOOD = """
default_targets = ["eu"]
[defaults]
timeout = "5s"
[thresholds]
count = { warning = "70%", critical = ["95%", "free=3:"] }
[targets.eu]
dsn = "postgresql://monitor@127.0.0.1:1/shop?sslpassword=k3y-s3cr3t"
tags = ["prod"]
on_unreachable = "critical"
[targets.eu.thresholds]
idle-tx = { warning = "15m", critical = "2h" }
[targets.us]
dsn = "mysql://monitor:dsn-s3cr3t@127.0.0.1:1/"
"""


def config(
    tmp_path: Path, *words: str, text: str = GOOD, mode: int = 0o600, env: dict[str, str] | None = None
) -> Result:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    path.chmod(mode)
    return connaudit("--config", str(path), "config", *words, env=env)


def shown(result: Result) -> dict[str, tuple[Any, str]]:
    """Return what `config show --json` tells: value and origin by key."""
    assert (result.status, result.err) == (0, "")
    return {row["key"]: (row["value"], row["origin"]) for row in result.json["rows"]}


def test_path_is_that_of_the_file_in_force(tmp_path: Path) -> None:
    result = config(tmp_path, "path")
    assert (result.status, result.out, result.err) == (0, f"{tmp_path}/fleet.toml\n", "")


def test_without_any_file_path_says_where_one_is_looked_for(tmp_path: Path) -> None:
    result = connaudit("config", "path", env={"HOME": str(tmp_path)})
    assert (result.status, result.out) == (3, "")
    assert f"{tmp_path}/.config/connaudit/config.toml" in result.err
    assert "connaudit config init" in result.err


@pytest.mark.parametrize(
    ("words", "env", "key", "expected"),
    [
        ([], {}, "defaults.jobs", (None, "default")),
        ([], {}, "defaults.deadline", ("30s", "default")),
        ([], {}, "defaults.timeout", ("5s", "FILE: [defaults] timeout")),
        ([], {"CONNAUDIT_TIMEOUT": "7s"}, "defaults.timeout", ("7s", "CONNAUDIT_TIMEOUT")),
        (["-t", "1m30s"], {"CONNAUDIT_TIMEOUT": "7s"}, "defaults.timeout", ("1m30s", "--timeout")),
        (["count"], {"CONNAUDIT_COUNT_TIMEOUT": "8s"}, "defaults.timeout", ("8s", "CONNAUDIT_COUNT_TIMEOUT")),
        ([], {"CONNAUDIT_COUNT_TIMEOUT": "8s"}, "defaults.timeout", ("5s", "FILE: [defaults] timeout")),
        ([], {}, "thresholds.count.critical", (["95%", "free=3:"], "FILE: [thresholds] count critical")),
        ([], {}, "thresholds.idle-tx.warning", (["1m"], "default")),
        ([], {"CONNAUDIT_IDLE_TX_WARNING": "9m"}, "thresholds.idle-tx.warning", (["9m"], "CONNAUDIT_IDLE_TX_WARNING")),
        ([], {}, "idle-tx.min_age", ("10s", "default")),
        ([], {"CONNAUDIT_IDLE_TX_MIN_AGE": "2s"}, "idle-tx.min_age", ("2s", "CONNAUDIT_IDLE_TX_MIN_AGE")),
        ([], {}, "targets.eu.on_unreachable", ("critical", "FILE")),
        (
            [],
            {},
            "targets.eu.thresholds.idle-tx.critical",
            (["2h"], "FILE: [targets.eu.thresholds] idle-tx critical"),
        ),
        ([], {}, "targets.us.password_from", ("the URL", "FILE")),
    ],
)
def test_show_tells_every_value_with_its_origin(
    tmp_path: Path, words: list[str], env: dict[str, str], key: str, expected: tuple[Any, str]
) -> None:
    value, origin = shown(config(tmp_path, "show", "--json", *words, env=env))[key]
    assert (value, origin.replace(f"{tmp_path}/fleet.toml", "FILE")) == expected


@pytest.mark.parametrize("form", ["table", "wide", "json", "ndjson", "csv"])
def test_show_never_tells_a_password(tmp_path: Path, form: str) -> None:
    text = GOOD + "password = 'file-s3cr3t'\n[history]\nurl = 'postgresql://u:tny@h/d'\n"
    result = config(tmp_path, "show", "-f", form, text=text)
    assert "targets.us" in result.out
    assert "postgresql://h/d" in result.out
    for password in ("s3cr3t", "tny"):
        assert password not in result.out + result.err


def test_a_format_for_audits_that_a_file_sets_does_not_hold_for_lists(tmp_path: Path) -> None:
    text = '[defaults]\nformat = "nagios"\n'
    assert config(tmp_path, "show", text=text).out.startswith("KEY ")
    result = config(tmp_path, "show", "-f", "nagios", text=text)
    assert (result.status, "config-show is no audit" in result.err) == (3, True)


def test_a_command_that_there_is_not_is_refused_by_show(tmp_path: Path) -> None:
    result = config(tmp_path, "show", "cuont")
    assert (result.status, "cuont" in result.err, "count" in result.err) == (3, True, True)


def test_check_says_ok_and_what_there_is(tmp_path: Path) -> None:
    result = config(tmp_path, "check")
    assert (result.status, result.err) == (0, "")
    assert result.out == f"OK  {tmp_path}/fleet.toml: 2 targets, 0 suppressions\n"
    assert config(tmp_path, "check", "-q").out == ""
    assert config(tmp_path, "check", "--json").json["rows"] == []


WRONG = """
default_targets = ["eu", "asia-*"]
[defaults]
limit = "many"
format = "xml"
width = ["80", "120"]
[thresholds]
idle-tx = { warning = "20m", critical = "10m" }
[targets.eu]
dsn = "service=none-of-this-name"
timeout = "soon"
[targets.us]
dsn = "mysql://monitor@127.0.0.1:1/"
password_file = "/nonexistent/password"
[targets.us.thresholds]
long-queries = { warning = "5 parsecs" }
[targets.ap]
dsn = "mysql://monitor@127.0.0.1:1/"
password_command = ["false"]
[[ignore]]
code = "CA301"
target = "eu"
reason = "dump"
until = 2020-01-01
[[ignore]]
code = "CX1"
target = "nobody"
reason = "typo"
[[ignore]]
code = "CA999"
reason = "typo"
[history]
keep_raw = "long"
"""
PROBLEMS = [
    ("error", "default_targets: no target is called 'asia-*'"),
    ("error", "[defaults] limit: 'many' is not a whole number"),
    ("error", "[defaults] format: there is no format 'xml'"),
    ("error", "[defaults] width: one value stands here, not a list"),
    ("error", "[thresholds] idle-tx: the warning age=20m would come after the critical age=10m"),
    ("error", "[targets.eu]: timeout: 'soon' is not a duration"),
    ("error", "[targets.eu]: .*no service file defines the service"),
    ("error", "[targets.us]: password_file /nonexistent/password: No such file"),
    ("error", "[targets.us.thresholds] long-queries warning: '5 parsecs'"),
    ("error", "[targets.ap]: password_command false: failed with exit status 1"),
    ("error", "[history] keep_raw: 'long' is not a duration"),
    ("warning", "[[ignore]] 1 expired on 2020-01-01"),
    ("warning", "[[ignore]] 2: no finding has the code CX1"),
    ("warning", "[[ignore]] 3: no finding has the code CA999"),
    ("warning", "[[ignore]] 2: no configured target is called 'nobody'"),
]


def problems(result: Result) -> list[tuple[str, str]]:
    return [(row["severity"], row["message"]) for row in result.json["rows"]]


@pytest.mark.parametrize(("severity", "message"), PROBLEMS)
def test_check_tells_each_problem(tmp_path: Path, severity: str, message: str) -> None:
    result = config(tmp_path, "check", "--json", text=WRONG)
    assert result.status == 3
    pattern = re.escape(message).replace(re.escape(".*"), ".*")
    matching = [found for found, said in problems(result) if re.search(pattern, said)]
    assert matching == [severity]


def test_check_tells_no_problem_that_is_none(tmp_path: Path) -> None:
    assert len(problems(config(tmp_path, "check", "--json", text=WRONG))) == len(PROBLEMS)


def test_what_is_only_to_be_looked_at_is_a_warning(tmp_path: Path) -> None:
    text = "[[ignore]]\ncode = 'CA301'\nreason = 'dump'\nuntil = 2020-01-01\n"
    result = config(tmp_path, "check", text=text)
    assert (result.status, result.err) == (1, "")
    assert "warning" in result.out


def test_a_file_that_does_not_parse_is_the_one_problem(tmp_path: Path) -> None:
    result = config(tmp_path, "check", "--json", text="[targets.eu]\npassword = s3cr3t\n")
    ((severity, message),) = problems(result)
    assert (result.status, severity, "line 2" in message) == (3, "error", True)
    assert "s3cr3t" not in result.out


def test_a_file_that_others_may_write_is_a_warning(tmp_path: Path) -> None:
    result = config(tmp_path, "check", "--json", text="", mode=0o666)
    assert (result.status, problems(result)) == (1, [("warning", f"{tmp_path}/fleet.toml can be written by everybody")])


def test_a_variable_that_makes_no_sense_is_a_problem_too(tmp_path: Path) -> None:
    result = config(tmp_path, "check", "--json", env={"CONNAUDIT_COUNT_JOBS": "lots"})
    assert problems(result) == [("error", "CONNAUDIT_COUNT_JOBS: 'lots' is not a whole number from 1 on")]


def test_a_variable_that_nothing_reads_is_to_be_looked_at(tmp_path: Path) -> None:
    known = {"CONNAUDIT_COUNT_BY": "app", "CONNAUDIT_WATCH_INTERVAL": "2s", "CONNAUDIT_LEAKS_BOUND": "web=4"}
    assert problems(config(tmp_path, "check", "--json", env=known)) == []
    result = config(tmp_path, "check", "--json", env={**known, "CONNAUDIT_CRITCAL": "1"})
    assert problems(result) == [("warning", "the variable CONNAUDIT_CRITCAL means nothing")]
    assert result.json["rows"][0]["hint"] == "did you mean CONNAUDIT_CRITICAL?"


def test_no_configuration_at_all_is_no_problem(tmp_path: Path) -> None:
    result = connaudit("config", "check", env={"HOME": str(tmp_path)})
    assert (result.status, result.out) == (0, "OK  no configuration file is read; the built-in values hold\n")


def test_init_writes_a_file_for_nobody_else_and_never_a_second_one(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": None}
    result = connaudit("config", "init", env=home)
    path = tmp_path / ".config" / "connaudit" / "config.toml"
    assert (result.status, result.out, result.err) == (0, f"{path}\n", "")
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    path.write_text("# mine\n")
    again = connaudit("config", "init", env=home)
    assert (again.status, again.out, path.read_text()) == (3, "", "# mine\n")
    assert "exists and is left as it is" in again.err


def test_init_writes_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.toml"
    assert connaudit("config", "init", "--config", str(path)).status == 0
    assert connaudit("config", "check", "--config", str(path)).status == 0


def test_init_that_cannot_write_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = connaudit("config", "init", "--config", str(tmp_path / "file" / "b.toml"))
    assert (result.status, result.out) == (3, "")
    assert "cannot write" in result.err


def test_every_line_of_the_first_file_is_right_when_it_is_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    connaudit("config", "init", "--config", str(path))
    text = re.sub(r"^#(?=[\w\[])", "", path.read_text(), flags=re.MULTILINE)
    text = text.replace('["pass", "show", "db/prod-us"]', '["printf", "x"]')
    (tmp_path / "targets.d").mkdir()
    result = config(tmp_path, "check", text=text)
    assert (result.status, result.out) == (0, f"OK  {tmp_path}/fleet.toml: 2 targets, 1 suppression\n"), result


def test_a_group_without_a_command_says_which_there_are() -> None:
    result = connaudit("config")
    assert (result.status, result.out) == (3, "")
    assert "connaudit config path|show|check|init" in result.err
    assert "Did you mean 'show'" in connaudit("config", "shwo").err

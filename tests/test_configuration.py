"""The configuration file: what it may say, what it refuses, and what counts more."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from connaudit.configuration import Configuration, Ignore, find, load
from connaudit.errors import ConfigError
from connaudit.targets import Secret
from tests.cli import Result, connaudit

SETTINGS = ("timeout", "format", "sql", "on-unreachable", "app")
CHECKS = ("count", "idle-tx", "long-queries")


def read(tmp_path: Path, text: str, mode: int = 0o600) -> Configuration:
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return load(str(path), SETTINGS, CHECKS)


def refused(tmp_path: Path, text: str, mode: int = 0o600) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text, mode)
    return error.value


def test_targets_have_tags_thresholds_and_settings_of_their_own(tmp_path: Path) -> None:
    text = """
    version = 1
    [targets.eu]
    dsn = "postgresql://monitor@db.eu.example.net/shop"
    tags = ["prod", "eu"]
    timeout = "3s"
    on_unreachable = "critical"
    [targets.eu.thresholds]
    idle-tx = { warning = "15m", critical = ["2h", "count=5"] }
    """
    target = read(tmp_path, text).targets["eu"]
    assert target.target.tags == ("prod", "eu")
    assert target.settings == {"timeout": "3s", "on-unreachable": "critical"}
    assert target.thresholds == {"idle-tx": {"warning": ("15m",), "critical": ("2h", "count=5")}}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[defalts]", ["unknown key 'defalts'", "defaults"]),
        ("[defaults]\ntimout = '3s'", ["[defaults]", "unknown key 'timout'", "timeout"]),
        ("[thresholds]\nidle = {warning='1m'}", ["[thresholds]", "unknown key 'idle'", "idle-tx"]),
        ("[thresholds]\ncount = {warn='1m'}", ["unknown key 'warn'", "warning"]),
        ("[targets.eu]\ntags = []", ["[targets.eu]", "dsn is missing"]),
        ("[targets.eu]\ndsn = 'x://y'", ["config.toml", "eu"]),
        ("[targets.eu]\ndsn = 'host=h'\ntag = 'x'", ["unknown key 'tag'", "tags"]),
        ("[[ignore]]\ncode = 'CA301'", ["[[ignore]]", "reason is missing"]),
        ("[[ignore]]\ncode = 'CA301'\nreason = 'x'\nuntil = 'soon'", ["until is to be a date"]),
        ("version = 2", ["version 2"]),
        ("default_targets = [1, true]", ["default_targets", "list of texts"]),
        ("targets = 3", ["is to be a table"]),
        ("include = ['nope.toml']", ["nope.toml", "no such file"]),
        ("[history]\nkeep = '3d'", ["[history]", "unknown key 'keep'"]),
        ("[history]\nkeep_raw = 3", ["[history] keep_raw is to be a text"]),
        ("[history]\nurl = 'mysql://h/d'", ["[history] url", "PostgreSQL"]),
        ("[history]\nurl = '/var/lib/connaudit/history.db'", ["[history] url", "not valid"]),
        ("[history]\nurl = 'postgresql://h/d'\npath = '/h.db'", ["[history]", "path and url"]),
        ("[targets.eu]\ndsn = ''", ["[targets.eu]", "dsn is missing"]),
        ("[targets.eu]\ndsn = 5", ["[targets.eu] dsn is to be a text"]),
        ("[targets.eu]\ndsn = 'host=h'\npassword = ['x']", ["[targets.eu] password is to be a text"]),
        ("[targets.eu]\ndsn = 'host=h'\npassword_file = 1", ["[targets.eu] password_file is to be a text"]),
        ("[targets.eu]\ndsn = 'host=h'\npassword_command = 'pass x'", ["[targets.eu] password_command is a list"]),
        ("[targets.eu]\ndsn = 'host=h'\npassword_command = [1]", ["[targets.eu] password_command is a list"]),
        ("[defaults]\ntimeout = { a = 1 }", ["[defaults] timeout is to be a text"]),
        ("[defaults]\ntarget = 'eu'", ["unknown key 'target'", "default_targets"]),
        ("ignore = 5", ["[[ignore]] is to be a list"]),
        ("[[ignore]]\ncode = ['CA301']\nreason = 'x'", ["[[ignore]]: code is to be a text"]),
    ],
)
def test_what_nobody_understands_is_refused_with_the_nearest_key(tmp_path: Path, text: str, parts: list[str]) -> None:
    error = refused(tmp_path, text)
    for part in parts:
        assert part in f"{error.message} {error.hint}"


def test_a_broken_file_is_refused_by_its_place_and_never_by_its_content(tmp_path: Path) -> None:
    error = refused(tmp_path, "[targets.eu]\npassword = s3cr3t\nx = 1\n")
    assert "line 2" in error.message
    assert "s3cr3t" not in repr(error)


def test_a_password_that_others_can_read_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    text = "[targets.eu]\ndsn = 'host=h'\npassword = 's3cr3t'"
    error = refused(tmp_path, text, 0o644)
    assert "chmod 600" in (error.hint or "")
    assert read(tmp_path, text, 0o600).targets["eu"].password_from == "config"
    for kept in ("u:s3cr3t@h/d", "h/d?sslpassword=s3cr3t", "h/d?password=s3cr3t"):
        assert "chmod" in (refused(tmp_path, f"[targets.eu]\ndsn = 'postgresql://{kept}'", 0o640).hint or "")
        assert "chmod" in (refused(tmp_path, f"[history]\nurl = 'postgresql://{kept}'", 0o640).hint or "")


def test_the_path_of_a_history_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    assert read(tmp_path, "[history]\npath = 'h.db'").history == {"path": str(tmp_path / "h.db")}
    assert read(tmp_path, "[history]\npath = '/h.db'").history == {"path": "/h.db"}
    assert not read(tmp_path, "[history]\npath = '~/h.db'").history["path"].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("more", "password", "words"),
    [
        ("password_command = ['printf', 'from-command']", "from-command", "command printf"),
        ("password_env = 'EU_PASSWORD'", "from-variable", "variable EU_PASSWORD"),
        ("password = 'from-file'", "from-file", "config"),
        ("password_env = 'EU_PASSWORD'\npassword_command = ['printf', 'first']", "first", "command printf"),
    ],
)
def test_the_first_source_of_a_password_counts(tmp_path: Path, more: str, password: str, words: str) -> None:
    own = read(tmp_path, f"[targets.eu]\ndsn = 'host=h'\n{more}").targets["eu"]
    target = own.with_password(own.target, {"EU_PASSWORD": "from-variable"})
    assert (target.password, target.password_from) == (Secret(password), words)


def test_no_password_is_fetched_for_a_target_that_is_not_audited(tmp_path: Path) -> None:
    read(tmp_path, f"[targets.eu]\ndsn = 'host=h'\npassword_command = ['touch', '{tmp_path}/fetched']")
    assert not (tmp_path / "fetched").exists()


def test_a_file_may_include_others_beside_it(tmp_path: Path) -> None:
    (tmp_path / "targets.d").mkdir()
    for name in ("b", "a"):
        (tmp_path / "targets.d" / f"{name}.toml").write_text(f"[targets.{name}]\ndsn = 'host={name}'")
    config = read(tmp_path, "include = ['targets.d/*.toml']\n[targets.z]\ndsn = 'host=z'")
    assert list(config.targets) == ["z", "a", "b"]


def test_two_targets_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[targets.eu]\ndsn = 'host=h'")
    error = refused(tmp_path, "include = ['other.toml']\n[targets.eu]\ndsn = 'host=h'")
    assert "two targets of this name" in error.message


def test_a_suppression_ends_on_its_day() -> None:
    ignore = Ignore("CA301", "dump", until=dt.date(2027, 3, 1))
    assert [ignore.expired(dt.date(2027, 2, 28)), ignore.expired(dt.date(2027, 3, 1))] == [False, True]


def test_the_users_file_counts_more_than_the_systems(tmp_path: Path) -> None:
    own = tmp_path / ".config" / "connaudit" / "config.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find(None, {}, str(tmp_path)) == str(own)
    assert find(None, {"XDG_CONFIG_HOME": ".config"}, str(tmp_path)) == str(own)
    assert find("none", {}, str(tmp_path)) is None
    assert find(None, {"CONNAUDIT_CONFIG": "/x.toml"}, str(tmp_path)) == "/x.toml"
    assert find("/y.toml", {"CONNAUDIT_CONFIG": "/x.toml"}, str(tmp_path)) == "/y.toml"


DEAD = """
version = 1
[defaults]
on_unreachable = "warning"
[targets.eu]
dsn = "postgresql://monitor@127.0.0.1:1/shop"
tags = ["prod"]
[targets.us]
dsn = "postgresql://monitor@127.0.0.1:1/shop"
tags = ["prod", "us"]
on_unreachable = "critical"
[targets.lab]
dsn = "postgresql://monitor@127.0.0.1:1/lab"
"""


def fleet(tmp_path: Path, *words: str, text: str = DEAD, **env: Any) -> Result:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return connaudit("--config", str(path), *words, env=env)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["eu"], ["eu"]),
        (["[eu]*"], ["eu", "us"]),
        (["--tag", "prod"], ["eu", "us"]),
        (["--tag", "us", "lab"], ["lab", "us"]),
        (["--all"], ["eu", "us", "lab"]),
        ([], ["eu", "us", "lab"]),
    ],
)
def test_configured_targets_are_chosen_by_name_glob_and_tag(tmp_path: Path, words: list[str], names: list[str]) -> None:
    result = fleet(tmp_path, "count", "--json", *words)
    assert [target["target"] for target in result.json["targets"]] == names


@pytest.mark.parametrize(
    ("words", "variables", "names"),
    [
        (["lab"], {"CONNAUDIT_ALL": "yes"}, ["lab"]),
        (["lab"], {"CONNAUDIT_TAG": "us"}, ["lab"]),
        (["--tag", "us"], {"CONNAUDIT_ALL": "yes"}, ["us"]),
        (["-T", "lab"], {"CONNAUDIT_TAG": "us"}, ["lab"]),
        ([], {"CONNAUDIT_TAG": "us"}, ["us"]),
    ],
)
def test_whom_a_variable_chooses_counts_where_nobody_is_named(
    tmp_path: Path, words: list[str], variables: dict[str, str], names: list[str]
) -> None:
    result = fleet(tmp_path, "count", "--json", *words, **variables)
    assert [target["target"] for target in result.json["targets"]] == names


def test_a_format_that_a_flag_names_counts_more_than_one_of_a_variable(tmp_path: Path) -> None:
    assert fleet(tmp_path, "count", "lab", "-f", "csv", CONNAUDIT_JSON="yes").out.startswith("target,")
    assert fleet(tmp_path, "count", "lab", "--json", CONNAUDIT_FORMAT="csv").json["targets"]
    assert fleet(tmp_path, "count", "lab", "--json", "-f", "csv").json["targets"]


def test_flags_count_more_than_variables_targets_and_defaults(tmp_path: Path) -> None:
    assert fleet(tmp_path, "count", "eu").status == 1
    assert fleet(tmp_path, "count", "us").status == 2
    assert fleet(tmp_path, "count", "us", CONNAUDIT_ON_UNREACHABLE="ok").status == 0
    assert fleet(tmp_path, "count", "us", "--on-unreachable", "unknown", CONNAUDIT_ON_UNREACHABLE="ok").status == 3


def test_a_password_that_cannot_be_fetched_is_that_targets_trouble_alone(tmp_path: Path) -> None:
    text = DEAD + "password_env = 'NOT_SET'\n"
    result = fleet(tmp_path, "count", "--json", text=text)
    assert [target["error"]["kind"] for target in result.json["targets"]] == ["refused", "refused", "config"]


@pytest.mark.parametrize(
    "dsn", ["service=none-of-this-name", "mysql:///?defaults_file=/nonexistent/my.cnf", "mysql:///?defaults_group=none"]
)
def test_a_file_that_a_target_lacks_is_that_targets_trouble_alone(tmp_path: Path, dsn: str) -> None:
    text = DEAD + f"[targets.zz]\ndsn = '{dsn}'\n"
    result = fleet(tmp_path, "count", "--json", text=text)
    assert [target["error"]["kind"] for target in result.json["targets"]] == ["refused", "refused", "refused", "config"]
    assert "connaudit: zz: " in result.err
    assert fleet(tmp_path, "config", "check", text=text).status == 3
    listed = fleet(tmp_path, "targets", "list", text=text)
    assert (listed.status, "zz" in listed.out, "connaudit: zz: " in listed.err) == (3, True, True)


def test_an_expired_suppression_is_said(tmp_path: Path) -> None:
    text = DEAD + "[[ignore]]\ncode = 'CA301'\nreason = 'dump'\nuntil = 2020-01-01\n"
    assert "expired on 2020-01-01" in fleet(tmp_path, "count", "eu", text=text).err


def test_a_target_that_does_not_exist_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    result = fleet(tmp_path, "count", "labb")
    assert (result.status, "lab" in result.err) == (3, True)

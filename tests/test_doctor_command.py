"""`connaudit doctor` on real servers: the stages, the grants that cure, and what only this machine knows."""

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Result, connaudit
from tests.conftest import Start
from tests.servers import Role, Running

HOME = pwd.getpwuid(os.geteuid()).pw_dir


def examined(url: str, *words: str, **env: str) -> Result:
    return connaudit("doctor", *words, env={"DATABASE_URL": url, **env})


def points(result: Result) -> dict[str, dict[str, Any]]:
    """Return the points by subject; the last one, where several have the same."""
    (target,) = result.json["targets"]
    return {row["subject"]: row for row in target["rows"]}


def findings(result: Result) -> dict[str, dict[str, Any]]:
    (target,) = result.json["targets"]
    return {found["code"]: found for found in target["findings"]}


def test_every_line_has_a_verdict_and_a_code(server: Running) -> None:
    result = examined(server.url())
    lines = [line.split() for line in result.out.splitlines()]
    table = lines[next(place for place, line in enumerate(lines) if line[:2] == ["STATUS", "CODE"]) + 1 :]
    assert table
    for line in table:
        assert line[0] in ("OK", "WARNING", "CRITICAL")
        assert line[1].startswith("CA")
    assert result.err == ""


def test_the_stages_have_their_times(server: Running) -> None:
    result = examined(server.url(), "--json")
    (target,) = result.json["targets"]
    stages = {row["stage"]: row["seconds"] for row in target["summary"]["stages"]}
    assert {"dns", "tcp", "login", "query"} <= set(stages)
    assert target["summary"]["seconds"] == pytest.approx(sum(stages.values()))


def test_a_monitoring_role_sees_everything_that_this_server_tells(postgres_any: Running) -> None:
    visible = points(examined(postgres_any.url(), "--json"))["visibility"]
    assert (visible["status"], visible["value"]) == ("OK", "everything")


def test_the_grants_that_are_advised_cure(start: Start, server: Running) -> None:
    mine = start(server)
    before = examined(mine.url(mine.plain), "--json")
    assert before.status == 2
    (target,) = before.json["targets"]
    grants = [found["hint"] for found in target["findings"] if found["code"] == "CA801" and "GRANT" in found["hint"]]
    assert grants
    for grant in grants:
        mine.ask(grant)
    after = findings(examined(mine.url(mine.plain), "--json"))
    assert "GRANT" not in str(after.get("CA801"))


def test_settings_of_the_server_and_of_roles_are_told_and_mended_ones_are_well(start: Start, postgres: Running) -> None:
    mine = start(postgres)
    assert findings(examined(mine.url(), "--json"))["CA701"]["severity"] == "warning"
    mine.reload(idle_in_transaction_session_timeout="5min")
    mine.ask("alter role app set idle_in_transaction_session_timeout = 0")
    told = points(examined(mine.url(), "--json"))
    assert told["idle_in_transaction_session_timeout"]["value"] == "5m00s"
    assert told["idle_in_transaction_session_timeout of app"]["status"] == "WARNING"


def test_mariadb_has_a_reaper_and_mysql_has_none(mysql_any: Running) -> None:
    told = points(examined(mysql_any.url(), "--json"))["idle_transaction_timeout"]
    expected = (
        ("WARNING", "off") if mysql_any.kind == "mariadb" else ("OK", "MySQL has none: only wait_timeout ends them")
    )
    assert (told["status"], told["value"]) == expected


def test_a_pooler_in_between_is_seen(pooler: Running) -> None:
    assert points(examined(pooler.url(), "--json"))["between"]["value"] == "pooler"


def test_a_superuser_is_advised_to_be_none(server: Running) -> None:
    assert "GRANT" in findings(examined(server.url(server.superuser), "--json"))["CA803"]["hint"]


def test_a_target_out_of_reach_is_unknown_and_still_told_what_this_machine_knows() -> None:
    result = examined("postgresql://m@127.0.0.1:1/d", "--json")
    (target,) = result.json["targets"]
    assert (result.status, target["status"], target["error"]["kind"]) == (3, "unknown", "refused")
    assert points(result)["cron: variables"]["status"] == "WARNING"


def test_a_wrong_password_is_told_with_where_it_came_from(server: Running) -> None:
    wrong = Role(server.monitor.name, "wrong-s3cr3t")
    result = examined(server.url(wrong), "--json")
    (target,) = result.json["targets"]
    assert target["error"]["kind"] == "auth"
    assert points(result)["password"]["value"] == "from the URL"
    assert "s3cr3t" not in result.out + result.err


@pytest.fixture
def written(tmp_path: Path, postgres: Running) -> Path:
    """A configuration of one target, with its password in a file."""
    path, password = tmp_path / "config.toml", tmp_path / "password"
    password.write_text(postgres.monitor.password)
    password.chmod(0o600)
    url = postgres.url().replace(f":{postgres.monitor.password}@", "@")
    path.write_text(f'[targets.eu]\ndsn = "{url}"\npassword_file = "{password}"\n')
    path.chmod(0o600)
    return path


def told(written: Path, **env: str | None) -> dict[str, dict[str, Any]]:
    return points(connaudit("doctor", "--config", str(written), "--json", env={"HOME": HOME, **env}))


def test_cron_lacks_nothing_of_what_lies_in_files(written: Path) -> None:
    for subject in ("cron: variables", "cron: home", "file", "password"):
        assert told(written)[subject]["status"] == "OK", subject


@pytest.mark.parametrize("variable", ["CONNAUDIT_TIMEOUT", "PGSSLMODE", "XDG_CONFIG_HOME"])
def test_variables_that_cron_does_not_set_are_named(written: Path, variable: str) -> None:
    value = {"CONNAUDIT_TIMEOUT": "5s", "PGSSLMODE": "prefer", "XDG_CONFIG_HOME": "/nonexistent"}[variable]
    point = told(written, **{variable: value})["cron: variables"]
    assert (point["status"], point["value"]) == ("WARNING", variable)


def test_the_variable_that_named_the_target_is_one_of_them(postgres: Running) -> None:
    assert points(examined(postgres.url(), "--json"))["cron: variables"]["value"] == "DATABASE_URL"


def test_another_home_than_that_of_passwd_is_told(written: Path) -> None:
    assert told(written, HOME="/nonexistent")["cron: home"]["status"] == "WARNING"


def test_the_program_is_named_as_a_crontab_must_name_it(written: Path) -> None:
    value = told(written)["cron: program"]["value"]
    assert value == "connaudit is on its PATH" or Path(value.removeprefix("write ")).is_absolute()


@pytest.mark.parametrize(("mode", "status"), [(0o600, "OK"), (0o640, "WARNING"), (0o620, "WARNING")])
def test_a_password_file_that_its_group_can_read_is_told(written: Path, mode: int, status: str) -> None:
    (written.parent / "password").chmod(mode)
    assert told(written)["file"]["status"] == status


def test_a_configuration_that_others_can_write_is_told(written: Path) -> None:
    written.chmod(0o666)
    result = connaudit("doctor", "--config", str(written), "--json", env={"HOME": HOME})
    assert f"chmod go-w {written}" in [found["hint"] for found in result.json["targets"][0]["findings"]]


def test_a_password_command_that_cron_does_not_find_is_told(written: Path) -> None:
    script = written.parent / "secret"
    script.write_text(f"#!/bin/sh\ncat {written.parent / 'password'}\n")
    script.chmod(0o700)
    text = written.read_text()
    written.write_text(text.partition("password_file")[0] + 'password_command = ["secret"]\n')
    point = told(written, PATH=f"{script.parent}:{os.environ['PATH']}")["cron: password_command"]
    assert (point["status"], point["value"]) == ("WARNING", "secret")


def test_a_password_in_an_argument_is_told(postgres: Running) -> None:
    result = connaudit("doctor", "-q", "--json", postgres.url())
    assert points(result)["password"]["status"] == "WARNING"


def test_a_password_that_comes_from_elsewhere_is_in_no_argument(postgres: Running) -> None:
    password = postgres.monitor.password
    result = connaudit("doctor", "--json", postgres.url().replace(f":{password}@", "@"), env={"PGPASSWORD": password})
    assert points(result)["password"] == {
        "status": "OK", "code": "CA807", "subject": "password", "value": "from PGPASSWORD",
    }  # fmt: skip


def test_what_others_cannot_verify_is_told_for_hosts_far_away() -> None:
    for mode, status in (("require", "WARNING"), ("verify-full", "OK")):
        url = f"postgresql://m@192.0.2.1:1/d?sslmode={mode}"
        assert points(examined(url, "--json", "-t", "200ms"))["certificate"]["status"] == status


def test_several_targets_have_a_line_each(postgres: Running, mysql: Running) -> None:
    result = connaudit("doctor", "env:A", "env:B", env={"A": postgres.url(), "B": mysql.url()})
    header, *lines = result.out.splitlines()[:3]
    assert header.split() == ["TARGET", "STATUS", "CRITICALS", "WARNINGS", "TIME", "TLS", "SUPERUSER"]
    assert len(lines) == 2


def test_it_is_no_part_of_check() -> None:
    assert "there is no check 'doctor'" in connaudit("check", "--only", "doctor", "host=h").err

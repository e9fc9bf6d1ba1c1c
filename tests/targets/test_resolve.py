from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from connaudit.errors import ConfigError, ConnauditError, UsageError
from connaudit.targets import Host, Secret
from connaudit.targets.parse import parse
from connaudit.targets.resolve import Resolved, resolve
from tests.targets.conftest import write

CONFIGURED = {
    name: parse(f"postgresql://monitor@{name}.example.net/shop", name=name, origin="config")
    for name in ("prod-eu", "prod-us", "test")
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def names(resolved: Resolved) -> list[str]:
    return [target.name for target in resolved.targets]


def origins(resolved: Resolved) -> list[str]:
    return [target.origin for target in resolved.targets]


def test_the_first_source_that_names_a_target_decides(home: Path) -> None:
    environment = {
        "CONNAUDIT_TARGET": "postgresql://b/",
        "DATABASE_URL": "postgresql://d/",
        "PGHOST": "e",
        "PGDATABASE": "shop",
        "MYSQL_HOST": "f",
    }

    def first(arguments: Sequence[str] = (), configured: Mapping[str, object] | None = None) -> tuple[str, str]:
        resolved = resolve(arguments, environment=environment, home=home, configured=CONFIGURED if configured else None)
        return resolved.targets[0].hosts[0].name, resolved.targets[0].origin

    assert first(["postgresql://a/"], CONFIGURED) == ("a", "argument")
    assert first((), CONFIGURED) == ("b", "CONNAUDIT_TARGET")
    environment["CONNAUDIT_TARGET"] = ""
    assert first((), CONFIGURED) == ("prod-eu.example.net", "config")
    assert first() == ("d", "DATABASE_URL")
    del environment["DATABASE_URL"]
    assert first() == ("e", "PGHOST")
    del environment["PGHOST"]
    assert first() == ("localhost", "PGDATABASE") or first()[0].startswith("/")
    del environment["PGDATABASE"]
    assert first() == ("f", "MYSQL_HOST")
    del environment["MYSQL_HOST"]
    with pytest.raises(UsageError, match=r"^no target: name one, or set DATABASE_URL$"):
        first()


def test_default_targets_choose_among_the_configured(home: Path) -> None:
    def chosen(*patterns: str) -> list[str]:
        return names(resolve([], environment={}, home=home, configured=CONFIGURED, default_targets=patterns))

    assert chosen("prod-*") == ["prod-eu", "prod-us"]
    assert chosen() == ["prod-eu", "prod-us", "test"]
    with pytest.raises(UsageError, match=r"default_targets: no target is called 'prd-eu'; did you mean prod-eu\?"):
        chosen("prd-eu")


def test_names_and_globs_stand_for_configured_targets_each_once(home: Path) -> None:
    resolved = resolve(["test", "prod-*", "prod-eu"], environment={}, home=home, configured=CONFIGURED)
    assert names(resolved) == ["test", "prod-eu", "prod-us"]
    assert origins(resolved) == ["config"] * 3
    with pytest.raises(UsageError, match="no target is called 'prod-uk'; did you mean prod-"):
        resolve(["prod-uk"], environment={}, home=home, configured=CONFIGURED)


def test_targets_without_names_of_their_own_stay_apart(home: Path) -> None:
    resolved = resolve(["pg://a@db1/shop", "pg://b@db1/shop", "pg://db1/shop"], environment={}, home=home)
    assert names(resolved) == ["db1:5432/shop", "db1:5432/shop#2", "db1:5432/shop#3"]


def test_a_variable_can_name_several_targets(home: Path) -> None:
    environment = {"URLS": "postgresql://db1/\nmysql://me:pw@db2/\n", "CONNAUDIT_TARGET": "env:URLS\n\ntest"}
    resolved = resolve([], environment=environment, home=home, configured=CONFIGURED)
    assert [target.hosts[0].name for target in resolved.targets] == ["db1", "db2", "test.example.net"]
    assert origins(resolved) == ["env:URLS", "env:URLS", "config"]
    assert resolved.warnings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["env:NOWHERE"], "env:NOWHERE: the variable is not set, or empty"),
        (["env:a=b"], "after env: stands the name of a variable"),
        (["env:LOOP"], "env:LOOP: here stands a URL"),
        (["env:BAD"], r"env:BAD: the URL is not valid \(character 22\)"),
        ([""], "an empty TARGET: is a shell variable unset"),
        (["django:shop.settings"], "cannot read Django's settings yet"),
        (["file:/nonexistent"], "file:/nonexistent: No such file"),
        (["db1:5432"], "a TARGET is neither a URL nor a name"),
    ],
)
def test_what_makes_no_sense_is_told(home: Path, arguments: list[str], message: str) -> None:
    environment = {"LOOP": "env:LOOP", "BAD": "postgres://me:s3cr3t@["}
    with pytest.raises(UsageError, match=message):
        resolve(arguments, environment=environment, home=home)


def test_a_file_names_one_target_a_line(home: Path) -> None:
    path = write(home / "fleet", "# ours\n\npostgresql://db1/shop\n  host=db2 dbname=shop\nprod-*\n", 0o644)
    resolved = resolve([f"file:{path}"], environment={}, home=home, configured=CONFIGURED)
    assert names(resolved) == ["db1:5432/shop", "db2:5432/shop", "prod-eu", "prod-us"]
    assert origins(resolved)[:2] == [f"file:{path} line 3", f"file:{path} line 4"]
    assert names(resolve(["file:~/fleet"], environment={}, home=home, configured=CONFIGURED)) == names(resolved)


def test_a_files_error_carries_its_line(home: Path) -> None:
    write(home / "fleet", "postgresql://db1/\nmysql://me:s3cr3t@db1/?x=y\n")
    with pytest.raises(UsageError, match=r"^file:~/fleet line 2: the URL is not valid \(character 24\)"):
        resolve(["file:~/fleet"], environment={}, home=home)
    write(home / "fleet", "service=shop\n")
    with pytest.raises(UsageError, match=r"^file:~/fleet line 1: no service file defines"):
        resolve(["file:~/fleet"], environment={}, home=home)
    write(home / "fleet", "# nothing\n")
    with pytest.raises(UsageError, match=r"^file:~/fleet names no target$"):
        resolve(["file:~/fleet"], environment={}, home=home)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_with_a_password_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    path = write(home / "fleet", "postgresql://me:s3cr3t@db1/\n", mode)
    with pytest.raises(ConfigError, match="holds a password and is readable by others") as caught:
        resolve([f"file:{path}"], environment={}, home=home)
    assert caught.value.hint == f"run: chmod 600 {path}"
    path.chmod(0o600)
    assert resolve([f"file:{path}"], environment={}, home=home).targets[0].password == Secret("s3cr3t")


@pytest.mark.parametrize(
    "text", ["postgresql://me:pw@db1/", "host=db1 password=pw", "mysql://me:pw@db1/", "host=db1 sslpassword=pw"]
)
def test_a_password_given_as_an_argument_is_flagged_once(home: Path, text: str) -> None:
    resolved = resolve([text, text], environment={}, home=home)
    assert resolved.warnings == (
        "a password given as an argument is visible to everybody in ps; use env:DATABASE_URL or file:PATH",
    )
    assert resolve([], environment={"DATABASE_URL": text}, home=home).warnings == ()


def test_a_password_from_elsewhere_is_no_argument(home: Path) -> None:
    assert resolve(["postgresql://me@db1/"], environment={"PGPASSWORD": "pw"}, home=home).warnings == ()


def test_a_password_file_that_is_not_read_is_told_once(home: Path) -> None:
    write(home / ".pgpass", "*:*:*:*:pw\n", 0o644)
    resolved = resolve(["pg://me@db1/", "pg://me@db2/"], environment={}, home=home)
    assert len(resolved.warnings) == 1
    assert "chmod 600 ~/.pgpass" in resolved.warnings[0]


def test_mysqls_variables_describe_one_target(home: Path) -> None:
    environment = {"MYSQL_HOST": "db1", "MYSQL_TCP_PORT": "3307", "MYSQL_USER": "me", "MYSQL_DATABASE": "shop"}
    (target,) = resolve([], environment={**environment, "MYSQL_PWD": "pw"}, home=home).targets
    assert (target.engine, target.hosts, target.user) == ("mysql", (Host("db1", 3307),), "me")
    assert (target.database, target.password, target.password_from) == ("shop", Secret("pw"), "MYSQL_PWD")
    assert target.name == "db1:3307/shop"
    (target,) = resolve([], environment={**environment, "MYSQL_PASSWORD": "pw"}, home=home).targets
    assert target.password_from == "MYSQL_PASSWORD"


def test_pgservice_names_a_target(home: Path) -> None:
    write(home / ".pg_service.conf", "[shop]\nhost=db1\ndbname=shop\n")
    (target,) = resolve([], environment={"PGSERVICE": "shop"}, home=home).targets
    assert (target.name, target.origin) == ("db1:5432/shop", "PGSERVICE")


@pytest.mark.parametrize("url", ["sqlite:///db.sqlite3", "redis://cache", "not a url"])
def test_a_database_url_for_something_else_is_told_with_its_origin(home: Path, url: str) -> None:
    with pytest.raises(ConnauditError, match=r"^DATABASE_URL: "):
        resolve([], environment={"DATABASE_URL": url}, home=home)

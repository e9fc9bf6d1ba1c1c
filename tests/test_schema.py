"""Every JSON that connaudit prints follows the schema that it prints, and the schema leaves no key unsaid."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from connaudit.cli.schema import names, schema
from connaudit.diagnostics import NAMES
from connaudit.diagnostics.count import SPOKEN
from tests.cli import Result, connaudit
from tests.servers import Role, Running

BLOCKING = ("count", "idle-tx", "long-queries", "blocking", "check")
NOWHERE = "postgresql://m@127.0.0.1:1/d"


def closed(part: Any) -> Any:
    """Return a schema that forbids what it does not list: users may not count on it, we may not forget it."""
    if isinstance(part, list):
        return [closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    inner = {key: closed(value) for key, value in part.items()}
    return {**inner, "additionalProperties": False} if "properties" in part else inner


def validator(command: str, form: str = "json") -> jsonschema.protocols.Validator:
    kind = jsonschema.Draft202012Validator
    return kind(closed(schema(command, form)), format_checker=kind.FORMAT_CHECKER)


def follows(result: Result, command: str) -> Any:
    """Check that a run's JSON follows the schema of a command, and return it."""
    document = result.json
    validator(command).validate(document)
    return document


def audited(command: str, url: str, *words: str, **env: str) -> Any:
    result = connaudit(command, "--json", *words, env={"DATABASE_URL": url, **env})
    return follows(result, command)


@pytest.mark.parametrize("form", ["json", "ndjson"])
@pytest.mark.parametrize("command", names())
def test_every_schema_is_one_and_is_printed(command: str, form: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(command, form))
    printed = connaudit("schema", command, "-f", form)
    assert (printed.status, printed.err, printed.json) == (0, "", schema(command, form))


def test_the_names_of_all_schemas_are_listed() -> None:
    assert connaudit("schema").out.split() == list(names())
    assert set(names()) >= {*NAMES, "check"}
    assert "targets-test" in connaudit("schema", "targets", "test").json["title"]


@pytest.mark.parametrize("check", ["count", "check"])
def test_a_line_of_watch_follows_the_schema_of_what_it_watches(check: str, postgres: Running) -> None:
    printed = connaudit("schema", "watch", check)
    assert printed.json == schema(check, "ndjson")
    lines = connaudit("watch", check, "--count", "1", env={"DATABASE_URL": postgres.url()}).out.splitlines()
    assert len(lines) == 1
    validator(check, "ndjson").validate(json.loads(lines[0]))


def test_a_command_that_writes_no_json_is_refused() -> None:
    result = connaudit("schema", "demo")
    assert (result.status, "count" in result.err) == (3, True)


@pytest.mark.parametrize("command", [*NAMES, "check"])
def test_the_json_of_a_healthy_server_follows_its_schema(command: str, server: Running) -> None:
    (target,) = audited(command, server.url())["targets"]
    assert target["error"] is None


@pytest.mark.parametrize("command", [*NAMES, "check"])
def test_the_json_of_a_role_that_sees_little_follows_its_schema(command: str, server: Running) -> None:
    with server.session(server.app):
        document = audited(command, server.url(server.plain))
    assert "partial" in json.dumps(document)


@pytest.mark.parametrize("command", [*NAMES, "check", "doctor", "inspect", "targets-test"])
def test_the_json_of_a_target_out_of_reach_follows_its_schema(command: str) -> None:
    words = {"targets-test": ["targets", "test"], "inspect": ["inspect", "1"]}.get(command, [command])
    document = follows(connaudit(*words, "--json", "-T", NOWHERE), command)
    assert document["targets"][0]["error"]["kind"] == "refused"


@pytest.mark.parametrize("command", BLOCKING)
def test_the_json_of_a_sick_server_follows_its_schema(command: str, server: Running) -> None:
    """One session idle in transaction with a lock, one behind it, one statement that runs."""
    with server.session(server.app, "create table if not exists schema_of_json (id int)") as owner:
        owner.do("begin")
        owner.do("lock table schema_of_json" if server.is_postgres else "insert into schema_of_json values (1)")
        with server.session(server.app) as waiter, server.session(server.app) as busy:
            busy.start("select pg_sleep(60)" if server.is_postgres else "select sleep(60)")
            waiter.start("truncate schema_of_json")
            document = audited(command, server.url(), *options(command))
    assert '"rows": [{' in json.dumps(document) or command == "count"
    assert document["status"] != "ok"


def options(command: str) -> list[str]:
    """Return what makes a command list and judge what has just begun."""
    return {
        "count": ["-w", "1", "--by", ",".join(SPOKEN)],
        "idle-tx": ["--min-age", "0s", "-w", "count=0"],
        "long-queries": ["--min-age", "0s", "-w", "count=0", "--include-system"],
        "blocking": ["-w", "count=0"],
        "check": ["-w", "count=1"],
    }[command]


@pytest.mark.parametrize("command", ["count", "check"])
def test_every_line_of_ndjson_follows_its_schema(command: str, postgres: Running) -> None:
    result = connaudit(command, "-f", "ndjson", postgres.url(), NOWHERE)
    lines = result.out.splitlines()
    assert len(lines) == 2
    for line in lines:
        validator(command, "ndjson").validate(json.loads(line))


def test_fields_may_leave_columns_out(postgres: Running) -> None:
    with postgres.session(postgres.app):
        document = audited("count", postgres.url(), "--fields", "user,count")
    assert set(document["targets"][0]["rows"][0]) == {"user", "count"}


def test_targets_that_answer_follow_the_schema(server: Running) -> None:
    follows(connaudit("targets", "test", "--json", env={"DATABASE_URL": server.url()}), "targets-test")


@pytest.mark.parametrize("command", ["config-show", "config-check", "targets-list", "targets-show"])
def test_lists_follow_their_schemas(command: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[targets.eu]\ndsn = 'postgresql://monitor@h/d'\ntags = ['a']\npassword_env = 'NOT_SET'\n")
    path.chmod(0o600)
    words = [*command.split("-"), "--config", str(path)]
    assert follows(connaudit(*words, "--json"), command)["rows"]
    for line in connaudit(*words, "-f", "ndjson").out.splitlines():
        validator(command, "ndjson").validate(json.loads(line))


@pytest.mark.parametrize("password", ["status", "target", "connections", "00000"])
def test_a_password_that_is_a_word_of_ours_or_a_number_spoils_no_report(postgres: Running, password: str) -> None:
    role = Role(f"weak_{password}", password)
    postgres.ask(f"create role {role.name} login password '{password}' in role pg_monitor")
    try:
        document = audited("count", postgres.url(role))
        told = connaudit("count", "-f", "prometheus", env={"DATABASE_URL": postgres.url(role)})
    finally:
        postgres.ask(f"drop role {role.name}")
    assert document["targets"][0]["error"] is None
    assert "***" not in json.dumps(document) + told.out


def test_what_the_schema_does_not_list_is_found_by_these_tests(postgres: Running) -> None:
    document: Mapping[str, Any] = audited("count", postgres.url())
    for spoilt in ({**document, "more": 1}, {key: document[key] for key in document if key != "status"}):
        with pytest.raises(jsonschema.ValidationError):
            validator("count").validate(spoilt)

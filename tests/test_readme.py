"""What README.md promises is true: its examples, its grants, its cron line."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema

from connaudit.diagnostics import NAMES
from connaudit.engines import Budget, engine
from connaudit.snapshot import Fact, Gap, Snapshot
from connaudit.targets.parse import parse
from tests import readme
from tests.cli import PROGRAM, connaudit
from tests.servers import Client, Role, Running

TEXT = readme.README.read_text(encoding="utf-8")
ROLE = Role("connaudit", "choose-one")
HEADINGS = {"postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def test_the_generated_parts_are_what_the_program_says_now() -> None:
    assert readme.current(TEXT) == TEXT, "run: make docs"


def test_every_diagnostic_has_its_example() -> None:
    shown = re.findall(r"^\$ connaudit (\S+)", TEXT, re.MULTILINE)
    assert set(NAMES) <= set(shown)


def test_every_file_that_it_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    assert not [link for link in links if not (readme.README.parent / link).exists()]


def grants(kind: str) -> list[str]:
    """Return the statements that the README gives for a kind of server; the first makes the role."""
    found = re.search(rf"### {HEADINGS[kind]}\n\n```sql\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return [statement.strip() for statement in found[1].split(";") if statement.strip()]


@contextmanager
def role_made(server: Running) -> Iterator[Callable[[str], None]]:
    """Offer to execute statements as the superuser, and drop the README's role at the end."""
    drop = f"drop role if exists {ROLE.name}" if server.is_postgres else f"drop user if exists {ROLE.name}"
    superuser = server.connect()
    try:
        superuser.do(drop)
        yield lambda statement: executed(superuser, statement)
    finally:
        superuser.do(drop)
        superuser.close()


def executed(client: Client, statement: str) -> None:
    client.do(statement)


def url(server: Running) -> str:
    """Return the URL for the README's role: MySQL's accounts are granted no database."""
    return server.url(ROLE, database="shop" if server.is_postgres else "")


def snapshot(server: Running) -> Snapshot:
    """Return all that the README's role is told."""
    budget = Budget(10, time.monotonic() + 15)
    ((_, taken),) = engine(server.engine)([parse(url(server))], frozenset(Fact), budget)
    assert isinstance(taken, Snapshot), taken
    return taken


def grants_missing(server: Running) -> list[Gap]:
    return [gap for gap in snapshot(server).gaps if (gap.cure or "").startswith("GRANT")]


@contextmanager
def something_to_see(server: Running) -> Iterator[None]:
    """Hold a transaction of another role; on MySQL a prepared one as well, to name which is a privilege of its own."""
    prepare = ("create table seen (n int)", "xa start 'left'", "insert into seen values (1)", "xa end 'left'")
    with server.session(server.app, "begin", "select 1"):
        if server.kind != "mysql":
            yield
            return
        with server.session(server.app, *prepare, "xa prepare 'left'") as client:
            try:
                yield
            finally:
                client.do("xa rollback 'left'")
                client.do("drop table seen")


def test_its_grants_show_everything_and_without_them_nothing_is_fine(server: Running) -> None:
    create, *further = grants(server.kind)
    with role_made(server) as execute, something_to_see(server):
        execute(create)
        assert connaudit("idle-tx", url(server)).status == 3
        assert grants_missing(server)
        for statement in further:
            execute(statement)
        assert not grants_missing(server)
        target = connaudit("check", url(server), "--json").json["targets"][0]
        assert (target["error"], target["visibility"]) == (None, "full")


def test_none_of_its_grants_is_too_many(server: Running) -> None:
    create, *further = grants(server.kind)
    if server.kind == "mariadb":
        further = further[:1]  # performance_schema is off, and so cannot show that it is readable
    for left_out in further:
        with role_made(server) as execute, something_to_see(server):
            for statement in (create, *(each for each in further if each != left_out)):
                execute(statement)
            assert grants_missing(server), f"not needed: {left_out}"


def test_its_reserved_connection_lets_it_in_when_all_others_are_taken(
    postgres: Running, start: Callable[..., Running]
) -> None:
    (promised,) = re.findall(r"`(GRANT pg_use_reserved_connections[^`]*)`", TEXT)
    server = start(postgres, max_connections=8, superuser_reserved_connections=2, reserved_connections=1)
    with role_made(server) as execute:
        for statement in (*grants("postgres"), promised):
            execute(statement)
        held = [server.connect(server.app) for _ in range(4)]  # five for ordinary roles, and ours that executes
        try:
            result = connaudit("count", url(server))
            assert (result.status, result.err) == (2, result.err)
            assert "5 of 5 usable connections in use" in result.out
        finally:
            for client in held:
                client.close()


def test_its_cron_line_runs_as_cron_would_run_it(postgres: Running, tmp_path: Path) -> None:
    (line,) = re.findall(r"```cron\n(.*?)\n```", TEXT)
    assert "%" not in line, "cron takes it for the end of the command"
    command = line.split(maxsplit=5)[5]
    (tmp_path / ".local" / "bin").mkdir(parents=True)
    (tmp_path / ".local" / "bin" / "connaudit").symlink_to(PROGRAM)
    target = tmp_path / ".config" / "connaudit" / "prod"
    target.parent.mkdir(parents=True)
    target.write_text(postgres.url() + "\n")
    target.chmod(0o600)
    env = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LOGNAME": os.environ.get("USER", "me")}
    done = subprocess.run(["/bin/sh", "-c", command], env=env, capture_output=True, text=True, cwd="/", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_json_that_is_shown_follows_its_schema() -> None:
    shown = re.findall(r"<!-- generated: \$ (connaudit (\S+) .*?--json) ", readme.README.read_text(encoding="utf-8"))
    assert shown
    for line, command in shown:
        document, _ = readme.output(shlex.split(line)[1:])
        schema, _ = readme.output(["schema", command])
        jsonschema.validate(json.loads(document), json.loads(schema))

"""`connaudit inspect` on real processes: from a session to file and line, through the front door."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.attribution.conftest import Hold, hold
from tests.cli import Result, connaudit
from tests.servers import Role, Running
from tests.test_schema import follows

__all__ = ["hold"]
WITH_PY_SPY = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def inspected(server: Running, pid: int, *words: str, role: Role | None = None) -> Result:
    """Inspect one session, as the monitoring role unless given."""
    env = {"AUDITED": server.url(role), **WITH_PY_SPY}
    return connaudit("inspect", str(pid), "-T", "env:AUDITED", *words, env=env)


def summary(result: Result) -> dict[str, Any]:
    assert (result.status, result.err) == (0, "")
    (target,) = follows(result, "inspect")["targets"]
    return dict(target["summary"])


def test_the_process_of_a_session_is_named(server: Running, hold: Hold) -> None:
    holder = hold(server, "one")
    found = summary(inspected(server, holder.ids[0], "--json"))
    assert (found["pid"], found["found"], found["client_pids"]) == (holder.ids[0], True, [holder.pid])


def test_a_leaking_process_is_proven_by_its_numbers(server: Running, hold: Hold) -> None:
    holder = hold(server, "many")
    result = inspected(server, holder.ids[0])
    assert f"process {holder.pid} holds 6 connections to this server and has 1 thread" in result.out


def test_django_s_own_sql_leads_to_file_and_line(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "in_django")
    found = summary(inspected(postgres, holder.ids[0], "--stack", "--json"))
    assert found["thread"] == holder.told["idents"][0]
    assert found["place"].startswith("call_payment_service (")
    assert f"{holder.told['file']}:{holder.told['line']}" in found["place"]
    assert found["place_known_by"].startswith("exact")


def test_without_stack_no_process_is_stopped_to_look_at_it(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "atomic")
    found = summary(inspected(postgres, holder.ids[0], "--json"))
    assert found["thread"] == holder.told["idents"][0]
    assert found["place"] is None


def test_a_session_that_is_not_there(server: Running) -> None:
    result = inspected(server, 2**30)
    assert result.status == 3
    assert f"there is no session {2**30}" in result.out


def test_a_role_that_may_not_see_others_says_what_is_hidden(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "one")
    result = inspected(postgres, holder.ids[0], role=postgres.plain)
    assert result.status == 0
    assert "hidden from this role" in result.out
    assert "pg_monitor" in result.out
    assert "does not tell where the client is" in result.out


def test_a_role_that_sees_only_itself_cannot_say_that_there_is_no_such_session(
    mysql: Running,
    hold: Hold,
) -> None:
    holder = hold(mysql, "one")
    result = inspected(mysql, holder.ids[0], role=mysql.plain)
    assert result.status == 3
    assert "GRANT PROCESS" in result.out


def test_of_a_saved_sample_no_process_is_looked_for(postgres: Running, hold: Hold, tmp_path: Path) -> None:
    holder = hold(postgres, "one")
    saved = str(tmp_path / "sample.json")
    assert inspected(postgres, holder.ids[0], "--save", saved).status == 0
    result = connaudit("inspect", str(holder.ids[0]), "--from", saved, "--json")
    found = summary(result)
    assert (found["found"], found["client_pids"]) == (True, [])


@pytest.mark.parametrize("pid", ["abc", ""])
def test_a_pid_is_a_number(pid: str) -> None:
    result = connaudit("inspect", pid)
    assert (result.status, result.out) == (3, "")
    assert "not a valid integer" in result.err

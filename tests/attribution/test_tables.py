"""Processes and tags in tables, through the front door: real processes that hold sessions of real servers."""

import json
from pathlib import Path

from connaudit.attribution.process import with_processes
from tests.attribution.conftest import Hold, Holder, seen, session_of
from tests.cli import audit, connaudit
from tests.servers import Running


def found(holder: Holder, server: Running) -> set[int]:
    """Return the processes of all of a holder's sessions, looked for at once."""
    taken = with_processes(seen(server))
    return {each.pid for one in holder.ids for each in session_of(taken, one).processes}


def test_the_processes_of_all_sessions_are_found_in_one_pass(server: Running, hold: Hold) -> None:
    one, many = hold(server, "one"), hold(server, "many")
    assert found(one, server) == {one.pid}
    assert found(many, server) == {many.pid}


def test_clients_by_unix_sockets_are_found_as_well(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "many", host=postgres.socket)
    taken = with_processes(seen(postgres))
    (process,) = {each for one in holder.ids for each in session_of(taken, one).processes}
    assert (process.pid, process.connections, process.holds_too_many) == (holder.pid, 6, True)


def test_a_connection_that_was_inherited_is_of_both_processes(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "forked")
    assert found(holder, postgres) == {holder.pid, holder.told["child"]}


def test_orphans_are_counted_by_their_process_and_named_with_both_numbers(server: Running, hold: Hold) -> None:
    holder = hold(server, "many")
    result = audit("count", server, "--by", "process", "--json")
    (target,) = result.json["targets"]
    (group,) = (row for row in target["rows"] if row["process"].endswith(f"(pid {holder.pid})"))
    assert "holder.py many" in group["process"]
    assert group["count"] == 6
    (orphaning,) = (row for row in target["summary"]["orphaning"] if row["pid"] == holder.pid)
    assert (orphaning["connections"], orphaning["threads"]) == (6, 1)
    assert f"process {holder.pid} holds 6 connections to this server and has 1 thread" in audit(
        "count", server, "--by", "process"
    ).out.replace("\n          ", " ")


def test_processes_are_not_looked_for_unless_somebody_asks(postgres: Running, hold: Hold) -> None:
    hold(postgres, "atomic")
    asked = [audit("idle-tx", postgres, "--min-age", "0s", "--json", *words) for words in ((), ("--process",))]
    told = [{row["process"] for row in result.json["targets"][0]["rows"]} for result in asked]
    assert told[0] == {None}
    assert any("holder.py atomic" in str(name) for name in told[1])


def test_a_watch_looks_for_processes_at_each_look(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "many")
    words = ("--by", "process", "--count", "2", "--interval", "1s")
    looks = connaudit("watch", "count", "env:AUDITED", *words, env={"AUDITED": postgres.url()}).out.splitlines()
    told = [{row["process"] for row in json.loads(look)["rows"]} for look in looks]
    assert len(told) == 2
    assert all(any(name.endswith(f"(pid {holder.pid})") for name in names) for names in told)


def test_what_was_found_is_kept_in_a_saved_sample(postgres: Running, hold: Hold, tmp_path: Path) -> None:
    holder = hold(postgres, "many")
    file = tmp_path / "sample.json"
    audit("count", postgres, "--process", "--save", str(file))
    again = connaudit("count", "--from", str(file), "--by", "process", "--json").json
    counts = {row["process"]: row["count"] for row in again["targets"][0]["rows"]}
    assert any(name.endswith(f"(pid {holder.pid})") and count == 6 for name, count in counts.items())


def test_sessions_are_counted_by_the_route_in_their_statements(server: Running) -> None:
    with server.session(server.app) as client:
        client.do("select 1 /*controller='cart',route='cart/%%3Cid%%3E'*/")
        (target,) = audit("count", server, "--by", "user,tag:route", "--json").json["targets"]
    if server.is_postgres:  # MySQL keeps no statement of an idle session but in performance_schema
        assert {"cart/<id>"} <= {row["tag_route"] for row in target["rows"]}
    assert all(set(row) >= {"user", "tag_route", "count"} for row in target["rows"])

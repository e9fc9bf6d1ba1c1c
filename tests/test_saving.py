"""What --save keeps and --from judges again: the same verdicts, and no more of statements than was to be seen."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connaudit import errors, saved
from connaudit.errors import NoSlotsLeft, TargetError
from connaudit.options import Sql
from connaudit.saved import Sample
from connaudit.snapshot import SCHEMA, Address, Fact, Snapshot
from tests.builders import ADDRESS, session, snapshot
from tests.cli import Result, audit, connaudit
from tests.conftest import Start
from tests.recorded import recording
from tests.servers import Client, Running, until

COMMANDS = ("count", "idle-tx", "long-queries", "blocking", "leaks", "check")
DEAD = "postgresql://monitor@127.0.0.1:1/shop"
SECRET = "mangrove-774"


def a_sample(taken: Snapshot | TargetError, target: str = "prod-eu", sql: Sql = Sql.MASKED) -> Sample:
    return Sample(target, "postgresql", ADDRESS, "2026-11-22T10:58:01.311Z", taken, sql)


def written(path: Path, *samples: Sample) -> str:
    path.write_text(saved.to_text(samples))
    return str(path)


def said(result: Result) -> Any:
    """Return what a report says, less what tells one run from another."""
    whole = result.json
    for target in whole["targets"]:
        del target["origin"]
    return {key: value for key, value in whole.items() if key not in ("started_at", "duration_ms", "version")}


@pytest.fixture
def busy(server: Running) -> Iterator[Client]:
    """A session idle in transaction, which has written something that nobody else should read."""
    with server.session(server.app, "create table if not exists trees (name varchar(20))", "begin") as client:
        client.do(f"insert into trees values ('{SECRET}')")
        yield client


def shows(server: Running, client: Client) -> bool:
    rows = audit("idle-tx", server, "--min-age", "0s", "--json").json["targets"][0]["rows"]
    return any(row["pid"] == client.id for row in rows)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("sql", ["masked", "none", "raw"])
def test_what_was_saved_is_judged_as_it_was_on_the_spot(
    server: Running, busy: Client, tmp_path: Path, command: str, sql: str
) -> None:
    until(lambda: shows(server, busy), every=0.2)
    path = str(tmp_path / "f.json")
    words = ("--json", "--sql", sql, *(("--min-age", "0s") if command in ("idle-tx", "long-queries") else ()))
    there = audit(command, server, "--save", path, *words)
    here = connaudit(command, "--from", path, *words)
    assert said(here) == said(there)
    assert here.status == there.status
    assert {target["origin"] for target in here.json["targets"]} == {"file"}


def test_what_count_saved_tells_idle_tx_everything(server: Running, busy: Client, tmp_path: Path) -> None:
    until(lambda: shows(server, busy), every=0.2)
    path = str(tmp_path / "f.json")
    audit("count", server, "--save", path)
    result = connaudit("idle-tx", "--from", path, "--min-age", "0s", "--json", "-c", "count=0")
    assert result.status == 2
    (target,) = result.json["targets"]
    assert busy.id in [row["pid"] for row in target["rows"]]
    assert not [gap for gap in target["gaps"] if "when the sample was saved" in gap["why"]]


@pytest.mark.parametrize(("sql", "there"), [("none", []), ("masked", ["insert into trees values (?)"])])
@pytest.mark.kinds("postgres")  # MariaDB keeps the last statement of nobody as it is installed
def test_no_more_of_statements_is_saved_than_was_to_be_seen(
    server: Running, busy: Client, tmp_path: Path, sql: str, there: list[str]
) -> None:
    path = tmp_path / "f.json"
    audit("count", server, "--save", str(path), "--sql", sql)
    assert SECRET not in path.read_text()
    result = connaudit("idle-tx", "--from", str(path), "--min-age", "0s", "--sql", "raw", "--json")
    rows = [row for row in result.json["targets"][0]["rows"] if row["pid"] == busy.id]
    assert [row["sql"] for row in rows if row["sql"]] == there
    assert {row["sql_mode"] for row in rows} == {sql}


def test_passwords_are_not_even_in_raw_statements() -> None:
    told = snapshot(session(query="alter role a password 'tiptop' login"))
    assert "tiptop" not in saved.to_text([a_sample(told, sql=Sql.RAW)])


def test_the_file_is_for_its_owner_alone_whatever_the_umask(postgres: Running, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.touch(0o644)
    before = os.umask(0)
    try:
        audit("count", postgres, "--save", str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.json"]


def test_several_targets_are_a_line_each_and_what_failed_keeps_its_place(postgres: Running, tmp_path: Path) -> None:
    path = tmp_path / "f.ndjson"
    env: dict[str, str | None] = {"A": postgres.url(), "B": postgres.url(postgres.superuser)}
    connaudit("count", "env:A", DEAD, "env:B", "--save", str(path), env=env)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["schema"] for line in lines] == [
        f"connaudit.snapshot/{SCHEMA}",
        "connaudit.failure/1",
        f"connaudit.snapshot/{SCHEMA}",
    ]
    again = connaudit("count", "--from", str(path), "--json")
    assert again.status == 3
    assert "[refused]" in again.err
    assert [target["status"] for target in again.json["targets"]] == ["ok", "unknown", "ok"]
    assert again.json["targets"][1]["error"]["kind"] == "refused"
    assert connaudit("count", "--from", str(path), "--on-unreachable", "critical").status == 2
    assert postgres.monitor.password not in path.read_text()


def test_a_full_server_is_critical_a_week_later(postgres: Running, start: Start, tmp_path: Path) -> None:
    full = start(postgres, max_connections=5, superuser_reserved_connections=1)
    path = str(tmp_path / "f.json")
    with full.session(full.app), full.session(full.app), full.session(full.app), full.session(full.app):
        there = audit("count", full, "--save", path, "--json")
    here = connaudit("count", "--from", path, "--json")
    assert (there.status, here.status) == (2, 2)
    assert said(here) == said(there)


def test_every_kind_of_failure_comes_back_as_it_was(tmp_path: Path) -> None:
    kinds = [kind for kind in TargetError.__subclasses__() if kind is not NoSlotsLeft]
    whole = [kind("no", stage="login", hint="do") for kind in kinds] + [NoSlotsLeft("full", limit="role")]
    back = saved.from_text(saved.to_text(a_sample(error) for error in whole))
    for sample, error in zip(back, whole, strict=True):
        assert type(sample.taken) is type(error)
        assert isinstance(sample.taken, TargetError)
        assert vars(sample.taken) == vars(error)
        assert sample.address == ADDRESS


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    told = snapshot(session(query="select ?"), session(id=2, query=None))
    (back,) = saved.from_text(saved.to_text([a_sample(told)]))
    assert back == a_sample(told)


def test_json_laid_out_by_somebody_is_read_too(tmp_path: Path) -> None:
    documents = [json.loads(line) for line in saved.to_text([a_sample(snapshot()), a_sample(snapshot())]).splitlines()]
    text = "\n\n".join(json.dumps(document, indent=4) for document in documents)
    assert len(saved.from_text(text)) == 2


GOOD = json.loads(saved.to_text([a_sample(snapshot(session()))]))
LOST = json.loads(saved.to_text([a_sample(errors.Refused("no"))]))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (GOOD | {"schema": f"connaudit.snapshot/{SCHEMA + 1}"}, "newer than this connaudit reads"),
        (LOST | {"schema": "connaudit.failure/2"}, "newer than this connaudit reads"),
        (GOOD | {"schema": "connaudit.count/1"}, "not a snapshot saved by connaudit"),
        (GOOD | {"sessions": 3}, "damaged"),
        (GOOD | {"sessions": [{"id": 1, "state": "asleep"}]}, "asleep"),
        (GOOD | {"taken_at": "yesterday"}, "yesterday"),
        (GOOD | {"capacity": None}, "damaged"),
        ({"schema": GOOD["schema"]}, "damaged"),
        (GOOD | {"server": GOOD["server"] | {"engine": "oracle"}}, "no engine is called 'oracle'"),
        (GOOD | {"sql": "all"}, "all"),
        (LOST | {"address": "db"}, "address"),
        (LOST | {"message": 5}, "message"),
        (LOST | {"at": None}, "sample 1"),
        ([], "not a snapshot"),
        (5, "not a snapshot"),
    ],
)
def test_a_damaged_file_is_refused_on_one_line(tmp_path: Path, document: Any, why: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(document))
    result = connaudit("count", "--from", str(path))
    assert (result.status, result.out) == (3, "")
    assert result.err.startswith(f"connaudit: --from: {path}: sample 1: ")
    assert why in result.err
    assert result.err.endswith(" [usage]\n")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_no_json(tmp_path: Path, number: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(GOOD | {"taken_at": 5}).replace(": 5", f": {number}"))
    result = connaudit("count", "--from", str(path))
    assert (result.status, result.out) == (3, "")
    assert "line 1 is not JSON" in result.err


@pytest.mark.parametrize(
    "content", [b"", b" \n", b'{"schema": "connaudit.snap', b"\x1f\x8b\x08\x00\xff", b"[" * 100_000]
)
def test_what_is_no_json_is_refused_on_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(content)
    result = connaudit("count", "--from", str(path))
    assert (result.status, result.out, result.err.count("\n")) == (3, "", 1)
    assert result.err.startswith(f"connaudit: --from: {path}")


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result = connaudit("count", "--from", str(tmp_path / "nothing"))
    assert (result.status, result.out) == (3, "")
    assert "no such file or directory [usage]" in result.err


def test_samples_come_from_a_pipe_as_well() -> None:
    result = connaudit("count", "--from", "-", stdin=saved.to_text([a_sample(snapshot(session()))]))
    assert (result.status, result.err) == (0, "")
    assert "from file, taken 2026-11-22T10:58:01.311Z" in result.out


def test_targets_of_the_file_are_chosen_by_name(tmp_path: Path) -> None:
    names = ("prod-eu", "prod-us", "dev")
    path = written(tmp_path / "f", *(a_sample(snapshot(session()), name) for name in names))
    chosen = connaudit("count", "prod-*", "--from", path, "--json", env={"CONNAUDIT_TARGET": "elsewhere"})
    assert [target["target"] for target in chosen.json["targets"]] == ["prod-eu", "prod-us"]
    refused = connaudit("count", "test", "--from", path)
    assert refused.status == 3
    assert "no target 'test'; there are prod-eu, prod-us, dev" in refused.err
    assert connaudit("count", "--tag", "prod", "--from", path).status == 3


def test_thresholds_of_the_configuration_hold_for_saved_targets_of_its_names(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[targets.prod-eu]\ndsn = "{DEAD}"\n[targets.prod-eu.thresholds]\ncount.warning = "used=1"\n')
    config.chmod(0o600)
    path = written(tmp_path / "f", *(a_sample(snapshot(session(), session(id=2)), name) for name in ("prod-eu", "dev")))
    result = connaudit("count", "--config", str(config), "--from", path, "--json")
    assert [target["status"] for target in result.json["targets"]] == ["warning", "ok"]


def test_what_was_not_read_is_unknown_and_not_none(tmp_path: Path) -> None:
    told = snapshot(session(), facts=frozenset({Fact.SESSIONS, Fact.STATES}))
    path = written(tmp_path / "f", a_sample(told))
    assert connaudit("count", "--from", path).status == 0
    result = connaudit("idle-tx", "--from", path)
    assert result.status == 3
    assert "transactions were not read when the sample was saved" in result.err


def test_of_a_series_the_last_sample_counts_and_the_report_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "f", a_sample(snapshot(session())), a_sample(errors.Refused("no")), a_sample(snapshot()))
    (target,) = connaudit("count", "--from", path, "--json").json["targets"]
    assert target["summary"]["used"] == 0
    assert target["notes"] == ["judged by the last of 3 samples"]
    lost = written(tmp_path / "g", a_sample(snapshot(session())), a_sample(errors.Refused("no")))
    assert connaudit("count", "--from", lost).status == 3


def test_leaks_are_judged_by_the_whole_series_whatever_failed_in_it(tmp_path: Path) -> None:
    told = [a_sample(each) for each in recording("thread_per_task").snapshots]
    path = written(tmp_path / "f", *told, a_sample(errors.Refused("it was restarted")))
    result = connaudit("leaks", "--from", path, "--json")
    (target,) = result.json["targets"]
    assert any(row["verdict"].startswith("leak") for row in target["rows"])
    assert target["notes"][-1] == f"1 of {len(told) + 1} samples failed, the last of them so: it was restarted"


def test_who_cannot_save_is_told_and_the_report_is_there_all_the_same(postgres: Running, tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere" / "f.json")
    result = audit("count", postgres, "--save", path, "--json")
    assert result.status == 3
    assert result.json["targets"][0]["status"] == "ok"
    assert result.json["exit_code"] == 3
    (error,) = result.json["errors"]
    assert error["kind"] == "output"
    assert result.err == f"connaudit: cannot write {path}: No such file or directory [output]\n"
    assert audit("count", postgres, "--save", path, "-c", "used=1000:").status == 2


def test_an_address_without_a_port_is_a_socket(tmp_path: Path) -> None:
    sample = Sample("s", "mysql", Address("/run/s.sock", None, None, "m"), "2026-11-22T10:58:01Z", errors.Refused("no"))
    assert saved.from_text(saved.to_text([sample]))[0].address == sample.address

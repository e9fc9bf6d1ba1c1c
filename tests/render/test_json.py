import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connaudit.errors import OutputError
from connaudit.render import Style, render
from connaudit.report import Metric
from tests.render.builders import (
    NASTY,
    PLAIN,
    SCENES,
    TERMINAL,
    blind,
    check,
    count,
    full,
    healthy,
    idle_tx,
    nasty,
    run,
    timed_out,
)


def document(*outcomes: Any, style: Style = PLAIN, **kw: Any) -> Any:
    return json.loads(render("json", run(*outcomes, **kw), style))


def test_the_envelope_is_the_contract() -> None:
    found = document(count())
    assert {key: found[key] for key in found if key != "targets"} == {
        "schema": "connaudit.count/1",
        "version": "0.1.0",
        "started_at": "2026-11-22T10:58:01.204Z",
        "duration_ms": 143,
        "status": "critical",
        "exit_code": 2,
        "errors": [],
    }
    target = found["targets"][0]
    assert target["target"] == "prod-eu"
    assert target["origin"] == "config"
    assert target["engine"] == "postgresql"
    assert target["server_version"] == "16.4"
    assert target["server"] == {
        "address": "db.eu.example.net",
        "port": 5432,
        "database": "shop",
        "role": "monitor",
    }
    assert target["via_pooler"] is False
    assert target["replica"] is False
    assert target["visibility"] == "full"
    assert target["sampled_at"] == "2026-11-22T10:58:01.311Z"
    assert target["status"] == "critical"
    assert target["error"] is None


def test_summary_holds_the_overviews_and_rows_hold_every_column() -> None:
    target = document(count())["targets"][0]
    assert target["summary"]["used"] == 94
    assert target["summary"]["by_state"][0] == {"state": "idle", "count": 61, "oldest_seconds": 11520.4}
    assert target["rows"][0] == {
        "app": "gunicorn: worker [shop.wsgi]",
        "user": "shop_web",
        "count": 58,
        "hidden": 0,
    }
    assert target["rows_total"] == 6


def test_a_finding_carries_the_threshold_really_applied() -> None:
    finding = document(count())["targets"][0]["findings"][0]
    assert finding["code"] == "CA101"
    assert finding["severity"] == "critical"
    assert finding["threshold"] == "~:87.3"
    assert finding["unit"] == "connections"
    metric = document(count())["targets"][0]["metrics"][0]
    assert (metric["name"], metric["warning"], metric["critical"]) == ("used", "77.6", "87.3")


def test_a_failed_target_keeps_its_place() -> None:
    targets = document(count("a"), timed_out("b"), count("c"))["targets"]
    assert [target["target"] for target in targets] == ["a", "b", "c"]
    assert targets[1]["status"] == "unknown"
    assert targets[1]["error"] == {
        "kind": "timeout",
        "stage": "tcp",
        "message": "timed out after 10.0s",
        "hint": "is a firewall in between?",
    }
    assert targets[1]["summary"] is None
    assert targets[1]["rows"] == []
    assert targets[1]["server_version"] is None


def test_a_full_server_is_critical_with_its_error() -> None:
    target = document(full())["targets"][0]
    assert (target["status"], target["error"]["kind"]) == ("critical", "too_many_connections")


def test_check_lists_its_checks_per_target() -> None:
    found = json.loads(render("json", check(count(), healthy(), timed_out()), PLAIN))
    first, second = found["targets"]
    assert [(c["check"], c["status"]) for c in first["checks"]] == [("count", "critical"), ("blocking", "ok")]
    assert first["checks"][0]["summary"]["used"] == 94
    assert first["status"] == "critical"
    assert second["checks"] == []
    assert second["error"]["kind"] == "timeout"


def test_gaps_and_notes_are_data() -> None:
    target = document(blind())["targets"][0]
    assert target["gaps"][0]["cure"] == "GRANT pg_monitor TO monitor;"
    assert target["notes"] == ["the server's clock is 3s ahead"]


def test_errors_beside_the_targets_are_listed() -> None:
    found = document(count(), errors=(OutputError("history.db is locked"),))
    assert found["errors"] == [{"kind": "output", "message": "history.db is locked", "hint": None}]


def test_it_is_one_line_in_a_pipe_and_indented_on_a_terminal() -> None:
    assert render("json", SCENES["count"], PLAIN).count("\n") == 1
    pretty = render("json", SCENES["count"], TERMINAL)
    assert '\n  "schema"' in pretty
    assert "\x1b" not in pretty
    assert json.loads(pretty) == json.loads(render("json", SCENES["count"], PLAIN))


def test_numbers_that_json_cannot_write_are_null() -> None:
    broken = count(metrics=(Metric("used", float("nan")), Metric("free", float("inf"))), summary={"x": [float("-inf")]})
    target = document(broken)["targets"][0]
    assert [metric["value"] for metric in target["metrics"]] == [None, None]
    assert target["summary"]["x"] == [None]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_every_text_arrives_exactly_in_plain_ascii(text: str) -> None:
    rendered = render("json", run(nasty(text), nasty(NASTY)), PLAIN)
    assert rendered.isascii()
    assert all(character.isprintable() or character == "\n" for character in rendered)
    assert "##[" not in rendered
    target = json.loads(rendered)["targets"][0]
    assert target["rows"][0]["sql"] == text
    assert target["summary"]["text"] == text
    assert target["findings"][0]["message"] == text


def test_fields_sort_and_limit_choose_rows_and_columns() -> None:
    style = Style(fields=("idle_seconds", "pid"), sort=("idle_seconds", False), limit=1)
    target = document(idle_tx(), style=style)["targets"][0]
    assert target["rows"] == [{"idle_seconds": 2463.0, "pid": 48377}]
    assert list(target["rows"][0]) == ["idle_seconds", "pid"]
    assert target["rows_total"] == 2


def test_ndjson_is_one_complete_line_per_target() -> None:
    lines = render("ndjson", run(count("a"), timed_out("b")), replace(TERMINAL)).splitlines()
    found = [json.loads(line) for line in lines]
    assert [(line["target"], line["status"], line["run_status"]) for line in found] == [
        ("a", "critical", "critical"),
        ("b", "unknown", "critical"),
    ]
    assert {line["schema"] for line in found} == {"connaudit.count/1"}

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connaudit.render import Run, Style, render
from tests.render.builders import SCENES, SESSION_ROWS, STARTED, check, count, idle_tx, nasty, run, timed_out


def records(found: Run) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(render("csv", found, Style(unicode=True)))))


def test_rows_are_numbers_in_base_units_and_unknown_is_empty() -> None:
    first, second = records(SCENES["idle-tx"])
    assert (first["target"], first["pid"], first["idle_seconds"]) == ("prod-eu", "48211", "8041.0")
    assert first["sql_mode"] == "masked"
    assert second["client"] == ""
    assert first["error"] == ""


def test_a_target_that_was_not_seen_is_a_row_with_its_error() -> None:
    found = records(run(count(), timed_out()))
    assert [row["target"] for row in found] == ["prod-eu", "prod-eu", "prod-us"]
    assert found[2]["error"] == "cannot connect: timed out after 10.0s (tcp)"
    assert records(SCENES["blind"])[0]["error"] == "only own sessions visible"


def test_check_is_a_row_per_verdict_good_ones_too() -> None:
    assert [(row["check"], row["status"]) for row in records(SCENES["check of one"])] == [
        ("count", "CRITICAL"),
        ("idle-tx", "CRITICAL"),
        ("blocking", "OK"),
    ]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1", " =1", "\n@x", "\uff1d1"])
def test_no_text_is_run_by_a_spreadsheet(formula: str) -> None:
    row = (*SESSION_ROWS[0][:5], formula, None, STARTED, -2, formula, "raw")
    record = records(run(idle_tx(rows=(row,))))[0]
    assert record["app"].startswith("'")
    assert record["sql"].startswith("'")
    assert record["blocks"] == "-2"


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_any_text_is_one_record_on_one_line(text: str) -> None:
    rendered = render("csv", run(nasty(text)), Style())
    assert rendered.count("\n") == 2
    assert len(records(run(nasty(text)))) == 1


def test_the_header_can_be_left_out() -> None:
    assert render("csv", check(count()), Style(header=False)).startswith("prod-eu,count,CRITICAL,")

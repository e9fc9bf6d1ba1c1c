import pytest

from connaudit.errors import UsageError
from connaudit.render import Style, field_names, render
from tests.render.builders import SCENES, count, idle_tx, run, timed_out


def test_an_unknown_field_is_an_error_with_a_suggestion() -> None:
    for style in (Style(fields=("idle_secondz",)), Style(sort=("idle_secondz", True))):
        with pytest.raises(UsageError, match="did you mean idle_seconds"):
            render("json", SCENES["idle-tx"], style)
    with pytest.raises(UsageError, match="there are pid, idle_seconds"):
        render("table", SCENES["idle-tx"], Style(fields=("zzz",)))


def test_there_are_no_unknown_fields_where_nothing_was_seen() -> None:
    assert "timed out" in render("table", run(timed_out()), Style(fields=("pid",)))


def test_field_names_are_those_of_rows_and_briefs() -> None:
    assert field_names(run(count())) == ("app", "user", "count", "hidden", "used", "usable", "used_ratio")


def test_chosen_fields_are_shown_in_their_order_even_data() -> None:
    lines = render("table", SCENES["idle-tx"], Style(fields=("sql_mode", "pid"))).splitlines()
    assert lines[2] == "SQL MODE    PID"


def test_unknown_values_sort_last_either_way() -> None:
    for descending in (True, False):
        text = render("table", run(idle_tx()), Style(sort=("client", descending), fields=("pid", "client")))
        assert text.index("48211") < text.index("48377")


def test_targets_sort_by_a_column_of_their_brief_failures_last() -> None:
    style = Style(sort=("used", True))
    lines = render("table", run(timed_out("lost"), count("a")), style).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["a", "lost"]


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="no format 'xml'"):
        render("xml", SCENES["count"], Style())

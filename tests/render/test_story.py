"""How the one cause of several alarms is told: before all else, in every format that has a place for it."""

import json

import pytest

from connaudit.diagnostics import NAMES, diagnostic
from connaudit.diagnostics.story import together
from connaudit.render import Run, Style, render
from tests.diagnostics.test_story import crowd, culprit
from tests.render.builders import PLAIN, check

BEGINNING = "48211 (shop_web, report) idle in transaction for 2h14m"
RAISE = "raise max_connections last"


@pytest.fixture
def told() -> Run:
    scene = crowd(culprit())
    asked = [diagnostic(name) for name in NAMES]
    return check(*together([each.run(scene, each.options()) for each in asked], scene))


FIRST_VERDICT = {
    "table": "81 of 97 used",
    "wide": "81 of 97 used",
    "markdown": "81 of 97 used",
    "nagios": "count:",
    "html": "81 of 97 used",
    "json": '"check":',
    "ndjson": '"check":',
}


def rendered(told: Run, name: str, style: Style = PLAIN) -> str:
    """Return the text, in Markdown without its escapes."""
    return render(name, told, style).replace("\\_", "_")


@pytest.mark.parametrize("name", FIRST_VERDICT)
def test_the_culprit_stands_before_the_first_verdict_on_a_check(told: Run, name: str) -> None:
    text = rendered(told, name)
    assert 0 <= text.find(BEGINNING) < text.index(FIRST_VERDICT[name])


def test_a_table_says_of_each_check_whose_work_it_is(told: Run) -> None:
    lines = render("table", told, PLAIN).splitlines()
    assert lines[0].startswith(
        f"CRITICAL  prod-eu: one cause of count, idle-tx, long-queries, blocking, leaks: {BEGINNING}"
    )
    assert lines[1].strip().startswith("hint: end it: SELECT pg_terminate_backend(48211)")
    rows = [line for line in lines if line.startswith("prod-eu")]
    assert len(rows) == len(NAMES)
    assert all(row.endswith("48211") for row in rows)


@pytest.mark.parametrize("name", ["table", "markdown", "html"])
def test_what_follows_from_the_culprit_has_no_advice_of_its_own(told: Run, name: str) -> None:
    text = rendered(told, name, Style(verbose=True))
    assert RAISE not in text
    assert text.count("pg_terminate_backend(48211)") == 1


def test_json_has_the_story_with_its_target_and_marks_what_follows(told: Run) -> None:
    (target,) = json.loads(render("json", told, PLAIN))["targets"]
    story = target["story"]
    assert (story["culprit"], story["code"], story["severity"]) == ("48211", "CA401", "critical")
    assert story["checks"] == list(NAMES)
    because = {found["code"]: found["because"] for each in target["checks"] for found in each["findings"]}
    assert because.pop("CA401") is None
    assert set(because.values()) == {"CA401"}


def test_the_first_line_for_a_pager_begins_with_the_culprit(told: Run) -> None:
    first = render("nagios", told, PLAIN).splitlines()[0]
    assert first.startswith(f"CONNAUDIT CRITICAL - prod-eu: {BEGINNING} holds up 80 sessions; count: 81 of 97")


def test_without_a_story_nothing_is_said_of_one() -> None:
    scene = crowd(waiters=0)
    run = check(*(each.run(scene, each.options()) for each in map(diagnostic, NAMES)))
    (target,) = json.loads(render("json", run, PLAIN))["targets"]
    assert target["story"] is None
    assert "CAUSE" not in render("table", run, PLAIN)

"""What is true of every format, and of the scenes that nobody likes to meet."""

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connaudit.render import FORMATS, Style, render
from connaudit.report import Report
from tests.render.builders import (
    NASTY,
    PLAIN,
    SCENES,
    TERMINAL,
    check,
    count,
    healthy,
    idle_tx,
    nasty,
    refused,
    run,
    timed_out,
)

HUMAN = tuple(name for name in FORMATS if name not in ("json", "ndjson"))
RUNNER_COMMAND = re.compile(r"^\s*::[a-z-]+( [^:]*)?::|##\[", re.MULTILINE)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_renders_every_scene(name: str, scene: str) -> None:
    text = render(name, SCENES[scene], PLAIN)
    assert text.endswith("\n") or not SCENES[scene].outcomes
    assert text.isascii()
    assert all(line.isprintable() for line in text.split("\n"))
    if name != "github":
        assert not RUNNER_COMMAND.search(text)


@pytest.mark.parametrize("name", FORMATS)
def test_the_verdict_is_a_word_in_every_format_but_numbers_for_machines(name: str) -> None:
    text = render(name, SCENES["full server"], PLAIN).lower()
    if name in ("prometheus", "csv", "junit"):
        assert "2" in text if name == "prometheus" else "server is full" in text
    else:
        assert "critical" in text


@pytest.mark.parametrize("name", FORMATS)
def test_targets_keep_their_order(name: str) -> None:
    text = render(name, SCENES["check"], PLAIN)
    first = [text.index(target) for target in ("prod-eu", "prod-us", "prod-ap")]
    assert first == sorted(first)


@pytest.mark.parametrize("name", ["table", "wide", "markdown", "html"])
def test_people_are_told_where_to_read_about_what_was_found(name: str) -> None:
    for scene in (run(count(), idle_tx()), check(count(), idle_tx(), timed_out()), run(timed_out())):
        shown = render(name, scene, PLAIN)
        for outcome in scene.outcomes:
            found = outcome.findings if isinstance(outcome, Report) else (outcome.finding,)
            assert all(finding.code in shown for finding in found)
        assert "more: connaudit explain CA" in shown
    assert "connaudit explain" not in render(name, check(healthy()), PLAIN)


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"table", "wide"}))
def test_formats_for_files_are_never_coloured(name: str) -> None:
    assert "\x1b" not in render(name, SCENES["check"], TERMINAL)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters()))
def test_no_control_character_reaches_any_reader(text: str) -> None:
    for style in (PLAIN, Style(unicode=True)):
        for name in HUMAN:
            for scene in (run(nasty(text), command="idle-tx"), check(nasty(text), nasty(NASTY + text), refused())):
                shown = render(name, scene, style)
                assert all(line.isprintable() for line in shown.split("\n")), name


def test_a_format_is_imported_only_when_it_is_asked_for() -> None:
    program = (
        "import sys, connaudit.render;"
        "print([m for m in sys.modules if m.split('.')[0] == 'rich' or m in"
        " ('json', 'csv', 'html', 'xml', 'connaudit.render.table')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_plain_table_needs_no_rich() -> None:
    program = (
        "import sys; from connaudit.render import Style, render; from tests.render.builders import SCENES;"
        "render('table', SCENES['check'], Style()); print('rich' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

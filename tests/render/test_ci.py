"""The formats of CI systems: GitHub's commands, JUnit, Markdown."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connaudit.render import Style, render
from connaudit.render.text import clean
from connaudit.report import Status
from tests.render.builders import PLAIN, SCENES, blind, check, count, idle_tx, nasty, run, timed_out


def test_a_finding_is_an_annotation() -> None:
    lines = render("github", run(count()), PLAIN).splitlines()
    assert lines[0] == (
        "::error title=CA101 prod-eu::94 of 97 usable connections in use (96.9%25)"
        "%0Asee who holds them below; raise max_connections last"
    )
    assert lines[1] == "CRITICAL  1 target: 1 critical"


def test_a_warning_is_a_warning_and_what_is_unknown_an_error() -> None:
    warning = count(findings=(replace(count().findings[0], status=Status.WARNING),), status=Status.WARNING)
    assert render("github", run(warning), PLAIN).startswith("::warning title=CA101 prod-eu::")
    assert render("github", run(timed_out()), PLAIN).startswith("::error title=UNKNOWN prod-us::cannot connect")
    assert "GRANT pg_monitor" in render("github", run(blind()), PLAIN)


def test_what_is_well_is_no_annotation() -> None:
    assert not re.search(r"^::", render("github", SCENES["healthy"], PLAIN), re.MULTILINE)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_no_text_adds_a_command_or_a_property(text: str) -> None:
    for scene in (run(nasty(text)), check(nasty(text)), run(count(text, status=Status.OK))):
        lines = render("github", scene, PLAIN).splitlines()
        commands = [
            line for line in lines if line.lstrip().startswith("::") and not re.match(r"::[0-9a-fA-F.:]*", line)
        ]
        assert all(re.match(r"::(error|warning|notice) title=[^:,]*::", line) for line in commands)
        assert len(commands) <= 1
        assert "##[" not in "".join(lines)


def test_a_name_ends_no_property() -> None:
    text = render("github", run(count("a:b,c%::warning::")), PLAIN)
    assert text.startswith("::error title=CA101 a%3Ab%2Cc%25%3A%3Awarning%3A%3A::94 of 97")


SUITE = {"id", "package", "name", "timestamp", "hostname", "time", "tests", "failures", "errors"}


def suites(scene: str) -> list[ET.Element]:
    """Return the suites of a scene, checked against what the strictest of the common schemas demands."""
    root = ET.fromstring(render("junit", SCENES[scene], PLAIN))
    assert root.tag == "testsuites"
    for suite in root:
        assert set(suite.attrib) == SUITE
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * (len(tags) - 3), "system-out", "system-err"]
        cases = suite.findall("testcase")
        assert all(set(case.attrib) == {"name", "classname", "time"} for case in cases)
        assert int(suite.attrib["tests"]) == len(cases)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["errors"]) == len(suite.findall("testcase/error"))
        assert all({"type", "message"} == set(case[0].attrib) for case in cases if len(case))
    return list(root)


@pytest.mark.parametrize("scene", SCENES)
def test_junit_is_well_formed(scene: str) -> None:
    suites(scene)


def test_junit_has_a_case_per_target_and_check() -> None:
    found = [
        (case.attrib["classname"], case.attrib["name"], [child.tag for child in case])
        for suite in suites("check")
        for case in suite.findall("testcase")
    ]
    assert found == [
        ("prod-eu", "count", ["failure"]),
        ("prod-eu", "idle-tx", ["failure"]),
        ("prod-eu", "blocking", []),
        ("prod-us", "count", ["error"]),
        ("prod-us", "idle-tx", ["error"]),
        ("prod-ap", "count", ["failure"]),
        ("prod-ap", "idle-tx", ["failure"]),
    ]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_junit_carries_every_text_as_people_may_see_it(text: str) -> None:
    root = ET.fromstring(render("junit", run(nasty(text)), PLAIN))
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == clean(text)


def test_markdown_has_verdict_details_and_tables() -> None:
    text = render("markdown", run(count()), PLAIN)
    assert text.startswith("## connaudit count: CRITICAL\n\n1 target: 1 critical\n")
    assert "**CRITICAL** 94 of 97 usable connections in use (96.9%), 3 free" in text
    assert "| STATE | COUNT | OLDEST |\n| --- | ---: | ---: |\n| idle | 61 | 3h12m |" in text
    assert r"| gunicorn: worker \[shop.wsgi\] | shop\_web | 58 |" in text


def test_markdown_of_check_is_one_table() -> None:
    text = render("markdown", SCENES["check"], PLAIN)
    assert text.count("\n| --- ") == 1
    assert "| prod-us | \\* | UNKNOWN | timed out after 10.0s (tcp) | - |" in text


def test_text_in_markdown_is_no_markup_and_calls_nobody() -> None:
    hostile = "a|b `x` <img src=x> [l](http://e) ![i](j) **b** @all #12 :tada: www.example.net"
    row = (1, 2.0, None, "d", "u", hostile, None, None, 0, "s", "raw")
    text = render("markdown", run(idle_tx(rows=(row,))), Style())
    assert (
        r"a\|b \`x\` &lt;img src=x&gt; \[l\](http:<!-- -->//e) !\[i\](j) \*\*b\*\* @<!-- -->all \#<!-- -->12"
        " :<!-- -->tada: www<!-- -->.example.net"
    ) in text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_every_row_of_a_markdown_table_has_its_cells(text: str) -> None:
    rendered = render("markdown", run(nasty(text)), PLAIN)
    row = next(line for line in rendered.splitlines() if line.startswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 10

"""The formats of monitoring systems: Nagios and Prometheus."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from connaudit.errors import HistoryError
from connaudit.render import Run, render
from connaudit.render.nagios import number
from connaudit.render.prometheus import FAMILIES
from connaudit.report import Metric, Status, Unit
from tests.render.builders import PLAIN, SCENES, check, count, healthy, idle_tx, nasty, run, timed_out

# The grammar of the Monitoring Plugins' guidelines; ranges as they define them.
NUMBER = r"-?\d+(?:\.\d+)?"
RANGE = rf"@?(?:(?:~|{NUMBER})?:)?(?:{NUMBER})?"
LABEL = r"[^'=|]*[^'=|\s][^'=|]*"
PERFDATUM = re.compile(
    rf"'({LABEL})'=(?:U|{NUMBER}(?:s|%|B|c)?)(?:;(?:{RANGE})(?:;(?:{RANGE})(?:;(?:{NUMBER})?(?:;{NUMBER})?)?)?)?(?= |$)"
)


def nagios(found: Run) -> tuple[str, list[tuple[str, str]]]:
    """Return the text and the perfdata, read strictly as the guidelines say."""
    text, _, performance = render("nagios", found, PLAIN).rstrip("\n").partition(" | ")
    assert "|" not in text
    data: list[tuple[str, str]] = []
    rest = performance
    while rest:
        match = PERFDATUM.match(rest)
        assert match, rest
        data.append((match[1], match[0].partition("'=")[2]))
        assert rest[match.end() : match.end() + 1] in ("", " "), rest
        rest = rest[match.end() + 1 :]
    return text, data


def test_one_target_is_one_line() -> None:
    text, data = nagios(run(count(metrics=count().metrics[:1])))
    assert text == "CONNAUDIT CRITICAL - prod-eu: 94 of 97 used (96.9%)"
    assert data == [("used", "94;77.6;87.3;0;97")]


def test_seconds_are_base_units_and_lower_bounds_are_ranges() -> None:
    assert ("idle_tx_oldest", "8041s;60;600;0") in nagios(run(idle_tx()))[1]
    assert ("free", "3;;3:;0;97") in nagios(run(count()))[1]


def test_several_targets_are_a_line_each_and_label_their_numbers() -> None:
    text, data = nagios(SCENES["two targets in brief"])
    assert text.splitlines() == [
        "CONNAUDIT CRITICAL - 2 targets: 1 critical, 1 not reachable",
        "CRITICAL - prod-eu: 94 of 97 used (96.9%)",
        "UNKNOWN - prod-us: cannot connect: timed out after 10.0s (tcp)",
    ]
    assert data[0] == ("prod-eu used", "94;77.6;87.3;0;97")


def test_what_was_not_reached_has_no_numbers() -> None:
    assert nagios(SCENES["unreachable"]) == (
        "CONNAUDIT UNKNOWN - prod-us: cannot connect: timed out after 10.0s (tcp)",
        [],
    )


def test_what_went_wrong_beside_the_targets_is_told_where_a_plugin_is_read() -> None:
    found = replace(run(healthy()), errors=(HistoryError("/var/lib/h.db: no room | left"),))
    text, _ = nagios(found)
    assert text.startswith("CONNAUDIT UNKNOWN - prod-eu: ")
    assert text.endswith("; /var/lib/h.db: no room left")


@pytest.mark.parametrize("scene", SCENES)
def test_perfdata_is_of_the_grammar_and_the_first_line_short(scene: str) -> None:
    rendered = render("nagios", SCENES[scene], PLAIN)
    assert len(rendered.splitlines()[0]) <= 200
    labels = [label for label, _ in nagios(SCENES[scene])[1]]
    assert len(labels) == len(set(labels))
    assert "UPDATE cart" not in rendered


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_no_text_breaks_perfdata(text: str) -> None:
    nagios(run(nasty(text)))
    nagios(check(nasty(text), idle_tx(text), timed_out()))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_plain_decimals_of_the_same_value(value: float) -> None:
    text = number(value)
    assert re.fullmatch(NUMBER, text)
    assert float(text) == value


def test_a_number_that_could_not_be_had_is_u() -> None:
    assert nagios(run(count(metrics=(Metric("used", float("nan")),))))[1] == [("used", "U")]


def families(found: Run) -> dict[str, dict[tuple[str, ...], float]]:
    """Return all samples as Prometheus' own parser reads them, by family and values of labels."""
    parsed = list(text_string_to_metric_families(render("prometheus", found, PLAIN)))
    assert len({family.name for family in parsed}) == len(parsed)
    assert {family.type for family in parsed} <= {"gauge"}
    assert all(sample.timestamp is None for family in parsed for sample in family.samples)
    return {f.name: {tuple(s.labels.values()): s.value for s in f.samples} for f in parsed}


def test_the_families_are_the_contract() -> None:
    found = families(check(count(), idle_tx(), healthy(), timed_out()))
    assert found["connaudit_up"] == {("prod-eu", "postgresql"): 1, ("prod-us", "postgresql"): 0}
    assert found["connaudit_connections"][("prod-eu", "idle")] == 61
    assert found["connaudit_connections_used"] == {("prod-eu",): 94}
    assert found["connaudit_connections_usable"] == {("prod-eu",): 97}
    assert found["connaudit_idle_in_transaction_sessions"] == {("prod-eu",): 19}
    assert found["connaudit_idle_in_transaction_oldest_age_seconds"] == {("prod-eu",): 8041}
    assert found["connaudit_check_status"] == {
        ("prod-eu", "count"): 2,
        ("prod-eu", "idle-tx"): 2,
        ("prod-eu", "blocking"): 0,
        ("prod-us", "count"): 3,
        ("prod-us", "idle-tx"): 3,
    }
    assert found["connaudit_run_duration_seconds"] == {(): 0.143}
    assert found["connaudit_last_run_timestamp_seconds"] == {(): 1795345081.204}
    assert found["connaudit_build_info"] == {("0.1.0",): 1}


def test_help_and_type_stand_once_before_the_samples_of_their_family() -> None:
    lines = render("prometheus", run(count("a"), count("b")), PLAIN).splitlines()
    described = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(described) == len(set(described))
    names = [re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")]
    assert list(dict.fromkeys(names)) == described
    assert names == sorted(names, key=described.index)


def test_what_was_not_measured_is_absent() -> None:
    found = families(run(count(metrics=(Metric("used", float("nan")),)), timed_out()))
    assert "connaudit_connections_used" not in found


def test_a_metric_without_a_place_in_the_table_is_not_lost() -> None:
    found = families(run(count(metrics=(Metric("odd_age", 3, Unit.SECONDS),), status=Status.OK)))
    assert found["connaudit_odd_age_seconds"] == {("prod-eu",): 3}


def test_families_have_names_and_helps_of_their_own() -> None:
    assert len({name for name, _ in FAMILIES.values()}) == len(FAMILIES)
    assert all(re.fullmatch(r"[a-z_]+", name) for name, _ in FAMILIES.values())
    assert all(re.fullmatch(r"[A-Z][^\\\n]*\.", text) for _, text in FAMILIES.values())


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_no_text_breaks_the_text_format(text: str) -> None:
    found = families(run(nasty(text), idle_tx(text)))
    assert len(found["connaudit_connections"]) == 1

"""Thresholds: what is read, what is refused with which advice, where the boundaries lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.thresholds import Measure, Metric, Range, check_order, parse_condition, parse_range

USED = Metric("used", Measure.SLOTS, "")
FREE = Metric("free", Measure.COUNT, "", falls=True)
AGE = Metric("age", Measure.SECONDS, "")
METRICS = (USED, FREE, AGE)


@pytest.mark.parametrize(
    ("text", "low", "high", "inside", "percent"),
    [
        ("10", 0, 10, False, False),
        ("10:", 10, None, False, False),
        ("~:10", None, 10, False, False),
        ("10:20", 10, 20, False, False),
        ("@10:20", 10, 20, True, False),
        ("80pct", 0, 80, False, True),
        ("80%", 0, 80, False, True),
        ("~:80%", None, 80, False, True),
    ],
)
def test_ranges_are_read_as_monitoring_plugins_read_them(
    text: str, low: float | None, high: float | None, inside: bool, percent: bool
) -> None:
    assert parse_range(text, USED) == Range(low, high, inside, percent)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90", 90), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800)]
)
def test_m_is_minutes_and_a_bare_number_of_a_time_is_seconds(text: str, seconds: float) -> None:
    assert parse_range(text, AGE) == Range(0, seconds)


def test_a_named_metric_is_meant_and_the_first_one_otherwise() -> None:
    assert parse_condition("5", METRICS).metric is USED
    assert parse_condition("free=5:", METRICS).metric is FREE
    assert parse_condition("used=~:120", METRICS).range == Range(None, 120)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("0.9", "did you mean 90pct?"),
        ("free=5", "write free=5: to alert below 5"),
        ("free=~:5", "to alert below"),
        ("/root:5", "your shell expanded ~"),
        ("used=/root:5", "your shell expanded ~"),
        ("usd=5", "did you mean used?"),
        ("20:10", "the lower end is above the upper end"),
        ("10pct:20", "mixes a percentage with a number"),
        ("age=5 parsecs", "is not a duration"),
        ("age=50pct", "age has no percentage"),
        ("", "a range is missing"),
        ("-5", "is not a number"),
        ("nan", "is not a number"),
        ("1e400", "is not a number"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write_instead(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        parse_condition(text, METRICS)
    assert advice in str(refused.value)


def test_percentages_become_connections_of_the_usable_ones() -> None:
    assert str(parse_range("90pct", USED).of(97)) == "87.3"
    assert parse_range("80pct", USED).of(10).alerts(8.1)
    assert not parse_range("80pct", USED).of(10).alerts(8)


def test_a_bare_number_alerts_above_it_and_not_at_it() -> None:
    assert [parse_range("60", AGE).alerts(value) for value in (59.9, 60.0, 60.1)] == [False, False, True]


def test_a_lower_bound_alerts_below_it_and_not_at_it() -> None:
    assert [parse_range("5:", FREE).alerts(value) for value in (4, 5, 6)] == [True, False, False]


def test_an_inside_range_alerts_on_both_of_its_ends() -> None:
    assert [parse_range("@5:10", AGE).alerts(value) for value in (4.9, 5, 10, 10.1)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("warning", "critical"),
    [("90pct", "80pct"), ("age=10m", "age=1m"), ("free=3:", "free=5:")],
)
def test_a_warning_that_would_come_after_its_critical_is_refused(warning: str, critical: str) -> None:
    with pytest.raises(ValueError, match="swap them"):
        check_order((parse_condition(warning, METRICS),), (parse_condition(critical, METRICS),))


def test_equal_thresholds_and_different_kinds_are_in_order() -> None:
    check_order((parse_condition("90pct", METRICS),), (parse_condition("90pct", METRICS),))
    check_order((parse_condition("90pct", METRICS),), (parse_condition("50", METRICS),))


NUMBERS = st.integers(0, 10**9).map(float)


@given(low=st.none() | NUMBERS, high=st.none() | NUMBERS, inside=st.booleans())
def test_what_is_printed_reads_back_as_the_same_range(low: float | None, high: float | None, inside: bool) -> None:
    if (low is None and high is None) or (low or 0) > (high if high is not None else 10**9):
        return
    printed = Range(low, high, inside)
    assert parse_range(str(printed), Metric("n", Measure.COUNT, "")) == printed


@given(text=st.text(max_size=20))
def test_no_text_whatever_ends_otherwise_than_read_or_refused(text: str) -> None:
    try:
        condition = parse_condition(text, METRICS)
    except ValueError:
        return
    assert condition.metric in METRICS

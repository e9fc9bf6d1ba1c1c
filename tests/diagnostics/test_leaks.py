"""`leaks`: what is reported of groups, and what a history adds."""

from typing import Any

import pytest

from connaudit.diagnostics import leaks
from connaudit.diagnostics.leaks import METRICS, Options, parse_apart, parse_bound
from connaudit.history.trend import HOUR, Growth, Level, Names, Past, growth
from connaudit.options import Filter, Sql
from connaudit.report import Report, Status
from connaudit.snapshot import Fact, Session, Snapshot, State, Transaction
from connaudit.thresholds import Condition, parse_condition
from tests.builders import MARIADB, session, snapshot

QUERY = "select * from cart where id = 42"


def forsaken(count: int = 12, **more: Any) -> list[Session]:
    """Return connections each used once, one opened every minute, the last an hour ago."""
    ages = [3600.0 + 60 * (count - i) for i in range(count)]
    return [
        session(id=i, in_state=age, connection_age=age + 0.1, query=QUERY, **more) for i, age in enumerate(ages, 10)
    ]


def run(*sessions: Session, options: Options = Options(), **more: Any) -> Report:  # noqa: B008
    return leaks.run(snapshot(*sessions, **more), options)


def conditions(*texts: str) -> tuple[Condition, ...]:
    return tuple(parse_condition(text, METRICS) for text in texts)


def rows(report: Report) -> list[dict[str, object]]:
    assert report.table is not None
    return report.table.records()  # type: ignore[return-value]


def grown(per_hour: float, hours: int = 168, first: float = 20.0, usable: int = 97) -> Growth:
    """Return what a history of a steady rise says."""
    found = growth([Level(hour * HOUR, first + per_hour * hour, usable) for hour in range(hours)], usable)
    assert found
    return found


def test_a_leak_is_a_warning_that_names_who_leaks() -> None:
    report = run(*forsaken())
    assert (report.status, report.value) == (Status.WARNING, "1 group, 12 sessions")
    assert report.headline == "1 group leaking: web (12 sessions)"
    (finding,) = report.findings
    assert (finding.code, finding.status, finding.sessions) == ("CA502", Status.WARNING, tuple(range(10, 22)))
    assert "12 of them opened one after another while those before lay idle" in finding.message
    assert report.summary["evidence"] == ("stale_idle", "never_reused")


def test_nothing_to_find_is_ok_and_says_what_was_not_judged() -> None:
    report = run(session(in_state=1.0))
    assert (report.status, report.value) == (Status.OK, "none")
    assert report.headline == "no group of connections looks like a leak"
    assert "no history: growth is not judged" in report.details


def test_a_group_is_one_application_user_database_and_client_whatever_pgbouncer_writes_behind_the_name() -> None:
    named = [session(id=i, application=f"web - 10.4.1.17:{40000 + i}") for i in range(2, 5)]
    report = run(*named, session(id=9, client="10.4.1.18"), session(id=10, user="other"))
    assert [(row["app"], row["user"], row["client"], row["sessions"]) for row in rows(report)] == [
        ("web", "shop_web", "10.4.1.17", 3),
        ("web", "other", "10.4.1.17", 1),
        ("web", "shop_web", "10.4.1.18", 1),
    ]


def test_the_worst_come_first_and_those_apart_last() -> None:
    report = run(
        session(id=3, application="listener", query="LISTEN jobs", in_state=9000.0),
        session(id=4, application="batch", advisory_locks=1, in_state=9000.0),
        session(id=5, application="DBeaver 24.1 - Main", in_state=9000.0),
        session(id=6, application="asyncpg", query="DISCARD ALL", in_state=9000.0),
        session(id=7, application="other"),
        *forsaken(),
    )
    assert [row["verdict"] for row in rows(report)] == [
        "leak growing", "ok", "apart: tool", "apart: pooler", "apart: lock", "apart: listener",
    ]  # fmt: skip
    assert any("apart, idle by design: 1 listener, 1 lock, 1 pooler, 1 tool" in line for line in report.details)


def test_idle_in_transaction_is_its_own_verdict_and_refers_to_idle_tx() -> None:
    kept = session(State.IDLE_IN_TRANSACTION, id=5, in_state=700.0, transaction=Transaction(age=700.0))
    report = run(kept)
    assert [finding.code for finding in report.findings] == ["CA506"]
    assert report.headline == "1 group idle in transaction: web (1 session)"
    assert rows(report)[0]["pids"] == (5,)


@pytest.mark.parametrize(
    ("mode", "shown"), [(Sql.MASKED, "select * from cart where id = ?"), (Sql.RAW, QUERY), (Sql.NONE, None)]
)
def test_the_statement_that_most_ran_last_is_shown_as_asked(mode: Sql, shown: str | None) -> None:
    assert rows(run(*forsaken(), options=Options(sql=mode)))[0]["sql"] == shown


def test_without_statements_it_is_said_what_cannot_be_told() -> None:
    report = run(*forsaken(), facts=frozenset({Fact.SESSIONS, Fact.STATES}))
    assert any("statements were not read" in line for line in report.details)


def test_a_filter_chooses_who_is_judged() -> None:
    report = run(*forsaken(), session(id=3, application="other"), options=Options(only=Filter(applications=("other",))))
    assert [row["app"] for row in rows(report)] == ["other"]
    assert report.status is Status.OK


def test_several_suspects_may_be_tolerated() -> None:
    assert run(*forsaken(), options=Options(warning=conditions("suspects=1"))).status is Status.OK
    assert run(*forsaken(), options=Options(critical=conditions("suspects=0"))).status is Status.CRITICAL


@pytest.mark.parametrize("text", ["web", "web=", "web=many", "=", "web=-1"])
def test_a_bound_that_makes_no_sense_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write APP=N"):
        parse_bound(text)


def test_bounds_are_patterns_of_which_the_first_that_fits_counts() -> None:
    options = Options(bound=(parse_bound("celery@a=3"), parse_bound("celery@*=9"), parse_bound("=2")))
    assert [options.enough_for(name) for name in ("celery@a", "celery@b", "", None, "web")] == [3, 9, 2, 2, None]


def test_kinds_that_stand_apart_are_named_in_the_refusal() -> None:
    assert parse_apart("tool, listener") == ("tool", "listener")
    with pytest.raises(ValueError, match="'tools' is none of listener, lock, tool, pooler"):
        parse_apart("tools")


def test_growth_and_its_end_are_told_with_their_intervals() -> None:
    report = run(*forsaken(), options=Options(past=Past(grown(0.3), {}, {})))
    assert report.status is Status.WARNING
    assert any(
        line.startswith("growth (7d00h, 168 of 168 hourly floors): +0.30 connections/h") for line in report.details
    )
    assert any("97 usable reached in 3d" in line for line in report.details)
    assert report.summary["growth_per_hour"] == pytest.approx(0.3)
    assert report.summary["exhaustion_seconds"] == pytest.approx((97 - 70.1) / 0.3 * 3600)
    assert "growing_floor" in report.summary["evidence"]
    assert {metric.name for metric in report.metrics} == {"suspects", "growth", "exhaustion"}
    assert {finding.code for finding in report.findings} == {"CA502", "CA504"}


def test_growth_with_forsaken_connections_is_critical_a_day_before_the_end() -> None:
    near = grown(0.3, first=97 - 0.3 * 167 - 0.3 * 23)
    report = run(*forsaken(), options=Options(past=Past(near, {}, {})))
    assert (report.status, report.limit) == (Status.CRITICAL, "1d:")
    assert "CA505" in {finding.code for finding in report.findings}


def test_whose_connections_grow_is_told_in_words_and_by_group() -> None:
    owners: dict[Names, Growth] = {("web", "app"): grown(0.25), ("jobs", "app"): grown(0.0), ("", None): grown(0.1)}
    web = ("web", "app", "shop")
    groups: dict[Names, Growth] = {(*web, "10.0.0.1"): grown(0.25), (*web, "10.0.0.2"): grown(0.0)}
    past = Past(grown(0.3), owners, groups)
    here, there = (session(id=n, user="app", database="shop", client=f"10.0.0.{n}") for n in (1, 2))
    report = run(here, there, options=Options(past=past))
    assert "of these web (app) +0.25/h, (no name) (no user) +0.10/h" in report.details
    assert {row["client"]: row["growth_per_hour"] for row in rows(report)} == {"10.0.0.1": 0.25, "10.0.0.2": None}


def test_a_history_that_is_too_young_is_not_called_none() -> None:
    assert "no history: growth is not judged" in run(session()).details
    young = run(session(), options=Options(past=Past(None, {}, {})))
    assert "the history has too few hours: growth is judged from 8 on" in young.details


def test_growth_alone_is_never_critical() -> None:
    near = grown(0.3, first=97 - 0.3 * 167 - 0.3 * 23)
    assert run(session(), options=Options(past=Past(near, {}, {}))).status is Status.WARNING
    asked = Options(past=Past(near, {}, {}), critical=conditions("growth=0", "exhaustion=10d:"))
    assert run(session(), options=asked).status is Status.WARNING


def test_the_flank_of_a_day_is_never_more_than_a_warning_and_none_by_itself() -> None:
    flank = grown(4.0, hours=12)
    assert "may_be_daily_cycle" in flank.caveats
    assert run(*forsaken(), options=Options(past=Past(flank, {}, {}))).status is Status.WARNING
    slow = grown(1.0, hours=24, usable=400)
    assert run(session(), options=Options(past=Past(slow, {}, {}))).status is Status.OK


def test_a_threshold_on_growth_without_a_history_is_unknown() -> None:
    assert run(session(), options=Options(warning=conditions("growth=1"))).status is Status.UNKNOWN
    assert run(session(), options=Options(critical=conditions("exhaustion=7d:"))).status is Status.UNKNOWN


def test_where_nothing_grows_the_end_is_far_and_no_metric() -> None:
    flat = grown(0.0)
    report = run(session(), options=Options(past=Past(flat, {}, {}), critical=conditions("exhaustion=7d:")))
    assert report.status is Status.OK
    assert {metric.name for metric in report.metrics} == {"suspects", "growth"}
    assert any(line.startswith("no growth (7d00h") for line in report.details)


def test_a_server_without_openings_is_suspected_only_when_last_uses_follow_the_numbers() -> None:
    def told(order: list[int]) -> Snapshot:
        sleeping = (session(id=i, in_state=float(age), connection_age=None) for i, age in enumerate(order, 10))
        return snapshot(*sleeping, server=MARIADB)

    in_order = leaks.run(told([900, 880, 860, 840, 820]), Options())
    assert [row["verdict"] for row in rows(in_order)] == ["suspect"]
    dense = [range(920, 899, -1), range(919, 899, -1)]  # among the first are five that lie 5 s apart
    assert [rows(leaks.run(told(list(each)), Options()))[0]["verdict"] for each in dense] == ["suspect", "parked"]
    for order in ([900, 880, 860, 820, 840], [900, 900, 900, 900, 900], [900, 880, 860, 840]):
        assert [row["verdict"] for row in rows(leaks.run(told(order), Options()))] == ["parked"]


def test_a_whole_fleet_has_one_row_per_target() -> None:
    brief = run(*forsaken()).brief
    assert brief
    assert brief.records() == [
        {
            "suspects": 1,
            "sessions": 12,
            "worst": "web: leak growing",
            "oldest_idle_seconds": 4320.0,
            "growth_per_hour": None,
        }
    ]


def test_what_is_promised_of_columns_and_summary_is_kept() -> None:
    report = run(*forsaken(), options=Options(past=Past(grown(0.3), {}, {}), bound=(("web", 3),)))
    assert report.table
    assert [column.key for column in report.table.columns] == [column.key for column in leaks.COLUMNS]
    assert list(report.summary) == [column.key for column in leaks.SUMMARY]
    assert {finding.code for finding in report.findings} <= set(leaks.CODES)

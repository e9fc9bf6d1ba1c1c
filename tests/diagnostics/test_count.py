"""`count`: what is used of what is usable, and whose limit is the tightest."""

from dataclasses import replace

import pytest

from connaudit.diagnostics import count
from connaudit.diagnostics.count import METRICS, Options, parse_groups
from connaudit.options import Filter
from connaudit.report import Report, Status
from connaudit.snapshot import Capacity, Kind, Limit, Session, State
from connaudit.thresholds import Condition, parse_condition
from tests.builders import session, snapshot


def run(*sessions: Session, options: Options = Options(), capacity: Capacity | None = None) -> Report:  # noqa: B008
    return count.run(snapshot(*sessions, capacity=capacity), options)


def conditions(*texts: str) -> tuple[Condition, ...]:
    return tuple(parse_condition(text, METRICS) for text in texts)


def full(used: int, limit: int = 100) -> Capacity:
    """Return a capacity with so many used beside ourselves, none reserved."""
    return Capacity(limit=limit, used=used + 1)


@pytest.mark.parametrize(
    ("used", "status"),
    [(80, Status.OK), (81, Status.WARNING), (90, Status.WARNING), (91, Status.CRITICAL), (100, Status.CRITICAL)],
)
def test_the_default_thresholds_are_80_and_90_percent_of_the_usable(used: int, status: Status) -> None:
    assert run(capacity=full(used)).status is status


def test_fewer_than_three_free_is_critical_however_small_the_server() -> None:
    assert run(capacity=full(2, limit=5)).status is Status.OK
    report = run(capacity=full(3, limit=5))
    assert (report.status, [f.code for f in report.findings]) == (Status.CRITICAL, ["CA103"])


def test_reserved_slots_are_not_usable() -> None:
    report = run(capacity=Capacity(limit=100, used=51, reserved_superuser=3, reserved=2))
    assert {key: report.summary[key] for key in ("used", "usable", "free", "free_reserved", "free_superuser")} == {
        "used": 50,
        "usable": 95,
        "free": 45,
        "free_reserved": 47,
        "free_superuser": 50,
    }


def test_superusers_may_fill_ordinary_slots_but_free_is_never_negative() -> None:
    assert run(capacity=Capacity(limit=10, used=11, reserved_superuser=3)).summary["free"] == 0


def test_our_own_session_is_not_counted() -> None:
    report = run(session(id=2), session(id=3))
    assert report.summary["used"] == 2
    assert report.summary["excluded_self"] == 1
    assert sum(row["count"] for row in report.table.records()) == 2  # type: ignore[union-attr,misc]


def test_what_the_server_does_not_tell_is_unknown_and_not_zero() -> None:
    report = run(capacity=Capacity(limit=100, used=None))
    assert report.status is Status.UNKNOWN
    assert report.summary["used"] is None
    assert not any(metric.name == "used" for metric in report.metrics)


def test_background_workers_and_walsenders_are_no_connections() -> None:
    report = run(
        session(id=2),
        session(id=3, kind=Kind.PARALLEL, leader=2),
        session(id=4, kind=Kind.INTERNAL),
        session(id=5, kind=Kind.REPLICATION),
        capacity=Capacity(limit=100, used=2, walsenders=1, walsender_limit=10),
    )
    assert report.summary["used"] == 1
    assert report.summary["walsenders"] == 1
    assert [row["count"] for row in report.overviews[0].records()] == [1]


def test_states_are_counted_with_the_oldest_of_each() -> None:
    report = run(session(id=2, in_state=5), session(id=3, in_state=7.5), session(State.ACTIVE, id=4, in_state=1))
    assert report.overviews[0].records() == [
        {"state": "idle", "count": 2, "oldest_seconds": 7.5},
        {"state": "active", "count": 1, "oldest_seconds": 1},
    ]


def test_sessions_that_the_server_counts_but_does_not_show_are_a_row_of_their_own() -> None:
    report = run(session(id=2), capacity=Capacity(limit=151, used=41))
    assert {"state": "not shown", "count": 39, "oldest_seconds": None} in report.overviews[0].records()


def test_replicas_that_occupy_slots_are_not_taken_for_unseen_sessions() -> None:
    report = run(session(id=2), session(id=3, kind=Kind.REPLICATION), capacity=Capacity(limit=151, used=3))
    assert [row["state"] for row in report.overviews[0].records()] == ["idle"]


def test_hidden_states_are_none_and_not_zero() -> None:
    (row,) = run(session(None, id=2), session(None, id=3)).table.records()  # type: ignore[union-attr]
    assert (row["count"], row["hidden"], row["idle"], row["active"]) == (2, 2, None, None)


def test_a_role_at_its_own_limit_is_critical_while_the_server_has_plenty() -> None:
    capacity = replace(full(20), limits=(Limit("role", "shop_web", 20, 19), Limit("database", "shop", 50, 20)))
    report = run(capacity=capacity)
    assert report.status is Status.CRITICAL
    assert report.summary["limit"] == "role shop_web"
    assert report.headline.endswith("; role shop_web: 19 of 20")
    assert report.value.endswith("; role shop_web: 19 of 20")
    assert [(f.code, f.metric, f.threshold) for f in report.findings] == [("CA104", "role_used", "18")]


def test_a_role_or_database_that_lets_nobody_in_is_closed_and_not_full() -> None:
    capacity = replace(full(20), limits=(Limit("role", "retired", 0, 0), Limit("database", "frozen", 0, 1)))
    report = run(capacity=capacity)
    assert (report.status, report.summary["limit"]) == (Status.OK, "server")
    assert [table.key for table in report.overviews] == ["by_state", "limits"]


def test_the_limit_that_is_named_is_the_one_that_decides() -> None:
    capacity = replace(full(20), limits=(Limit("database", "shop", 50, 20), Limit("role", "shop_web", 20, 19)))
    options = Options(warning=conditions("80pct", "db_used=10"), critical=conditions("90pct", "role_used=20"))
    report = run(capacity=capacity, options=options)
    assert report.summary["limit"] == "role shop_web"
    assert report.headline.endswith("; database shop: 20 of 50")


@pytest.mark.parametrize(("authenticating", "said"), [(None, True), (0, False), (2, False)])
def test_slots_of_sessions_that_log_in_are_said_to_be_unseen_where_they_are(
    authenticating: int | None, said: bool
) -> None:
    report = run(capacity=replace(full(20), authenticating=authenticating))
    assert any("still logging in" in line for line in report.details) is said


def test_limits_that_are_not_told_are_said_to_be() -> None:
    told = run(capacity=replace(full(20), limits_untold="GRANT SELECT"))
    assert any("limits of single accounts are not told" in line and "GRANT SELECT" in line for line in told.details)


def test_thresholds_of_the_role_limit_can_be_given_apart() -> None:
    capacity = replace(full(20), limits=(Limit("role", "shop_web", 20, 19),))
    options = Options(warning=conditions("80pct", "role_used=19"), critical=conditions("90pct", "role_used=20"))
    assert run(capacity=capacity, options=options).status is Status.OK


def test_a_filter_narrows_the_rows_and_never_the_headroom() -> None:
    options = Options(only=Filter(applications=("celery*",)), critical=conditions("count=0"))
    report = run(session(id=2), session(id=3, application="celery@a"), options=options)
    assert report.summary["used"] == 2
    assert report.summary["matching"] == 1
    assert [f.code for f in report.findings] == ["CA105"]


def test_sessions_are_grouped_by_what_is_asked_for() -> None:
    sessions = (session(id=2), session(id=3, user="b"), session(State.ABORTED, id=4))
    rows = run(*sessions, options=Options(by=("user", "db"))).table.records()  # type: ignore[union-attr]
    assert [(row["user"], row["db"], row["count"], row["idle_in_transaction"]) for row in rows] == [
        ("shop_web", "shop", 2, 1),
        ("b", "shop", 1, 0),
    ]


def test_what_is_asked_for_twice_is_one_column() -> None:
    assert parse_groups("app,user,app") == ("app", "user")


def test_grouping_by_what_there_is_not_names_what_there_is() -> None:
    with pytest.raises(ValueError, match="there are state, app, user, db, client"):
        parse_groups("app,pid")


def test_a_user_threshold_replaces_the_default_of_its_level_only() -> None:
    report = run(capacity=full(50), options=Options(warning=conditions("10pct")))
    assert report.status is Status.WARNING
    assert run(capacity=full(95), options=Options(warning=conditions("10pct"))).status is Status.CRITICAL


def test_a_warning_above_the_default_critical_stands_alone() -> None:
    assert run(capacity=full(93), options=Options(warning=conditions("95pct"))).status is Status.OK


def test_the_threshold_that_was_applied_is_in_base_units() -> None:
    report = run(capacity=Capacity(limit=100, used=95, reserved_superuser=3))
    finding = report.findings[0]
    assert (finding.code, finding.value, finding.threshold) == ("CA101", 94, "87.3")
    assert report.limit == "90pct"


def test_where_few_free_ones_decide_the_short_value_and_limit_say_so() -> None:
    report = run(capacity=full(3, limit=5))
    assert (report.value, report.limit) == ("3 of 5 used (60.0%), 2 free", "free=3:")


def test_a_session_that_gave_no_name_is_told_from_one_whose_name_is_not_told() -> None:
    sessions = (session(id=2, application=""), session(id=3, application=None))
    rows = run(*sessions, options=Options(by=("app",))).table.records()  # type: ignore[union-attr]
    assert [row["app"] for row in rows] == ["(none)", "(unknown)"]

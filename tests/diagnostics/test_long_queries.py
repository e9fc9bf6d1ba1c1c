"""`long-queries`: leaders by age; waiting for the client is no slowness; the server's own work is never judged."""

from dataclasses import replace

import pytest

from connaudit.diagnostics import long_queries
from connaudit.diagnostics.long_queries import METRICS, Options
from connaudit.report import Report, Status
from connaudit.snapshot import Guard, Kind, Server, Session, State
from connaudit.thresholds import parse_condition
from tests.builders import MARIADB, POSTGRESQL, blocked, session, snapshot


def active(age: float | None, **more: object) -> Session:
    return session(State.ACTIVE, in_state=age, **more)  # type: ignore[arg-type]


def run(*sessions: Session, options: Options = Options(), **more: object) -> Report:  # noqa: B008
    return long_queries.run(snapshot(*sessions, **more), options)  # type: ignore[arg-type]


def rows(report: Report) -> list[dict[str, object]]:
    assert report.table is not None
    return report.table.records()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("age", "status"),
    [(300.0, Status.OK), (300.1, Status.WARNING), (1800.0, Status.WARNING), (1800.1, Status.CRITICAL)],
)
def test_the_age_of_the_oldest_statement_decides(age: float, status: Status) -> None:
    assert run(active(age)).status is status


def test_idle_sessions_run_nothing_whatever_their_last_statement() -> None:
    assert rows(run(session(in_state=9000.0, query="select 1"))) == []


def test_a_session_idle_in_transaction_is_no_long_query() -> None:
    assert rows(run(session(State.IDLE_IN_TRANSACTION, in_state=9000.0))) == []


@pytest.mark.parametrize(
    ("connected", "status"),
    [(300.0, Status.OK), (300.1, Status.UNKNOWN), (1800.1, Status.UNKNOWN), (None, Status.UNKNOWN)],
)
def test_a_session_that_is_not_tracked_may_run_a_statement_for_as_long_as_it_is_connected(
    connected: float | None, status: Status
) -> None:
    untracked = session(State.UNTRACKED, in_state=None, in_transaction=True, connection_age=connected)
    report = run(untracked)
    assert report.status is status
    assert "may run one" in report.headline
    assert run(untracked, active(1801.0, id=2)).status is Status.CRITICAL


def test_a_session_that_is_not_tracked_and_in_no_transaction_runs_nothing() -> None:
    report = run(session(State.UNTRACKED, in_state=None, in_transaction=None, connection_age=9000.0))
    assert report.status is Status.OK
    assert "may run one" not in report.headline


def test_our_own_statement_is_not_listed() -> None:
    assert rows(run(options=Options(min_age=0.0))) == []


def test_parallel_workers_are_counted_at_their_leader_and_never_listed() -> None:
    workers = [active(9.0, id=n, kind=Kind.PARALLEL, leader=2) for n in (3, 4)]
    report = run(active(9.0, id=2), *workers)
    assert [(row["pid"], row["parallel_workers"]) for row in rows(report)] == [(2, 2)]
    assert report.summary["count"] == 1


def test_where_leaders_are_not_told_the_number_of_workers_is_unknown() -> None:
    report = run(active(9.0, id=2), active(9.0, id=3, kind=Kind.PARALLEL))
    assert rows(report)[0]["parallel_workers"] is None


def test_waiting_for_the_client_is_a_class_of_its_own() -> None:
    report = run(active(400.0, waits_for="Client:ClientWrite", waits_for_client=True))
    assert rows(report)[0]["doing"] == "waiting for the client"
    assert report.summary["count"] == 0
    assert [f.code for f in report.findings] == ["CA302"]
    assert "1 query waiting for the client" in report.headline


def test_waiting_for_a_lock_is_marked() -> None:
    report = run(blocked((7,), id=3, waiting=400.0))
    assert rows(report)[0]["doing"] == "waiting for a lock"
    assert rows(report)[0]["blocked_by"] == (7,)
    assert "only waits for a lock" in (report.findings[0].hint or "")


def test_the_hint_cancels_the_longest_at_work_as_this_server_takes_it() -> None:
    two = blocked((7,), id=3, waiting=900.0), active(400.0, id=4)

    def said(*guards: tuple[str, float], server: Server = POSTGRESQL) -> str:
        report = run(*two, guards=tuple(Guard(*each) for each in guards), server=server)
        return report.findings[0].hint or ""

    timeout = ("statement_timeout", 0.0)
    assert said(timeout) == (
        "the longest at work: SELECT pg_cancel_backend(4) ends its statement; "
        "for good: ALTER ROLE shop_web SET statement_timeout = '5min'; "
        "1 of them only waits for a lock: connaudit blocking tells whose"
    )
    assert "for good, on the primary: ALTER ROLE" in said(timeout, server=replace(POSTGRESQL, replica=True))
    assert "statement_timeout" not in said(("statement_timeout", 7200.0))
    assert "for good" not in said()
    assert "KILL QUERY 4 ends" in said(server=MARIADB)
    assert "CALL mysql.rds_kill_query(4) ends" in said(server=replace(MARIADB, features=("rds",)))
    assert "MAX_STATEMENT_TIME" in said(("max_statement_time", 0.0), server=MARIADB)
    assert "max_execution_time" in said(("max_execution_time", 0.0), server=replace(MARIADB, product="MySQL"))


@pytest.mark.parametrize("kind", [Kind.REPLICATION, Kind.INTERNAL])
def test_system_work_is_listed_when_asked_for_and_never_judged(kind: Kind) -> None:
    assert rows(run(active(90000.0, kind=kind))) == []
    report = run(active(90000.0, kind=kind), options=Options(include_system=True))
    assert [row["doing"] for row in rows(report)] == ["system"]
    assert report.status is Status.OK


def test_a_scheduled_job_is_somebodys_statement() -> None:
    assert run(active(400.0, kind=Kind.JOB)).status is Status.WARNING


def test_a_statement_of_unknown_age_is_listed_and_breaks_no_threshold() -> None:
    report = run(active(None))
    assert rows(report)[0]["age_seconds"] is None
    assert report.status is Status.OK


@pytest.mark.parametrize(("age", "listed"), [(4.9, 0), (5.0, 1)])
def test_those_running_for_min_age_are_listed(age: float, listed: int) -> None:
    assert len(rows(run(active(age)))) == listed


def test_too_many_at_once_is_a_finding_when_asked_for() -> None:
    options = Options(critical=(parse_condition("count=1", METRICS),))
    report = run(active(9.0, id=2), active(9.0, id=3), options=options)
    assert [f.code for f in report.findings] == ["CA303"]

"""`idle-tx`: two clocks, aborted and prepared ones, and who waits behind them."""

import pytest

from connaudit.diagnostics import idle_tx
from connaudit.diagnostics.idle_tx import METRICS, Options
from connaudit.options import Sql
from connaudit.report import Report, Status
from connaudit.snapshot import Fact, Gap, Guard, Kind, PreparedTransaction, Session, Snapshot, State, Transaction, Wait
from connaudit.thresholds import Condition, parse_condition
from tests.builders import MARIADB, blocked, prepared, session, snapshot

IN_TX = State.IDLE_IN_TRANSACTION


def run(*sessions: Session, options: Options = Options(), **more: object) -> Report:  # noqa: B008
    return idle_tx.run(snapshot(*sessions, **more), options)  # type: ignore[arg-type]


def conditions(*texts: str) -> tuple[Condition, ...]:
    return tuple(parse_condition(text, METRICS) for text in texts)


def rows(report: Report) -> list[dict[str, object]]:
    assert report.table is not None
    return report.table.records()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("idle", "status"),
    [(60.0, Status.OK), (60.1, Status.WARNING), (600.0, Status.WARNING), (600.1, Status.CRITICAL)],
)
def test_the_idle_clock_decides(idle: float, status: Status) -> None:
    assert run(session(IN_TX, in_state=idle)).status is status


def test_a_transaction_that_is_old_but_was_busy_a_second_ago_is_no_finding() -> None:
    busy = session(IN_TX, in_state=1.0, transaction=Transaction(age=7200.0))
    assert run(busy).status is Status.OK
    assert rows(run(busy)) == []


def test_a_busy_session_in_an_old_transaction_breaks_the_other_clock() -> None:
    busy = session(State.ACTIVE, id=5, in_state=0.1, transaction=Transaction(age=7200.0), in_transaction=True)
    report = run(busy, options=Options(warning=conditions("tx_age=1h")))
    assert report.status is Status.WARNING
    assert [(row["pid"], row["idle_seconds"], row["transaction_seconds"]) for row in rows(report)] == [
        (5, None, 7200.0)
    ]


def test_an_old_transaction_is_found_even_between_two_of_its_statements() -> None:
    between = session(IN_TX, id=5, in_state=0.1, transaction=Transaction(age=7200.0))
    report = run(between, options=Options(warning=conditions("tx_age=1h")))
    assert report.status is Status.WARNING
    assert [(row["pid"], row["idle_seconds"], row["transaction_seconds"]) for row in rows(report)] == [(5, 0.1, 7200.0)]
    assert [f.sessions for f in report.findings] == [(5,)]


def walsender(state: State | None, **more: object) -> Session:
    return session(state, kind=Kind.REPLICATION, application="debezium", **more)  # type: ignore[arg-type]


def test_a_walsender_idle_in_a_transaction_is_one_as_any_other() -> None:
    report = run(walsender(IN_TX, in_state=700.0), walsender(State.ACTIVE, id=2, in_state=9e5))
    assert report.status is Status.CRITICAL
    assert [row["pid"] for row in rows(report)] == [100]


def test_a_hidden_walsender_in_a_transaction_is_counted_as_others_are() -> None:
    for told, count in ((True, 1), (False, 0)):
        report = run(walsender(None, in_state=None, in_transaction=told))
        assert report.summary["hidden_in_transaction"] == count


def test_a_transaction_that_is_too_old_is_named_whether_its_session_is_busy_or_idle() -> None:
    idle = session(IN_TX, id=2, in_state=30.0, transaction=Transaction(age=4000.0))
    young = session(IN_TX, id=3, in_state=30.0, transaction=Transaction(age=40.0))
    busy = session(State.ACTIVE, id=4, in_transaction=True, transaction=Transaction(age=5000.0))
    (found,) = run(idle, young, busy, options=Options(warning=conditions("tx_age=1h"))).findings
    assert (found.code, found.sessions) == ("CA202", (2, 4))


def test_an_aborted_transaction_counts_and_its_age_is_untold_not_zero() -> None:
    report = run(session(State.ABORTED, in_state=700.0, transaction=Transaction(age=None)))
    assert report.status is Status.CRITICAL
    assert rows(report)[0]["aborted"] is True
    assert rows(report)[0]["transaction_seconds"] is None
    assert report.summary["aborted"] == 1
    assert report.summary["oldest_transaction_seconds"] is None


@pytest.mark.parametrize(("idle", "listed"), [(9.9, 0), (10.0, 1)])
def test_those_idle_for_min_age_are_listed(idle: float, listed: int) -> None:
    assert len(rows(run(session(IN_TX, in_state=idle)))) == listed


def test_the_oldest_come_first() -> None:
    report = run(session(IN_TX, id=2, in_state=20), session(IN_TX, id=3, in_state=30))
    assert [row["pid"] for row in rows(report)] == [3, 2]


def test_everybody_behind_a_session_is_counted_once_however_long_the_chain() -> None:
    report = run(
        session(IN_TX, id=2, in_state=20.0),
        blocked((2,), id=3),
        blocked((2, 3), id=4),
        blocked((4,), id=5),
        options=Options(critical=conditions("blocking=2")),
    )
    assert rows(report)[0]["blocks"] == 3
    assert report.status is Status.CRITICAL
    assert "3 sessions wait behind them" in report.headline


def test_a_cycle_of_waits_ends() -> None:
    report = run(session(IN_TX, id=2, in_state=20.0), blocked((4, 2), id=3), blocked((3,), id=4))
    assert rows(report)[0]["blocks"] == 2


def test_where_blockers_are_not_told_nobody_is_said_to_block_nobody() -> None:
    waiter = session(State.ACTIVE, id=3, wait=Wait(lock="metadata", blocked_by=None))
    report = run(session(IN_TX, id=2, in_state=20.0), waiter)
    assert rows(report)[0]["blocks"] is None
    assert report.summary["blocked"] is None


def test_a_threshold_on_what_is_not_told_is_unknown() -> None:
    waiter = session(State.ACTIVE, id=3, wait=Wait(lock="metadata", blocked_by=None))
    options = Options(warning=conditions("blocking=0"))
    assert run(session(IN_TX, id=2, in_state=20.0), waiter, options=options).status is Status.UNKNOWN


def test_a_prepared_transaction_is_listed_with_its_remedy() -> None:
    report = run(prepared=(prepared(age=3600.0),))
    assert report.status is Status.CRITICAL
    assert rows(report)[0]["gid"] == "gid1"
    assert rows(report)[0]["pid"] is None
    assert any("ROLLBACK PREPARED 'gid1'" in (f.hint or "") for f in report.findings if f.code == "CA205")


def test_of_several_prepared_transactions_nobody_knows_whom_each_blocks() -> None:
    two = (prepared(), PreparedTransaction("gid2", "ROLLBACK PREPARED 'gid2'", age=60.0))
    assert [row["blocks"] for row in rows(run(blocked((0,), id=3), prepared=two))] == [None, None]
    assert [row["blocks"] for row in rows(run(blocked((0,), id=3), prepared=two[:1]))] == [1]
    told = session(State.ACTIVE, id=3, wait=Wait("transactionid", blocked_by=(0,), prepared=("gid2",)))
    assert {row["gid"]: row["blocks"] for row in rows(run(told, blocked((3,), id=4), prepared=two))} == {
        "gid1": 0,
        "gid2": 2,
    }


@pytest.mark.parametrize(("connected", "status"), [(60.0, Status.OK), (60.1, Status.UNKNOWN), (3600.0, Status.UNKNOWN)])
def test_an_age_that_is_not_told_is_no_ok_unless_the_connection_is_young(connected: float, status: Status) -> None:
    untracked = session(State.UNTRACKED, in_state=None, in_transaction=True, connection_age=connected)
    assert run(untracked).status is status
    assert run(untracked, session(IN_TX, id=2, in_state=700.0)).status is Status.CRITICAL


def test_a_prepared_transaction_of_unknown_age_is_no_ok() -> None:
    assert run(prepared=(PreparedTransaction("x1", "XA ROLLBACK 'x1'"),)).status is Status.UNKNOWN


def test_untracked_sessions_in_a_transaction_are_listed_with_unknown_age() -> None:
    untracked = session(State.UNTRACKED, in_state=None, in_transaction=True)
    report = run(untracked)
    assert rows(report)[0]["idle_seconds"] is None
    assert any("age unknown" in line for line in report.details)


def test_hidden_sessions_in_a_transaction_are_counted_apart() -> None:
    report = run(session(None, in_state=None, in_transaction=True))
    assert report.summary["hidden_in_transaction"] == 1
    assert any("state hidden" in line for line in report.details)


def hint(report: Report, code: str) -> str:
    return next(finding.hint or "" for finding in report.findings if finding.code == code)


def test_the_hint_ends_the_oldest_and_keeps_the_next_one_from_it() -> None:
    name = "idle_in_transaction_session_timeout"
    two = session(IN_TX, id=2, in_state=90.0), session(IN_TX, id=3, in_state=900.0)
    said = hint(run(*two, guards=(Guard(name, 0.0),)), "CA201")
    assert said == (
        "connaudit inspect 3 says whose code it is; end it: SELECT pg_terminate_backend(3) "
        f"(pg_cancel_backend does nothing to an idle session); for good: ALTER ROLE shop_web SET {name} = '5min'"
    )
    assert name not in hint(run(*two, guards=(Guard(name, 3600.0),)), "CA201")
    assert "KILL 3 (KILL QUERY does nothing" in hint(run(*two, server=MARIADB), "CA201")


def test_the_hint_about_those_behind_ends_the_one_that_most_wait_for() -> None:
    options = Options(critical=conditions("blocking=0"))
    report = run(session(IN_TX, id=2, in_state=20.0), session(IN_TX, id=3), blocked((2,), id=4), options=options)
    assert "pg_terminate_backend(2)" in hint(report, "CA204")
    left = run(blocked((0,), id=4), prepared=(prepared(),), options=options)
    assert "ROLLBACK PREPARED 'gid1'" in hint(left, "CA204")


def test_of_one_that_never_rests_the_code_is_asked_for_and_no_idle_timeout_recommended() -> None:
    busy = session(State.ACTIVE, id=5, in_state=0.1, transaction=Transaction(age=7200.0), in_transaction=True)
    guards = (Guard("idle_in_transaction_session_timeout", 0.0), Guard("transaction_timeout", 0.0))
    said = hint(run(busy, options=Options(warning=conditions("tx_age=1h")), guards=guards), "CA202")
    assert "connaudit inspect 5" in said
    assert said.endswith("for good: ALTER ROLE shop_web SET transaction_timeout = '1h'")
    before_17 = run(busy, options=Options(warning=conditions("tx_age=1h")), guards=guards[:1])
    assert "for good" not in hint(before_17, "CA202")


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (Transaction(), None),
        (Transaction(writes=False, locks=0, snapshot=False), "nothing"),
        (Transaction(writes=False, locks=1, strongest_lock="AccessShareLock", snapshot=False), "AccessShareLock"),
        (Transaction(writes=True, locks=2, strongest_lock="RowExclusiveLock"), "writes, RowExclusiveLock"),
        (Transaction(writes=False, locks=0, snapshot=True), "snapshot"),
        (Transaction(writes=True, rows_modified=3, rows_locked=4), "writes (3 rows)"),
        (Transaction(writes=False, rows_locked=1), "locks on 1 row"),
    ],
)
def test_what_a_transaction_holds_is_said_in_a_few_words(held: Transaction, words: str | None) -> None:
    assert idle_tx.holds(held) == words


@pytest.mark.parametrize(
    ("mode", "shown"),
    [(Sql.MASKED, "update t set a = ?..."), (Sql.RAW, "update t set a = 'x'..."), (Sql.NONE, None)],
)
def test_the_last_statement_is_shown_as_asked_and_marked_if_cut(mode: Sql, shown: str | None) -> None:
    idle = session(IN_TX, in_state=20.0, query="update t set a = 'x'", query_truncated=True)
    assert rows(run(idle, options=Options(sql=mode)))[0]["sql"] == shown


def test_nobody_who_wants_no_texts_makes_the_server_send_them() -> None:
    from connaudit.diagnostics import diagnostic

    assert Fact.QUERIES in diagnostic("idle-tx").facts(Options())
    assert Fact.QUERIES not in diagnostic("idle-tx").facts(Options(sql=Sql.NONE))


def test_metrics_that_need_locks_are_left_out_where_locks_are_not_told() -> None:
    untold: Snapshot = snapshot(session(IN_TX), gaps=(Gap(Fact.LOCKS, "not told"),))
    report = idle_tx.run(untold, Options(min_age=0.0))
    assert "idle_tx_blocking" not in {metric.name for metric in report.metrics}

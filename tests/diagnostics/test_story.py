"""One idle transaction, a queue behind it and a full pool are one story with one culprit; what only looks so is not."""

from dataclasses import replace
from typing import Any

import pytest

from connaudit.diagnostics import NAMES, diagnostic
from connaudit.diagnostics.story import together
from connaudit.report import Finding, Report, Story
from connaudit.snapshot import Capacity, Session, Snapshot, State, Transaction, Wait
from tests.builders import blocked, prepared, session, snapshot

CULPRIT = 48211
HELD = Transaction(age=8040.0, writes=True, locks=2, strongest_lock="RowExclusiveLock")


def culprit(id: int = CULPRIT, **more: Any) -> Session:
    return session(
        State.IDLE_IN_TRANSACTION, id=id, in_state=8040.0, **{"application": "report", "transaction": HELD, **more}
    )


def crowd(*others: Session, first: int = 200, waiters: int = 80, by: int = CULPRIT, **more: Any) -> Snapshot:
    """Return a server of 97 usable connections, on which 80 of one application wait in one queue for six minutes."""
    queue = [blocked((by,), id=first + n, waiting=360.0, application="shop-web") for n in range(waiters)]
    return snapshot(*others, *queue, **more)


def told(of: Snapshot, names: tuple[str, ...] = NAMES) -> tuple[Report, ...]:
    asked = [diagnostic(name) for name in names]
    return together([each.run(of, each.options()) for each in asked], of)


def story(of: Snapshot, names: tuple[str, ...] = NAMES) -> Story | None:
    return next((report.story for report in told(of, names) if report.story), None)


def findings(reports: tuple[Report, ...]) -> dict[str, Finding]:
    return {found.code: found for report in reports for found in report.findings}


def test_five_alarms_of_one_idle_transaction_are_one_story() -> None:
    found = story(crowd(culprit()))
    assert found
    assert (found.culprit, found.code, found.status.name) == ("48211", "CA401", "CRITICAL")
    assert found.checks == ("count", "idle-tx", "long-queries", "blocking", "leaks")
    assert found.sessions == (CULPRIT, *range(200, 280))
    assert found.message == (
        "48211 (shop_web, report) idle in transaction for 2h14m, which holds writes, RowExclusiveLock; "
        "80 sessions wait behind it, the longest for 6m00s: all 80 sessions of shop-web; "
        "that is 81 of the 81 connections in use (97 usable)"
    )
    assert found.value == "48211 (shop_web, report) idle in transaction for 2h14m holds up 80 sessions"
    assert "pg_terminate_backend(48211)" in (found.hint or "")


def test_what_follows_from_the_culprit_says_so_and_the_one_that_names_it_does_not() -> None:
    found = findings(told(crowd(culprit())))
    because = {code: each.because for code, each in found.items()}
    assert because == {"CA101": "CA401", "CA201": "CA401", "CA301": "CA401", "CA401": None, "CA506": "CA401"}


def test_of_a_pool_that_is_hit_in_part_the_story_says_how_much() -> None:
    free = [session(id=500 + n, application="shop-web") for n in range(3)]
    assert ": 80 of the 83 sessions of shop-web;" in story(crowd(culprit(), *free)).message  # type: ignore[union-attr]


def test_a_story_changes_no_verdict() -> None:
    scene = crowd(culprit())
    alone = [each.run(scene, each.options()) for each in map(diagnostic, NAMES)]
    assert [replace(one, story=None, findings=()) for one in told(scene)] == [replace(o, findings=()) for o in alone]


def test_slow_statements_of_others_are_no_part_of_it() -> None:
    busy = session(State.ACTIVE, id=900, in_state=2000.0)
    reports = told(crowd(culprit(), busy))
    assert findings(reports)["CA301"].because is None
    assert story(crowd(culprit(), busy)).checks == ("count", "idle-tx", "blocking", "leaks")  # type: ignore[union-attr]


def test_a_server_that_others_fill_is_no_part_of_it() -> None:
    others = [session(id=1000 + n) for n in range(78)]
    scene = crowd(culprit(), *others, waiters=10)
    assert findings(told(scene))["CA101"].because is None
    assert "that is 11 of the 89 connections" in story(scene).message  # type: ignore[union-attr]


def test_another_idle_transaction_keeps_its_own_alarm() -> None:
    forgotten = culprit(id=7)
    found = findings(told(crowd(culprit(), forgotten)))
    assert found["CA201"].because is None
    assert found["CA301"].because == "CA401"


def test_a_root_that_is_at_work_is_no_story() -> None:
    assert story(crowd(session(State.ACTIVE, id=CULPRIT, in_state=700.0))) is None


def test_a_queue_that_somebody_else_holds_up_as_well_has_no_one_culprit() -> None:
    both = [blocked((CULPRIT, 900), id=200 + n, waiting=360.0, application="shop-web") for n in range(80)]
    assert story(snapshot(culprit(), session(State.ACTIVE, id=900, in_state=400.0), *both)) is None


def test_idle_transactions_that_hold_up_the_same_sessions_stand_together() -> None:
    both = [blocked((CULPRIT, 48212), id=200 + n, waiting=360.0) for n in range(80)]
    found = story(snapshot(culprit(), culprit(id=48212), *both))
    assert found
    assert found.sessions[:2] == (CULPRIT, 48212)
    assert "together with 1 other idle transaction" in found.message


def test_a_blocker_that_is_not_told_is_no_culprit() -> None:
    untold = [blocked(None, id=200 + n, waiting=360.0) for n in range(80)]
    assert story(snapshot(culprit(), *untold)) is None


def test_a_prepared_transaction_is_a_culprit_and_no_session_of_it_is_named() -> None:
    found = story(crowd(by=0, prepared=(prepared(),)))
    assert found
    assert found.culprit == "prepared transaction gid1"
    assert found.sessions == tuple(range(200, 280))
    assert found.message.startswith("prepared transaction gid1, left for 1h00m, which holds writes; 80 sessions wait")
    assert "ROLLBACK PREPARED 'gid1'" in (found.hint or "")


def test_of_several_prepared_transactions_the_one_that_is_told_to_be_in_the_way_is_the_culprit() -> None:
    waiting = Wait("transactionid", age=360.0, blocked_by=(0,), prepared=("gid1",))
    queue = [session(State.ACTIVE, id=200 + n, in_state=360.0, wait=waiting) for n in range(80)]
    scene = snapshot(*queue, prepared=(prepared(age=700.0), replace(prepared(age=9000.0), id="gid2")))
    found = story(scene)
    assert found
    assert found.culprit == "prepared transaction gid1"
    innocent = [each for report in told(scene) for each in report.findings if "gid2" in each.message]
    assert [(each.code, each.because) for each in innocent] == [("CA205", None)]


def test_of_several_prepared_transactions_none_is_accused() -> None:
    assert story(crowd(by=0, prepared=(prepared(), prepared()))) is None


@pytest.mark.parametrize("names", [("blocking",), ("count",), ("count", "long-queries")])
def test_one_alarm_is_no_story(names: tuple[str, ...]) -> None:
    assert story(crowd(culprit()), names) is None


def test_who_holds_up_somebody_for_a_moment_is_no_story() -> None:
    scene = snapshot(culprit(state_age=2.0), blocked((CULPRIT,), id=200, waiting=1.0))
    assert story(scene) is None


def test_where_use_is_not_told_the_story_is_told_without_it() -> None:
    found = story(crowd(culprit(), capacity=Capacity(limit=100, used=None)))
    assert found
    assert "connections in use" not in found.message

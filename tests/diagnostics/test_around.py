"""What a command leaves behind, by looks before, during and after it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connaudit.diagnostics import around
from connaudit.diagnostics.apart import Apart
from connaudit.diagnostics.around import Options
from connaudit.report import Report, Status
from connaudit.snapshot import Session, Snapshot, State
from tests.builders import session, snapshot

BEGAN = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)


def moment(at: float) -> str:
    return (BEGAN + timedelta(seconds=at)).isoformat(timespec="milliseconds")


def opened(id: int, at: float, used: float | None = None, **more: Any) -> tuple[int, float, float, dict[str, Any]]:
    """Describe a connection that is opened at a time, and used for the last time at another."""
    return id, at, at if used is None else used, more


def look(at: float, *connections: tuple[int, float, float, dict[str, Any]]) -> Snapshot:
    """Return what is seen at a time of connections that stay open."""
    seen: list[Session] = []
    for pid, start, used, more in connections:
        if start <= at:
            values: dict[str, Any] = {
                "query": "select 1",
                "connection_age": at - start,
                "started_at": moment(start),
            } | more
            state = values.pop("state", State.IDLE)
            seen.append(session(state, id=pid, in_state=max(0.0, at - used), **values))
    return snapshot(*seen, taken_at=moment(at))


def judged(*looks: Snapshot, **options: Any) -> Report:
    return around.run_series(looks, Options(**options))


LEAK = [opened(pid, at=pid / 10) for pid in range(1, 9)]
EMPTY = look(99.0)


def test_nothing_is_left_of_connections_that_were_closed() -> None:
    report = judged(look(0.0), look(1.0, opened(1, at=0.5, used=1.0)), EMPTY)
    assert report.status is Status.OK
    assert report.headline == "nothing was left behind; 1 new connection seen in 3 looks over 1m39s"
    assert report.table
    assert report.table.rows == ()


def test_who_was_there_before_is_not_left_behind() -> None:
    old = opened(1, at=-100.0)
    assert judged(look(0.0, old), look(1.0, old), look(2.0, old)).status is Status.OK


def test_a_process_id_that_was_given_again_is_another_session() -> None:
    assert judged(look(0.0, opened(1, at=-100.0)), look(9.0, opened(1, at=2.0))).summary["left"] == 1


def test_a_session_that_is_there_after_the_end_is_left_behind_and_named() -> None:
    report = judged(look(0.0), look(9.0, opened(7, at=1.0), opened(8, at=1.0, state=State.IDLE_IN_TRANSACTION)))
    assert report.status is Status.WARNING
    assert report.headline == "2 sessions are left behind after the end, 1 of them idle in transaction"
    (finding,) = report.findings
    assert (finding.code, finding.sessions) == ("CA507", (7, 8))
    assert report.table
    assert [row[:3] for row in report.table.rows] == [
        (7, "after the end", "idle"),
        (8, "after the end", "idle in transaction"),
    ]


@pytest.mark.parametrize(("count", "status"), [(2, Status.OK), (3, Status.WARNING), (8, Status.WARNING)])
def test_connections_opened_one_after_another_while_those_before_lay_idle_are_forsaken(
    count: int, status: Status
) -> None:
    report = judged(look(0.0), look(2.0, *LEAK[:count]), EMPTY)
    assert (report.status, report.summary["forsaken"]) == (status, count)
    assert [finding.code for finding in report.findings] == (["CA508"] if count > 2 else [])
    assert [finding.sessions for finding in report.findings] == ([tuple(range(1, count + 1))] if count > 2 else [])


def test_connections_that_are_used_to_the_end_are_not_forsaken() -> None:
    workers = [opened(pid, at=pid / 10, used=2.0) for pid in range(1, 9)]
    assert judged(look(0.0), look(2.0, *workers), EMPTY).summary["forsaken"] == 1


def test_a_pool_that_is_filled_beforehand_is_not_forsaken() -> None:
    pool = [opened(pid, at=pid / 10, query="") for pid in range(1, 9)]
    assert judged(look(0.0), look(2.0, *pool), EMPTY).summary["forsaken"] == 0


def test_groups_are_judged_one_by_one() -> None:
    several = [opened(pid, at=pid / 10, application=f"web-{pid % 4}") for pid in range(1, 9)]
    assert judged(look(0.0), look(2.0, *several), EMPTY).status is Status.OK


def test_the_end_may_have_closed_some_when_the_last_look_was_taken() -> None:
    ending = (look(2.0, *LEAK), look(2.5, *LEAK[:1]))
    assert judged(look(0.0), *ending, EMPTY).summary["forsaken"] == 8
    assert judged(look(0.0), look(2.0, *LEAK), *[look(3.0 + at) for at in range(3)], EMPTY).summary["forsaken"] == 0


def ended(last: float, end: int, count: int = 8) -> object:
    """Return how many are forsaken that are there until a look, of a run that lasts so many seconds."""
    during = [look(at / 10, *(LEAK[:count] if at <= last * 10 else [])) for at in range(1, end * 10 + 1)]
    return judged(look(0.0), *during, EMPTY).summary["forsaken"]


@pytest.mark.parametrize(("last", "end", "forsaken"), [(6.5, 9, 8), (6.4, 9, 0), (2.0, 4, 8), (1.9, 4, 0)])
def test_garbage_is_collected_late_and_in_the_second_half_of_a_short_run(last: float, end: int, forsaken: int) -> None:
    assert ended(last, end) == forsaken


@pytest.mark.parametrize(("last", "count", "forsaken"), [(8.9, 4, 4), (8.0, 4, 0), (8.0, 5, 5)])
def test_a_few_that_are_closed_together_before_the_end_are_no_garbage(last: float, count: int, forsaken: int) -> None:
    assert ended(last, 9, count) == forsaken


def test_thresholds_are_the_users_to_set() -> None:
    from connaudit.thresholds import parse_condition

    looks = (look(0.0), look(2.0, *LEAK), EMPTY)
    assert judged(*looks, warning=(parse_condition("forsaken=10", around.METRICS),)).status is Status.OK
    assert judged(*looks, critical=(parse_condition("forsaken=5", around.METRICS),)).status is Status.CRITICAL


def test_a_bound_says_how_many_are_needed() -> None:
    looks = (look(0.0), look(2.0, *LEAK), EMPTY)
    assert judged(*looks, bound=(("we*", 8),)).status is Status.OK
    assert judged(*looks, bound=(("we*", 7),)).status is Status.WARNING


def test_peoples_tools_and_poolers_are_not_the_commands() -> None:
    strangers = (opened(7, at=1.0, application="psql"), opened(8, at=1.0, query="DISCARD ALL"))
    looks = (look(0.0), look(9.0, *strangers))
    assert judged(*looks).status is Status.OK
    assert judged(*looks, include=(Apart.TOOL,)).summary["left"] == 1


def test_a_listener_that_outlives_the_command_is_left_behind() -> None:
    assert judged(look(0.0), look(9.0, opened(7, at=1.0, query="LISTEN jobs"))).summary["left"] == 1


def test_one_look_alone_has_nothing_before_and_nothing_after() -> None:
    assert around.run(look(0.0, *LEAK), Options()).status is Status.OK

"""`blocking`: one tree, one culprit; what is not told is not made up."""

from dataclasses import replace
from typing import Any

import pytest

from connaudit.diagnostics import blocking
from connaudit.diagnostics.blocking import METRICS, Options
from connaudit.options import Filter
from connaudit.report import Report, Status
from connaudit.snapshot import Fact, Guard, Kind, Server, Session, State, Transaction, Wait
from connaudit.thresholds import parse_condition
from tests.builders import MARIADB, POSTGRESQL, blocked, prepared, session, snapshot

IN_TX = State.IDLE_IN_TRANSACTION
ROOT = session(IN_TX, id=2, in_state=8041.0)


def run(*sessions: Session, options: Options = Options(), **more: object) -> Report:  # noqa: B008
    return blocking.run(snapshot(*sessions, **more), options)  # type: ignore[arg-type]


def rows(report: Report) -> list[dict[str, object]]:
    assert report.table is not None
    return report.table.records()  # type: ignore[return-value]


def queued(by: tuple[int, ...] | None, *, id: int, waiting: float = 5.0, **more: object) -> Session:
    """Return one that waits for a table."""
    wait = Wait("relation", "shop.orders", "AccessExclusiveLock", waiting, by)
    return session(State.ACTIVE, id=id, in_state=waiting, wait=wait, **more)


def hints(report: Report) -> str:
    return " | ".join(finding.hint or "" for finding in report.findings)


def test_nobody_waits() -> None:
    report = run(session())
    assert (report.status, report.headline, rows(report)) == (Status.OK, "nobody waits for a lock", [])


@pytest.mark.parametrize(
    ("waited", "status"),
    [(10.0, Status.OK), (10.1, Status.WARNING), (60.0, Status.WARNING), (60.1, Status.CRITICAL)],
)
def test_the_longest_wait_decides(waited: float, status: Status) -> None:
    assert run(ROOT, blocked((2,), id=3, waiting=waited), blocked((2,), id=4, waiting=1.0)).status is status


def test_the_idle_reader_the_ddl_and_everybody_are_one_tree_with_one_culprit() -> None:
    report = run(ROOT, queued((2,), id=3, waiting=38.0), *(queued((3,), id=n, waiting=9.0) for n in (4, 5, 6)))
    assert [(r["tree"], r["root"], r["depth"], r["blocks"], r["role"]) for r in rows(report)] == [
        ("2", 2, 0, 4, "root"),
        ("`- 3", 2, 1, 3, "waiter"),
        ("`--- 4", 2, 2, 0, "waiter"),
        ("`--- 5", 2, 2, 0, "waiter"),
        ("`--- 6", 2, 2, 0, "waiter"),
    ]
    (finding,) = report.findings
    assert finding.code == "CA401"
    assert finding.sessions == (2, 3, 4, 5, 6)
    assert finding.message.startswith("2 (idle in transaction for 2h14m, shop_web, web) holds up 4 sessions")
    assert "pg_terminate_backend(2)" in hints(report)
    assert "pg_cancel_backend does nothing" in hints(report)
    assert "pg_cancel_backend(3), which lets the 3 that wait behind it pass" in hints(report)


def test_nobody_is_told_to_cancel_a_waiter_for_a_row() -> None:
    report = run(ROOT, blocked((2,), id=3, waiting=38.0), blocked((3,), id=4))
    assert "pg_cancel_backend(3)" not in hints(report)


def test_flat_rows_say_who_is_in_the_way_and_who_is_to_blame() -> None:
    report = run(ROOT, blocked((2,), id=3), blocked((2, 3), id=4))
    last = rows(report)[-1]
    expected = {"pid": 4, "blocked_by": (2, 3), "root": 2, "roots": 1, "depth": 1, "wait_seconds": 5.0}
    assert {key: last[key] for key in expected} == expected
    assert last["lock"] == "transactionid"


def test_who_waits_for_two_is_not_freed_by_one() -> None:
    report = run(ROOT, session(IN_TX, id=7), blocked((2, 7), id=3, waiting=90.0))
    assert any("more than one root" in line for line in report.details)
    (finding,) = report.findings
    assert "2, 7 hold up 1 session together" in finding.message
    assert rows(report)[-1]["blocks"] == 1


def test_two_culprits_are_two_findings() -> None:
    report = run(ROOT, session(IN_TX, id=7), blocked((2,), id=3, waiting=90.0), blocked((7,), id=4, waiting=20.0))
    assert [(f.status, f.sessions) for f in report.findings] == [(Status.CRITICAL, (2, 3)), (Status.WARNING, (7, 4))]


def test_a_prepared_transaction_stands_with_its_identifier_and_its_end() -> None:
    report = run(blocked((0,), id=3, waiting=90.0), prepared=(prepared(age=3600.0),))
    top = rows(report)[0]
    assert (top["tree"], top["pid"], top["gid"], top["state"]) == ("prepared", 0, "gid1", "prepared")
    assert "ROLLBACK PREPARED 'gid1' in database shop" in hints(report)
    assert "terminate" not in hints(report)


def test_of_several_prepared_transactions_none_is_blamed() -> None:
    two = (prepared(), replace(prepared(), id="gid2", ending="ROLLBACK PREPARED 'gid2'"))
    report = run(blocked((0,), id=3, waiting=90.0), prepared=two)
    assert (rows(report)[0]["gid"], rows(report)[0]["sql"]) == (None, "one of gid1, gid2")
    assert "one of these: ROLLBACK PREPARED 'gid1' in database shop; ROLLBACK PREPARED 'gid2'" in hints(report)


def test_of_several_prepared_transactions_those_that_are_told_to_be_in_the_way_are_named() -> None:
    three = tuple(replace(prepared(), id=gid, ending=f"ROLLBACK PREPARED '{gid}'") for gid in ("a", "b", "c"))

    def behind(id: int, *gids: str) -> Session:
        return session(State.ACTIVE, id=id, wait=Wait("transactionid", age=90.0, blocked_by=(0,), prepared=gids))

    report = run(behind(3, "b"), blocked((3,), id=4), prepared=three)
    assert (rows(report)[0]["gid"], rows(report)[0]["blocks"]) == ("b", 2)
    assert report.findings[0].message.startswith("prepared transaction b holds up 2 sessions")
    assert "'a'" not in hints(report)
    report = run(behind(3, "b"), behind(4, "c"), prepared=three)
    assert rows(report)[0]["sql"] == "prepared transactions b, c"
    assert report.findings[0].message.startswith("2 prepared transactions hold up 2 sessions")
    assert "none can be killed: ROLLBACK PREPARED 'b' in database shop; ROLLBACK PREPARED 'c'" in hints(report)
    report = run(behind(3, "b"), behind(4), prepared=three)
    assert rows(report)[0]["sql"] == "one of a, b, c"


def test_a_blocker_that_ended_meanwhile_is_gone() -> None:
    report = run(blocked((77,), id=3, waiting=90.0))
    assert (rows(report)[0]["pid"], rows(report)[0]["state"]) == (77, "gone")
    assert "look again" in hints(report)


def test_a_circle_is_cut_and_named() -> None:
    report = run(blocked((4,), id=3, waiting=90.0), blocked((3,), id=4))
    assert [row["role"] for row in rows(report)] == ["cycle", "waiter"]
    assert rows(report)[1]["root"] is None
    assert report.summary["circles"] == 1
    assert "deadlock" in hints(report)


def test_where_blockers_are_not_told_the_candidates_are_marked() -> None:
    waiter = session(State.ACTIVE, id=3, in_state=90.0, wait=Wait("metadata", age=90.0, candidates=(2, 7)))
    report = run(ROOT, session(IN_TX, id=7), waiter)
    assert [(r["tree"], r["role"], r["root"]) for r in rows(report)] == [
        ("2 ?", "candidate", None),
        ("7 ?", "candidate", None),
        ("`- 3", "waiter", None),
    ]
    assert "who is in the way of 1 of them is not told" in report.headline
    assert "one of 2, 7 may hold" in report.findings[0].message
    assert "a guess, by its transaction, the oldest of them: 2;" in hints(report)


def test_a_candidate_of_two_queues_is_listed_once() -> None:
    waiters = [
        session(State.ACTIVE, id=n, wait=Wait("metadata", candidates=who)) for n, who in ((3, (2,)), (4, (2, 7)))
    ]
    report = run(ROOT, session(IN_TX, id=7), *waiters)
    assert [row["pid"] for row in rows(report)] == [2, 3, 7, 4]


def test_a_wait_that_is_not_told_is_at_most_as_long_as_its_statement() -> None:
    waiter = session(State.ACTIVE, id=3, in_state=90.0, wait=Wait("relation", blocked_by=(2,)))
    report = run(ROOT, waiter)
    assert report.status is Status.CRITICAL
    assert rows(report)[1]["wait_is_bound"] is True
    assert any("does not tell when they began" in line for line in report.details)


def test_waits_of_which_nothing_is_told_are_unknown_not_well() -> None:
    report = run(ROOT, session(State.ACTIVE, id=3, in_state=None, wait=Wait("relation", blocked_by=(2,))))
    assert report.status is Status.UNKNOWN
    assert "lock_wait_oldest" not in {metric.name for metric in report.metrics}


def test_thresholds_on_number_and_depth() -> None:
    options = Options(warning=(parse_condition("count=1", METRICS),), critical=(parse_condition("depth=1", METRICS),))
    report = run(ROOT, blocked((2,), id=3), blocked((3,), id=4), options=options)
    assert [(f.code, f.status) for f in report.findings] == [("CA402", Status.WARNING), ("CA403", Status.CRITICAL)]


def test_a_filter_chooses_whole_trees() -> None:
    others = (session(IN_TX, id=7, user="other"), blocked((7,), id=8, user="other"))
    report = run(ROOT, blocked((2,), id=3, user="celery"), *others, options=Options(only=Filter(users=("celery",))))
    assert [row["pid"] for row in rows(report)] == [2, 3]
    assert report.summary["waiting"] == 1


def test_what_frees_the_others_fits_what_the_root_does() -> None:
    def said(root: Session, **more: Any) -> str:
        return hints(run(root, blocked((root.id,), id=3, waiting=90.0), **more))

    active = session(State.ACTIVE, id=2)
    assert "pg_cancel_backend(2) ends its statement" in said(active)
    assert "KILL 2 undoes" in said(active, server=MARIADB)
    assert "CALL mysql.rds_kill(2)" in said(ROOT, server=replace(MARIADB, features=("rds",)))
    assert "KILL QUERY does nothing" in said(ROOT, server=MARIADB)
    assert "3 advisory locks" in said(session(id=2, advisory_locks=3))
    assert "GET_LOCK" in said(session(id=2), server=MARIADB)
    assert "neither reads nor sends" in said(replace(active, waits_for_client=True))
    assert "hidden" in said(session(None, id=2))
    vacuum = session(State.ACTIVE, id=2, kind=Kind.INTERNAL, backend="autovacuum worker")
    assert "gives way within deadlock_timeout" in said(vacuum)
    text = "autovacuum: VACUUM public.orders (to prevent wraparound)"
    assert "let it end" in said(replace(vacuum, query=text))
    assert "terminate" not in said(replace(vacuum, query=text))
    startup = session(None, id=2, kind=Kind.INTERNAL, backend="startup", user=None)
    assert "look there for the transaction" in said(startup)
    streams = session(State.ACTIVE, id=2, kind=Kind.REPLICATION, in_transaction=False)
    assert "interrupts replication" in said(streams)
    assert "gives a snapshot" in said(replace(ROOT, kind=Kind.REPLICATION))


def test_no_timeout_is_recommended_that_is_set_already() -> None:
    name = "idle_in_transaction_session_timeout"
    waiter = blocked((2,), id=3, waiting=90.0)
    assert f"ALTER ROLE shop_web SET {name}" in hints(run(ROOT, waiter, guards=(Guard(name, 0.0),)))
    assert name not in hints(run(ROOT, waiter, guards=(Guard(name, 300.0),)))
    assert name not in hints(run(ROOT, waiter, guards=(Guard(name, 0.0, overrides=(("shop_web", 300.0),)),)))
    assert name in hints(run(ROOT, waiter, guards=(Guard(name, 300.0, overrides=(("@shop", 0.0),)),)))
    assert name not in hints(run(ROOT, waiter))
    off = (Guard(name, 0.0),)
    assert "on the primary" in hints(run(ROOT, waiter, guards=off, server=replace(POSTGRESQL, replica=True)))
    assert name not in hints(run(replace(ROOT, user="oid 16444 (dropped)"), waiter, guards=off))
    assert name not in hints(run(replace(ROOT, kind=Kind.REPLICATION), waiter, guards=off))


def test_what_replays_the_wal_of_a_primary_is_nothing_to_cancel() -> None:
    standby = replace(POSTGRESQL, replica=True)
    replay = replace(queued((2,), id=3, waiting=38.0, backend="startup"), kind=Kind.INTERNAL, state=None, user=None)
    guards = (Guard("idle_in_transaction_session_timeout", 0.0),)
    report = run(ROOT, replay, queued((3,), id=4), server=standby, guards=guards)
    assert rows(report)[1]["sql"] == "startup process"
    assert "pg_terminate_backend(2)" in hints(report)
    assert "or let max_standby_streaming_delay do so" in hints(report)
    assert "for good, on the primary: ALTER ROLE shop_web SET" in hints(report)
    assert "(3)" not in hints(report)
    at_root = run(session(None, id=3, kind=Kind.INTERNAL, backend="startup"), blocked((3,), id=4, waiting=90.0))
    assert "look there for the transaction that holds this lock" in hints(at_root)


def test_what_opens_a_queue_is_repeated_with_the_timeout_of_this_server_unless_it_is_set() -> None:
    def said(limit: str, value: float, **more: Any) -> str:
        return hints(
            run(ROOT, queued((2,), id=3, waiting=38.0), queued((3,), id=4), guards=(Guard(limit, value),), **more)
        )

    assert said("lock_timeout", 0.0).endswith("and repeat that statement with a short lock_timeout")
    assert said("lock_timeout", 5.0).endswith("and repeat that statement")
    assert said("lock_wait_timeout", 86400.0, server=MARIADB).endswith("with a short lock_wait_timeout")
    assert said("lock_wait_timeout", 50.0, server=MARIADB).endswith("and repeat that statement")


def test_the_timeout_that_is_recommended_is_one_that_this_server_has_and_does_not_use() -> None:
    def said(server: Server, *guards: tuple[str, float], writes: bool = True) -> str:
        root = replace(ROOT, transaction=Transaction(age=9.0, writes=writes))
        waiter = blocked((2,), id=3, waiting=90.0)
        return hints(run(root, waiter, server=server, guards=tuple(Guard(*each) for each in guards)))

    reaper, percona = ("idle_transaction_timeout", 0.0), Server("mysql", "MySQL", (8, 0, 36), "8.0.36")
    assert "for good: SET GLOBAL idle_transaction_timeout = 300, and in the configuration" in said(MARIADB, reaper)
    on_rds = said(replace(MARIADB, features=("rds",)), reaper)
    assert "for good: idle_transaction_timeout = 300 in the parameters of the instance" in on_rds
    assert "SET PERSIST kill_idle_transaction = 300" in said(percona, ("kill_idle_transaction", 0.0))
    of_writers = ("idle_write_transaction_timeout", 60.0)
    assert "for good" not in said(MARIADB, reaper, of_writers)
    assert "for good" in said(MARIADB, reaper, of_writers, writes=False)
    assert "for good" not in said(percona)


def test_what_is_needed_and_what_is_only_shown() -> None:
    assert {Fact.SESSIONS, Fact.LOCKS} == blocking.NEEDS
    assert not blocking.NEEDS & blocking.WANTS

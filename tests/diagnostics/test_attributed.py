"""Tags and processes in tables: there where they are told, never where somebody wants no statement."""

from typing import Any

import pytest

from connaudit.diagnostics import blocking, count, diagnostic, idle_tx, leaks, long_queries
from connaudit.options import Options, Sql
from connaudit.report import Report, Show
from connaudit.snapshot import Fact, Process, Session, Snapshot, State
from tests.builders import blocked, session, snapshot

ROUTE = "select 1 /*application='shop',controller='cart',route='cart/%3Cid%3E'*/"
OTHER = "select 1 /*application:shop,controller:orders,action:show*/"
WORKER = Process(4711, "gunicorn", "gunicorn: worker [shop]", threads=4, connections=2)
LEAKING = Process(4712, "python", "python /srv/shop/batch.py", threads=1, connections=37)


def scene(**more: Any) -> Snapshot:
    """Return a server on which one session is idle in transaction, one runs and one waits; each is what `more` says."""
    return snapshot(
        session(State.IDLE_IN_TRANSACTION, id=10, in_state=60.0, **more),
        session(State.ACTIVE, id=11, in_state=60.0, **more),
        blocked((10,), id=12, waiting=60.0, **more),
    )


TABLES = (idle_tx, long_queries, blocking)


def shown(report: Report, key: str) -> tuple[Show, list[Any]]:
    """Return where a column is shown, and what stands in it."""
    assert report.table
    (column,) = (column for column in report.table.columns if column.key == key)
    return column.show, [record[key] for record in report.table.records()]


@pytest.mark.parametrize("asked", TABLES)
def test_tags_stand_in_a_column_where_a_statement_has_any(asked: Any) -> None:
    where, values = shown(asked.run(scene(query=ROUTE), asked.Options()), "tags")
    assert where is Show.ROOMY
    assert set(values) == {"application=shop, route=cart/<id>, controller=cart"}


@pytest.mark.parametrize("asked", TABLES)
@pytest.mark.parametrize("key", ["tags", "process"])
def test_a_column_in_which_nothing_would_stand_is_not_shown(asked: Any, key: str) -> None:
    where, values = shown(asked.run(scene(query="select 1 /* a remark */"), asked.Options()), key)
    assert where is Show.DATA
    assert set(values) == {None}


@pytest.mark.parametrize("asked", TABLES)
def test_who_wants_no_statement_is_shown_no_tag_of_one(asked: Any) -> None:
    _, values = shown(asked.run(scene(query=ROUTE), asked.Options(sql=Sql.NONE)), "tags")
    assert set(values) == {None}


@pytest.mark.parametrize("asked", TABLES)
def test_processes_stand_in_a_column_where_they_were_found(asked: Any) -> None:
    where, values = shown(asked.run(scene(processes=(WORKER,)), asked.Options()), "process")
    assert where is Show.ROOMY
    assert set(values) == {"gunicorn: worker [shop] (pid 4711)"}


def test_a_connection_that_was_inherited_is_said_to_be_shared() -> None:
    _, values = shown(idle_tx.run(scene(processes=(WORKER, LEAKING)), idle_tx.Options()), "process")
    assert values == ["gunicorn: worker [shop] (pid 4711), shared with 1 other by fork"]


def test_a_long_command_line_is_cut_and_keeps_its_number() -> None:
    title = Process(7, "java", "java " + "x" * 300).title
    assert title.endswith("... (pid 7)")
    assert len(title) < 80


def groups(*sessions: Session, by: str, **more: Any) -> dict[Any, int]:
    """Return the counts of each group."""
    report = count.run(snapshot(*sessions), count.Options(by=count.parse_groups(by), **more))
    assert report.table
    keys = count.parse_groups(by)
    return {tuple(row[key] for key in keys): row["count"] for row in report.table.records()}  # type: ignore[misc]


def test_sessions_are_counted_by_the_route_of_their_statements() -> None:
    sessions = [
        session(id=2, query=ROUTE),
        session(id=3, query=ROUTE),
        session(id=4, query=OTHER),
        session(id=5, query=None),
    ]
    assert groups(*sessions, by="tag:route") == {("cart/<id>",): 2, ("(none)",): 1, ("(unknown)",): 1}
    assert groups(*sessions, by="tag:route", sql=Sql.NONE) == {("(unknown)",): 4}


def test_tags_and_processes_are_combined_with_other_groups() -> None:
    sessions = [session(id=2, query=ROUTE, processes=(WORKER,)), session(id=3, query=OTHER)]
    assert groups(*sessions, by="app,tag:controller,process") == {
        ("web", "cart", "gunicorn: worker [shop] (pid 4711)"): 1,
        ("web", "orders", "(unknown)"): 1,
    }


@pytest.mark.parametrize("text", ["tag:colour", "tag_route", "tag"])
def test_there_are_no_other_tags_to_group_by(text: str) -> None:
    with pytest.raises(ValueError, match="tag:route"):
        count.parse_groups(text)


def test_statements_are_read_for_their_tags_and_for_nothing_else() -> None:
    asked = diagnostic("count")
    assert Fact.QUERIES not in asked.facts(count.Options())
    assert Fact.QUERIES in asked.facts(count.Options(by=("tag_route",)))
    assert Fact.QUERIES not in asked.facts(count.Options(by=("tag_route",), sql=Sql.NONE))


def test_processes_are_looked_for_only_where_they_are_asked_for() -> None:
    assert count.Options(by=("app", "process")).processes
    assert not count.Options().processes
    assert not Options().processes


@pytest.mark.parametrize("asked", [count, leaks])
def test_a_process_with_more_connections_than_threads_is_named_once_with_both_numbers(asked: Any) -> None:
    held = [session(id=100 + n, processes=(LEAKING,)) for n in range(37)]
    report = asked.run(snapshot(*held, session(id=2, processes=(WORKER,))), asked.Options())
    (said,) = (detail for detail in report.details if "process 47" in detail)
    assert said.startswith("process 4712 holds 37 connections to this server and has 1 thread: ")


def test_scripts_are_told_both_numbers_as_numbers() -> None:
    report = count.run(snapshot(session(processes=(LEAKING, WORKER))), count.Options())
    (table,) = (table for table in report.overviews if table.key == "orphaning")
    told = {"process": "python batch.py (pid 4712)", "pid": 4712, "connections": 37, "threads": 1}
    assert table.records() == [told]


def test_a_pooler_holds_many_connections_by_one_thread_and_is_not_accused() -> None:
    pooler = Process(99, "pgbouncer", "pgbouncer", threads=1, connections=50)
    report = count.run(snapshot(session(processes=(pooler,))), count.Options())
    assert not any("process 99" in detail for detail in report.details)
    assert [table.key for table in report.overviews] == ["by_state"]


def test_a_leaking_group_is_told_by_the_process_that_was_found() -> None:
    _, values = shown(leaks.run(snapshot(session(processes=(LEAKING,))), leaks.Options()), "process")
    assert values == ["python batch.py (pid 4712)"]


def test_processes_stay_in_a_saved_snapshot() -> None:
    taken = snapshot(session(processes=(WORKER, LEAKING)))
    assert Snapshot.from_json(taken.to_json()) == taken

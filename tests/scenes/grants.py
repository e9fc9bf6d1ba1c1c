"""Scenes for audits by those who may not see everything, and what these must not conclude."""

from tests.scenes.expected import Expected, Told, Untold, Verdict, blocking, idle_tx, long_query, states
from tests.scenes.stage import TABLE, Play, scene, sleep
from tests.servers import Client

WRITE = f"update {TABLE} set n = n + 1 where id = 2"


def _every_state(play: Play) -> tuple[Client, Client]:
    """Hold sessions in every state that there is; return one that holds up another, and that other."""
    play.session("select 1")
    play.session("begin", f"select n from {TABLE} where id = 1")
    play.running(sleep(play))
    if play.on_postgres:
        play.failed(play.session("begin"), "select 1/0")
        play.session("select pg_advisory_lock(7)")
        play.session("set track_activities = off", "begin", "select 1", role=play.server.superuser)
    return play.session("begin", WRITE), play.waiting(WRITE)


@scene("postgres")
def every_state_hidden_from_a_role_without_grants(play: Play) -> Expected:
    holder, waiter = _every_state(play)
    play.auditor = play.server.plain
    why, cure = "sessions hidden from role plain", "GRANT pg_monitor TO plain"
    return [
        Told("count", {"used": 8, "hidden": 8, "by_state": states(hidden=8)}),
        Verdict("idle-tx", "unknown"),
        Verdict("long-queries", "unknown"),
        # An idle one is in none, and one that was aborted at top level holds nothing to be known by.
        Told("idle-tx", {"count": 0, "hidden_in_transaction": 5}),
        Untold("idle-tx", "states", why, cure),
        Untold("long-queries", "states", why, cure),
        Told("blocking", {"waiting": 1, "roots": 1}),
        blocking(holder, role="root", state=None, blocks=1, user="app"),
        blocking(waiter, blocked_by=[holder.id], root=holder.id),
    ]


@scene("mysql", "mariadb")
def every_state_hidden_from_an_account_without_grants(play: Play) -> Expected:
    _every_state(play)
    play.auditor = play.server.plain
    why, cure = "only 1 of 6 connections are visible", "GRANT PROCESS ON *.* TO 'plain'@'%'"
    return [
        Told("count", {"used": 5, "by_state": lambda rows: rows == [{"state": "not shown", "count": 5, **NO_AGE}]}),
        *(Verdict(command, "unknown") for command in ("idle-tx", "long-queries", "blocking")),
        *(Untold("idle-tx", fact, why, cure) for fact in ("sessions", "states", "transactions")),
        *(Untold(command, "states", why, cure) for command in ("long-queries", "blocking")),
        Untold("blocking", "locks", why, cure),
    ]


NO_AGE = {"oldest_seconds": None}


@scene("postgres", before=(15,))
def a_member_that_does_not_inherit_sees_all_the_same(play: Play) -> Expected:
    client = play.session("begin", WRITE)
    play.auditor = play.role("distant", "noinherit in role pg_monitor")
    return [idle_tx(client, holds_xid=True, client="127.0.0.1"), Verdict("idle-tx", "ok")]


@scene("postgres", since=(15,), before=(16,))
def a_member_that_does_not_inherit_sees_nothing(play: Play) -> Expected:
    play.session("begin", WRITE)
    play.auditor = play.role("distant", "noinherit in role pg_monitor")
    cure = "ALTER ROLE distant INHERIT"
    return [Untold("idle-tx", "states", "sessions hidden from role distant", cure), Verdict("idle-tx", "unknown")]


@scene("postgres", since=(16,))
def a_membership_that_is_not_inherited_shows_nothing(play: Play) -> Expected:
    play.session("begin", WRITE)
    play.auditor = play.role("distant", "noinherit in role pg_monitor")
    cure = "GRANT pg_monitor TO distant WITH INHERIT TRUE"
    return [Untold("idle-tx", "states", "sessions hidden from role distant", cure), Verdict("idle-tx", "unknown")]


@scene("mysql")
def an_account_with_process_alone(play: Play) -> Expected:
    writer = play.session("begin", WRITE)
    play.session("begin")
    waiter = play.waiting(WRITE)
    play.auditor, play.by = play.role("watch"), {"database": ""}
    play.server.ask("grant process on *.* to watch")
    cure = "GRANT SELECT ON performance_schema.* TO 'watch'@'%'"
    why = "performance_schema may not be read"
    return [
        idle_tx(writer, holds_xid=True),
        Told("idle-tx", {"count": 1}),
        Told("count", {"used": 3}),
        Untold("idle-tx", "transactions", f"neither read nor written are not seen: {why}", cure, partial=True),
        blocking(waiter, blocked_by=None, candidates=[writer.id]),
        Untold("blocking", "locks", "who blocks whom on rows is not told", cure),
        Verdict("blocking", "unknown"),
        long_query(waiter, doing="waiting for a lock"),
    ]


@scene("mysql")
def an_account_with_performance_schema_alone(play: Play) -> Expected:
    writer, nothing = play.session("begin", WRITE), play.session("begin")
    waiter = play.waiting(WRITE)
    play.auditor, play.by = play.role("watch"), {"database": ""}
    play.server.ask("grant select on performance_schema.* to watch")
    why, cure = (
        "InnoDB's transactions may not be read: no rows locked or modified",
        "GRANT PROCESS ON *.* TO 'watch'@'%'",
    )
    return [
        idle_tx(writer, rows_modified=None),
        idle_tx(nothing, rows_modified=None),
        Told("idle-tx", {"count": 2}),
        Untold("idle-tx", "transactions", why, cure, partial=True),
        long_query(waiter, blocked_by=[writer.id]),
        blocking(waiter, blocked_by=[writer.id]),
    ]

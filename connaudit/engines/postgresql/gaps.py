"""What was not told, why, and the statement that would make it told."""

from collections.abc import Iterable

from connaudit.engines.postgresql.rows import ServerRow, SessionRow
from connaudit.engines.postgresql.sessions import kind_of
from connaudit.engines.postgresql.wire import Result
from connaudit.snapshot import Fact, Gap, Kind
from connaudit.units import plural

INHERIT_IN_GRANTS = 160000  # since then a membership says itself whether it is inherited

# Which facts suffer when a statement fails, and whether something of them remains.
_AFFECTED = {
    "texts": ((Fact.QUERIES, False),),
    "locks": ((Fact.TRANSACTIONS, True), (Fact.LOCKS, True)),
    "waiters": ((Fact.LOCKS, False),),
    "prepared": ((Fact.TRANSACTIONS, True),),
    "roles": ((Fact.SESSIONS, True),),
    "databases": ((Fact.SESSIONS, True),),
    "settings": ((Fact.GUARDS, False),),
    "overrides": ((Fact.GUARDS, True),),
}
_SUBJECTS = {
    "texts": "statement texts",
    "locks": "locks",
    "waiters": "lock waits",
    "prepared": "prepared transactions",
    "roles": "roles: their names and limits",
    "databases": "databases: their names and limits",
    "settings": "settings",
    "overrides": "settings of roles and databases",
}


def of_failures(failed: Iterable[tuple[str, Result]]) -> list[Gap]:
    """Return the gaps that failed statements leave."""
    return [
        Gap(fact, f"{_SUBJECTS[name]}: {_reason(result)}", _cure(result), partial)
        for name, result in failed
        for fact, partial in _AFFECTED[name]
    ]


def _reason(result: Result) -> str:
    return {
        "55P03": "a system catalogue is locked",
        "57014": "not answered in time",
    }.get(result.sqlstate or "", result.message)


def _cure(result: Result) -> str | None:
    return {
        "55P03": "end the session that holds AccessExclusiveLock on pg_authid, pg_database or another catalogue",
        "57014": "give more time with --timeout",
    }.get(result.sqlstate or "")


def of_hidden(server: ServerRow, rows: list[SessionRow], role: str) -> list[Gap]:
    """Return the gaps of a role without grants, told by rows that are hidden and not by what was granted."""
    clients = [row for row in rows if kind_of(row) is Kind.CLIENT]
    hidden = sum(row.is_hidden for row in clients)
    if not hidden:
        return []
    why = f"{hidden} of {plural(len(clients), 'session')} hidden from role {role}"
    cure = _grant(server, role)
    return [
        Gap(Fact.SESSIONS, f"{why}: no client addresses; parallel workers may be counted in", cure, partial=True),
        Gap(Fact.STATES, why, cure),
        Gap(Fact.TRANSACTIONS, f"{why}: no ages of their transactions", cure, partial=True),
        Gap(Fact.QUERIES, why, cure),
    ]


def _grant(server: ServerRow, role: str) -> str:
    """Return the grant that shows all; a member that sees nothing does not inherit."""
    if server.member_of is None:
        return f"GRANT pg_monitor TO {role}"
    if int(server.version_num) >= INHERIT_IN_GRANTS:
        return f"GRANT {server.member_of.decode()} TO {role} WITH INHERIT TRUE"
    return f"ALTER ROLE {role} INHERIT"


def of_untracked(rows: list[SessionRow]) -> list[Gap]:
    """Return the gap that sessions with track_activities = off leave."""
    untracked = sum(row.state == b"disabled" for row in rows)
    if not untracked:
        return []
    why = f"{plural(untracked, 'session')} with track_activities = off: no state, no ages, no statement"
    cure = "set track_activities = on for the roles or databases of these sessions"
    return [Gap(fact, why, cure, partial=True) for fact in (Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES)]

"""What was not told, why, and the statement that would make it told."""

from collections.abc import Iterable

from connaudit.dataclass import dataclass
from connaudit.engines.postgresql.rows import LockRow, SessionRow
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
    "prepared": ((Fact.TRANSACTIONS, True), (Fact.HORIZON, True)),
    "holders": ((Fact.HORIZON, True),),
    "roles": ((Fact.SESSIONS, True),),
    "databases": ((Fact.SESSIONS, True),),
    "settings": ((Fact.GUARDS, False),),
    "ourselves": (),
    "overrides": ((Fact.GUARDS, True),),
}
_SUBJECTS = {
    "texts": "statement texts",
    "locks": "locks",
    "waiters": "lock waits",
    "prepared": "prepared transactions",
    "holders": "replication slots",
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


@dataclass(frozen=True, slots=True)
class Grant:
    """Who we are (quoted), of what we are a member, and what the server is: what a grant depends on."""

    role: str
    member_of: str | None
    version: int
    replica: bool = False  # where nothing can be granted

    @property
    def statement(self) -> str:
        """Return what would show us all."""
        return self._statement + (", on the primary" if self.replica else "")

    @property
    def _statement(self) -> str:
        """Return it as it is executed; a member that sees nothing does not inherit."""
        if self.member_of is None:
            return f"GRANT pg_monitor TO {self.role}"
        if self.version >= INHERIT_IN_GRANTS:
            return f"GRANT {self.member_of} TO {self.role} WITH INHERIT TRUE"
        return f"ALTER ROLE {self.role} INHERIT"


def of_hidden(rows: list[SessionRow], locks: Iterable[LockRow], grant: Grant) -> list[Gap]:
    """Return the gaps of a role without grants, told by rows that are hidden and not by what was granted.

    Besides clients those walsenders count that have a transaction open: nobody hides behind a stream.
    """
    in_transaction = {lock.pid for lock in locks if lock.in_transaction == b"t"}
    heeded = [row for row in rows if kind_of(row) is Kind.CLIENT or _is_giver(row, in_transaction)]
    hidden = sum(row.is_hidden for row in heeded if row.is_self == b"f")
    if not hidden:
        return []
    why = f"{hidden} of {plural(len(heeded), 'session')} hidden from role {grant.role}"
    cure = grant.statement
    return [
        Gap(Fact.SESSIONS, f"{why}: no client addresses; workers may be counted in", cure, partial=True),
        Gap(Fact.STATES, why, cure),
        Gap(Fact.TRANSACTIONS, f"{why}: no ages of their transactions", cure, partial=True),
        Gap(Fact.QUERIES, why, cure),
    ]


def _is_giver(row: SessionRow, in_transaction: set[bytes]) -> bool:
    """Return whether a walsender gives a snapshot to somebody who copies tables."""
    return kind_of(row) is Kind.REPLICATION and row.datid is not None and row.pid in in_transaction


def of_untracked(rows: list[SessionRow]) -> list[Gap]:
    """Return the gap that sessions with track_activities = off leave."""
    untracked = sum(row.state == b"disabled" for row in rows if row.is_self == b"f")
    if not untracked:
        return []
    why = f"{plural(untracked, 'session')} with track_activities = off: no state, no ages, no statement"
    cure = "set track_activities = on for the roles or databases of these sessions"
    return [Gap(fact, why, cure, partial=True) for fact in (Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES)]

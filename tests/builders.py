"""Snapshots as tests describe them: only what a test is about is said, everything else is boring."""

from typing import Any

from connaudit.snapshot import (
    Address,
    Capacity,
    Fact,
    Kind,
    PreparedTransaction,
    Server,
    Session,
    Snapshot,
    State,
    Transaction,
    Wait,
)

POSTGRESQL = Server("postgresql", "PostgreSQL", (16, 4), "16.4")
MARIADB = Server("mysql", "MariaDB", (11, 8, 6), "11.8.6-MariaDB")
ADDRESS = Address("db.example.net", 5432, "shop", "monitor")


def session(state: State | None = State.IDLE, *, id: int = 100, in_state: float | None = 1.0, **more: Any) -> Session:
    """Return one client session; `in_state` is how long it has been in its state."""
    values: dict[str, Any] = {
        "user": "shop_web",
        "database": "shop",
        "application": "web",
        "client": "10.4.1.17",
        "connection_age": 3600.0,
        "query_age": in_state,
        "state_age": in_state,
    }
    if state in (State.IDLE_IN_TRANSACTION, State.ABORTED):
        values |= {"in_transaction": True, "transaction": Transaction(age=in_state, writes=False, locks=0)}
    return Session(id, state=state, **{**values, **more})


def blocked(by: tuple[int, ...] | None, *, id: int, waiting: float = 5.0, **more: Any) -> Session:
    """Return an active session that waits for a lock."""
    wait = Wait(lock="transactionid", age=waiting, blocked_by=by)
    return session(State.ACTIVE, id=id, in_state=waiting, wait=wait, waits_for="Lock:transactionid", **more)


def ourselves() -> Session:
    """Return the session of the audit itself."""
    return session(State.ACTIVE, id=1, is_self=True, user="monitor", application="connaudit")


def snapshot(*sessions: Session, capacity: Capacity | None = None, **more: Any) -> Snapshot:
    """Return a snapshot of these sessions and our own, on a server of 100 connections of which 3 are reserved."""
    clients = sum(s.kind is Kind.CLIENT for s in sessions) + 1
    values: dict[str, Any] = {
        "target": "prod-eu",
        "server": POSTGRESQL,
        "address": ADDRESS,
        "taken_at": "2026-11-22T10:58:01.311Z",
        "capacity": capacity or Capacity(limit=100, used=clients, reserved_superuser=3),
        "facts": frozenset(Fact),
        "sessions": (*sessions, ourselves()),
    }
    return Snapshot(**{**values, **more})


def prepared(age: float = 3600.0, **more: Any) -> PreparedTransaction:
    """Return a prepared transaction that nobody finished."""
    return PreparedTransaction(
        "gid1", "ROLLBACK PREPARED 'gid1'", **{"user": "shop", "database": "shop", "age": age, **more}
    )

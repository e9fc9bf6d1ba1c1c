"""How full the server is: its slots, and the limits of single roles and databases."""

from collections import Counter

from connaudit.engines.postgresql.rows import DatabaseRow, RoleRow, ServerRow, SessionRow
from connaudit.engines.postgresql.sessions import Names, kind_of
from connaudit.snapshot import Capacity, Kind, Limit

STARTING_SHOWN = 180000  # since then sessions are listed while they authenticate
WALSENDERS_APART = 130000  # before, walsenders counted towards the limits of their role and their database


def capacity(
    server: ServerRow, rows: list[SessionRow], roles: list[RoleRow], databases: list[DatabaseRow], names: Names
) -> Capacity:
    """Return the slots and who uses them, ourselves included."""
    version = int(server.version_num)
    clients = [row for row in rows if kind_of(row) is Kind.CLIENT]
    walsenders = [row for row in rows if kind_of(row) is Kind.REPLICATION]
    limited = clients + (walsenders if version < WALSENDERS_APART else [])
    starting_shown = version >= STARTING_SHOWN and not any(row.is_hidden for row in rows)
    return Capacity(
        limit=int(server.max_connections),
        used=len(clients),
        reserved_superuser=int(server.reserved_superuser),
        reserved=int(server.reserved or 0),
        limits=(
            *_limits("role", roles, names.roles, Counter(row.usesysid for row in limited)),
            *_limits("database", databases, names.databases, Counter(row.datid for row in limited)),
        ),
        authenticating=sum(row.state == b"starting" for row in clients) if starting_shown else None,
        walsenders=len(walsenders),
        walsender_limit=int(server.max_wal_senders),
    )


def _limits(
    scope: str, rows: list[RoleRow] | list[DatabaseRow], names: dict[bytes, str], used: Counter[bytes | None]
) -> list[Limit]:
    """Return the limits that are set; -1 is none, -2 marks a database whose removal was broken off."""
    limited = [(row.oid, int(row.connection_limit)) for row in rows]
    return [Limit(scope, names[oid], limit, used[oid]) for oid, limit in limited if limit >= 0]

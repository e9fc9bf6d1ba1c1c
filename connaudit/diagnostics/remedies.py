"""What ends a session, a statement or a wait on this very server, and what its own settings already do about it."""

from collections.abc import Iterable

from connaudit.diagnostics.waits import InTheWay
from connaudit.snapshot import Holder, HolderKind, Kind, Server, Session, Snapshot, State
from connaudit.units import plural

PROCEDURES = {  # where KILL is kept from the accounts that customers get
    "rds": ("CALL mysql.rds_kill({})", "CALL mysql.rds_kill_query({})"),
    "aurora": ("CALL mysql.rds_kill({})", "CALL mysql.rds_kill_query({})"),
}
MANAGED = ("rds", "aurora", "azure", "cloudsql")  # where nobody may set anything for the whole server in SQL
REAPERS = ("idle_transaction_timeout", "kill_idle_transaction", "innodb_kill_idle_transaction")  # MariaDB's, Percona's
QUEUES = {"relation", "metadata"}  # where a request that waits holds up those after it, though no holder would
SOON = 3600.0  # seconds: a limit on waits that is longer is none, such as MySQL's of a year
WRAPAROUND = "(to prevent wraparound)"


def terminate(id: int, server: Server) -> str:
    """Return the statement that ends a session, its transaction undone and its locks released."""
    if server.engine == "postgresql":
        return f"SELECT pg_terminate_backend({id})"
    return _procedures(server)[0].format(id)


def cancel(id: int, server: Server) -> str:
    """Return the statement that ends what a session runs and leaves the session alone."""
    if server.engine == "postgresql":
        return f"SELECT pg_cancel_backend({id})"
    return _procedures(server)[1].format(id)


def _procedures(server: Server) -> tuple[str, str]:
    for feature in server.features:
        if feature in PROCEDURES:
            return PROCEDURES[feature]
    return "KILL {}", "KILL QUERY {}"


def useless(server: Server) -> str:
    """Return what people try on a session idle in transaction, in vain."""
    return "pg_cancel_backend" if server.engine == "postgresql" else "KILL QUERY"


def ending_prepared(prepared: InTheWay) -> str:
    """Return what ends the prepared transactions that are in the way."""
    if not prepared.found:
        return "look again: the prepared transaction has ended meanwhile"
    ways = [each.ending + (f" in database {each.database}" if each.database else "") for each in prepared.found]
    if len(ways) == 1:
        return f"no session holds it, so none can be killed: {ways[0]}"
    if prepared.sure:
        return f"no session holds them, so none can be killed: {'; '.join(ways)}"
    return f"no session holds it, so none can be killed; it is one of these: {'; '.join(ways)}"


def releasing_holder(holder: Holder, client: str | None) -> str:
    """Return what makes a slot or a standby let vacuum go on; `client` is where its walsender sends to, if told."""
    if holder.kind is HolderKind.SLOT and holder.pid is None:
        return f"SELECT pg_drop_replication_slot('{holder.name}') if nobody is to use it any more"
    at = "" if client is None else " on the same host" if client == "local" else f" at {client}"
    if holder.physical:
        return f"look on the standby{at} for an old transaction"
    return f"its reader{at} (walsender {holder.pid}) lags behind"


def releasing(session: Session, server: Server) -> str:
    """Return what makes a session let go of what it holds, in one or two sentences."""
    if session.kind is Kind.REPLICATION and session.in_transaction and session.database:
        return f"{session.id} gives a snapshot to who copies the data: let that end, or {terminate(session.id, server)}"
    if session.kind not in (Kind.CLIENT, Kind.JOB):
        return _own_work(session)
    if session.transaction and session.transaction.rolling_back:
        return f"{session.id} is rolling back: let it; a second KILL does not make it faster"
    if session.state is None:
        return f"what {session.id} does is hidden from this role; if it must go: {terminate(session.id, server)}"
    if session.open_transaction or (session.in_transaction and session.state in (State.UNTRACKED, State.IDLE)):
        return _of_idle_transaction(session, server)
    if session.waits_for_client:
        return f"{session.id} waits for its client, which neither reads nor sends: {terminate(session.id, server)}"
    if session.state in (State.ACTIVE, State.FASTPATH):
        return _of_running(session, server)
    return _of_idle(session, server)


def _own_work(session: Session) -> str:
    text = session.query or ""
    if WRAPAROUND in text:
        return (
            f"{session.id} is an autovacuum to prevent wraparound: let it end, it comes back if killed; "
            "give DDL a lock_timeout and repeat it"
        )
    if session.backend == "autovacuum worker":
        return (
            f"{session.id} is an autovacuum, which gives way within deadlock_timeout unless it prevents wraparound: "
            "then let it end"
        )
    if session.backend == "startup":
        return f"{session.id} replays what was done on the primary: look there for the transaction that holds this lock"
    if session.kind is Kind.REPLICATION:
        return f"{session.id} serves a replica: ending it interrupts replication"
    return f"{session.id} is work of the server's own ({session.backend or 'background'}): find out who asked for it"


def _of_idle_transaction(session: Session, server: Server) -> str:
    return f"end it: {terminate(session.id, server)} ({useless(server)} does nothing to an idle session)"


def _of_running(session: Session, server: Server) -> str:
    if server.engine == "postgresql":
        return f"{session.id} is at work: {cancel(session.id, server)} ends its statement and frees what it holds"
    return (
        f"{session.id} is at work: {terminate(session.id, server)} undoes its transaction; "
        "KILL QUERY ends the statement alone, and a transaction keeps its locks"
    )


def _of_idle(session: Session, server: Server) -> str:
    ending = terminate(session.id, server)
    if server.engine == "postgresql":
        held = plural(session.advisory_locks, "advisory lock") if session.advisory_locks else "a lock of its session"
        return f"{session.id} is idle and holds {held}, which outlive transactions: let it unlock, or {ending}"
    return (
        f"{session.id} is idle and in no transaction: it holds what outlives statements (GET_LOCK, LOCK TABLES, "
        f"FLUSH TABLES WITH READ LOCK): let it unlock, or {ending}"
    )


def guard(snapshot: Snapshot, name: str, user: str | None, database: str | None) -> tuple[float, str] | None:
    """Return a timeout in seconds as it applies to a role in a database, and where it is set; None: not told."""
    found = next((each for each in snapshot.guards if each.name == name), None)
    if found is None or found.value is None:
        return None
    overrides = dict(found.overrides)
    for whom, words in ((f"{user}@{database}", f"{user} in {database}"), (user, user), (f"@{database}", database)):
        if whom in overrides:
            return overrides[whom], f"set for {words}"
    return found.value, found.source or "server"


def lasting(session: Session, snapshot: Snapshot) -> str | None:
    """Return how the server would end sessions idle in transaction by itself; None where nothing is to be said.

    That is for other sessions, and where it does so already, cannot, or does not tell.
    """
    server = snapshot.server
    dropped = session.user is not None and session.user.startswith("oid ")
    if not session.open_transaction or session.kind is not Kind.CLIENT or dropped:
        return None
    if server.engine == "postgresql":
        name = "idle_in_transaction_session_timeout"
        set_to = guard(snapshot, name, session.user, session.database)
        if set_to is None or set_to[0] > 0:
            return None
        return f"for good{_where_roles_are(server)}: ALTER ROLE {quoted(session.user or '...')} SET {name} = '5min'"
    values = {each.name: each.value for each in snapshot.guards}
    reaper = next((name for name in REAPERS if values.get(name) is not None), None)
    if reaper is None or any(values.get(name) for name in (reaper, *_of_some(session))):
        return None
    return f"for good: {set_for_all(server, reaper, '300')}"


def _of_some(session: Session) -> Iterable[str]:
    """Yield MariaDB's timeouts that end a transaction of this kind only."""
    writes = session.transaction.writes if session.transaction else None
    if writes is not False:
        yield "idle_write_transaction_timeout"
    if writes is not True:
        yield "idle_readonly_transaction_timeout"


def set_for_all(server: Server, name: str, value: str) -> str:
    """Return how a setting is changed for the whole server, so that it outlives a restart."""
    if any(feature in MANAGED for feature in server.features):
        return f"{name} = {value} in the parameters of the instance"
    if server.engine == "postgresql":
        return f"ALTER SYSTEM SET {name} = {value}"
    if server.product == "MySQL" and server.version >= (8,):
        return f"SET PERSIST {name} = {value}"
    return f"SET GLOBAL {name} = {value}, and in the configuration"


def ending(session: Session, snapshot: Snapshot) -> str:
    """Return what ends the statement of a session that is at work, and what would end the next one by itself."""
    more = _limiting(session, snapshot)
    return f"{cancel(session.id, snapshot.server)} ends its statement" + (f"; {more}" if more else "")


def _limiting(session: Session, snapshot: Snapshot) -> str | None:
    """Return how the server would end long statements of a role by itself; None where it does, or does not tell."""
    server, user = snapshot.server, quoted(session.user or "...")
    if server.engine == "postgresql":
        name = "statement_timeout"
        way = f"ALTER ROLE {user} SET {name} = '5min'"
    elif server.product == "MariaDB":
        name, way = "max_statement_time", "ALTER USER ... WITH MAX_STATEMENT_TIME 300"
    else:
        name, way = "max_execution_time", "SET max_execution_time = 300000 where it connects, which is for SELECT alone"
    held = guard(snapshot, name, session.user, session.database)
    return f"for good{_where_roles_are(server)}: {way}" if held and not held[0] else None


def bounding(session: Session, snapshot: Snapshot) -> str | None:
    """Return how PostgreSQL 17 would end long transactions by itself, however busy; None where it does, or cannot."""
    name = "transaction_timeout"
    held = guard(snapshot, name, session.user, session.database)
    where = _where_roles_are(snapshot.server)
    way = f"for good{where}: ALTER ROLE {quoted(session.user or '...')} SET {name} = '1h'"
    return way if held and not held[0] else None


def opening(waiter: Session, below: int, snapshot: Snapshot) -> str | None:
    """Return how to open the queue behind a waiter for a table: those below it would pass if it did not wait."""
    server = snapshot.server
    if waiter.kind not in (Kind.CLIENT, Kind.JOB):  # on a standby what replays the WAL, which nobody can cancel
        return "or let max_standby_streaming_delay do so" if server.replica else None
    behind = f"{below} that {'waits' if below == 1 else 'wait'} behind it"
    limit = "lock_timeout" if server.engine == "postgresql" else "lock_wait_timeout"
    held = guard(snapshot, limit, waiter.user, waiter.database)
    bounded = "" if held and 0 < held[0] < SOON else f" with a short {limit}"
    way = cancel(waiter.id, server)
    return f"or first {way}, which lets the {behind} pass, and repeat that statement{bounded}"


def _where_roles_are(server: Server) -> str:
    return ", on the primary" if server.engine == "postgresql" and server.replica else ""


def quoted(name: str) -> str:
    """Return a role's name as SQL takes it.

    >>> quoted("shop_web"), quoted("Shop")
    ('shop_web', '"Shop"')
    """
    is_plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower() and not name[0].isdigit()
    return name if is_plain else '"' + name.replace('"', '""') + '"'

"""What ends a session, a statement or a wait on this very server, and what its own settings already do about it."""

from connaudit.snapshot import Holder, HolderKind, Kind, PreparedTransaction, Server, Session, Snapshot, State
from connaudit.units import plural

PROCEDURES = {  # where KILL is kept from the accounts that customers get
    "rds": ("CALL mysql.rds_kill({})", "CALL mysql.rds_kill_query({})"),
    "aurora": ("CALL mysql.rds_kill({})", "CALL mysql.rds_kill_query({})"),
}
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


def ending_prepared(prepared: tuple[PreparedTransaction, ...]) -> str:
    """Return what ends a prepared transaction; of several nobody knows which one is meant."""
    if not prepared:
        return "look again: the prepared transaction has ended meanwhile"
    ways = [each.ending + (f" in database {each.database}" if each.database else "") for each in prepared]
    if len(ways) == 1:
        return f"no session holds it, so none can be killed: {ways[0]}"
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
        "KILL QUERY would end the statement alone and keep the locks"
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
    if not session.open_transaction:
        return None
    if server.engine == "postgresql":
        name = "idle_in_transaction_session_timeout"
        set_to = guard(snapshot, name, session.user, session.database)
        if set_to is None or set_to[0] > 0:
            return None
        where = ", on the primary" if server.replica else ""  # a standby has its roles from there
        return f"for good{where}: ALTER ROLE {quoted(session.user or '...')} SET {name} = '5min'"
    if server.product != "MariaDB":
        return None
    held = guard(snapshot, "idle_transaction_timeout", None, None)
    return "for good: SET GLOBAL idle_transaction_timeout = 300" if held and not held[0] else None


def quoted(name: str) -> str:
    """Return a role's name as SQL takes it.

    >>> quoted("shop_web"), quoted("Shop")
    ('shop_web', '"Shop"')
    """
    is_plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower() and not name[0].isdigit()
    return name if is_plain else '"' + name.replace('"', '""') + '"'

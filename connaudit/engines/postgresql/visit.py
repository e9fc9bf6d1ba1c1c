"""One visit to one server: connect, ask everything in one round trip, leave."""

import re
import time
from collections.abc import Callable
from dataclasses import replace

from connaudit.engines.postgresql import dial, gaps, guards
from connaudit.engines.postgresql.asking import Answers, ask
from connaudit.engines.postgresql.capacity import capacity
from connaudit.engines.postgresql.dial import Caller
from connaudit.engines.postgresql.holders import slots, standbys, vacuums
from connaudit.engines.postgresql.loop import Steps
from connaudit.engines.postgresql.rows import (
    DatabaseRow,
    HolderRow,
    LockRow,
    OurselvesRow,
    PreparedRow,
    RoleRow,
    ServerRow,
    SessionRow,
    TextRow,
    WaiterRow,
    age,
    moment,
    number,
    read,
    size,
)
from connaudit.engines.postgresql.sessions import Details, Names, names, session, waits
from connaudit.engines.postgresql.text import decode_name
from connaudit.engines.postgresql.wire import Connection, Result
from connaudit.errors import NotUnderstood, TimedOut
from connaudit.snapshot import Address, Auditor, Fact, Gap, PreparedTransaction, Server, Snapshot
from connaudit.targets import Target

OLDEST = 120000  # the first release whose walsenders have a pool of their own
SKEW = 2.0  # seconds between two clocks that are worth a word
_OTHERS = re.compile(r"\b(CockroachDB|Yugabyte|YB|Redshift|openGauss|GaussDB)\b")

Stages = tuple[tuple[str, float], ...]


class Visitor:
    """Visits one server as often as wanted, over one connection that rests in between.

    One that broke, or on which a statement did not end in time, is given up: the next visit makes a new one.
    """

    def __init__(self, target: Target, facts: frozenset[Fact]) -> None:
        self.target = target
        self._facts = facts
        self._kept: Connection | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection; one that was lost meanwhile counts until it is wanted."""
        return self._kept is not None

    def visit(self, caller: Caller) -> Steps[Snapshot]:
        """Take a snapshot; any TargetError may come instead."""
        if time.monotonic() >= caller.until:
            raise TimedOut("not begun: no time was left when its turn came", hint="raise --deadline")
        is_over = False
        try:
            lost = self._wake(caller)
            connection, looked_up = yield from self._connection(caller)
            answers = yield from ask(connection, self.target, self._facts, caller)
            stages = (*looked_up, *connection.stages.items())
            snapshot = _snapshot(self.target, self._facts, connection, answers, stages)
            is_over = True
        finally:
            if not is_over:
                self.leave(caller.leave)
        return replace(snapshot, notes=(*snapshot.notes, f"connected anew: {lost}")) if lost else snapshot

    def _wake(self, caller: Caller) -> str | None:
        """Return why the connection was lost since the last visit, if it was; there will be a new one."""
        lost = self._kept.wake() if self._kept else None
        if lost:
            self.leave(caller.leave)
        return lost

    def _connection(self, caller: Caller) -> Steps[tuple[Connection, Stages]]:
        """Return the connection, and what it took to look up names if it is new."""
        if self._kept:
            return self._kept, ()
        found = yield from dial.places(self.target, caller)
        looked_up = time.monotonic() - caller.began
        self._kept = yield from dial.connect(self.target, found, caller)
        _check_peer(self._kept)
        return self._kept, (("dns", looked_up),)

    def leave(self, leave: Callable[[Steps[None]], None]) -> None:
        """End the connection; a request to cancel a statement that still runs on it is given to `leave`."""
        if self._kept:
            self._kept.close(leave)
            self._kept = None


def visit(target: Target, facts: frozenset[Fact], caller: Caller) -> Steps[Snapshot]:
    """Take the snapshot of one server, once; any TargetError may come instead."""
    visitor = Visitor(target, facts)
    try:
        return (yield from visitor.visit(caller))
    finally:
        visitor.leave(caller.leave)


def _check_peer(connection: Connection) -> None:
    """Refuse what only speaks PostgreSQL's protocol; what it says of itself at login is enough to know."""
    text = connection.parameter("server_version") or ""
    if text.endswith("/bouncer"):
        message = f"this is the console of PgBouncer {text.removesuffix('/bouncer')}"
        raise NotUnderstood(message, stage="login", hint="name a database behind the pooler, not pgbouncer itself")
    if connection.parameter("crdb_version"):
        raise _not_ours("CockroachDB")
    _check_product(text)
    version = connection.server_version
    if version < OLDEST:
        aka = "Amazon Redshift and openGauss call themselves PostgreSQL 8 and 9" if version < 100000 else None
        raise NotUnderstood(f"PostgreSQL {text} is not supported; connaudit needs 12 or newer", stage="login", hint=aka)


def _check_product(text: str) -> None:
    if found := _OTHERS.search(text):
        raise _not_ours({"YB": "YugabyteDB", "Yugabyte": "YugabyteDB"}.get(found[1], found[1]))


def _not_ours(product: str) -> NotUnderstood:
    return NotUnderstood(f"this is {product}, whose sessions connaudit does not know how to read", stage="login")


def _snapshot(
    target: Target,
    facts: frozenset[Fact],
    connection: Connection,
    answers: Answers,
    stages: Stages,
) -> Snapshot:
    told = answers.told
    (server,) = read(told["server"], ServerRow)
    _check_product(server.version.decode("utf-8", "backslashreplace"))
    encoding = server.encoding.decode()
    rows = read(told["sessions"], SessionRow)
    roles, databases = read(told.get("roles"), RoleRow), read(told.get("databases"), DatabaseRow)
    known = names(encoding, roles if "roles" in told else None, databases if "databases" in told else None)
    details = _details(server, rows, told, known)
    settings = read(told.get("settings"), guards.SettingRow)
    held = read(told.get("holders"), HolderRow)
    return Snapshot(
        target=target.name,
        server=_server(server, connection),
        address=_address(connection),
        taken_at=moment(server.taken_at),
        capacity=capacity(server, rows, roles, databases, known),
        facts=facts,
        auditor=_auditor(server, connection, answers),
        sessions=tuple(session(row, details) for row in rows),
        prepared=tuple(_prepared(row, known) for row in read(told.get("prepared"), PreparedRow)),
        holders=(*slots(held, encoding), *standbys(rows, encoding)) if Fact.HORIZON in facts else (),
        databases=tuple(sorted(known.databases.values())),
        guards=guards.guards(settings, read(told.get("overrides"), guards.OverrideRow), encoding),
        gaps=tuple(
            gap for gap in _gaps(rows, settings, _grant(server, connection, answers), answers) if gap.fact in facts
        ),
        notes=tuple(_notes(server, connection, answers)),
        stages=stages,
    )


def _details(server: ServerRow, rows: list[SessionRow], told: dict[str, Result], known: Names) -> Details:
    leaders = {row.pid: row.leader for row in rows if row.leader is not None}
    waiters = read(told.get("waiters"), WaiterRow)
    left = read(told.get("prepared"), PreparedRow)
    prepared = {row.transaction: decode_name(row.gid, known.encoding) for row in left}
    return Details(
        names=known,
        query_size=size(server.query_size),
        texts={row.pid: row for row in read(told.get("texts"), TextRow)} if "texts" in told else None,
        locks={row.pid: row for row in read(told.get("locks"), LockRow)} if "locks" in told else None,
        waits=waits(waiters, leaders, prepared, known.encoding) if "waiters" in told else None,
        vacuums=vacuums(read(told.get("holders"), HolderRow)),
    )


def _gaps(rows: list[SessionRow], settings: list[guards.SettingRow], grant: gaps.Grant, answers: Answers) -> list[Gap]:
    return [
        *gaps.of_hidden(rows, read(answers.told.get("locks"), LockRow), grant),
        *gaps.of_untracked(rows),
        *gaps.of_failures(answers.failed),
        *guards.hidden(settings),
    ]


def _grant(server: ServerRow, connection: Connection, answers: Answers) -> gaps.Grant:
    (row,) = read(answers.told.get("ourselves"), OurselvesRow) or [OurselvesRow(connection.login[0].encode(), None)]
    member_of = row.member_of.decode() if row.member_of else None
    role = decode_name(row.role, server.encoding.decode())
    return gaps.Grant(role, member_of, int(server.version_num), server.replica == b"t")


def _auditor(server: ServerRow, connection: Connection, answers: Answers) -> Auditor:
    """Return who we are; what was not told, because its statement failed, is None."""
    grant = _grant(server, connection, answers)
    rows = read(answers.told.get("ourselves"), OurselvesRow)
    superuser, sees_all, reserve = rows[0][2:] if rows else (None, None, None)
    needed = grant.statement if sees_all == b"f" else None
    return Auditor(grant.role, _yes(superuser), _yes(sees_all), needed, _yes(reserve))


def _yes(told: bytes | None) -> bool | None:
    return None if told is None else told == b"t"


def _server(row: ServerRow, connection: Connection) -> Server:
    number = int(row.version_num)
    return Server(
        engine="postgresql",
        product="PostgreSQL",
        version=(number // 10000, number % 10000),
        version_text=row.version_text.decode("utf-8", "backslashreplace"),
        started_at=moment(row.started_at),
        replica=row.replica == b"t",
        via_pooler=_via_pooler(row, connection),
        tls=connection.uses_tls,
        encoding=row.encoding.decode(),
        features=tuple(row.features.decode().split()),
    )


def _via_pooler(row: ServerRow, connection: Connection) -> bool:
    """Tell a pooler by the process that it says serves us, which is one of its own invention."""
    return int(row.pid) != connection.backend_pid


def _address(connection: Connection) -> Address:
    host, _, port = connection.where
    user, database = connection.login
    return Address(host, None if host.startswith(("/", "@")) else int(port), database, user)


def _prepared(row: PreparedRow, known: Names) -> PreparedTransaction:
    return PreparedTransaction(
        id=decode_name(row.gid, known.encoding),
        ending=f"ROLLBACK PREPARED {decode_name(row.literal, known.encoding)}",
        user=known.role(row.owner),
        database=known.database(row.database),
        age=age(row.age),
        horizon_age=number(row.horizon_age),
    )


def _notes(row: ServerRow, connection: Connection, answers: Answers) -> list[str]:
    notes = []
    if _via_pooler(row, connection):
        notes.append("connected through a pooler: client addresses are the pooler's, and applications may be too")
    skew = _skew(row, answers)
    if abs(skew) > SKEW:
        direction = "ahead of" if skew > 0 else "behind"
        notes.append(f"the server's clock is {abs(skew):.0f}s {direction} this machine's; ages are by the server's")
    return notes


def _skew(row: ServerRow, answers: Answers) -> float:
    """Return the seconds that the server's clock is ahead, less what the question's own journey may account for."""
    from datetime import datetime

    clock = datetime.fromisoformat(moment(row.taken_at)).timestamp()
    ahead, behind = clock - answers.told_at, answers.asked_at - clock
    return ahead if ahead > 0 else -behind if behind > 0 else 0.0

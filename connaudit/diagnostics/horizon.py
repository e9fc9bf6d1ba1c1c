"""What an open transaction costs everybody: vacuum or purge that it holds back, in one column and one sentence.

On PostgreSQL a session and a prepared transaction hold back vacuum in their own database; replication slots and
standbys do so in all of them. InnoDB purges no further than its oldest read view. On a standby nothing is vacuumed:
what is old there holds back its primary, if it sends feedback, or else the replay of what the primary vacuumed.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.diagnostics.remedies import releasing_holder
from connaudit.options import Options
from connaudit.report import Column, Unit
from connaudit.snapshot import Holder, HolderKind, Kind, PreparedTransaction, Server, Session, Snapshot, Transaction
from connaudit.units import format_count, format_duration

WORTH = 100_000  # transactions that are worth a sentence: a busy server makes so many in minutes


WORDS = {HolderKind.SLOT: "replication slot", HolderKind.STANDBY: "standby"}


@dataclass(frozen=True, slots=True)
class _Cost:
    """Somebody who holds back vacuum."""

    by: int  # transactions
    who: str
    sentence: str
    catalogs_only: bool = False
    is_unused: bool = False  # a slot that nobody reads
    is_cause: bool = False  # holds it back by its own transaction, which every snapshot taken since has to heed
    age: float = 0.0  # seconds

    @property
    def weight(self) -> tuple[int, bool, float]:
        """Return what makes one the culprit: how far, whether others do so only because of it, and for how long."""
        return self.by, self.is_cause, self.age


def holds_back(held: Transaction | None, server: Server) -> str | None:
    """Return what a transaction holds back, in a few words; None where that is not told.

    >>> holds_back(Transaction(horizon_age=1_234_567), Server("postgresql", "PostgreSQL", (16, 4), "16.4"))
    'vacuum 1.2M tx'
    """
    if held is None:
        return None
    if server.engine == "postgresql" and held.horizon_age is not None:
        return f"{_what(server)} {format_count(held.horizon_age)} tx" if _feeds_back(server) else "replay"
    if held.snapshot:
        return "vacuum" if server.engine == "postgresql" else "purge"
    return "nothing" if held.snapshot is False else None


SUMMARY = (
    Column("vacuum_held_back", "VACUUM HELD BACK", Unit.COUNT),
    Column("vacuum_held_back_by", "BY"),
    Column("catalogs_held_back", "CATALOGS HELD BACK", Unit.COUNT),
    Column("catalogs_held_back_by", "BY"),
    Column("purge_behind", "PURGE BEHIND", Unit.COUNT),
)


def summary(snapshot: Snapshot) -> dict[str, Any]:
    """Return how many transactions vacuum and purge are held back at most, and by whom; None: by nobody, or not told.

    That of system catalogs is never less than that of tables.
    """
    tables, catalogs = _furthest(list(_costs(snapshot, None)))
    return {
        "vacuum_held_back": tables.by if tables else None,
        "vacuum_held_back_by": tables.who if tables else None,
        "catalogs_held_back": catalogs.by if catalogs else None,
        "catalogs_held_back_by": catalogs.who if catalogs else None,
        "purge_behind": snapshot.undo_backlog,
    }


def sentences(snapshot: Snapshot, options: Options) -> Iterator[str]:
    """Yield who holds back vacuum or purge furthest, where it is worth a sentence.

    Sessions that `options` leave out are not named.
    """
    if snapshot.server.engine == "postgresql":
        yield from _of_vacuum([cost for cost in _costs(snapshot, options) if cost.by >= WORTH])
    elif (snapshot.undo_backlog or 0) >= WORTH:
        yield _of_purge(snapshot, snapshot.undo_backlog or 0, options)


def of_walsender(snapshot: Snapshot, id: int) -> Iterator[str]:
    """Yield what a walsender's standby or slot holds back, however little."""
    client = next((s.client for s in snapshot.sessions if s.id == id), None)
    return (_of_holder(holder, snapshot.server, client) for holder in snapshot.holders if holder.pid == id)


def _of_vacuum(costs: list[_Cost]) -> Iterator[str]:
    """Yield the oldest for tables, the oldest for catalogs if that is older still, and all slots that nobody uses."""
    named = [cost for cost in _furthest(costs) if cost]
    named += sorted((cost for cost in costs if cost.is_unused), key=lambda cost: -cost.by)
    yield from dict.fromkeys(cost.sentence for cost in named)


def _furthest(costs: list[_Cost]) -> tuple[_Cost | None, _Cost | None]:
    """Return who holds back vacuum of tables furthest, and who that of catalogs."""
    tables = max((cost for cost in costs if not cost.catalogs_only), key=lambda cost: cost.weight, default=None)
    catalogs = max((cost for cost in costs if cost.catalogs_only), key=lambda cost: cost.weight, default=tables)
    return tables, tables if tables and catalogs and tables.by >= catalogs.by else catalogs


def _costs(snapshot: Snapshot, options: Options | None) -> Iterator[_Cost]:
    """Yield everybody who holds back vacuum; `options` choose among sessions and prepared transactions."""
    server = snapshot.server
    if _feeds_back(server):
        for session in (*snapshot.clients, *_snapshot_takers(snapshot)):
            held = session.transaction or Transaction()
            if held.horizon_age is not None and (options is None or options.looks_at(session)):
                yield _of_session(session, held, held.horizon_age, server)
    for prepared in snapshot.prepared:
        stand_in = Session(0, user=prepared.user, database=prepared.database)
        if prepared.horizon_age is not None and (options is None or options.looks_at(stand_in)):
            sentence = _sentence(_prepared(prepared), server, prepared.database, prepared.horizon_age)
            who = f"prepared transaction {prepared.id}"
            yield _Cost(prepared.horizon_age, who, sentence, is_cause=True, age=prepared.age or 0.0)
    clients: dict[int | None, str | None] = {s.id: s.client for s in snapshot.sessions}
    for holder in snapshot.holders:
        is_unused = holder.kind is HolderKind.SLOT and holder.pid is None
        who = f"{WORDS[holder.kind]} {holder.name}"
        sentence = _of_holder(holder, server, clients.get(holder.pid))
        yield _Cost(holder.horizon_age, who, sentence, holder.catalogs_only, is_unused)


def _of_session(session: Session, held: Transaction, by: int, server: Server) -> _Cost:
    sentence = _sentence(_session(session), server, session.database, by)
    open_for = held.age if held.age is not None else session.state_age
    return _Cost(by, f"session {session.id}", sentence, is_cause=held.horizon_is_own, age=open_for or 0.0)


def _snapshot_takers(snapshot: Snapshot) -> Iterator[Session]:
    """Yield the walsenders of a database that stream nothing: they give or copy the first snapshot of a slot."""
    streaming = {holder.pid for holder in snapshot.holders}
    for session in snapshot.sessions:
        if session.kind is Kind.REPLICATION and session.database and session.id not in streaming:
            yield session


def _feeds_back(server: Server) -> bool:
    """Whether the snapshots of sessions reach a vacuum: on a standby only if it tells its primary of them."""
    return not server.replica or "hot_standby_feedback" in server.features


def _what(server: Server) -> str:
    return "vacuum on the primary" if server.replica else "vacuum"


def _transactions(count: int) -> str:
    return f"{format_count(count)} transaction{'' if count == 1 else 's'}"


def _sentence(who: str, server: Server, database: str | None, by: int) -> str:
    where = f" in database {database}" if database else ""
    return f"{who} holds back {_what(server)}{where} by {_transactions(by)}"


def _session(session: Session) -> str:
    program = f" ({session.program})" if session.program else ""
    return f"session {session.id}{program}, {_doing(session)},"


def _doing(session: Session) -> str:
    age = session.transaction.age if session.transaction else None
    if session.open_transaction and session.state_age is not None:
        return f"idle in transaction for {format_duration(session.state_age)}"
    return "in a transaction" + (f" open for {format_duration(age)}" if age is not None else "")


def _prepared(prepared: PreparedTransaction) -> str:
    left = f", left for {format_duration(prepared.age)}," if prepared.age is not None else ""
    return f"prepared transaction {prepared.id}{left}"


def _of_holder(holder: Holder, server: Server, client: str | None) -> str:
    """Return what a slot or a standby holds back, and what to do about it, and where."""
    of = " of system catalogs" if holder.catalogs_only else ""
    return (
        f"{_name(holder)} holds back {_what(server)}{of} in all databases by {_transactions(holder.horizon_age)}: "
        f"{releasing_holder(holder, client)}"
    )


def _name(holder: Holder) -> str:
    if holder.kind is HolderKind.STANDBY:
        return f"the standby {holder.name or 'without a name'} (walsender {holder.pid})"
    if holder.pid is not None:
        return f"replication slot {holder.name}"
    unused = f"unused for {format_duration(holder.inactive_for)}" if holder.inactive_for is not None else "unused"
    return f"replication slot {holder.name}, {unused},"


def _of_purge(snapshot: Snapshot, behind: int, options: Options) -> str:
    """Return who holds back purge as far as InnoDB lets it be known: the oldest that keeps a read view."""
    lag = f"InnoDB keeps the old rows of {_transactions(behind)}"
    chosen = [s for s in snapshot.clients if s.transaction and options.looks_at(s)]
    sure = _oldest(s for s in chosen if s.transaction and s.transaction.snapshot)
    if sure:
        return f"{_session(sure)} holds back purge: {lag}"
    likely = _oldest(s for s in chosen if s.transaction and s.transaction.snapshot is None)
    if likely:
        return (
            f"{lag} from purge: it may be for {_session(likely).removesuffix(',')}, the oldest that may have read them"
        )
    return f"{lag} from purge, and no transaction that is seen here asks for them"


def _oldest(sessions: Iterable[Session]) -> Session | None:
    return max(sessions, key=lambda s: (s.transaction and s.transaction.age) or 0.0, default=None)

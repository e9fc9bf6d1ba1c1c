"""Open transactions: InnoDB's own list, and performance_schema's, which knows of those that InnoDB does not."""

from dataclasses import replace

from connaudit.dataclass import dataclass
from connaudit.engines.mysql.asking import Answers
from connaudit.engines.mysql.cells import PICOSECONDS, age, number, text, whole, words
from connaudit.engines.mysql.wire import Row
from connaudit.snapshot import PreparedTransaction, Transaction

_UNKNOWN_XID = "XA ROLLBACK its xid, which XA RECOVER tells"
_NAMED = 5  # xids at most in one sentence
_CLOSES_ITS_VIEW = ("READ COMMITTED", "READ UNCOMMITTED")  # after each statement


@dataclass(frozen=True, slots=True)
class Open:
    """One open transaction, with what else its rows tell."""

    transaction: Transaction
    event: int | None = None  # performance_schema's
    begun_by: int | None = None  # the statement event that it is nested in, if autocommit is off
    waits: bool = False
    wait_age: float | None = None
    running: bool = False  # a statement runs in it


def opened(answers: Answers, watched: bool) -> dict[int, Open]:
    """Return the open transactions of sessions; performance_schema's only where it watches them now.

    One that MySQL has prepared belongs to nobody any more, though its session is still shown with it.
    """
    found = {whole(row["id"]) or 0: _innodb(row) for row in answers.of("innodb_trx")}
    found.pop(0, None)
    for row in answers.of("transactions") if watched else ():
        session = whole(row["id"]) or 0
        if session in found or row["xa_state"] != b"PREPARED":
            found[session] = _merged(row, found.get(session), complete=answers.told("innodb_trx"))
    return found


def _innodb(row: Row) -> Open:
    modified, locked = whole(row["rows_modified"]), whole(row["rows_locked"])
    tables = whole(row["tables_locked"])
    isolation = text(row["isolation"])
    state = text(row["state"])
    running = row["running"] == b"1"
    return Open(
        transaction=Transaction(
            age=age(row["age"]),
            writes=None if modified is None else modified > 0,
            snapshot=_snapshot(isolation, running, bool(modified or locked or tables)),
            locks=tables,
            rows_locked=locked,
            rows_modified=modified,
            isolation=isolation,
            rolling_back=state == "ROLLING BACK",
        ),
        waits=state == "LOCK WAIT",
        wait_age=age(row["wait_age"]),
        running=running,
    )


def _snapshot(isolation: str | None, running: bool, has_locks: bool) -> bool | None:
    """Return whether it keeps a read view, as far as that follows: InnoDB does not tell.

    One that is listed without any lock has read, and with REPEATABLE READ it keeps what it has read.
    """
    if isolation in _CLOSES_ITS_VIEW:
        return None if running else False
    return None if has_locks else True


def _merged(row: Row, innodb: Open | None, complete: bool) -> Open:
    """Return a transaction of performance_schema with what InnoDB tells of it; there may be nothing."""
    picoseconds = number(row["timer_wait"])
    since = None if not picoseconds else picoseconds / PICOSECONDS
    isolation = text(row["isolation"])
    if innodb:
        transaction = innodb.transaction
        if since is not None:
            transaction = replace(transaction, age=since)
    elif complete:
        transaction = Transaction(age=since, writes=False, snapshot=False, isolation=isolation)
    else:
        transaction = Transaction(age=since, isolation=isolation)
    nested = words(row["nesting_event_type"]) == "STATEMENT"
    begun_by = whole(row["nesting_event_id"]) if nested else None
    return replace(
        innodb or Open(transaction), transaction=transaction, event=whole(row["event_id"]), begun_by=begun_by
    )


def prepared(answers: Answers) -> tuple[PreparedTransaction, ...]:
    """Return XA transactions that are prepared and have no session; no KILL reaches them.

    Their ages are InnoDB's, their identifiers are XA RECOVER's, and nothing says which belongs to which: of several
    the ages count, and the identifiers stand in the ending. Where InnoDB may not be asked, identifiers are all.
    """
    xids = [_xid(row) for row in answers.of("xa")]
    if not answers.told("innodb_trx"):
        return tuple(_prepared(xid, f"XA ROLLBACK {xid}", None) for xid in xids)
    rows = [row for row in answers.of("innodb_trx") if whole(row["id"]) == 0]
    if len(rows) == len(xids) == 1:
        return (_prepared(xids[0], f"XA ROLLBACK {xids[0]}", rows[0]),)
    ending = f"XA ROLLBACK its xid, one of {'; '.join(xids)}" if 0 < len(xids) <= _NAMED else _UNKNOWN_XID
    return tuple(_prepared(f"InnoDB transaction {text(row['trx_id'])}", ending, row) for row in rows)


def _prepared(name: str, ending: str, row: Row | None) -> PreparedTransaction:
    if row is None:
        return PreparedTransaction(name, ending)
    return PreparedTransaction(name, ending, age=age(row["age"]), rows_modified=whole(row["rows_modified"]))


def _xid(row: Row) -> str:
    """Return an xid as XA ROLLBACK takes it: MariaDB has it ready, MySQL in pieces."""
    data = row["data"] or b""
    first = whole(row["gtrid_length"]) or 0
    if data.startswith((b"'", b"X'", b"x'")) and len(data) > first + (whole(row["bqual_length"]) or 0):
        return text(data) or ""
    parts = (_literal(data[:first]), _literal(data[first:]), text(row["formatid"]) or "1")
    return ",".join(parts)


def _literal(part: bytes) -> str:
    if part.isascii() and part.decode("ascii").isprintable() and b"'" not in part and b"\\" not in part:
        return f"'{part.decode('ascii')}'"
    return f"X'{part.hex()}'"

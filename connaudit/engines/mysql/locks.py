"""Who waits for whom: rows of InnoDB, and metadata locks by the rules of the server's own lock manager."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from connaudit.engines.mysql.asking import Answers
from connaudit.engines.mysql.cells import text, whole
from connaudit.engines.mysql.transactions import Open
from connaudit.engines.mysql.wire import Row
from connaudit.snapshot import Kind, Session, State, Wait

_EVERYTHING = frozenset(
    {
        "INTENTION_EXCLUSIVE",
        "SHARED",
        "SHARED_HIGH_PRIO",
        "SHARED_READ",
        "SHARED_WRITE",
        "SHARED_WRITE_LOW_PRIO",
        "SHARED_UPGRADABLE",
        "SHARED_READ_ONLY",
        "SHARED_NO_WRITE",
        "SHARED_NO_READ_WRITE",
        "EXCLUSIVE",
    }
)
# MariaDB's locks of a backup and of FLUSH TABLES WITH READ LOCK, and those of work, of which all goes on side by side.
# There is one backup at a time. Which stage it has come to is not told: the list shows the mode that it began with.
_BACKUPS = frozenset(
    {
        "BACKUP_START",
        "BACKUP_FLUSH",
        "BACKUP_WAIT_FLUSH",
        "BACKUP_WAIT_DDL",
        "BACKUP_WAIT_COMMIT",
        "BACKUP_FTWRL1",
        "BACKUP_FTWRL2",
        "BACKUP_BLOCK_DDL",
    }
)
_CHANGES = frozenset({"BACKUP_DML", "BACKUP_TRANS_DML", "BACKUP_SYS_DML", "BACKUP_DDL"})
# By which granted locks a request is held up: sql/mdl.cc, MDL_object_lock and MDL_scoped_lock, which share no mode
# but those where they agree.
_HELD_UP_BY = {
    "INTENTION_EXCLUSIVE": frozenset({"SHARED", "EXCLUSIVE"}),
    "SHARED": frozenset({"INTENTION_EXCLUSIVE", "EXCLUSIVE"}),
    "SHARED_HIGH_PRIO": frozenset({"EXCLUSIVE"}),
    "SHARED_READ": frozenset({"SHARED_NO_READ_WRITE", "EXCLUSIVE"}),
    "SHARED_WRITE": frozenset({"SHARED_READ_ONLY", "SHARED_NO_WRITE", "SHARED_NO_READ_WRITE", "EXCLUSIVE"}),
    "SHARED_WRITE_LOW_PRIO": frozenset({"SHARED_READ_ONLY", "SHARED_NO_WRITE", "SHARED_NO_READ_WRITE", "EXCLUSIVE"}),
    "SHARED_UPGRADABLE": frozenset({"SHARED_UPGRADABLE", "SHARED_NO_WRITE", "SHARED_NO_READ_WRITE", "EXCLUSIVE"}),
    "SHARED_READ_ONLY": frozenset({"SHARED_WRITE", "SHARED_WRITE_LOW_PRIO", "SHARED_NO_READ_WRITE", "EXCLUSIVE"}),
    "SHARED_NO_WRITE": _EVERYTHING - {"SHARED", "SHARED_HIGH_PRIO", "SHARED_READ", "SHARED_READ_ONLY"},
    "SHARED_NO_READ_WRITE": _EVERYTHING - {"SHARED", "SHARED_HIGH_PRIO"},
    "EXCLUSIVE": _EVERYTHING,
    **dict.fromkeys((*_CHANGES, "BACKUP_ALTER_COPY", "BACKUP_COMMIT"), _BACKUPS),
}
_OF_STATEMENTS = ("table flush", "table level")  # held for as long as a statement runs; no list tells by whom
# A read-only transaction has no number. Where one is needed its address is told, with this bit set; MariaDB does so
# in its list of transactions up to 10.10, and in its list of waits never.
_INVENTED = 1 << 48
_WAITING = re.compile(r"Waiting for (?P<what>.+) lock$|(?P<flush>Waiting for table flush)$|(?P<user>User lock)$")
_QUOTES = re.compile(r"[`\"]")


def lock_waited_for(state: str | None) -> str | None:
    """Return the kind of lock that a processlist state speaks of; None if it is no lock wait.

    >>> lock_waited_for("Waiting for table metadata lock"), lock_waited_for("User lock"), lock_waited_for("updating")
    ('metadata', 'advisory', None)
    """
    found = _WAITING.match(state or "")
    if not found:
        return None
    if found["user"]:
        return "advisory"
    if found["flush"]:
        return "table flush"
    what = found["what"].lower()
    return "metadata" if "metadata" in what else what


def row_waits(answers: Answers, opened: Mapping[int, Open], complete: bool) -> dict[int, Wait]:
    """Return for each session that waits for a row what it waits for, and for whom if that is told.

    `complete` says that all waits were told, so that there are no others: InnoDB's list of transactions is older.
    """
    by_trx: dict[int, list[int]] = {}
    wanted: dict[bytes, list[int]] = {}
    for row in answers.of("innodb_trx"):
        trx, session = whole(row["trx_id"]) or 0, whole(row["id"]) or 0
        by_trx.setdefault(trx, []).append(session)
        if trx >= _INVENTED:
            by_trx.setdefault(0, []).append(session)
        if row["wanted"]:
            wanted.setdefault(row["wanted"], []).append(session)
    edges: dict[int, list[tuple[int, ...] | None]] = {}
    for row in answers.of("row_locks"):
        blocker = _blocker(row, by_trx, opened)
        for waiter in wanted.get(row["wanted"] or b"", ()) if "wanted" in row else (whole(row["waiter"]) or 0,):
            edges.setdefault(waiter, []).append(blocker)
    waiters = edges.keys() - {0}
    if not complete:
        waiters |= {session for session, one in opened.items() if one.waits}
    locks = {row["id"]: row for row in answers.of("locked_rows")}
    details = {waiter: locks[lock] for lock, sessions in wanted.items() if lock in locks for waiter in sessions}
    return {waiter: _row_wait(waiter, edges.get(waiter), details.get(waiter), opened) for waiter in waiters}


def _blocker(row: Row, by_trx: Mapping[int, list[int]], opened: Mapping[int, Open]) -> tuple[int, ...] | None:
    """Return the session in the way, 0 for a prepared transaction; None where that is not to be known."""
    trx = whole(row["blocker_trx"]) or 0
    suspects = by_trx.get(trx, [])
    if trx == 0:  # read-only ones of MariaDB share it
        suspects = [s for s in suspects if s in opened and opened[s].transaction.rows_locked]
    if len(suspects) == 1:
        return tuple(suspects)
    blocker = whole(row.get("blocker"))
    if blocker is None:
        return None
    # MySQL names any thread at all for a prepared transaction, often the one that waits for it.
    return (0,) if blocker == whole(row["waiter"]) else (blocker,)


def _row_wait(
    waiter: int, edges: Sequence[tuple[int, ...] | None] | None, row: Row | None, opened: Mapping[int, Open]
) -> Wait:
    known = not (edges is None or None in edges)
    blockers = {blocker for edge in edges or () for blocker in edge or ()} - {waiter}
    own = opened.get(waiter)
    age = own.wait_age if own else None
    holders = (s for s, one in opened.items() if one.transaction.rows_locked and not one.waits and s != waiter)
    return Wait(
        lock="record",
        relation=_relation(row["relation"] if row else None),
        mode=text(row["mode"]) if row else None,
        age=age,
        blocked_by=tuple(sorted(blockers)) if known else None,
        candidates=() if known else tuple(sorted(holders)),
    )


def _relation(cell: bytes | None) -> str | None:
    name = text(cell)
    return _QUOTES.sub("", name) if name else None


def metadata_waits(rows: Iterable[Row]) -> dict[int, Wait]:
    """Return what sessions wait for by performance_schema's list of metadata locks."""
    objects: dict[tuple[bytes | None, ...], list[Row]] = {}
    for row in rows:
        objects.setdefault((row["object_type"], row["object_schema"], row["object_name"]), []).append(row)
    return {
        whole(row["id"]) or 0: _metadata_wait(row, locks)
        for locks in objects.values()
        for row in locks
        if row["status"] == b"PENDING"
    }


def _metadata_wait(request: Row, locks: Sequence[Row]) -> Wait:
    """Return whom a request waits for: holders of what it cannot stand beside, or else those ahead in the queue."""
    mode = text(request["mode"]) or ""
    others = [row for row in locks if row["id"] != request["id"]]
    granted = [row for row in others if row["status"] == b"GRANTED"]
    names = [text(request[key]) for key in ("object_schema", "object_name")]
    user_lock = request["object_type"] == b"USER LEVEL LOCK"
    wait = Wait(
        lock="advisory" if user_lock else "metadata",
        relation=".".join(name for name in names if name) or None,
        mode=mode,
    )
    if mode not in _HELD_UP_BY:
        return _backup_wait(wait, granted, others)
    blocked_by = _ids(_against(mode, granted)) or _ids(_against(mode, others))
    return replace(wait, blocked_by=blocked_by or None, candidates=() if blocked_by else _ids(granted))


def _backup_wait(wait: Wait, granted: Sequence[Row], others: Sequence[Row]) -> Wait:
    """Return a wait for a backup, or of one; who holds it up is known where it can be one session only."""
    backing_up = wait.mode in _BACKUPS
    against = [row for row in granted if backing_up or text(row["mode"]) in _BACKUPS]
    ids = _ids(against) or _ids(row for row in others if text(row["mode"]) in _BACKUPS)
    return replace(wait, blocked_by=ids) if len(ids) == 1 else replace(wait, candidates=ids)


def _against(mode: str, locks: Iterable[Row]) -> list[Row]:
    return [row for row in locks if text(row["mode"]) in _HELD_UP_BY[mode]]


def _ids(rows: Iterable[Row]) -> tuple[int, ...]:
    return tuple(sorted({whole(row["id"]) or 0 for row in rows}))


def candidates(waiter: Session, sessions: Iterable[Session], holders: Iterable[Row]) -> tuple[int, ...]:
    """Return who may be in the way where nothing says who is.

    They are holders of the same tables if MariaDB's plugin lists them, else sessions with a transaction, or a
    statement, that was there before the wait began.
    """
    held: dict[int, set[tuple[bytes | None, bytes | None]]] = {}
    for row in holders:
        held.setdefault(whole(row["id"]) or 0, set()).add((row["object_schema"], row["object_name"]))
    if held:
        own = held.pop(waiter.id, set())
        return tuple(sorted(session for session, objects in held.items() if not own or own & objects))
    since = (waiter.wait.age if waiter.wait else None) or 0.0
    others = (s for s in sessions if s.id != waiter.id and s.wait is None and not s.is_self)
    if waiter.wait and waiter.wait.lock in _OF_STATEMENTS:
        began = ((s.id, s.query_age) for s in others if s.state is State.ACTIVE and s.kind in (Kind.CLIENT, Kind.JOB))
    else:
        began = ((s.id, s.transaction.age) for s in others if s.transaction)
    return tuple(sorted(session for session, age in began if age is None or age + 1 >= since))

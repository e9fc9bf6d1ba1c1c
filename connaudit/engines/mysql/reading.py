"""One target from the first statement to its snapshot."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from connaudit.dataclass import dataclass
from connaudit.engines.mysql import gaps, last, locks, sessions, transactions
from connaudit.engines.mysql import statements as sql
from connaudit.engines.mysql.asking import Answers, Bounds, ask
from connaudit.engines.mysql.attempt import Attempt
from connaudit.engines.mysql.cells import number, text, whole, words
from connaudit.engines.mysql.wire import Row, Wire
from connaudit.errors import NotUnderstood
from connaudit.snapshot import (
    Address,
    Auditor,
    Capacity,
    Fact,
    Guard,
    Kind,
    Limit,
    Server,
    Session,
    Snapshot,
    State,
    Wait,
)
from connaudit.targets import Host, Target

OLDEST = {sql.MYSQL: (5, 7), sql.MARIADB: (10, 5)}
_EXTRA_SLOT = 1  # one connection beyond max_connections for CONNECTION_ADMIN, and only one
_SECONDS = {"max_execution_time": 0.001}  # the only one in milliseconds
_GUARDS = (
    "wait_timeout",
    "interactive_timeout",
    "idle_transaction_timeout",
    "idle_write_transaction_timeout",
    "idle_readonly_transaction_timeout",
    "kill_idle_transaction",
    "innodb_kill_idle_transaction",
    "lock_wait_timeout",
    "innodb_lock_wait_timeout",
    "max_execution_time",
    "max_statement_time",
)
_SKEW = 2.0  # seconds between two clocks that are worth a word
_ALMIGHTY = {"ALL PRIVILEGES", "SUPER"}
_RESERVE = {"CONNECTION_ADMIN", "CONNECTION ADMIN"}  # MySQL's spelling, and MariaDB's
_ASKED_IN_HISTORY = 200  # sessions at most, those that have been idle longest


@dataclass(frozen=True, slots=True)
class Read:
    """The answers of a server, with the few of them that everything else depends on."""

    target: Target
    host: Host
    facts: frozenset[Fact]
    product: str
    version: tuple[int, ...]
    answers: Answers

    @property
    def head(self) -> Row:
        """Return the row of what there is one of."""
        return self.answers.of("head")[0]

    @property
    def own(self) -> int:
        """Return our session, by the server that the statements reached."""
        return whole(self.head["id"]) or 0

    def counter(self, name: str) -> int | None:
        """Return a status counter; None if this server has no such counter."""
        return next(
            (whole(row["value"]) for row in self.answers.of("counters") if row["variable_name"] == name.encode()), None
        )

    def variable(self, name: str) -> str | None:
        """Return a global variable; None if this server has no such variable."""
        return next(
            (text(row["value"]) for row in self.answers.of("variables") if row["variable_name"] == name.encode()), None
        )


def read(wire: Wire, target: Target, host: Host, facts: frozenset[Fact], attempt: Attempt) -> Snapshot:
    """Return what the server at the other end of `wire` tells; NotUnderstood if it is too old."""
    product = sql.MARIADB if "mariadb" in wire.greeted_as.lower() else sql.MYSQL
    told = _asked(wire, product, version_of(wire.greeted_as), facts, attempt)
    actual, version = identity(text(told.of("head")[0]["version"]) or "")
    if (actual, version >= (8, 0, 1)) != (product, version_of(wire.greeted_as) >= (8, 0, 1)):
        told = _asked(wire, actual, version, facts, attempt)  # a pooler greeted in its own name
    reading = Read(target, host, facts, actual, version, told)
    found = _sessions(reading)
    while more := [s for s in _more(reading, found) if not told.heard(s.name)]:
        ask(wire, more, Bounds(actual, attempt.remaining()), told, _puzzling(found))
        found = _sessions(reading)
    return _snapshot(reading, found, wire, attempt)


def _asked(wire: Wire, product: str, version: tuple[int, ...], facts: frozenset[Fact], attempt: Attempt) -> Answers:
    answers = Answers()
    ask(wire, sql.plan(product, version, facts), Bounds(product, attempt.remaining()), answers)
    if "id" not in answers.of("head")[0]:
        why = "the server's answers are in no encoding that was asked for"
        raise NotUnderstood(why, stage="query", hint="see whether init_connect sets character_set_results")
    return answers


def version_of(told: str) -> tuple[int, ...]:
    """Return a version as numbers. MariaDB 10 greets as 5.5.5-10.5.23-MariaDB, lest old replicas take fright.

    >>> version_of("5.5.5-10.5.23-MariaDB-0+deb11u1"), version_of("9.7.4-2")
    ((10, 5, 23), (9, 7, 4))
    """
    found = re.match(r"(?:5\.5\.5-)?(\d+(?:\.\d+)+)", told)
    return tuple(map(int, found[1].split("."))) if found else ()


def identity(told: str) -> tuple[str, tuple[int, ...]]:
    """Return product and version of a server; NotUnderstood if connaudit does not know it, or it is too old."""
    version = version_of(told)
    if "tidb" in told.lower():
        raise NotUnderstood(
            "TiDB is not supported: it keeps sessions and transactions in tables of its own", stage="query"
        )
    product = sql.MARIADB if "mariadb" in told.lower() else sql.MYSQL
    oldest = OLDEST[product]
    if version[:2] < oldest:
        spoken = ".".join(map(str, version)) or told
        needed = ".".join(map(str, oldest))
        raise NotUnderstood(f"{product} {spoken} is not supported; connaudit needs {needed} or newer", stage="query")
    return product, version


def _more(reading: Read, found: tuple[Session, ...]) -> Iterator[sql.Statement]:
    """Yield what is worth another round trip, after what was told so far."""
    answers, facts = reading.answers, reading.facts
    by_threads = "innodb_trx" in answers.refused and answers.told("capabilities")
    if by_threads:
        yield sql.THREADS
    orphans = any(row["id"] == b"0" for row in answers.of("innodb_trx"))
    if (orphans or by_threads) and Fact.TRANSACTIONS in facts:
        yield sql.XA_MARIADB if reading.product == sql.MARIADB else sql.XA_MYSQL
    if reading.product == sql.MARIADB and any(
        s.wait and s.wait.lock == "metadata" and s.wait.blocked_by is None for s in found
    ):
        yield sql.METADATA_LOCK_INFO
    view = _view(reading, found)
    watched = view.watches("statement") and view.on("events_statements_history")
    if Fact.QUERIES in facts and watched and _puzzling(found):
        yield sql.HISTORY


def _puzzling(found: Iterable[Session]) -> tuple[int, ...]:
    """Return the sessions idle in transaction whose last statement was a ping, or is not told."""
    puzzling = [s for s in found if s.open_transaction and not (s.query and s.query_is_real)]
    puzzling.sort(key=lambda s: s.state_age or 0.0, reverse=True)
    return tuple(s.id for s in puzzling[:_ASKED_IN_HISTORY])


def _sessions(reading: Read) -> tuple[Session, ...]:
    answers, view = reading.answers, _view(reading, ())
    uptime = reading.counter("Uptime")
    opened = transactions.opened(answers, watched=view.watches("transaction"))
    tells = answers.told("innodb_trx") or view.knows_transactions
    known = sessions.Known(
        product=reading.product,
        facts=reading.facts,
        own=reading.own,
        uptime=None if uptime is None else float(uptime),
        lasts=last.lasts(answers.of("statements"), reading.own, watched=view.watches("statement")),
        opened=opened if tells else None,
        attributes=_attributes(answers.of("attributes")),
        waits=_waits(reading, view, opened),
    )
    rows = {row["id"]: row for row in (*answers.of("threads"), *answers.of("processlist"))}
    found = tuple(sessions.session(row, known) for row in rows.values())
    return _with_candidates(_with_history(found, reading, opened), answers)


def _waits(reading: Read, view: gaps.View, opened: dict[int, transactions.Open]) -> dict[int, Wait]:
    """Return what sessions wait for. Where all waits for rows were told, one that InnoDB alone knows of is over."""
    by_innodb = not sql.has_data_locks(reading.product, reading.version)
    complete = reading.answers.told("row_locks") and (by_innodb or (view.performance_schema and not view.lost))
    waits = locks.row_waits(reading.answers, opened, complete)
    return waits | locks.metadata_waits(reading.answers.of("metadata_locks"))


def _attributes(rows: Iterable[Row]) -> dict[int, sessions.Attributes]:
    found: dict[int, dict[str, str]] = {}
    for row in rows:
        found.setdefault(whole(row["id"]) or 0, {})[text(row["name"]) or ""] = text(row["value"]) or ""
    return {session: tuple(sorted(pairs.items())) for session, pairs in found.items()}


def _with_history(
    found: tuple[Session, ...], reading: Read, opened: dict[int, transactions.Open]
) -> tuple[Session, ...]:
    """Return the sessions with the last real statement of their transaction, where the very last was none."""
    by_session: dict[int, list[Row]] = {}
    for row in reading.answers.of("history"):
        by_session.setdefault(whole(row["id"]) or 0, []).append(row)
    return tuple(
        last.with_history(s, by_session[s.id], opened.get(s.id)) if s.id in by_session and s.open_transaction else s
        for s in found
    )


def _with_candidates(found: tuple[Session, ...], answers: Answers) -> tuple[Session, ...]:
    """Return the sessions with those who may be in the way of a waiter, where nothing says who is."""
    holders = answers.of("metadata_lock_info")
    return tuple(
        replace(
            s, wait=replace(s.wait, candidates=locks.candidates(s, found, holders if s.wait.lock == "metadata" else ()))
        )
        if s.wait and s.wait.blocked_by is None and not s.wait.candidates
        else s
        for s in found
    )


def _view(reading: Read, found: tuple[Session, ...]) -> gaps.View:
    return gaps.View(
        product=reading.product,
        facts=reading.facts,
        account=_account(text(reading.head["account"]) or ""),
        login=_account(text(reading.head["login"]) or ""),
        seen=sum(s.kind in (Kind.CLIENT, Kind.REPLICATION) for s in found),
        connected=reading.counter("Threads_connected"),
        performance_schema=reading.head["performance_schema"] == b"1",
        lost=reading.counter("Performance_schema_thread_instances_lost") or 0,
        answers=reading.answers,
    )


def _account(told: str) -> str:
    """Return user@host as GRANT takes it."""
    user, _, host = told.rpartition("@")
    return "@".join("'" + part.replace("'", "''") + "'" for part in (user, host))


def _snapshot(reading: Read, found: tuple[Session, ...], wire: Wire, attempt: Attempt) -> Snapshot:
    view = _view(reading, found)
    taken = datetime.fromisoformat(text(reading.head["taken_at"]) or "")
    uptime = reading.counter("Uptime")
    started = None if uptime is None else (taken - timedelta(seconds=uptime)).isoformat(timespec="seconds") + "Z"
    return Snapshot(
        target=reading.target.name,
        server=_server(reading, found, wire, started),
        address=_address(reading),
        taken_at=taken.isoformat(timespec="milliseconds") + "Z",
        capacity=_capacity(reading, found, view),
        facts=reading.facts,
        auditor=_auditor(reading, view) if Fact.AUDITOR in reading.facts else None,
        sessions=found,
        prepared=transactions.prepared(reading.answers) if Fact.TRANSACTIONS in reading.facts else (),
        undo_backlog=next((whole(row["transactions"]) for row in reading.answers.of("backlog")), None),
        guards=tuple(_guards(reading)) if Fact.GUARDS in reading.facts else (),
        gaps=tuple(dict.fromkeys(gaps.gaps(view, found))),
        notes=(*_notes(reading, wire, view), *_clock(taken, attempt)),
        stages=attempt.stages,
    )


def _auditor(reading: Read, view: gaps.View) -> Auditor:
    """Return who we are. A role that is granted to us may give more than its name tells: then it is not known."""
    told = [text(next(iter(row.values()))) or "" for row in reading.answers.of("grants")]
    everywhere = ",".join(grant.partition(" ON *.* ")[0] for grant in told if " ON *.* " in grant)
    names = {name.strip().removeprefix("GRANT ") for name in everywhere.split(",")}
    not_told = not told or any(" ON " not in grant for grant in told)
    unknown = None if not_told else False
    no_super = reading.product == sql.MARIADB and reading.version >= (11,)  # there SUPER gives neither
    almighty = names & (_ALMIGHTY - {"SUPER"} if no_super else _ALMIGHTY)
    return Auditor(
        account=view.account,
        superuser=bool(almighty) or unknown,
        sees_all=view.has_process,
        grant=view.grant_process if view.has_process is False else None,
        reserve=bool(almighty or names & _RESERVE) or _by_the_side_door(reading) or unknown,
    )


def _by_the_side_door(reading: Read) -> bool:
    """Return whether we came by a port that stays open when the server is full."""
    doors = (reading.variable("extra_port"), reading.variable("admin_port"))
    return not reading.host.is_socket and str(reading.host.port) in doors


def _server(reading: Read, found: Iterable[Session], wire: Wire, started: str | None) -> Server:
    appliers = any(s.kind is Kind.INTERNAL and s.backend != "Daemon" for s in found)
    return Server(
        engine="mysql",
        product=reading.product,
        version=reading.version,
        version_text=(text(reading.head["version"]) or "").partition("-")[0],  # without the packager's words
        started_at=started,
        replica=True if appliers else None,
        via_pooler=wire.session != reading.own,
        tls=wire.encrypted,
        features=tuple(_features(reading)),
    )


def _features(reading: Read) -> Iterator[str]:
    """Yield what hints must know: other ways to kill a session, other slots, other blockers."""
    if reading.head["performance_schema"] == b"1":
        yield "performance_schema"
    if reading.variable("thread_handling") == "pool-of-threads":
        yield "pool-of-threads"
    if reading.variable("aurora_version"):
        yield "aurora"
    elif "/rdsdbbin/" in (reading.variable("basedir") or ""):
        yield "rds"
    if reading.variable("wsrep_on") == "ON":
        yield "galera"
    if "percona" in (text(reading.head["version_comment"]) or "").lower():
        yield "percona"
    if reading.variable("extra_port") not in (None, "0"):
        yield "extra_port"
    if reading.variable("admin_address"):
        yield "admin_port"


def _address(reading: Read) -> Address:
    host = reading.host
    port = None if host.is_socket else host.port
    user = (text(reading.head["login"]) or "").rpartition("@")[0] or reading.target.user
    return Address(host.name, port, words(reading.head["db"]), user)


def _capacity(reading: Read, found: tuple[Session, ...], view: gaps.View) -> Capacity:
    used = reading.counter("Threads_connected")
    if used is not None and str(reading.host.port) == reading.variable("extra_port"):
        used += 1  # MariaDB counts nobody who comes by its extra port
    return Capacity(
        limit=whole(reading.head["max_connections"]) or 0,
        used=used,
        extra_superuser=_EXTRA_SLOT,
        limits=tuple(_limits(reading, found, complete=view.has_process is True)),
        limits_untold=_limits_cure(reading, view.grantee),
        # MariaDB has the counter and never counts.
        refused=reading.counter("Connection_errors_max_connections") if reading.product == sql.MYSQL else None,
        peak=reading.counter("Max_used_connections"),
        authenticating=sum(s.state is State.STARTING for s in found),
    )


def _limits(reading: Read, found: tuple[Session, ...], complete: bool) -> Iterator[Limit]:
    """Yield the limits of accounts, as far as they may be read.

    Use is counted by user name: of a name with several accounts nobody can tell which of them is used how much.
    """
    used: dict[str, int] = {}
    for s in found:
        if s.user and s.kind in (Kind.CLIENT, Kind.REPLICATION):
            used[s.user] = used.get(s.user, 0) + 1
    rows = {text(row["user"]) or "": row for row in reading.answers.of("account_limits")}
    limits = {user: whole(row["most"]) or 0 for user, row in rows.items()}
    shared = {user for user, row in rows.items() if (whole(row["accounts"]) or 1) > 1}
    own = (text(reading.head["account"]) or "").rpartition("@")[0]
    limits[own] = whole(reading.head["own_limit"]) or limits.get(own, 0)
    for_all = int(reading.variable("max_user_connections") or 0)
    for user in sorted({*limits, *(used if for_all else ())}):
        most = limits.get(user) or for_all
        counted = (complete or user == own) and user not in shared
        if most:
            yield Limit("role", user, most, used.get(user, 0) if counted else None)


def _limits_cure(reading: Read, grantee: str) -> str | None:
    """Return the statement by which the limits of accounts are told, and no more of them; None: they are."""
    if "account_limits" not in reading.answers.refused:
        return None
    return f"GRANT SELECT (user, max_user_connections) ON mysql.user TO {grantee}"


def _guards(reading: Read) -> Iterator[Guard]:
    for name in _GUARDS:
        value = number((reading.variable(name) or "").encode())
        if value is not None:
            yield Guard(name, value * _SECONDS.get(name, 1.0), "global")
    if reading.product == sql.MYSQL and not any(reading.variable(n) for n in _GUARDS if "idle_transaction" in n):
        yield Guard("idle_transaction_timeout", None)


def _clock(taken: datetime, attempt: Attempt) -> Iterator[str]:
    """Yield a note if the server's clock and ours differ by more than the question's own journey explains."""
    ahead = taken.replace(tzinfo=UTC).timestamp() - time.time()
    if ahead < 0:
        ahead = min(0.0, ahead + dict(attempt.stages).get("query", 0.0))
    if abs(ahead) > _SKEW:
        direction = "ahead of" if ahead > 0 else "behind"
        yield f"the server's clock is {abs(ahead):.0f}s {direction} this machine's; ages are by the server's"


def _notes(reading: Read, wire: Wire, view: gaps.View) -> Iterator[str]:
    if wire.session != reading.own:
        yield "a pooler stands between: what it holds for its own clients is not seen here"
    if view.is_anonymous:
        yield f"the server took {view.login} for its anonymous account {view.account}"
    charset = text(reading.head["charset"])
    if charset not in ("utf8mb4", "utf8mb3", "utf8"):
        yield f"the server sends {charset} whatever its clients ask for: text other than ASCII may be wrong"
    if reading.variable("thread_handling") == "pool-of-threads":
        yield "pool-of-threads: a session that waits for a thread is shown as idle"

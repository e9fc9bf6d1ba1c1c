"""What a server did not tell, and the statement or the lines of configuration by which it would."""

from collections.abc import Iterable, Iterator

from connaudit.dataclass import dataclass
from connaudit.engines.mysql.asking import Answers
from connaudit.engines.mysql.statements import MARIADB
from connaudit.snapshot import Fact, Gap, Session
from connaudit.units import plural

_ALL_SESSIONS = (Fact.SESSIONS, Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES, Fact.LOCKS)
_SWITCH_ON = "set in the [mysqld] section and restart: performance_schema=ON"
# MariaDB, and MySQL 5.7 for all but statements, have these off even then.
_ALSO = {
    "transaction": ", performance-schema-instrument='transaction=ON', "
    "performance-schema-consumer-events-transactions-current=ON",
    "statement": ", performance-schema-consumer-events-statements-current=ON, "
    "performance-schema-consumer-events-statements-history=ON",
    "wait/lock/metadata/sql/mdl": ", performance-schema-instrument='wait/lock/metadata/sql/mdl=ON'",
}
_MDL = "wait/lock/metadata/sql/mdl"
# The consumers and the instrument that each needs, one above the other.
_SWITCHES = {
    "transaction": ("global_instrumentation", "thread_instrumentation", "events_transactions_current", "transaction"),
    "statement": (
        "global_instrumentation",
        "thread_instrumentation",
        "events_statements_current",
        "statement/sql/select",
    ),
    _MDL: ("global_instrumentation", _MDL),
}
# Locks of statements that run, which stand in no list, be everything switched on.
_NAMELESS = {
    "table flush": "whose statement keeps a table from being flushed",
    "table level": "whose statement holds the lock of a whole table",
}
_WORDS = {"transaction": "transactions", "statement": "statements", _MDL: "metadata locks"}
_WATCH_EVERYBODY = (
    "UPDATE performance_schema.setup_actors SET enabled = 'YES', history = 'YES'; "
    "UPDATE performance_schema.threads SET instrumented = 'YES', history = 'YES' WHERE type = 'FOREGROUND'"
)


@dataclass(frozen=True, slots=True)
class View:
    """What an account could see on a server."""

    product: str
    facts: frozenset[Fact]
    account: str  # user@host, as GRANT takes it: the one that the server took us for
    login: str  # the same of whom we said that we were, and where from
    seen: int  # connections in the processlist
    connected: int | None  # by the server's own counter
    performance_schema: bool
    lost: int  # threads that performance_schema had no room for
    answers: Answers

    @property
    def unwatched(self) -> int:
        """Return how many sessions but ours performance_schema does not watch, as setup_actors has it."""
        own = self.answers.of("head")[0]["id"]
        return sum(row["instrumented"] != b"YES" and row["id"] != own for row in self.answers.of("statements"))

    @property
    def has_process(self) -> bool | None:
        """Whether PROCESS is in effect; None: it was not tried."""
        refusal = self.answers.refused.get("innodb_trx")
        if refusal:
            return not refusal.denied
        return True if self.answers.told("innodb_trx") else None

    @property
    def reads_performance_schema(self) -> bool:
        """Whether its tables may be read, be they empty."""
        return not any(
            name in self.answers.refused for name in ("attributes", "capabilities", "statements", "transactions")
        )

    @property
    def slack(self) -> float:
        """Return how many connections may be missing from the list without any being hidden.

        The list of threads comes a round trip after the counter, and leaves out logins under way.
        """
        return 2 + 0.05 * (self.connected or 0) if self.answers.of("threads") else 0

    def on(self, capability: str) -> bool:
        """Whether a consumer or instrument is known to be switched on."""
        return any(row["name"] == capability.encode() for row in self.answers.of("capabilities"))

    def watches(self, what: str) -> bool:
        """Whether performance_schema is known to watch statements, transactions or metadata locks."""
        return not self.switched_off(what)

    def switched_off(self, what: str) -> list[str]:
        """Return the switches without which it does not watch, those that are not known to be on."""
        return [name for name in _SWITCHES[what] if not self.on(name)]

    @property
    def knows_transactions(self) -> bool:
        """Whether performance_schema told of every transaction."""
        told = self.watches("transaction") and self.answers.told("transactions")
        return told and not self.lost and not self.unwatched

    @property
    def cure_of_the_list(self) -> str | None:
        """Return what makes the list of sessions whole for who may see it all; None: nothing that is known."""
        variables = {row["variable_name"]: row["value"] for row in self.answers.of("variables")}
        if not self.performance_schema and variables.get(b"performance_schema_show_processlist") == b"ON":
            return "SET GLOBAL performance_schema_show_processlist = OFF"  # it takes the list from where nothing is
        return None

    @property
    def grant_process(self) -> str:
        """Return the statement that lets the account see all sessions."""
        if self.is_anonymous:  # what it is granted everybody has
            return f"CREATE USER {self.login} IDENTIFIED BY '...'; GRANT PROCESS ON *.* TO {self.login}"
        return f"GRANT PROCESS ON *.* TO {self.account}"

    @property
    def is_anonymous(self) -> bool:
        """Whether the server took us for nobody in particular."""
        return self.account.startswith("''@")

    @property
    def grantee(self) -> str:
        """Return the account that grants are for."""
        return self.login if self.is_anonymous else self.account

    def cure(self, what: str = "") -> str:
        """Return what makes performance_schema tell, of transactions or metadata locks for instance."""
        if not self.performance_schema:
            return _SWITCH_ON + (_ALSO.get(what, "") if self.product == MARIADB else "")
        if not self.reads_performance_schema or not what:
            return f"GRANT SELECT ON performance_schema.* TO {self.grantee}"
        if self.watches(what) and self.unwatched:
            return _WATCH_EVERYBODY
        return _switches(what, self.switched_off(what))

    @property
    def why_no_performance_schema(self) -> str | None:
        """Return why performance_schema tells nothing; None if it tells."""
        if not self.performance_schema:
            return "performance_schema is off"
        return None if self.reads_performance_schema else "performance_schema may not be read"

    def why_unwatched(self, what: str) -> str:
        """Return why performance_schema does not tell of statements, transactions or metadata locks."""
        if self.why_no_performance_schema:
            return self.why_no_performance_schema
        if self.watches(what):
            return f"performance_schema does not watch {plural(self.unwatched, 'session')}"
        return f"performance_schema does not watch {_WORDS[what]}"


def gaps(view: View, sessions: tuple[Session, ...]) -> Iterator[Gap]:
    """Yield a gap for each fact that was asked for and not told."""
    for gap in _all(view, sessions):
        if gap.fact in view.facts:
            yield gap


def _all(view: View, sessions: tuple[Session, ...]) -> Iterator[Gap]:
    hidden = (view.connected or 0) - view.seen
    blind = view.has_process is False and hidden > view.slack
    if blind:
        why = f"only {view.seen} of {view.connected} connections are visible, those of the account itself"
        yield from (Gap(fact, why, view.grant_process) for fact in _ALL_SESSIONS)
    elif view.has_process is None and hidden > 1:
        why = f"only {view.seen} of {view.connected} connections are visible"
        yield from (Gap(fact, why, view.grant_process) for fact in _ALL_SESSIONS)
    elif view.cure_of_the_list and hidden > 0:  # a mere difference is of those that come and go within a moment
        why = f"the server counts {view.connected} connections, and lists {view.seen} of them"
        yield from (Gap(fact, why, view.cure_of_the_list) for fact in _ALL_SESSIONS)
    yield from _of_applications(view)
    yield from _of_transactions(view, blind)
    yield from _of_queries(view)
    yield from _of_locks(view, sessions)
    yield from _of_backlog(view)
    if view.lost:
        why = f"performance_schema had no room for {view.lost} threads, of which it tells nothing"
        cure = "performance_schema_max_thread_instances=-1 in the server's configuration, and a restart"
        yield Gap(Fact.TRANSACTIONS, why, cure, partial=True)


def _of_applications(view: View) -> Iterator[Gap]:
    why = view.why_no_performance_schema
    if why:
        yield Gap(Fact.SESSIONS, f"no application names: {why}", view.cure(), partial=True)


def _of_transactions(view: View, blind: bool) -> Iterator[Gap]:
    refusal = view.answers.refused.get("innodb_trx")
    if refusal and blind:
        return  # nobody else's session is visible, and so much is said
    if refusal:
        cure = view.grant_process if refusal.denied else None
        why = "InnoDB's transactions may not be read" if refusal.denied else f"InnoDB's transactions: {refusal}"
        known = view.knows_transactions
        yield Gap(Fact.TRANSACTIONS, f"{why}: no rows locked or modified" if known else why, cure, partial=known)
        if not known:
            yield Gap(Fact.STATES, f"{why}: idle in transaction cannot be told from idle", cure, partial=True)
    elif not view.knows_transactions and not view.lost:
        why = view.why_unwatched("transaction")
        message = f"transactions that have neither read nor written are not seen: {why}"
        yield Gap(Fact.TRANSACTIONS, message, view.cure("transaction"), partial=True)
    xa = view.answers.refused.get("xa")
    if xa:
        cure = f"GRANT XA_RECOVER_ADMIN ON *.* TO {view.grantee}" if xa.denied else None
        what = "prepared transactions" if refusal else "the identifiers of prepared transactions"
        yield Gap(Fact.TRANSACTIONS, f"{what} may not be read", cure, partial=True)


def _of_queries(view: View) -> Iterator[Gap]:
    if view.why_no_performance_schema or view.unwatched or not view.watches("statement"):
        why = view.why_unwatched("statement")
        yield Gap(Fact.QUERIES, f"no last statements of idle sessions: {why}", view.cure("statement"), partial=True)


def _of_locks(view: View, sessions: tuple[Session, ...]) -> Iterator[Gap]:
    """Yield gaps in waits that there are: where nobody waits, nothing is missing."""
    unknown = [s.wait for s in sessions if s.wait and s.wait.blocked_by is None]
    if "row_locks" in view.answers.refused or any(wait.lock == "record" for wait in unknown):
        refusal = view.answers.refused.get("row_locks")
        why = view.why_no_performance_schema if view.product != MARIADB else None
        why = why or (str(refusal) if refusal else "the server does not tell whose lock it is")
        grant = view.grant_process if refusal else None  # MariaDB knows of rows from InnoDB alone
        cure = grant if view.product == MARIADB else view.cure()
        nobody = not unknown
        yield Gap(Fact.LOCKS, f"who blocks whom on rows is not told: {why}", cure, partial=nobody)
    if any(wait.lock not in ("record", *_NAMELESS) for wait in unknown):
        watched = view.watches(_MDL) and not view.why_no_performance_schema
        why = "performance_schema names nobody for certain" if watched else view.why_unwatched(_MDL)
        cure = None if watched else view.cure(_MDL)
        yield Gap(Fact.LOCKS, f"who blocks whom on metadata is not told: {why}", cure)
    for lock, what in _NAMELESS.items():
        if any(wait.lock == lock for wait in unknown):
            yield Gap(Fact.LOCKS, f"{what} is not told: the server has no list of that")


def _of_backlog(view: View) -> Iterator[Gap]:
    """Yield a gap where InnoDB's history list length is not told."""
    refusal = view.answers.refused.get("backlog")
    if refusal:
        why = "it may not be read" if refusal.denied else str(refusal)
        cure = view.grant_process if refusal.denied else None
        yield Gap(Fact.HORIZON, f"how far InnoDB's purge is behind: {why}", cure, partial=True)
    elif view.answers.told("backlog") and not view.answers.of("backlog"):
        cure = "SET GLOBAL innodb_monitor_enable = 'trx_rseg_history_len'"
        yield Gap(Fact.HORIZON, "how far InnoDB's purge is behind: its counter is switched off", cure, partial=True)


def _switches(what: str, off: Iterable[str]) -> str:
    """Return the statements that switch an instrument on, and its consumers; what began before stays unseen."""
    instrument = "statement/%" if what == "statement" else what
    consumers = [name for name in off if name.startswith(("events_", "global_", "thread_"))]
    if "events_statements_current" in consumers:
        consumers.append("events_statements_history")
    table = "UPDATE performance_schema.setup_"
    statements = [f"{table}instruments SET enabled = 'YES', timed = 'YES' WHERE name LIKE '{instrument}'"]
    if consumers:
        names = "', '".join(consumers)
        statements.append(f"{table}consumers SET enabled = 'YES' WHERE name IN ('{names}')")
    return "; ".join(statements)

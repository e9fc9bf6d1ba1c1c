"""Which settings of a server end what nobody uses, and which of them invite leaks."""

from collections.abc import Callable, Iterator

from connaudit.dataclass import dataclass
from connaudit.diagnostics.points import Point
from connaudit.diagnostics.remedies import set_for_all
from connaudit.report import Status
from connaudit.snapshot import Guard, Snapshot
from connaudit.units import format_duration

DAY = 86400.0
LONGEST_IDLE = 3600.0  # seconds for which a pool may well keep a connection that nobody uses
LONGEST_DEAD = 900.0  # seconds until a client that vanished must have been noticed

NO_REAPER = "nothing ends a session that lies idle in a transaction: its locks stay until somebody finds it"
NO_SWEEPER = "nothing ends a connection that was forgotten: it keeps its slot for ever"
YEAR = "a statement that meets a metadata lock waits for it, and all others of that table wait behind it"
OF_TIME = "CA704"  # limits of statements and waits, which are a matter of taste


@dataclass(frozen=True, slots=True)
class Rule:
    """What is said of one setting. `bad` None: it is told and never judged."""

    name: str
    code: str
    bad: Callable[[float], bool] | None = None
    message: str = ""
    better: str = ""  # the value to set


def _is_off(value: float) -> bool:
    return value == 0


POSTGRESQL = (
    Rule("idle_in_transaction_session_timeout", "CA701", _is_off, NO_REAPER, "'5min'"),
    Rule("idle_session_timeout", "CA702", _is_off, NO_SWEEPER, "'1h'"),
    Rule("client_connection_check_interval", "CA703"),
    Rule("transaction_timeout", OF_TIME),
    Rule("statement_timeout", OF_TIME),
    Rule("lock_timeout", OF_TIME),
)
MYSQL = (
    Rule("idle_transaction_timeout", "CA701", _is_off, NO_REAPER, "300"),
    Rule("kill_idle_transaction", "CA701", _is_off, NO_REAPER, "300"),
    Rule(
        "wait_timeout",
        "CA702",
        lambda value: value > LONGEST_IDLE,
        "a connection that was forgotten keeps its slot for that long",
        "600",
    ),
    Rule("interactive_timeout", "CA702"),
    Rule("lock_wait_timeout", OF_TIME, lambda value: value >= DAY, YEAR, "60"),
    Rule("innodb_lock_wait_timeout", OF_TIME),
    Rule("max_execution_time", OF_TIME),
    Rule("max_statement_time", OF_TIME),
)


def points(snapshot: Snapshot) -> Iterator[Point]:
    """Yield a point for each setting that the server has, and for each role that has its own."""
    held = {guard.name: guard for guard in snapshot.guards}
    rules = POSTGRESQL if snapshot.server.engine == "postgresql" else MYSQL
    for rule in rules:
        if rule.name in held:
            yield _point(rule, held[rule.name], snapshot)
    yield from _keepalives(held, snapshot)
    for rule in rules:
        if rule.name in held and rule.bad:
            yield from _overrides(rule, held[rule.name], _on_primary(snapshot))


def _point(rule: Rule, guard: Guard, snapshot: Snapshot) -> Point:
    if guard.value is None:
        return Point(
            Status.OK, rule.code, rule.name, f"{snapshot.server.product} has none: only wait_timeout ends them"
        )
    value = _spoken(guard.value)
    if rule.bad is None or not rule.bad(guard.value):
        return Point(Status.OK, rule.code, rule.name, value)
    hint = _set(snapshot, rule.name, rule.better)
    return Point(Status.WARNING, rule.code, rule.name, value, rule.message, hint)


def _spoken(value: float) -> str:
    return format_duration(value) if value else "off"


def _set(snapshot: Snapshot, name: str, value: str) -> str:
    """Return how a setting is changed here: for all, or on PostgreSQL for the roles that need it."""
    whole = set_for_all(snapshot.server, name, value)
    if snapshot.server.engine == "postgresql":
        return f"ALTER ROLE ... SET {name} = {value}{_on_primary(snapshot)}, or for all: {whole}"
    return whole


def _on_primary(snapshot: Snapshot) -> str:
    """Return where roles are changed: a standby has them from its primary."""
    return " on the primary" if snapshot.server.replica else ""


def _keepalives(held: dict[str, Guard], snapshot: Snapshot) -> Iterator[Point]:
    """Yield after how long a client that vanished without a word is noticed; MySQL leaves it to the system."""
    parts = [held.get(f"tcp_keepalives_{part}") for part in ("idle", "interval", "count")]
    if snapshot.server.engine != "postgresql":
        return
    idle, interval, count = (part.value if part else None for part in parts)
    if idle is None or interval is None or count is None:
        yield Point(Status.OK, "CA703", "TCP keepalives", "as the operating system has them; not told")
        return
    noticed = idle + interval * count
    message = f"a client that vanished without a word is noticed after {format_duration(noticed)}, and keeps its slot"
    settings = "tcp_keepalives_idle = 60, tcp_keepalives_interval = 10, tcp_keepalives_count = 6"
    value = f"{format_duration(idle)}, then {count:.0f} x {format_duration(interval)}"
    well = noticed <= LONGEST_DEAD
    yield Point.judged(well, "CA703", "TCP keepalives", value, message, f"{settings} in the configuration")


def _overrides(rule: Rule, guard: Guard, there: str) -> Iterator[Point]:
    """Yield roles and databases whose own value differs; one that switches a guard off is to be looked at.

    `there` is where roles are changed.
    """
    for whom, value in guard.overrides:
        subject = f"{rule.name} of {whom}"
        off = value == 0 and bool(guard.value)
        message = f"{whom} has {rule.name} switched off, which the server has on"
        hint = f"find out why; if nobody knows: ALTER ROLE ... RESET {rule.name}{there}"
        yield Point.judged(not off, "CA705", subject, _spoken(value), message, hint)

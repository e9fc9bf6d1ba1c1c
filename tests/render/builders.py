"""Outcomes to render: ordinary ones, and those that people should never meet."""

from dataclasses import replace
from typing import Any

from connaudit.errors import ConnauditError, LoginRefused, NoSlotsLeft, TimedOut
from connaudit.render import Run, Style
from connaudit.report import (
    Column,
    Failure,
    Finding,
    Metric,
    Outcome,
    Report,
    Show,
    Source,
    Status,
    Table,
    Unit,
    Value,
    worst,
)
from connaudit.snapshot import Address, Fact, Gap, Server

PLAIN = Style()
TERMINAL = Style(width=120, is_terminal=True, color=True, unicode=True)

NASTY = (
    'a|b;c,"d"\'e\n::error::boo\r\t\x1b[31mred\x9b\x00\x7f\u202eevil\u200b\ufeff\u2028\ud800\ue000\U000e0041 <script>'
    "alert(1)</script> [/] [red]x[/red] :smile: [link=file:///etc]a[/link] `code` #{1} %25 ##[error]x 表 😀 é"
)


def source(target: str = "prod-eu", **changes: Any) -> Source:
    return replace(
        Source(
            target=target,
            origin="config",
            engine="postgresql",
            address=Address("db.eu.example.net", 5432, "shop", "monitor"),
            server=Server("postgresql", "PostgreSQL", (16, 4), "16.4", replica=False, via_pooler=False),
            taken_at="2026-11-22T10:58:01.311Z",
            visibility="full",
        ),
        **changes,
    )


def count(target: str = "prod-eu", **changes: Any) -> Report:
    message = "94 of 97 usable connections in use (96.9%)"
    brief = Table(
        "brief",
        (
            Column("used", "USED", Unit.CONNECTIONS, Show.ALWAYS),
            Column("usable", "USABLE", Unit.CONNECTIONS),
            Column("used_ratio", "PCT", Unit.RATIO),
        ),
        ((94, 97, 94 / 97),),
        1,
    )
    states = Table(
        "by_state",
        (
            Column("state", "STATE", show=Show.ALWAYS),
            Column("count", "COUNT", Unit.COUNT, Show.ALWAYS),
            Column("oldest_seconds", "OLDEST", Unit.SECONDS, Show.ROOMY),
        ),
        (("idle", 61, 11520.4), ("idle in transaction", 19, 8041.0), ("active", 14, None)),
        3,
    )
    groups = Table(
        "groups",
        (
            Column("app", "APP", show=Show.ALWAYS),
            Column("user", "USER"),
            Column("count", "COUNT", Unit.COUNT, Show.ALWAYS),
            Column("hidden", "HIDDEN", Unit.COUNT, Show.DATA),
        ),
        (("gunicorn: worker [shop.wsgi]", "shop_web", 58, 0), ("celery@worker", "shop_celery", 30, 0)),
        6,
        "most first",
    )
    report = Report(
        check="count",
        source=source(target),
        status=Status.CRITICAL,
        headline=message + ", 3 free",
        value="94 of 97 used (96.9%)",
        limit="90pct",
        details=("max_connections 100, 3 reserved for superusers; connaudit's own session not counted",),
        summary={"used": 94, "usable": 97, "free": 3, "used_ratio": 0.9691},
        brief=brief,
        overviews=(states,),
        table=groups,
        metrics=(
            Metric("used", 94, Unit.CONNECTIONS, "77.6", "87.3", 0, 97),
            Metric("free", 3, Unit.CONNECTIONS, None, "3:", 0, 97),
            Metric("usable", 97, Unit.CONNECTIONS),
            Metric("connections", 61, Unit.CONNECTIONS, labels=(("state", "idle"),)),
            Metric("connections", 19, Unit.CONNECTIONS, labels=(("state", "idle in transaction"),)),
        ),
        findings=(
            Finding(
                "CA101",
                Status.CRITICAL,
                message,
                metric="used",
                value=94,
                unit=Unit.CONNECTIONS,
                threshold="~:87.3",
                hint="see who holds them below; raise max_connections last",
            ),
        ),
    )
    return replace(report, **changes)


SESSION_COLUMNS = (
    Column("pid", "PID", Unit.NONE, Show.ALWAYS),
    Column("idle_seconds", "IDLE", Unit.SECONDS, Show.ALWAYS),
    Column("transaction_seconds", "TX AGE", Unit.SECONDS),
    Column("database", "DB", show=Show.ROOMY),
    Column("user", "USER"),
    Column("app", "APP", show=Show.ROOMY),
    Column("client", "CLIENT", show=Show.ROOMY),
    Column("backend_start", "STARTED", Unit.TIMESTAMP, Show.WIDE),
    Column("blocks", "BLOCKS", Unit.COUNT),
    Column("sql", "LAST QUERY", Unit.SQL),
    Column("sql_mode", "SQL MODE", show=Show.DATA),
)
STARTED = "2026-11-22T07:41:09.120Z"
SESSION_ROWS: tuple[tuple[Value, ...], ...] = (
    (
        48211,
        8041.0,
        8043.6,
        "shop",
        "shop_web",
        "gunicorn: worker [shop.wsgi]",
        "10.4.1.17",
        STARTED,
        2,
        "UPDATE cart SET qty = ? WHERE id = ?",
        "masked",
    ),
    (
        48377,
        2463.0,
        2480.0,
        "shop",
        "shop_celery",
        "celery@worker-3",
        None,
        STARTED,
        0,
        "SELECT * FROM orders_order WHERE status IN (?) FOR UPDATE",
        "masked",
    ),
)


def idle_tx(target: str = "prod-eu", rows: tuple[tuple[Value, ...], ...] = SESSION_ROWS, **changes: Any) -> Report:
    report = Report(
        check="idle-tx",
        source=source(target),
        status=Status.CRITICAL,
        headline="19 sessions idle in transaction, oldest idle 2h14m (limit 10m); 2 sessions wait behind them",
        value="19 sessions, oldest idle 2h14m",
        limit="10m",
        summary={"count": 19},
        table=Table("sessions", SESSION_COLUMNS, rows, len(rows), "oldest first"),
        metrics=(
            Metric("idle_tx", 19, Unit.COUNT),
            Metric("idle_tx_oldest", 8041.0, Unit.SECONDS, "60", "600", 0),
        ),
        findings=(
            Finding("CA201", Status.CRITICAL, "idle in transaction for 2h14m", "age", 8041.0, Unit.SECONDS, "600"),
        ),
    )
    return replace(report, **changes)


def healthy(target: str = "prod-eu") -> Report:
    return Report(
        check="blocking",
        source=source(target),
        status=Status.OK,
        headline="nobody waits for a lock",
        table=Table("waits", (Column("pid", "PID", show=Show.ALWAYS),), (), 0),
        metrics=(Metric("blocked", 0, Unit.COUNT),),
    )


def blind(target: str = "prod-eu") -> Report:
    gap = Gap(Fact.STATES, "states of other users' sessions are hidden", "GRANT pg_monitor TO monitor;")
    return Report(
        check="idle-tx",
        source=source(target, visibility="partial"),
        status=Status.UNKNOWN,
        headline="only own sessions visible",
        gaps=(gap,),
        notes=("the server's clock is 3s ahead",),
    )


def timed_out(target: str = "prod-us", **changes: Any) -> Failure:
    failure = Failure(
        source(target, server=None, taken_at=None, visibility=None),
        TimedOut("timed out after 10.0s", stage="tcp", hint="is a firewall in between?"),
        Status.UNKNOWN,
        ("count", "idle-tx"),
    )
    return replace(failure, **changes)


def full(target: str = "prod-us") -> Failure:
    error = NoSlotsLeft("server is full: sorry, too many clients already", limit="server")
    return Failure(source(target, server=None), error, Status.CRITICAL, ("count", "idle-tx"))


def refused(target: str = "prod-us") -> Failure:
    error = LoginRefused(NASTY, stage="login", hint=NASTY)
    return Failure(source(target, server=None), error, Status.UNKNOWN, ("count",))


def nasty(text: str = NASTY, check: str = "idle-tx") -> Report:
    """Return a report in which everybody's text is `text`."""
    row: tuple[Value, ...] = (1, 2.0, None, text, text, text, text, STARTED, 0, text, "raw")
    return idle_tx(
        check=check,
        source=source(
            address=Address(text, 5432, text, text), server=Server("postgresql", "PostgreSQL", (16,), text), origin=text
        ),
        headline=text,
        value=text,
        limit=text,
        details=(text,),
        summary={"text": text},
        overviews=(Table("by_app", (Column("app", "APP", show=Show.ALWAYS),), ((text,),), 1),),
        table=Table("sessions", SESSION_COLUMNS, (row,), 3, "oldest first"),
        metrics=(Metric("connections", 1, Unit.CONNECTIONS, labels=(("state", text),)),),
        findings=(Finding("CA201", Status.CRITICAL, text, hint=text),),
        gaps=(Gap(Fact.QUERIES, text, text),),
        notes=(text,),
    )


def run(*outcomes: Outcome, command: str = "count", errors: tuple[ConnauditError, ...] = ()) -> Run:
    status = worst(outcome.status for outcome in outcomes)
    return Run(command, "0.1.0", "2026-11-22T10:58:01.204Z", 143, status, int(status), outcomes, errors)


def check(*outcomes: Outcome) -> Run:
    return run(*outcomes, command="check")


SCENES = {
    "count": run(count()),
    "idle-tx": run(idle_tx(), command="idle-tx"),
    "no rows": run(idle_tx(rows=(), status=Status.OK, findings=()), command="idle-tx"),
    "no table": run(idle_tx(table=None), command="idle-tx"),
    "nothing": run(),
    "healthy": run(healthy(), command="blocking"),
    "blind": run(blind(), command="idle-tx"),
    "unreachable": run(timed_out()),
    "full server": run(full()),
    "nasty": run(nasty(), command="idle-tx"),
    "nasty failure": run(refused(), command="idle-tx"),
    "two targets in brief": run(count(), timed_out()),
    "two targets with rows": run(idle_tx(), timed_out(), idle_tx("prod-ap", rows=()), command="idle-tx"),
    "check": check(count(), idle_tx(), healthy(), timed_out(), full("prod-ap")),
    "check of one": check(count(), idle_tx(), healthy()),
    "check, all well": check(healthy("a"), healthy("b")),
    "nasty check": check(nasty(), refused()),
}

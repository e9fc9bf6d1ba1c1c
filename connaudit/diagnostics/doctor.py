"""What a good audit needs, and what a good server has: point by point, with what to change.

How long each stage of the connection takes, whether it is encrypted, what the role may see and which grants are
missing, whether it still gets in when the server is full, what stands in between, and which of the server's settings
invite leaks. Besides, what no server knows: where the password came from, who else can read it, what cron will lack.
"""

from collections.abc import Iterable, Iterator

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics import guarding
from connaudit.diagnostics.points import Point
from connaudit.diagnostics.source import source
from connaudit.report import Column, Finding, Report, Show, Status, Table, Unit, worst
from connaudit.snapshot import Auditor, Fact, Gap, Snapshot
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, plural

NEEDS: frozenset[Fact] = frozenset()
WANTS = frozenset(Fact)
METRICS: tuple[Judged, ...] = ()
CODES = (
    *("CA701", "CA702", "CA703", "CA704", "CA705"),
    *("CA801", "CA802", "CA803", "CA804", "CA805", "CA806", "CA807", "CA808", "CA902"),
)
WARNING: tuple[str, ...] = ()
CRITICAL: tuple[str, ...] = ()
SLOW = 2.0  # seconds; a fifth of the default --timeout

COLUMNS = (
    Column("status", "STATUS", show=Show.ALWAYS),
    Column("code", "CODE", show=Show.ALWAYS),
    Column("subject", "SUBJECT", show=Show.ALWAYS),
    Column("value", "VALUE", show=Show.ALWAYS),
)
SUMMARY = (
    Column("points", "POINTS", Unit.COUNT),
    Column("warnings", "WARNINGS", Unit.COUNT),
    Column("criticals", "CRITICALS", Unit.COUNT),
    Column("seconds", "TIME", Unit.SECONDS),
    Column("tls", "TLS", Unit.FLAG),
    Column("encoding", "ENCODING"),
    Column("superuser", "SUPERUSER", Unit.FLAG),
    Column("sees_all", "SEES ALL", Unit.FLAG),
    Column("reserve", "RESERVE", Unit.FLAG),
)
STAGES = (Column("stage", "STAGE", show=Show.ALWAYS), Column("seconds", "TIME", Unit.SECONDS, Show.ALWAYS))
OVERVIEWS = {"stages": STAGES}
BRIEF = (
    Column("criticals", "CRITICALS", Unit.COUNT, Show.ALWAYS),
    Column("warnings", "WARNINGS", Unit.COUNT, Show.ALWAYS),
    Column("seconds", "TIME", Unit.SECONDS),
    Column("tls", "TLS", Unit.FLAG, Show.ROOMY),
    Column("superuser", "SUPERUSER", Unit.FLAG, Show.ROOMY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What `doctor` can be asked: nothing of its own."""


def run(snapshot: Snapshot, options: Options) -> Report:
    """Look at one snapshot."""
    points = [
        *_connection(snapshot),
        *_role(snapshot),
        *_visibility(snapshot),
        *_reserve(snapshot),
        *guarding.points(snapshot),
    ]
    auditor = snapshot.auditor or Auditor("")
    seconds = sum(taken for _, taken in snapshot.stages)
    told = {
        "seconds": seconds,
        "tls": snapshot.server.tls,
        "encoding": snapshot.server.encoding,
        "superuser": auditor.superuser,
        "sees_all": auditor.sees_all,
        "reserve": auditor.reserve,
    }
    stages = Table("stages", STAGES, snapshot.stages, len(snapshot.stages))
    report = Report("doctor", source(snapshot), Status.OK, "", summary=told, overviews=(stages,), notes=snapshot.notes)
    return with_points(report, points)


def with_points(report: Report, points: Iterable[Point]) -> Report:
    """Return a report with further points, its verdict and numbers counted anew."""
    from dataclasses import replace

    old = report.table.rows if report.table else ()
    more = list(points)
    rows = (*old, *((point.status.name, point.code, point.subject, point.value) for point in more))
    findings = (*report.findings, *(_finding(point) for point in more if point.status is not Status.OK))
    counted = {
        "points": len(rows),
        "warnings": sum(row[0] == Status.WARNING.name for row in rows),
        "criticals": sum(row[0] == Status.CRITICAL.name for row in rows),
    }
    untold = {column.key: None for column in SUMMARY}  # of a target out of reach
    summary = {**untold, **report.summary, **counted}
    wrong = counted["warnings"] + counted["criticals"]
    said = f"{plural(wrong, 'point')} of {len(rows)} to be looked at" if wrong else f"all {len(rows)} points are well"
    return replace(
        report,
        status=worst(finding.status for finding in findings),
        headline=said,
        value=said,
        summary=summary,
        brief=Table("brief", BRIEF, (tuple(summary.get(column.key) for column in BRIEF),), 1),
        table=Table("points", COLUMNS, rows, len(rows)),
        findings=findings,
    )


def _finding(point: Point) -> Finding:
    return Finding(point.code, point.status, point.message, hint=point.hint)


def _connection(snapshot: Snapshot) -> Iterator[Point]:
    """Yield how we got there: how fast, how safely, past whom."""
    server = snapshot.server
    seconds = sum(taken for _, taken in snapshot.stages)
    spoken = format_duration(seconds)
    slow = f"the target took {spoken} to answer"
    yield Point.judged(seconds <= SLOW, "CA902", "connection", spoken, slow, "see which stage takes so long")
    yield _encryption(snapshot)
    if server.via_pooler:
        message = "a pooler stands between: clients are seen by its address, and it may hold up the audit itself"
        yield Point(Status.WARNING, "CA805", "between", "pooler", message, "audit the server itself, by its own port")
    elif server.replica:
        yield Point(Status.OK, "CA805", "between", "nobody; the server is a replica")
    else:
        yield Point(Status.OK, "CA805", "between", "nobody")
    if server.encoding == "SQL_ASCII":
        message = "the database does not know how its texts are written: names and statements may be garbled"
        hint = "audit from a database in UTF8, such as postgres"
        yield Point(Status.WARNING, "CA806", "encoding", "SQL_ASCII", message, hint)
    elif server.encoding:
        yield Point(Status.OK, "CA806", "encoding", server.encoding)


def is_remote(host: str) -> bool:
    """Return whether what is sent to a host leaves this machine."""
    return not host.startswith(("/", "@", "127.")) and host not in ("localhost", "::1", "")


def _encryption(snapshot: Snapshot) -> Point:
    if snapshot.server.tls:
        return Point(Status.OK, "CA802", "encryption", "TLS")
    if not is_remote(snapshot.address.host):
        return Point(Status.OK, "CA802", "encryption", "none, and nothing leaves this machine")
    option = "sslmode=verify-full" if snapshot.server.engine == "postgresql" else "ssl-mode=VERIFY_IDENTITY"
    message = "what is sent, statements and addresses of others among it, can be read on the way"
    return Point(Status.WARNING, "CA802", "encryption", "none", message, f"add {option} to the target")


def _role(snapshot: Snapshot) -> Iterator[Point]:
    auditor = snapshot.auditor
    if auditor is None:
        return
    if auditor.superuser:
        message = f"{auditor.account} may do everything, and an audit needs to see only"
        yield Point(Status.WARNING, "CA803", "role", f"{auditor.account}, a superuser", message, _monitor(snapshot))
    else:
        yield Point(Status.OK, "CA803", "role", auditor.account)


def _monitor(snapshot: Snapshot) -> str:
    """Return how to make a role that may see everything and nothing else."""
    if snapshot.server.engine == "postgresql":
        return "CREATE ROLE monitor LOGIN PASSWORD '...'; GRANT pg_monitor TO monitor"
    return (
        "CREATE USER monitor IDENTIFIED BY '...'; GRANT PROCESS ON *.* TO monitor; "
        "GRANT SELECT ON performance_schema.* TO monitor"
    )


def _visibility(snapshot: Snapshot) -> Iterator[Point]:
    """Yield what the role does not see, by what would cure it; a grant is missing even while there is nobody to see."""
    auditor = snapshot.auditor
    cures: dict[str | None, list[Gap]] = {}
    for gap in snapshot.gaps:
        cures.setdefault(gap.cure, []).append(gap)
    if auditor and auditor.grant and auditor.grant not in cures:
        message = f"{auditor.account} may not see what the sessions of others do"
        yield Point(Status.CRITICAL, "CA801", "visibility", "own sessions only", message, auditor.grant)
    for cure, gaps in cures.items():
        facts = ", ".join(dict.fromkeys(gap.fact.value for gap in gaps))
        whole = [gap for gap in gaps if not gap.partial]
        status = Status.CRITICAL if whole else Status.WARNING
        value = f"{'hidden' if whole else 'in part'}: {facts}"
        yield Point(status, "CA801", "visibility", value, (whole or gaps)[0].why, cure)
    if not cures and not (auditor and auditor.grant):
        yield Point(Status.OK, "CA801", "visibility", "everything")


def _reserve(snapshot: Snapshot) -> Iterator[Point]:
    """Yield whether the role gets in when the server is full, which is when it is wanted most."""
    auditor = snapshot.auditor
    if auditor is None or auditor.reserve is None:
        return
    subject = "a full server"
    if auditor.reserve:
        yield Point(Status.OK, "CA804", subject, "a slot is kept for the role")
    elif way := _way_in(snapshot, auditor.account):
        message = "when all connections are taken, the audit is turned away like everybody else"
        yield Point(Status.WARNING, "CA804", subject, "turns the role away", message, way)
    else:
        yield Point(Status.OK, "CA804", subject, "turns all away but superusers, and is reported as CA102")


def _way_in(snapshot: Snapshot, account: str) -> str | None:
    """Return how a slot is kept for the auditor; None where only superusers can have one."""
    server = snapshot.server
    if server.engine == "postgresql":
        if server.version < (16,):
            return None
        kept = "" if snapshot.capacity.reserved else "reserved_connections = 2 in the configuration, and a restart; "
        return f"{kept}GRANT pg_use_reserved_connections TO {account}"
    if server.product == "MariaDB":
        port = "" if "extra_port" in server.features else "extra_port = 3307 in the configuration, and a restart; "
        return f"{port}name the extra port in the target"
    return f"GRANT CONNECTION_ADMIN ON *.* TO {account}, which keeps one; or admin_address, whose port has no limit"

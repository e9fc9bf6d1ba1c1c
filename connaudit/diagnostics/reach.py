"""Whether a target can be audited at all: it answers, lets us in, and is a server that connaudit knows."""

from connaudit import options as opt
from connaudit.dataclass import dataclass
from connaudit.diagnostics.judging import judge, limits
from connaudit.diagnostics.source import source
from connaudit.report import Column, Metric, Report, Show, Table, Unit
from connaudit.snapshot import Fact, Snapshot
from connaudit.thresholds import Measure
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration

NEEDS: frozenset[Fact] = frozenset()
WANTS: frozenset[Fact] = frozenset()
TIME = Judged("time", Measure.SECONDS, "from the look-up of the name to the last row")
METRICS = (TIME,)
CODES = ("CA902",)
WARNING: tuple[str, ...] = ()
CRITICAL: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """What can be asked: only how long it may take."""


COLUMNS: tuple[Column, ...] = ()
SUMMARY = (Column("seconds", "TIME", Unit.SECONDS), Column("tls", "TLS", Unit.FLAG))
STAGES = (Column("stage", "STAGE", show=Show.ALWAYS), Column("seconds", "TIME", Unit.SECONDS, Show.ALWAYS))
OVERVIEWS = {"stages": STAGES}
BRIEF = (
    Column("server", "SERVER", show=Show.ALWAYS),
    Column("role", "ROLE"),
    Column("tls", "TLS", Unit.FLAG, Show.ROOMY),
    Column("seconds", "TIME", Unit.SECONDS, Show.ALWAYS),
)


def run(snapshot: Snapshot, options: Options) -> Report:
    """Judge one snapshot: that there is one is the answer."""
    server = snapshot.server
    seconds = sum(taken for _, taken in snapshot.stages)
    judgement = judge(TIME, seconds, limits(options, METRICS, WARNING, CRITICAL))
    said = f"answered in {format_duration(seconds)}"
    finding = (judgement.finding("CA902", said),) if judgement.decisive else ()
    return Report(
        check="reach",
        source=source(snapshot),
        status=judgement.status,
        headline=said,
        value=said,
        limit=judgement.limit,
        summary={"seconds": seconds, "tls": server.tls},
        brief=Table("brief", BRIEF, ((_name(snapshot), snapshot.address.user, server.tls, seconds),), 1),
        overviews=(Table("stages", STAGES, snapshot.stages, len(snapshot.stages)),),
        metrics=(Metric("time", seconds, Unit.SECONDS, judgement.warning, judgement.critical, 0),),
        findings=finding,
        notes=snapshot.notes,
    )


def _name(snapshot: Snapshot) -> str:
    server = snapshot.server
    told = server.version_text
    return told if told.startswith(server.product) else f"{server.product} {told}"

"""`connaudit history`: what was recorded, shown, drawn, pruned and handed on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any

import click

from connaudit.cli import output
from connaudit.cli.auditing import Begun, style_of, utc
from connaudit.cli.commands import Several
from connaudit.cli.flags import click_option
from connaudit.cli.helpful import Helpful
from connaudit.cli.listing import invocation, is_for_people, options, write
from connaudit.cli.planning import Setup, set_up
from connaudit.cli.remembering import history, place, public_place
from connaudit.cli.settings import Setting, Sources, choice, positive_duration, words
from connaudit.dataclass import dataclass
from connaudit.errors import NoHistory, UsageError
from connaudit.history.reading import BY, STATES, WHOLE, Known
from connaudit.history.store import Store
from connaudit.options import fits
from connaudit.render.plot import charts
from connaudit.report import Column, Plot, Show, Status, Table, Unit, Value
from connaudit.units import plural

METRICS = (*WHOLE, *STATES)
PARTS = 28  # of a window, in one line of a table
MOST_PLOTS = 5  # of one target
HEIGHT = 10  # lines of a plot
AT_ONCE = 1000  # records that are written together
SHORTEST = 60.0  # seconds that are shown at least
A_WEEK = 7 * 86400.0


def groups(text: str) -> tuple[str, ...]:
    """Read what lines are told apart by; ValueError says what there is."""
    names = words(text)
    for name in names:
        choice(*BY)(name)
    return names


SINCE = Setting("since", ("--since",), "look so far back [default: 7d]", positive_duration, "DUR", A_WEEK)
METRIC = Setting("metric", ("--metric",), f"{', '.join(METRICS)} [default: used]", choice(*METRICS), "NAME", "used")
BY_GROUP = Setting("by", ("--by",), f"a line for each of these: {', '.join(BY)}", groups, "LIST", ())
ALL_SINCE = Setting("since", ("--since",), "only what is no older", positive_duration, "DUR")
ASKED = (SINCE, METRIC, BY_GROUP)

COLUMNS = (
    Column("target", "TARGET", show=Show.ALWAYS),
    *(Column(name, name.upper(), show=Show.DATA) for name in BY),
    Column("metric", "METRIC", show=Show.ROOMY),
    Column("samples", "SAMPLES", Unit.COUNT, Show.WIDE),
    Column("minimum", "LEAST", Unit.NUMBER),
    Column("mean", "MEAN", Unit.NUMBER),
    Column("maximum", "MOST", Unit.NUMBER),
    Column("last", "LAST", Unit.NUMBER, Show.ALWAYS),
    Column("usable", "USABLE", Unit.CONNECTIONS, Show.ROOMY),
    Column("growth_per_hour", "GROWTH/H", Unit.NUMBER, Show.ROOMY),
    Column("trend", "TREND", Unit.TREND, Show.ALWAYS),
    Column("first_at", "FIRST", Unit.TIMESTAMP, Show.WIDE),
    Column("last_at", "LAST SAMPLE", Unit.TIMESTAMP, Show.WIDE),
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the history."""

    targets: tuple[str, ...]
    begin: float  # seconds since 1970
    end: float
    metric: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the answer."""

    target: Known
    names: tuple[str | None, ...]  # of what it is by
    plot: Plot
    growth: float | None  # connections per hour, if that is proven


def asked(setup: Setup, targets: Sequence[str], flags: Sequence[Any]) -> Question:
    """Return what is asked; UsageError for what makes no sense together."""
    sources = Sources("history", flags, setup.call.environment)
    since, metric, by = (sources.effective(each).value for each in ASKED)
    if by and metric in WHOLE:
        if metric != "used":
            raise UsageError(f"--metric: {metric} is told of a whole target, and not by {', '.join(by)}")
        metric = "sessions"  # what of it belongs to whom
    now = Begun.now().moment.timestamp()
    return Question(tuple(targets), now - since, now, metric, by)


def lines(store: Store, question: Question) -> list[Line]:
    """Return the answer, target by target, the highest line of each first; UsageError for a target never recorded."""
    known = store.targets()
    if not known:
        raise NoHistory(f"{store.path}: nothing was ever recorded there", hint="connaudit record does")
    for word in question.targets:
        if not any(fits(one.name, word) for one in known):
            raise UsageError(
                f"the history has no target {word!r}", hint=f"there are {', '.join(one.name for one in known)}"
            )
    chosen = [one for one in known if _is_chosen(one, question)]
    firsts = [one.first for one in chosen if one.first is not None]
    if firsts:  # a young history is not shown as the empty end of a long time
        question = replace(question, begin=max(question.begin, min(*firsts, question.end - SHORTEST)))
    return [line for one in chosen for line in _lines(store, one, question)]


def _is_chosen(one: Known, question: Question) -> bool:
    return not question.targets or any(fits(one.name, word) for word in question.targets)


def _lines(store: Store, target: Known, question: Question) -> Iterator[Line]:
    growth = _growth(store, target.name, question)
    limit = _limit(store, target.name, question) if question.metric == "used" else None
    found = store.series(target.name, question.metric, question.begin, by=question.by, until=question.end)
    for series in found:
        plot = Plot(_title(target, series.names, question), question.begin, question.end, series.points, limit)
        yield Line(target, series.names, plot, growth.get(series.names))
    if not found:
        nothing = Plot(_title(target, (), question), question.begin, question.end, ())
        yield Line(target, (None,) * len(question.by), nothing, None)


def _title(target: Known, names: Sequence[str | None], question: Question) -> str:
    whose = ", ".join("-" if name is None else name or '""' for name in names)
    return "  ".join(filter(None, (target.name, question.metric.replace("_", " "), whose)))


def _limit(store: Store, target: str, question: Question) -> float | None:
    found = store.series(target, "usable", question.begin, until=question.end)
    return found[0].points[-1][1] if found else None


def _growth(store: Store, target: str, question: Question) -> dict[tuple[str | None, ...], float]:
    """Return the growth of each line that grows for certain."""
    if question.metric == "used":
        whole = store.growth(target, question.begin)
        return {(): whole.slope} if whole and whole.proven else {}
    if question.metric == "sessions" and question.by:
        found = store.growth_by(target, question.begin, question.by)
        return {names: growth.slope for names, growth in found.items() if growth.proven}
    return {}


def table(answer: Sequence[Line], question: Question) -> Table:
    """Return the answer as a table."""
    columns = tuple(_shown(column, question) for column in COLUMNS)
    rows = tuple(tuple(_row(line, question)[column.key] for column in columns) for line in answer)
    return Table("history", columns, rows, len(rows))


def _shown(column: Column, question: Question) -> Column:
    if column.key in question.by:
        return Column(column.key, column.label, column.unit, Show.TABLE)
    if question.metric == "oldest_idle" and column.key in ("minimum", "mean", "maximum", "last"):
        return Column(column.key, column.label, Unit.SECONDS, column.show)
    return column


def _row(line: Line, question: Question) -> dict[str, Value]:
    values = [value for _, value in line.plot.points]
    names = dict(zip(question.by, line.names, strict=True))
    return {
        "target": line.target.name,
        **{name: names.get(name) for name in BY},
        "metric": question.metric,
        "samples": len(values),
        "minimum": min(values, default=None),
        "mean": round(sum(values) / len(values), 2) if values else None,
        "maximum": max(values, default=None),
        "last": values[-1] if values else None,
        "usable": None if line.plot.limit is None else int(line.plot.limit),
        "growth_per_hour": None if line.growth is None else round(line.growth, 4),
        "trend": line.plot.parts(PARTS),
        "first_at": _moment(line.plot.points[0][0]) if values else None,
        "last_at": _moment(line.plot.points[-1][0]) if values else None,
    }


def _moment(at: float) -> str:
    return utc(datetime.fromtimestamp(at, UTC))


def _answered(
    command: str, context: click.Context, targets: Sequence[str], flags: dict[str, Any]
) -> tuple[Setup, Question, list[Line]]:
    """Return what is asked by a call, and the answer."""
    setup = set_up(invocation(command, context, flags))
    with history(setup, create=False) as store:
        question = asked(setup, targets, setup.call.given)
        return setup, question, lines(store, question)


@click.pass_context
def _show(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """Show how connections went. A line for each target, or for each group of one with --by."""
    setup, question, answer = _answered("history-show", context, targets, flags)
    return write(table(answer, question), setup)


@click.pass_context
def _plot(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """Draw how connections went. A plot for each target, or for the largest groups of one with --by."""
    setup, question, answer = _answered("history-plot", context, targets, flags)
    if not is_for_people(setup):
        return write(table(answer, question), setup)
    plots = [line.plot for _, some in groupby(answer, lambda line: line.target.name) for line in [*some][:MOST_PLOTS]]
    style = style_of(setup.settings, setup.call.environment)
    output.write(output.scrubbed(charts(plots, style, HEIGHT)), setup.settings["output"])
    return int(Status.OK)


@click.pass_context
def _prune(context: click.Context, /, **flags: Any) -> int:
    """Forget what is older than [history] keeps. Hours are summed up before; record does so once an hour."""
    setup = set_up(invocation("history-prune", context, flags))
    with history(setup, create=False) as store:
        gone = store.prune(Begun.now().moment.timestamp())
    output.write(f"forgot {plural(gone.samples, 'sample')} and {plural(gone.hours, 'hour')}\n", None)
    return int(Status.OK)


@click.pass_context
def _export(context: click.Context, /, **flags: Any) -> int:
    """Write everything as lines of JSON. Target by target and day by day, for other programs."""
    setup = set_up(invocation("history-export", context, flags))
    back = Sources("history", setup.call.given, setup.call.environment).effective(ALL_SINCE).value
    begin = 0.0 if back is None else Begun.now().moment.timestamp() - back
    with history(setup, create=False) as store:
        chunks = (output.scrubbed("".join(chunk)) for chunk in _chunks(store.export(begin)))
        output.write_all(chunks, setup.settings["output"])
    return int(Status.OK)


def _chunks(records: Iterator[dict[str, Any]]) -> Iterator[list[str]]:
    while chunk := [json.dumps(record) + "\n" for record in islice(records, AT_ONCE)]:
        yield chunk


@click.pass_context
def _path(context: click.Context, /, **flags: Any) -> int:
    """Say where the history lies, or would lie."""
    setup = set_up(invocation("history-path", context, flags))
    output.write(f"{public_place(place(setup))}\n", None)
    return int(Status.OK)


def _command(name: str, callback: Any, params: Sequence[click.Parameter], *, choosing: bool = False) -> click.Command:
    targets = [click.Argument(["targets"], nargs=-1, metavar="[TARGET]...")] if choosing else []
    return Helpful(name, callback=callback, params=[*targets, *params], help=callback.__doc__)


_ASKING = [click_option(each) for each in ASKED]

command = Several(
    "history",
    help="What was recorded: how many connections there were, and how they grow.",
    commands=[
        _command("show", _show, [*_ASKING, *options("utc")], choosing=True),
        _command("plot", _plot, [*_ASKING, *options("utc")], choosing=True),
        _command("prune", _prune, options()),
        _command("export", _export, [click_option(ALL_SINCE), *options()]),
        _command("path", _path, options()),
    ],
)

"""The auditing commands: made from their diagnostics, run through the three verbs."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from connaudit import __version__
from connaudit.audit import Plan, audit
from connaudit.cli import output
from connaudit.cli.flags import click_option, given, targets_argument
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Fleet, Invocation, Setup, muster, own_settings, set_up
from connaudit.cli.progress import progress
from connaudit.cli.settings import SETTINGS, Setting, Values
from connaudit.dataclass import dataclass
from connaudit.diagnostics import Diagnostic, diagnostic
from connaudit.engines import Budget, Taken
from connaudit.errors import ConnauditError, OutputError, UsageError
from connaudit.options import Sql
from connaudit.render import Run, Style, render
from connaudit.report import Failure, Outcome, Report, Status, worst
from connaudit.saved import Sample
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Target

if TYPE_CHECKING:
    from connaudit.cli.changes import Changes

ROWS_ON_A_TERMINAL = 20
PEOPLES_FORMATS = ("table", "wide")


def command(name: str) -> click.Command:
    """Return the command of a diagnostic."""
    asked = diagnostic(name)

    @click.pass_context
    def callback(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
        return run(Invocation(name, targets, given(context, flags), os.environ), [asked])

    return Helpful(name, params=parameters([asked]), callback=callback, help=help_text(asked))


def parameters(asked: Sequence[Diagnostic], *more: Setting) -> list[click.Parameter]:
    """Return what a command takes: targets, the options of its one diagnostic, further ones, those that all share."""
    settings = own_settings(asked[0]) if len(asked) == 1 else {}
    own = [click_option(setting, field) for field, setting in settings.items()]
    return [targets_argument(), *own, *(click_option(setting) for setting in (*more, *SETTINGS))]


def help_text(asked: Diagnostic) -> str:
    """Return a diagnostic's docstring with its metrics and default thresholds."""
    metrics = "\n".join(f"  {metric.name:<10} {metric.help}" for metric in asked.metrics)
    defaults = f"-w {' -w '.join(asked.warning)} -c {' -c '.join(asked.critical)}"
    return "\n\n\b\n".join(
        (
            asked.help.strip(),
            f"Metrics for -w and -c (the first is meant where none is named):\n{metrics}",
            f"Default thresholds: {defaults}",
        )
    )


@dataclass(frozen=True, slots=True)
class Audited:
    """What was told, and what is to be said of it."""

    fleet: Fleet
    outcomes: tuple[Outcome, ...]
    samples: Sequence[Sample]


Write = Callable[[str, str | None], None]  # a text, and the file that was named for it
Complete = Callable[[Setup, Fleet, tuple[Outcome, ...]], tuple[Outcome, ...]]


@dataclass(frozen=True, slots=True)
class Begun:
    """When a run was begun, by a clock for durations and by one for people."""

    at: float  # time.monotonic()
    moment: datetime

    @classmethod
    def now(cls) -> Self:
        """Return this instant."""
        return cls(time.monotonic(), datetime.now(UTC))

    @property
    def started_at(self) -> str:
        """Return it as RFC 3339."""
        return utc(self.moment)


def run(call: Invocation, asked: Sequence[Diagnostic], complete: Complete | None = None) -> int:
    """Audit, render, write; return the exit status. `complete` adds to the outcomes what no server tells."""
    begun = Begun.now()
    setup = set_up(call)
    settings = setup.settings
    if settings["fields"] == ("help",):
        return tell_fields(asked, settings)
    style = style_of(settings, call.environment)
    if settings["from"]:
        audited = replayed(setup, asked, begun.moment.date())
    else:
        audited = live(setup, informed(setup, muster(setup, asked, begun.moment.date()), begun), begun.at)
    if complete:
        audited = replace(audited, outcomes=complete(setup, audited.fleet, audited.outcomes))
    return conclude(setup, audited, begun, style)


def informed(setup: Setup, fleet: Fleet, begun: Begun) -> Fleet:
    """Return the fleet with what the history says of it, if any diagnostic wants to know."""
    if not any(hasattr(ask.options, "past") for plan in fleet.plans.values() for ask in plan.asks):
        return fleet
    from connaudit.cli.growth import with_growth

    return with_growth(setup, fleet, begun.moment.timestamp())


def illustrated(setup: Setup, outcomes: tuple[Outcome, ...], begun: Begun) -> tuple[Outcome, ...]:
    """Return the outcomes with plots of what went before, where the format can draw."""
    if setup.settings.format != "html" or setup.settings["from"]:
        return outcomes
    from connaudit.cli.growth import with_plots

    return with_plots(setup, outcomes, begun.moment.timestamp())


def conclude(setup: Setup, audited: Audited, begun: Begun, style: Style, write: Write = output.write) -> int:
    """Keep what was told, write what is to be said of it, and return the exit status."""
    settings, outcomes = setup.settings, illustrated(setup, audited.outcomes, begun)
    errors = [*audited.fleet.errors, *kept(setup, audited)]
    changes = changed(setup, outcomes, begun.moment)
    errors += changes.errors if changes else ()
    errors = list(dict.fromkeys(errors))  # a history that cannot be had is wanted for several things
    status = worst([exit_status(outcomes, settings), Status.UNKNOWN if errors else Status.OK])
    is_news = changes is None or changes.spoken or bool(errors)
    # A file that is asked for is written all the same: what it held yesterday is not true today.
    is_silent = settings["quiet"] and status is Status.OK and output.is_stream(settings["output"])
    if is_silent and changes and changes.recovered:  # whoever was told of trouble is told of its end, too
        write(output.scrubbed(changes.recovered, output.public_words(audited.fleet.targets)), settings["output"])
    if is_news and not is_silent:
        done = Run(
            command=setup.call.command,
            version=__version__,
            started_at=begun.started_at,
            duration_ms=round((time.monotonic() - begun.at) * 1000),
            status=worst(outcome.status for outcome in outcomes),
            exit_code=int(status),
            outcomes=outcomes,
            errors=tuple(errors),
        )
        text = output.scrubbed(render(settings.format, done, style), output.public_words(audited.fleet.targets))
        write(text, settings["output"])
        speak_of(done, audited.fleet, settings)
    if changes and (forgotten := changes.remember()):
        output.say(error_text(forgotten))
        return int(worst([status, Status.UNKNOWN]))
    return int(status)


def speak_of(done: Run, fleet: Fleet, settings: Values) -> None:
    """Say on stderr what the report cannot hold; a plugin's report holds it, and Icinga reads both streams as one."""
    if settings.format == "nagios":
        return
    public = output.public_words(fleet.targets)
    if not settings["quiet"]:
        for warning in fleet.warnings:
            output.say(f"warning: {warning}", public)
    speak(done.outcomes, public)
    for error in done.errors:
        output.say(error_text(error), public)


def live(setup: Setup, fleet: Fleet, began: float) -> Audited:
    """Ask all targets and judge what they tell; `began` is when the run's own clock started."""
    settings = setup.settings
    budget = Budget(settings["timeout"], began + settings.deadline, settings["jobs"])
    told: dict[int, Sample] = {}
    with progress(len(fleet.targets), wanted=not settings["quiet"]) as line:

        def hear(index: int, taken: Taken) -> Taken:
            target = fleet.targets[index]
            whole = with_processes(taken, fleet.plans[target.name], settings)
            told[index] = sample(target, whole, settings["sql"])
            if line:
                line(len(told))
            return whole

        found = audit(fleet.targets, lambda target: fleet.plans[target.name], budget, hear, besides(settings))
    outcomes = tuple(outcome for each in found for outcome in each)
    return Audited(fleet, outcomes, [told[index] for index in range(len(fleet.targets))])


def with_processes(taken: Taken, plan: Plan, settings: Values) -> Taken:
    """Return what a target told with its clients' processes, if they are asked for; that may take two seconds."""
    wanted = settings["process"] or any(ask.options.processes for ask in plan.asks)
    if not wanted or not isinstance(taken, Snapshot):
        return taken
    from connaudit.attribution import process

    return process.with_processes(taken)


def sample(target: Target, taken: Taken, sql: Sql) -> Sample:
    """Return what a target has just told, as it is kept."""
    if isinstance(taken, Snapshot):
        return Sample(target.name, target.engine, taken.address, taken.taken_at, taken, sql)
    return Sample(target.name, target.engine, target.location, utc(datetime.now(UTC)), taken, sql)


def besides(settings: Values) -> frozenset[Fact]:
    """Return the facts to read beyond those that are asked for now: what is saved may be asked anything later."""
    if settings["save"]:
        return frozenset(Fact) - {Fact.QUERIES} if settings["sql"] is Sql.NONE else frozenset(Fact)
    return frozenset({Fact.SESSIONS, Fact.STATES}) if settings["record"] else frozenset()


def replayed(setup: Setup, asked: Sequence[Diagnostic], today: date) -> Audited:
    """Judge samples of a file."""
    from connaudit.cli import saving

    if setup.settings["record"]:
        raise UsageError("--record stores what servers tell now: not what --from has read")
    samples = saving.read(setup)
    fleet = saving.fleet(setup, samples, asked, today)
    return Audited(fleet, saving.judge(fleet, samples), samples)


def kept(setup: Setup, audited: Audited) -> Iterator[ConnauditError]:
    """Keep what was told where that is asked for; yield why it could not be kept."""
    settings = setup.settings
    if settings["save"]:
        from connaudit.cli import saving

        try:
            saving.write(audited.samples, settings["save"], output.public_words(audited.fleet.targets))
        except OutputError as error:
            yield error
    if settings["record"]:
        from connaudit.cli.remembering import record

        try:
            record(setup, {sample.target: sample.taken for sample in audited.samples}, datetime.now(UTC))
        except ConnauditError as error:
            yield error


def changed(setup: Setup, outcomes: Sequence[Outcome], at: datetime) -> "Changes | None":
    """Return what there is to say beyond the last run; None where everything is to be said."""
    if not setup.settings["changes-only"] or setup.settings["from"]:
        return None
    from connaudit.cli.changes import Changes

    return Changes(setup, outcomes, at)


def utc(moment: datetime) -> str:
    """Return an instant as RFC 3339."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tell_fields(asked: Sequence[Diagnostic], settings: Values) -> int:
    """List the columns that --fields and --sort know; those of `check` are always all shown."""
    if len(asked) > 1:
        raise UsageError(
            "--fields: a list of checks has no columns to choose from", hint="connaudit count --fields help"
        )
    columns = [column.key for each in asked for column in (*each.columns, *each.brief)]
    output.write("".join(f"{key}\n" for key in dict.fromkeys(columns)), settings["output"])
    return int(Status.OK)


def style_of(settings: Values, environment: Mapping[str, str], stream: TextIO | None = None) -> Style:
    """Return for whom is written: a terminal's width and colours, or a pipe that wants neither.

    `stream` is where the report goes if no file is named; None: standard output.
    """
    stream = stream or sys.stdout
    to_file = settings["output"] not in (None, "-")
    terminal = None if to_file else output.terminal_width(environment, stream)
    people = settings.format in PEOPLES_FORMATS
    sort = settings["sort"]
    field, _, direction = (sort or "").partition(":")
    if direction not in ("", "asc", "desc"):
        raise UsageError(f"--sort: {direction!r} is neither asc nor desc")
    return Style(
        width=settings["width"] or (terminal if people else None),
        is_terminal=terminal is not None,
        color=people and wants_color(settings, environment, terminal is not None),
        unicode=not settings["ascii"] and output.carries_unicode(environment, stream),
        header=not settings["no-header"],
        utc=settings["utc"],
        fields=settings["fields"],
        sort=(field, direction == "desc") if sort else None,
        limit=settings["limit"] or (ROWS_ON_A_TERMINAL if terminal is not None and people else None),
        verbose=settings["verbose"],
    )


def wants_color(settings: Values, environment: Mapping[str, str], is_terminal: bool) -> bool:
    """Return whether to colour: --color, then NO_COLOR, then FORCE_COLOR, then what the terminal can do."""
    if settings["no-color"] or settings["color"] == "never" or settings["ascii"]:
        return False
    if settings["color"] == "always":
        return True
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR") or environment.get("CLICOLOR_FORCE"):
        return True
    return is_terminal and environment.get("TERM") not in (None, "", "dumb")


def exit_status(outcomes: Sequence[Outcome], settings: Values) -> Status:
    """Return the exit status: the gravest verdict, less what --fail-on and --exit-zero relax; UNKNOWN always shows."""
    relaxed = {Status.WARNING} if settings["fail-on"] is Status.CRITICAL else set()
    if settings["exit-zero"]:
        relaxed = {Status.WARNING, Status.CRITICAL}
    return worst(outcome.status for outcome in outcomes if outcome.status not in relaxed)


def speak(outcomes: Sequence[Outcome], public: set[str]) -> None:
    """Say on stderr, a line each, what could not be seen; a full server is a finding and stands in the report."""
    for line in dict.fromkeys(line for outcome in outcomes for line in _unseen(outcome)):  # the same to several checks
        output.say(line, public)


def _unseen(outcome: Outcome) -> Iterator[str]:
    if isinstance(outcome, Failure):
        if not outcome.is_full and outcome.status is not Status.OK:
            yield f"{outcome.source.target}: {failure_text(outcome)}"
    elif outcome.status is Status.UNKNOWN:
        yield from (f"{outcome.source.target}: {line}" for line in gap_lines(outcome))


def failure_text(failure: Failure) -> str:
    """Return why a target could not be audited, on one line: what, what to do, and the kind for scripts."""
    error = failure.error
    doing = "cannot connect: " if error.stage not in (None, "query") else ""
    return doing + error_text(error)


def error_text(error: ConnauditError) -> str:
    """Return an error on one line."""
    hint = f"; {error.hint}" if error.hint else ""
    return f"{error.message}{hint} [{error.kind}]"


def gap_lines(report: Report) -> list[str]:
    """Return what was not seen, with its cure."""
    whole = [gap for gap in report.gaps if not gap.partial]
    lines = [f"{gap.why}{f'; run: {gap.cure}' if gap.cure else ''} [privilege]" for gap in whole]
    return list(dict.fromkeys(lines))

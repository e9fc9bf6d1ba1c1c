"""`connaudit watch`: a question asked again and again over kept connections."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from connaudit import __version__, saved
from connaudit.cli import output, signals
from connaudit.cli.auditing import PEOPLES_FORMATS, error_text, exit_status, parameters, style_of, tell_fields
from connaudit.cli.flags import click_option, given
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Invocation, muster, set_up
from connaudit.cli.sampling import Pace
from connaudit.cli.screen import Keys, Screen
from connaudit.cli.settings import SETTINGS, Setting, Sources, Values, fail_on, patience, positive_duration, whole
from connaudit.cli.watching import Look, Watch
from connaudit.diagnostics import NAMES, Diagnostic, diagnostic
from connaudit.errors import HistoryError, UsageError
from connaudit.render import Run, render
from connaudit.report import Status, worst
from connaudit.units import format_duration

SHORTEST = 1.0  # seconds between two samples
PATIENCE = 5.0  # seconds that a history is waited for, sample by sample
FORMATS = ("table", "wide", "ndjson")
DEFAULT = "count"

HELP = """Ask CHECK (count, unless named) again and again, over one connection for each target that is kept.

On a terminal, a table that stays in its place: q or Ctrl-C leaves it, and is no error. Elsewhere one line of JSON for
each target and sample, as with -f ndjson, written when it is there; with -o FILE, lines are added to that file, which
may be renamed at any time. A target that is lost is UNKNOWN, and tried again: after a second, later every ten seconds.
The exit status is that of the last verdict.
"""


def interval(text: str) -> float:
    """Read how often to look."""
    seconds = patience(text)
    if seconds < SHORTEST:
        raise ValueError(f"no more than one sample in {format_duration(SHORTEST)}")
    return seconds


OWN = (
    Setting("interval", ("--interval",), "look so often, a second at least [default: 5s]", interval, "DUR", 5.0),
    Setting("for", ("--for",), "leave after so long", positive_duration, "DUR"),
    Setting("count", ("--count",), "leave after so many samples", whole(1), "N"),
    Setting("until", ("--until",), "leave at the first verdict as bad as this", fail_on, "warning|critical"),
)


class Group(Helpful, click.Group):
    """The checks to choose from; a first word that is none of them is a TARGET."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the checks."""
        return [*NAMES, "check"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the watch of one check."""
        return _of(cmd_name) if cmd_name in self.list_commands(ctx) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the check that is named, or the one that is meant where none is."""
        if args[0] in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        return DEFAULT, _of(DEFAULT), args


def _of(name: str) -> click.Command:
    """Return the watch of one check, with the options of both."""
    asked = [diagnostic(each) for each in (NAMES if name == "check" else (name,))]

    @click.pass_context
    def callback(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
        return run(Invocation(name, targets, given(context, flags), os.environ), asked)

    return Helpful(name, params=parameters(asked, *OWN), callback=callback, help=f"Watch {name}.\n\n{HELP}")


@click.pass_context
def _group(context: click.Context, /, **flags: Any) -> int | None:
    """Remember the options before the check; ask the one that is meant where nothing is named."""
    words = {key.replace("_", "-"): value for key, value in flags.items() if value not in (None, (), False)}
    before = context.meta["connaudit.flags"] = {**context.meta.get("connaudit.flags", {}), **words}
    if context.invoked_subcommand is not None:
        return None
    return run(Invocation(DEFAULT, (), (before,), os.environ), [diagnostic(DEFAULT)])


def run(call: Invocation, asked: Sequence[Diagnostic]) -> int:
    """Watch, show, keep; return the exit status."""
    setup = set_up(call)
    if setup.settings["from"]:
        raise UsageError("--from: watch looks at servers; connaudit leaks --from judges a series that was saved")
    if setup.settings["changes-only"] and setup.settings.is_given("changes-only"):
        raise UsageError("--changes-only: watch tells every sample", hint="connaudit check --changes-only, by cron")
    if setup.settings["fields"] == ("help",):
        return tell_fields(asked, setup.settings)
    setup = replace(setup, settings=setup.settings.replaced(json=False, format=format_of(setup.settings)))
    pace = pace_of(call)
    watch = Watch(setup, muster(setup, asked, datetime.now(UTC).date()))
    show = Picture(watch, pace) if on_terminal(setup.settings) else Lines(watch)
    if not setup.settings["quiet"]:
        for warning in watch.fleet.warnings:
            output.say(f"warning: {warning}", show.public)
    try:
        with Keys(is_read=isinstance(show, Picture)) as keys:
            if not watch.run(pace, keys, show):
                return int(Status.OK)
    except signals.Interrupted as interrupted:
        if isinstance(show, Picture) and interrupted.number == signal.SIGINT:
            return int(Status.OK)
        raise
    return int(worst([exit_status(watch.outcomes, setup.settings), Status.UNKNOWN if show.lost else Status.OK]))


def pace_of(call: Invocation) -> Pace:
    """Return how often to look, and until when."""
    sources = Sources("watch", call.given, call.environment)
    values = {setting.name: sources.effective(setting).value for setting in OWN}
    return Pace(values["interval"], values["for"], values["count"], values["until"])


def on_terminal(settings: Values) -> bool:
    """Return whether a picture is to be drawn: for people, on a terminal."""
    return settings.format in PEOPLES_FORMATS and _shows(settings)


def _shows(settings: Values) -> bool:
    return settings["output"] in (None, "-") and sys.stdout is not None and sys.stdout.isatty()


def format_of(settings: Values) -> str:
    """Return the format: as asked for, else a table on a terminal and lines of JSON elsewhere."""
    usual = "table" if _shows(settings) else "ndjson"
    if not settings["json"] and settings.origin("format") == "default":
        return usual
    chosen = "ndjson" if settings.format == "json" else settings.format
    if chosen not in FORMATS:
        if not settings.is_given("format"):  # a format for audits, set for all of them
            return usual
        raise UsageError(f"--format: watch writes {', '.join(FORMATS)}, and not {chosen}")
    return chosen


class Lines:
    """Writes each look when it is there, to standard output or behind what a file holds."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._settings = watch.setup.settings
        self._style = style_of(self._settings, watch.setup.call.environment)
        self.public = output.public_words(watch.fleet.targets)
        self.lost = False  # whether any look could not be stored
        self._told = ""  # what was last said of the history

    def __call__(self, looks: Sequence[Look]) -> None:
        """Write looks, and keep them where that is asked for."""
        for look in looks:
            self._keep(look)
            if not (self._settings["quiet"] and look.status is Status.OK):
                self._write(self.rendered([look]) + ("\n" if self._settings.format in PEOPLES_FORMATS else ""))

    def _keep(self, look: Look) -> None:
        path = self._settings["save"]
        if path:
            output.append(output.scrubbed(saved.to_text([look.sample]), self.public), path, private=True)
        if self._settings["record"]:
            self._record(look)

    def _record(self, look: Look) -> None:
        """Store a look; a history that fails ends no watch, and is told of when its failure is a new one."""
        from connaudit.cli.remembering import history

        try:
            with history(self._watch.setup, seconds=PATIENCE) as store:
                store.record({look.sample.target: look.sample.taken}, look.begun.moment.timestamp())
        except HistoryError as error:
            if error_text(error) != self._told:
                output.say(error_text(error), self.public)
            self._told, self.lost = error_text(error), True
        else:
            self._told = ""

    def _write(self, text: str) -> None:
        if self._settings["output"] in (None, "-"):
            output.stream(text)
        else:
            output.append(text, self._settings["output"])

    def rendered(self, looks: Sequence[Look]) -> str:
        """Return looks as one run in the chosen format."""
        outcomes = tuple(outcome for look in looks for outcome in look.outcomes)
        first = looks[0].begun
        run = Run(
            command=self._watch.setup.call.command,
            version=__version__,
            started_at=first.started_at,
            duration_ms=round(max(look.seconds for look in looks) * 1000),
            status=worst(outcome.status for outcome in outcomes),
            exit_code=int(exit_status(outcomes, self._settings)),
            outcomes=outcomes,
        )
        return output.scrubbed(render(self._settings.format, run, self._style), self.public)


class Picture(Lines):
    """Draws the last look at every target over what was drawn before."""

    def __init__(self, watch: Watch, pace: Pace) -> None:
        super().__init__(watch)
        environment = watch.setup.call.environment
        self._screen = Screen(moves=environment.get("TERM") not in (None, "", "dumb"))
        self._pace = pace

    def __call__(self, looks: Sequence[Look]) -> None:
        """Draw all that is known by now."""
        for look in looks:
            self._keep(look)
        self._style = style_of(self._settings, self._watch.setup.call.environment)
        every = [look for _, look in sorted(self._watch.last.items())]
        now = datetime.now(UTC) if self._settings["utc"] else datetime.now(UTC).astimezone()
        footer = f"{now:%H:%M:%S}, every {format_duration(self._pace.interval)}; q leaves"
        self._screen.draw(f"{self.rendered(every)}\n{footer}")


command = Group(
    "watch",
    params=[click_option(setting) for setting in (*OWN, *SETTINGS)],
    callback=_group,
    help=HELP,
    invoke_without_command=True,
    subcommand_metavar="[CHECK] [TARGET]...",
)

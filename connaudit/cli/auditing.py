"""The auditing commands: made from their diagnostics, run through the three verbs."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from connaudit import __version__
from connaudit.audit import Ask, Policy, audit
from connaudit.cli import output
from connaudit.cli.settings import SETTINGS, Given, Setting, Values, values
from connaudit.diagnostics import Diagnostic, diagnostic
from connaudit.engines import Budget
from connaudit.errors import ConnauditError, UsageError
from connaudit.options import Filter, Options, declared
from connaudit.render import FORMATS, Run, Style, render
from connaudit.report import Failure, Outcome, Report, Status, worst
from connaudit.targets import Target
from connaudit.targets.resolve import resolve
from connaudit.thresholds import check_order, parse_condition

ROWS_ON_A_TERMINAL = 20
PEOPLES_FORMATS = ("table", "wide")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command as it was called."""

    command: str
    targets: tuple[str, ...]
    given: Given
    own: Mapping[str, str | bool | None]  # the diagnostic's own options, by field
    environment: Mapping[str, str]


def own_settings(asked: Diagnostic) -> dict[str, Setting]:
    """Return a diagnostic's own options as settings, by field."""
    return {
        field: Setting(
            field.replace("_", "-"),
            (option.flag,),
            option.help,
            option.read or str,
            option.metavar,
            switch=option.read is None,
        )
        for field, option in declared(asked.options).items()
    }


def command(name: str) -> click.Command:
    """Return the command of a diagnostic."""
    asked = diagnostic(name)
    own = own_settings(asked)

    @click.pass_context
    def callback(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
        given = {key.replace("_", "-"): value for key, value in flags.items()}
        before = context.find_root().meta.get("connaudit.flags", {})
        mine = {field: flags.get(field) for field in own}
        return run(Invocation(name, targets, (given, before), mine, os.environ), [asked])

    parameters: list[click.Parameter] = [click.Argument(["targets"], nargs=-1, metavar="[TARGET]...")]
    parameters += [click_option(setting, field) for field, setting in own.items()]
    parameters += [click_option(setting) for setting in SETTINGS]
    return click.Command(name, params=parameters, callback=callback, help=help_text(asked))


def click_option(setting: Setting, field: str | None = None) -> click.Option:
    """Return a setting as click knows it; values stay text, `None` where the flag was not given."""
    from connaudit.cli.settings import HELP

    return click.Option(
        [*setting.flags, field or setting.name.replace("-", "_")],
        help=setting.help + HELP.get(setting.name, ""),
        metavar=setting.metavar or None,
        is_flag=setting.switch,
        multiple=setting.multiple,
        default=None,
    )


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


def run(call: Invocation, asked: Sequence[Diagnostic]) -> int:
    """Audit, render, write; return the exit status."""
    began, started_at = time.monotonic(), datetime.now(UTC)
    settings = values(call.command, call.given, call.environment)
    if settings.format not in FORMATS:
        raise UsageError(f"--format: there is no format {settings.format!r}; there are {', '.join(FORMATS)}")
    asks = [Ask(each, options_of(each, settings, call)) for each in asked]
    arguments = (*call.targets, *settings["target"])
    found = resolve(arguments, environment=call.environment, home=home(call.environment))
    budget = Budget(settings["timeout"], began + settings.deadline, settings["jobs"])
    policy = Policy(settings["on-unreachable"], settings["allow-partial"])
    outcomes = [each for some in audit(found.targets, lambda _: asks, budget, policy) for each in some]
    status = exit_status(outcomes, settings)
    done = Run(
        command=call.command,
        version=__version__,
        started_at=started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        duration_ms=round((time.monotonic() - began) * 1000),
        status=worst(outcome.status for outcome in outcomes),
        exit_code=int(status),
        outcomes=tuple(outcomes),
    )
    if settings["quiet"] and status is Status.OK:
        return int(status)
    style = style_of(settings, call.environment)
    public = output.public_words(found.targets)
    output.write(output.scrubbed(render(settings.format, done, style), public), settings["output"])
    if not settings["quiet"]:
        for warning in found.warnings:
            output.say(f"warning: {warning}", public)
    speak(outcomes, settings, found.targets)
    return int(status)


def home(environment: Mapping[str, str]) -> str:
    """Return the home directory; cron and systemd may set none."""
    return environment.get("HOME") or os.path.expanduser("~")


def options_of(asked: Diagnostic, settings: Values, call: Invocation) -> Options:
    """Return what a diagnostic is asked; UsageError for a threshold or option that makes no sense."""
    conditions = {level: _conditions(asked, settings[level], level) for level in ("warning", "critical")}
    try:
        check_order(conditions["warning"], conditions["critical"])
    except ValueError as error:
        raise UsageError(str(error)) from None
    own = {field: _own_value(setting, field, call) for field, setting in own_settings(asked).items()}
    return asked.options(
        **conditions,
        only=filter_of(settings),
        sql=settings["sql"],
        **{field: value for field, value in own.items() if value is not None},
    )


def _conditions(asked: Diagnostic, texts: Sequence[str], level: str) -> tuple[Any, ...]:
    try:
        return tuple(parse_condition(text, asked.metrics) for text in texts)
    except ValueError as error:
        raise UsageError(f"--{level}: {error}") from None


def _own_value(setting: Setting, field: str, call: Invocation) -> Any:
    """Return the value of a diagnostic's own option; None where it was not given."""
    raw = call.own.get(field)
    origin = setting.flags[0]
    if raw in (None, False):
        origin = setting.variable(call.command)
        raw = call.environment.get(origin) or None
    if raw is None or isinstance(raw, bool):
        return raw
    try:
        return raw.lower() in ("1", "true", "yes", "on") if setting.switch else setting.read(raw)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from None


def filter_of(settings: Values) -> Filter:
    """Return which sessions are looked at."""
    names = {"databases": "db", "users": "user", "applications": "app", "clients": "client", "states": "state"}
    wanted = {field: settings[name] for field, name in names.items()}
    unwanted = {f"not_{field}": settings[f"not-{name}"] for field, name in names.items()}
    return Filter(**wanted, **unwanted)


def style_of(settings: Values, environment: Mapping[str, str]) -> Style:
    """Return for whom is written: a terminal's width and colours, or a pipe that wants neither."""
    to_file = settings["output"] not in (None, "-")
    terminal = None if to_file else output.terminal_width(environment)
    people = settings.format in PEOPLES_FORMATS
    sort = settings["sort"]
    field, _, direction = (sort or "").partition(":")
    if direction not in ("", "asc", "desc"):
        raise UsageError(f"--sort: {direction!r} is neither asc nor desc")
    return Style(
        width=settings["width"] or (terminal if people else None),
        is_terminal=terminal is not None,
        color=people and wants_color(settings, environment, terminal is not None),
        unicode=not settings["ascii"] and output.carries_unicode(environment, sys.stdout),
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


def speak(outcomes: Sequence[Outcome], settings: Values, targets: Sequence[Target]) -> None:
    """Say on stderr, a line each, what could not be seen; a full server is a finding and stands in the report."""
    public = output.public_words(targets)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            if not outcome.is_full and outcome.status is not Status.OK:
                output.say(f"{outcome.source.target}: {failure_text(outcome)}", public)
        elif outcome.status is Status.UNKNOWN:
            for line in gap_lines(outcome):
                output.say(f"{outcome.source.target}: {line}", public)


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

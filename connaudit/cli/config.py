"""`connaudit config`: where the configuration lies, what holds, what is wrong with it, and a first one."""

import datetime as dt
import os
from typing import Any

import click

from connaudit.cli import output
from connaudit.cli.commands import Several
from connaudit.cli.flags import click_option
from connaudit.cli.helpful import Helpful
from connaudit.cli.listing import invocation, is_for_people, options, write
from connaudit.cli.planning import Invocation, Setup, configuration_file, set_up
from connaudit.cli.settings import SETTINGS, Sources, setting, values
from connaudit.configuration import SYSTEM, Configuration, places
from connaudit.diagnostics import NAMES
from connaudit.errors import ConfigError, OutputError, UsageError
from connaudit.report import Status, Table


@click.pass_context
def _path(context: click.Context, /, **flags: Any) -> int:
    """Say which configuration file is read: the first of --config, CONNAUDIT_CONFIG, the user's, the system's."""
    call = invocation("config-path", context, flags)
    path = configuration_file(call)
    if path is None:
        searched = " nor ".join(places(call.environment, call.home))
        raise ConfigError(
            f"no configuration file is read: there is neither {searched}", hint="write one with: connaudit config init"
        )
    output.write(f"{path}\n", None)
    return int(Status.OK)


@click.pass_context
def _show(context: click.Context, /, command: str | None, **flags: Any) -> int:
    """Show every value that holds, and where it was set: by a flag, a variable, the file, or nowhere (default).

    With COMMAND, as that command sees them, whose own variables count more: CONNAUDIT_COUNT_TIMEOUT. Passwords are
    never shown, only where they come from.
    """
    from connaudit.cli.effective import COLUMNS, everything

    if command not in (None, "check", *NAMES):
        raise UsageError(f"no auditing command is called {command!r}", hint=f"there are check, {', '.join(NAMES)}")
    setup = set_up(invocation("config-show", context, flags))
    rows = tuple(everything(setup, command))
    return write(Table("values", COLUMNS, rows, len(rows)), setup, targets=_targets(setup))


def _targets(setup: Setup) -> list[Any]:
    return [own.target for own in setup.configuration.targets.values()]


@click.pass_context
def _check(context: click.Context, /, **flags: Any) -> int:
    """Say everything that is wrong with the configuration, of every target and every check.

    Passwords are fetched, so that a command that fails or a file that cannot be read is known before an audit needs it.
    Exit 0: nothing; 1: something to look at, such as an expired suppression; 3: an audit would refuse or miss a target.
    """
    from connaudit.cli.verifying import COLUMNS, Severity, verify

    call = invocation("config-check", context, flags)
    verified = verify(call, dt.datetime.now(dt.UTC).date())
    setup = Setup(call, Configuration(), values(Sources(call.command, call.given, call.environment)))
    if not verified.problems and (setup.settings["quiet"] or is_for_people(setup)):
        if not setup.settings["quiet"]:
            output.write(f"OK  {verified.summary}\n", setup.settings["output"])
        return int(Status.OK)
    errors = any(each.severity is Severity.ERROR for each in verified.problems)
    status = Status.UNKNOWN if errors else Status.WARNING if verified.problems else Status.OK
    rows = tuple((each.severity.value, each.message, each.hint) for each in verified.problems)
    return write(Table("problems", COLUMNS, rows, len(rows)), setup, status)


@click.pass_context
def _init(context: click.Context, /, **flags: Any) -> int:
    """Write a first configuration file, everything in it commented out, for nobody else to read.

    It goes to the user's place, or where --config says. A file that is there is never touched.
    """
    from connaudit.cli.template import template

    call = invocation("config-init", context, flags)
    path = _new_place(call)
    if os.path.lexists(path):
        raise OutputError(f"{path} exists and is left as it is", hint="see it by: connaudit config show")
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(template())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    output.write(f"{path}\n", None)
    return int(Status.OK)


def _new_place(call: Invocation) -> str:
    """Return where a new file is to lie: where the user says, else the user's place."""
    named = Sources(call.command, call.given, call.environment).effective(setting("config")).value
    return str(named) if named and named != "none" else places(call.environment, call.home)[0]


def _command(name: str, callback: Any, *params: click.Parameter) -> click.Command:
    return Helpful(name, callback=callback, params=list(params), help=callback.__doc__)


_FILE = click_option(setting("config"))
command = Several(
    "config",
    help=f"Where the configuration lies, what holds, and what is wrong with it. The system's place is {SYSTEM}.",
    commands=[
        _command("path", _path, _FILE),
        _command("show", _show, click.Argument(["command"], required=False), *map(click_option, SETTINGS)),
        _command("check", _check, *options("quiet")),
        _command("init", _init, _FILE),
    ],
)

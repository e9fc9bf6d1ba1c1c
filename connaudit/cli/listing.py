"""Commands that list rather than audit: which options they take, and how their tables leave the process."""

import os
from collections.abc import Sequence
from typing import Any

import click

from connaudit import __version__
from connaudit.cli import output
from connaudit.cli.auditing import style_of
from connaudit.cli.flags import click_option, given
from connaudit.cli.planning import Invocation, Setup
from connaudit.cli.settings import setting
from connaudit.render.listing import FORMATS, Listing, render_listing
from connaudit.report import Status, Table
from connaudit.targets import Target

SHARED = (
    *("config", "format", "json", "output", "fields", "sort", "limit", "width", "ascii", "color", "no-color"),
    *("no-header", "debug"),
)
CHOOSING = ("target", "tag", "all")


def options(*names: str) -> list[click.Parameter]:
    """Return the shared options of a list, and those of these names."""
    return [click_option(setting(name)) for name in (*names, *SHARED)]


def invocation(command: str, context: click.Context, flags: dict[str, Any], targets: Sequence[str] = ()) -> Invocation:
    """Return how a list was asked for."""
    return Invocation(command, tuple(targets), given(context, flags), os.environ)


def write(table: Table, setup: Setup, status: Status = Status.OK, targets: Sequence[Target] = ()) -> int:
    """Write a list in the format asked for and return the exit status."""
    settings = setup.settings
    style = style_of(settings, setup.call.environment)
    name = settings.format
    if name not in FORMATS and not settings.is_given("format"):
        name = "table"  # a format for audits, set for all of them
    if settings["fields"] == ("help",):
        text = "".join(f"{column.key}\n" for column in table.columns)
    else:
        text = render_listing(name, Listing(setup.call.command, __version__, status, table), style)
    output.write(output.scrubbed(text, output.public_words(targets)), settings["output"])
    return int(status)


def is_for_people(setup: Setup) -> bool:
    """Return whether the list is read by people rather than by programs."""
    return setup.settings.format not in ("json", "ndjson", "csv")

"""`connaudit schema`: the JSON Schema of what a command writes with --json."""

import json
from collections.abc import Mapping

import click

from connaudit.cli import output
from connaudit.cli.helpful import Helpful
from connaudit.diagnostics import NAMES, diagnostic
from connaudit.errors import UsageError
from connaudit.render.schema import Part, Schema, of_audit, of_export, of_listing
from connaudit.report import Column

HELP = """The JSON Schema of what COMMAND writes with --json, or a line of it with -f ndjson.

Without COMMAND, the names of all of them. A document says itself which schema it follows: connaudit.count/1. Keys are
only ever added within a version.
"""
APART = {
    "around": "around",
    "doctor": "doctor",
    "inspect": "inspect",
    "targets-test": "reach",
}  # commands of diagnostics that `check` does not ask


EXPORT = "history-export"  # lines alone


def listings() -> Mapping[str, tuple[Column, ...]]:
    """Return the columns of the commands that list, by name."""
    from connaudit.cli import effective, history, targets, verifying

    return {
        "config-show": effective.COLUMNS,
        "config-check": verifying.COLUMNS,
        "targets-list": targets.COLUMNS,
        "targets-show": targets.FIELDS,
        "history-show": history.COLUMNS,
        "history-plot": history.COLUMNS,
    }


def names() -> tuple[str, ...]:
    """Return the commands whose JSON has a schema."""
    return (*NAMES, "check", *APART, *listings(), EXPORT)


def schema(command: str, form: str) -> Schema:
    """Return the schema of a command's JSON or of a line of its NDJSON; UsageError if it writes none."""
    first, _, rest = command.partition("-")
    if first == "watch":  # writes what it watches, a line for each look
        return schema(rest or "count", "ndjson")
    if command == EXPORT:
        return of_export()
    if command in listings():
        return of_listing(command, listings()[command], form)
    if command == "check":
        return of_audit(command, [_part(name) for name in NAMES], form)
    if command in names():
        return of_audit(command, [_part(APART.get(command, command))], form)
    raise UsageError(f"no command {command!r} writes JSON", hint=f"there are {', '.join(names())}")


def _part(name: str) -> Part:
    asked = diagnostic(name)
    return Part(name, asked.columns, asked.summary, asked.overviews)


def _schema(words: tuple[str, ...], form: str) -> int:
    told = "\n".join(names()) if not words else json.dumps(schema("-".join(words), form), indent=2)
    output.write(told + "\n", None)
    return 0


command = Helpful(
    "schema",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[COMMAND]"),
        click.Option(["-f", "--format", "form"], type=click.Choice(["json", "ndjson"]), default="json"),
    ],
    callback=_schema,
    help=HELP,
)

"""`connaudit check`: every question at once, one verdict per target and check; the command for cron and monitoring."""

import os
from typing import Any

import click

from connaudit.cli.auditing import run
from connaudit.cli.flags import click_option, given, targets_argument
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Invocation
from connaudit.cli.settings import SETTINGS, Setting, Sources, words
from connaudit.diagnostics import NAMES, diagnostic
from connaudit.errors import UsageError

HELP = """All checks on all chosen targets, from one snapshot each: one verdict per target and check.

Checks that are well are left out of the table unless all are, or -v is given. Thresholds name their check first, as in
-w idle-tx.age=5m; they are better kept in the configuration file.
"""


def read_checks(text: str) -> tuple[str, ...]:
    """Read a list of checks; ValueError for a name that is none."""
    for name in words(text):
        if name not in NAMES:
            raise ValueError(f"there is no check {name!r}; there are {', '.join(NAMES)}")
    return words(text)


ONLY = Setting("only", ("--only",), "run these checks alone", read_checks, "LIST", ())
SKIP = Setting("skip", ("--skip",), "run all but these", read_checks, "LIST", ())


@click.pass_context
def _check(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    call = Invocation("check", targets, given(context, flags), os.environ)
    return run(call, [diagnostic(name) for name in chosen_names(call)])


def chosen_names(call: Invocation) -> list[str]:
    """Return the checks to run, in their order; UsageError for a name that is none, and if none is left."""
    sources = Sources("check", call.given, call.environment)
    wanted, unwanted = (sources.effective(each).value for each in (ONLY, SKIP))
    chosen = [name for name in NAMES if (not wanted or name in wanted) and name not in unwanted]
    if not chosen:
        raise UsageError("--only and --skip leave no check to run")
    return chosen


command = Helpful(
    "check",
    params=[targets_argument(), *(click_option(setting) for setting in (ONLY, SKIP, *SETTINGS))],
    callback=_check,
    help=HELP,
)

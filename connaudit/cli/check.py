"""`connaudit check`: every question at once, one verdict per target and check; the command for cron and monitoring."""

import os
from typing import Any

import click

from connaudit.cli.auditing import run
from connaudit.cli.flags import click_option, given, targets_argument
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Invocation
from connaudit.cli.settings import SETTINGS
from connaudit.diagnostics import NAMES, diagnostic
from connaudit.errors import UsageError

HELP = """All checks on all chosen targets, from one snapshot each: one verdict per target and check.

Checks that are well are left out of the table unless all are, or -v is given. Thresholds name their check first, as in
-w idle-tx.age=5m; they are better kept in the configuration file.
"""


@click.pass_context
def _check(
    context: click.Context, /, targets: tuple[str, ...], only: str | None, skip: str | None, **flags: Any
) -> int:
    chosen = [diagnostic(name) for name in chosen_names(only, skip)]
    return run(Invocation("check", targets, given(context, flags), os.environ), chosen)


def chosen_names(only: str | None, skip: str | None) -> list[str]:
    """Return the checks to run, in their order; UsageError for a name that is none, and if none is left."""
    wanted, unwanted = _names(only, "--only"), _names(skip, "--skip")
    chosen = [name for name in NAMES if (not wanted or name in wanted) and name not in unwanted]
    if not chosen:
        raise UsageError("--only and --skip leave no check to run")
    return chosen


def _names(text: str | None, option: str) -> set[str]:
    names = {name.strip() for name in (text or "").split(",") if name.strip()}
    for name in names - set(NAMES):
        raise UsageError(f"{option}: there is no check {name!r}", hint=f"there are {', '.join(NAMES)}")
    return names


command = Helpful(
    "check",
    params=[
        targets_argument(),
        click.Option(["--only"], metavar="LIST", help="run these checks alone"),
        click.Option(["--skip"], metavar="LIST", help="run all but these"),
        *(click_option(setting) for setting in SETTINGS),
    ],
    callback=_check,
    help=HELP,
)

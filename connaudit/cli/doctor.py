"""`connaudit doctor`: what the server told of itself, and what only this machine knows of the audit."""

import os
from typing import Any

import click

from connaudit.cli.auditing import run
from connaudit.cli.flags import click_option, given, targets_argument
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Fleet, Invocation, Setup
from connaudit.cli.settings import SETTINGS
from connaudit.diagnostics import diagnostic
from connaudit.report import Outcome, Report, Status

NO_THRESHOLDS = ("warning", "critical")
FOR_SCRIPTS = ("json", "ndjson")


@click.pass_context
def _doctor(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    call = Invocation("doctor", targets, given(context, flags), os.environ)
    return run(call, [diagnostic("doctor")], with_local_points)


def with_local_points(setup: Setup, fleet: Fleet, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """Return the outcomes with what this machine knows of each target; a target out of reach gets a report, too."""
    if setup.settings["from"]:
        return outcomes
    from dataclasses import replace

    from connaudit.cli.surroundings import points
    from connaudit.diagnostics.doctor import with_points

    targets = {target.name: target for target in fleet.targets}
    completed: list[Outcome] = []
    for outcome in outcomes:
        target = targets[outcome.source.target]
        if isinstance(outcome, Report):
            completed.append(_told(with_points(outcome, points(target, setup)), setup))
        else:
            local = with_points(Report("doctor", outcome.source, Status.OK, ""), points(target, setup))
            status = local.status if outcome.status is Status.OK else outcome.status  # out of reach is what counts
            completed += [outcome, replace(local, status=status)]
    return tuple(completed)


def _told(report: Report, setup: Setup) -> Report:
    """Return a report whose gaps stand in it once: among its points; scripts get them as gaps, too."""
    from dataclasses import replace

    return report if setup.settings.format in FOR_SCRIPTS else replace(report, gaps=())


def _help() -> str:
    asked = diagnostic("doctor")
    return f"{asked.help.strip()}\n\nIt is not a part of `check`: what it finds changes seldom."


command = Helpful(
    "doctor",
    params=[
        targets_argument(),
        *(click_option(setting) for setting in SETTINGS if setting.name not in NO_THRESHOLDS),
    ],
    callback=_doctor,
    help=_help(),
)

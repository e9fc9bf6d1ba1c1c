"""`connaudit record`: one look at all targets, stored in the history."""

import os
from typing import Any

import click

from connaudit.audit import samples
from connaudit.cli import output
from connaudit.cli.auditing import Begun, error_text
from connaudit.cli.flags import click_option, given, targets_argument
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Fleet, Invocation, Setup, muster, set_up
from connaudit.cli.remembering import STORED, in_time
from connaudit.cli.settings import setting
from connaudit.engines import Budget, Taken
from connaudit.errors import TargetError
from connaudit.report import Status
from connaudit.units import plural

HELP = """Store in the history how many connections each target has, and who holds them: for cron, once a minute.

Nothing is said, but with -v. A target that is out of reach is stored as such. The exit status is 0; 3 if the history
cannot be written or no target answered.
"""
SHARED = ("target", "tag", "all", "config", "timeout", "deadline", "jobs", "quiet", "verbose", "debug")


@click.pass_context
def _record(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    begun = Begun.now()
    setup = set_up(Invocation("record", targets, given(context, flags), os.environ))
    fleet = muster(setup, [], begun.moment.date())
    with in_time(setup) as store:
        told = taken(setup, fleet, begun)
        store.record(told, begun.moment.timestamp())
        place = store.path
    return tell(setup, fleet, told, place)


def taken(setup: Setup, fleet: Fleet, begun: Begun) -> dict[str, Taken]:
    """Return what each target tells, or why it tells nothing."""
    settings = setup.settings
    budget = Budget(settings["timeout"], begun.at + settings.deadline, settings["jobs"])
    plans = [fleet.plans[target.name] for target in fleet.targets]
    return {fleet.targets[index].name: each for index, each in samples(fleet.targets, plans, budget, STORED)}


def tell(setup: Setup, fleet: Fleet, told: dict[str, Taken], place: str) -> int:
    """Say what is to be said, and return the exit status."""
    public = output.public_words(fleet.targets)
    if not setup.settings["quiet"]:
        for warning in fleet.warnings:
            output.say(f"warning: {warning}", public)
    failed = {name: each for name, each in told.items() if isinstance(each, TargetError)}
    nobody = len(failed) == len(told)
    if nobody or setup.settings["verbose"]:
        for target in fleet.targets:
            if target.name in failed:
                output.say(f"{target.name}: {error_text(failed[target.name])}", public)
    if setup.settings["verbose"]:
        answered = f"{len(told) - len(failed)} of {plural(len(told), 'target')}"
        output.write(output.scrubbed(f"{answered} answered; stored in {place}\n", public), None)
    return int(Status.UNKNOWN if nobody else Status.OK)


command = Helpful(
    "record",
    params=[targets_argument(), *(click_option(setting(name)) for name in SHARED)],
    callback=_record,
    help=HELP,
)

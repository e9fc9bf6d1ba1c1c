"""`connaudit leaks`: one look, a series of looks (--watch), or the looks around a command (--around)."""

import os
from typing import Any

import click

from connaudit.audit import judged
from connaudit.cli.auditing import Audited, Begun, conclude, help_text, informed, parameters, run, sample, style_of
from connaudit.cli.flags import given
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Fleet, Invocation, Setup, muster, set_up
from connaudit.cli.progress import progress
from connaudit.cli.sampling import Pace, Series, sampled
from connaudit.cli.screen import Keys
from connaudit.cli.settings import Setting, Sources, positive_duration
from connaudit.diagnostics import diagnostic
from connaudit.engines import Taken
from connaudit.errors import UsageError
from connaudit.saved import Sample

MOST_LOOKS = 60  # in a series, if a second lies between two of them; a longer series has no fewer
SLOWEST = 10.0  # seconds between two looks, however long the series is
AROUND = "connaudit.around"

WATCH = Setting(
    "watch", ("--watch",), "look again and again for so long, and judge all looks together", positive_duration, "DUR"
)
AROUND_HELP = "run COMMAND; say what it left behind"


class Command(Helpful):
    """A command whose words behind `--` are a command of their own, where --around is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take that command apart before anything else is read."""
        words = list(args)
        if "--around" in words and "--" in words:
            place = words.index("--")
            ctx.meta[AROUND] = tuple(words[place + 1 :])
            words = words[:place]
        return super().parse_args(ctx, words)


@click.pass_context
def _leaks(context: click.Context, /, targets: tuple[str, ...], around: bool, **flags: Any) -> int:
    options = given(context, flags)
    if around:
        command = context.meta.get(AROUND, ())
        if not command:
            raise UsageError("--around: no command", hint="connaudit leaks --around -- python manage.py test")
        from connaudit.cli.around import run_around

        return run_around(Invocation("around", targets, options, os.environ), command)
    call = Invocation("leaks", targets, options, os.environ)
    seconds = Sources("leaks", options, os.environ).effective(WATCH).value
    return run(call, [diagnostic("leaks")]) if seconds is None else watch(call, seconds)


def watch(call: Invocation, seconds: float) -> int:
    """Look for so long, judge all looks together, and return the exit status."""
    begun = Begun.now()
    setup = set_up(call)
    if setup.settings["from"]:
        raise UsageError("--watch looks at servers, --from at none: give one of them")
    style = style_of(setup.settings, call.environment)
    fleet = informed(setup, muster(setup, [diagnostic("leaks")], begun.moment.date()), begun)
    return conclude(setup, series(setup, fleet, pace_of(seconds)), begun, style)


def pace_of(seconds: float) -> Pace:
    """Return how often to look: connections that are collected as garbage live for seconds only."""
    interval = min(SLOWEST, max(1.0, seconds / MOST_LOOKS))
    return Pace(interval, count=int(seconds / interval) + 1)


def series(setup: Setup, fleet: Fleet, pace: Pace) -> Audited:
    """Look at all targets in turn, and judge each by all that it told."""
    every = [Series() for _ in fleet.targets]
    told: list[tuple[Taken, ...]] = [() for _ in fleet.targets]
    samples: list[Sample] = []
    wanted = not setup.settings["quiet"]
    with progress(pace.count or 0, wanted=wanted, of="looks") as line, Keys(is_read=False) as keys:
        for batch in sampled(setup, fleet, pace, keys):
            for each in batch:
                told[each.index] = tuple(every[each.index].add(each.taken))
                samples.append(sample(fleet.targets[each.index], each.taken, setup.settings["sql"]))
                if line and each.index == 0:
                    line()
    outcomes = (judged(target, told[index], fleet.plans[target.name]) for index, target in enumerate(fleet.targets))
    return Audited(fleet, tuple(outcome for each in outcomes for outcome in each), samples)


command = Command(
    "leaks",
    params=[
        *parameters([diagnostic("leaks")], WATCH),
        click.Option(["--around"], is_flag=True, help=AROUND_HELP),
    ],
    callback=_leaks,
    help=help_text(diagnostic("leaks")),
)

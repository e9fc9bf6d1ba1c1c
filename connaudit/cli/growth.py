"""What the history knows of targets: for the diagnostics that ask how they grow, and for formats that can draw."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from connaudit.audit import Ask, Plan
from connaudit.cli.planning import Fleet, Setup
from connaudit.cli.remembering import in_time
from connaudit.diagnostics import leaks
from connaudit.errors import ConnauditError, NoHistory
from connaudit.history.store import Store
from connaudit.report import Outcome, Plot, Report

SHARE = 0.25  # of a run's time, before any server is asked
DAYS = 7  # that plots go back
PLOTS = (  # metric, title, and whether the limit of the server is its limit
    ("used", "connections in use", True),
    ("idle_in_transaction", "idle in transaction", False),
)


def with_growth(setup: Setup, fleet: Fleet, at: float) -> Fleet:
    """Return the fleet with what its history says at that instant (seconds since 1970), or what is wrong with that.

    Where nothing was ever recorded there is nothing to say, and nothing wrong.
    """
    try:
        with in_time(setup, create=False, share=SHARE) as store:
            plans = {name: _grown(name, plan, store, at) for name, plan in fleet.plans.items()}
    except NoHistory:
        return fleet
    except ConnauditError as error:
        return replace(fleet, errors=(*fleet.errors, error))
    return replace(fleet, plans=plans)


def _grown(target: str, plan: Plan, store: Store, at: float) -> Plan:
    return replace(plan, asks=tuple(_told(target, ask, store, at) for ask in plan.asks))


def _told(target: str, ask: Ask, store: Store, at: float) -> Ask:
    if not isinstance(ask.options, leaks.Options):
        return ask
    return Ask(ask.diagnostic, replace(ask.options, past=store.past(target, at - ask.options.since)))


def with_plots(setup: Setup, outcomes: Sequence[Outcome], at: float) -> tuple[Outcome, ...]:
    """Return the outcomes with how the connections of their targets went, where the history tells."""
    try:
        with in_time(setup, create=False) as store:
            return tuple(_illustrated(outcomes, store, at))
    except ConnauditError:  # what is wrong with it is told by whoever needs it for a verdict
        return tuple(outcomes)


def _illustrated(outcomes: Sequence[Outcome], store: Store, at: float) -> Iterator[Outcome]:
    """Yield the outcomes; the first report on each target has the plots."""
    done = set()
    for outcome in outcomes:
        target = outcome.source.target
        if isinstance(outcome, Report) and target not in done:
            done.add(target)
            yield replace(outcome, plots=tuple(_plots(target, store, at)))
        else:
            yield outcome


def _plots(target: str, store: Store, at: float) -> Iterator[Plot]:
    begin = at - DAYS * 86400.0
    usable = store.series(target, "usable", begin, until=at)
    limit = usable[0].points[-1][1] if usable else None
    for metric, title, most in PLOTS:
        for series in store.series(target, metric, begin, until=at):
            yield Plot(f"{title}, the last {DAYS} days", begin, at, series.points, limit if most else None)

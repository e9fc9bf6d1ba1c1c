"""What the history knows of targets, for the diagnostics that ask how they grow."""

from dataclasses import replace

from connaudit.audit import Ask, Plan
from connaudit.cli.planning import Fleet, Setup
from connaudit.cli.remembering import history
from connaudit.diagnostics import leaks
from connaudit.errors import ConnauditError, NoHistory
from connaudit.history.store import Store


def with_growth(setup: Setup, fleet: Fleet, at: float) -> Fleet:
    """Return the fleet with what its history says at that instant (seconds since 1970), or what is wrong with that.

    Where nothing was ever recorded there is nothing to say, and nothing wrong.
    """
    try:
        with history(setup, create=False) as store:
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
    return Ask(ask.diagnostic, replace(ask.options, growth=store.growth(target, at - ask.options.since)))

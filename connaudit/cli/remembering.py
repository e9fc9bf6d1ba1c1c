"""The history of this call: where the configuration says, else where a user's or a service's state lies."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from connaudit.cli import output
from connaudit.cli.planning import Setup
from connaudit.engines import Taken
from connaudit.errors import ConfigError, HistoryError, NoHistory
from connaudit.history.store import Store, default_path
from connaudit.history.store import open as open_store
from connaudit.history.summing import Keep
from connaudit.snapshot import Fact
from connaudit.targets.parse import is_dsn, parse
from connaudit.units import parse_duration

STORED = frozenset({Fact.SESSIONS, Fact.STATES})  # what must be read to be stored
LEAST = 5.0  # seconds that a history is waited for, be there no time left
_KEPT = {"keep_raw": "raw", "keep_hourly": "hourly"}


def history(setup: Setup, *, create: bool = True, seconds: float | None = None) -> Store:
    """Open the history; HistoryError or UsageError says what is wrong with it, or with where it is to lie.

    Without `create` NoHistory says that nothing was ever recorded.
    """
    told = setup.configuration.history
    return open_store(place(setup), keep=kept(told), create=create, scrub=output.scrubbed, seconds=seconds)


@contextmanager
def in_time(setup: Setup, *, create: bool = True, share: float = 1.0) -> Iterator[Store]:
    """Open the history for an audit, which waits for it no longer than for a share of what its deadline leaves.

    What could not be had in one run is not tried again: the same HistoryError is raised at once.
    """
    if setup.trouble:
        raise setup.trouble[0]
    try:
        with history(setup, create=create, seconds=max(LEAST, share * setup.left)) as store:
            yield store
    except NoHistory:
        raise
    except HistoryError as error:
        setup.trouble.append(error)
        raise


def record(setup: Setup, taken: Mapping[str, Taken], at: datetime) -> None:
    """Store what each target told, or that it did not; HistoryError or UsageError says why it cannot be done."""
    with in_time(setup) as store:
        store.record(taken, at.timestamp())


def place(setup: Setup) -> str:
    """Return where the history is to lie: the path of a file, or a URL, which may hold a password."""
    told = setup.configuration.history
    if "url" in told:
        return told["url"]
    usual = default_path(setup.call.environment, setup.call.home, root=os.geteuid() == 0)
    return told.get("path", str(usual))


def public_place(place: str) -> str:
    """Return where a history lies as everybody may read it: without a password."""
    return f"postgresql://{parse(place, name='history').location}" if is_dsn(place) else place


def kept(told: Mapping[str, str]) -> Keep:
    """Return how long what is kept, as the configuration says."""
    try:
        return Keep(**{field: parse_duration(told[key]) for key, field in _KEPT.items() if key in told})
    except ValueError as error:
        raise ConfigError(f"[history] keep_raw, keep_hourly: {error}", hint="connaudit config check") from None

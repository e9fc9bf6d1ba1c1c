"""The history of this call: where the configuration says, else where a user's or a service's state lies."""

import os
from collections.abc import Mapping

from connaudit.cli import output
from connaudit.cli.planning import Setup
from connaudit.history.store import Store, default_path
from connaudit.history.store import open as open_store
from connaudit.history.summing import Keep
from connaudit.units import parse_duration

_KEPT = {"keep_raw": "raw", "keep_hourly": "hourly"}


def history(setup: Setup) -> Store:
    """Open the history; HistoryError or UsageError says what is wrong with it, or with where it is to lie."""
    told = setup.configuration.history
    usual = default_path(setup.call.environment, setup.call.home, root=os.geteuid() == 0)
    location = told.get("url") or (os.path.expanduser(told["path"]) if "path" in told else usual)
    return open_store(location, keep=kept(told), scrub=output.scrubbed)


def kept(told: Mapping[str, str]) -> Keep:
    """Return how long what is kept, as the configuration says."""
    return Keep(**{field: parse_duration(told[key]) for key, field in _KEPT.items() if key in told})

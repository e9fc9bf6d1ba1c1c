"""`--changes-only`: speak when a verdict has changed, and from time to time while it is bad, as Nagios does."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from connaudit.cli.planning import Setup
from connaudit.cli.remembering import in_time
from connaudit.dataclass import dataclass
from connaudit.errors import ConnauditError
from connaudit.history.store import Alert
from connaudit.report import Failure, Outcome, Status

Key = tuple[str, str]  # target and check
WELL = Status.OK.word


@dataclass(frozen=True, slots=True)
class News:
    """Whether there is anything to say, and what is to be remembered once it was said."""

    spoken: bool
    alerts: Mapping[Key, Alert]  # those that differ from what is remembered


def verdicts(outcomes: Sequence[Outcome]) -> dict[Key, str]:
    """Return every verdict; a target that could not be audited has one for each of its checks."""
    found: dict[Key, str] = {}
    for outcome in outcomes:
        for check in outcome.checks if isinstance(outcome, Failure) else (outcome.check,):
            found[outcome.source.target, check] = outcome.status.word
    return found


def news(remembered: Mapping[Key, Alert], now: Mapping[Key, str], at: float, repeat: float) -> News:
    """Compare verdicts with those of the last run; one that was never heard of is news unless it is well.

    `at` is seconds since 1970; `repeat` after how many a bad one is said again.
    """
    known = {key: remembered.get(key, Alert(WELL, at, 0.0)) for key in now}
    changed = {key for key, verdict in now.items() if verdict != known[key].verdict}
    due = {key for key, verdict in now.items() if verdict != WELL and at - known[key].spoken >= repeat}
    spoken = bool(changed or due)
    alerts = {
        key: Alert(verdict, at if key in changed else known[key].since, at if spoken else known[key].spoken)
        for key, verdict in now.items()
        if key in changed or (spoken and verdict != WELL)
    }
    return News(spoken, alerts)


class Changes:
    """What one run has to say beyond the last one. A memory that fails keeps nobody silent."""

    def __init__(self, setup: Setup, outcomes: Sequence[Outcome], at: datetime) -> None:
        self._setup = setup
        self._news = News(True, {})
        self.errors: tuple[ConnauditError, ...] = ()
        try:
            with in_time(setup) as store:
                remembered = store.alerts()
        except ConnauditError as error:
            self.errors = (error,)
        else:
            self._news = news(remembered, verdicts(outcomes), at.timestamp(), setup.settings["changes-only"])

    @property
    def spoken(self) -> bool:
        """Whether there is anything to say."""
        return self._news.spoken

    @property
    def recovered(self) -> str:
        """Return one line on what has become well since the last run; nothing if nothing has."""
        well = [f"{target} {check}" for (target, check), alert in self._news.alerts.items() if alert.verdict == WELL]
        return f"OK  recovered: {', '.join(well)}\n" if well else ""

    def remember(self) -> ConnauditError | None:
        """Keep what was said for the next run; return what kept us from it."""
        if not self._news.alerts:
            return None
        try:
            with in_time(self._setup) as store:
                store.remember(self._news.alerts)
        except ConnauditError as error:
            return error
        return None

"""What connaudit remembers of targets: who held how many connections when, and which verdicts were spoken.

A run is stored in one short transaction. Samples are kept as they are for some days, their hours in short for a year;
once an hour a run sums up and forgets. There are no statements and no secrets in it; names of applications, users and
clients are, so a file is for its owner alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connaudit.dataclass import dataclass
from connaudit.errors import TargetError
from connaudit.history import reading, trend
from connaudit.history import statements as sql
from connaudit.history.database import Database, Work
from connaudit.history.reading import BY, DAY, STATES, WHOLE, Known, Series, Window
from connaudit.history.recording import Scrub, add, sampled
from connaudit.history.summing import Keep, Pruned, is_due, maintain
from connaudit.history.trend import Growth, Level, Names, Past
from connaudit.snapshot import Snapshot
from connaudit.targets import Target
from connaudit.targets.parse import is_dsn, parse

FINE = 2 * DAY  # the longest window that is told sample by sample
FOREVER = 2**62
HOURLY = ("used", "free", "usable", *(metric for metric in STATES if metric != "oldest_idle"))

Taken = Snapshot | TargetError


@dataclass(frozen=True, slots=True)
class Alert:
    """What was last said of a target by a check; instants are seconds since 1970."""

    verdict: str
    since: float
    spoken: float


def default_path(environment: Mapping[str, str], home: str, *, root: bool) -> Path:
    """Return where a history lies if nobody says: $STATE_DIRECTORY of systemd, else where the user's state does.

    >>> str(default_path({}, "/srv/ann", root=False)), str(default_path({}, "/root", root=True))
    ('/srv/ann/.local/state/connaudit/history.db', '/var/lib/connaudit/history.db')
    """
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / "history.db"
    state = environment.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):  # the XDG specification ignores a relative one, too
        state = ""
    if root and not state:
        return Path("/var/lib/connaudit/history.db")
    return Path(state or Path(home) / ".local" / "state") / "connaudit" / "history.db"


def open(  # noqa: A001 - store.open(path)
    location: str | Path | Target,
    *,
    keep: Keep = Keep(),  # noqa: B008 - it cannot change
    create: bool = True,
    scrub: Scrub = str,
    seconds: float | None = None,
) -> "Store":
    """Open the history in a file, or in the database of a postgresql:// URL or target.

    With `create` a missing one is begun. `scrub` takes secrets out of every text that is stored. `seconds` is how long
    all that is done with it may take together; None: each thing as long as it needs, within reason. HistoryError says
    what is wrong with it, UsageError what with its URL.
    """
    if isinstance(location, str) and is_dsn(location):
        location = parse(location, name="history")
    if isinstance(location, Target):
        from connaudit.history.postgresql import Server

        return Store(Server(location, create=create, seconds=seconds), keep, scrub)
    from connaudit.history.sqlite import File

    return Store(File(Path(location), create=create, seconds=seconds), keep, scrub)


class Store:
    """An open history; as a context manager it closes itself."""

    def __init__(self, database: Database, keep: Keep, scrub: Scrub = str) -> None:
        self._database = database
        self._keep = keep
        self._scrub = scrub

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    @property
    def path(self) -> str:
        """Return where the history lies, without any secret."""
        return self._database.place

    def record(self, taken: Mapping[str, Taken], at: float) -> None:
        """Store what each target told at that instant, or that it did not; once an hour sum up and forget."""
        now = round(at * 1000)
        samples = [sampled(target, told, self._scrub) for target, told in taken.items()]

        def work(work: Work) -> bool:
            add(work, samples, now)
            return is_due(work, now)

        if self._database.write(work):
            self.prune(at)

    def prune(self, at: float) -> Pruned:
        """Sum up the hours that have ended, forget what is older than it is kept, and give the room back."""
        pruned = self._database.write(lambda work: maintain(work, round(at * 1000), self._keep))
        self._database.tidy()
        return pruned

    def targets(self) -> list[Known]:
        """Return every target that was ever recorded, by name."""
        return self._database.read(reading.known)

    def series(
        self, target: str, metric: str, since: float, *, by: Sequence[str] = (), until: float | None = None
    ) -> list[Series]:
        """Return how a metric went between two instants, the highest line first; nothing of an unknown target.

        A window of up to two days is told sample by sample, a longer one by the means of its hours. KeyError for a
        metric that there is not, or that is not told by these.
        """
        if metric not in (*WHOLE, *STATES) or (by and metric in WHOLE) or not set(by) <= set(BY):
            raise KeyError(f"{metric} by {', '.join(by)}" if by else metric)

        def work(work: Work) -> list[Series]:
            window = _window(work, since, until)
            hourly = window[1] - window[0] > FINE and metric in HOURLY
            return (reading.hourly_lines if hourly else reading.lines)(work, target, metric, by, window)

        return self._database.read(work)

    def floors(self, target: str, since: float, by: Sequence[str] = ()) -> dict[Names, list[Level]]:
        """Return the floor of each hour with samples: of all that was used, under `()`, or of each group."""
        return self._database.read(lambda work: reading.floors(work, target, by, _window(work, since, None)))

    def growth(self, target: str, since: float) -> Growth | None:
        """Return how a target grows; None where there is too little to say anything."""
        levels = self.floors(target, since).get((), [])
        return trend.growth(levels, next((one.usable for one in reversed(levels) if one.usable is not None), None))

    def growth_by(self, target: str, since: float, by: Sequence[str] = ("app", "user")) -> dict[Names, Growth]:
        """Return how each group of a target grows, the steepest first; who has too few hours is left out."""
        found = {names: trend.growth(levels, None) for names, levels in self.floors(target, since, by).items()}
        told = {names: one for names, one in found.items() if one is not None}
        return dict(sorted(told.items(), key=lambda item: -item[1].slope))

    def past(self, target: str, since: float) -> Past | None:
        """Return how a target and each of its groups grow; None if nothing of it was recorded."""
        if not self.floors(target, since):
            return None
        owners = self.growth_by(target, since)
        return Past(self.growth(target, since), owners, self.growth_by(target, since, ("app", "user", "db", "client")))

    def alerts(self) -> dict[tuple[str, str], Alert]:
        """Return what was last said, by target and check."""

        def work(work: Work) -> dict[tuple[str, str], Alert]:
            return {
                (target, check): Alert(verdict, since / 1000, spoken / 1000)
                for target, check, verdict, since, spoken in work.rows(sql.ALERTS)
            }

        return self._database.read(work)

    def remember(self, alerts: Mapping[tuple[str, str], Alert]) -> None:
        """Store what was said, in place of what was said before."""
        rows = [
            (self._scrub(target), check, alert.verdict, round(alert.since * 1000), round(alert.spoken * 1000))
            for (target, check), alert in sorted(alerts.items())
        ]
        self._database.write(lambda work: work.run_many(sql.REMEMBER_ALERT, rows))

    def export(self, since: float = 0.0) -> Iterator[dict[str, Any]]:
        """Yield everything from an instant on as records, target by target and day by day."""
        first, last = self._database.read(reading.extent)
        begin = max(first, round(since * 1000))
        for target in self.targets():
            for day in range(begin // DAY * DAY, last + 1, DAY):
                yield from self._day(target.name, (max(begin, day), day + DAY))

    def _day(self, target: str, window: Window) -> list[dict[str, Any]]:
        return self._database.read(lambda work: list(reading.records(work, target, window)))


def _window(work: Work, since: float, until: float | None) -> Window:
    """Return the window in milliseconds, no wider than what is known."""
    first, last = reading.extent(work)
    return max(first, round(since * 1000)), last + 1 if until is None else round(until * 1000)

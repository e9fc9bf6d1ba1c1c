"""What is rendered: one run of connaudit over its targets."""

from collections.abc import Iterator
from itertools import groupby

from connaudit.dataclass import dataclass
from connaudit.errors import ConnauditError
from connaudit.report import Failure, Outcome, Report, Source, Status, Story, worst


@dataclass(frozen=True, slots=True)
class Audited:
    """All that was found out about one target."""

    source: Source
    outcomes: tuple[Outcome, ...]

    @property
    def status(self) -> Status:
        """Return the gravest verdict on this target."""
        return worst(outcome.status for outcome in self.outcomes)

    @property
    def reports(self) -> tuple[Report, ...]:
        """Return what diagnostics say, in their order."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Report))

    @property
    def story(self) -> Story | None:
        """Return the one cause behind several verdicts."""
        return next((report.story for report in self.reports if report.story), None)

    @property
    def failure(self) -> Failure | None:
        """Return why it could not be audited."""
        return next((outcome for outcome in self.outcomes if isinstance(outcome, Failure)), None)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what was asked, when, the verdict, and the outcomes in the order of the targets.

    Outcomes of one target stand together: several reports (`check`), one report, or one failure.
    """

    command: str  # count, check: the schema is connaudit.COMMAND/1
    version: str
    started_at: str  # RFC 3339, UTC
    duration_ms: int
    status: Status
    exit_code: int  # may be milder than the status: --fail-on, --exit-zero
    outcomes: tuple[Outcome, ...] = ()
    errors: tuple[ConnauditError, ...] = ()  # what went wrong beside the targets: history, output

    @property
    def is_check(self) -> bool:
        """Whether targets are judged by a list of checks rather than by one diagnostic."""
        return self.command == "check"

    @property
    def targets(self) -> tuple[Audited, ...]:
        """Return the outcomes by target."""
        return tuple(self._by_target())

    def _by_target(self) -> Iterator[Audited]:
        for _, group in groupby(self.outcomes, key=lambda outcome: outcome.source.target):
            outcomes = tuple(group)
            yield Audited(outcomes[0].source, outcomes)

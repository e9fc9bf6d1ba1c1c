"""The life of each connection, as one look at a server shows it, or several.

A look tells when a connection was opened and since when it lies idle; a series of them tells as well which were used
again, which were opened meanwhile, and which went away. MySQL does not tell when a connection was opened: there it is
known only of those that appear within a series, and only to the look.
"""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.snapshot import Session, Snapshot, State
from connaudit.units import instant

CLOCK = 0.05  # seconds by which the same instant may differ between two looks: times are told in milliseconds
WHOLE_SECONDS = 1.5  # the same where an age is told in whole seconds: MySQL does of some sessions, and not of others
RESTARTED = 5.0  # seconds by which two reports of one server's start may differ: MySQL's is taken from its uptime


@dataclass(frozen=True, slots=True)
class Life:
    """One connection; instants are seconds of the server's clock since 1970. None: not told."""

    session: Session  # as it was seen last
    opened: float | None  # where the server does not tell, the last look at which it was not there yet
    appeared: bool  # opened after the first look
    gone: float | None  # the first look at which it was not there any more; None: it is there
    idle_since: float | None  # the beginning of the last time that it was seen idle
    first_idle: float | None  # the beginning of the first time
    longest_idle: float  # seconds
    used_again: int  # times that it was seen at work, or to have been, after it had been idle

    @property
    def used_for(self) -> float | None:
        """Return the seconds from its opening to its last use; None if it was not told or not idle."""
        if self.opened is None or self.idle_since is None or self.session.connection_age is None:
            return None
        return max(0.0, self.idle_since - self.opened)

    @property
    def process(self) -> str | None:
        """Return the client's process, where the client tells it: MySQL's drivers do."""
        return dict(self.session.attributes).get("_pid")

    def idle_time(self, end: float) -> float:
        """Return the seconds from its first idleness to its end, or to `end` if it is still there."""
        return 0.0 if self.first_idle is None else max(0.0, (self.gone or end) - self.first_idle)


def since_restart(snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """Return the snapshots after the last restart of the server: connections do not outlive one."""
    for place in range(len(snapshots) - 1, 0, -1):
        before, after = (snapshots[at].server.started_at for at in (place - 1, place))
        if before and after and abs(instant(after) - instant(before)) > RESTARTED:
            return snapshots[place:]
    return snapshots


def lives(snapshots: Sequence[Snapshot]) -> list[Life]:
    """Return the life of every client's connection but our own, in the order in which they were first seen."""
    tracks: dict[Any, _Track] = {}
    for number, snapshot in enumerate(snapshots):
        at = instant(snapshot.taken_at)
        before = instant(snapshots[number - 1].taken_at) if number else None
        for session in snapshot.clients:
            track = tracks.setdefault(_identity(session), _Track(session, before))
            track.see(session, number, at)
    looks = [instant(snapshot.taken_at) for snapshot in snapshots]
    return [track.life(looks) for track in tracks.values()]


def _identity(session: Session) -> tuple[int, str | None]:
    """Tell connections apart: PostgreSQL gives process ids again, MySQL numbers its connections."""
    return session.id, session.started_at


@dataclass(slots=True)
class _Track:
    """What is known so far of one connection while looks are gone through."""

    session: Session
    absent: float | None  # the look before the first at which it was there
    last: int = 0
    opened: float | None = None
    idles: list[float] = field(default_factory=list)
    longest: float = 0.0
    at_work: bool = False  # in the last look

    def see(self, session: Session, number: int, at: float) -> None:
        self.session, self.last = session, number
        if self.opened is None:
            told = session.connection_age
            self.opened = at - told if told is not None else self.absent
        self.at_work = session.state not in (State.IDLE, None)
        if session.state is State.IDLE and session.state_age is not None:
            since = at - session.state_age
            clock = WHOLE_SECONDS if session.state_age.is_integer() else CLOCK
            if not self.idles or since > self.idles[-1] + clock:
                self.idles.append(since)
            self.longest = max(self.longest, session.state_age)

    def life(self, looks: Sequence[float]) -> Life:
        appeared = self.absent is not None and self.opened is not None and self.opened >= looks[0] - CLOCK
        return Life(
            session=self.session,
            opened=self.opened,
            appeared=appeared,
            gone=looks[self.last + 1] if self.last + 1 < len(looks) else None,
            idle_since=self.idles[-1] if self.idles else None,
            first_idle=self.idles[0] if self.idles else None,
            longest_idle=self.longest,
            used_again=max(0, len(self.idles) - 1) + (1 if self.idles and self.at_work else 0),
        )

"""Samples of many targets again and again, each over one connection that is kept, whatever their engines.

What is out of reach is tried again after a pause that doubles, up to ten seconds: a server that has come to grief is
not helped by being called every second.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Self

from connaudit.dataclass import dataclass
from connaudit.engines import Budget, Follower, Taken, following
from connaudit.errors import TargetError
from connaudit.snapshot import Fact
from connaudit.targets import Target

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # seconds
TURN = 0.02  # seconds that one engine is waited for while another one is busy as well


@dataclass(frozen=True, slots=True)
class _Pause:
    """A target that is left in peace until an instant, and what it said when it was tried last."""

    error: TargetError
    seconds: float
    until: float


class Following:
    """The targets with their connections; as a context it closes them."""

    def __init__(self, targets: Sequence[Target], facts: frozenset[Fact]) -> None:
        members: dict[str, list[int]] = {}
        for index, target in enumerate(targets):
            members.setdefault(target.engine, []).append(index)
        self._followers: list[tuple[Follower, list[int]]] = [
            (following(name)([targets[index] for index in indexes], facts), indexes)
            for name, indexes in members.items()
        ]
        self._waiting: deque[tuple[int, Budget]] = deque()
        self._under_way: set[int] = set()
        self._in_peace: list[int] = []  # were to be asked, and are not
        self._pauses: dict[int, _Pause] = {}

    def begin(self, index: int, budget: Budget) -> None:
        """Begin a sample of the target at that place; one that is under way already stands for it."""
        if index in self._under_way or any(index == waiting for waiting, _ in self._waiting):
            return
        pause = self._pauses.get(index)
        if pause and time.monotonic() < pause.until:
            self._in_peace.append(index)
            return
        self._waiting.append((index, budget))
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._under_way) < (self._waiting[0][1].jobs or len(self._under_way) + 1):
            index, budget = self._waiting.popleft()
            self._under_way.add(index)
            follower, indexes = next(each for each in self._followers if index in each[1])
            follower.begin(indexes.index(index), budget)

    def ended(self, until: float) -> Iterator[tuple[int, Taken]]:
        """Wait for samples, until an instant of time.monotonic() at most, and yield those that ended, if any.

        A target that is left in peace has the same to say as when it was tried last.
        """
        ended: list[tuple[int, Taken]] = [(index, self._pauses[index].error) for index in self._in_peace]
        self._in_peace.clear()
        while not ended and self.is_busy and time.monotonic() < until:
            for index, taken in self._turn(until):
                self._note(index, taken)
                ended.append((index, taken))
        yield from ended

    def _turn(self, until: float) -> Iterator[tuple[int, Taken]]:
        busy = [each for each in self._followers if each[0].is_busy]
        for follower, indexes in busy:
            end = until if len(busy) == 1 else min(until, time.monotonic() + TURN)
            for place, taken in follower.ended(end):
                yield indexes[place], taken

    def _note(self, index: int, taken: Taken) -> None:
        self._under_way.discard(index)
        pause = self._pauses.pop(index, None)
        if isinstance(taken, TargetError):
            seconds = min(LONGEST_PAUSE, pause.seconds * 2) if pause else FIRST_PAUSE
            self._pauses[index] = _Pause(taken, seconds, time.monotonic() + seconds)
        self._begin_waiting()

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way, be it the end of a sample that was given up."""
        return bool(self._in_peace) or any(follower.is_busy for follower, _ in self._followers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for follower, _ in self._followers:
            follower.close()

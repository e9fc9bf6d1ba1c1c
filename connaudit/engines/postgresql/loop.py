"""One small loop that drives many conversations at once, in one thread, each under its own time limit.

A conversation is a generator that yields what it waits for and is resumed with True when that came, or with False
when its time was up. Names are looked up in daemon threads, because the C library's resolver cannot be interrupted;
a thread that hangs there neither delays the loop nor keeps the process alive at its end.
"""

import contextlib
import heapq
import itertools
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Self, TypeVar

from connaudit.dataclass import dataclass
from connaudit.errors import TargetError

T = TypeVar("T")
LOOKUPS = 64  # at once: enough that a few names that hang do not hold up the others
FAREWELL = 0.5  # seconds for cancel requests when a run is over or broken off


@dataclass(frozen=True, slots=True)
class Wait:
    """What a conversation waits for: a socket, or the addresses of a name; and until when (time.monotonic())."""

    until: float
    fd: int | None = None
    write: bool = False
    name: "Name | None" = None


Steps = Generator[Wait, bool, T]


class Name:
    """A host name that is being looked up; once `done`, `addresses` are its own, or `error` says why it has none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.done = False
        self.addresses: tuple[str, ...] = ()
        self.error: str | None = None

    def resolve(self, flags: int = 0) -> bool:
        """Ask the system; return whether there are addresses."""
        host = self.text.encode() if self.text.isascii() else self.text  # a str loads the tables of IDNA, 5 ms
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
        except socket.gaierror as error:
            self.error = error.strerror
        except UnicodeError:
            self.error = "not a valid host name"
        else:
            self.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        self.done = True
        return bool(self.addresses)


class Names:
    """The lookups of a run: each name once, in daemon threads that wake the loop."""

    def __init__(self) -> None:
        self.wakes, self._wake = socket.socketpair()
        self.wakes.setblocking(False)
        self._wake.setblocking(False)
        self._known: dict[str, Name] = {}
        self._todo: queue.SimpleQueue[Name] = queue.SimpleQueue()
        self._threads = 0

    def look_up(self, text: str) -> Name:
        """Return the name, done at once if it is a numeric address or was asked before."""
        if text not in self._known:
            name = self._known[text] = Name(text)
            if not name.resolve(socket.AI_NUMERICHOST):
                name.done, name.error = False, None
                self._todo.put(name)
                if self._threads < LOOKUPS:
                    self._threads += 1
                    threading.Thread(target=self._work, name="connaudit-dns", daemon=True).start()
        return self._known[text]

    def forget(self, text: str) -> None:
        """Have a name looked up anew when it is wanted again: its server may have moved."""
        if text in self._known and self._known[text].done:
            del self._known[text]

    def _work(self) -> None:
        while True:
            self._todo.get().resolve()
            try:
                self._wake.send(b"!")
            except BlockingIOError:
                pass  # it has enough to wake from
            except OSError:
                return  # the run is over

    def heard(self) -> None:
        """Empty the wake-up socket."""
        try:
            while self.wakes.recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Let the threads end with their present lookup."""
        self.wakes.close()
        self._wake.close()


class _Task:
    __slots__ = ("index", "steps", "turn", "wait")

    def __init__(self, index: int | None, steps: Steps[Any]) -> None:
        self.index = index
        self.steps = steps
        self.wait: Wait | None = None
        self.turn = 0  # counts the waits, so that a timer of an earlier one is known as such


class Loop:
    """Runs conversations, and is closed in the end; as a context it closes itself."""

    def __init__(self) -> None:
        self.names = Names()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.names.wakes, selectors.EVENT_READ)
        self._timers: list[tuple[float, int, int, _Task]] = []
        self._order = itertools.count()
        self._ready: deque[tuple[_Task, bool | None]] = deque()
        self._open: set[_Task] = set()
        self.wanted = 0  # conversations that are open and whose outcome is wanted

    def start(self, index: int, steps: Steps[Any]) -> None:
        """Begin a conversation whose outcome is wanted."""
        self.wanted += 1
        self._add(_Task(index, steps))

    def leave(self, steps: Steps[None]) -> None:
        """Begin one that is only to be ended well, such as a cancel request."""
        self._add(_Task(None, steps))

    def _add(self, task: _Task) -> None:
        self._open.add(task)
        self._ready.append((task, None))

    @property
    def is_busy(self) -> bool:
        """Return whether anything is open, farewells too."""
        return bool(self._open)

    def turn(self, until: float | None = None) -> Iterator[tuple[int, Any]]:
        """Wait until something happens and yield what ended: (index, outcome or TargetError)."""
        if not self._ready:
            self._collect(until)
        while self._ready:
            task, came = self._ready.popleft()
            if task in self._open:
                yield from self._resume(task, came)

    def _resume(self, task: _Task, came: bool | None) -> Iterator[tuple[int, Any]]:
        try:
            wait = next(task.steps) if came is None else task.steps.send(came)
        except StopIteration as end:
            outcome = end.value
        except TargetError as error:
            outcome = error.with_traceback(None)
        else:
            self._watch(task, wait)
            return
        self._open.discard(task)
        if task.index is not None:
            self.wanted -= 1
            yield task.index, outcome

    def _watch(self, task: _Task, wait: Wait) -> None:
        task.wait = wait
        task.turn += 1
        heapq.heappush(self._timers, (wait.until, next(self._order), task.turn, task))
        if wait.fd is not None:
            self._selector.register(wait.fd, selectors.EVENT_WRITE if wait.write else selectors.EVENT_READ, task)

    def _forget(self, task: _Task) -> None:
        """Stop watching. libpq may close a socket and open another under the same number: never keep one registered."""
        if task.wait is not None and task.wait.fd is not None:
            with contextlib.suppress(KeyError):  # a signal came between the wait and its registration
                self._selector.unregister(task.wait.fd)
        task.wait = None

    def _collect(self, until: float | None) -> None:
        for key, _ in self._selector.select(self._pause(until)):
            if key.data is None:
                self._named()
            else:
                self._came(key.data, True)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, turn, task = heapq.heappop(self._timers)
            if task.wait is not None and task.turn == turn:
                self._came(task, False)

    def _pause(self, until: float | None) -> float | None:
        while self._timers and (self._timers[0][3].wait is None or self._timers[0][2] != self._timers[0][3].turn):
            heapq.heappop(self._timers)
        ends = [self._timers[0][0]] if self._timers else []
        ends += [until] if until is not None else []
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _named(self) -> None:
        self.names.heard()
        for task in self._open:
            if task.wait is not None and task.wait.name is not None and task.wait.name.done:
                self._came(task, True)

    def _came(self, task: _Task, came: bool) -> None:
        self._forget(task)
        self._ready.append((task, came))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the conversations that are open, with half a second for their farewells."""
        try:
            self._farewell()
        finally:
            for task in self._open:
                task.steps.close()
            self._selector.close()
            self.names.close()

    def _farewell(self) -> None:
        self._ready = deque((task, came) for task, came in self._ready if task.index is None)
        for task in [task for task in self._open if task.index is not None]:
            self._open.discard(task)
            self._forget(task)
            task.steps.close()  # its farewell, if it needs one, comes in by leave()
        until = time.monotonic() + FAREWELL
        while self._open and time.monotonic() < until:
            for _ in self.turn(until):
                pass

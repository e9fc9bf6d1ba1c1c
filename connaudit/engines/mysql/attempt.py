"""One attempt at one target: how far it came, how long it may still take, and how to end it from another thread.

No timeout of PyMySQL bounds a connection: connect_timeout covers the TCP handshake alone, and read_timeout starts anew
with every byte of a server that drips. So the clock is kept outside: `abort` shuts the socket under the driver.
"""

import contextlib
import socket
import threading
import time

from connaudit.errors import TimedOut


class Attempt:
    """The time that a target has, seen by two threads: the one that works and the one that watches."""

    def __init__(self, ends: float, stage: str = "dns") -> None:
        self.began = time.monotonic()
        self.ends = ends  # an instant of time.monotonic()
        self.stage = stage
        self._entered = self.began
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._aborted = False
        self._ended = False

    def enter(self, stage: str) -> None:
        """Note that a stage begins: dns, tcp, tls, login or query; one entered again goes on."""
        now = time.monotonic()
        self._seconds[self.stage] = self._seconds.get(self.stage, 0.0) + now - self._entered
        self.stage, self._entered = stage, now

    @property
    def stages(self) -> tuple[tuple[str, float], ...]:
        """Return the seconds that each stage took, the present one up to now."""
        self.enter(self.stage)
        return tuple(self._seconds.items())

    def remaining(self) -> float:
        """Return the seconds left; TimedOut if there are none."""
        left = self.ends - time.monotonic()
        if left <= 0 or self._aborted:
            raise self.timed_out()
        return left

    @property
    def over(self) -> bool:
        """Whether the time is up, or so nearly that a failing socket failed for that."""
        return self._aborted or time.monotonic() >= self.ends - 0.02

    def timed_out(self) -> TimedOut:
        """Return what to report when the time is up, with the stage that did not end."""
        stage = self.stage
        return TimedOut(f"timed out after {time.monotonic() - self.began:.1f}s during {stage}", stage=stage)

    def hold(self, sock: socket.socket) -> None:
        """Remember a socket for `abort`: a duplicate, since TLS takes the original away from under us."""
        with self._lock:
            if self._aborted:
                raise self.timed_out()
            self._release()
            self._handle = socket.fromfd(sock.fileno(), sock.family, sock.type)  # an SSLSocket knows no dup()

    def abort(self) -> bool:
        """End it from outside: whatever reads or writes on the socket returns at once; False: it has ended already."""
        with self._lock:
            self._aborted = True
            if self._handle:
                with contextlib.suppress(OSError):  # not connected, or ended by the other side
                    self._handle.shutdown(socket.SHUT_RDWR)
            self._release()
            return not self._ended

    def end(self) -> bool:
        """Let go of the socket, whose connection stays open; False: it was aborted, and does not."""
        with self._lock:
            self._ended = True
            self._release()
            return not self._aborted

    def _release(self) -> None:
        if self._handle:
            self._handle.close()
            self._handle = None

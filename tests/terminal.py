"""connaudit on a terminal that somebody sits before: what it shows so far, and what is typed."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from typing import Any, Self

from tests.cli import PATIENCE, PROGRAM, Environment, environment
from tests.servers import until


def _control() -> None:
    """Make standard input the terminal from which signals come, as a shell does."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A run on a pseudo-terminal; it is ended with the context."""

    def __init__(self, *words: str, columns: int = 120, rows: int = 40, env: Environment | None = None) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, rows)
        self.before: list[Any] = termios.tcgetattr(self._theirs)
        self._shown = bytearray()
        self.process = subprocess.Popen(
            [PROGRAM, *words],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=subprocess.PIPE,
            env=environment({"TERM": "xterm-256color", **(env or {})}),
            start_new_session=True,
            preexec_fn=_control,  # noqa: PLW1509 - short, and calls nothing of ours
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:
                return
            if not chunk:
                return
            self._shown += chunk

    @property
    def shown(self) -> str:
        """Return all that was written so far."""
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def modes(self) -> list[Any]:
        """Return how the terminal is set."""
        return termios.tcgetattr(self._theirs)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until a text was shown so many times."""
        until(lambda: self.shown.count(text) >= times, within=20)

    def left(self) -> tuple[int, str]:
        """Wait for its end; return the status, and what it wrote on standard error."""
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._theirs)
        self._reader.join()
        os.close(self._ours)

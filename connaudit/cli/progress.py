"""How far a run over many targets has come: one line on a terminal, and nowhere else."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

PATIENCE = 0.5  # seconds; what is over by then needs no line
EVERY = 0.1


class Progress:
    """A line that is written over itself by a thread of its own: a run may hear of nobody for a while."""

    def __init__(self, total: int, stream: TextIO, of: str = "targets") -> None:
        self._total = total
        self._of = of
        self._stream = stream
        self._done = 0
        self._shown = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __call__(self, *_told: object) -> None:
        """Hear that one more target is done, whatever it told."""
        self._done += 1

    def _work(self) -> None:
        pause = PATIENCE
        while not self._over.wait(pause):
            pause = EVERY
            self._draw(f"{self._done} of {self._total} {self._of}")

    def _draw(self, text: str) -> None:
        if text != self._shown:
            self._stream.write("\r" + text.ljust(len(self._shown)) + ("" if text else "\r"))
            self._stream.flush()
            self._shown = text

    def close(self) -> None:
        """Wipe the line away."""
        self._over.set()
        self._thread.join()
        self._draw("")


@contextmanager
def progress(total: int, *, wanted: bool, of: str = "targets") -> Iterator[Progress | None]:
    """Show how far a run has come while it lasts, if a terminal is there to show it."""
    stream = sys.stderr
    if not wanted or total < 2 or stream is None or not stream.isatty():
        yield None
        return
    line = Progress(total, stream, of)
    try:
        yield line
    finally:
        line.close()

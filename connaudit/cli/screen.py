"""A terminal that is looked at for a while: one picture drawn over the last, and keys read as they are pressed."""

import os
import select
import sys
import termios
import time
import tty
from typing import Self

from connaudit.cli import output

CLEAR_LINE, CLEAR_BELOW, CLEAR_ALL = "\x1b[K", "\x1b[J", "\x1b[H\x1b[2J"


class Keys:
    """Standard input, if it is a terminal; as a context it takes keys one by one and gives the terminal back."""

    def __init__(self, *, is_read: bool) -> None:
        there = is_read and sys.stdin is not None and sys.stdin.isatty()
        self._file = sys.stdin.fileno() if there else None
        self.have_ended = False  # whether somebody pressed q

    @property
    def are_read(self) -> bool:
        """Whether anybody can press one."""
        return self._file is not None

    def __enter__(self) -> Self:
        if self._file is not None:
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def end(self, seconds: float) -> bool:
        """Wait for so many seconds; return whether somebody presses q within them, or has before."""
        if self._file is None:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([self._file], [], [], seconds)
        self.have_ended |= bool(ready) and b"q" in os.read(self._file, 64).lower()
        return self.have_ended


class Screen:
    """Where pictures are drawn: each over the last one; below each other where the terminal can do no better."""

    def __init__(self, *, moves: bool) -> None:
        self._moves = moves
        self._height = 0
        self._columns = 0

    def draw(self, text: str) -> None:
        """Draw one picture, cut at the height of the terminal."""
        if not self._moves:
            output.write(text + "\n", None)
            return
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        lines = text.rstrip("\n").split("\n")
        if rows and len(lines) >= rows:
            lines = [*lines[: rows - 3], f"({len(lines) - rows + 3} more lines)", lines[-1]]
        back = CLEAR_ALL if columns != self._columns else f"\x1b[{self._height}A\r" if self._height else ""
        output.write(back + "".join(f"{line}{CLEAR_LINE}\n" for line in lines) + CLEAR_BELOW, None)
        self._height, self._columns = len(lines), columns

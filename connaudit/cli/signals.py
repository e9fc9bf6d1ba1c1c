"""Signals: clean up within a second, say one line, and die by the signal, so that a shell loop stops, too."""

import os
import signal
from types import FrameType

HANDLED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

READER_GONE = signal.SIGPIPE  # nobody is there to be told anything


class Interrupted(BaseException):
    """A signal asked us to leave; engines close what is open while it passes through them."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def install() -> None:
    """Turn the first signal into an exception; the second one kills at once. What was ignored stays ignored (nohup)."""
    for number in HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in HANDLED:
        signal.signal(each, signal.SIG_DFL)
    raise Interrupted(number)


def behind(error: BaseException) -> Interrupted | None:
    """Return the signal in the course of whose clean-up an error came up, if one was."""
    context = error.__context__
    while context is not None and not isinstance(context, Interrupted):
        context = context.__context__
    return context


def die_by(number: int) -> None:
    """End this process by the signal itself: the shell sees 130, 143 or 129."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def name(number: int) -> str:
    """Return a signal's name."""
    return signal.Signals(number).name

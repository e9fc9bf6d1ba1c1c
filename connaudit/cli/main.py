"""The one boundary: every way in which a run can end becomes an exit status here, and nowhere else."""

import gc
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from connaudit.cli import signals

UNKNOWN = 3  # "could not": bad usage, bad configuration, cannot write, a bug


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run connaudit as a process: exit with 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, or die by the signal."""
    gc.disable()  # a run is over before garbage matters: a tenth of its time; long-running modes switch it on
    signals.install()
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
    except signals.Interrupted as interrupted:
        from connaudit.cli.output import say

        if interrupted.number != signals.READER_GONE:
            say(f"interrupted by {signals.name(interrupted.number)}")
        signals.die_by(interrupted.number)
        status = 128 + interrupted.number
    leave(status)


def run(arguments: Sequence[str]) -> int:
    """Return the exit status of one call; whatever a user or a server can cause has been said by then."""
    import click

    from connaudit.cli.commands import tree
    from connaudit.cli.output import say, write_aside
    from connaudit.errors import ConnauditError

    commands = tree(list(arguments))
    try:
        if not arguments and "_CONNAUDIT_COMPLETE" not in os.environ:  # a shell that completes gives none
            context = click.Context(commands, info_name="connaudit", **commands.context_settings)
            write_aside(commands.get_help(context) + "\n", None)
            return UNKNOWN
        result = commands.main(args=list(arguments), prog_name="connaudit", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        say(f"{' '.join(error.format_message().split())} [usage]")
    except click.Abort:
        say("interrupted")
    except ConnauditError as error:
        from connaudit.cli.auditing import error_text

        say(error_text(error))
    except Exception as bug:  # noqa: BLE001 - the boundary: a bug is one line and exit 3, never a WARNING's exit 1
        signal = signals.behind(bug)
        if signal:
            raise signal from None
        _report_bug(bug, arguments)
    return UNKNOWN


def _report_bug(bug: Exception, arguments: Sequence[str]) -> None:
    """Say that connaudit failed; with --debug where, but never with values, which may be secrets."""
    from connaudit import __version__
    from connaudit.cli.output import say

    if "--debug" in arguments or os.environ.get("CONNAUDIT_DEBUG"):
        import traceback

        for frame in traceback.extract_tb(bug.__traceback__):
            say(f"  {frame.filename}:{frame.lineno} in {frame.name}")
        say(f"{type(bug).__name__}: {bug} [internal]")
    else:
        say(
            f"internal error ({type(bug).__name__}) in version {__version__}; run with --debug and report it [internal]"
        )


def leave(status: int) -> NoReturn:
    """Exit; a thread that is stuck in a driver or a resolver does not hold the process back."""
    if any(thread is not threading.current_thread() and thread.is_alive() for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        os._exit(status)
    gc.freeze()  # and nothing is left for the interpreter to search at its end
    sys.exit(status)


def _flush(stream: object) -> None:
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return

"""The demonstration on this terminal: the throwaway server, its clients, and each command as it would be typed."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from connaudit.cli import output
from connaudit.cli.signals import HANDLED, Interrupted
from connaudit.demo.clients import ACTORS, Stage, connected
from connaudit.demo.server import Server, throwaway
from connaudit.demo.steps import STEPS, Step
from connaudit.report import Status

LONGEST_STEP = 60.0  # seconds; a command ends by its own deadline well before

MEANING = {
    Status.OK: "a script goes on, cron and monitoring stay silent",
    Status.WARNING: "a -w threshold was passed",
    Status.CRITICAL: "a -c threshold was passed",
    Status.UNKNOWN: "connaudit could not look",
}


def demonstrate(*, keep: bool) -> Status:
    """Start everything, show every step, and leave nothing; UNKNOWN if a step could not do its work."""
    forget_surroundings()
    tell("Starting a throwaway PostgreSQL and its clients...")
    with throwaway() as server, connected(server) as stage:
        introduce(server)
        done = [show(step, stage) for step in STEPS]
        if keep:
            wait(stage)
    tell("", "The server is stopped, and everything it wrote is removed.")
    if not keep:
        tell("To try further commands on it: connaudit demo --keep")
    return Status.OK if all(done) else Status.UNKNOWN


def forget_surroundings() -> None:
    """Drop what would lead libpq elsewhere: PGSERVICE, PGOPTIONS, PGSSLMODE."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def tell(*lines: str) -> None:
    """Write lines for people."""
    output.write("".join(f"{line}\n" for line in lines), None)


def introduce(server: Server) -> None:
    """Tell who is connected."""
    tell(f"PostgreSQL {server.version} runs in {server.socket}. Its clients:", "")
    tell(*cast(), "", export(server))


def cast() -> Iterable[str]:
    """Return a line for each kind of client."""
    for actor in ACTORS:
        yield f"  {actor.count}  {actor.application:<28}  {actor.story}"


def export(server: Server) -> str:
    """Return what a user types first."""
    return f"$ export DATABASE_URL={shlex.quote(server.url)}"


def show(step: Step, stage: Stage) -> bool:
    """Run one command on this terminal, and return whether it could do its work."""
    stage.use_pools()
    tell("", f"# {step.why}", f"$ connaudit {shlex.join(step.words)}")
    number = run(step, stage.server)
    if number not in list(Status):
        tell(f"-> ended by signal {-number}")
        return False
    status = Status(number)
    tell(f"-> exit status {number}, {status.name}: {MEANING[status]}")
    return status is not Status.UNKNOWN


def run(step: Step, server: Server) -> int:
    """Run one command with our own streams, and return how it ended; it does not outlive us."""
    process = None
    try:
        with uninterrupted():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "connaudit", *step.words],
                stdin=subprocess.DEVNULL,
                env=environment(server, os.environ),
            )
        return process.wait(LONGEST_STEP)
    finally:
        if process:
            process.kill()
            process.wait()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a signal wait while a process is started: raised in the midst of that, it would leave one unknown to us."""
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    ours = [number for number, handler in handlers.items() if callable(handler)]
    for number in ours:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, handlers[number])
    for number in came[:1]:
        signal.raise_signal(number)


def environment(server: Server, ours: Mapping[str, str]) -> dict[str, str]:
    """Return a command's environment: the URL, which no list of processes shows, and none of the user's settings."""
    kept = {name: value for name, value in ours.items() if not name.startswith("CONNAUDIT_")}
    return {**kept, "DATABASE_URL": server.url, "CONNAUDIT_CONFIG": "none"}


def wait(stage: Stage) -> None:
    """Leave everything running until Ctrl-C or the server's end."""
    text = "All of it stays until you press Ctrl-C here. In another terminal:"
    tell("", *textwrap.wrap(text), "", f"  export DATABASE_URL={shlex.quote(stage.server.url)}", "  connaudit count")
    try:
        while not stage.server.ended(within=1.0):
            stage.use_pools()
    except Interrupted as interrupted:
        if interrupted.number != signal.SIGINT:  # Ctrl-C is how it is meant to end
            raise

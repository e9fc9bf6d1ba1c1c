"""connaudit as its users start it: a process of its own, with its own streams, environment and exit status."""

import atexit
import fcntl
import functools
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import Role, Running

PROGRAM = Path(sys.executable).with_name("connaudit")
PATIENCE = 60.0  # seconds; far more than any run may take

Environment = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended; a negative status is the number of the signal that ended it."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """Return what it wrote to standard output, as JSON."""
        return json.loads(self.out)


def connaudit(
    *words: str, env: Environment | None = None, stdin: str = "", cwd: Path | None = None, bare: bool = False
) -> Result:
    """Run it without a terminal and wait for its end.

    `env` adds variables, and removes those that are None; `bare` starts from none at all, as `env -i` does.
    Nothing of the environment of the tests comes through but PATH, and HOME is empty.
    """
    process = begin(*words, env=env, cwd=cwd, bare=bare)
    return finish(process, stdin)


def audit(command: str, server: Running, *words: str, role: Role | None = None) -> Result:
    """Run one command on a server, as the monitoring role unless given; its password stands in no argument."""
    return connaudit(command, "env:AUDITED", *words, env={"AUDITED": server.url(role)})


def begin(
    *words: str, env: Environment | None = None, cwd: Path | None = None, bare: bool = False, out: int | None = None
) -> subprocess.Popen[bytes]:
    """Start it and return at once, for those who send signals; `out` may be a file descriptor for its output."""
    return subprocess.Popen(
        [PROGRAM, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if out is None else out,
        stderr=subprocess.PIPE,
        env=environment(env, bare),
        cwd=cwd,
    )


def finish(process: subprocess.Popen[bytes], stdin: str = "") -> Result:
    """Wait for the end of what `begin` started; its seconds count from now."""
    began = time.monotonic()
    try:
        out, err = process.communicate(stdin.encode(), PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Result(process.returncode, (out or b"").decode(), err.decode(), time.monotonic() - began)


def on_terminal(*words: str, columns: int = 120, rows: int = 40, env: Environment | None = None) -> Result:
    """Run it with standard input and output on a pseudo-terminal of that size; line ends come back as `\\n`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    began = time.monotonic()
    with subprocess.Popen(
        [PROGRAM, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment({"TERM": "xterm-256color", **(env or {})}),
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = bytearray()
        reader = threading.Thread(target=_read_terminal, args=(ours, shown), daemon=True)
        reader.start()
        try:
            _, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            reader.join()
            os.close(ours)
    seconds = time.monotonic() - began
    return Result(process.returncode, shown.decode().replace("\r\n", "\n"), err.decode(), seconds)


def _read_terminal(ours: int, shown: bytearray) -> None:
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: the other end is closed
            return
        if not chunk:
            return
        shown += chunk


def environment(env: Environment | None = None, bare: bool = False) -> dict[str, str]:
    """Return the environment for a run: nothing that a developer happens to have set."""
    ours: dict[str, str | None] = {"PATH": os.environ["PATH"], "HOME": _empty_home(), "LANG": "C.UTF-8", "TERM": "dumb"}
    together = {} if bare else ours
    return {name: value for name, value in {**together, **(env or {})}.items() if value is not None}


@functools.cache
def _empty_home() -> str:
    home = tempfile.mkdtemp(prefix="connaudit-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home

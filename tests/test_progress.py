"""How far a run has come: said on a terminal that waits, and to nobody else."""

import io
import os
import pty
import socket
import subprocess
from collections.abc import Iterator

import pytest

from connaudit.cli.progress import Progress
from tests.cli import PROGRAM, connaudit, environment


def stderr_on_terminal(*words: str) -> str:
    """Run it with its errors on a terminal, and return what that terminal was sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=environment()
    ) as process:
        os.close(theirs)
        process.communicate(timeout=60)
    shown = bytearray()
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    return shown.decode()


def _read(ours: int) -> bytes:
    try:
        return os.read(ours, 65536)
    except OSError:  # EIO: the other end is closed
        return b""


@pytest.fixture
def silent() -> Iterator[str]:
    """A target that takes a connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # its kernel accepts; nobody answers
        yield f"postgresql://m@127.0.0.1:{listener.getsockname()[1]}/d"


def test_a_terminal_that_waits_is_told_how_far_it_has_come(silent: str) -> None:
    shown = stderr_on_terminal("count", "-t", "1.2s", silent, "postgresql://m@127.0.0.1:1/d")
    assert "\r1 of 2 targets\r" in shown
    wiped = shown.rpartition("targets")[2]
    assert wiped.startswith("\r" + " " * len("1 of 2 targets") + "\r")
    assert "[timeout]" in wiped


def test_what_is_over_soon_needs_no_line() -> None:
    stream = io.StringIO()
    Progress(200, stream).close()
    assert stream.getvalue() == ""


def test_who_asks_for_silence_gets_no_line(silent: str) -> None:
    assert "targets" not in stderr_on_terminal("count", "-q", "-t", "1.2s", silent, silent).partition("connaudit:")[0]


def test_one_target_has_no_line(silent: str) -> None:
    assert "targets" not in stderr_on_terminal("count", "-t", "1.2s", silent)


def test_who_is_no_terminal_is_not_told(silent: str) -> None:
    result = connaudit("count", "-t", "1.2s", silent, silent)
    assert "of 2 targets" not in result.err
    assert "\r" not in result.err

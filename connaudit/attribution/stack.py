"""What a Python process is doing right now, by py-spy where it is installed: an outside program, asked on request only.

It stops the process for some milliseconds and prints the stack of each thread; values are never asked for. Coroutines
that wait are on no stack, and threads that have ended are not either.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from connaudit.attribution import Confidence
from connaudit.attribution.django import Ident
from connaudit.attribution.evidence import Frame, Stack, Thread
from connaudit.snapshot import Process

PATIENCE = 5.0  # seconds
PROGRAM = "py-spy"
MOST_PROCESSES = 8  # forked workers that share the one socket
_DRIVERS = ("psycopg", "psycopg2", "pymysql", "MySQLdb", "asyncpg", "mysql")
# Where threads stand that have nothing to do: innermost in these files of Python's own, or in a server's loop.
_WAITS = ("threading.py", "queue.py")
_LOOPS = ("serve_forever", "run_forever")


class NoStack(Exception):
    """There is no stack to be had; `str()` says why."""


def stack_of(processes: Sequence[Process], ident: Ident | None, busy: bool) -> Stack:
    """Return the thread of these processes that holds a session, or those that it may be.

    `ident` is the thread that its SQL names, `busy` whether it is at work just now.
    """
    try:
        threads = [thread for process in processes[:MOST_PROCESSES] for thread in dump(process.pid)]
    except NoStack as error:
        return Stack(why_not=str(error))
    return picked(threads, ident, busy=busy, sure=not any(process.holds_too_many for process in processes))


def dump(pid: int) -> list[Thread]:
    """Return the threads of a process with their stacks; NoStack says why not."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise NoStack("py-spy is not installed here: pip install py-spy")
    words = [program, "dump", "--json", "--pid", str(pid)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise NoStack(f"py-spy did not answer within {PATIENCE:.0f}s") from None
    except OSError as error:
        raise NoStack(f"py-spy could not be started: {error.strerror}") from None
    if done.returncode:
        raise NoStack(_reason(pid, done.stderr.decode(errors="backslashreplace")))
    try:
        return [_thread(each, pid) for each in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError):
        raise NoStack("py-spy said something that connaudit does not understand") from None


def _reason(pid: int, said: str) -> str:
    """Return why py-spy failed, in one line: it prints its own backtrace as well."""
    if "ermission" in said:
        return f"process {pid} may not be looked at: run connaudit as root (in a container with CAP_SYS_PTRACE)"
    if "python version" in said:
        return f"process {pid} is no Python program that py-spy knows"
    if "No such file" in said or "No such process" in said:
        return f"process {pid} has ended meanwhile"
    first = next((line for line in said.splitlines() if line.strip()), "no reason given")
    return f"py-spy failed: {first.removeprefix('Error: ')[:200]}"


def _thread(told: dict[str, Any], pid: int) -> Thread:
    frames = tuple(Frame(str(f["name"]), str(f["filename"]), int(f["line"])) for f in told["frames"])
    return Thread(pid, int(told["thread_id"]), str(told["thread_name"] or ""), frames)


def picked(threads: Iterable[Thread], ident: Ident | None, *, busy: bool, sure: bool = True) -> Stack:
    """Return the thread that SQL names; else those in code of the application that may hold an idle or busy session.

    Forked workers may have threads of one number: then it is one of them. And a system gives the number of a thread
    that has ended to a new one at once: where connections of such threads are left, it is not `sure` whose it is.
    """
    threads = list(threads)
    if ident:
        named = tuple(thread for thread in threads if thread.ident == ident.thread)
        why_not = None if named else f"thread {ident.thread}, which its SQL names, has ended: nobody uses the session"
        return Stack(named, Confidence.THREAD if sure and len(named) == 1 else None, why_not)
    candidates = tuple(thread for thread in threads if _may_hold(thread, busy=busy))
    why_not = None if candidates else "no thread of it is in code of the application just now"
    return Stack(candidates, Confidence.ONLY_THREAD if len(candidates) == 1 else None, why_not)


def _may_hold(thread: Thread, *, busy: bool) -> bool:
    """Return whether a thread is in code of its own, and inside a driver just if the session is at work."""
    own = next((place for place, frame in enumerate(thread.frames) if frame.is_own), None)
    if own is None:
        return False
    inner = thread.frames[:own]
    in_driver = any(name in _parts(frame.file) for frame in inner for name in _DRIVERS)
    if busy:
        return in_driver
    waits = bool(inner) and _parts(inner[0].file)[-1] in _WAITS
    return not (in_driver or waits or any(frame.function.rpartition(".")[2] in _LOOPS for frame in inner))


def _parts(file: str) -> list[str]:
    return file.replace("\\", "/").split("/")

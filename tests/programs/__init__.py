"""Programs that use a database well or badly, as real ones do: each is started as a process of its own.

    shop.py       a Django project in one file, served by gunicorn or uvicorn and asked by visitors
    raw.py        connections of a driver, kept in a list or forgotten
    alchemy.py    SQLAlchemy's QueuePool
    pooling.py    psycopg_pool

A script is told what it is to do by its argument; keywords for its driver stand in the environment variable KEYWORDS.
It says `ready` on a line when its database has answered; a server of HTTP is ready when it answers.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.cli import environment

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds that a page may take on a busy machine


@dataclass(frozen=True, slots=True)
class Visits:
    """So many visitors ask for a page again and again; they pause between."""

    page: str
    visitors: int
    pause: float  # seconds


@dataclass(frozen=True, slots=True)
class Program:
    """What is started, and how it is used. Words of a server say where it is to listen: `{fd}`."""

    words: tuple[str, ...]
    visits: tuple[Visits, ...] = ()
    django: Mapping[str, Any] = field(default_factory=dict)  # what its DATABASES says beside whom to connect to

    def listening_on(self, door: int) -> list[str]:
        """Return its words with the number of the socket's descriptor in them."""
        return [word.format(fd=door) for word in self.words]


def script(name: str, doing: str) -> Program:
    """Return a script that does something."""
    return Program((str(HERE / name), doing))


def gunicorn(workers: int, threads: int, *visits: Visits, **django: Any) -> Program:
    """Return the shop under gunicorn with threads."""
    how = ("--workers", str(workers), "--threads", str(threads), "--bind", "fd://{fd}", "--no-control-socket")
    return Program(("-m", "gunicorn", *how, "shop:wsgi"), visits, django)


def uvicorn(*visits: Visits, **django: Any) -> Program:
    """Return the shop under uvicorn."""
    return Program(("-m", "uvicorn", "--fd", "{fd}", "--log-level", "warning", "shop:asgi"), visits, django)


@contextmanager
def running(program: Program, keywords: Mapping[str, Any], log: Path) -> Iterator["Served"]:
    """Start a program; it ends with the context, and with the tests should they be killed."""
    told = {"KEYWORDS": json.dumps(keywords), "DJANGO": json.dumps(program.django), "PYTHONPATH": str(HERE)}
    with socket.create_server(("127.0.0.1", 0), backlog=128) as door, log.open("wb") as said:
        port = door.getsockname()[1]
        process = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                sys.executable,
                *(word.format(fd=door.fileno()) for word in program.words),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            pass_fds=[door.fileno()],
            env=environment(told),
            start_new_session=True,
        )
    with process:
        try:
            yield Served(process, port, program.visits, log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers as well


@dataclass(frozen=True, slots=True)
class Served:
    """A program that runs."""

    process: subprocess.Popen[bytes]
    port: int
    visits: tuple[Visits, ...]
    log: Path

    def wait(self) -> None:
        """Wait until it is ready."""
        if not self.visits:
            assert self.process.stdout
            line = self.process.stdout.readline()
            assert line == b"ready\n", self.log.read_text()
        for each in self.visits:  # who comes early waits at the door
            self.get(each.page)

    def get(self, page: str) -> None:
        """Ask for a page; it must be had."""
        asking = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            asking.request("GET", f"/{page}")
            status = asking.getresponse().status
        except OSError as error:
            raise AssertionError(f"/{page}: {error}\n{self.log.read_text()}") from error
        finally:
            asking.close()
        assert status == 200, f"/{page}: {status}\n{self.log.read_text()}"


@contextmanager
def visited(programs: Iterable[Served]) -> Iterator[None]:
    """Let visitors come until the end; that every page was had is sure after it."""
    closing = threading.Event()
    troubles: list[AssertionError] = []

    def come(program: Served, each: Visits) -> None:
        try:
            while not closing.wait(each.pause):
                program.get(each.page)
        except AssertionError as trouble:
            troubles.append(trouble)

    visitors = [
        threading.Thread(target=come, args=(program, each), daemon=True)
        for program in programs
        for each in program.visits
        for _ in range(each.visitors)
    ]
    for visitor in visitors:
        visitor.start()
    try:
        yield
    finally:
        closing.set()
        for visitor in visitors:
            visitor.join()
    assert not troubles, troubles[0]

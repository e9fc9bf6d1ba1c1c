"""From a session to file and line in a real shop under Django that gunicorn serves, through the front door."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Result, connaudit
from tests.servers import Running, until
from tests.test_inspect import WITH_PY_SPY, summary

PROGRAM = Path(__file__).with_name("shop.py")
ROOT = PROGRAM.parents[2]
WORKER_THREADS = 4

Note = dict[str, Any]


@dataclass(slots=True)
class Shop:
    """A gunicorn that serves the shop."""

    server: Running
    address: tuple[str, int]
    place: Path  # where it notes who holds what
    master: int
    leaving: ExitStack

    def ask(self, view: str) -> socket.socket:
        """Send a request, whose answer may never come."""
        request = self.leaving.enter_context(socket.create_connection(self.address, timeout=60))
        request.sendall(f"GET /{view} HTTP/1.0\r\n\r\n".encode())
        return request

    def answers(self, view: str) -> bool:
        """Ask for something that does not take long, and take the answer."""
        with self.ask(view) as request, suppress(TimeoutError):
            return b" 200 " in request.recv(1000)
        return False

    def notes(self) -> list[Note]:
        """Return what the shop has noted so far."""
        file = self.place / "notes"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def held(self, view: str) -> Note:
        """Ask for a view that holds a connection, and return what it noted."""
        before = len(self.notes())
        self.ask(view)
        return until(lambda: self.notes()[before:], within=30)[0]

    def left(self) -> list[Note]:
        """Ask for one report after the other, and return what each left: more connections than there are threads."""
        for request in [self.ask("warm") for _ in range(WORKER_THREADS)]:
            assert b" 200 " in request.recv(1000)
            request.close()
        for _ in range(3 * WORKER_THREADS):
            assert self.answers("report")
        return self.notes()

    def inspected(self, note: Note, *words: str) -> Result:
        """Inspect the session that one noted."""
        env = {"AUDITED": self.server.url(), **WITH_PY_SPY}
        return connaudit("inspect", str(note["id"]), "-T", "env:AUDITED", *words, env=env)

    def told(self, note: Note, *words: str) -> dict[str, Any]:
        """Return the summary of that."""
        return summary(self.inspected(note, "--json", *words))


Serve = Callable[..., Shop]


@pytest.fixture
def serve(postgres: Running, tmp_path: Path) -> Iterator[Serve]:
    """Start the shop with so many workers; `titled` ones call themselves by a title, as with setproctitle."""
    with ExitStack() as leaving:
        postgres.ask("drop table if exists wares")
        with postgres.session(None, "create table wares (id int primary key)") as client:
            client.do("insert into wares select generate_series(1, 9)")
        leaving.callback(postgres.ask, "drop table wares")

        def start(workers: int = 1, *, titled: bool = True) -> Shop:
            paths = [str(ROOT)]
            if not titled:
                (tmp_path / "setproctitle.py").write_text("raise ImportError")
                paths.insert(0, str(tmp_path))
            app = postgres.app
            database = {"HOST": postgres.host, "PORT": postgres.port, "USER": app.name, "PASSWORD": app.password}
            listening = leaving.enter_context(socket.create_server(("127.0.0.1", 0)))
            fd = listening.fileno()
            words = ["--workers", str(workers), "--threads", str(WORKER_THREADS), "--bind", f"fd://{fd}"]
            words += ["--name", "shop", "--timeout", "0", "--no-control-socket", "tests.attribution.shop:application"]
            with (tmp_path / "log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gunicorn", *words],
                    stdout=log,
                    stderr=log,
                    cwd=tmp_path,
                    start_new_session=True,
                    pass_fds=[fd],
                    env=os.environ
                    | {
                        "PYTHONPATH": os.pathsep.join(paths),
                        "NOTES": str(tmp_path / "notes"),
                        "THREADS": str(WORKER_THREADS),
                    }
                    | {"KEYWORDS": json.dumps(database | {"NAME": "shop"})},
                )
            leaving.callback(process.wait)
            leaving.callback(os.killpg, process.pid, signal.SIGKILL)
            shop = Shop(postgres, listening.getsockname()[:2], tmp_path, process.pid, leaving)
            assert shop.answers("ready"), (tmp_path / "log").read_text()
            return shop

        yield start


def line(mark: str) -> int:
    """Return where in the shop a comment stands."""
    lines = PROGRAM.read_text().splitlines()
    return next(number for number, text in enumerate(lines, 1) if text.endswith(f"  # {mark}"))


def test_of_two_workers_the_right_one_is_named_and_of_its_threads_the_right_one_with_its_line(serve: Serve) -> None:
    shop = serve(workers=2)
    pays = shop.held("pay")
    os.kill(pays["process"], signal.SIGSTOP)
    try:
        uploads = shop.held("export")  # the other worker takes it
    finally:
        os.kill(pays["process"], signal.SIGCONT)
    assert pays["process"] != uploads["process"]
    places = f"call_payment_service ({PROGRAM}:{line('pays')})", f"upload ({PROGRAM}:{line('uploads')})"
    for note, place in zip((pays, uploads), places, strict=True):
        told = shop.told(note, "--stack")
        assert told["state"] == "idle in transaction"
        assert (told["client_pids"], told["thread"]) == ([note["process"]], note["thread"])
        assert told["place"] == place
        assert told["place_known_by"].startswith("exact")
    shown = shop.inspected(pays, "--stack").out
    assert f"code: call_payment_service ({PROGRAM}:{line('pays')}) (exact: the session's SQL names the thread)" in shown
    assert f"{pays['process']} of user " in shown
    assert f"child of {shop.master}" in shown
    assert "gunicorn: worker [shop]" in shown
    assert "in Django's atomic(), after one inside another" in shown


def test_two_threads_of_one_worker_are_told_apart(serve: Serve) -> None:
    shop = serve()
    pays, uploads = shop.held("pay"), shop.held("export")
    assert pays["process"] == uploads["process"]
    assert shop.told(pays, "--stack")["place"].startswith("call_payment_service ")
    assert shop.told(uploads, "--stack")["place"].startswith("upload ")
    assert shop.told(uploads)["place"] is None


def test_a_worker_without_a_title_is_known_by_how_it_was_started(serve: Serve) -> None:
    shop = serve(titled=False)
    shown = shop.inspected(shop.held("pay")).out
    assert "-m gunicorn --workers 1 " in shown
    assert "tests.attribution.shop:application" in shown


def test_connections_of_threads_that_ended_are_proven_and_no_living_thread_is_accused(serve: Serve) -> None:
    shop = serve()
    left = shop.left()
    shown = shop.inspected(left[0], "--stack").out
    assert f"process {left[0]['process']} holds {len(left)} connections to this server and has " in shown
    assert f"thread {left[0]['thread']}, which its SQL names, has ended: nobody uses the session" in shown


def twins(notes: list[Note]) -> list[Note]:
    """Return what threads left whose number a living one has now."""
    living = {note["thread"] for note in notes if note["what"] == "watches"}
    return [note for note in notes if note["what"] == "left" and note["thread"] in living]


def test_a_thread_with_the_number_of_one_that_ended_is_not_sure_to_hold_what_that_one_left(serve: Serve) -> None:
    shop = serve()
    shop.left()
    assert shop.answers("stock")
    orphan = until(lambda: twins(shop.notes()))[0]
    told = shop.told(orphan, "--stack")
    assert (told["thread"], told["place"]) == (orphan["thread"], None)
    shown = shop.inspected(orphan, "--stack").out
    assert f"watch_stock ({PROGRAM}:{line('watches')})" in shown
    assert "a guess: this thread, or one that had its number and has ended" in shown

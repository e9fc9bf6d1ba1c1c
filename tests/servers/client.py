"""One session on a server, by a real driver, and waiting for what it does."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
import pymysql

T = TypeVar("T")
DRIVER_ERRORS = (psycopg.Error, pymysql.err.Error)


def until(ask: Callable[[], T], within: float = 10.0, every: float = 0.05) -> T:
    """Ask until the answer is true, and return it; AssertionError with the last answer after `within` seconds.

    About InnoDB's transactions ask no more often than every 0.15 s: its tables renew only after 100 ms of quiet.
    """
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within} s; the last answer was {answer!r}")
        time.sleep(every)


class Client:
    """A session that does what it is told, one statement after the other, each in autocommit.

    `do` waits for the answer; `start` leaves a statement running in a thread, for ones that block or sleep.
    `id` is the backend's pid, or the connection's id on MySQL; behind PgBouncer it is one that PgBouncer made up.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.id: int = driver.info.backend_pid if isinstance(driver, psycopg.Connection) else driver.thread_id()
        self._running: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute, and return the rows, if any."""
        with self.driver.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def start(self, statement: str) -> None:
        """Execute in a thread and return at once. An error is kept for `finished`."""
        self._running = threading.Thread(target=self._run, args=(statement,), daemon=True)
        self._running.start()

    def _run(self, statement: str) -> None:
        try:
            self.do(statement)
        except DRIVER_ERRORS as error:
            self._error = error

    def finished(self, within: float = 10.0) -> BaseException | None:
        """Wait for what `start` began, and return the error it ended with, if any."""
        if self._running:
            self._running.join(within)
            assert not self._running.is_alive(), f"still running after {within} s"
            self._running = None
        return self._error

    def join(self, seconds: float) -> None:
        """Wait so long, or until what `start` began has ended."""
        if self._running:
            self._running.join(seconds)

    @property
    def is_busy(self) -> bool:
        """Whether what `start` began has not ended."""
        return self._running is not None and self._running.is_alive()

    def close(self) -> None:
        """End the session; one that is busy must be ended by the server first."""
        with suppress(*DRIVER_ERRORS):  # the server was faster
            self.driver.close()

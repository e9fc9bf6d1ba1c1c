"""psycopg_pool: members that go back to it, or that never do."""

import json
import os
import sys
import threading
import time
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

KEPT: list[Connection[Any]] = []


def pool() -> ConnectionPool:
    """Return a pool of the default size."""
    return ConnectionPool(kwargs=json.loads(os.environ["KEYWORDS"]) | {"autocommit": True}, open=True)


def ask(connection: Connection[Any]) -> None:
    """Use a connection."""
    connection.execute("select count(*) from cart").fetchall()


def pooled() -> None:
    """Borrow and give back, in more threads than there are members."""
    shared = pool()

    def work() -> None:
        while True:
            with shared.connection() as connection:
                ask(connection)
            time.sleep(0.1)

    for _ in range(6):
        threading.Thread(target=work, daemon=True).start()
    with shared.connection() as connection:
        ask(connection)


def never_returned() -> None:
    """Borrow until none is left, and ask for more."""
    shared = pool()

    def work() -> None:
        while True:
            try:
                KEPT.append(shared.getconn(timeout=5))
            except PoolTimeout:  # as whoever uses the program sees
                continue
            ask(KEPT[-1])

    KEPT.append(shared.getconn())
    ask(KEPT[-1])
    threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("ready", flush=True)  # noqa: T201
    time.sleep(600)

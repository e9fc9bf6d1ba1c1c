"""SQLAlchemy: connections that go back to its QueuePool, that stay in a transaction, or that merely stay away."""

import json
import os
import sys
import threading
import time

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import TimeoutError as NoneLeft

NAMES = {
    "host": "host",
    "port": "port",
    "user": "username",
    "password": "password",
    "dbname": "database",
    "database": "database",
}
KEPT: list[Connection] = []


def engine(**how: str) -> Engine:
    """Return an engine with the pool that it has by default: 5 connections, and 10 more when they are lent."""
    keywords = json.loads(os.environ["KEYWORDS"])
    driver = "postgresql+psycopg" if "dbname" in keywords else "mysql+pymysql"
    return create_engine(URL.create(driver, **{NAMES[name]: value for name, value in keywords.items()}), **how)


def ask(connection: Connection) -> None:
    """Use a connection; a transaction begins by itself."""
    connection.execute(text("select count(*) from cart")).all()


def pooled() -> None:
    """Borrow and give back, in four threads."""
    shared = engine()

    def work() -> None:
        while True:
            with shared.connect() as connection:
                ask(connection)
            time.sleep(0.1)

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    with shared.connect() as connection:
        ask(connection)


def never_closed() -> None:
    """Borrow until none is left, and leave in each a transaction open."""
    borrow_from(engine())


def never_returned() -> None:
    """Borrow until none is left, without transactions."""
    borrow_from(engine(isolation_level="AUTOCOMMIT"))


def borrow_from(shared: Engine) -> None:
    """Borrow one connection now, and others as long as there are any."""

    def work() -> None:
        while True:
            time.sleep(0.5)
            try:
                borrow()
            except NoneLeft:  # as whoever uses the program sees
                continue

    def borrow() -> None:
        KEPT.append(shared.connect())
        ask(KEPT[-1])

    borrow()
    threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("ready", flush=True)  # noqa: T201
    time.sleep(600)

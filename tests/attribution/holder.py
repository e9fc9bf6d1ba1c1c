"""Programs that hold connections, started by tests as processes of their own; each says what it holds on one line.

python holder.py HOW FAMILY KEYWORDS-AS-JSON
"""

import json
import os
import sys
import threading
import time
from typing import Any


def connect(family: str, keywords: dict[str, Any]) -> Any:
    """Open a connection by the driver of a family."""
    if family == "postgresql":
        import psycopg

        return psycopg.connect(autocommit=True, **keywords)
    import pymysql

    return pymysql.connect(autocommit=True, **keywords)


def number(connection: Any) -> int:
    """Return what the server calls it."""
    return int(connection.info.backend_pid if hasattr(connection, "info") else connection.thread_id())


def say(**told: Any) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def one(family: str, keywords: dict[str, Any]) -> None:
    """Hold one connection."""
    connection = connect(family, keywords)
    say(ids=[number(connection)])
    time.sleep(600)


def many(family: str, keywords: dict[str, Any]) -> None:
    """Hold more connections than there are threads, as threads leave them behind that end without closing theirs."""
    kept: list[Any] = []
    for _ in range(6):
        thread = threading.Thread(target=lambda: kept.append(connect(family, keywords)))
        thread.start()
        thread.join()
    say(ids=[number(connection) for connection in kept])
    time.sleep(600)


def forked(family: str, keywords: dict[str, Any]) -> None:
    """Hold one connection in two processes."""
    connection = connect(family, keywords)
    child = os.fork()
    if child:
        say(ids=[number(connection)], child=child)
    time.sleep(600)


def atomic(family: str, keywords: dict[str, Any]) -> None:
    """Do something slow in a thread, inside a savepoint that is named as Django names them; others wait beside it."""
    connections = [connect(family, keywords) for _ in range(2)]

    def call_payment_service(connection: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("begin")
        cursor.execute(f'savepoint "s{threading.get_ident()}_x1"')
        ready.release()
        time.sleep(600)

    ready = threading.Semaphore(0)
    threads = [
        threading.Thread(target=call_payment_service, args=(each,), daemon=True, name=f"job-{place}")
        for place, each in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
        ready.acquire()
    say(ids=[number(connection) for connection in connections], idents=[thread.ident for thread in threads])
    time.sleep(600)


def in_django(family: str, keywords: dict[str, Any]) -> None:
    """Do something slow inside transaction.atomic() inside another, in a thread of a real Django."""
    import django  # type: ignore[import-untyped]
    from django.conf import settings  # type: ignore[import-untyped]

    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    database = {"ENGINE": f"django.db.backends.{family}", **{names[key]: value for key, value in keywords.items()}}
    settings.configure(DATABASES={"default": database})
    django.setup()
    from django.db import connection, transaction  # type: ignore[import-untyped]

    ready = threading.Event()
    told: dict[str, Any] = {}

    def call_payment_service() -> None:
        told.update(line=sys._getframe().f_lineno + 2, idents=[threading.get_ident()])
        ready.set()
        time.sleep(600)

    def pay() -> None:
        with transaction.atomic(), transaction.atomic():
            told.update(ids=[number(connection.connection)])
            call_payment_service()

    threading.Thread(target=pay, name="payment", daemon=True).start()
    ready.wait()
    say(**told, file=__file__)
    time.sleep(600)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2], json.loads(os.environ["KEYWORDS"]))

"""Connections without a pool: kept in a list for ever, or forgotten at the end of a function."""

import json
import os
import sys
import time
from typing import Any

import psycopg
import pymysql

KEYWORDS = json.loads(os.environ["KEYWORDS"])
REPORTS: list[Any] = []


def report() -> Any:
    """Return a connection that was used once."""
    connection: Any = (psycopg if "dbname" in KEYWORDS else pymysql).connect(autocommit=True, **KEYWORDS)
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from cart")
        cursor.fetchall()
    return connection


def kept() -> None:
    """Keep what a report was made with."""
    REPORTS.append(report())


def forgotten() -> None:
    """Let it go: Python closes it with its last reference, which is no leak."""
    report()


if __name__ == "__main__":
    again = globals()[sys.argv[1]]
    again()
    print("ready", flush=True)  # noqa: T201
    while True:
        time.sleep(0.4)
        again()

"""Standbys: a second server that follows the first, and one that is none but as far as its primary can tell."""

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from psycopg import pq
from psycopg.pq.abc import PGconn

from tests.conftest import Start
from tests.engines.restarting import environment_of, start_again
from tests.servers import Running

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()  # of PostgreSQL's clocks


EAGER: dict[str, str | int] = {"wal_retrieve_retry_interval": "200ms", "wal_receiver_status_interval": "1s"}


def follower(primary: Running, start: Start, **settings: str | int) -> Running:
    """Start a server that streams from a primary of one's own and may be read from.

    It begins with what the primary has on the disk, which is stopped for that.
    """
    environment = environment_of(primary)
    primary.stop()
    mark = primary.datadir / "standby.signal"
    mark.touch()
    try:
        return start(primary, data=primary.datadir, primary_conninfo=_login(primary), **{**EAGER, **settings})
    finally:
        mark.unlink()
        start_again(primary, environment)


def _login(primary: Running) -> str:
    superuser = primary.superuser
    return f"host={primary.host} port={primary.port} user={superuser.name} password={superuser.password}"


@contextmanager
def standby(primary: Running, name: str, slot: str = "") -> Iterator[int]:
    """Receive WAL as a standby with an old transaction does that sends feedback; yield the walsender's pid.

    It is a walsender's client that says which transactions it still needs, and takes no second server to start. It says
    so again and again, as standbys do: a walsender forgets it when it has to catch up with invalidations.
    """
    ((xmin, wal),) = primary.ask("select txid_snapshot_xmin(txid_current_snapshot()), pg_current_wal_lsn()::text")
    connection = pq.PGconn.connect(f"{_login(primary)} application_name={name} replication=true".encode())
    over = threading.Event()
    try:
        assert connection.status == pq.ConnStatus.OK, connection.error_message
        through = f"SLOT {slot} " if slot else ""
        told = connection.exec_(f"START_REPLICATION {through}PHYSICAL {wal}".encode())
        assert told.status == pq.ExecStatus.COPY_BOTH, told.error_message
        feedback = threading.Thread(target=_feed_back, args=(connection, xmin, over))
        feedback.start()
        try:
            yield connection.backend_pid
        finally:
            over.set()
            feedback.join()
    finally:
        connection.finish()


def _feed_back(connection: PGconn, xmin: int, over: threading.Event) -> None:
    while True:
        now = int((time.time() - _EPOCH) * 1_000_000)
        connection.put_copy_data(struct.pack("!cqIIII", b"h", now, xmin & 0xFFFFFFFF, xmin >> 32, 0, 0))
        connection.flush()
        if over.wait(0.2):
            return

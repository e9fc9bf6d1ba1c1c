"""A standby as far as its primary can tell: a walsender's client that says which transactions it still needs."""

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from psycopg import pq

from tests.servers import Running

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()  # of PostgreSQL's clocks


@contextmanager
def standby(primary: Running, name: str, slot: str = "") -> Iterator[int]:
    """Receive WAL as a standby with an old transaction does that sends feedback; yield the walsender's pid."""
    ((xmin, wal),) = primary.ask("select txid_snapshot_xmin(txid_current_snapshot()), pg_current_wal_lsn()::text")
    who = f"host={primary.host} port={primary.port} user={primary.superuser.name} password={primary.superuser.password}"
    connection = pq.PGconn.connect(f"{who} application_name={name} replication=true".encode())
    try:
        assert connection.status == pq.ConnStatus.OK, connection.error_message
        through = f"SLOT {slot} " if slot else ""
        told = connection.exec_(f"START_REPLICATION {through}PHYSICAL {wal}".encode())
        assert told.status == pq.ExecStatus.COPY_BOTH, told.error_message
        now = int((time.time() - _EPOCH) * 1_000_000)
        connection.put_copy_data(struct.pack("!cqIIII", b"h", now, xmin & 0xFFFFFFFF, xmin >> 32, 0, 0))
        connection.flush()
        yield connection.backend_pid
    finally:
        connection.finish()

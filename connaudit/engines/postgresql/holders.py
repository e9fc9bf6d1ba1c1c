"""What holds back vacuum besides transactions: replication slots, and standbys that send feedback."""

from collections.abc import Iterable, Iterator

from connaudit.engines.postgresql.rows import HolderRow, age, number
from connaudit.engines.postgresql.text import decode_name
from connaudit.snapshot import Holder, HolderKind


def holders(rows: Iterable[HolderRow], encoding: str) -> Iterator[Holder]:
    """Yield a holder for each slot and standby; a slot that holds catalogs back further than tables is two."""
    for row in rows:
        tables, catalogs = number(row.horizon_age), number(row.catalog_age)
        if tables is not None:
            yield _holder(row, tables, encoding, catalogs_only=False)
        if catalogs is not None and catalogs > (tables or 0):
            yield _holder(row, catalogs, encoding, catalogs_only=True)


def _holder(row: HolderRow, horizon_age: int, encoding: str, *, catalogs_only: bool) -> Holder:
    return Holder(
        kind=HolderKind(row.kind.decode()),
        name=decode_name(row.name or b"", encoding),
        horizon_age=horizon_age,
        catalogs_only=catalogs_only,
        pid=number(row.pid),
        physical=row.physical == b"t",
        inactive_for=age(row.inactive_for),
    )


def vacuums(rows: Iterable[HolderRow]) -> frozenset[bytes]:
    """Return the pids of those that run a VACUUM other than VACUUM FULL."""
    return frozenset(row.pid for row in rows if row.kind == b"vacuum" and row.pid is not None)

"""What holds back vacuum besides transactions: replication slots, and standbys that send feedback."""

from collections.abc import Iterable, Iterator

from connaudit.engines.postgresql.rows import HolderRow, SessionRow, age, number
from connaudit.engines.postgresql.text import decode_name
from connaudit.snapshot import Holder, HolderKind


def slots(rows: Iterable[HolderRow], encoding: str) -> Iterator[Holder]:
    """Yield a holder for each slot; one that holds catalogs back further than tables is two."""
    for row in rows:
        if row.kind != b"slot":
            continue
        tables, catalogs = number(row.horizon_age), number(row.catalog_age)
        if tables is not None:
            yield _holder(row, tables, encoding, catalogs_only=False)
        if catalogs is not None and catalogs > (tables or 0):
            yield _holder(row, catalogs, encoding, catalogs_only=True)


def standbys(rows: Iterable[SessionRow], encoding: str) -> Iterator[Holder]:
    """Yield a holder for each standby that sends feedback and has no slot; logical walsenders have a database."""
    for row in rows:
        horizon_age = number(row.horizon_age)
        if row.is_walsender == b"t" and row.datid is None and horizon_age is not None:
            name = decode_name(row.application_name or b"", encoding)
            yield Holder(HolderKind.STANDBY, name, horizon_age, pid=int(row.pid), physical=True)


def _holder(row: HolderRow, horizon_age: int, encoding: str, *, catalogs_only: bool) -> Holder:
    return Holder(
        kind=HolderKind.SLOT,
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

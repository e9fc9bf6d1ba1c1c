"""Of which target a report speaks, taken from its snapshot."""

from connaudit.report import Source
from connaudit.snapshot import Snapshot


def source(snapshot: Snapshot) -> Source:
    """Return the source of a snapshot; where it was named and how much was seen is filled in by the audit."""
    return Source(
        target=snapshot.target,
        origin="",
        engine=snapshot.server.engine,
        address=snapshot.address,
        server=snapshot.server,
        taken_at=snapshot.taken_at,
        stages=snapshot.stages,
    )

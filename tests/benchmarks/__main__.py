"""Measure everything and write it as Markdown: `python -m tests.benchmarks`."""
# ruff: noqa: T201 - a program that talks to whoever runs it

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import costs, fleets, listing, starting, trips
from tests.benchmarks.crowd import Crowd, affordable
from tests.benchmarks.goals import Findings
from tests.benchmarks.installed import Installed, installed
from tests.benchmarks.report import markdown, record
from tests.servers import Description, Fleet, available

MANY = 5000
THREADS = 5000


class Bench:
    """One run: the servers it starts, and what it has found so far."""

    def __init__(self, ours: Installed, servers: Fleet, place: Path) -> None:
        self.ours = ours
        self.servers = servers
        self.place = place
        self.found = Findings()

    def starts(self) -> None:
        """Measure single calls."""
        starting.help_and_version(self.ours, self.found)
        starting.count_on_postgresql(self.ours, self.servers.shared(newest("postgres")), self.found)
        starting.count_on_mysql(self.ours, self.servers.shared(newest("mariadb")), self.found)

    def trips(self) -> None:
        """Count round trips."""
        for kind in ("postgres", "mariadb"):
            trips.round_trips(self.ours, self.servers.shared(newest(kind)), self.found)

    def fleets(self) -> None:
        """Measure many targets."""
        fleets.postgresql(self.ours, self.servers.shared(newest("postgres")), self.place, self.found)
        fleets.mysql(self.ours, self.servers.shared(newest("mariadb")), self.place, self.found)

    def sessions(self) -> None:
        """Measure many sessions on PostgreSQL."""
        most = affordable(MANY)
        if most < MANY:
            self.found.missing.append(f"{MANY:,} PostgreSQL sessions need more memory than is free here: {most:,}")
        server = self.servers.start(newest("postgres"), {"max_connections": most + 20})
        with Crowd(server) as crowd:
            for size in sorted({10, 100, 1000, most}):
                crowd.grow(size)
                listing.postgresql(self.ours, server, crowd, self.found)
                if size >= 100:
                    costs.of_audits(self.ours, server, crowd, self.found)
        self.servers.stop(server)

    def texts(self) -> None:
        """Measure long statements."""
        size = min(1000, affordable(1000))
        settings = {"max_connections": size + 20, "track_activity_query_size": listing.LONG}
        server = self.servers.start(newest("postgres"), settings)
        with Crowd(server, f"select 1 /* {'x' * (listing.LONG - 20)} */") as crowd:
            crowd.grow(size)
            listing.long_texts(self.ours, server, crowd, self.found)
        self.servers.stop(server)

    def threads(self) -> None:
        """Measure many threads on MariaDB."""
        server = self.servers.start(newest("mariadb"), {"max_connections": THREADS + 20, "back_log": 1000})
        with Crowd(server) as crowd:
            crowd.grow(THREADS)
            listing.mariadb(self.ours, server, crowd, self.found)
        self.servers.stop(server)


PARTS: dict[str, Callable[[Bench], None]] = {
    "starts": Bench.starts,
    "trips": Bench.trips,
    "fleets": Bench.fleets,
    "sessions": Bench.sessions,
    "texts": Bench.texts,
    "threads": Bench.threads,
}


def newest(kind: str) -> Description:
    """Return the newest released server of a kind."""
    return [one for one in available() if one.kind == kind and one.released][-1]


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="run this part; may be given again")
    parser.add_argument("--record", type=Path, metavar="FILE", help="put the tables into the marked parts of a file")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="connaudit-bench-") as top, Fleet() as servers:
        place = Path(top)
        place.chmod(0o755)
        with installed(place / "venv") as ours:
            bench = Bench(ours, servers, place)
            for name in arguments.only or PARTS:
                print(f"{time.monotonic() - began:5.0f} s  {name}", file=sys.stderr)
                PARTS[name](bench)
    where = f"{os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}"
    print(markdown(bench.found, f"{where}; took {time.monotonic() - began:.0f} s"))
    if arguments.record:
        record(bench.found, where, arguments.record)


if __name__ == "__main__":
    main()

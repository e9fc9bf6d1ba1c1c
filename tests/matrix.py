"""Run the tests that need servers on each server of CONNAUDIT_TEST_SERVERS, and show who passed what.

    python -m tests.matrix [PYTEST ARGUMENT...]

One pytest for each server, and one more at once than there are processors, for tests wait more than they compute.
Exit status 1 if any test failed, was skipped or expected to fail, or if a server had none.
"""
# ruff: noqa: T201 - a program that talks to whoever runs it

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ending_lines
from tests.servers import Description, available, chosen

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
SHORT = {"postgres": "pg", "mysql": "my", "mariadb": "ma", "pgbouncer": "pb"}


@dataclass(slots=True)
class Column:
    """What happened on one server: counts by (test file, outcome)."""

    server: Description
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)  # what tests/test_endings.py recorded
    seconds: float = 0.0

    def total(self, outcome: str) -> int:
        """Return how many tests ended so."""
        return sum(number for (_, one), number in self.counts.items() if one == outcome)

    @property
    def label(self) -> str:
        """Return a short name for the head of a column."""
        return SHORT[self.server.kind] + self.server.name.partition("-")[2]

    def cell(self, file: str) -> str:
        """Return `12`, or `12-1` if one of thirteen failed or was skipped; `.` if the file has no test for it."""
        passed, bad = self.counts[file, PASSED], self.counts[file, FAILED] + self.counts[file, SKIPPED]
        return f"{passed}-{bad}" if bad else str(passed or ".")


def main(arguments: list[str]) -> int:
    """Run all, print the table, and return the exit status."""
    if not os.environ.get("CONNAUDIT_TEST_SERVERS"):
        sys.exit(
            "the matrix needs CONNAUDIT_TEST_SERVERS: a directory of servers, as tests/servers/description.py says"
        )
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        servers = sorted(available(), key=lambda one: one not in chosen(None))  # the newest have the most to do
        columns = list(pool.map(lambda one: run(one, Path(place), arguments), servers))
    columns.sort(key=lambda column: available().index(column.server))
    endings = [ending for column in columns for ending in column.endings]
    if endings:
        print("\nSeconds to the end of an audit:", *ending_lines(endings), sep="\n")
    print_table(columns)
    failed = sum(column.total(FAILED) + len(column.troubles) for column in columns)
    skipped = sum(column.total(SKIPPED) for column in columns)
    print(f"\nmatrix: {sum(column.total(PASSED) for column in columns)} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or skipped else 0


def run(server: Description, place: Path, arguments: list[str]) -> Column:
    """Run the tests on one server; what went wrong is printed at once."""
    file = place / f"{server.name}.xml"
    words = ["--servers", server.name, "--once", "-m", "servers", "-p", "no:cacheprovider", "--color=no", "-q"]
    words += ["-o", "faulthandler_timeout=120"]  # tells where a test hangs
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, f"--junit-xml={file}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    column = Column(server, seconds=time.monotonic() - began)
    if file.exists():
        count(column, ET.parse(file).getroot())  # pytest wrote it
    if not column.counts:
        column.troubles.append("no test ran")
    if done.returncode or column.troubles or column.total(SKIPPED):
        print(f"=== {server.name}: pytest ended with {done.returncode}\n{done.stdout}\n{done.stderr}", flush=True)
    else:
        print(f"{server.name}: {done.stdout.splitlines()[-1].strip('= ')}", flush=True)
    return column


def count(column: Column, root: ET.Element) -> None:
    """Read what pytest wrote of one run."""
    for case in root.iter("testcase"):
        file = case.get("classname", "").removeprefix("tests.").replace("test_", "")
        outcome = PASSED
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = FAILED
        elif case.find("skipped") is not None:  # pytest calls expected failures so too
            outcome = SKIPPED
        column.counts[file, outcome] += 1
        column.endings += [one.get("value", "") for one in case.iter("property") if one.get("name") == "ending"]


def print_table(columns: list[Column]) -> None:
    """Print files against servers."""
    files = sorted({file for column in columns for file, _ in column.counts})
    rows = [["", *(column.label for column in columns)]]
    rows += [[file, *(column.cell(file) for column in columns)] for file in files]
    rows.append(["passed", *(str(column.total(PASSED)) for column in columns)])
    rows.append(["seconds", *(f"{column.seconds:.0f}" for column in columns)])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    print()
    for first, *cells in rows:
        print(first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The seconds that an engine takes for the targets of a configuration file, without imports, reading and writing.

Runs in the environment where connaudit is installed: `python inside.py FILE TIMEOUT`.
"""

import gc
import sys
import time

from connaudit.configuration import load
from connaudit.diagnostics import diagnostic
from connaudit.engines import Budget, engine
from connaudit.snapshot import Snapshot
from connaudit.targets.resolve import resolve


def main(file: str, timeout: str) -> None:
    """Take a snapshot of every target, and write how long it took and how many there are."""
    configured = {name: each.target for name, each in load(file, [], []).targets.items()}
    targets = resolve([], environment={}, home="/nonexistent", configured=configured).targets
    count = diagnostic("count")
    take = engine(targets[0].engine)
    gc.disable()  # as connaudit does
    began = time.monotonic()
    budget = Budget(float(timeout), began + 30)
    taken = [each for _, each in take(targets, count.facts(count.options()), budget)]
    seconds = time.monotonic() - began
    answered = sum(isinstance(each, Snapshot) for each in taken)
    sys.stdout.write(f"{seconds} {answered} {len(taken)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

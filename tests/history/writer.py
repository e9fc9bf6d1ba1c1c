"""A process that records run after run, and says so after each: python writer.py LOCATION RUNS NAME."""

import sys
import time

from connaudit.history import store
from connaudit.snapshot import State
from tests.builders import session, snapshot


def main() -> None:
    location, runs, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    look = snapshot(
        *(
            session(state, id=number, application=f"app {number % 7}")
            for number in range(20)
            for state in (State.IDLE, State.ACTIVE)
        )
    )
    for run in range(runs):
        with store.open(location) as history:
            history.record({"shared": look, name: look}, time.time())
        sys.stdout.write(f"{run + 1}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

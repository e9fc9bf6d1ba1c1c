"""What happens on servers, and what must be said of it: each scene is written once, and plays on every server.

stage          how a scene is told, and the table of all
expected       what a scene expects of the commands
transactions, statements, waits, connections, grants, texts     the scenes
"""

from tests.scenes import connections, grants, statements, texts, transactions, waits
from tests.scenes.expected import Expectation, Expected, Told
from tests.scenes.stage import SCENES, TABLE, Play, Scene, prepared

__all__ = [
    "SCENES",
    "TABLE",
    "Expectation",
    "Expected",
    "Play",
    "Scene",
    "Told",
    "connections",
    "grants",
    "prepared",
    "statements",
    "texts",
    "transactions",
    "waits",
]

"""Which servers there are, by their descriptions on disk."""

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

FAMILIES = {"postgres": "postgres", "mysql": "mysql", "mariadb": "mysql", "pgbouncer": "pgbouncer"}
UNSUPPORTED_BELOW = {"postgres": (12,), "mysql": (5, 7), "mariadb": (10, 5), "pgbouncer": (1,)}


class ServersMissing(Exception):
    """A server that was asked for is not there."""


@dataclass(frozen=True, slots=True)
class Description:
    """A server that could be started. `home` holds `run`, which makes data directories and serves them."""

    name: str
    kind: str  # postgres, mysql, mariadb, pgbouncer
    version: tuple[int, ...]
    home: Path
    released: bool  # False: a beta or release candidate

    @property
    def family(self) -> str:
        """Return what it speaks: postgres, mysql or pgbouncer."""
        return FAMILIES[self.kind]

    @property
    def supported(self) -> bool:
        """Whether connaudit promises to audit it."""
        return self.version >= UNSUPPORTED_BELOW[self.kind]


def directory() -> Path:
    """Return where the servers are: CONNAUDIT_TEST_SERVERS, or what install.py put into this environment."""
    return Path(os.environ.get("CONNAUDIT_TEST_SERVERS") or Path(sys.prefix) / "servers")


def available(where: Path | None = None) -> list[Description]:
    """Return every server of the directory, by kind and then oldest first."""
    where = where or directory()
    found = [_read(path) for path in where.glob("*/server.json")]
    return sorted(found, key=lambda one: (list(FAMILIES).index(one.kind), one.version))


def _read(path: Path) -> Description:
    told = json.loads(path.read_text(encoding="utf-8"))
    numbers = "".join(re.findall(r"^[\d.]*\d", told["version"]))
    return Description(
        name=told["name"],
        kind=told["kind"],
        version=tuple(int(n) for n in numbers.split(".")),
        home=path.parent,
        released=numbers == told["version"],
    )


def chosen(words: str | None) -> list[Description]:
    """Return the servers to test on; `words` are names, kinds or `all`, None is the newest release of each kind.

    Unsupported versions are chosen only by their names.
    """
    there = available()
    if not there:
        raise ServersMissing(f"no servers in {directory()}; run `make servers`, or name a directory of them")
    supported = [one for one in there if one.supported]
    if words is None:
        return list({one.kind: one for one in supported if one.released}.values())
    if words == "all":
        return supported
    picked = []
    for word in words.split(","):
        matching = [one for one in there if one.name == word] or [one for one in supported if one.kind == word]
        if not matching:
            raise ServersMissing(f"no server {word!r} in {directory()}: {', '.join(one.name for one in there)}")
        picked += matching
    return picked

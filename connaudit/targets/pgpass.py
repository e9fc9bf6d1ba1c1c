"""Which password libpq would find in its password file (.pgpass)."""

import os
import stat
from collections.abc import Collection, Iterator

from connaudit.targets import Secret


def readable_by_others(path: str) -> bool:
    """Whether libpq would ignore this file, and say so on stderr itself, for its mode."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def lookup(path: str, names: Collection[str], port: int, database: str, user: str) -> Secret | None:
    """Return the password of the first line that fits, as libpq's passwordFromFile does.

    `names` are what the host may be called: a Unix socket in the usual directory is also `localhost`.
    None: no such file, none that libpq would read, or no line fits.
    """
    if readable_by_others(path) or not os.path.isfile(path):
        return None
    for host, *others, password in _lines(path):
        if host not in ("*", *names):
            continue
        wanted = (str(port), database, user)
        if all(field in ("*", want) for field, want in zip(others, wanted, strict=True)):
            return Secret(password) if password else None
    return None


def _lines(path: str) -> Iterator[tuple[str, ...]]:
    """Yield the five fields of each line; a raw colon ends the password, as in libpq."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError:
        return
    for line in lines:
        fields = _fields(line.removesuffix("\r"))
        if not line.startswith("#") and len(fields) >= 5:
            yield tuple(fields[:5])


def _fields(line: str) -> list[str]:
    r"""Return the fields: colons part them, a backslash keeps the next character as it is.

    >>> _fields(r"db\:1:5432:*:me:a\\b")
    ['db:1', '5432', '*', 'me', 'a\\b']
    """
    fields = [""]
    characters = iter(line)
    for character in characters:
        if character == "\\":
            fields[-1] += next(characters, "")
        elif character == ":":
            fields.append("")
        else:
            fields[-1] += character
    return fields

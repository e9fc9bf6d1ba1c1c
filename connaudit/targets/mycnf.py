"""MySQL's and MariaDB's option files: `~/.my.cnf` with its groups, includes, quotes and escapes.

PyMySQL's own reader passes over ssl-mode and would send a password in clear (it also knows neither includes nor
escapes), so the rules here are those of the servers' mysys/my_default.c.
"""

import os
import stat
from collections.abc import Iterator

from connaudit.dataclass import dataclass
from connaudit.errors import ConfigError

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}
_DEPTH = 10  # of !include, as in my_default.c


@dataclass(frozen=True, slots=True, repr=False)
class Option:
    """One line of an option file. `value` None: the option stands alone, like skip-ssl."""

    group: str
    key: str  # with dashes
    value: str | None
    where: str  # file and line, in words


def read(path: str, depth: int = 0) -> Iterator[Option]:
    """Yield the options of a file and of those it includes, in order.

    Raises ConfigError with file and line, never with what stands there.
    """
    group = None
    for number, line in enumerate(_lines(path), 1):
        where = f"{path} line {number}"
        if line.startswith("!"):
            yield from _included(line, where, depth)
        elif line.startswith("["):
            group = _group(line, where)
        elif line and line[0] not in "#;":
            if group is None:
                raise ConfigError(f"{where}: an option stands before the first [group]")
            yield _option(group, line, where)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except OSError as error:
        raise ConfigError(f"option file {path}: {error.strerror}") from None
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        raise ConfigError(f"option file {path} is writable by everybody; run: chmod o-w {path}")
    return [line.strip(" \t\r\f\v") for line in text.split("\n")]


def _included(line: str, where: str, depth: int) -> Iterator[Option]:
    word, _, rest = line[1:].partition(" ")
    target = rest.strip()
    if word not in ("include", "includedir") or not target:
        raise ConfigError(f"{where}: after ! stands include FILE or includedir DIRECTORY")
    if depth >= _DEPTH:
        raise ConfigError(f"{where}: includes are nested more than {_DEPTH} deep")
    for path in [target] if word == "include" else _directory(target, where):
        yield from read(path, depth + 1)


def _directory(directory: str, where: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise ConfigError(f"{where}: {directory}: {error.strerror}") from None
    return [f"{directory.rstrip('/')}/{name}" for name in names if name.endswith(".cnf")]


def _group(line: str, where: str) -> str:
    name, closed, _ = line[1:].partition("]")
    if not closed:
        raise ConfigError(f"{where}: the [ of a group is not closed")
    return name.rstrip()  # leading blanks belong to the name, as the servers see it


def _option(group: str, line: str, where: str) -> Option:
    key, equals, value = _without_comment(line).partition("=")
    name = key.strip().replace("_", "-").removeprefix("loose-")
    return Option(group, name, _unquote(value.strip()) if equals else None, where)


def _without_comment(line: str) -> str:
    """Return a line up to a # outside quotes; a backslash protects the next quote only inside quotes."""
    quote, escaped = "", False
    for at, character in enumerate(line):
        if character in "'\"" and not escaped:
            quote = character if not quote else "" if character == quote else quote
        if not quote and character == "#":
            return line[:at]
        escaped = bool(quote) and character == "\\" and not escaped
    return line


def _unquote(value: str) -> str:
    r"""Return a value without its quotes and escapes.

    >>> _unquote(r'"a\"b\sc\qd"')
    'a"b c\\qd'
    """
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    plain, characters = "", iter(value)
    for character in characters:
        if character == "\\":
            escape = next(characters, "")
            plain += _ESCAPES.get(escape, "\\" + escape)
        else:
            plain += character
    return plain

"""What a configuration file says: targets, defaults, thresholds, suppressions, where the history lies.

One file is read, the first of --config, CONNAUDIT_CONFIG, the user's and the system's; never one from the current
directory. Whatever it says that nobody understands is an error that names the nearest key: a threshold with a typo
must not become a silent default.
"""

import datetime as dt
import difflib
import fnmatch
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from connaudit.dataclass import dataclass
from connaudit.errors import ConfigError, UsageError
from connaudit.targets import Secret, Target, secrets
from connaudit.targets.parse import parse

VERSION = 1
SYSTEM = "/etc/connaudit/config.toml"
TOP = ("version", "default_targets", "include", "defaults", "thresholds", "targets", "ignore", "history", "bounds")
TARGET = (
    "dsn",
    "tags",
    "thresholds",
    "timeout",
    "on_unreachable",
    "password",
    "password_command",
    "password_file",
    "password_env",
)
SOURCES = ("password_command", "password_file", "password_env", "password")  # the first that is set counts
IGNORE = ("code", "target", "app", "user", "db", "client", "reason", "until")
HISTORY = ("path", "url", "keep_raw", "keep_hourly")
LEVELS = ("warning", "critical")

Thresholds = Mapping[str, Mapping[str, tuple[str, ...]]]  # check -> level -> conditions as written


@dataclass(frozen=True, slots=True)
class Configured:
    """A target of the file; its password is fetched only when it is audited."""

    target: Target
    thresholds: Thresholds = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)  # timeout, on-unreachable
    sources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def password_from(self) -> str | None:
        """Return where its password comes from, in words; None: wherever the native client would look."""
        if "password_command" in self.sources:
            return f"command {self.sources['password_command'][0]}"
        if "password_file" in self.sources:
            return f"file {self.sources['password_file']}"
        if "password_env" in self.sources:
            return f"variable {self.sources['password_env']}"
        return "config" if "password" in self.sources else self.target.password_from

    @property
    def is_slow(self) -> bool:
        """Whether its password comes from a command, which may take seconds."""
        return "password_command" in self.sources

    def with_password(
        self, target: Target, environment: Mapping[str, str], seconds: float = secrets.COMMAND_SECONDS
    ) -> Target:
        """Return the target with its password; ConfigError if it cannot be had, or not in so many seconds."""
        for source in SOURCES:
            if source in self.sources:
                secret = _fetch(source, self.sources[source], environment, seconds)
                return replace(target, password=secret, password_from=self.password_from)
        return target


@dataclass(frozen=True, slots=True)
class Ignore:
    """A suppression: findings of this code, of these targets and sessions, are left out until a day."""

    code: str
    reason: str
    target: str = "*"
    app: str | None = None
    user: str | None = None
    db: str | None = None
    client: str | None = None
    until: dt.date | None = None

    def expired(self, today: dt.date) -> bool:
        """Return whether its day has come."""
        return self.until is not None and today >= self.until

    @property
    def selects_sessions(self) -> bool:
        """Whether it speaks of some sessions rather than of the whole finding."""
        return any((self.app, self.user, self.db, self.client))

    def covers(self, code: str, target: str) -> bool:
        """Return whether it speaks of this finding of this target."""
        return fnmatch.fnmatchcase(code, self.code) and fnmatch.fnmatchcase(target, self.target)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a file and what it includes say; the empty one stands for no file."""

    path: str | None = None
    files: tuple[str, ...] = ()
    default_targets: tuple[str, ...] = ()
    defaults: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=dict)
    targets: Mapping[str, Configured] = field(default_factory=dict)
    ignores: tuple[Ignore, ...] = ()
    history: Mapping[str, str] = field(default_factory=dict)
    bounds: Mapping[str, int] = field(default_factory=dict)


def find(chosen: str | None, environment: Mapping[str, str], home: str) -> str | None:
    """Return the file to read: the chosen one, or the first that exists; None for `none` and for none at all."""
    named = chosen or environment.get("CONNAUDIT_CONFIG")
    if named:
        return None if named == "none" else named
    return next((path for path in places(environment, home) if os.path.exists(path)), None)


def places(environment: Mapping[str, str], home: str) -> tuple[str, ...]:
    """Return where a file is looked for, the user's before the system's."""
    base = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # never from the current directory
        base = os.path.join(home, ".config")
    return os.path.join(base, "connaudit", "config.toml"), SYSTEM


def load(path: str | None, known_settings: Sequence[str], checks: Sequence[str]) -> Configuration:
    """Read a file and what it includes; ConfigError says what is wrong where."""
    if path is None:
        return Configuration()
    reader = _Reader(known_settings, checks)
    reader.read(path)
    return reader.result(path)


class _Reader:
    """Gathers what one file and its includes say."""

    def __init__(self, known_settings: Sequence[str], checks: Sequence[str]) -> None:
        self.known_settings = [name.replace("-", "_") for name in known_settings]
        self.checks = checks
        self.files: list[str] = []
        self.merged: dict[str, Any] = {name: {} for name in ("defaults", "thresholds", "targets", "history", "bounds")}
        self.default_targets: list[str] = []
        self.ignores: list[Ignore] = []

    def read(self, path: str) -> None:
        table, private = _toml(path)
        self.files.append(path)
        _only(table, TOP, path)
        if table.get("version", VERSION) != VERSION:
            raise ConfigError(f"{path}: version {table['version']} is not one that this connaudit reads ({VERSION})")
        self.default_targets += _texts(table.get("default_targets", []), f"{path}: default_targets")
        self._defaults(_table(table.get("defaults", {}), f"{path}: [defaults]"), path)
        self.merged["thresholds"] |= self._thresholds(table.get("thresholds", {}), f"{path}: [thresholds]")
        for name, content in _table(table.get("targets", {}), f"{path}: [targets]").items():
            self._target(name, _table(content, f"{path}: [targets.{name}]"), path, private=private)
        self.ignores += [_ignore(entry, path) for entry in _list(table.get("ignore", []), f"{path}: [[ignore]]")]
        self.merged["history"] |= _history(table.get("history", {}), path, private=private)
        self.merged["bounds"] |= _bounds(table.get("bounds", {}), f"{path}: [bounds]")
        for pattern in _texts(table.get("include", []), f"{path}: include"):
            self._include(pattern, path)

    def result(self, path: str) -> Configuration:
        return Configuration(
            path, tuple(self.files), tuple(self.default_targets), ignores=tuple(self.ignores), **self.merged
        )

    def _include(self, pattern: str, path: str) -> None:
        """Read further files, relative to the one that names them, in the order of their names."""
        found = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(path)), pattern)))
        if not found and not glob.has_magic(pattern):
            raise ConfigError(f"{path}: include {pattern}: no such file")
        for other in found:
            if other in self.files:
                raise ConfigError(f"{path}: include {pattern}: {other} is read twice")
            self.read(other)

    def _defaults(self, table: Mapping[str, Any], path: str) -> None:
        if "target" in table:
            raise ConfigError(f"{path}: [defaults]: unknown key 'target'", hint="default_targets, above it, names them")
        _only(table, self.known_settings, f"{path}: [defaults]")
        self.merged["defaults"] |= {
            key.replace("_", "-"): _setting(value, f"{path}: [defaults] {key}") for key, value in table.items()
        }

    def _thresholds(self, content: Any, where: str) -> dict[str, dict[str, tuple[str, ...]]]:
        table = _table(content, where)
        _only(table, self.checks, where)
        levels = {check: _table(value, f"{where} {check}") for check, value in table.items()}
        for check, value in levels.items():
            _only(value, LEVELS, f"{where} {check}")
        return {
            check: {level: tuple(_texts(texts, f"{where} {check} {level}")) for level, texts in value.items()}
            for check, value in levels.items()
        }

    def _target(self, name: str, table: Mapping[str, Any], path: str, *, private: bool) -> None:
        where = f"{path}: [targets.{name}]"
        _only(table, TARGET, where)
        if name in self.merged["targets"]:
            raise ConfigError(f"{where}: there are two targets of this name")
        if not table.get("dsn"):
            raise ConfigError(f"{where}: dsn is missing")
        for key in ("dsn", "password", "password_file", "password_env"):
            _text(table.get(key, ""), f"{where} {key}")
        if "password_command" in table:
            secrets.check_command(table["password_command"], f"{where} ")
        try:
            target = parse(table["dsn"], name=name, origin="config")
        except UsageError as error:
            raise ConfigError(f"{path}: {error.message}", hint=error.hint) from None
        if not private and (target.has_secret or "password" in table):
            raise _readable(path)
        self.merged["targets"][name] = Configured(
            replace(target, tags=tuple(_texts(table.get("tags", []), f"{where} tags"))),
            self._thresholds(table.get("thresholds", {}), f"{where} thresholds"),
            {key.replace("_", "-"): str(table[key]) for key in ("timeout", "on_unreachable") if key in table},
            {source: table[source] for source in SOURCES if source in table},
        )


def _toml(path: str) -> tuple[dict[str, Any], bool]:
    """Return a file's content, and whether nobody else can read it. No error quotes the file: it may hold a secret."""
    import tomllib

    try:
        with open(path, "rb") as file:
            private = not os.fstat(file.fileno()).st_mode & 0o077
            return tomllib.load(file), private
    except OSError as error:
        raise ConfigError(f"config file {path}: {(error.strerror or 'unreadable').lower()}") from None
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(at ")[2].rstrip(")")
        problem = f"config file {path} is not valid TOML" + (f" (at {place})" if place != str(error) else "")
    except UnicodeDecodeError:
        problem = f"config file {path} is not UTF-8"
    raise ConfigError(problem)


def _only(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for a key that means nothing here."""
    names = list(known)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key {key!r}", hint=hint)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is to be a table")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is to be a list")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} is to be a text")
    return value


def _bounds(value: Any, where: str) -> dict[str, int]:
    """Return how many connections applications need at most."""
    bounds = _table(value, where)
    for name, most in bounds.items():
        if not isinstance(most, int) or isinstance(most, bool) or most < 0:
            raise ConfigError(f"{where}: {name} is to be a number of connections")
    return bounds


def _texts(value: Any, where: str) -> list[str]:
    """Return a list of texts; a single text or number is a list of one."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in items):
        raise ConfigError(f"{where} is to be a text or a list of texts")
    return [str(item) for item in items]


def _setting(value: Any, where: str) -> str | tuple[str, ...]:
    if isinstance(value, bool):
        return str(value).lower()
    texts = _texts(value, where)
    return tuple(texts) if isinstance(value, list) else texts[0]


def _ignore(entry: Any, path: str) -> Ignore:
    where = f"{path}: [[ignore]]"
    table = _table(entry, where)
    _only(table, IGNORE, where)
    for needed in ("code", "reason"):
        if not table.get(needed):
            raise ConfigError(f"{where}: {needed} is missing", hint="say what is ignored, and why")
    until = table.get("until")
    if isinstance(until, dt.datetime):
        until = until.date()
    if until is not None and not isinstance(until, dt.date):
        raise ConfigError(f"{where}: until is to be a date, such as 2027-03-01")
    texts = {key: _text(value, f"{where}: {key}") for key, value in table.items() if key != "until"}
    return Ignore(until=until, **texts)


def _history(value: Any, path: str, *, private: bool) -> dict[str, str]:
    """Return where the history lies, and for how long what is kept; a path is relative to the file that names it."""
    where = f"{path}: [history]"
    table = _table(value, where)
    _only(table, HISTORY, where)
    found = {key: _text(text, f"{where} {key}") for key, text in table.items()}
    if "path" in found and "url" in found:
        raise ConfigError(f"{where}: path and url name two histories; choose one")
    if "path" in found:
        found["path"] = os.path.join(os.path.dirname(os.path.abspath(path)), os.path.expanduser(found["path"]))
    if "url" in found:
        _check_history(found["url"], path, private=private)
    return found


def _check_history(url: str, path: str, *, private: bool) -> None:
    """Raise ConfigError unless the history can lie there, and nobody else reads its password."""
    try:
        target = parse(url, name="history", origin="config")
    except UsageError as error:
        raise ConfigError(f"{path}: [history] url: {error.message.removeprefix('target history: ')}") from None
    if target.engine != "postgresql":
        raise ConfigError(f"{path}: [history] url: a history lies in a file or on PostgreSQL", hint="postgresql://...")
    if target.has_secret and not private:
        raise _readable(path)


def _readable(path: str) -> ConfigError:
    return ConfigError(f"{path} holds a password and is readable by others", hint=f"run: chmod 600 {path}")


def _fetch(source: str, value: Any, environment: Mapping[str, str], seconds: float) -> Secret:
    if source == "password_command":
        return secrets.from_command(value, seconds=seconds)
    if source == "password_file":
        return secrets.from_file(str(value), environment)
    if source == "password_env":
        return secrets.from_variable(str(value), environment)
    return Secret(str(value))

"""Which targets a run audits: those named in arguments, else those that environment and configuration imply."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from fnmatch import fnmatchcase

from connaudit.dataclass import dataclass
from connaudit.errors import ConfigError, ConnauditError, UsageError
from connaudit.targets import Secret, Target, mysql, postgresql
from connaudit.targets.malformed import nearest
from connaudit.targets.parse import address_name, is_dsn, parse
from connaudit.targets.surroundings import Surroundings

_COMPLETE = {"postgresql": postgresql.complete, "mysql": mysql.complete}
_POSTGRESQL_VARIABLES = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE")
_NAME = re.compile(r"[\w.*?\[\]!-]+")
_IN_PS = "a password given as an argument is visible to everybody in ps; use env:DATABASE_URL or file:PATH"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The targets of a run, in the order they were named, and what the user should be told once about them."""

    targets: tuple[Target, ...]
    warnings: tuple[str, ...] = ()
    refused: Mapping[str, ConnauditError] = field(default_factory=dict)  # why a configured one is incomplete, by name


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where targets can be named."""

    around: Surroundings
    configured: Mapping[str, Target]


def resolve(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    home: str | os.PathLike[str],
    configured: Mapping[str, Target] | None = None,
    default_targets: Sequence[str] | None = None,
) -> Resolved:
    """Return the targets of a run, complete and with unique names.

    The first source that names any decides: `arguments`, CONNAUDIT_TARGET, `default_targets`, all of `configured`,
    DATABASE_URL, PGSERVICE or PGHOST or PGHOSTADDR or PGDATABASE, MYSQL_HOST. Raises UsageError if none does or if
    a text makes no sense, ConfigError for a file that makes none or must not be read. What a configured target lacks,
    its service or option file, is that target's trouble alone.
    """
    around = Surroundings(dict(environment), os.fspath(home))  # a copy: os.environ is slow, and asked often
    sources = _Sources(around, configured or {})
    given = _once(_chosen(arguments, sources, default_targets))
    completed = [_complete(target, sources.around) for target in given]
    targets = _unique([target for target, _ in completed])
    refused = {target.name: error for target, (_, error) in zip(targets, completed, strict=True) if error}
    warnings = [_IN_PS] if any(target.origin == "argument" and target.has_secret for target in given) else []
    for target in targets:
        if target.engine == "postgresql":
            warnings += postgresql.warnings(target, sources.around)
    return Resolved(targets, tuple(dict.fromkeys(warnings)), refused)


def _chosen(arguments: Sequence[str], sources: _Sources, default_targets: Sequence[str] | None) -> list[Target]:
    environment = sources.around.environment
    if arguments:
        return [target for text in arguments for target in _expand(text, "argument", sources)]
    if named := environment.get("CONNAUDIT_TARGET", "").strip():
        return _each(named.split("\n"), "CONNAUDIT_TARGET", sources)
    if default_targets:
        return _each(default_targets, "default_targets", sources)
    if sources.configured:
        return list(sources.configured.values())
    return [_ambient(environment)]


def _ambient(environment: Mapping[str, str]) -> Target:
    """Return the one target that variables meant for other programs name."""
    if database_url := environment.get("DATABASE_URL", "").strip():
        return parse(database_url, origin="DATABASE_URL")
    for variable in _POSTGRESQL_VARIABLES:
        if environment.get(variable):
            return Target("", "postgresql", (), origin=variable)
    if environment.get("MYSQL_HOST"):
        password = environment.get("MYSQL_PASSWORD")  # with MYSQL_USER, as containers are given them
        return Target(
            "",
            "mysql",
            (),
            environment.get("MYSQL_USER") or None,
            environment.get("MYSQL_DATABASE") or None,
            Secret(password) if password else None,
            "MYSQL_PASSWORD" if password else None,
            origin="MYSQL_HOST",
        )
    raise UsageError(
        "no target: name one, or set DATABASE_URL",
        hint="for example: connaudit count postgresql://monitor@db/shop; to keep a list of them: connaudit config init",
    )


def _each(texts: Iterable[str], origin: str, sources: _Sources) -> list[Target]:
    """Return the targets of several texts; blank ones are passed over."""
    return [target for text in texts if text.strip() for target in _expand(text, origin, sources)]


def _expand(text: str, origin: str, sources: _Sources) -> list[Target]:
    """Return the targets that one TARGET stands for."""
    word = text.strip()
    kind, _, rest = word.partition(":")
    if not word:
        raise UsageError("an empty TARGET: is a shell variable unset?")
    if kind == "env":
        return _from_variable(rest, sources)
    if kind == "file":
        return _from_file(rest, sources)
    if kind == "django" or word == "django":
        raise UsageError("connaudit cannot read Django's settings yet", hint="set DATABASE_URL, or give a URL")
    if is_dsn(word):
        return [parse(text, origin=origin)]
    return _configured(word, origin, sources)


def _from_variable(variable: str, sources: _Sources) -> list[Target]:
    if not re.fullmatch(r"\w+", variable):
        raise UsageError("after env: stands the name of a variable, as in env:DATABASE_URL")
    lines = sources.around.environment.get(variable, "").split("\n")
    told = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not told:
        raise UsageError(f"env:{variable}: the variable is not set, or empty")
    return _contents(told, f"env:{variable}", sources)


def _from_file(path: str, sources: _Sources) -> list[Target]:
    origin = f"file:{path}"
    lines, private = _lines(sources.around.expand(path), origin)
    found = _contents(lines, origin, sources)
    if not found:
        raise UsageError(f"{origin} names no target")
    if not private and any(target.origin.startswith(origin) and target.has_secret for target in found):
        raise ConfigError(f"{origin} holds a password and is readable by others", hint=f"run: chmod 600 {path}")
    return found


def _lines(path: str, origin: str) -> tuple[Iterator[tuple[int, str]], bool]:
    """Return the numbered lines that say something, and whether nobody else can read them."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().split("\n")
    except OSError as error:
        raise UsageError(f"{origin}: {error.strerror}") from None
    told = ((number, line) for number, line in enumerate(lines, 1) if line.strip() and line.lstrip()[0] != "#")
    return told, not (stat.S_ISREG(mode) and mode & 0o077)


def _contents(lines: Iterable[tuple[int, str]], origin: str, sources: _Sources) -> list[Target]:
    """Return the targets of a file's or variable's lines, which may name no further file or variable."""
    found: list[Target] = []
    for number, line in lines:
        where = f"{origin} line {number}" if origin.startswith("file:") else origin
        if line.strip().startswith(("env:", "file:")):
            raise UsageError(f"{where}: here stands a URL, a connection string or the name of a configured target")
        found += _expand(line, where, sources)
    return found


def _configured(pattern: str, origin: str, sources: _Sources) -> list[Target]:
    """Return the configured targets of that name, or that match; a text that cannot be a name is not repeated."""
    if pattern in sources.configured:
        return [sources.configured[pattern]]
    found = [target for name, target in sources.configured.items() if fnmatchcase(name, pattern)]
    if found:
        return found
    where = "" if origin == "argument" else f"{origin}: "
    hint = "a TARGET is a URL, a connection string such as host=db1, env:NAME, file:PATH or a configured name"
    if not _NAME.fullmatch(pattern):
        raise UsageError(f"{where}a TARGET is neither a URL nor a name", hint=hint)
    guess = nearest(pattern, list(sources.configured))
    raise UsageError(f"{where}no target is called {pattern!r}{guess}", hint=hint)


def _once(targets: Iterable[Target]) -> list[Target]:
    """Return the targets without the configured ones that were chosen twice, by name and by glob."""
    return list({id(target): target for target in targets}.values())


def _complete(target: Target, around: Surroundings) -> tuple[Target, ConnauditError | None]:
    """Return the target with its gaps filled, or why a configured one cannot be; what has no name gets its address."""
    unnamed = not target.name or target.name == address_name(target)
    try:
        whole = _COMPLETE[target.engine](target, around)
    except ConnauditError as error:
        if target.origin == "argument":
            raise
        if target.origin == "config":
            return target, error
        message, hint, kind = f"{target.origin}: {error.message}", error.hint, type(error)
    else:
        return (replace(whole, name=address_name(whole)) if unnamed else whole), None
    raise kind(message, hint=hint)


def _unique(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Return the targets with `#2`, `#3` behind names that came before."""
    taken: set[str] = set()
    unique = []
    for target in targets:
        name, number = target.name, 1
        while name in taken:
            number += 1
            name = f"{target.name}#{number}"
        taken.add(name)
        unique.append(target.renamed(name))
    return tuple(unique)

"""What is wrong with a configuration: everything at once, where an audit would stop at the first."""

import datetime as dt
import difflib
import fnmatch
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum

import click

from connaudit.cli.commands import tree
from connaudit.cli.effective import seen_by
from connaudit.cli.planning import Invocation, Setup, configuration_file, options_of, own_setting, target_name
from connaudit.cli.settings import OF_FILES, PREFIX, SETTINGS, Sources, values
from connaudit.configuration import Configuration, Configured, Ignore, load
from connaudit.dataclass import dataclass
from connaudit.diagnostics import APART, NAMES, Diagnostic, diagnostic
from connaudit.errors import ConfigError, ConnauditError, UsageError
from connaudit.report import Column, Show
from connaudit.targets.resolve import resolve
from connaudit.units import parse_duration, plural

COLUMNS = (
    Column("severity", "SEVERITY", show=Show.ALWAYS),
    Column("message", "PROBLEM", show=Show.ALWAYS),
    Column("hint", "HINT"),
)
OF_FAILURES = ("CA102", "CA901")  # codes that no diagnostic makes: a full server, one out of reach


class Severity(Enum):
    """How bad it is."""

    ERROR = "error"  # an audit would refuse, or miss a target
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that somebody should mend; the message says where it stands."""

    severity: Severity
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what is wrong with it."""

    path: str | None
    configuration: Configuration
    problems: tuple[Problem, ...]

    @property
    def summary(self) -> str:
        """Return what the configuration holds, in a few words."""
        if self.path is None:
            return "no configuration file is read; the built-in values hold"
        held = self.configuration
        counted = (plural(len(held.targets), "target"), plural(len(held.ignores), "suppression"))
        files = "" if len(held.files) == 1 else f"{plural(len(held.files), 'file')}, "
        return f"{self.path}: {files}{', '.join(counted)}"


def verify(call: Invocation, today: dt.date) -> Verified:
    """Look at everything that a configuration says, passwords included: their commands are run, too."""
    path = configuration_file(call)
    try:
        configuration = load(path, OF_FILES, NAMES)
    except ConfigError as error:
        return Verified(path, Configuration(), (_error(error),))
    found = [*_of_files(configuration)]
    whole = Sources("", call.given, call.environment, configuration.defaults, path or "config")
    sound = whole
    for command in ("", "check", *NAMES):
        wrong = dict(_wrong_settings(replace(whole, command=command)))
        found += wrong.values()
        sound = _without(wrong, sound)
    left = replace(configuration, defaults=sound.defaults)
    setup = Setup(replace(call, environment=sound.environment), left, values(sound))
    found += [*_of_targets(setup), *_of_thresholds(setup)]
    found += _of_variables(call.environment)
    found += [*_of_default_targets(configuration), *_of_ignores(configuration, today), *_of_history(configuration)]
    return Verified(path, configuration, tuple(dict.fromkeys(found)))


def _wrong_settings(sources: Sources) -> Iterator[tuple[str, Problem]]:
    """Yield settings that make no sense, of the file and of variables, by where they were set."""
    for each in SETTINGS:
        try:
            sources.effective(each)
        except UsageError as error:
            yield sources.raw(each)[0], _error(error)


def _of_variables(environment: Iterable[str]) -> Iterator[Problem]:
    """Yield variables that look like ours and that nothing reads: a threshold with a typo must not become a default."""
    ours = sorted(name for name in environment if name.startswith(PREFIX))
    if not ours:
        return
    known = set(_known_variables(tree(), ()))
    for name in ours:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            yield _warning(f"the variable {name} means nothing", f"did you mean {near[0]}?" if near else None)


def _known_variables(group: click.Group, path: tuple[str, ...]) -> Iterator[str]:
    """Yield every variable that a command of the group reads: one for each option, and one of its command alone."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command, whole = group.get_command(context, name), (*path, name)
        for option in command.params if command else ():
            if isinstance(option, click.Option):
                word = max(option.opts, key=len).lstrip("-")
                for before in ((), whole[:1], whole):
                    yield (PREFIX + "_".join((*before, word))).upper().replace("-", "_")
        if isinstance(command, click.Group):
            yield from _known_variables(command, whole)


def _without(wrong: Iterable[str], sources: Sources) -> Sources:
    """Return the sources without what makes no sense, so that the rest can be looked at."""
    keys = {where.rpartition("[defaults] ")[2] for where in wrong if "[defaults]" in where}
    return replace(
        sources,
        environment={name: text for name, text in sources.environment.items() if name not in wrong},
        defaults={name: text for name, text in sources.defaults.items() if name not in keys},
    )


def _error(error: ConnauditError, where: str = "") -> Problem:
    return Problem(Severity.ERROR, f"{where}: {error.message}" if where else error.message, error.hint)


def _warning(message: str, hint: str | None = None) -> Problem:
    return Problem(Severity.WARNING, message, hint)


def _of_files(configuration: Configuration) -> Iterator[Problem]:
    """Yield files that others may write: a configuration names programs that we run."""
    for path in configuration.files:
        status = os.stat(path)
        if status.st_mode & 0o022:
            whom = "everybody" if status.st_mode & 0o002 else "its group"
            yield _warning(f"{path} can be written by {whom}", f"run: chmod go-w {path}")
        if status.st_uid not in (0, os.geteuid()):
            yield _warning(f"{path} belongs to somebody else, who decides which programs are run")


def _of_targets(setup: Setup) -> Iterator[Problem]:
    everyone = {name: each.target for name, each in setup.configuration.targets.items()}
    for name, own in setup.configuration.targets.items():
        try:
            for key in own.settings:
                own_setting(key, own, setup)
        except ConfigError as error:
            yield _error(error)
        try:
            found = resolve([name], environment=setup.call.environment, home=setup.call.home, configured=everyone)
            own.with_password(own.target, setup.call.environment)
        except ConnauditError as error:
            yield _error(error, f"[targets.{name}]")
        else:
            yield from (_error(error, f"[targets.{name}]") for error in found.refused.values())
            yield from (_warning(f"[targets.{name}]: {warning}") for warning in found.warnings)


def _of_thresholds(setup: Setup) -> Iterator[Problem]:
    """Yield thresholds that make no sense, for all targets and for each; what is wrong for all is said once."""
    for name in NAMES:
        asked, seen = diagnostic(name), seen_by(name, setup)
        whole = _refusal(asked, None, seen)
        if whole:
            yield whole
        for own in setup.configuration.targets.values():
            refusal = _refusal(asked, own, seen)
            if refusal and (whole is None or refusal.message.rpartition(": ")[2] != whole.message.rpartition(": ")[2]):
                yield refusal


def _refusal(asked: Diagnostic, own: Configured | None, setup: Setup) -> Problem | None:
    """Return why a diagnostic cannot be asked; None if it can."""
    name = target_name(own)
    try:
        options_of(asked, name, own, setup, ())
    except ConnauditError as error:
        table = f"[targets.{name}.thresholds]" if own else "[thresholds]"
        return _error(error, "" if "]" in error.message else f"{table} {asked.name}")
    return None


def _of_default_targets(configuration: Configuration) -> Iterator[Problem]:
    for text in configuration.default_targets:
        if not set(":/=") & set(text) and not _named(text, configuration.targets):
            yield Problem(Severity.ERROR, f"default_targets: no target is called {text!r}")


def _named(pattern: str, names: Iterable[str]) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names)


def _of_ignores(configuration: Configuration, today: dt.date) -> Iterator[Problem]:
    for number, ignore in enumerate(configuration.ignores, 1):
        where = f"[[ignore]] {number}"
        if ignore.expired(today):
            yield _warning(f"{where} expired on {ignore.until}: {ignore.code} is reported again")
        if not _is_code(ignore):
            yield _warning(f"{where}: no finding has the code {ignore.code}")
        if ignore.target != "*" and not _named(ignore.target, configuration.targets):
            yield _warning(f"{where}: no configured target is called {ignore.target!r}")


def _is_code(ignore: Ignore) -> bool:
    known = [*OF_FAILURES, *(code for name in (*NAMES, *APART) for code in diagnostic(name).codes)]
    return bool(fnmatch.filter(known, ignore.code))


def _of_history(configuration: Configuration) -> Iterator[Problem]:
    for key in ("keep_raw", "keep_hourly"):
        try:
            parse_duration(configuration.history.get(key, "1d"))
        except ValueError as error:
            yield Problem(Severity.ERROR, f"[history] {key}: {error}")

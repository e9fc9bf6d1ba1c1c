"""From one call to what is to be done: the configuration read, the targets resolved, each with its plan."""

import datetime as dt
import fnmatch
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from connaudit.audit import Ask, Plan, Suppression
from connaudit.cli.settings import OF_FILES, PREFIX, Effective, Setting, Sources, Values, setting, values
from connaudit.cli.sharding import shard_of_job
from connaudit.configuration import Configuration, Configured, Ignore, find, load
from connaudit.dataclass import dataclass
from connaudit.diagnostics import NAMES, Diagnostic
from connaudit.errors import ConfigError, ConnauditError, NotSetUp, UsageError
from connaudit.options import Filter, Options, declared
from connaudit.targets import Target
from connaudit.targets.resolve import resolve
from connaudit.targets.secrets import COMMAND_SECONDS
from connaudit.thresholds import Condition, check_order, parse_condition

COMMANDS = 32  # that print passwords, at once


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command as it was called."""

    command: str
    targets: tuple[str, ...]
    given: Sequence[Mapping[str, Any]]  # what flags gave: those after the command, then those before it
    environment: Mapping[str, str]

    @property
    def home(self) -> str:
        """Return the home directory; cron and systemd may set none, and a container's user need not have any."""
        home = self.environment.get("HOME", "")
        if os.path.isabs(home):
            return home
        import pwd

        try:
            return pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return "/"


@dataclass(frozen=True, slots=True)
class Setup:
    """What holds for one call: the configuration and every setting."""

    call: Invocation
    configuration: Configuration
    settings: Values
    began: float = field(default_factory=time.monotonic)
    trouble: list[ConnauditError] = field(default_factory=list)  # why the history cannot be had, once it was tried

    @property
    def left(self) -> float:
        """Return the seconds until the run's deadline."""
        return self.began + self.settings.deadline - time.monotonic()

    def own(self, asked: Diagnostic) -> dict[str, Effective]:
        """Return the options of one diagnostic alone, by field; those of `check` come from variables."""
        sources = self._sources(asked.name)
        return {field: sources.effective(each) for field, each in own_settings(asked).items()}

    def _sources(self, command: str) -> Sources:
        given = self.call.given if command == self.call.command else ()
        return Sources(command, given, self.call.environment)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The targets of a run with their plans, and what the user should be told once."""

    targets: tuple[Target, ...]
    plans: Mapping[str, Plan]
    warnings: tuple[str, ...]
    errors: tuple[ConnauditError, ...] = ()  # what of all that concerns no single target could not be had


def own_settings(asked: Diagnostic) -> dict[str, Setting]:
    """Return a diagnostic's own options as settings, by field; not given means the default of its class."""
    return {
        field: Setting(
            field.replace("_", "-"),
            (option.flag,),
            option.help,
            option.read or str,
            option.metavar,
            multiple=option.multiple,
            switch=option.read is None,
        )
        for field, option in declared(asked.options).items()
    }


def configuration_file(call: Invocation) -> str | None:
    """Return the path of the configuration file that holds for a call; None if there is none."""
    chosen = Sources(call.command, call.given, call.environment).effective(setting("config")).value
    return find(chosen, call.environment, call.home)


def set_up(call: Invocation) -> Setup:
    """Read the configuration and every setting; ConfigError or UsageError says what makes no sense."""
    path = configuration_file(call)
    configuration = load(path, OF_FILES, NAMES)
    sources = Sources(call.command, call.given, call.environment, configuration.defaults, path or "config")
    return Setup(call, configuration, values(sources))


def muster(setup: Setup, asked: Sequence[Diagnostic], today: dt.date) -> Fleet:
    """Return the targets of a run, each with what it is asked."""
    configured = setup.configuration.targets
    found = resolve(
        named(setup),
        environment=surroundings(setup),
        home=setup.call.home,
        configured={name: each.target for name, each in configured.items()},
        default_targets=setup.configuration.default_targets,
    )
    plans: dict[str, Plan] = {}
    targets = []
    chosen = share(setup, found.targets)
    owns = [configured.get(target.name) if target.origin == "config" else None for target in chosen]
    for own, (target, secret_refused) in zip(owns, _with_secrets(chosen, owns, setup), strict=True):
        incomplete = found.refused.get(target.name)
        refused = _refusal(incomplete) if incomplete else secret_refused
        targets.append(replace(target, timeout=_timeout(own, setup)))
        plans[target.name] = replace(plan_of(target, own, setup, asked, today), refused=refused)
    return Fleet(tuple(targets), plans, (*found.warnings, *expiries(setup, today)))


def share(setup: Setup, targets: Sequence[Target]) -> Sequence[Target]:
    """Return the share of the targets that this run is for: by --shard, else as a pod of an indexed job."""
    shard = setup.settings["shard"] or shard_of_job(setup.call.environment)
    return shard.share(targets) if shard else targets


def surroundings(setup: Setup) -> Mapping[str, str]:
    """Return the environment; a variable that names targets for one command stands for the one that does for all.

    What a variable names is no argument: nobody can read a password in it by ps.
    """
    if not setup.settings.origin("target").startswith(PREFIX):
        return setup.call.environment
    return {**setup.call.environment, "CONNAUDIT_TARGET": "\n".join(setup.settings["target"])}


def named(setup: Setup) -> list[str]:
    """Return the TARGETs of the call: arguments, -T, and those of --tag and --all by name.

    Tags that a variable or a file sets, and that it wants all, count where no argument or flag names any.
    """
    settings, configured = setup.settings, setup.configuration.targets
    named = [*setup.call.targets, *(settings["target"] if settings.is_given("target") else ())]
    is_chosen = bool(named) or settings.is_given("tag") or settings.is_given("all")
    for tag in settings["tag"] if settings.is_given("tag") or not is_chosen else ():
        members = [name for name, each in configured.items() if fnmatch.filter(each.target.tags, tag)]
        if not members:
            known = sorted({tag for each in configured.values() for tag in each.target.tags})
            raise UsageError(f"--tag: no configured target has the tag {tag!r}", hint=_there_are(known))
        named += members
    if settings["all"] and (settings.is_given("all") or not is_chosen):
        if not configured:
            raise UsageError("--all: no target is configured")
        named += configured
    return named


def _there_are(words: Sequence[str]) -> str | None:
    return f"there are {', '.join(words)}" if words else None


def _with_secrets(
    targets: Sequence[Target], owns: Sequence[Configured | None], setup: Setup
) -> list[tuple[Target, NotSetUp | None]]:
    """Return the targets with their passwords; commands that print them are run at once, as each may take seconds."""
    if sum(own is not None and own.is_slow for own in owns) < 2:
        return [_with_secret(target, own, setup) for target, own in zip(targets, owns, strict=True)]
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(COMMANDS)
    try:
        return list(pool.map(lambda target, own: _with_secret(target, own, setup), targets, owns))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a signal is not kept waiting


def _with_secret(target: Target, own: Configured | None, setup: Setup) -> tuple[Target, NotSetUp | None]:
    """Return the target with its password; why it cannot be had is that target's trouble alone."""
    if own is None:
        return target, None
    if own.is_slow and setup.left <= 0:
        return target, NotSetUp("no time was left to fetch its password", hint="raise --deadline")
    try:
        return own.with_password(target, setup.call.environment, min(COMMAND_SECONDS, setup.left)), None
    except ConfigError as error:
        return target, _refusal(error)


def _refusal(error: ConnauditError) -> NotSetUp:
    return NotSetUp(error.message, hint=error.hint)


def _timeout(own: Configured | None, setup: Setup) -> float | None:
    if own is None or "timeout" not in own.settings or setup.settings.is_set("timeout"):
        return None
    return own_setting("timeout", own, setup)  # type: ignore[no-any-return]


def own_setting(name: str, own: Configured, setup: Setup) -> Any:
    """Return a setting of a target's own table; ConfigError if it makes no sense."""
    file = f"{setup.configuration.path}: [targets.{own.target.name}]"
    try:
        return Sources("", defaults=own.settings, file=file).effective(setting(name)).value
    except UsageError as error:
        raise ConfigError(error.message.replace("[defaults] ", "")) from None


def plan_of(target: Target, own: Configured | None, setup: Setup, asked: Sequence[Diagnostic], today: dt.date) -> Plan:
    """Return what one target is asked; `own` is what the configuration says of it alone."""
    ignores = [each for each in setup.configuration.ignores if not each.expired(today)]
    unreachable = setup.settings["on-unreachable"]
    if own and "on-unreachable" in own.settings and not setup.settings.is_set("on-unreachable"):
        unreachable = own_setting("on-unreachable", own, setup)
    return Plan(
        asks=tuple(Ask(each, options_of(each, target.name, own, setup, ignores)) for each in asked),
        on_unreachable=unreachable,
        allow_partial=setup.settings["allow-partial"],
        suppressed=tuple(
            Suppression(code, each.reason)
            for diagnostic in asked
            for code in diagnostic.codes
            for each in ignores
            if not each.selects_sessions and each.covers(code, target.name)
        ),
    )


def options_of(
    asked: Diagnostic, name: str, own: Configured | None, setup: Setup, ignores: Sequence[Ignore]
) -> Options:
    """Return what a diagnostic is asked of the target of that name; UsageError says what makes no sense."""
    warning, critical = (_conditions(asked, level, own, setup) for level in ("warning", "critical"))
    try:
        check_order(warning, critical)
    except ValueError as error:
        raise UsageError(str(error)) from None
    mine = {field: each.value for field, each in setup.own(asked).items() if each.origin != "default"}
    if "bound" in own_settings(asked):
        mine["bound"] = (*mine.get("bound", ()), *setup.configuration.bounds.items())
    return asked.options(
        warning=warning,
        critical=critical,
        only=filter_of(setup.settings),
        ignored=tuple(
            _sessions(each)
            for each in ignores
            if each.selects_sessions and any(each.covers(code, name) for code in asked.codes)
        ),
        sql=setup.settings["sql"],
        **mine,
    )


def _conditions(asked: Diagnostic, level: str, own: Configured | None, setup: Setup) -> tuple[Condition, ...]:
    """Return the thresholds in force, understood; UsageError says which one makes no sense, and where it was set."""
    given = thresholds(asked, level, own, setup)
    try:
        return tuple(parse_condition(text, asked.metrics) for text in given.value)
    except ValueError as error:
        raise UsageError(f"{given.origin}: {error}") from None


def thresholds(asked: Diagnostic, level: str, own: Configured | None, setup: Setup) -> Effective:
    """Return the thresholds in force as written: of flags and variables, else of the target, else of the configuration.

    None at all means the diagnostic's own. `level` is warning or critical; a diagnostic that judges no number has none.
    """
    if not asked.metrics:
        return Effective((), "default")
    given = setup.settings[level]
    if setup.call.command == "check":
        given = _of_check(asked, given)
    if setup.settings.is_set(level) and given:
        return Effective(given, setup.settings.origin(level))
    file = setup.configuration.path
    for where, table in (
        (f"{file}: [targets.{target_name(own)}.thresholds]", own.thresholds if own else {}),
        (f"{file}: [thresholds]", setup.configuration.thresholds),
    ):
        if level in table.get(asked.name, {}):
            return Effective(table[asked.name][level], f"{where} {asked.name} {level}")
    return Effective(given, setup.settings.origin(level))


def target_name(own: Configured | None) -> str:
    """Return the name of a configured target."""
    return own.target.name if own else ""


def _of_check(asked: Diagnostic, texts: Sequence[str]) -> tuple[str, ...]:
    """Return the conditions that `check` is given for one diagnostic: `idle-tx.age=5m`, or `idle-tx=5m`."""
    mine = []
    for text in texts:
        name, separator, rest = text.partition("=")
        check, dot, metric = name.partition(".")
        if not separator or check not in NAMES:
            raise UsageError(
                f"a threshold of check names the check first, as in idle-tx.age=5m; {text!r} does not",
                hint=f"there are {', '.join(NAMES)}",
            )
        if check == asked.name:
            mine.append(f"{metric}={rest}" if dot else rest)
    return tuple(mine)


def filter_of(settings: Values) -> Filter:
    """Return which sessions are looked at."""
    names = {"databases": "db", "users": "user", "applications": "app", "clients": "client", "states": "state"}
    wanted = {field: settings[name] for field, name in names.items()}
    unwanted = {f"not_{field}": settings[f"not-{name}"] for field, name in names.items()}
    return Filter(**wanted, **unwanted)


def _sessions(ignore: Ignore) -> Filter:
    def some(text: str | None) -> tuple[str, ...]:
        return (text,) if text else ()

    return Filter(some(ignore.db), some(ignore.user), some(ignore.app), some(ignore.client))


def expiries(setup: Setup, today: dt.date) -> tuple[str, ...]:
    """Return a sentence for each suppression whose day has come."""
    return tuple(
        f"the [[ignore]] of {each.code} on {each.target} ({each.reason}) expired on {each.until}"
        for each in setup.configuration.ignores
        if each.expired(today)
    )

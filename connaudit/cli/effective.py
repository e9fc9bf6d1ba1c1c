"""Every value that holds, as a configuration file would have it, and where it was set; never a password."""

from collections.abc import Iterable
from dataclasses import replace

from connaudit.cli.planning import Setup, own_settings, target_name, thresholds
from connaudit.cli.remembering import public_place
from connaudit.cli.settings import SETTINGS, Sources, values, written
from connaudit.configuration import LEVELS, Configured, Ignore
from connaudit.diagnostics import NAMES, Diagnostic, diagnostic
from connaudit.report import Column, Show, Value
from connaudit.targets import Target

COLUMNS = (
    Column("key", "KEY", show=Show.ALWAYS),
    Column("value", "VALUE", show=Show.ALWAYS),
    Column("origin", "ORIGIN", show=Show.ALWAYS),
)
NOT_IN_FILES = ("config", "target", "tag", "all", "warning", "critical")  # choose files and targets, or have a table

Row = tuple[Value, ...]


def everything(setup: Setup, command: str | None) -> Iterable[Row]:
    """Yield a row per value: what holds for every command, or for one of them with its own variables."""
    configuration = setup.configuration
    yield "config", configuration.path, _origin_of_file(setup)
    for file in configuration.files[1:]:
        yield "include", file, configuration.path
    if configuration.default_targets:
        yield "default_targets", configuration.default_targets, configuration.path
    yield from _defaults(setup, command)
    for name in NAMES if command in (None, "check") else (command,):
        yield from _of_check(diagnostic(name), seen_by(name, setup))
    for own in configuration.targets.values():
        yield f"targets.{own.target.name}", summary(own.target), configuration.path
        yield from of_target(own, setup)
    for number, ignore in enumerate(configuration.ignores, 1):
        yield f"ignore.{number}", spoken(ignore), configuration.path
    for key, text in configuration.history.items():
        yield f"history.{key}", public_place(text) if key == "url" else text, configuration.path
    for app, most in configuration.bounds.items():
        yield f"bounds.{app}", most, configuration.path


def _origin_of_file(setup: Setup) -> str:
    if any(flags.get("config") for flags in setup.call.given):
        return "--config"
    if setup.call.environment.get("CONNAUDIT_CONFIG"):
        return "CONNAUDIT_CONFIG"
    return "default"


def seen_by(command: str, setup: Setup) -> Setup:
    """Return the same setup as one command sees it: with the variables that are meant for it."""
    call = replace(setup.call, command=command)
    file = setup.configuration.path or "config"
    sources = Sources(command, call.given, call.environment, setup.configuration.defaults, file)
    return replace(setup, call=call, settings=values(sources))


def _defaults(setup: Setup, command: str | None) -> Iterable[Row]:
    settings = (seen_by(command, setup) if command else setup).settings
    for each in SETTINGS:
        if each.name not in NOT_IN_FILES:
            value = settings.deadline if each.name == "deadline" else settings[each.name]
            yield f"defaults.{each.name.replace('-', '_')}", written(each, value), settings.origin(each.name)


def _of_check(asked: Diagnostic, setup: Setup) -> Iterable[Row]:
    """Yield what a check has of its own: its thresholds, and the options that only flags and variables set."""
    for level in LEVELS:
        held = thresholds(asked, level, None, setup)
        yield f"thresholds.{asked.name}.{level}", held.value or default_thresholds(asked, level), held.origin
    options = own_settings(asked)
    for field, each in setup.own(asked).items():
        value = getattr(asked.options(), field) if each.origin == "default" else each.value
        yield f"{asked.name}.{field}", written(options[field], value), each.origin


def default_thresholds(asked: Diagnostic, level: str) -> tuple[str, ...]:
    """Return the thresholds that a diagnostic has where nobody sets any."""
    return asked.warning if level == "warning" else asked.critical


def of_target(own: Configured, setup: Setup) -> Iterable[Row]:
    """Yield what a target's own table says that counts."""
    name, file = target_name(own), setup.configuration.path
    yield f"targets.{name}.password_from", own.password_from, file
    if own.target.tags:
        yield f"targets.{name}.tags", own.target.tags, file
    for key, text in own.settings.items():
        if not setup.settings.is_set(key):
            yield f"targets.{name}.{key.replace('-', '_')}", text, file
    for check, levels in own.thresholds.items():
        for level in levels:
            held = thresholds(diagnostic(check), level, own, seen_by(check, setup))
            yield f"targets.{name}.thresholds.{check}.{level}", held.value, held.origin


def of_target_thresholds(own: Configured | None, setup: Setup) -> Iterable[Row]:
    """Yield every threshold that holds for a target."""
    for name in NAMES:
        asked, seen = diagnostic(name), seen_by(name, setup)
        for level in LEVELS:
            held = thresholds(asked, level, own, seen)
            yield f"thresholds.{name}.{level}", held.value or default_thresholds(asked, level), held.origin


def summary(target: Target) -> str:
    """Return a target in a few words."""
    role = f" as {target.user}" if target.user else ""
    return f"{target.engine} {target.location}{role}"


def spoken(ignore: Ignore) -> str:
    """Return a suppression as a sentence."""
    whom = {"app": ignore.app, "user": ignore.user, "db": ignore.db, "client": ignore.client}
    sessions = "".join(f", {key} {value}" for key, value in whom.items() if value)
    end = f" until {ignore.until}" if ignore.until else ""
    return f"{ignore.code} on {ignore.target}{sessions}{end}: {ignore.reason}"
